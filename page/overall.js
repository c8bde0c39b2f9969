// All files together: their bar, their words, and the title of the tab.

import { MOST_AT_ONCE, announceAll, summarizeWith } from "/speech.js";
import { GOING } from "/upload.js";
import { bytes, duration, percent, showProgress } from "/words.js";

const TITLE = document.title;
const overall = document.querySelector("#overall");
const bar = overall.querySelector("progress");
const words = overall.querySelector("p");

/** What has been going on since nothing was: the whole of which the bar shows a part. */
const batch = new Set();
let wasGoing = false;
/** How it ended while nobody looked. */
let unseen = null;

export function showOverall(uploads) {
  const going = [...uploads].filter(({ state }) => GOING.includes(state));
  const isGoing = going.length > 0;
  if (isGoing && !wasGoing) batch.clear();
  for (const upload of going) batch.add(upload);
  for (const upload of batch) if (!uploads.has(upload)) batch.delete(upload);
  const now = count();
  if (wasGoing && !isGoing) end(now);
  if (isGoing) unseen = null;
  wasGoing = isGoing;

  const text = isGoing ? progressOf(now) : resultOf(now);
  overall.hidden = !text;
  bar.hidden = !isGoing;
  if (words.textContent !== text) words.textContent = text;
  showProgress(bar, partOf(now), amountOf(now));
  showTitle(now);
}

/** What failed, is unfinished or is sent elsewhere is no part of the whole. */
function count() {
  const now = { done: 0, failed: 0, moving: 0, paused: 0, sent: 0, total: 0, left: 0, rate: 0 };
  for (const { state, part, size, shown, rate } of batch) {
    if (state === "error") now.failed += 1;
    if (state === "done") now.done += 1;
    else if (state === "paused") now.paused += 1;
    else if (GOING.includes(state)) {
      now.moving += 1;
      now.left += size - shown;
      if (state === "sending") now.rate += rate;
    } else continue;
    now.sent += part * size;
    now.total += size;
  }
  return now;
}

function partOf({ sent, total }) {
  return total > 0 ? sent / total : 0;
}

function amountOf({ sent, total }) {
  return `${bytes(Math.round(sent))} of ${bytes(total)}`;
}

function filesOf(number) {
  return `${number} ${number === 1 ? "file" : "files"}`;
}

function progressOf(now) {
  const { done, failed, moving, paused, total, left, rate } = now;
  const rest = rate > 0 ? `${duration(left / rate)} left` : null;
  const parts = [
    `${done} of ${filesOf(done + moving + paused)} done`,
    failed > 0 && `${failed} failed`,
    total > 0 && amountOf(now),
    moving > 0 ? rest : "paused",
  ];
  return parts.filter(Boolean).join(" · ");
}

/** One file is told by its row. */
function resultOf({ done, failed, total }) {
  if (done + failed < 2) return "";
  if (failed > 0) return `${done} done, ${failed} failed`;
  return `All ${done} files are done (${bytes(total)})`;
}

function end({ done, failed }) {
  if (done + failed === 0) return;
  if (document.hidden) unseen = failed > 0 ? `${failed} failed` : "Done";
  if (failed === 0 && done > 1) announceAll(`All ${done} files are done.`);
  // What is wrong with a few of them is worth more than their number.
  else if (failed > 0 && done + failed > MOST_AT_ONCE) {
    announceAll(`${filesOf(done)} done, ${failed} failed.`);
  }
}

/** A background tab shows it as well. */
function showTitle(now) {
  const state = now.moving > 0 ? percent(partOf(now)) : unseen;
  const title = state ? `${state} – ${TITLE}` : TITLE;
  if (document.title !== title) document.title = title;
}

document.addEventListener("visibilitychange", () => {
  if (document.hidden) return;
  unseen = null;
  showTitle(count());
});

summarizeWith(() => {
  const { done, failed, moving, paused } = count();
  const parts = [
    done > 0 && `${filesOf(done)} done`,
    failed > 0 && `${failed} failed`,
    moving + paused > 0 && `${moving + paused} to go`,
  ].filter(Boolean);
  return parts.length > 0 ? `${parts.join(", ")}.` : "";
});

export function announcePause() {
  const now = count();
  if (now.paused > 1) {
    const part = Math.floor(partOf(now) * 100);
    announceAll(`All ${now.paused} files paused, ${part} percent sent.`);
  }
}
