// Sends files in chunks and resumes them after a pause, a lost connection, a restart of the server
// or a reload of the page.

import { bytes, duration, percent, plain, show } from "/words.js";

const CHUNK_PATH = "/api/chunked_upload";
const COMPLETE_PATH = "/api/chunked_upload_complete";
const LIST_PATH = "/api/uploads";
const CHUNK_BYTES = chunkBytes(4 * 1024 * 1024);
const AT_ONCE = 2;
const LONGEST_WAIT_SECONDS = 30;
const STALL_SECONDS = 120;
const TOKEN_HEADER = "Upload-Token";
// The application may copy a large file before it answers.
const COMPLETION_SECONDS = 15 * 60;
const STILL_CHECKING = "The server is still checking the file";
const IS_OVER = ["already-complete", "answer-not-kept", "finishing"];
const STORAGE_PREFIX = "chunked-upload:";
const SENDER_PREFIX = "sender-of-upload:";
const HIDDEN_PREFIX = "hidden-upload:";
const REFRESH_SECONDS = 5;
const ELSEWHERE_SECONDS = 30;
/** The name of this page among those that are open at the same time. */
const TAB = String(Math.random());

const page = {
  drop: document.querySelector("#drop"),
  picker: document.querySelector("#files"),
  notice: document.querySelector("#notice"),
  section: document.querySelector("#uploads"),
  list: document.querySelector("#list"),
  live: document.querySelector("#live"),
  row: document.querySelector("#row"),
};

/* Requests */

/** The server gave no usable response: trying again may help. */
class Unanswered extends Error {
  constructor(message, afterSeconds = 0) {
    super(message);
    this.afterSeconds = afterSeconds;
  }
}

/** The server has refused the request. */
class Refusal extends Error {
  constructor(status, answer) {
    super(typeof answer?.detail === "string" ? answer.detail : `status ${status}`);
    this.status = status;
    this.code = answer?.code;
    this.offset = answer?.offset;
  }
}

/** Another page sends this upload now. */
class Elsewhere extends Error {}

/** The file no longer exists, or has changed. */
class Unreadable extends Error {}

/** The server could not be asked to drop the upload. */
class Uncancelled extends Error {}

async function request(method, url, options = {}) {
  const { session } = options;
  try {
    return await send(method, url, options);
  } catch (error) {
    // The user's session has ended: the upload goes on by its token, if the server gave one.
    if (!session?.token || session.ended || ![401, 403].includes(error.status)) throw error;
    session.ended = true;
    return send(method, url, options);
  }
}

function send(method, url, options) {
  const { body = null, headers = {}, session } = options;
  const { signal, onprogress, stallSeconds = STALL_SECONDS } = options;
  return new Promise((resolve, reject) => {
    if (signal?.aborted) return reject(signal.reason);
    const xhr = new XMLHttpRequest();
    let stall;
    const watch = () => {
      clearTimeout(stall);
      stall = setTimeout(() => {
        reject(new Unanswered("The server does not answer"));
        xhr.abort();
      }, stallSeconds * 1000);
    };
    const abort = () => xhr.abort();

    xhr.open(method, url);
    xhr.responseType = "json";
    for (const [name, value] of Object.entries(headers)) xhr.setRequestHeader(name, value);
    if (session?.ended) xhr.setRequestHeader(TOKEN_HEADER, session.token);
    xhr.upload.onprogress = (event) => {
      watch();
      onprogress?.(event.loaded);
    };
    xhr.onload = () => {
      const { status, response } = xhr;
      const token = xhr.getResponseHeader(TOKEN_HEADER);
      if (session && token) session.token = token;
      const afterSeconds = Number(xhr.getResponseHeader("Retry-After")) || 0;
      if ([408, 425, 429].includes(status) || status >= 500 || (status === 409 && afterSeconds)) {
        const message =
          status >= 500 ? `The server has a problem (${status})` : "The server is too busy";
        reject(new Unanswered(message, afterSeconds));
      } else if (status >= 400) {
        reject(new Refusal(status, response));
      } else if (status === 202 && response?.status === "finishing") {
        // It takes long, and its answer will be there.
        const address = new URL(xhr.getResponseHeader("Location"), xhr.responseURL);
        const ask = () => request("GET", address, { signal });
        setTimeout(() => resolve(ask()), (afterSeconds || 1) * 1000);
      } else {
        resolve(response);
      }
    };
    xhr.onerror = () => reject(new Unanswered("The server does not answer"));
    xhr.onabort = () => reject(signal?.reason);
    xhr.onloadend = () => {
      clearTimeout(stall);
      signal?.removeEventListener("abort", abort);
    };
    signal?.addEventListener("abort", abort);
    watch();
    xhr.send(body);
  });
}

function statusUrl(id) {
  return `${CHUNK_PATH}?upload_id=${encodeURIComponent(id)}`;
}

/** A name that nobody guesses. */
function randomKey() {
  const bytes = crypto.getRandomValues(new Uint8Array(16));
  return Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");
}

/* The checksum */

class Hasher {
  #worker = new Worker("/md5.js", { type: "module" });
  #waiting = new Map();
  #calls = 0;
  #broken = false;

  constructor() {
    this.#worker.onmessage = ({ data: { call, digest } }) => {
      this.#waiting.get(call).resolve(digest);
      this.#waiting.delete(call);
    };
    this.#worker.onerror = () => {
      this.#broken = true;
      for (const { reject } of this.#waiting.values()) reject(this.#failure());
      this.#waiting.clear();
    };
  }

  update(key, buffer) {
    return this.#post({ action: "update", key, buffer }, [buffer]);
  }

  digest(key) {
    return this.#post({ action: "digest", key });
  }

  forget(key) {
    return this.#post({ action: "forget", key });
  }

  #failure() {
    return new Error("the checksum cannot be computed in this browser");
  }

  #post(message, transfer = []) {
    if (this.#broken) return Promise.reject(this.#failure());
    const call = this.#calls++;
    return new Promise((resolve, reject) => {
      this.#waiting.set(call, { resolve, reject });
      this.#worker.postMessage({ call, ...message }, transfer);
    });
  }
}

const hasher = new Hasher();

/* State that survives a reload */

const memory = {
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

/* One upload */

// States in which the upload takes one of the AT_ONCE slots.
const ACTIVE = ["checking", "sending", "retrying", "finishing"];

class Upload {
  static #keys = 0;

  key = Upload.#keys++;
  state = "waiting";
  problem = null;
  remedy = null;
  gone = false;
  md5 = null;
  saved = null;
  checked = 0;
  shown = 0;
  retryIn = 0;
  elsewhere = false;
  /** The upload was this page's, and another page has taken it over. */
  taken = false;

  #hashed = 0;
  #chunk = null;
  #once = randomKey();
  #session = { token: null, ended: false };
  #run = null;
  #wake = null;
  #announced = 0;
  #listed = false;
  #moved = 0;
  #rate = new Rate();

  constructor({ file = null, record = null }) {
    this.file = file;
    this.id = record?.id ?? null;
    this.name = record?.name ?? file.name;
    this.size = record?.size ?? file.size;
    this.lastModified = record ? record.lastModified : file.lastModified;
    this.offset = record?.offset ?? 0;
    this.expires = record?.expires ?? null;
    this.begun = record?.begun ?? Date.now();
    this.shown = this.offset;
    if (!file) this.state = "unfinished";
    this.row = new Row(this);
  }

  is(file) {
    const { name, size, lastModified } = this;
    // The server does not know a file's date; in the end, the checksum decides.
    const sameDate = lastModified === null || file.lastModified === lastModified;
    return file.name === name && file.size === size && sameDate;
  }

  get part() {
    if (this.state === "done") return 1;
    return this.size === 0 ? 0 : this.shown / this.size;
  }

  get rate() {
    return this.#rate.value;
  }

  /* Button actions */

  start() {
    this.#run = new AbortController();
    this.#rate.reset(this.shown);
    this.#announced = Math.max(this.#announced, Math.floor(this.part * 4));
    announce(`Sending ${this.name}, ${bytes(this.size)}.`);
    this.#set("sending");
    this.#keepTrying(this.#run.signal);
  }

  pause() {
    this.#stop();
    this.shown = this.offset;
    this.#set("paused");
    announce(`${this.name} paused at ${percent(this.part)}.`);
    startNext();
  }

  queue() {
    this.problem = null;
    this.taken = false;
    if (this.id) memory.claim(this.id);
    this.#set("waiting");
    startNext();
  }

  resumeWith(file) {
    this.file = file;
    this.lastModified = file.lastModified;
    if (this.id && !this.gone) this.queue();
    else this.startOver();
  }

  tryNow() {
    this.#wake?.();
  }

  async startOver() {
    this.#set("cancelling");
    // Another page may have continued it.
    const isOurs = this.id && !this.gone && !this.#isOthers();
    if (isOurs) {
      memory.drop(this.id);
      await request("DELETE", statusUrl(this.id), { session: this.#session }).catch(() => {});
    }
    this.#forget();
    this.#session = { token: null, ended: false };
    this.gone = false;
    this.offset = this.shown = this.#hashed = this.#announced = 0;
    this.#chunk = null;
    this.queue();
  }

  chooseFile() {
    this.problem = null;
    this.#set("unfinished");
    choose(this);
  }

  /** Removes the upload from the server as well. */
  async cancel() {
    this.#stop();
    if (this.id) {
      this.#set("cancelling");
      try {
        await request("DELETE", statusUrl(this.id), { session: this.#session });
      } catch (error) {
        if (error instanceof Refusal && IS_OVER.includes(error.code)) return this.#tooLate();
        if (!(error instanceof Refusal && [404, 410].includes(error.status))) {
          return this.#fail(new Uncancelled());
        }
      }
      memory.drop(this.id);
    }
    announce(`${this.name} cancelled.`);
    this.remove();
  }

  /** Another page was told to send the upload: this one must not take it back by itself. */
  yield() {
    // An upload that is being completed cannot be taken over.
    if (["unfinished", "finishing", "cancelling", "done"].includes(this.state) || this.taken) return;
    this.#stop();
    this.#fail(new Elsewhere());
  }

  /** The server's status of an upload that is not this page's at the moment. */
  learn({ offset, expires, status, md5 }) {
    if (this.state !== "unfinished" && !this.taken) return;
    if (status === "complete") {
      memory.drop(this.id);
      this.taken = false;
      this.md5 = md5;
      return this.#set("done");
    }
    if (this.taken) return;
    if (offset > this.offset && this.#listed) this.#moved = Date.now();
    this.#listed = true;
    this.elsewhere = Date.now() - this.#moved < ELSEWHERE_SECONDS * 1000;
    this.offset = this.shown = offset;
    this.expires = expires;
    this.row.render();
  }

  /** The upload can no longer be cancelled; the list will show it as done. */
  #tooLate() {
    notice("“", this.name, "” is saved already, or just being saved.");
    this.#set("unfinished");
    refresh();
    startNext();
  }

  /** Removes a failed upload; if another page sends it now, only from this page. */
  dismiss() {
    if (this.#isOthers()) leftToOthers.add(this.id);
    else if (this.id && !this.gone) return this.cancel();
    this.remove();
  }

  /** Removes the upload from this page only. */
  remove() {
    this.#stop();
    if (this.state === "done") memory.hide(this.id);
    this.#forget();
    uploads.delete(this);
    removals += 1;
    this.row.remove();
    startNext();
    showOverall();
  }

  /* The transfer */

  async #keepTrying(signal) {
    for (let failures = 0; ; ) {
      try {
        const before = this.offset;
        await this.#transfer(signal, () => {
          if (this.offset > before) failures = 0;
        });
        return;
      } catch (error) {
        if (signal.aborted) return;
        if (!(error instanceof Unanswered)) return this.#fail(await this.#cause(error));
        failures += 1;
        const seconds = Math.min(2 ** (failures - 1), LONGEST_WAIT_SECONDS);
        await this.#backOff(error, Math.max(seconds, error.afterSeconds), failures, signal);
        if (signal.aborted) return;
      }
    }
  }

  /** An upload can be taken over by a newer request, or by a cancellation. */
  async #cause(error) {
    if (error.status !== 409 || !this.id) return error;
    const asked = request("GET", statusUrl(this.id), { session: this.#session });
    return asked.then(
      () => new Elsewhere(),
      (newer) => (newer instanceof Refusal ? newer : new Elsewhere()),
    );
  }

  async #backOff(error, seconds, failures, signal) {
    this.problem = error.message;
    this.shown = this.offset;
    if (failures === 1) announce(`${error.message}. ${this.name} will go on by itself.`);
    const until = Date.now() + seconds * 1000;
    let woken = false;
    while (!woken && !signal.aborted && Date.now() < until) {
      this.retryIn = Math.ceil((until - Date.now()) / 1000);
      this.#set("retrying");
      await new Promise((resolve) => {
        const timer = setTimeout(resolve, Math.min(1000, until - Date.now()));
        this.#wake = () => {
          clearTimeout(timer);
          woken = true;
          resolve();
        };
      });
    }
    this.#wake = null;
    if (!signal.aborted) this.problem = null;
  }

  async #transfer(signal, progressed) {
    if (this.#isOthers()) throw new Elsewhere();
    if (this.id) {
      const session = this.#session;
      const answer = await request("GET", statusUrl(this.id), { signal, session });
      this.#take(answer);
      if (answer.status === "complete") return this.#finished(await this.#digest(signal));
      if (answer.status === "finishing") throw new Unanswered(STILL_CHECKING);
    }
    let surprises = 0;
    while (!this.id || this.offset < this.size) {
      try {
        await this.#sendChunk(signal);
        surprises = 0;
        progressed();
      } catch (error) {
        if (!(error instanceof Refusal && Number.isInteger(error.offset) && this.id)) throw error;
        if (++surprises > 3) throw error;
        this.#take({ upload_id: this.id, offset: error.offset, expires: this.expires });
      }
    }
    await this.#finish(signal);
  }

  async #sendChunk(signal) {
    const start = this.offset;
    const end = Math.min(start + CHUNK_BYTES, this.size);
    await this.#hashTo(start, signal);
    const { blob, hashing } = await this.#read(start, end, signal);

    const form = new FormData();
    if (this.id) form.append("upload_id", this.id);
    form.append("file", blob, this.name);
    const headers = end > start ? { "Content-Range": `bytes ${start}-${end - 1}/${this.size}` } : {};
    // If the answer is lost, the same request gives the same upload.
    if (!this.id) headers["Idempotency-Key"] = `"${this.#once}"`;
    this.#set("sending");
    const sent = request("POST", CHUNK_PATH, {
      body: form,
      headers,
      session: this.#session,
      signal,
      onprogress: (loaded) => this.#show(Math.min(start + loaded, end)),
    });
    const [answer] = await Promise.all([sent, hashing]);
    signal.throwIfAborted();
    this.#chunk = null;
    this.#take(answer);
  }

  /** A chunk that has to be sent again is neither read nor hashed again. */
  async #read(start, end, signal) {
    if (this.#chunk?.start === start && this.#chunk.end === end) return this.#chunk;
    const buffer = await this.#bytes(start, end, signal);
    const blob = new Blob([buffer]);
    this.#chunk = { start, end, blob, hashing: this.#hash(start, end, buffer) };
    return this.#chunk;
  }

  async #bytes(start, end, signal) {
    let buffer;
    try {
      buffer = await this.file.slice(start, end).arrayBuffer();
    } catch (error) {
      throw new Unreadable(error.message);
    }
    signal.throwIfAborted();
    if (buffer.byteLength !== end - start) throw new Unreadable("the file has become shorter");
    return buffer;
  }

  #hash(start, end, buffer) {
    if (end <= this.#hashed) return null;
    const fresh = this.#hashed > start ? buffer.slice(this.#hashed - start) : buffer;
    this.#hashed = end;
    return hasher.update(this.key, fresh);
  }

  /** Hashes what the server already has and this page has not read yet. */
  async #hashTo(offset, signal) {
    while (this.#hashed < offset) {
      this.checked = this.#hashed / offset;
      this.#set("checking");
      const start = this.#hashed;
      const end = Math.min(start + CHUNK_BYTES, offset);
      await this.#hash(start, end, await this.#bytes(start, end, signal));
      signal.throwIfAborted();
      this.#rate.reset(this.shown);
    }
  }

  async #digest(signal) {
    await this.#hashTo(this.size, signal);
    return hasher.digest(this.key);
  }

  async #finish(signal) {
    const md5 = await this.#digest(signal);
    this.#set("finishing");
    const body = new URLSearchParams({ upload_id: this.id, md5 });
    try {
      const options = { body, session: this.#session, signal, stallSeconds: COMPLETION_SECONDS };
      const answer = await request("POST", COMPLETE_PATH, options);
      this.#finished(md5, answer);
    } catch (error) {
      // Nobody works on it any more, perhaps after a crash: it is completed again.
      if (error.code === "not-completing") throw new Unanswered(error.message);
      // The response to an earlier attempt may have been lost, or may still be pending.
      if (!(error instanceof Refusal && IS_OVER.includes(error.code))) throw error;
      const session = this.#session;
      const { status } = await request("GET", statusUrl(this.id), { signal, session });
      if (status === "finishing") throw new Unanswered(STILL_CHECKING);
      if (status !== "complete") throw error;
      this.#finished(md5);
    }
  }

  #finished(md5, answer) {
    this.md5 = md5;
    this.saved = typeof answer?.saved === "string" ? answer.saved : null;
    memory.drop(this.id);
    hasher.forget(this.key).catch(() => {});
    this.file = null;
    this.#set("done");
    announce(`${this.name} is done.`);
    startNext();
  }

  #fail(error) {
    const { words, remedy = null, gone = false } = explain(error);
    this.taken = error instanceof Elsewhere;
    this.problem = words;
    this.remedy = remedy;
    this.gone = gone;
    if (gone) memory.drop(this.id);
    this.shown = this.offset;
    this.#set("error");
    announce(`${this.name} stopped. ${words}`);
    startNext();
  }

  /* Bookkeeping */

  #take(answer) {
    const { upload_id, offset, expires } = answer ?? {};
    if (!upload_id || !Number.isInteger(offset) || offset < 0 || offset > this.size) {
      throw new Error("the server's answer makes no sense");
    }
    // The list may have shown it before the response arrived.
    if (!this.id) {
      find(upload_id)?.remove();
      memory.claim(upload_id);
    }
    this.id = upload_id;
    this.offset = offset;
    this.expires = expires;
    if (this.#isOthers()) throw new Elsewhere();
    const { id, name, size, lastModified, begun } = this;
    memory.keep({ id, name, size, lastModified, offset, expires, begun });
    this.#show(offset);
  }

  #isOthers() {
    return this.taken || (this.id !== null && memory.isOthers(this.id));
  }

  #show(position) {
    this.shown = position;
    this.#rate.note(position);
    const quarter = Math.floor(this.part * 4);
    if (quarter > this.#announced && quarter < 4) {
      announce(`${this.name}: ${quarter * 25} percent sent.`);
    }
    this.#announced = Math.max(quarter, this.#announced);
    this.row.tick();
    showOverall();
  }

  #forget() {
    this.id = null;
    this.#once = randomKey();
    hasher.forget(this.key).catch(() => {});
  }

  #stop() {
    this.#run?.abort();
    this.#wake?.();
  }

  #set(state) {
    this.state = state;
    this.row.render();
    showOverall();
  }
}

/** Bytes per second over the last few seconds. */
class Rate {
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
    if (!from || to[0] - from[0] < 500) return 0;
    return Math.max(0, ((to[1] - from[1]) * 1000) / (to[0] - from[0]));
  }
}

/** The error in plain words, and what the main button offers. */
function explain(error) {
  const startOver = { label: "Start over", act: (upload) => upload.startOver() };
  const tryAgain = { label: "Try again", act: (upload) => upload.queue() };
  const chooseFile = { label: "Choose file", act: (upload) => upload.chooseFile() };
  const { message } = error;

  if (error instanceof Unreadable) {
    return {
      words: "The file cannot be read any more: it was changed, moved or deleted. Choose it again.",
      remedy: chooseFile,
    };
  }
  if (error instanceof Uncancelled) {
    return {
      words: "The server could not be told. It removes the unfinished part by itself when it expires.",
      remedy: { label: "Try again", act: (upload) => upload.cancel() },
      gone: true,
    };
  }
  if (error instanceof Elsewhere || error.status === 409) {
    return {
      words: "This upload goes on in another tab or window. Close that one to continue here.",
      remedy: { label: "Continue here", act: (upload) => upload.queue() },
    };
  }
  if (!(error instanceof Refusal)) {
    return { words: `Something unexpected happened: ${message}.`, remedy: tryAgain };
  }
  switch (error.code) {
    case "too-large":
      return { words: `The file is too large for this server. ${message}.` };
    case "checksum-mismatch":
      return {
        words: "The file changed while it was sent, so the server did not take it. Start over.",
        remedy: startOver,
      };
  }
  switch (error.status) {
    case 401:
    case 403:
      return {
        words: "You are not allowed to send this file. Sign in, then try again.",
        remedy: tryAgain,
      };
    case 404:
      return {
        words: "The server does not know this upload any more. Start over to send the file again.",
        remedy: startOver,
        gone: true,
      };
    case 410:
      return {
        words: "This upload took too long and has expired. Start over to send the file again.",
        remedy: startOver,
        gone: true,
      };
    case 413:
      return { words: "The file is too large for this server. Choose a smaller one." };
  }
  return { words: `The server refused the file: ${message}.`, remedy: startOver };
}

/* One line of the list */

const TONES = {
  waiting: "quiet",
  paused: "quiet",
  cancelling: "quiet",
  unfinished: "warn",
  retrying: "warn",
  done: "good",
  error: "bad",
};

class Row {
  #upload;
  #parts = {};
  #acts = {};
  #tickedAt = 0;

  constructor(upload) {
    this.#upload = upload;
    this.element = page.row.content.firstElementChild.cloneNode(true);
    const part = (selector) => this.element.querySelector(selector);
    for (const name of ["name", "size", "state", "detail", "md5", "main", "extra", "stop"]) {
      this.#parts[name] = part(`.${name}`);
    }
    this.#parts.bar = part("progress");
    this.#parts.code = part("code");
    show(this.#parts.name, "", upload.name);
    this.#parts.size.textContent = bytes(upload.size);
    this.#parts.bar.setAttribute("aria-label", `Progress of ${plain(upload.name)}`);
    for (const slot of ["main", "extra", "stop"]) {
      this.#parts[slot].addEventListener("click", () => this.#acts[slot]?.(this.#upload));
    }
    this.element.tabIndex = -1;
    page.list.append(this.element);
    page.section.hidden = false;
    this.render();
  }

  render() {
    const { state, md5, elsewhere } = this.#upload;
    this.element.dataset.state = state;
    this.element.dataset.tone = elsewhere ? "busy" : (TONES[state] ?? "busy");
    this.#parts.md5.hidden = !md5;
    this.#parts.code.textContent = md5 ?? "";
    this.#buttons();
    this.#tickedAt = 0;
    this.tick();
  }

  /** Updates the bar at every call, and the text at a readable pace. */
  tick() {
    this.#parts.bar.value = this.#upload.part;
    if (performance.now() - this.#tickedAt < 250 && this.#tickedAt > 0) return;
    this.#tickedAt = performance.now();
    const [state, ...detail] = this.#words();
    show(this.#parts.state, state);
    show(this.#parts.detail, ...detail);
  }

  remove() {
    const hadFocus = this.element.contains(document.activeElement);
    const next = this.element.nextElementSibling ?? this.element.previousElementSibling;
    this.element.remove();
    page.section.hidden = page.list.children.length === 0;
    if (hadFocus) (next?.querySelector("button:not([hidden])") ?? page.picker).focus();
  }

  #words() {
    const { state, shown, size, part, rate, checked, problem, retryIn, saved, elsewhere } =
      this.#upload;
    const amount = `${bytes(shown)} of ${bytes(size)}`;
    switch (state) {
      case "waiting":
        return ["Waiting", "Two files are sent at a time."];
      case "checking":
        return [`Checking, ${percent(checked)}`, "Reading again what the server already has."];
      case "sending": {
        const pace = rate > 0 ? [`${bytes(rate)}/s`, `${duration((size - shown) / rate)} left`] : [];
        return [`Sending, ${percent(part)}`, [amount, ...pace].join(" · ")];
      }
      case "retrying":
        return [problem ?? "", `Trying again in ${retryIn}\u00a0s`];
      case "finishing":
        return ["Finishing", "The server is checking the file."];
      case "paused":
        return [`Paused at ${percent(part)}`, amount];
      case "unfinished":
        if (elsewhere) {
          return [`Sending elsewhere, ${percent(part)}`, "Choose the file here to take it over."];
        }
        return [`Unfinished, ${percent(part)} sent`, "Choose the same file again to go on."];
      case "cancelling":
        return ["Cancelling", ""];
      case "done":
        return saved ? ["Done", "Saved as ", saved] : ["Done", ""];
      default:
        return ["Stopped", problem];
    }
  }

  #buttons() {
    const upload = this.#upload;
    const pause = ["Pause", () => upload.pause()];
    const cancel = ["Cancel", () => upload.cancel()];
    const bySlot = {
      waiting: { main: pause, stop: cancel },
      checking: { main: pause, stop: cancel },
      sending: { main: pause, stop: cancel },
      retrying: { main: pause, extra: ["Try now", () => upload.tryNow()], stop: cancel },
      paused: { main: ["Resume", () => upload.queue()], stop: cancel },
      unfinished: {
        main: ["Choose file", () => upload.chooseFile()],
        stop: cancel,
      },
      done: { stop: ["Remove", () => upload.remove()] },
      error: {
        main: upload.remedy && [upload.remedy.label, upload.remedy.act],
        stop: ["Remove", () => upload.dismiss()],
      },
    }[upload.state] ?? {};

    const focused = document.activeElement;
    for (const slot of ["main", "extra", "stop"]) {
      const button = this.#parts[slot];
      const [label, act] = bySlot[slot] ?? [];
      this.#acts[slot] = act;
      button.hidden = !label;
      if (label && button.textContent !== label) {
        button.textContent = label;
        button.setAttribute("aria-label", `${label} ${plain(upload.name)}`);
      }
    }
    if (focused?.hidden && this.element.contains(focused)) {
      (this.element.querySelector("button:not([hidden])") ?? this.element).focus();
    }
  }
}

/* The whole list */

const uploads = new Set();
/** The ids of uploads that were removed here while another page sent them. */
const leftToOthers = new Set();
let removals = 0;
let wanted = null;

function choose(upload) {
  wanted = upload;
  page.picker.click();
}

function add(files) {
  const expected = wanted;
  wanted = null;
  notice("");
  for (const file of files) {
    const known = [...uploads].find((upload) => upload.state !== "done" && upload.is(file));
    if (!known) uploads.add(new Upload({ file }));
    else if (["unfinished", "paused", "error"].includes(known.state)) known.resumeWith(file);
    else notice("“", file.name, "” is already being sent.");
  }
  if (uploads.has(expected) && expected.state === "unfinished" && files.length > 0) {
    notice(
      "“",
      expected.name,
      "” is still unfinished: what you chose differs in name, size or date, so it is sent as a " +
        "new upload.",
    );
  }
  startNext();
}

function startNext() {
  let free = AT_ONCE;
  for (const { state } of uploads) if (ACTIVE.includes(state)) free -= 1;
  for (const upload of uploads) {
    if (free <= 0) break;
    if (upload.state !== "waiting") continue;
    upload.start();
    free -= 1;
  }
}

/** Shows the uploads that this user's other tabs and visits have begun. */
async function refresh() {
  if (document.hidden) return;
  const before = removals;
  let listed;
  try {
    listed = await request("GET", LIST_PATH);
  } catch {
    return; // What this browser remembers is shown all the same.
  }
  if (removals > before) return; // It may list what is gone by now.
  const hidden = memory.hidden();
  for (const upload of [...uploads]) {
    const isListed = listed.some(({ id }) => id === upload.id);
    if (upload.state === "unfinished" && upload.id && !isListed) {
      memory.drop(upload.id);
      upload.remove();
    }
  }
  for (const item of listed) {
    const known = find(item.id);
    if (known) known.learn(item);
    else if (leftToOthers.has(item.id) && item.status !== "complete") continue;
    else if (!hidden.delete(item.id)) addListed(item);
  }
  hidden.forEach((id) => memory.unhide(id));
}

function addListed(item) {
  const size = item.total ?? item.offset;
  const record = { ...item, size, lastModified: null, begun: Date.parse(item.created) };
  const upload = new Upload({ record });
  uploads.add(upload);
  upload.learn(item);
}

function find(id) {
  return [...uploads].find((upload) => upload.id === id);
}

/** Shows the total progress in the title, where a background tab shows it. */
function showOverall() {
  let [sent, total] = [0, 0];
  for (const { state, shown, size } of uploads) {
    if (!ACTIVE.includes(state) && state !== "waiting") continue;
    sent += shown;
    total += size;
  }
  const title = total > 0 ? `${percent(sent / total)} – Send files` : "Send files";
  if (document.title !== title) document.title = title;
}

function notice(before, name = "", after = "") {
  show(page.notice, before, name, after);
  page.notice.hidden = !before;
  if (before) announce(before + name + after);
}

function announce(text) {
  const line = document.createElement("p");
  line.textContent = plain(text);
  page.live.append(line);
  while (page.live.children.length > 8) page.live.firstElementChild.remove();
}

function chunkBytes(fallback) {
  const asked = Number(new URLSearchParams(location.search).get("chunk"));
  return Number.isInteger(asked) && asked > 0 ? asked : fallback;
}

/* Events */

page.picker.addEventListener("change", () => {
  add([...page.picker.files]);
  // This allows the same file to be chosen again.
  page.picker.value = "";
});

page.picker.addEventListener("cancel", () => {
  wanted = null;
});

function carriesFiles(event) {
  return event.dataTransfer?.types.includes("Files");
}

document.addEventListener("dragover", (event) => {
  if (!carriesFiles(event)) return;
  event.preventDefault();
  document.body.classList.add("dragging");
});

document.addEventListener("dragleave", (event) => {
  if (!event.relatedTarget) document.body.classList.remove("dragging");
});

document.addEventListener("drop", (event) => {
  document.body.classList.remove("dragging");
  if (!carriesFiles(event)) return;
  event.preventDefault();
  const { items, files } = event.dataTransfer;
  const folders = [...items].filter((item) => item.webkitGetAsEntry?.()?.isDirectory).length;
  if (folders === 0) return add([...files]);
  // A folder is also among the files, and cannot be told apart there.
  add(
    [...items]
      .filter((item) => item.webkitGetAsEntry?.()?.isFile)
      .map((item) => item.getAsFile()),
  );
  notice("Folders cannot be sent. Drop the files in them.");
});

window.addEventListener("online", () => {
  for (const upload of uploads) upload.tryNow();
});

// Another tab has begun, continued, finished or cancelled something.
window.addEventListener("storage", ({ key }) => {
  for (const upload of uploads) {
    if (key === SENDER_PREFIX + upload.id && memory.isOthers(upload.id)) upload.yield();
  }
  refresh();
});

document.addEventListener("visibilitychange", refresh);

for (const record of memory.all()) uploads.add(new Upload({ record }));
refresh();
setInterval(refresh, REFRESH_SECONDS * 1000);
