// Words for numbers and names, for both pages.

export function bytes(count) {
  const units = ["bytes", "kB", "MB", "GB", "TB"];
  let unit = 0;
  let amount = count;
  // What would be rounded to 1000 of a unit is 1 of the next.
  while (amount >= 999.5 && unit < units.length - 1) {
    amount /= 1000;
    unit += 1;
  }
  if (unit === 0) return count === 1 ? "1\u00a0byte" : `${Math.round(count)}\u00a0bytes`;
  const digits = amount.toFixed(amount < 99.95 ? 1 : 0).replace(/\.0$/, "");
  return `${digits}\u00a0${units[unit]}`;
}

/** A message of the server, whose sizes are in bytes, for people. */
export function inUnits(text) {
  return text.replace(/\b(\d+) bytes\b/g, (_, count) => bytes(Number(count)));
}

export function percent(part) {
  return `${Math.floor(part * 100)}%`;
}

export function duration(seconds) {
  if (seconds < 90) return `about ${Math.max(1, Math.ceil(seconds))}\u00a0s`;
  if (seconds < 90 * 60) return `about ${Math.round(seconds / 60)}\u00a0min`;
  return `about ${Math.round(seconds / 3600)}\u00a0h`;
}

const DAY = 24 * 60 * 60 * 1000;

/** As in `tomorrow, 22:14`. */
export function moment(time) {
  const date = new Date(time);
  const clock = date.toLocaleTimeString("en-GB", { hour: "2-digit", minute: "2-digit" });
  const midnight = (day) => new Date(day).setHours(0, 0, 0, 0);
  const days = Math.round((midnight(date) - midnight(Date.now())) / DAY);
  const other = () => date.toLocaleDateString("en-GB", { day: "numeric", month: "long" });
  return `${["today", "tomorrow"][days] ?? other()}, ${clock}`;
}

export function ago(seconds) {
  return seconds < 5 ? "just now" : `${duration(seconds).replace("about ", "")} ago`;
}

// Characters that are invisible, or change how text around them looks. (Variation selectors belong
// to emoji.)
const UNSEEN = /(?![\ufe00-\ufe0f])[\p{Cc}\p{Zl}\p{Zp}\p{Default_Ignorable_Code_Point}\ufff9-\ufffb]/gu;

function mark(character) {
  const number = character.codePointAt(0).toString(16).toUpperCase().padStart(4, "0");
  return `⟨U+${number}⟩`;
}

/** A name without hidden characters, as plain text. */
export function plain(name) {
  return name.replace(UNSEEN, mark);
}

/**
 * Shows a text that contains a name: without hidden characters, and isolated, so that right-to-left
 * letters do not move the text around them.
 */
export function show(element, before, name = "", after = "") {
  const wanted = plain(before + name + after);
  if (element.textContent === wanted) return;
  const parts = [plain(before), plain(after)];
  if (name) parts.splice(1, 0, apart(name));
  element.replaceChildren(...parts);
}

function apart(name) {
  const whole = document.createElement("bdi");
  let from = 0;
  for (const { 0: character, index } of name.matchAll(UNSEEN)) {
    const marked = document.createElement("span");
    marked.className = "mark";
    marked.textContent = mark(character);
    whole.append(name.slice(from, index), marked);
    from = index + character.length;
  }
  whole.append(name.slice(from));
  return whole;
}

/** Shows the part in whole percent, and says it with the words. */
export function showProgress(bar, part, words) {
  const whole = Math.floor(part * 100);
  if (bar.value !== whole || !bar.hasAttribute("aria-valuetext")) {
    bar.value = whole;
    bar.setAttribute("aria-valuetext", `${whole} percent, ${words}`);
  }
}
