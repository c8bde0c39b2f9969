// The one question of a page, in its dialog.

import { show } from "/words.js";

const sure = document.querySelector("#sure");
let last = Promise.resolve();

/**
 * Asks, after what was asked before, and gives whether the answer was `yes`. A name in the title and
 * one in the words stand between what is before and after them. With `isGrave` something is deleted.
 */
export async function isSure(question) {
  return (await choose(question)) === "yes";
}

/** As `isSure`, with a third answer, `other`. */
export function choose(question) {
  last = last.then(() => ask(question));
  return last;
}

function ask({ title, words, yes, no, other = null, isGrave = true }) {
  const answer = (value) => sure.querySelector(`[value=${value}]`);
  show(sure.querySelector("h2"), ...title);
  show(sure.querySelector("p"), ...words);
  answer("yes").textContent = yes;
  answer("yes").classList.toggle("grave", isGrave);
  answer("no").textContent = no;
  // The operator is never asked for one of three.
  if (answer("other")) {
    answer("other").hidden = !other;
    answer("other").textContent = other;
  }
  sure.returnValue = "no";
  const row = document.activeElement?.closest(".upload");
  sure.showModal();
  return new Promise((resolve) => {
    const end = () => {
      // The button that had the focus may be gone by now.
      const { activeElement } = document;
      if (activeElement === document.body || sure.contains(activeElement)) {
        const next = row?.isConnected && row.querySelector("button:not([hidden])");
        (next || document.querySelector("#files, #rows-title"))?.focus();
      }
      resolve(sure.returnValue);
    };
    sure.addEventListener("close", end, { once: true });
  });
}
