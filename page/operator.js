// Shows incoming uploads, updated every second, and ends single uploads.

import { isSure } from "/dialog.js";
import { ago, bytes, duration, percent, plain, show, showProgress } from "/words.js";

const VIEW_PATH = "/operator/view";
const UPLOADS_PATH = "/operator/uploads";
const NAMELESS = "a file without a name";
const SAMPLES = 300;
const AVERAGE_OF = 10;
/** In seconds, as for the server. */
const LATELY = 10;
/** How long an answer of the server may take, in milliseconds. */
const PATIENCE = 5000;
/** How long what an action has done is told, in milliseconds. */
const READING = 10_000;
const RECEIVED = {
  open: "all received, not completed by its sender",
  finishing: "all received, being saved",
  interrupted: "all received, interrupted while it was being saved",
};

const page = {
  view: document.querySelector("#view"),
  acts: document.querySelector("#acts"),
  find: document.querySelector("#find"),
  order: document.querySelector("#order"),
  title: document.querySelector("#rows-title"),
  notice: document.querySelector("#notice"),
  table: document.querySelector("table"),
  rows: document.querySelector("#rows"),
  row: document.querySelector("#row"),
  none: document.querySelector("#none"),
  more: document.querySelector("#more"),
  said: document.querySelector("#said"),
};

/* Requests */

let looks = 0;
let answered = null;

async function look() {
  if (document.hidden) return;
  looks += 1;
  const number = looks;
  const wanted = new URLSearchParams({ find: page.find.value, order: page.order.value });
  let view = null;
  try {
    const signal = AbortSignal.timeout(PATIENCE);
    const response = await fetch(`${VIEW_PATH}?${wanted}`, { signal });
    if (response.ok) view = await response.json();
  } catch {
    // The same as another answer than a view.
  }
  // What was asked later may be answered earlier.
  if (number !== looks) return;
  if (view) {
    answered = new Date();
    draw(view);
  }
  setOld(!view);
}

async function keepLooking() {
  await look();
  setTimeout(keepLooking, 1000);
}

/* Display */

function draw(view) {
  const now = Date.parse(view.now);
  tiles(view, now);
  const { samples } = view;
  plot("bytes", samples, 1000, (count) => `${bytes(count)}/s`);
  plot("open", samples, 2, String);
  table(view, now);
  page.view.hidden = false;
}

let lastFocus = null;

/** Numbers that are not of this second must not look as if they were. */
function setOld(isOld) {
  const problem = answered
    ? `The server has not answered since ${clock(answered)}. What is shown is from then.`
    : "The server does not answer. This page goes on when it does.";
  tell(isOld ? problem : "");
  if (page.table.inert === isOld) return;
  const { activeElement } = document;
  if (isOld) lastFocus = page.table.contains(activeElement) ? activeElement : null;
  page.view.classList.toggle("old", isOld);
  page.table.inert = isOld;
  if (isOld && lastFocus) page.title.focus();
  if (!isOld && activeElement === page.title) lastFocus?.focus();
}

function clock(date) {
  return date.toLocaleTimeString("en-GB");
}

function tiles(view, now) {
  const { open, moving, finishing, complete, expired, oldest, samples } = view;
  const last = samples.slice(-AVERAGE_OF).map((sample) => sample.bytes);
  const average = last.reduce((sum, count) => sum + count, 0) / Math.max(last.length, 1);
  const saving = finishing > 0 ? `, ${finishing} being saved` : "";
  const texts = {
    open,
    moving: `${moving} with a chunk in the last ${LATELY}\u00a0s${saving}`,
    bytes: bytes(view.bytes),
    announced: `of ${bytes(view.announced)} announced, for unfinished uploads`,
    average: `${bytes(average)}/s`,
    second: `${bytes(last.at(-1) ?? 0)} in the last second`,
    age: oldest ? duration((now - Date.parse(oldest.created)) / 1000).replace("about ", "") : "–",
    complete,
    expired,
  };
  for (const [name, text] of Object.entries(texts)) {
    const tile = document.querySelector(`[data-tile=${name}]`);
    if (tile.textContent !== String(text)) tile.textContent = text;
  }
  const tile = document.querySelector("[data-tile=oldest]");
  show(tile, "", oldest?.name);
  tile.title = plain(oldest?.name ?? "");
}

/** The axis goes up to `least` or higher. */
function plot(name, samples, least, words) {
  const figure = document.querySelector(`[data-plot=${name}]`);
  const values = samples.map((sample) => sample[name]);
  const isWhole = samples.length === SAMPLES || samples.length === 0;
  const since = isWhole ? "" : `since ${clock(new Date(samples[0].at))}`;
  const caption = since && `, ${since}`;
  const shown = figure.querySelector(".since");
  if (shown.textContent !== caption) shown.textContent = caption;
  const most = Math.max(...values, 0);
  const top = roundUp(Math.max(most, least));
  const y = (value) => (100 - (value / top) * 100).toFixed(1);
  const left = SAMPLES - values.length;
  const points = values.map((value, at) => `${left + at} ${y(value)}`);
  const line = points.length > 0 ? `M${points.join("L")}` : "";
  const area = line && `${line}L${SAMPLES - 1} 100L${left} 100Z`;
  figure.querySelector(".line").setAttribute("d", line);
  figure.querySelector(".area").setAttribute("d", area);
  const heights = figure.querySelectorAll(".heights span");
  for (const [n, value] of [top, top / 2, 0].entries()) heights[n].textContent = words(value);
  const now = words(values.at(-1) ?? 0);
  const summary = `now ${now}, at most ${words(most)} ${since || "in five minutes"}`;
  figure.querySelector("svg").setAttribute("aria-label", summary);
}

/** The next number above that reads well on an axis, as does its half. */
function roundUp(value) {
  const power = 10 ** Math.floor(Math.log10(value));
  return [1, 2, 4, 6, 8, 10].map((step) => step * power).find((step) => step >= value);
}

/** The rows, and the uploads as they were listed last, by id. */
const rows = new Map();
const latest = new Map();

function table({ rows: listed, found, open }, now) {
  const ids = new Set(listed.map((upload) => upload.id));
  for (const [id, row] of rows) {
    if (!ids.has(id)) remove(id, row);
  }
  for (const upload of listed) {
    latest.set(upload.id, upload);
    if (!rows.has(upload.id)) rows.set(upload.id, newRow(upload));
    fill(rows.get(upload.id), upload, now);
  }
  // The order must not change while somebody is about to click.
  if (!page.rows.matches(":hover, :focus-within")) order(listed);
  page.table.hidden = found === 0;
  page.none.hidden = found > 0;
  page.none.textContent =
    open > 0 ? "None has this in its name or owner." : "There are none at the moment.";
  page.acts.hidden = found === 0;
  page.more.hidden = found <= listed.length;
  page.more.textContent = `${listed.length} of ${found} are shown, the oldest among them.`;
}

function order(listed) {
  let place = page.rows.firstElementChild;
  for (const { id } of listed) {
    const row = rows.get(id);
    if (row === place) place = row.nextElementSibling;
    else page.rows.insertBefore(row, place);
  }
}

function newRow(upload) {
  const row = page.row.content.firstElementChild.cloneNode(true);
  const name = upload.name || NAMELESS;
  show(row.querySelector(".name"), "", name);
  if (upload.owner === null) show(row.querySelector(".owner"), "no owner");
  else show(row.querySelector(".owner"), "owner ", upload.owner);
  row.querySelector("progress").setAttribute("aria-label", `Progress of ${plain(name)}`);
  for (const [kind, act] of [["expire", expire], ["cancel", cancel]]) {
    const button = row.querySelector(`.${kind}`);
    button.setAttribute("aria-label", `${button.textContent} ${plain(name)}`);
    button.addEventListener("click", () => act(latest.get(upload.id)));
  }
  page.rows.append(row);
  return row;
}

function fill(row, { status, offset, total, created, changed, expires }, now) {
  const since = (time) => (now - Date.parse(time)) / 1000;
  const part = total ? offset / total : 0;
  row.classList.toggle("moving", changed !== null && since(changed) < LATELY);
  const of = `${bytes(offset)} of ${total === null ? "an unknown size" : bytes(total)}`;
  const bar = row.querySelector("progress");
  bar.hidden = total === null;
  showProgress(bar, part, of);
  const texts = {
    received: received(status, offset, total, of),
    begun: ago(since(created)),
    changed: lastChunk(offset, changed, since),
    expires: expires === null ? "never" : `in ${duration(-since(expires)).replace("about ", "")}`,
  };
  for (const [name, text] of Object.entries(texts)) {
    const cell = row.querySelector(`.${name}`);
    if (cell.textContent !== text) cell.textContent = text;
  }
}

function received(status, offset, total, of) {
  if (total === null) return of;
  if (offset < total) return `${of} · ${percent(offset / total)}`;
  return `${bytes(total)} · ${RECEIVED[status]}`;
}

function lastChunk(offset, changed, since) {
  if (changed !== null) return ago(since(changed));
  return offset > 0 ? "before this start" : "none yet";
}

function remove(id, row) {
  const focused = row.querySelector("button:focus");
  const next = row.nextElementSibling ?? row.previousElementSibling;
  row.remove();
  rows.delete(id);
  latest.delete(id);
  if (focused) (next?.querySelector(`.${focused.className}`) ?? page.title).focus();
}

/* Actions */

/** Asks, and gives whether the answer was `yes`; meanwhile the row may have gone. */
async function ask(question) {
  const isMeant = await isSure(question);
  if (!page.table.contains(document.activeElement)) page.title.focus();
  return isMeant;
}

async function cancel(upload) {
  const isMeant = await ask({
    title: ["Cancel ", upload.name || NAMELESS, "?"],
    words: [`Its ${bytes(upload.offset)} are deleted at once, and its sender has to begin anew.`],
    yes: "Cancel it",
    no: "Keep it",
  });
  if (!isMeant) return;
  await act("DELETE", `${UPLOADS_PATH}/${upload.id}`, upload.name, " is cancelled.");
}

async function expire(upload) {
  const isMeant = await ask({
    title: ["Let ", upload.name || NAMELESS, " expire?"],
    words: ["It takes nothing more from now on, and the next clean-up removes it."],
    yes: "Expire it",
    no: "Keep it",
  });
  if (!isMeant) return;
  await act("PUT", `${UPLOADS_PATH}/${upload.id}/expired`, upload.name, " has expired.");
}

async function act(method, url, name, done) {
  try {
    const { ok, status } = await fetch(url, { method });
    if (ok) say("", name || NAMELESS, done);
    else if (status === 404) say("It is not there any more.");
    else if (status === 409) say("It is just being finished, and cannot be ended.");
    else say(`The server has a problem (${status}).`);
  } catch {
    say("The server does not answer.");
  }
  await look();
}

let forgetting = null;

function say(...text) {
  show(page.said, ...text);
  clearTimeout(forgetting);
  forgetting = setTimeout(() => page.said.replaceChildren(), READING);
}

function tell(text) {
  if (page.notice.textContent === text) return;
  page.notice.textContent = text;
  page.notice.hidden = !text;
}

document.addEventListener("visibilitychange", look);
page.find.addEventListener("input", look);
page.order.addEventListener("change", look);
keepLooking();
