// All uploads of the page: which of them are sent now, what the server lists, and what is done with all
// of them at once.

import { hasLocks, heldElsewhere } from "/locks.js";
import { files, memory } from "/memory.js";
import { announcePause, showOverall } from "/overall.js";
import { isMeant, isTheSame } from "/questions.js";
import { LIST_PATH, request, statusUrl } from "/requests.js";
import { notice } from "/speech.js";
import { cancel } from "/transfer.js";
import { ACTIVE, LISTED, Upload } from "/upload.js";

const AT_ONCE = 2;
/** What is asked for again anyway is not waited for long. */
const LOOK_SECONDS = 20;
/** States in which the same file makes the upload go on. */
const RESUMABLE = ["unbegun", "unfinished", "elsewhere", "paused", "ended", "error"];
/** States in which the same file is another upload. */
const OVER = ["cancelling", "doomed", "done"];

const page = {
  section: document.querySelector("#uploads"),
  pauseAll: document.querySelector("#pause-all"),
  resumeAll: document.querySelector("#resume-all"),
  hideDone: document.querySelector("#hide-done"),
};

const uploads = new Set();
/** The look at what others do that goes on now. */
let looking = null;
let isOutdated = false;
let removals = 0;
let pickAgain = () => {};
let wanted = null;

/** What an upload needs of the list. */
const list = {
  find: (id) => [...uploads].find((upload) => upload.id === id),
  refresh,
  startNext,
  moved: showAll,

  /** An answer that is on its way may still list what an upload was before it started over. */
  forgot() {
    removals += 1;
  },

  choose(upload) {
    wanted = upload;
    pickAgain();
  },

  removed(upload) {
    uploads.delete(upload);
    removals += 1;
    startNext();
    showAll();
  },
};

/** `pick` lets the user choose one file, and gives it to `addWanted`. */
export function start(pick) {
  pickAgain = pick;
  for (const record of memory.all()) {
    if (!memory.isLeft(record.id, true)) uploads.add(new Upload(list, { record }));
  }
  showAll();
  refresh();
}

/** All files are new, or go on from where they were. */
export function add(files) {
  notice("");
  for (const file of files) {
    const known = [...uploads].find((upload) => !OVER.includes(upload.state) && upload.is(file));
    if (known) resume(known, file);
    else uploads.add(new Upload(list, { file }));
  }
  startNext();
  showAll();
}

function resume(upload, file) {
  if (RESUMABLE.includes(upload.state)) upload.resumeWith(file);
  else notice("“", file.name, "” is already being sent.", upload);
}

/** The file was chosen for one upload: another one is not sent without a question. */
export async function addWanted(file) {
  const expected = wanted;
  wanted = null;
  if (!file) return;
  if (isOver(expected)) return add([file]);
  notice("");
  if (expected.is(file)) return resume(expected, file);
  if (expected.name === file.name && (expected.isStale || expected.size === file.size)) {
    return addSimilar(expected, file);
  }
  if (await isMeant(expected, file)) add([file]);
}

/** The file has the right name; it may be another one all the same, unless a change of it is known. */
async function addSimilar(upload, file) {
  const answer = upload.isStale ? "yes" : await isTheSame(file.name);
  if (answer === "no") return;
  // It may have come to its end while the user was asked.
  if (answer === "other" || isOver(upload)) add([file]);
  else resume(upload, file);
}

function isOver(upload) {
  return !uploads.has(upload) || OVER.includes(upload.state);
}

function startNext() {
  let free = AT_ONCE;
  for (const { state } of uploads) if (ACTIVE.includes(state)) free -= 1;
  for (const upload of uploads) {
    if (free <= 0) break;
    if (upload.state !== "waiting") continue;
    upload.start();
    free -= 1;
  }
}

/**
 * Shows what waited for this page to be open, and what other tabs and visits have begun. One answer
 * is waited for at a time: an older one would set back what a newer one has told.
 */
export async function refresh() {
  if (document.hidden) return;
  isOutdated = true;
  await (looking ??= look());
}

async function look() {
  try {
    while (isOutdated && !document.hidden) {
      isOutdated = false;
      showWaiting();
      await cancelDoomed();
      await showListed();
    }
  } finally {
    looking = null;
  }
}

/** Shows the files that were chosen and not begun when their tab was closed. */
async function showWaiting() {
  if (!hasLocks) return;
  const before = removals;
  const keys = await files.waitingKeys();
  const held = await heldElsewhere();
  if (removals > before) return; // They may be gone by now.
  for (const upload of [...uploads]) {
    const { state, localKey } = upload;
    if (state === "unbegun" && (!keys.includes(localKey) || held.has(localKey))) upload.remove();
  }
  for (const localKey of keys) {
    const isShown = () => [...uploads].some((upload) => upload.localKey === localKey);
    if (held.has(localKey) || isShown()) continue;
    const record = await files.of(localKey);
    if (removals > before) return;
    if (record && !isShown()) uploads.add(new Upload(list, { record, localKey }));
  }
  showAll();
}

/** Cancels what was to be cancelled when the server did not answer. */
async function cancelDoomed() {
  for (const id of memory.cancelled()) {
    if (!isDoomed(id)) continue;
    const outcome = await cancel(id, list.find(id)?.session, LOOK_SECONDS);
    if (outcome === "unanswered") return;
    // The list tells what has become of one that was to be kept meanwhile.
    if (!isDoomed(id)) continue;
    if (outcome === "refused") {
      // It would be refused again and again.
      memory.uncancel(id);
      list.find(id)?.failToCancel();
    } else {
      list.find(id)?.remove();
      memory.drop(id);
    }
  }
}

/** Whether the user still wants it to be cancelled. */
function isDoomed(id) {
  return memory.cancelled().includes(id);
}

async function showListed() {
  const before = removals;
  // One that gets its id meanwhile may be missing in the answer.
  const expected = [...uploads].filter(({ id }) => id);
  // The answer may be older than what another tab does meanwhile.
  const wasHidden = memory.hidden();
  const wasDoomed = memory.cancelled();
  let listed;
  let held;
  try {
    listed = await request("GET", LIST_PATH, { stallSeconds: LOOK_SECONDS });
    await Promise.all(listed.map(askWhetherFinishing));
    held = await heldElsewhere();
  } catch {
    return; // What this browser remembers is shown all the same.
  }
  if (removals > before) return; // It may list what is gone by now.
  const hidden = memory.hidden();
  const doomed = memory.cancelled();
  listed = listed.filter(({ id }) => !doomed.includes(id) && !wasDoomed.includes(id));
  const ids = new Set(listed.map(({ id }) => id));
  for (const upload of expected) {
    if (doomed.includes(upload.id)) {
      // Another tab has cancelled it, and may keep it after all.
      if (["unfinished", "elsewhere"].includes(upload.state)) upload.remove();
      continue;
    }
    if (wasDoomed.includes(upload.id)) continue;
    if (upload.state === "doomed") {
      // Another tab has seen to it, or nothing could be remembered.
      if (ids.has(upload.id)) upload.keepAfterAll();
      else upload.remove();
    } else if (LISTED.includes(upload.state) && upload.id && !ids.has(upload.id)) upload.lose();
  }
  for (const item of listed) {
    const known = list.find(item.id);
    const isHeld = held.has(item.id);
    const isHidden = hidden.delete(item.id);
    const isLeft = memory.isLeft(item.id, isHeld) && item.status !== "complete";
    if (known) {
      known.learn(item, isHeld);
      // Another tab has hidden it.
      if (isHidden && known.state === "done") known.remove();
    } else if (!isHidden && !isLeft) addListed(item, isHeld);
  }
  // What is left of them is not listed any more.
  for (const id of hidden) if (wasHidden.has(id)) memory.unhide(id);
  showAll();
}

/** A server that has crashed still lists what it was finishing as that. */
async function askWhetherFinishing(item) {
  if (item.status !== "finishing" || ACTIVE.includes(list.find(item.id)?.state)) return;
  const { status } = await request("GET", statusUrl(item.id), { stallSeconds: LOOK_SECONDS }).catch(() => item);
  item.status = status;
}

function addListed(item, isHeld) {
  const record = { ...item, size: item.total, lastModified: null, begun: Date.parse(item.created) };
  const upload = new Upload(list, { record });
  uploads.add(upload);
  upload.learn(item, isHeld);
}

/** Shows the pace also while nothing moves. */
export function tick() {
  const sending = [...uploads].filter(({ state }) => state === "sending");
  for (const { row } of sending) row.tick();
  if (sending.length > 0) showOverall(uploads);
}

/** Goes on at once where it waits for the network. */
export function tryNow() {
  for (const upload of uploads) upload.tryNow();
}

/** Whether a reload would lose a file that was chosen. */
export function losesFiles() {
  return [...uploads].some(({ isAtRisk }) => isAtRisk);
}

/** Another tab has begun, continued, finished or cancelled something. */
export function othersDid(id) {
  const upload = id && list.find(id);
  if (upload && memory.isOthers(id)) upload.yield();
  refresh();
}

/* All at once */

function showAll() {
  const states = [...uploads].map(({ state }) => state);
  page.section.hidden = uploads.size === 0;
  showButton(page.pauseAll, states.some((state) => [...ACTIVE, "waiting"].includes(state)));
  showButton(page.resumeAll, [...uploads].some(canGoOn));
  showButton(page.hideDone, states.includes("done"));
  showOverall(uploads);
}

function canGoOn({ state, file, kept, isDenied }) {
  if (state === "paused") return true;
  return ["unbegun", "unfinished"].includes(state) && (file ?? kept) !== null && !isDenied;
}

function showButton(button, isUseful) {
  if (button.hidden === !isUseful) return;
  const hadFocus = document.activeElement === button;
  button.hidden = !isUseful;
  if (!hadFocus) return;
  const next = page.section.querySelector("button:not([hidden])");
  (next ?? document.querySelector("#files")).focus();
}

page.pauseAll.addEventListener("click", () => {
  // What waits would begin when another one pauses.
  for (const state of ["waiting", "checking", "sending", "retrying"]) {
    for (const upload of uploads) if (upload.state === state) upload.pause();
  }
  announcePause();
});

page.resumeAll.addEventListener("click", () => {
  for (const upload of uploads) if (canGoOn(upload)) upload.goOn();
});

page.hideDone.addEventListener("click", () => {
  for (const upload of [...uploads]) if (upload.state === "done") upload.hide();
});
