// Which of the open tabs carries an upload: the one that holds its lock, which ends with the tab.

import { files } from "/memory.js";

const PREFIX = "upload:";
const manager = navigator.locks;
/** The newest claim of this page for each name. */
const claims = new Map();

/** On plain http a browser has none: then only a growing offset tells that another tab sends. */
export const hasLocks = manager !== undefined;

/**
 * Takes the lock, from another tab as well. `lost` is called when another tab takes it from this one;
 * `held` is settled when this one has it.
 */
function hold(id, lost) {
  if (!hasLocks) return { id, held: Promise.resolve(), release() {} };
  const name = PREFIX + id;
  let release;
  const isOver = new Promise((resolve) => {
    release = resolve;
  });
  let isReleased = false;
  const held = new Promise((resolve) => {
    const claim = manager.request(name, { steal: true }, () => {
      resolve();
      return isOver;
    });
    claims.set(name, claim);
    const ended = () => {
      resolve();
      if (claims.get(name) === claim) claims.delete(name);
    };
    claim.then(ended, (error) => {
      ended();
      if (error.name === "AbortError" && !isReleased) lost();
    });
  });
  return {
    id,
    held,
    release() {
      isReleased = true;
      release();
    },
  };
}

/** The ids of what other tabs carry now. */
export async function heldElsewhere() {
  if (!hasLocks) return new Set();
  // Where storage is blocked, the locks are there and may not be used.
  const { held } = await manager.query().catch(() => ({ held: [] }));
  const names = held.map(({ name }) => name);
  const others = names.filter((name) => name.startsWith(PREFIX) && !claims.has(name));
  return new Set(others.map((name) => name.slice(PREFIX.length)));
}

export async function isHeldElsewhere(id) {
  return id !== null && (await heldElsewhere()).has(id);
}

/** What this tab has of an upload: its lock, and a copy of its file until the upload has an id. */
export class Claim {
  /** Under which the browser has kept the file. */
  localKey;
  /** Whether the file that waits survives a reload. */
  isSafe;
  #lock = null;
  #lost;

  constructor(localKey, lost) {
    this.localKey = localKey;
    this.isSafe = localKey !== null;
    this.#lost = lost;
  }

  /** Other tabs see by the lock that this one carries the upload, or the file; `null` lets go. */
  hold(id) {
    if (id === (this.#lock?.id ?? null)) return;
    this.#lock?.release();
    this.#lock = id && hold(id, this.#lost);
  }

  /** Keeps the file until the upload has its id. Without locks, other tabs would send it as well. */
  async keepWaiting(file, begun) {
    if (!hasLocks) return;
    const key = files.waitingKey();
    this.localKey = key;
    this.hold(key);
    await this.#lock.held;
    if (this.localKey !== key) return;
    const isKept = await files.keepWaiting(key, file, begun);
    this.isSafe = isKept && this.localKey === key;
  }

  forgetWaiting() {
    if (this.localKey) files.drop(this.localKey);
    this.localKey = null;
    this.isSafe = false;
  }
}
