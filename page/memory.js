// What survives a reload: the uploads that this browser has begun, and their files where it can keep
// them.

const STORAGE_PREFIX = "chunked-upload:";
const SENDER_PREFIX = "sender-of-upload:";
const HIDDEN_PREFIX = "hidden-upload:";
/** A larger file is not copied into the browser's storage. */
const KEPT_BYTES = 16 * 1000 * 1000;
/** The name of this page among those that are open at the same time. */
const TAB = String(Math.random());

export const memory = {
  all() {
    const records = [];
    try {
      for (const key of Object.keys(localStorage)) {
        if (!key.startsWith(STORAGE_PREFIX)) continue;
        const record = parseRecord(localStorage.getItem(key));
        if (record) records.push(record);
        else memory.drop(key.slice(STORAGE_PREFIX.length));
      }
    } catch {
      // Storage can be disabled; then a reload starts from scratch.
    }
    return records.sort((a, b) => a.begun - b.begun);
  },

  keep(record) {
    try {
      localStorage.setItem(STORAGE_PREFIX + record.id, JSON.stringify(record));
    } catch {
      // As above.
    }
  },

  /** From now on, this page sends the upload, because its user said so. */
  claim(id) {
    try {
      localStorage.setItem(SENDER_PREFIX + id, TAB);
    } catch {
      // As above.
    }
  },

  /** Whether another page was told to send the upload, later than this one. */
  isOthers(id) {
    try {
      return (localStorage.getItem(SENDER_PREFIX + id) ?? TAB) !== TAB;
    } catch {
      return false;
    }
  },

  drop(id) {
    try {
      localStorage.removeItem(STORAGE_PREFIX + id);
      localStorage.removeItem(SENDER_PREFIX + id);
    } catch {
      // As above.
    }
    files.drop(id);
  },

  /** A finished file that the user no longer wants to see. */
  hide(id) {
    try {
      localStorage.setItem(HIDDEN_PREFIX + id, "");
    } catch {
      // As above.
    }
  },

  hidden() {
    try {
      const keys = Object.keys(localStorage).filter((key) => key.startsWith(HIDDEN_PREFIX));
      return new Set(keys.map((key) => key.slice(HIDDEN_PREFIX.length)));
    } catch {
      return new Set();
    }
  },

  unhide(id) {
    localStorage.removeItem(HIDDEN_PREFIX + id);
  },
};

function parseRecord(text) {
  try {
    const record = JSON.parse(text);
    return Date.parse(record.expires) > Date.now() && record.id && record.name ? record : null;
  } catch {
    return null;
  }
}

/** Calls `told` with the id when another page was told to send an upload, and at any other change. */
export function watchOthers(told) {
  window.addEventListener("storage", ({ key }) => {
    told(key?.startsWith(SENDER_PREFIX) ? key.slice(SENDER_PREFIX.length) : null);
  });
}

/* Files */

const handles = new WeakMap();

/** The files behind handles. A handle can be kept, and its file read again after a reload. */
export function filesOf(chosen) {
  return Promise.all(chosen.map(fileOf));
}

async function fileOf(handle) {
  const file = await handle.getFile();
  handles.set(file, handle);
  return file;
}

/**
 * Keeps files in IndexedDB: as handles, if the browser gave them, or whole if they are small. All of
 * it may fail, as in a private window; then the user chooses the file again.
 */
export const files = {
  keep(id, file, expires) {
    const handle = handles.get(file);
    if (!handle && file.size > KEPT_BYTES) return;
    const kept = handle ? { handle, expires } : { file, expires };
    inStore("readwrite", (store) => store.put(kept, id));
  },

  /** `null` if nothing is kept. */
  async of(id) {
    return (await inStore("readonly", (store) => store.get(id))) ?? null;
  },

  /** Reads what is kept. For a handle the browser may ask the user first; `null` if it says no. */
  async read({ file, handle }) {
    if (!handle) return file;
    try {
      const leave = await handle.requestPermission({ mode: "read" });
      return leave === "granted" ? await fileOf(handle) : null;
    } catch {
      return null;
    }
  },

  drop(id) {
    inStore("readwrite", (store) => store.delete(id));
  },

  /** Drops what belongs to uploads that have expired. */
  async dropExpired() {
    for (const id of (await inStore("readonly", (store) => store.getAllKeys())) ?? []) {
      const kept = await files.of(id);
      if (Date.parse(kept?.expires) < Date.now()) files.drop(id);
    }
  },
};

let opening = null;

function database() {
  opening ??= outcome(() => {
    const request = indexedDB.open("chunked-upload", 1);
    request.onupgradeneeded = () => request.result.createObjectStore("files");
    return request;
  });
  return opening;
}

async function inStore(mode, act) {
  try {
    const transaction = (await database()).transaction("files", mode);
    return await outcome(() => act(transaction.objectStore("files")));
  } catch {
    return null;
  }
}

function outcome(ask) {
  return new Promise((resolve, reject) => {
    const request = ask();
    request.onsuccess = () => resolve(request.result);
    request.onerror = () => reject(request.error);
  });
}
