// One line of the list.

import { bytes, duration, moment, percent, plain, show, showProgress } from "/words.js";

const template = document.querySelector("#row");
const list = document.querySelector("#list");
/** A larger picture would cost too much memory for what it is here. */
const PREVIEW_BYTES = 32 * 1000 * 1000;
const LATE_CLICK = 1000;
/** What a click must not do that was meant for the button that was there before. */
const RISKY = ["Continue here", "Start over", "Hide"];

const TONES = {
  waiting: "quiet",
  paused: "quiet",
  cancelling: "quiet",
  restarting: "quiet",
  unfinished: "quiet",
  unbegun: "quiet",
  ended: "quiet",
  doomed: "warn",
  retrying: "warn",
  done: "good",
  error: "bad",
};

export class Row {
  #upload;
  #parts = {};
  #acts = {};
  #delays = new Map();
  #tickedAt = 0;
  #awaitsButton = false;

  constructor(upload) {
    this.#upload = upload;
    this.element = template.content.firstElementChild.cloneNode(true);
    const part = (selector) => this.element.querySelector(selector);
    for (const name of ["name", "size", "state", "detail", "md5", "main", "extra", "stop"]) {
      this.#parts[name] = part(`.${name}`);
    }
    this.#parts.preview = part("img");
    this.#parts.bar = part("progress");
    this.#parts.code = part("code");
    show(this.#parts.name, "", upload.name);
    this.#parts.bar.setAttribute("aria-label", `Progress of ${plain(upload.name)}`);
    for (const slot of ["main", "extra", "stop"]) {
      this.#parts[slot].addEventListener("click", () => this.#click(slot));
    }
    this.element.tabIndex = -1;
    list.append(this.element);
    this.preview();
    this.render();
  }

  /** Shows the file, if it is a picture. */
  preview() {
    const file = this.#upload.file ?? this.#upload.kept?.file;
    const { preview } = this.#parts;
    if (!file?.type.startsWith("image/") || file.size > PREVIEW_BYTES || preview.src) return;
    const address = URL.createObjectURL(file);
    const isOver = () => URL.revokeObjectURL(address);
    preview.onload = isOver;
    preview.onerror = () => {
      preview.hidden = true;
      isOver();
    };
    preview.hidden = false;
    preview.src = address;
  }

  render() {
    const { state, size, md5 } = this.#upload;
    this.#parts.size.textContent = size === null ? "" : bytes(size);
    this.#parts.bar.hidden = size === null;
    this.element.dataset.state = state;
    const isStill = state === "elsewhere" && this.#upload.held && !this.#upload.moves;
    this.element.dataset.tone = isStill ? "quiet" : (TONES[state] ?? "busy");
    this.#parts.md5.hidden = !md5;
    this.#parts.code.textContent = md5 ?? "";
    this.#buttons();
    this.#tickedAt = 0;
    this.tick();
  }

  /** Updates the row at a readable pace. */
  tick() {
    if (performance.now() - this.#tickedAt < 250 && this.#tickedAt > 0) return;
    this.#tickedAt = performance.now();
    const { part, size } = this.#upload;
    showProgress(this.#parts.bar, part, this.#amount() || bytes(size));
    const [state, ...detail] = this.#words();
    show(this.#parts.state, state);
    show(this.#parts.detail, ...detail);
  }

  remove() {
    const hadFocus = this.element.contains(document.activeElement);
    const next = this.element.nextElementSibling ?? this.element.previousElementSibling;
    this.element.remove();
    if (!hadFocus) return;
    (next?.querySelector("button:not([hidden])") ?? document.querySelector("#files")).focus();
  }

  #words() {
    const { state, shown, size, part, rate, checked, problem, retryIn, saved } = this.#upload;
    const amount = this.#amount();
    switch (state) {
      case "waiting":
        return ["Waiting", "Two files are sent at a time."];
      case "checking":
        return [`Checking, ${percent(checked)}`, "Reading again what the server already has."];
      case "sending": {
        const pace = rate > 0 ? [`${bytes(rate)}/s`, `${duration((size - shown) / rate)} left`] : [];
        return [`Sending, ${percent(part)}`, [amount, ...pace].filter(Boolean).join(" · ")];
      }
      case "retrying":
        return [problem, retryIn > 0 ? `Trying again in ${retryIn}\u00a0s` : "Trying again"];
      case "paused":
        return [`Paused at ${percent(part)}`, [amount && `${amount}.`, this.#until()].join(" ").trim()];
      case "unbegun":
        return ["Not begun", this.#howToGoOn()];
      case "unfinished":
        return [`Unfinished, ${this.#sent()} sent`, `${this.#howToGoOn()} ${this.#until()}`.trim()];
      case "finishing":
      case "completing":
        return ["Finishing", "The server is checking the file."];
      case "elsewhere": {
        const instead = size === null ? "" : " You can continue here instead.";
        return [this.#whoseItIs(), `${this.#whereItIs()}.${instead}`];
      }
      case "ended":
        return [problem, this.#upload.words];
      case "doomed":
        return ["Cancelling", "The server does not answer. It is cancelled as soon as the server does."];
      case "cancelling":
        return ["Cancelling", ""];
      case "restarting":
        return ["Starting over", ""];
      case "done":
        return saved ? ["Done", "Saved on the server as ", saved] : ["Done", ""];
      default:
        return ["Stopped", problem];
    }
  }

  #amount() {
    const { shown, size } = this.#upload;
    return size > 0 ? `${bytes(shown)} of ${bytes(size)}` : "";
  }

  #sent() {
    const { shown, size, part } = this.#upload;
    return size === null ? bytes(shown) : percent(part);
  }

  #until() {
    const { id, expires } = this.#upload;
    return id && expires ? `Can go on until ${moment(expires)}.` : "";
  }

  #whoseItIs() {
    const { held, moves } = this.#upload;
    return `${held && !moves ? "Held by another tab" : "Sending elsewhere"}, ${this.#sent()}`;
  }

  #whereItIs() {
    const { held, moves, taken } = this.#upload;
    if (taken) return "Another tab or window has taken it over";
    return held && !moves ? "It is paused there, or slow" : "Another tab or window sends it";
  }

  #howToGoOn() {
    const { file, kept, size } = this.#upload;
    if (size === null) return "Only the program that began it can go on with it.";
    if (file) return "The tab that had taken it over has let it go.";
    if (!kept) return "Choose the same file again to go on.";
    if (this.#upload.isDenied) {
      return "Your browser did not let this page read the file. Resume asks again.";
    }
    return kept.handle && this.#upload.state === "unfinished"
      ? "Your browser may ask you whether this page can read the file again."
      : "Your browser has kept the file.";
  }

  #buttons() {
    const upload = this.#upload;
    const hasSize = upload.size !== null;
    const pause = ["Pause", () => upload.pause()];
    const cancel = ["Cancel", () => upload.cancel()];
    const chooseFile = ["Choose file", () => upload.chooseFile()];
    const hide = ["Hide", () => upload.hide()];
    const bySlot = {
      waiting: { main: pause, stop: cancel },
      checking: { main: pause, stop: cancel },
      sending: { main: pause, stop: cancel },
      retrying: { main: pause, extra: ["Try now", () => upload.tryNow()], stop: cancel },
      paused: { main: ["Resume", () => upload.queue()], stop: cancel },
      unbegun: { main: ["Resume", () => upload.goOn()], stop: ["Remove", () => upload.dismiss()] },
      doomed: { stop: ["Keep it", () => upload.keepAfterAll()] },
      unfinished: (upload.file ?? upload.kept)
        ? { main: ["Resume", () => upload.goOn()], extra: chooseFile, stop: cancel }
        : { main: hasSize ? chooseFile : null, stop: cancel },
      ended: {
        main: (upload.file ?? upload.kept) ? ["Start over", () => upload.goOn()] : chooseFile,
        stop: hide,
      },
      // What another page carries is never cancelled from here.
      elsewhere: {
        main: hasSize ? ["Continue here", () => upload.goOn()] : null,
        stop: hide,
      },
      completing: { stop: hide },
      done: { stop: hide },
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
      if (RISKY.includes(label) && button.textContent !== label) this.#delay(button);
      button.hidden = !label;
      if (label && button.textContent !== label) {
        if (!RISKY.includes(label)) button.removeAttribute("aria-disabled");
        button.textContent = label;
        button.setAttribute("aria-label", `${label} ${plain(upload.name)}`);
      }
    }
    const isLost = focused?.hidden && this.element.contains(focused);
    if (!isLost && !(this.#awaitsButton && focused === this.element)) return;
    const next = this.element.querySelector("button:not([hidden])");
    // While it is finished there is none.
    this.#awaitsButton = !next;
    (next ?? this.element).focus();
  }

  /** A click that was meant for the button that was there before does nothing. */
  #delay(button) {
    // Hidden buttons too: the slot may have been empty for a moment.
    if (!button.textContent) return;
    clearTimeout(this.#delays.get(button));
    button.setAttribute("aria-disabled", "true");
    const enable = () => button.removeAttribute("aria-disabled");
    this.#delays.set(button, setTimeout(enable, LATE_CLICK));
  }

  #click(slot) {
    if (this.#parts[slot].getAttribute("aria-disabled") === "true") return;
    this.#acts[slot]?.(this.#upload);
  }
}
