// Numbers in words, for both pages.

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
