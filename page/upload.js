// One upload: what its buttons do, and how its bytes get to the server.

import { hasher } from "/checksum.js";
import { Claim, isHeldElsewhere } from "/locks.js";
import { files, memory } from "/memory.js";
import { Elsewhere, Uncancelled, explain } from "/problems.js";
import { mayLoseBytes } from "/questions.js";
import { Rate } from "/rate.js";
import { request, statusUrl } from "/requests.js";
import { Row } from "/rows.js";
import { announce, hasChanged, notice } from "/speech.js";
import { Transfer, cancel } from "/transfer.js";
import { bytes, percent } from "/words.js";

const ELSEWHERE_SECONDS = 30;

/** States in which the upload takes one of the places for files that are sent at a time. */
export const ACTIVE = ["checking", "sending", "retrying", "finishing"];
/** States in which this page carries the upload. */
export const GOING = [...ACTIVE, "waiting", "paused"];
/** States of an upload that the server should list. */
export const LISTED = ["unfinished", "elsewhere", "completing", "waiting", "paused"];

/** `list` is the list that the upload is in: what it needs of the others. */
export class Upload {
  static #keys = 0;

  key = Upload.#keys++;
  state = "waiting";
  problem = null;
  /** What more there is to say of an upload that has ended. */
  words = null;
  remedy = null;
  /** The server has nothing of it any more. */
  gone = false;
  /** The server did not drop what it has: that cannot be removed with the row. */
  isUncancelled = false;
  md5 = null;
  saved = null;
  checked = 0;
  shown = 0;
  retryIn = 0;
  /** What the browser has kept of the file after a reload. */
  kept = null;
  /** The user did not let this page read what the browser has kept. */
  isDenied = false;
  /** The file could not be read: if it has changed on the disk, it can only start over. */
  isStale = false;
  /** The upload was this page's, and another page has taken it over. */
  taken = false;
  /** Another tab of this browser carries it. */
  held = false;
  /** Another page sends bytes of it. */
  moves = false;

  #transfer = new Transfer(this);
  #run = null;
  #announced = 0;
  #listed = false;
  #moved = 0;
  #claim;
  #rate = new Rate();
  #list;

  constructor(list, { file = null, record = null, localKey = null }) {
    this.#list = list;
    this.file = file;
    this.id = record?.id ?? null;
    this.name = record?.name ?? file.name;
    /** Is `null` if even the server does not know it yet. */
    this.size = (record ?? file).size;
    this.lastModified = record ? record.lastModified : file.lastModified;
    this.offset = record?.offset ?? 0;
    this.expires = record?.expires ?? null;
    this.begun = record?.begun ?? Date.now();
    this.shown = this.offset;
    this.#claim = new Claim(localKey, () => this.#loseLock());
    if (!file) this.state = localKey ? "unbegun" : "unfinished";
    this.row = new Row(this);
    if (file) this.#claim.keepWaiting(file, this.begun);
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
    return this.size ? this.shown / this.size : 0;
  }

  get rate() {
    return this.#rate.value;
  }

  /** What would be lost without the upload, as far as this page knows. */
  get bytesOnServer() {
    return this.gone || this.isUncancelled ? 0 : Math.max(this.offset, this.shown);
  }

  /** Whether a reload would lose the file, of which the server and the browser know nothing. */
  get isAtRisk() {
    const isUnknown = GOING.includes(this.state) && !this.id;
    return (isUnknown || this.state === "restarting") && !this.#claim.isSafe;
  }

  get session() {
    return this.#transfer.session;
  }

  get localKey() {
    return this.#claim.localKey;
  }

  /* Button actions */

  start() {
    this.#stop();
    this.#run = new AbortController();
    this.#rate.reset(this.shown);
    this.#announced = Math.max(this.#announced, Math.floor(this.part * 4));
    this.say(`Sending ${this.name}, ${bytes(this.size)}.`);
    this.set("sending");
    this.#transfer.keepTrying(this.#run.signal);
  }

  pause() {
    this.#stop();
    this.shown = this.offset;
    this.say(`${this.name} paused at ${percent(this.part)}.`);
    this.set("paused");
    this.#list.startNext();
  }

  queue() {
    this.problem = null;
    this.taken = this.isUncancelled = false;
    if (this.id) {
      // First, so that the page that was to cancel it leaves it to this one.
      memory.claim(this.id);
      memory.uncancel(this.id);
    }
    this.set("waiting");
    this.#list.startNext();
  }

  resumeWith(file) {
    if (this.isStale && !this.is(file)) return this.#replace(file);
    this.isStale = false;
    // Without an id, the server may know it all the same: its answer can be on its way.
    const isToGoOn = !this.gone && (this.id || ["unbegun", "paused"].includes(this.state));
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
    if (this.file) return this.gone ? this.startOver() : this.queue();
    return this.kept ? this.#resumeKept() : this.chooseFile();
  }

  /** Goes on with the file that the browser has kept, if it is still there and the user lets it. */
  async #resumeKept() {
    const { state } = this;
    const { file, isDenied = false } = await files.read(this.kept);
    // It has gone on, or was removed, while the browser asked the user.
    if (this.state !== state) return;
    if (file && this.is(file)) return this.resumeWith(file);
    this.isDenied = isDenied;
    if (isDenied) {
      this.say(`Your browser did not let this page read ${this.name}.`);
    } else {
      this.kept = null;
      const words = "” cannot be read any more, or it has changed. Choose the same file again.";
      notice("“", this.name, words, this);
    }
    this.row.render();
    this.#list.moved();
  }

  /** Goes on with the file as it is now, which the browser gets by its handle, or the user chooses. */
  async readAgain() {
    const { state } = this;
    const file = await files.afresh(this.file);
    if (this.state !== state) return;
    if (file) return this.resumeWith(file);
    // After a slow answer it is too late to open a picker for the click.
    if (navigator.userActivation?.isActive ?? true) return this.chooseFile();
    this.remedy = { label: "Choose file", act: (upload) => upload.chooseFile() };
    this.row.render();
  }

  #replace(file) {
    const { size, lastModified } = file;
    this.#claim.forgetWaiting();
    Object.assign(this, { file, size, lastModified, isStale: false });
    this.startOver();
  }

  tryNow() {
    this.#transfer.wake();
  }

  /** After a question if what the server has might still be of use. */
  async startOverIfMeant() {
    if (this.bytesOnServer > 0 && !(await mayLoseBytes("Start over", this))) return;
    if (this.state === "error") this.startOver();
  }

  async startOver() {
    this.set("restarting");
    const { id, session } = this;
    // Another page may have continued it.
    const isOurs = id && !this.gone && !this.isOthers() && !(await isHeldElsewhere(id));
    if (isOurs) memory.drop(id);
    if (!this.localKey) this.#claim.keepWaiting(this.file, this.begun);
    if (isOurs) {
      const outcome = await cancel(id, session);
      if (outcome === "unanswered" && !(await isHeldElsewhere(id))) memory.cancelLater(id);
    }
    this.#forget();
    this.#list.forgot();
    this.gone = false;
    this.offset = this.shown = this.#announced = 0;
    this.queue();
  }

  chooseFile() {
    this.#list.choose(this);
  }

  /** Removes the upload from the server as well, after a question if bytes would be lost. */
  async cancel(verb = "Cancel") {
    if (this.bytesOnServer > 0 && !(await mayLoseBytes(verb, this))) return;
    const isHeld = await isHeldElsewhere(this.id);
    // It has gone on while the user was asked.
    if (this.state === "done") return notice("“", this.name, "” is saved already.", this);
    if (["elsewhere", "completing", "cancelling", "removed"].includes(this.state)) return;
    if (isHeld) return this.#leaveTo({ isHeld });
    this.#stop();
    if (this.id) {
      this.set("cancelling");
      const outcome = await cancel(this.id, this.session);
      if (outcome === "late") return this.#tooLate();
      if (outcome === "unanswered") return this.#cancelLater();
      if (outcome === "refused") return this.fail(new Uncancelled());
      memory.drop(this.id);
    }
    this.say(`${this.name} cancelled.`);
    this.#claim.forgetWaiting();
    this.remove();
  }

  /** The list sends the cancellation as soon as the server answers, if nobody goes on with it. */
  async #cancelLater() {
    if (await isHeldElsewhere(this.id)) {
      this.#leaveTo({ isHeld: true });
      return this.#list.startNext();
    }
    memory.cancelLater(this.id);
    this.say(`The server does not answer. ${this.name} is cancelled as soon as it does.`);
    this.set("doomed");
    this.#list.startNext();
  }

  /** The server has refused to cancel it after all. */
  failToCancel() {
    if (this.state === "doomed") this.fail(new Uncancelled());
  }

  keepAfterAll() {
    memory.uncancel(this.id);
    this.set(this.file ? "paused" : "unfinished");
  }

  /** Another page was told to send the upload: this one must not take it back by itself. */
  yield() {
    // An upload that is being completed cannot be taken over.
    if (this.state === "finishing" || ![...GOING, "error", "doomed"].includes(this.state)) return;
    this.#stop();
    this.fail(new Elsewhere());
  }

  /** The server's status of an upload; whether another tab `isHeld` matters if this one does not send. */
  learn({ offset, total, expires, status, md5, saved_as: saved }, isHeld) {
    if (this.state === "done" && saved && !this.saved) {
      this.saved = saved;
      this.row.render();
    }
    if (!LISTED.includes(this.state)) return;
    this.expires = expires;
    this.size ??= total;
    if (status === "complete") {
      this.#stop();
      this.size ??= offset;
      // What was complete before the page was opened is no news.
      if (this.file || this.#listed) this.say(`${this.name} is done.`);
      return this.#settle(md5, saved);
    }
    // What is said of the time may change with the day.
    if (GOING.includes(this.state)) return this.row.tick();
    if (offset > this.offset && this.#listed) this.#moved = Date.now();
    this.#listed = true;
    this.offset = this.shown = offset;
    if (status === "finishing") {
      this.held = isHeld;
      return this.set("completing");
    }
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

  /** The list has it no more: the server, whose clock decides, tells what has become of it. */
  async lose() {
    const { id, state, session } = this;
    const answer = await request("GET", statusUrl(id), { session }).catch((error) => error);
    if (!answer?.isGone || this.id !== id || this.state !== state) return;
    // What has expired is gone altogether some time later.
    const isExpired = answer.status === 410 || Date.parse(this.expires) <= Date.now();
    if (isExpired && this.size !== null) return this.#expire();
    const words = "It was cancelled or removed elsewhere. Start over sends it again.";
    if (this.file || this.taken) return this.#end("Not on the server any more", words);
    memory.drop(id);
    this.remove();
  }

  #expire() {
    const start = this.file || this.kept ? "Start over" : "Choose the same file again";
    this.#end("Expired", `The server has deleted what it had. ${start} to send it as a whole.`);
  }

  /** It is over without a fault. */
  #end(problem, words) {
    this.#stop();
    memory.drop(this.id);
    Object.assign(this, { problem, words, gone: true, taken: false });
    this.say(`${this.name}: ${problem}.`);
    this.set("ended");
    this.#list.startNext();
  }

  /** The upload can no longer be cancelled; the list will show it as done. */
  #tooLate() {
    this.set("completing");
    notice("“", this.name, "” is saved already, or just being saved.", this);
    this.#list.refresh();
    this.#list.startNext();
  }

  /** Removes a failed upload, and what the server has of it. */
  async dismiss() {
    if (this.id && !this.gone && !this.isUncancelled) return this.cancel("Remove");
    // The server lists it all the same.
    if (this.isUncancelled) memory.leave(this.id, false);
    // The file may be the one that another tab sends by now.
    if (!(await isHeldElsewhere(this.localKey))) this.#claim.forgetWaiting();
    this.remove();
  }

  /** Removes the upload from this page only: nothing is lost. */
  async hide() {
    if (this.state === "done") memory.hide(this.id);
    const isLeft = ["elsewhere", "completing"].includes(this.state);
    if (isLeft) memory.leave(this.id, await isHeldElsewhere(this.id));
    this.remove();
  }

  remove() {
    this.state = "removed";
    this.#stop();
    this.#forget();
    this.#claim.hold(null);
    hasChanged(this);
    this.row.remove();
    this.#list.removed(this);
  }

  /* The transfer */

  finished(md5, answer) {
    this.say(`${this.name} is done.`);
    this.#settle(md5, typeof answer?.saved_as === "string" ? answer.saved_as : null);
    if (!this.saved) this.#list.refresh();
  }

  /** The server has all of it: nothing of it is needed here. */
  #settle(md5, saved) {
    memory.drop(this.id);
    hasher.forget(this.key).catch(() => {});
    const { size } = this;
    Object.assign(this, { md5, saved, offset: size, shown: size, file: null, kept: null, taken: false });
    this.set("done");
    this.#list.startNext();
  }

  fail(error) {
    const { words, elsewhere, ...kind } = explain(error);
    Object.assign(this, kind, { problem: words, shown: this.offset });
    this.taken = this.moves = elsewhere;
    this.held = false;
    if (elsewhere) this.#moved = Date.now();
    if (this.gone) memory.drop(this.id);
    this.say(elsewhere ? `${this.name}: ${words}` : `${this.name} stopped. ${words}`);
    this.set(elsewhere ? "elsewhere" : "error");
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
      this.#claim.forgetWaiting();
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
      this.say(`${this.name}: ${quarter * 25} percent sent.`);
    }
    this.#announced = Math.max(quarter, this.#announced);
    this.row.tick();
    this.#list.moved();
  }

  async #recall() {
    const kept = await files.of(this.id ?? this.localKey);
    if (this.state === "removed") return;
    this.kept = kept;
    this.row.preview();
    this.row.render();
    this.#list.moved();
  }

  say(text) {
    announce(text, this.key);
  }

  #forget() {
    this.id = null;
    this.#transfer = new Transfer(this);
    hasher.forget(this.key).catch(() => {});
  }

  #stop() {
    this.#run?.abort();
    this.#transfer.wake();
  }

  #holdLock() {
    const waiting = this.state === "unbegun" ? null : this.localKey;
    this.#claim.hold(this.id && GOING.includes(this.state) ? this.id : waiting);
  }

  #loseLock() {
    if (!this.id) return this.remove();
    this.yield();
    this.held = true;
  }

  set(state) {
    if (state !== this.state) hasChanged(this);
    this.state = state;
    this.#holdLock();
    this.row.render();
    this.#list.moved();
  }
}
