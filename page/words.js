// Formats numbers and names, for both pages.

export function bytes(count) {
  const units = ["bytes", "KiB", "MiB", "GiB", "TiB"];
  let unit = 0;
  let amount = count;
  while (amount >= 1024 && unit < units.length - 1) {
    amount /= 1024;
    unit += 1;
  }
  if (unit === 0) return count === 1 ? "1\u00a0byte" : `${Math.round(count)}\u00a0bytes`;
  return `${amount.toFixed(amount < 100 ? 1 : 0)}\u00a0${units[unit]}`;
}

export function percent(part) {
  return `${Math.floor(part * 100)}%`;
}

export function duration(seconds) {
  if (seconds < 90) return `about ${Math.max(1, Math.ceil(seconds))}\u00a0s`;
  if (seconds < 90 * 60) return `about ${Math.round(seconds / 60)}\u00a0min`;
  return `about ${Math.round(seconds / 3600)}\u00a0h`;
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
