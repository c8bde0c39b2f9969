// One upload: what its buttons do, and how its bytes get to the server.

import { hasher } from "/checksum.js";
import { isSure } from "/dialog.js";
import { hasLocks, heldElsewhere, hold } from "/locks.js";
import { files, memory } from "/memory.js";
import { Elsewhere, Uncancelled, explain } from "/problems.js";
import { Rate } from "/rate.js";
import { Refusal, Unanswered, request, statusUrl } from "/requests.js";
import { Row } from "/rows.js";
import { announce, notice } from "/speech.js";
import { IS_OVER, Transfer } from "/transfer.js";
import { bytes, percent } from "/words.js";

const LONGEST_WAIT_SECONDS = 30;
const ELSEWHERE_SECONDS = 30;

/** States in which the upload takes one of the places for files that are sent at a time. */
export const ACTIVE = ["checking", "sending", "retrying", "finishing"];
/** States in which this page carries the upload. */
export const GOING = [...ACTIVE, "waiting", "paused"];

/** `list` is the list that the upload is in: what it needs of the others. */
export class Upload {
  static #keys = 0;

  key = Upload.#keys++;
  state = "waiting";
  problem = null;
  /** What more there is to say of an upload that has ended. */
  words = null;
  remedy = null;
  gone = false;
  md5 = null;
  saved = null;
  checked = 0;
  shown = 0;
  retryIn = 0;
  /** What the browser has kept of the file after a reload. */
  kept = null;
  /** The user did not let this page read what the browser has kept. */
  isDenied = false;
  /** Under which the browser has kept the file until the upload has an id. */
  localKey = null;
  /** The upload was this page's, and another page has taken it over. */
  taken = false;
  /** Another tab of this browser carries it. */
  held = false;
  /** Another page sends bytes of it. */
  moves = false;

  #transfer = new Transfer(this);
  #run = null;
  #wake = null;
  #announced = 0;
  #listed = false;
  #moved = 0;
  #lock = null;
  #isSafe = false;
  #rate = new Rate();
  #list;

  constructor(list, { file = null, record = null, localKey = null }) {
    this.#list = list;
    this.file = file;
    this.id = record?.id ?? null;
    this.name = record?.name ?? file.name;
    this.size = record?.size ?? file.size;
    this.lastModified = record ? record.lastModified : file.lastModified;
    this.offset = record?.offset ?? 0;
    this.expires = record?.expires ?? null;
    this.begun = record?.begun ?? Date.now();
    this.shown = this.offset;
    this.localKey = localKey;
    this.#isSafe = localKey !== null;
    if (!file) this.state = localKey ? "unbegun" : "unfinished";
    this.row = new Row(this);
    if (file) this.#keepWaiting();
    else this.#recall();
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

  /** Whether bytes of it would be lost without the upload. */
  get hasBytes() {
    return !this.gone && Math.max(this.offset, this.shown) > 0;
  }

  /** Whether a reload would lose the file, of which the server and the browser know nothing. */
  get isAtRisk() {
    return GOING.includes(this.state) && !this.id && !this.#isSafe;
  }

  /* Button actions */

  start() {
    this.#run = new AbortController();
    this.#rate.reset(this.shown);
    this.#announced = Math.max(this.#announced, Math.floor(this.part * 4));
    this.#say(`Sending ${this.name}, ${bytes(this.size)}.`);
    this.set("sending");
    this.#keepTrying(this.#run.signal);
  }

  pause() {
    this.#stop();
    this.shown = this.offset;
    this.set("paused");
    this.#say(`${this.name} paused at ${percent(this.part)}.`);
    this.#list.startNext();
  }

  queue() {
    this.problem = null;
    this.taken = false;
    if (this.id) memory.claim(this.id);
    this.set("waiting");
    this.#list.startNext();
  }

  resumeWith(file) {
    const isToGoOn = this.state === "unbegun" || (this.id && !this.gone);
    if (this.id && !this.gone && !this.kept) files.keep(this.id, file, { expires: this.expires });
    this.kept = null;
    this.isDenied = false;
    this.file = file;
    this.lastModified = file.lastModified;
    this.row.preview();
    if (isToGoOn) this.queue();
    else this.startOver();
  }

  /** Goes on here, with the file that this page, the browser or the user has. */
  goOn() {
    if (this.file) return this.queue();
    return this.kept ? this.#resumeKept() : this.chooseFile();
  }

  /** Goes on with the file that the browser has kept, if it is still there and the user lets it. */
  async #resumeKept() {
    const { file, isDenied = false } = await files.read(this.kept);
    if (file && this.is(file)) return this.resumeWith(file);
    this.isDenied = isDenied;
    if (isDenied) {
      this.#say(`Your browser did not let this page read ${this.name}.`);
    } else {
      this.kept = null;
      const words = "” cannot be read any more, or it has changed. Choose the same file again.";
      notice("“", this.name, words);
    }
    this.row.render();
    this.#list.moved();
  }

  tryNow() {
    this.#wake?.();
  }

  async startOver() {
    this.set("cancelling");
    // Another page may have continued it.
    const isOurs = this.id && !this.gone && !this.isOthers();
    if (isOurs && !(await this.#isHeldElsewhere())) {
      memory.drop(this.id);
      await request("DELETE", statusUrl(this.id), { session: this.#transfer.session }).catch(() => {});
    }
    this.#forget();
    this.gone = false;
    this.offset = this.shown = this.#announced = 0;
    if (!this.localKey) this.#keepWaiting();
    this.queue();
  }

  chooseFile() {
    this.problem = null;
    if (this.state === "error") this.set("unfinished");
    this.#list.choose(this);
  }

  /** Removes the upload from the server as well, after a question if bytes would be lost. */
  async cancel() {
    if (this.hasBytes && !(await this.#mayLoseBytes())) return;
    const isHeld = await this.#isHeldElsewhere();
    // It has gone on while the user was asked.
    if (this.state === "done") return notice("“", this.name, "” is saved already.");
    if (this.state === "elsewhere") return;
    if (isHeld) return this.#leaveTo({ isHeld });
    this.#stop();
    if (this.id) {
      this.set("cancelling");
      try {
        await request("DELETE", statusUrl(this.id), { session: this.#transfer.session });
      } catch (error) {
        if (error instanceof Refusal && IS_OVER.includes(error.code)) return this.#tooLate();
        if (error instanceof Unanswered) return this.#cancelLater();
        if (!(error instanceof Refusal && [404, 410].includes(error.status))) {
          return this.#fail(new Uncancelled());
        }
      }
      memory.drop(this.id);
    }
    this.#say(`${this.name} cancelled.`);
    this.#forgetWaiting();
    this.remove();
  }

  /** The list sends the cancellation as soon as the server answers. */
  #cancelLater() {
    memory.cancelLater(this.id);
    this.#say(`The server does not answer. ${this.name} is cancelled as soon as it does.`);
    this.set("doomed");
    this.#list.startNext();
  }

  keepAfterAll() {
    memory.uncancel(this.id);
    this.set(this.file ? "paused" : "unfinished");
  }

  #mayLoseBytes() {
    const amount = bytes(Math.max(this.offset, this.shown));
    const isListed = this.state === "unfinished";
    const mayBeElsewhere = isListed
      ? "If another tab or device is still sending it, that ends too. "
      : "";
    return isSure({
      title: ["Cancel “", this.name, "”?"],
      words: [`${mayBeElsewhere}The server deletes the ${amount} that it has.`],
      yes: "Cancel it",
      no: "Keep it",
    });
  }

  /** Another page was told to send the upload: this one must not take it back by itself. */
  yield() {
    // An upload that is being completed cannot be taken over.
    const isLeft = ["unfinished", "elsewhere", "finishing", "cancelling", "doomed", "ended", "done"];
    if (isLeft.includes(this.state)) return;
    this.#stop();
    this.#fail(new Elsewhere());
  }

  /** The server's status of an upload; whether another tab `isHeld` matters if this one does not send. */
  learn({ offset, expires, status, md5, saved_as: saved }, isHeld) {
    if (this.state === "done" && saved && !this.saved) {
      this.saved = saved;
      this.row.render();
    }
    if (!["unfinished", "elsewhere", "waiting", "paused"].includes(this.state)) return;
    if (status === "complete") {
      this.#stop();
      memory.drop(this.id);
      this.taken = false;
      this.md5 = md5;
      this.saved = saved;
      return this.set("done");
    }
    if (GOING.includes(this.state)) return;
    if (offset > this.offset && this.#listed) this.#moved = Date.now();
    this.#listed = true;
    this.offset = this.shown = offset;
    this.expires = expires;
    this.#leaveTo({ isHeld });
  }

  /** Shows who carries the upload, if that is not this page. */
  #leaveTo({ isHeld }) {
    if (this.held && !isHeld) {
      // That tab was closed, or has let go of it.
      this.taken = false;
      this.#moved = 0;
    }
    this.held = isHeld;
    this.moves = Date.now() - this.#moved < ELSEWHERE_SECONDS * 1000;
    this.set(isHeld || this.moves || this.taken ? "elsewhere" : "unfinished");
  }

  async #isHeldElsewhere() {
    return this.id !== null && (await heldElsewhere()).has(this.id);
  }

  /** The server does not list it any more. */
  lose() {
    const wasHere = this.file || this.taken;
    if (wasHere) return this.#end("Cancelled in another tab", "Start over sends it again.");
    memory.drop(this.id);
    this.remove();
  }

  /** It is over without a fault. */
  #end(problem, words) {
    this.#stop();
    memory.drop(this.id);
    this.gone = true;
    this.taken = false;
    Object.assign(this, { problem, words });
    this.#say(`${this.name}: ${problem}.`);
    this.set("ended");
    this.#list.startNext();
  }

  /** The upload can no longer be cancelled; the list will show it as done. */
  #tooLate() {
    notice("“", this.name, "” is saved already, or just being saved.");
    this.set("unfinished");
    this.#list.refresh();
    this.#list.startNext();
  }

  /** Removes a failed upload, and what the server has of it. */
  dismiss() {
    if (this.id && !this.gone) return this.cancel();
    this.#forgetWaiting();
    this.remove();
  }

  /** Removes the upload from this page only: nothing is lost. */
  hide() {
    if (this.state === "elsewhere") this.#list.leave(this.id);
    if (this.state === "done") memory.hide(this.id);
    this.remove();
  }

  remove() {
    this.#stop();
    this.#forget();
    this.#lock?.release();
    this.row.remove();
    this.#list.removed(this);
  }

  /* The transfer */

  async #keepTrying(signal) {
    for (let failures = 0; ; ) {
      try {
        const before = this.offset;
        await this.#transfer.run(signal, () => {
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
    const asked = request("GET", statusUrl(this.id), { session: this.#transfer.session });
    return asked.then(
      () => new Elsewhere(),
      (newer) => (newer instanceof Refusal ? newer : new Elsewhere()),
    );
  }

  async #backOff(error, seconds, failures, signal) {
    this.problem = error.message;
    this.shown = this.offset;
    if (failures === 1) this.#say(`${error.message}. ${this.name} will go on by itself.`);
    const until = Date.now() + seconds * 1000;
    let woken = false;
    while (!woken && !signal.aborted && Date.now() < until) {
      this.retryIn = Math.ceil((until - Date.now()) / 1000);
      this.set("retrying");
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

  finished(md5, answer) {
    this.md5 = md5;
    this.saved = typeof answer?.saved_as === "string" ? answer.saved_as : null;
    memory.drop(this.id);
    hasher.forget(this.key).catch(() => {});
    this.file = null;
    this.set("done");
    this.#say(`${this.name} is done.`);
    if (!this.saved) this.#list.refresh();
    this.#list.startNext();
  }

  #fail(error) {
    const { words, remedy = null, gone = false, elsewhere = false } = explain(error);
    this.taken = elsewhere;
    this.held = false;
    if (elsewhere) this.#moved = Date.now();
    this.moves = elsewhere;
    this.problem = words;
    this.remedy = remedy;
    this.gone = gone;
    if (gone) memory.drop(this.id);
    this.shown = this.offset;
    this.set(elsewhere ? "elsewhere" : "error");
    this.#say(elsewhere ? `${this.name}: ${words}` : `${this.name} stopped. ${words}`);
    this.#list.startNext();
  }

  /* Bookkeeping */

  take(answer) {
    const { upload_id, offset, expires } = answer ?? {};
    if (!upload_id || !Number.isInteger(offset) || offset < 0 || offset > this.size) {
      throw new Error("the server's answer makes no sense");
    }
    // The list may have shown it before the response arrived.
    if (!this.id) {
      this.#list.find(upload_id)?.remove();
      memory.claim(upload_id);
      this.#forgetWaiting();
      // A file that is sent by now need not be kept.
      if (offset < this.size) files.keep(upload_id, this.file, { expires });
    }
    this.id = upload_id;
    this.#holdLock();
    this.offset = offset;
    this.expires = expires;
    if (this.isOthers()) throw new Elsewhere();
    const { id, name, size, lastModified, begun } = this;
    memory.keep({ id, name, size, lastModified, offset, expires, begun });
    this.show(offset);
  }

  /** The time in which it only reads is not that of the transfer. */
  restartRate() {
    this.#rate.reset(this.shown);
  }

  isOthers() {
    return this.taken || (this.id !== null && memory.isOthers(this.id));
  }

  show(position) {
    this.shown = position;
    this.#rate.note(position);
    const quarter = Math.floor(this.part * 4);
    if (quarter > this.#announced && quarter < 4) {
      this.#say(`${this.name}: ${quarter * 25} percent sent.`);
    }
    this.#announced = Math.max(quarter, this.#announced);
    this.row.tick();
    this.#list.moved();
  }

  async #recall() {
    this.kept = await files.of(this.id ?? this.localKey);
    this.row.render();
    this.#list.moved();
  }

  /** Keeps the file until the upload has its id. Without locks, other tabs would send it as well. */
  async #keepWaiting() {
    if (!hasLocks) return;
    const key = files.waitingKey();
    this.localKey = key;
    this.#holdLock();
    await this.#lock.held;
    if (this.localKey !== key) return;
    const isKept = await files.keepWaiting(key, this.file, this.begun);
    this.#isSafe = isKept && this.localKey === key;
  }

  #forgetWaiting() {
    if (this.localKey) files.drop(this.localKey);
    this.localKey = null;
    this.#isSafe = false;
  }

  #say(text) {
    announce(text, this.key);
  }

  #forget() {
    this.id = null;
    this.#transfer = new Transfer(this);
    hasher.forget(this.key).catch(() => {});
  }

  #stop() {
    this.#run?.abort();
    this.#wake?.();
  }

  /** Other tabs see by the lock that this one carries the upload, or the file that waits for it. */
  #holdLock() {
    const waiting = this.state === "unbegun" ? null : this.localKey;
    const id = this.id && GOING.includes(this.state) ? this.id : waiting;
    if (id === (this.#lock?.id ?? null)) return;
    this.#lock?.release();
    this.#lock = id && hold(id, () => this.#loseLock());
  }

  #loseLock() {
    if (!this.id) return this.remove();
    this.yield();
    this.held = true;
  }

  set(state) {
    this.state = state;
    this.#holdLock();
    this.row.render();
    this.#list.moved();
  }
}
