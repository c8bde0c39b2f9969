// How fast an upload is.

/** Bytes per second over the last few seconds. */
export class Rate {
  static WINDOW = 6000;
  #notes = [];

  reset(position) {
    this.#notes = [[performance.now(), position]];
  }

  note(position) {
    const now = performance.now();
    this.#notes.push([now, position]);
    while (now - this.#notes[0][0] > Rate.WINDOW && this.#notes.length > 2) this.#notes.shift();
  }

  get value() {
    const [from, to] = [this.#notes[0], this.#notes.at(-1)];
    // While nothing moves, it becomes less.
    const elapsed = from ? performance.now() - from[0] : 0;
    if (elapsed < 500) return 0;
    return Math.max(0, ((to[1] - from[1]) * 1000) / elapsed);
  }
}
