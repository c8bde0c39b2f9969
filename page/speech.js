// What a screen reader is told, at most once a second, and the line for what concerns no upload.

import { plain, show } from "/words.js";

const PAUSE = 1000;
/** Of more uploads than these, a summary is said. */
export const MOST_AT_ONCE = 3;
/** Until then it has been said; later it would only be in the way of who reads the page. */
const STAYS = 5000;
const line = document.querySelector("#notice");
const live = document.querySelector("#live");
const pending = new Map();
let summarize = () => "";
let spokenAt = -Infinity;
let timer = null;
/** The upload that the line is about. */
let subject = null;

/** `summary` gives a sentence for all uploads. */
export function summarizeWith(summary) {
  summarize = summary;
}

/** Says the text soon. What is later said about the same thing replaces what was not said yet. */
export function announce(text, about = text) {
  pending.delete(about);
  pending.set(about, plain(text));
  timer ??= setTimeout(speak, Math.max(0, spokenAt + PAUSE - performance.now()));
}

/** Says the text instead of what was not said yet about single uploads. */
export function announceAll(text) {
  for (const about of [...pending.keys()]) if (about !== line) pending.delete(about);
  announce(text);
}

function speak() {
  timer = null;
  spokenAt = performance.now();
  const told = pending.get(line);
  pending.delete(line);
  const single = [...pending.values()];
  pending.clear();
  const summary = single.length > MOST_AT_ONCE ? summarize() : "";
  const paragraph = document.createElement("p");
  paragraph.textContent = [told, ...(summary ? [summary] : single)].filter(Boolean).join(" ");
  live.append(paragraph);
  setTimeout(() => paragraph.remove(), STAYS);
}

/** Shows a line until it is dismissed, or until the upload that it is `about` changes its state. */
export function notice(before, name = "", after = "", about = null) {
  subject = about;
  if (!before && line.contains(document.activeElement)) document.querySelector("#files").focus();
  show(line.querySelector("p"), before, name, after);
  line.hidden = !before;
  if (before) announce(before + name + after, line);
}

export function hasChanged(upload) {
  if (subject === upload) notice("");
}

line.querySelector("button").addEventListener("click", () => {
  notice("");
});
