// What the tests of clients share: the server, a browser, files.

import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { createHash, randomBytes } from "node:crypto";
import { once } from "node:events";
import { createReadStream } from "node:fs";
import { access, mkdir, mkdtemp, open, readdir } from "node:fs/promises";
import { connect, createServer } from "node:net";
import { tmpdir } from "node:os";
import path from "node:path";
import { Transform, pipeline } from "node:stream";
import { setTimeout as sleep } from "node:timers/promises";
import { fileURLToPath } from "node:url";

import { AxeBuilder } from "@axe-core/playwright";
import { chromium } from "playwright-core";

export const ROOT = fileURLToPath(new URL("../..", import.meta.url));
export const SERVER = path.resolve(ROOT, process.env.AXUM_EXAMPLE ?? "target/debug/examples/axum");
export const MIB = 1024 * 1024;
export const CHUNKS = "/api/chunked_upload";
export const NO_LIMIT = -1;

export class Server {
  /** `settings` are for its environment. */
  static async start(folder, settings = {}, program = SERVER) {
    const server = new Server();
    server.program = program;
    server.folder = folder;
    server.settings = settings;
    server.media = path.join(folder, "media");
    server.port = await freePort();
    server.url = `http://127.0.0.1:${server.port}`;
    await mkdir(server.media, { recursive: true });
    await server.launch();
    return server;
  }

  async launch() {
    const { program } = this;
    await access(program).catch(() => assert.fail(`no server at ${program}; set AXUM_EXAMPLE`));
    this.process = spawn(program, {
      cwd: this.folder,
      env: {
        ...process.env,
        ADDR: `127.0.0.1:${this.port}`,
        UPLOADS: path.join(this.folder, "chunked_uploads/%Y/%m/%d"),
        MEDIA: this.media,
        WIRE_ADDR: `127.0.0.1:${this.port}`,
        WIRE_DATA: path.join(this.folder, "data"),
        WIRE_FINAL: this.media,
        ...this.settings,
      },
      stdio: ["ignore", "ignore", "inherit"],
    });
    const ended = once(this.process, "exit").then(([code]) => {
      if (!this.stopping) throw new Error(`the server ended by itself (${code})`);
    });
    ended.catch(() => {});
    await Promise.race([listens(this.port), ended]);
  }

  async stop(signal) {
    this.stopping = true;
    const ended = once(this.process, "exit");
    this.process.kill(signal);
    await ended;
    this.stopping = false;
  }

  async restart(signal, settings = this.settings) {
    await this.stop(signal);
    this.settings = settings;
    await this.launch();
  }

  async saved() {
    const names = await readdir(this.media);
    return names.map((name) => path.join(this.media, name));
  }

  status(id) {
    return fetch(this.statusUrl(id));
  }

  statusUrl(id) {
    return `${this.url}${CHUNKS}?upload_id=${id}`;
  }
}

/** The way to a server, which can be blocked in the middle of what a client sends, and cut. */
export class Line {
  #left = Infinity;
  #reached = null;
  #goOn = null;
  #isCut = false;
  #clients = new Set();

  static async to(server) {
    const line = new Line();
    line.listener = createServer((client) => line.#connect(client, server)).listen(0, "127.0.0.1");
    await once(line.listener, "listening");
    line.url = `http://127.0.0.1:${line.listener.address().port}`;
    return line;
  }

  #connect(client, { port }) {
    client.on("error", () => {});
    if (this.#isCut) return client.destroy();
    this.#clients.add(client);
    const gate = new Transform({ transform: (bytes, _, next) => this.#pass(bytes, next) });
    const server = connect(port, "127.0.0.1");
    pipeline(client, gate, server, client, () => this.#clients.delete(client));
  }

  #pass(bytes, next) {
    this.#left -= bytes.length;
    if (this.#left > 0) return next(null, bytes);
    this.#left = Infinity;
    this.#goOn = () => next(null, bytes);
    this.#reached();
  }

  /** Waits until clients have sent so much; the connection that brings the last of it is blocked. */
  blockedAfter(bytes) {
    this.#left = bytes;
    return new Promise((resolve) => {
      this.#reached = resolve;
    });
  }

  unblock() {
    this.#goOn();
  }

  cut() {
    this.#isCut = true;
    for (const client of this.#clients) client.destroy();
  }

  mend() {
    this.#isCut = false;
  }

  async end() {
    const closed = once(this.listener, "close");
    this.listener.close();
    this.cut();
    await closed;
  }
}

let ports = 0;

/**
 * Below those that the system gives out by itself: one of those may be taken before the server
 * listens, or while it is down for a moment.
 */
export async function freePort() {
  for (;;) {
    const port = 30_000 + ((process.pid * 97 + ports++) % 2_700);
    const probe = createServer().listen(port, "127.0.0.1");
    const isFree = await once(probe, "listening").then(
      () => true,
      () => false,
    );
    if (!isFree) continue;
    probe.close();
    await once(probe, "close");
    return port;
  }
}

async function listens(port) {
  const deadline = Date.now() + 20_000;
  for (;;) {
    const socket = connect(port, "127.0.0.1");
    try {
      await once(socket, "connect");
      return;
    } catch (error) {
      if (Date.now() > deadline) throw error;
      await new Promise(setImmediate);
    } finally {
      socket.destroy();
    }
  }
}

export function isChunk(request) {
  return request.method() === "POST" && new URL(request.url()).pathname === CHUNKS;
}

/** Waits until it is so. */
export async function until(isSo) {
  const deadline = Date.now() + 60_000;
  while (!(await isSo())) {
    assert.ok(Date.now() < deadline, `never: ${isSo}`);
    await sleep(5);
  }
}

export async function randomFile(folder, name, size) {
  const file = path.join(folder, name);
  const handle = await open(file, "w");
  for (let at = 0; at < size; at += 8 * MIB) {
    await handle.write(randomBytes(Math.min(8 * MIB, size - at)));
  }
  await handle.close();
  return file;
}

export async function digest(algorithm, file) {
  const hash = createHash(algorithm);
  for await (const piece of createReadStream(file)) hash.update(piece);
  return hash.digest("hex");
}

export async function sameBytes(one, other) {
  assert.equal(await digest("sha256", one), await digest("sha256", other));
}

export function firstByte(range) {
  return Number(/^bytes (\d+)-/.exec(range)[1]);
}

/** A browser whose pages know from the start that they cannot have scripts. */
export function launchBrowserWithoutScripts() {
  return launchBrowser("--blink-settings=scriptEnabled=false");
}

export function launchBrowser(...more) {
  return chromium.launch({
    executablePath: process.env.CHROMIUM ?? "/usr/bin/chromium",
    args: [
      "--no-sandbox",
      "--disable-gpu",
      "--disable-quic",
      "--no-first-run",
      "--disable-background-networking",
      "--disable-component-update",
      "--disable-sync",
      ...more,
    ],
  });
}

/** What goes wrong on a page, from now on. */
export async function troubles(page) {
  const found = { errors: [], failedLoads: [] };
  page.on("pageerror", (error) => found.errors.push(String(error)));
  page.on("console", (message) => {
    if (message.type() !== "error") return;
    const list = message.text().startsWith("Failed to load resource") ? "failedLoads" : "errors";
    found[list].push(message.text());
  });
  await page.addInitScript(() => {
    document.addEventListener("securitypolicyviolation", (event) => {
      console.error(`policy violation: ${event.violatedDirective} ${event.blockedURI}`);
    });
  });
  return found;
}

/** What is not seen, or turns around what is seen beside it: of each kind some. */
export const UNSEEN = [
  0x7f, 0x85, 0x9b, 0xad, 0x34f, 0x61c, 0x180e, 0x200b, 0x200c, 0x200d, 0x200e, 0x200f, 0x2028, 0x2029,
  0x202a, 0x202b, 0x202c, 0x202d, 0x202e, 0x2060, 0x2064, 0x2066, 0x2067, 0x2068, 0x2069, 0x3164, 0xfeff,
  0xfff9, 0xe0041,
].map((code) => String.fromCodePoint(code));

/** Checks that nothing of it is in what a page shows or has read out. */
export async function showsAll(page) {
  const texts = await page.evaluate(() => {
    const attributes = ["aria-label", "title", "alt", "placeholder"];
    const elements = [...document.querySelectorAll("body *")];
    const spoken = elements.flatMap((element) => attributes.map((name) => element.getAttribute(name)));
    const walk = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
    const shown = [document.title];
    while (walk.nextNode()) shown.push(walk.currentNode.data);
    return [...shown, ...spoken].filter(Boolean);
  });
  const hiding = texts.filter((text) => UNSEEN.some((character) => text.includes(character)));
  assert.deepEqual(hiding, []);
}

/** A name as it is to be shown. */
export function shown(name) {
  const code = (character) => character.codePointAt(0).toString(16).toUpperCase().padStart(4, "0");
  return [...name].map((character) => (UNSEEN.includes(character) ? `⟨U+${code(character)}⟩` : character)).join("");
}

/** The answer to a completion that takes long: its own answer will be at that address. */
export const ACCEPTED = {
  status: 202,
  headers: { Location: "/done/1", "Retry-After": "0" },
  json: { status: "finishing" },
};

/** Checks with axe each look a page can have, and that nothing sticks out at its side. */
export async function accessible(page) {
  for (const colorScheme of ["light", "dark"]) {
    await page.emulateMedia({ colorScheme, reducedMotion: "reduce" });
    for (const width of [1280, 320]) {
      await page.setViewportSize({ width, height: 800 });
      await fits(page);
      const { violations } = await new AxeBuilder({ page }).analyze();
      const found = violations.flatMap(({ id, nodes }) =>
        nodes.map(({ html, failureSummary }) => `${id}: ${html}\n${failureSummary}`),
      );
      assert.deepEqual(found, [], `${colorScheme}, ${width} px wide`);
    }
  }
}

async function fits(page) {
  const [overflow, width] = await page.evaluate(() => {
    const { scrollWidth, clientWidth } = document.documentElement;
    return [scrollWidth - clientWidth, clientWidth];
  });
  assert.equal(overflow, 0, `${width} px wide`);
}

/** Takes a page in each look it can have, and checks that nothing sticks out at its side. */
export async function photograph(page, name) {
  const folder = process.env.SCREENSHOTS ?? (await mkdtemp(path.join(tmpdir(), "screenshots-")));
  await mkdir(folder, { recursive: true });
  for (const colorScheme of ["light", "dark"]) {
    await page.emulateMedia({ colorScheme });
    for (const width of [1280, 960, 320]) {
      await page.setViewportSize({ width, height: 800 });
      const file = path.join(folder, `${name}-${colorScheme}-${width}.png`);
      await page.screenshot({ path: file, fullPage: true, animations: "disabled" });
      await fits(page);
    }
  }
  console.log(`screenshots: ${folder}`);
}
