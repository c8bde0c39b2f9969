// Which of the open tabs carries an upload: the one that holds its lock, which ends with the tab.

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
export function hold(id, lost) {
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
  const { held } = await manager.query();
  const names = held.map(({ name }) => name);
  const others = names.filter((name) => name.startsWith(PREFIX) && !claims.has(name));
  return new Set(others.map((name) => name.slice(PREFIX.length)));
}
