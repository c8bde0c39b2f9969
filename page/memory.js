// What survives a reload: the uploads that this browser has begun, and their files where it can keep
// them.

import { randomKey } from "/requests.js";

const STORAGE_PREFIX = "chunked-upload:";
const SENDER_PREFIX = "sender-of-upload:";
const HIDDEN_PREFIX = "hidden-upload:";
const CANCELLED_PREFIX = "cancelled-upload:";
/** In front of the keys of files that have no upload yet. */
const LOCAL_PREFIX = "local:";
/** In the storage of the tab. */
const LEFT_PREFIX = "left-upload:";
/** What it was left to is another tab that holds it. */
const HELD = "held";
const LOCAL_DAYS = 7;
/** A larger file is not copied into the browser's storage. */
const KEPT_BYTES = 16 * 1000 * 1000;
/** Nor one with which all copies would be larger than this. */
const ALL_KEPT_BYTES = 200 * 1000 * 1000;
/** The name of this page among those that are open at the same time. */
const TAB = String(Math.random());

/** Storage can be disabled; then a reload starts from scratch. */
function attempt(act, otherwise = undefined) {
  try {
    return act();
  } catch {
    return otherwise;
  }
}

/** What follows the prefix in the keys that have it. */
function idsAfter(prefix) {
  const keys = attempt(() => Object.keys(localStorage), []);
  return keys.filter((key) => key.startsWith(prefix)).map((key) => key.slice(prefix.length));
}

export const memory = {
  all() {
    const records = [];
    const cancelled = memory.cancelled();
    for (const id of idsAfter(STORAGE_PREFIX)) {
      if (cancelled.includes(id)) continue;
      const record = parseRecord(attempt(() => localStorage.getItem(STORAGE_PREFIX + id)));
      if (record) records.push(record);
      else memory.drop(id);
    }
    return records.sort((a, b) => a.begun - b.begun);
  },

  keep(record) {
    attempt(() => localStorage.setItem(STORAGE_PREFIX + record.id, JSON.stringify(record)));
  },

  /** From now on, this page sends the upload, because its user said so. */
  claim(id) {
    attempt(() => localStorage.setItem(SENDER_PREFIX + id, TAB));
  },

  /** Whether another page was told to send the upload, later than this one. */
  isOthers(id) {
    return attempt(() => (localStorage.getItem(SENDER_PREFIX + id) ?? TAB) !== TAB, false);
  },

  drop(id) {
    for (const prefix of [STORAGE_PREFIX, SENDER_PREFIX, CANCELLED_PREFIX]) {
      attempt(() => localStorage.removeItem(prefix + id));
    }
    files.drop(id);
  },

  /** To be cancelled as soon as the server answers, also by another tab or visit. */
  cancelLater(id) {
    attempt(() => localStorage.setItem(CANCELLED_PREFIX + id, "1"));
  },

  uncancel(id) {
    attempt(() => localStorage.removeItem(CANCELLED_PREFIX + id));
  },

  cancelled: () => idsAfter(CANCELLED_PREFIX),

  /**
   * It is left to the page that sends it, and not shown in this tab until it is done; or, if it
   * `isHeld` by another tab, until that one lets go of it.
   */
  leave(id, isHeld) {
    attempt(() => sessionStorage.setItem(LEFT_PREFIX + id, isHeld ? HELD : ""));
  },

  /** Forgets that it was left to another tab that has let go of it. */
  isLeft(id, isHeld) {
    const mark = attempt(() => sessionStorage.getItem(LEFT_PREFIX + id), null);
    if (mark !== HELD || isHeld) return mark !== null;
    attempt(() => sessionStorage.removeItem(LEFT_PREFIX + id));
    return false;
  },

  /** A finished file that the user no longer wants to see. */
  hide(id) {
    attempt(() => localStorage.setItem(HIDDEN_PREFIX + id, ""));
  },

  hidden: () => new Set(idsAfter(HIDDEN_PREFIX)),

  unhide(id) {
    attempt(() => localStorage.removeItem(HIDDEN_PREFIX + id));
  },
};

function parseRecord(text) {
  try {
    const record = JSON.parse(text);
    // One that never expires has no time.
    const isExpired = Date.parse(record.expires) <= Date.now();
    return record.id && record.name && !isExpired ? record : null;
  } catch {
    return null;
  }
}

/**
 * Calls `told` with the id when another page was told to send an upload, and at any other change but
 * that of an offset, of which there are many.
 */
export function watchOthers(told) {
  window.addEventListener("storage", ({ key, oldValue, newValue }) => {
    if (key?.startsWith(STORAGE_PREFIX) && oldValue && newValue) return;
    told(key?.startsWith(SENDER_PREFIX) ? key.slice(SENDER_PREFIX.length) : null);
  });
}

/* Files */

const handles = new WeakMap();
/** The sizes of the copies, as far as this tab knows. */
const copies = new Map();

/** The file behind a handle. The handle can be kept, and its file read again after a reload. */
export async function fileOf(handle) {
  const file = await handle.getFile();
  handles.set(file, handle);
  return file;
}

/**
 * Keeps files in IndexedDB: as handles, if the browser gave them, or whole if they are small and not
 * too many. All of it may fail, as in a private window; then the user chooses the file again.
 */
export const files = {
  async keep(id, file, record) {
    const handle = handles.get(file);
    if (!handle) {
      const others = [...copies].filter(([key]) => key !== id);
      const all = others.reduce((sum, [, size]) => sum + size, file.size);
      if (file.size > KEPT_BYTES || all > ALL_KEPT_BYTES) return false;
      copies.set(id, file.size);
    }
    const kept = { ...record, ...(handle ? { handle } : { file }) };
    const isKept = (await inStore("readwrite", (store) => store.put(kept, id))) !== null;
    if (!isKept) copies.delete(id);
    return isKept;
  },

  /** Keeps a file that has no upload yet, under its key; gives whether it is kept. */
  keepWaiting(key, file, begun) {
    const { name, size, lastModified } = file;
    const expires = new Date(Date.now() + LOCAL_DAYS * 24 * 60 * 60 * 1000).toISOString();
    return files.keep(key, file, { name, size, lastModified, begun, expires });
  },

  waitingKey: () => LOCAL_PREFIX + randomKey(),

  async waitingKeys() {
    const keys = (await inStore("readonly", (store) => store.getAllKeys())) ?? [];
    return keys.filter((key) => key.startsWith(LOCAL_PREFIX));
  },

  /** `null` if nothing is kept. */
  async of(id) {
    return (await inStore("readonly", (store) => store.get(id))) ?? null;
  },

  /**
   * Reads what is kept. For a handle the browser may ask the user first: whether it said no is
   * `isDenied`. Without that and a file, the file is gone.
   */
  async read({ file, handle }) {
    if (!handle) return { file };
    try {
      const leave = await handle.requestPermission({ mode: "read" });
      if (leave !== "granted") return { isDenied: true };
      return { file: await fileOf(handle) };
    } catch (error) {
      // The browser only asks after a click, which may be that on another row.
      return { isDenied: ["NotAllowedError", "SecurityError"].includes(error.name) };
    }
  },

  /** The file as it is now, if there is a handle of it. */
  async afresh(file) {
    const handle = handles.get(file);
    return handle ? fileOf(handle).catch(() => null) : null;
  },

  drop(id) {
    copies.delete(id);
    inStore("readwrite", (store) => store.delete(id));
  },

  /** Drops what belongs to uploads that have expired, and counts the rest. */
  async dropExpired() {
    const remembered = memory.all().map(({ id }) => id);
    for (const id of (await inStore("readonly", (store) => store.getAllKeys())) ?? []) {
      const kept = await files.of(id);
      // The time of an upload may be a later one by now.
      const isOver = !remembered.includes(id) && Date.parse(kept?.expires) < Date.now();
      if (isOver) files.drop(id);
      else if (kept?.file) copies.set(id, kept.file.size);
    }
  },
};

let opening = null;

/** Is opened again after it could not be opened, or was closed by the browser. */
function database() {
  if (opening) return opening;
  const forget = () => {
    opening = null;
  };
  opening = new Promise((resolve, reject) => {
    const request = indexedDB.open("chunked-upload", 1);
    request.onupgradeneeded = () => request.result.createObjectStore("files");
    request.onsuccess = () => {
      request.result.onclose = forget;
      resolve(request.result);
    };
    request.onerror = () => reject(request.error);
  });
  opening.catch(forget);
  return opening;
}

/** What `act` has asked for, once it is on the disk, or `null` if that failed. */
async function inStore(mode, act) {
  try {
    const transaction = (await database()).transaction("files", mode);
    const request = act(transaction.objectStore("files"));
    return await new Promise((resolve, reject) => {
      transaction.oncomplete = () => resolve(request.result);
      transaction.onabort = () => reject(transaction.error);
    });
  } catch {
    return null;
  }
}

