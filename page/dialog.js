// The one question of a page, in its dialog.

import { show } from "/words.js";

const sure = document.querySelector("#sure");
let last = Promise.resolve();

/**
 * Asks, after what was asked before, and gives whether the answer was `yes`. A name in the title and
 * one in the words stand between what is before and after them.
 */
export function isSure(question) {
  last = last.then(() => ask(question));
  return last;
}

function ask({ title, words, yes, no }) {
  show(sure.querySelector("h2"), ...title);
  show(sure.querySelector("p"), ...words);
  sure.querySelector("[value=yes]").textContent = yes;
  sure.querySelector("[value=no]").textContent = no;
  sure.returnValue = "no";
  sure.showModal();
  return new Promise((resolve) => {
    sure.addEventListener("close", () => resolve(sure.returnValue === "yes"), { once: true });
  });
}
