// What a screen reader is told, at most once a second, and the line for what concerns no upload.

import { plain, show } from "/words.js";

const PAUSE = 1000;
const line = document.querySelector("#notice");
const live = document.querySelector("#live");
const pending = new Map();
let spokenAt = -Infinity;
let timer = null;

/** Says the text soon. What is later said about the same thing replaces what was not said yet. */
export function announce(text, about = text) {
  pending.delete(about);
  pending.set(about, plain(text));
  timer ??= setTimeout(speak, Math.max(0, spokenAt + PAUSE - performance.now()));
}

function speak() {
  timer = null;
  spokenAt = performance.now();
  const paragraph = document.createElement("p");
  paragraph.textContent = [...pending.values()].join(" ");
  pending.clear();
  live.append(paragraph);
  while (live.children.length > 8) live.firstElementChild.remove();
}

export function notice(before, name = "", after = "") {
  show(line, before, name, after);
  line.hidden = !before;
  if (before) announce(before + name + after, line);
}
