// How the bytes of an upload get to the server, and its checksum with them.

import { hasher } from "/checksum.js";
import { Elsewhere, Unreadable } from "/problems.js";
import { CHUNK_PATH, COMPLETE_PATH, Refusal, Unanswered, randomKey, request, statusUrl } from "/requests.js";

const CHUNK_BYTES = chunkBytes(4 * 1024 * 1024);
// The application may copy a large file before it answers.
const COMPLETION_SECONDS = 15 * 60;
const LONGEST_WAIT_SECONDS = 30;
// How often a completion is sent again because nobody works on it any more.
const MOST_ABANDONED = 3;
const STILL_CHECKING = "The server is still checking the file";
const IS_OVER = ["already-complete", "answer-not-kept", "finishing"];

/**
 * Has the server drop an upload. Gives `dropped` also if it has nothing of it, `late` if it is
 * complete or being completed, and otherwise `unanswered` or `refused`.
 */
export async function cancel(id, session, stallSeconds) {
  try {
    await request("DELETE", statusUrl(id), { session, stallSeconds });
    return "dropped";
  } catch (error) {
    if (error instanceof Unanswered) return "unanswered";
    if (error.isGone) return "dropped";
    return IS_OVER.includes(error.code) ? "late" : "refused";
  }
}

/** What is known of one upload on the server; starting over begins with another one. */
export class Transfer {
  session = { token: null, ended: false };
  #upload;
  #hashed = 0;
  #chunk = null;
  #once = randomKey();
  #wake = null;
  #abandoned = 0;

  constructor(upload) {
    this.#upload = upload;
  }

  async keepTrying(signal) {
    this.#abandoned = 0;
    for (let failures = 0; ; ) {
      try {
        const before = this.#upload.offset;
        await this.#run(signal, () => {
          if (this.#upload.offset > before) failures = 0;
        });
        return;
      } catch (error) {
        if (signal.aborted) return;
        if (!(error instanceof Unanswered)) {
          const cause = await this.#cause(error);
          if (!signal.aborted) this.#upload.fail(cause);
          return;
        }
        failures += 1;
        const seconds = Math.min(2 ** (failures - 1), LONGEST_WAIT_SECONDS);
        await this.#backOff(error, Math.max(seconds, error.afterSeconds), failures, signal);
        if (signal.aborted) return;
      }
    }
  }

  /** An upload can be taken over by a newer request, or by a cancellation. */
  async #cause(error) {
    if (error.status !== 409 || error.isAbandoned || !this.#upload.id) return error;
    const asked = request("GET", statusUrl(this.#upload.id), { session: this.session });
    return asked.then(
      () => new Elsewhere(),
      (newer) => (newer instanceof Refusal ? newer : new Elsewhere()),
    );
  }

  async #backOff(error, seconds, failures, signal) {
    this.#upload.problem = error.message;
    this.#upload.shown = this.#upload.offset;
    if (failures === 1) this.#upload.say(`${error.message}. ${this.#upload.name} will go on by itself.`);
    const until = Date.now() + seconds * 1000;
    let woken = false;
    while (!woken && !signal.aborted && Date.now() < until) {
      this.#upload.retryIn = Math.ceil((until - Date.now()) / 1000);
      this.#upload.set("retrying");
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
    if (signal.aborted) return;
    this.#upload.retryIn = 0;
    this.#upload.set("retrying");
  }

  wake() {
    this.#wake?.();
  }

  async #run(signal, progressed) {
    const upload = this.#upload;
    if (upload.isOthers()) throw new Elsewhere();
    if (upload.id) {
      const { session } = this;
      const answer = await request("GET", statusUrl(upload.id), { signal, session });
      upload.take(answer);
      if (answer.status === "complete") return upload.finished(await this.#digest(signal));
      if (answer.status === "finishing") throw new Unanswered(STILL_CHECKING);
    }
    let surprises = 0;
    while (!upload.id || upload.offset < upload.size) {
      try {
        await this.#sendChunk(signal);
        surprises = 0;
        progressed();
      } catch (error) {
        const { id, expires } = upload;
        if (!(error instanceof Refusal && Number.isInteger(error.offset) && id)) throw error;
        if (++surprises > 3) throw error;
        upload.take({ upload_id: id, offset: error.offset, expires });
      }
    }
    await this.#finish(signal);
  }

  async #sendChunk(signal) {
    const upload = this.#upload;
    const { id, name, size, offset: start } = upload;
    const end = Math.min(start + CHUNK_BYTES, size);
    await this.#hashTo(start, signal);
    const { blob, hashing } = await this.#read(start, end, signal);

    const form = new FormData();
    if (id) form.append("upload_id", id);
    form.append("file", blob, name);
    const headers = end > start ? { "Content-Range": `bytes ${start}-${end - 1}/${size}` } : {};
    // If the answer is lost, the same request gives the same upload.
    if (!id) headers["Idempotency-Key"] = `"${this.#once}"`;
    upload.set("sending");
    const sent = request("POST", CHUNK_PATH, {
      body: form,
      headers,
      session: this.session,
      signal,
      onprogress: (loaded) => upload.show(Math.min(start + loaded, end)),
    });
    const [answer] = await Promise.all([sent, hashing]);
    signal.throwIfAborted();
    this.#chunk = null;
    upload.take(answer);
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
      buffer = await this.#upload.file.slice(start, end).arrayBuffer();
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
    return hasher.update(this.#upload.key, fresh);
  }

  /** Hashes what the server already has and this page has not read yet. */
  async #hashTo(offset, signal) {
    while (this.#hashed < offset) {
      this.#upload.checked = this.#hashed / offset;
      this.#upload.set("checking");
      const start = this.#hashed;
      const end = Math.min(start + CHUNK_BYTES, offset);
      await this.#hash(start, end, await this.#bytes(start, end, signal));
      signal.throwIfAborted();
      this.#upload.restartRate();
    }
  }

  async #digest(signal) {
    await this.#hashTo(this.#upload.size, signal);
    const md5 = await hasher.digest(this.#upload.key);
    signal.throwIfAborted();
    return md5;
  }

  async #finish(signal) {
    const md5 = await this.#digest(signal);
    this.#upload.set("finishing");
    const body = new URLSearchParams({ upload_id: this.#upload.id, md5 });
    try {
      const options = { body, session: this.session, signal, stallSeconds: COMPLETION_SECONDS };
      const answer = await request("POST", COMPLETE_PATH, options);
      this.#upload.finished(md5, answer);
    } catch (error) {
      if (error.isAbandoned && this.#abandoned < MOST_ABANDONED) {
        this.#abandoned += 1;
        throw new Unanswered(error.message);
      }
      // The response to an earlier attempt may have been lost, or may still be pending.
      if (!(error instanceof Refusal && IS_OVER.includes(error.code))) throw error;
      const session = this.session;
      const { status } = await request("GET", statusUrl(this.#upload.id), { signal, session });
      if (status === "finishing") throw new Unanswered(STILL_CHECKING);
      if (status !== "complete") throw error;
      this.#upload.finished(md5);
    }
  }
}

function chunkBytes(fallback) {
  const asked = Number(new URLSearchParams(location.search).get("chunk"));
  return Number.isInteger(asked) && asked > 0 ? asked : fallback;
}
