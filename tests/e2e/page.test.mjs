// node --test tests/e2e/page.test.mjs
//
// The demo page in a real browser, against the real server. Environment:
//   AXUM_EXAMPLE  the server, default target/debug/examples/axum
//   CHROMIUM      the browser, default /usr/bin/chromium
//   SCREENSHOTS   folder for the screenshots, default a temporary one

import assert from "node:assert/strict";
import { createHash, randomBytes } from "node:crypto";
import { mkdtemp, rm, utimes, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import path from "node:path";
import { after, afterEach, before, beforeEach, describe, test } from "node:test";

import {
  ACCEPTED,
  CHUNKS,
  Line,
  MIB,
  NO_LIMIT,
  Server,
  UNSEEN,
  accessible,
  digest,
  firstByte,
  isChunk,
  launchBrowser,
  launchBrowserWithoutScripts,
  photograph,
  randomFile,
  sameBytes,
  shown,
  showsAll,
  troubles,
  until,
} from "./support.mjs";

/** A browser page that notes what it does and says. */
class Visit {
  static async open(browser, server) {
    return Visit.in(await browser.newContext(), server);
  }

  static async in(context, server) {
    const visit = new Visit();
    visit.server = server;
    visit.context = context;
    visit.page = await context.newPage();
    visit.others = [];
    visit.chunks = [];
    visit.strangers = [];
    const { page } = visit;
    page.setDefaultTimeout(Number(process.env.PATIENCE ?? 60_000));
    page.on("request", (request) => visit.#request(request));
    page.on("response", (response) => {
      if (isChunk(response.request()) && response.ok()) visit.chunks.at(-1).answered = true;
    });
    const { errors, failedLoads } = await troubles(page);
    Object.assign(visit, { errors, failedLoads });
    await page.addInitScript(() => {
      window.said = [];
      window.saidAt = [];
      // When the page begins to speak, however long it takes until that is seen here.
      let calledAt = 0;
      const { setTimeout } = window;
      window.setTimeout = (act, pause, ...values) =>
        setTimeout(() => {
          calledAt = performance.now();
          act(...values);
        }, pause);
      document.addEventListener("DOMContentLoaded", () => {
        const live = document.querySelector("[aria-live=polite]");
        new MutationObserver((changes) => {
          for (const { addedNodes } of changes) {
            for (const node of addedNodes) {
              window.said.push(node.textContent);
              window.saidAt.push(calledAt);
            }
          }
        }).observe(live, { childList: true });
      });
    });
    return visit;
  }

  #request(request) {
    const url = new URL(request.url());
    if (url.protocol !== "data:" && url.origin !== this.server.url) this.strangers.push(url.href);
    if (isChunk(request)) this.chunks.push({ range: request.headers()["content-range"] });
  }

  /** Of an upload, as this user asks. */
  status(id) {
    return this.context.request.get(`${this.server.url}${CHUNKS}?upload_id=${id}`);
  }

  /** Deletes an upload. The server may be busy with a chunk at first, also with one that was cut off. */
  async delete(id) {
    await until(async () => {
      await this.context.request.delete(`${this.server.url}${CHUNKS}?upload_id=${id}`);
      return (await this.status(id)).status() === 404;
    });
  }

  /**
   * Where it went on after a pause at which the server was seen to have `offset` bytes: the chunk that
   * the pause cut off may have come whole, and be taken after the look.
   */
  wentOnAt(offset, chunk) {
    const from = firstByte(this.chunks[0].range);
    assert.ok([offset, offset + chunk].includes(from), `went on at ${from}, not at ${offset}`);
    return from;
  }

  async go(query = "") {
    const response = await this.page.goto(`${this.server.url}/${query}`);
    assert.match(response.headers()["content-security-policy"] ?? "", /script-src 'self'/);
  }

  /** Bytes a second that go out, so that there is a middle to an upload. */
  async throttle(uploadThroughput) {
    this.network ??= await this.context.newCDPSession(this.page);
    await this.network.send("Network.enable");
    await this.network.send("Network.emulateNetworkConditions", {
      offline: false,
      latency: 0,
      downloadThroughput: NO_LIMIT,
      uploadThroughput,
    });
  }

  /** A browser that gives no handles of files. */
  withoutHandles() {
    return this.page.addInitScript(() => {
      delete window.showOpenFilePicker;
    });
  }

  /**
   * A browser whose user chooses this file. Its handle is one of the page's own storage, which is
   * kept and read like one of the disk; whether it may be read is up to `leave`.
   */
  async withHandle(name, text) {
    await this.page.addInitScript(
      ([name, text]) => {
        window.showOpenFilePicker = async () => {
          const root = await navigator.storage.getDirectory();
          const handle = await root.getFileHandle(name, { create: true });
          const writable = await handle.createWritable();
          await writable.write(text);
          await writable.close();
          return [handle];
        };
        FileSystemHandle.prototype.requestPermission = async () => {
          window.asked = (window.asked ?? 0) + 1;
          return sessionStorage.getItem("leave") ?? "granted";
        };
      },
      [name, text],
    );
  }

  /** Files cannot be read while the page's `isUnplugged` is set. */
  unpluggable() {
    return this.page.addInitScript(() => {
      for (const [type, method] of [
        [Blob, "arrayBuffer"],
        [FileSystemFileHandle, "getFile"],
      ]) {
        const read = type.prototype[method];
        type.prototype[method] = function () {
          if (!window.isUnplugged) return read.call(this);
          return Promise.reject(new DOMException("It is not there", "NotReadableError"));
        };
      }
    });
  }

  unplug(isUnplugged) {
    return this.page.evaluate((is) => (window.isUnplugged = is), isUnplugged);
  }

  /** Chooses a file for an upload. */
  async chooseFor(name, file) {
    const chooser = this.page.waitForEvent("filechooser");
    await this.button("Choose file", name).click();
    await (await chooser).setFiles(file);
  }

  choose(...files) {
    return this.page.setInputFiles("#files", files);
  }

  row(name) {
    return this.page.locator("#list > li").filter({ has: this.page.getByText(name, { exact: true }) });
  }

  button(label, name) {
    return this.page.getByRole("button", { name: `${label} ${name}`, exact: true });
  }

  /** Cancels, and says that it is meant. */
  async cancel(name) {
    await this.button("Cancel", name).click();
    await this.page.getByRole("button", { name: "Cancel it" }).click();
  }

  /** Starts over, and says that it is meant. */
  async startOver(name) {
    await this.button("Start over", name).click();
    await this.page.getByRole("dialog").getByRole("button", { name: "Start over" }).click();
  }

  async reaches(name, state) {
    const row = this.row(name);
    const reached = row.and(this.page.locator(`[data-state=${state}]`)).waitFor();
    await reached.catch(async (error) => {
      const shown = await row.allInnerTexts().catch(() => []);
      throw new Error(`not ${state}, but: ${shown.join(" | ") || "no row"}`, { cause: error });
    });
  }

  /** A file of 30 kB that the browser gave by a handle, paused after 1000 bytes of it, and a reload. */
  async leftPausedByHandle(name) {
    await this.withHandle(name, "x".repeat(30_000));
    await this.go("?chunk=1000");
    await this.throttle(1000);
    await this.page.getByLabel("Choose files").press("Enter");
    await this.acknowledged(name, 1000);
    await this.button("Pause", name).click();
    await this.keeps(name);
    await this.throttle(NO_LIMIT);
    await this.page.reload();
    await this.row(name).getByText("Your browser may ask you").waitFor();
  }

  /** Sends the beginning of a file in chunks of 100 kB, and pauses it there; gives its id. */
  async pausesAtItsBeginning(name, buffer = randomBytes(3_000_000)) {
    await this.throttle(200_000);
    await this.choose({ name, mimeType: "application/octet-stream", buffer });
    await this.acknowledged(name, 100_000);
    // It is not to come to its end before the click.
    await this.throttle(1000);
    await this.button("Pause", name).click();
    await this.reaches(name, "paused");
    await this.throttle(200_000);
    return (await this.remembered(name)).id;
  }

  /** The same, with another tab that shows it, and will send it slowly. */
  async pausesInSightOfAnother(name) {
    this.loadsMayFail = true;
    await this.go("?chunk=100000");
    await this.pausesAtItsBeginning(name);
    await this.keeps(name);
    const other = await this.anotherTab();
    await other.go("?chunk=100000");
    await other.reaches(name, "elsewhere");
    await other.throttle(100_000);
    return other;
  }

  /** An upload that the server refuses, but not for ever, when it goes on; gives its id. */
  async isRefusedOnce(name) {
    this.loadsMayFail = true;
    await this.go("?chunk=100000");
    const id = await this.pausesAtItsBeginning(name);
    const refusal = { status: 400, json: { detail: "No room for it" } };
    await this.page.route(`**${CHUNKS}`, (route) => route.fulfill(refusal), { times: 1 });
    await this.button("Resume", name).click();
    await this.reaches(name, "error");
    return id;
  }

  /** Answers each request to cancel an upload with what `answer` does then, in all tabs or in one. */
  answersCancellations(answer, tabs = this.context) {
    return tabs.route(`**${CHUNKS}?upload_id=*`, (route) =>
      route.request().method() === "DELETE" ? answer(route) : route.fallback(),
    );
  }

  /** Waits until the list has been asked for and shown from now on. */
  async looksAgain() {
    await this.page.evaluate(async () => (await import("/list.js")).refresh());
  }

  /** Waits until so much of the file has been acknowledged. */
  async acknowledged(name, least) {
    await this.page.waitForFunction(
      ([name, least]) =>
        Object.values(localStorage)
          .map((text) => JSON.parse(text))
          .some((record) => record.name === name && record.offset >= least),
      [name, least],
    );
  }

  remembered(name) {
    return this.page.evaluate(
      (name) =>
        Object.values(localStorage)
          .map((text) => JSON.parse(text))
          .find((record) => record.name === name),
      name,
    );
  }

  /** The uploads whose files the browser has kept. */
  kept() {
    return this.page.evaluate(
      () =>
        new Promise((resolve, reject) => {
          const opened = indexedDB.open("chunked-upload");
          opened.onerror = () => reject(opened.error);
          opened.onsuccess = () => {
            const asked = opened.result.transaction("files").objectStore("files").getAllKeys();
            asked.onsuccess = () => resolve(asked.result);
          };
        }),
    );
  }

  /** Waits until the browser has kept the file: a reload may be faster. */
  async keeps(name) {
    const { id } = await this.remembered(name);
    await until(async () => (await this.kept()).includes(id));
  }

  md5(name) {
    return this.row(name).locator("code").textContent();
  }

  async heard(pattern) {
    await this.page.waitForFunction(
      (source) => window.said.some((text) => new RegExp(source).test(text)),
      pattern.source,
    );
  }

  said() {
    return this.page.evaluate(() => window.said);
  }

  /** Tabs on until the button has the focus. */
  async tabTo(button) {
    for (let n = 0; n < 50; n++) {
      await this.page.keyboard.press("Tab");
      if (await button.evaluate((element) => element === document.activeElement)) return;
    }
    assert.fail("Tab does not reach the button");
  }

  /** What the server lists of this user. */
  async listed() {
    return (await this.context.request.get(`${this.server.url}/api/uploads`)).json();
  }

  /** Of the same user. */
  async anotherTab() {
    const other = await Visit.in(this.context, this.server);
    this.others.push(other);
    return other;
  }

  async close() {
    // What is on its way may stay unanswered.
    for (const routes of [this.context, ...this.context.pages()]) {
      await routes.unrouteAll({ behavior: "ignoreErrors" });
    }
    await this.context.close();
    for (const other of this.others) assert.deepEqual(other.errors, []);
    assert.deepEqual(this.errors, []);
    assert.deepEqual(this.strangers, []);
    if (!this.loadsMayFail) assert.deepEqual(this.failedLoads, []);
  }
}

describe("the demo page", { timeout: 3_600_000 }, () => {
  let browser;
  let folder;
  let server;
  let visit;

  before(async () => {
    browser = await launchBrowser();
  });

  after(() => browser?.close());

  beforeEach(async () => {
    folder = await mkdtemp(path.join(tmpdir(), "upload-page-"));
    server = await Server.start(folder);
    visit = await Visit.open(browser, server);
  });

  afterEach(async () => {
    try {
      await visit?.close();
    } finally {
      await server?.stop("SIGKILL");
      await rm(folder, { recursive: true });
    }
  });

  test("a large file is paused, survives a reload, resumes and arrives whole", async () => {
    const name = "large.bin";
    const file = await randomFile(folder, name, 200 * MIB);
    await visit.go();
    await visit.throttle(12 * MIB);
    await visit.choose(file);
    await visit.acknowledged(name, 24 * MIB);
    await visit.throttle(MIB);
    await visit.button("Pause", name).click();
    await visit.reaches(name, "paused");

    await visit.page.reload();
    await visit.reaches(name, "unfinished");
    const before = await visit.remembered(name);
    const { offset } = await (await visit.status(before.id)).json();
    assert.ok(offset >= 24 * MIB && offset < 200 * MIB, `the server has ${offset} bytes`);

    visit.chunks.length = 0;
    await visit.throttle(NO_LIMIT);
    await visit.choose(file);
    await visit.reaches(name, "done");

    const from = visit.wentOnAt(offset, 4 * MIB);
    assert.equal(visit.chunks.length, Math.ceil((200 * MIB - from) / (4 * MIB)));
    assert.equal(await visit.md5(name), await digest("md5", file));
    assert.equal(await visit.remembered(name), undefined);
    const saved = await server.saved();
    assert.equal(saved.length, 1);
    await sameBytes(saved[0], file);
  });

  test("a chunk that was cut off is sent again from the acknowledged offset", async () => {
    const name = "cut.bin";
    const file = await randomFile(folder, name, 24 * MIB);
    await visit.go();
    await visit.throttle(2 * MIB);
    await visit.choose(file);
    await visit.acknowledged(name, 4 * MIB);
    await visit.throttle(64 * 1024);
    await visit.button("Pause", name).click();
    await visit.reaches(name, "paused");
    const { id } = await visit.remembered(name);
    await visit.throttle(NO_LIMIT);
    const sentBefore = visit.chunks.length;
    await visit.button("Resume", name).click();
    await visit.reaches(name, "done");

    const resumedAt = firstByte(visit.chunks[sentBefore].range);
    assert.ok(resumedAt >= 4 * MIB, `resumed at ${resumedAt}`);
    assert.equal((await (await visit.status(id)).json()).offset, 24 * MIB);
    await sameBytes((await server.saved())[0], file);
  });

  test("two files dropped at once, one of them empty, with names of all kinds", async () => {
    const full = "Größe \"zwei\" 'drei' 📦 年.txt";
    const empty = "leer – ünï.dat";
    await visit.go();
    const transfer = await visit.page.evaluateHandle(
      ([full, empty]) => {
        const transfer = new DataTransfer();
        transfer.items.add(new File(["all of it"], full));
        transfer.items.add(new File([], empty));
        return transfer;
      },
      [full, empty],
    );
    await visit.page.dispatchEvent("#drop", "dragover", { dataTransfer: transfer });
    await visit.page.locator("body.dragging").waitFor();
    await visit.page.dispatchEvent("#drop", "drop", { dataTransfer: transfer });
    await visit.reaches(full, "done");
    await visit.reaches(empty, "done");
    assert.equal(await visit.page.locator("body.dragging").count(), 0);

    assert.equal(await visit.md5(full), createHash("md5").update("all of it").digest("hex"));
    assert.equal(await visit.md5(empty), "d41d8cd98f00b204e9800998ecf8427e");
    assert.deepEqual(visit.chunks.map(({ range }) => range).sort(), ["bytes 0-8/9", undefined]);
    const saved = await Promise.all((await server.saved()).map((file) => digest("sha256", file)));
    const wanted = ["all of it", ""].map((text) => createHash("sha256").update(text).digest("hex"));
    assert.deepEqual(saved.sort(), wanted.sort());
  });

  test("two files are sent at a time and the third waits", async () => {
    const names = ["one.bin", "two.bin", "three.bin"];
    const files = await Promise.all(names.map((name) => randomFile(folder, name, 6 * MIB)));
    await visit.go();
    await visit.throttle(64 * 1024);
    await visit.choose(...files);
    await visit.reaches("one.bin", "sending");
    await visit.reaches("two.bin", "sending");
    await visit.reaches("three.bin", "waiting");
    await visit.throttle(NO_LIMIT);
    for (const name of names) await visit.reaches(name, "done");
    assert.equal((await server.saved()).length, 3);
  });

  test("the server is killed in mid-upload and the page recovers by itself", async () => {
    const name = "survivor.bin";
    const file = await randomFile(folder, name, 40 * MIB);
    visit.loadsMayFail = true;
    await visit.go("?chunk=1048576");
    await visit.throttle(4 * MIB);
    await visit.choose(file);
    await visit.acknowledged(name, 8 * MIB);
    await visit.throttle(64 * 1024);
    await server.stop("SIGKILL");
    await visit.reaches(name, "retrying");
    await visit.row(name).getByText("The server does not answer").waitFor();
    await visit.heard(/The server does not answer\. survivor\.bin will go on by itself/);
    await visit.row(name).getByText(/Trying again in \d+\ss/).waitFor();
    const { offset } = await visit.remembered(name);
    visit.chunks.length = 0;
    await server.launch();
    await visit.reaches(name, "sending");
    await visit.throttle(NO_LIMIT);
    await visit.reaches(name, "done");

    const sent = visit.chunks.filter(({ answered }) => answered);
    assert.ok(firstByte(sent[0].range) >= offset, `went on at ${sent[0].range}`);
    const saved = await server.saved();
    assert.equal(saved.length, 1);
    await sameBytes(saved[0], file);
  });

  test("cancel leaves nothing behind", async () => {
    const name = "unwanted.bin";
    const file = await randomFile(folder, name, 24 * MIB);
    await visit.go("?chunk=1048576");
    await visit.throttle(2 * MIB);
    await visit.choose(file);
    await visit.acknowledged(name, 2 * MIB);
    const { id } = await visit.remembered(name);
    assert.equal((await visit.status(id)).status(), 200);
    await visit.cancel(name);
    await visit.row(name).waitFor({ state: "detached" });

    assert.equal((await visit.status(id)).status(), 404);
    assert.equal(await visit.remembered(name), undefined);
    assert.deepEqual(await server.saved(), []);
    await visit.heard(/unwanted\.bin cancelled/);
    await visit.page.reload();
    assert.equal(await visit.page.locator("#list > li").count(), 0);
  });

  test("an unfinished upload is cancelled after a reload", async () => {
    const file = await randomFile(folder, "dropped.bin", 24 * MIB);
    await visit.go("?chunk=1048576");
    await visit.throttle(MIB);
    await visit.choose(file);
    await visit.acknowledged("dropped.bin", MIB);
    await visit.page.reload();
    await visit.reaches("dropped.bin", "unfinished");
    const { id } = await visit.remembered("dropped.bin");
    await visit.cancel("dropped.bin");
    await visit.page.locator("#uploads[hidden]").waitFor({ state: "attached" });

    assert.equal((await visit.status(id)).status(), 404);
    assert.equal(await visit.page.evaluate(() => localStorage.length), 0);
  });

  test("the server knows what a browser has forgotten, and it goes on", async () => {
    const name = 'Größe "zwei" 📦.bin';
    const file = await randomFile(folder, name, 12 * MIB);
    await visit.go("?chunk=1048576");
    await visit.throttle(MIB);
    await visit.choose(file);
    await visit.acknowledged(name, 2 * MIB);
    await visit.button("Pause", name).click();
    await visit.page.evaluate(() => localStorage.clear());
    await visit.page.reload();
    await visit.reaches(name, "unfinished");
    const { offset } = (await visit.listed())[0];
    assert.ok(offset >= 2 * MIB);

    visit.chunks.length = 0;
    await visit.throttle(NO_LIMIT);
    await visit.choose(file);
    await visit.reaches(name, "done");
    visit.wentOnAt(offset, MIB);
    await sameBytes((await server.saved())[0], file);
  });

  test("another tab sees it grow, takes it over, and the first sees it done", async () => {
    const name = "shared.bin";
    const file = await randomFile(folder, name, 24 * MIB);
    visit.loadsMayFail = true;
    await visit.go("?chunk=1048576");
    await visit.throttle(MIB);
    await visit.choose(file);
    await visit.acknowledged(name, MIB);

    const other = await visit.anotherTab();
    await other.go("?chunk=1048576");
    await other.throttle(2 * MIB);
    await other.row(name).getByText(/Sending elsewhere/).waitFor();
    await other.choose(file);
    await visit.reaches(name, "elsewhere");
    await visit.row(name).getByText(/Another tab or window has taken it over/).waitFor();
    await other.throttle(NO_LIMIT);
    await other.reaches(name, "done");
    assert.equal((await server.saved()).length, 1);
    await sameBytes((await server.saved())[0], file);

    await visit.page.reload();
    await visit.reaches(name, "done");
    assert.equal(await visit.md5(name), await digest("md5", file));
  });

  test("what another tab has taken over is removed from this page only", async () => {
    const name = "carried.bin";
    const file = await randomFile(folder, name, 24 * MIB);
    visit.loadsMayFail = true;
    await visit.go("?chunk=1048576");
    await visit.throttle(2 * MIB);
    await visit.choose(file);
    await visit.acknowledged(name, MIB);
    const { id } = await visit.remembered(name);
    // No chunk of this tab ends between the other one's question for the offset and its chunk.
    await visit.throttle(1);
    const other = await visit.anotherTab();
    await other.go("?chunk=1048576");
    await other.throttle(2 * MIB);
    await other.row(name).waitFor();
    await other.choose(file);
    await visit.reaches(name, "elsewhere");
    await other.throttle(MIB / 4);

    await visit.button("Hide", name).click();
    await visit.row(name).waitFor({ state: "detached" });
    assert.equal((await visit.status(id)).status(), 200);
    await visit.looksAgain();
    assert.equal(await visit.row(name).count(), 0, "it is back");
    assert.ok(await other.remembered(name), "the other tab's memory is lost");
    await other.throttle(NO_LIMIT);
    await other.reaches(name, "done");
    await visit.reaches(name, "done");
    assert.deepEqual(other.failedLoads, []);
    await sameBytes((await server.saved())[0], file);
  });

  for (const [state, go] of [
    ["paused", (name) => visit.button("Pause", name).click()],
    [
      "retrying",
      () => visit.page.route(`**${CHUNKS}`, (route) => route.fulfill({ status: 503, body: "later" })),
    ],
    [
      "error",
      () => visit.page.route(`**${CHUNKS}`, (route) => route.fulfill({ status: 400, json: {} })),
    ],
  ]) {
    test(`what is ${state} here and goes on in another tab is left to that one`, async () => {
      const name = `${state}.bin`;
      const file = await randomFile(folder, name, 24 * MIB);
      visit.loadsMayFail = true;
      await visit.go("?chunk=1048576");
      await visit.throttle(2 * MIB);
      await visit.choose(file);
      await visit.acknowledged(name, MIB);
      await go(name);
      await visit.reaches(name, state);

      const other = await visit.anotherTab();
      await other.go("?chunk=1048576");
      await other.throttle(2 * MIB);
      await other.row(name).waitFor();
      await other.choose(file);
      await visit.row(name).getByText(/Another tab or window has taken it over/).waitFor();
      await other.throttle(MIB / 4);
      await visit.page.unroute(`**${CHUNKS}`);
      await visit.button("Continue here", name).waitFor();
      await visit.button("Hide", name).click();
      await visit.row(name).waitFor({ state: "detached" });
      await other.throttle(NO_LIMIT);
      await other.reaches(name, "done");
      assert.deepEqual(other.failedLoads, []);
      assert.equal((await server.saved()).length, 1);
    });
  }

  test("it goes on here again when the user says so, and the other tab lets go", async () => {
    const name = "back.bin";
    const file = await randomFile(folder, name, 24 * MIB);
    visit.loadsMayFail = true;
    await visit.go("?chunk=1048576");
    await visit.throttle(2 * MIB);
    await visit.choose(file);
    await visit.acknowledged(name, MIB);
    await visit.throttle(MIB / 2);
    const other = await visit.anotherTab();
    await other.go("?chunk=1048576");
    await other.throttle(MIB);
    await other.row(name).waitFor();
    await other.choose(file);
    await visit.button("Continue here", name).click();
    await other.row(name).getByText(/Another tab or window has taken it over/).waitFor();
    await visit.throttle(NO_LIMIT);
    await visit.reaches(name, "done");
    await other.reaches(name, "done");
    assert.equal((await server.saved()).length, 1);
    await sameBytes((await server.saved())[0], file);
  });

  test("what another tab holds is not cancelled here, though nothing of it moves", async () => {
    const name = "still.bin";
    const file = await randomFile(folder, name, 24 * MIB);
    await visit.go("?chunk=1048576");
    await visit.throttle(2 * MIB);
    await visit.choose(file);
    await visit.acknowledged(name, MIB);
    await visit.button("Pause", name).click();
    await visit.reaches(name, "paused");

    const other = await visit.anotherTab();
    await other.go();
    await other.row(name).getByText(/^Held by another tab, \d+%$/).waitFor();
    assert.equal(await other.row(name).getAttribute("data-tone"), "quiet");
    assert.equal(await other.button("Cancel", name).count(), 0);
    await other.button("Continue here", name).waitFor();
    await visit.throttle(1);
    await visit.button("Resume", name).click();
    await visit.reaches(name, "sending");
    await other.looksAgain();
    assert.equal(await other.button("Cancel", name).count(), 0);

    // The lock ends with the tab.
    await visit.page.close();
    await other.reaches(name, "unfinished");
    await other.button("Cancel", name).waitFor();
  });

  test("an upload that another tab has begun to send meanwhile is not cancelled", async () => {
    const name = "meanwhile.bin";
    const file = await randomFile(folder, name, 15 * MIB);
    await visit.go("?chunk=1048576");
    await visit.throttle(MIB);
    await visit.choose(file);
    await visit.acknowledged(name, MIB);
    await visit.button("Pause", name).click();
    await visit.reaches(name, "paused");
    await visit.keeps(name);
    await visit.page.reload();
    await visit.reaches(name, "unfinished");
    const other = await visit.anotherTab();
    await other.go();
    await other.reaches(name, "unfinished");
    const deleted = [];
    other.page.on("request", (request) => {
      if (request.method() === "DELETE") deleted.push(request.url());
    });
    // From now on the list does not tell it.
    await other.page.route("**/api/uploads", () => {});
    await other.button("Cancel", name).click();
    const words = /^If another tab or device is still sending it, that ends too\. The server deletes the [\d.]+\sMB that it has\.$/;
    await other.page.getByRole("dialog").getByText(words).waitFor();
    await visit.throttle(1);
    await visit.button("Resume", name).click();
    await visit.row(name).and(visit.page.locator("[data-state=checking], [data-state=sending]")).waitFor();
    await other.page.getByRole("button", { name: "Cancel it" }).click();
    await other.reaches(name, "elsewhere");
    assert.deepEqual(deleted, []);
  });

  test("what is cancelled in another tab is told quietly, and can start over", async () => {
    const name = "away.bin";
    const file = await randomFile(folder, name, 15 * MIB);
    visit.loadsMayFail = true;
    await visit.go("?chunk=1048576");
    await visit.throttle(MIB);
    await visit.choose(file);
    await visit.acknowledged(name, MIB);
    await visit.button("Pause", name).click();
    await visit.reaches(name, "paused");
    const { id } = await visit.remembered(name);
    await visit.delete(id);
    await visit.row(name).getByText("Not on the server any more", { exact: true }).waitFor();
    await visit.row(name).getByText("It was cancelled or removed elsewhere. Start over sends it again.").waitFor();
    assert.equal(await visit.row(name).getAttribute("data-tone"), "quiet");
    assert.equal(await visit.remembered(name), undefined);
    await visit.throttle(NO_LIMIT);
    await visit.button("Start over", name).click();
    await visit.reaches(name, "done");
    await sameBytes((await server.saved())[0], file);
  });

  test("what is paused here and completed elsewhere is done here as well", async () => {
    const name = "both.bin";
    const mimeType = "application/octet-stream";
    const whole = randomBytes(15 * MIB);
    await visit.go("?chunk=1048576");
    await visit.throttle(MIB);
    await visit.choose({ name, mimeType, buffer: whole });
    await visit.acknowledged(name, MIB);
    await visit.button("Pause", name).click();
    await visit.reaches(name, "paused");
    const { id } = await visit.remembered(name);
    const { request } = visit.context;
    // The chunk that the pause cut off may have come whole, and be taken after the look.
    await until(async () => {
      const { offset } = await (await visit.status(id)).json();
      const headers = { "Content-Range": `bytes ${offset}-${15 * MIB - 1}/${15 * MIB}` };
      const file = { name, mimeType, buffer: whole.subarray(offset) };
      const rest = { headers, multipart: { upload_id: id, file } };
      return (await request.post(`${server.url}${CHUNKS}`, rest)).ok();
    });
    const form = { upload_id: id, md5: createHash("md5").update(whole).digest("hex") };
    assert.ok((await request.post(`${server.url}${CHUNKS}_complete`, { form })).ok());
    await visit.reaches(name, "done");
    const bar = visit.page.getByRole("progressbar", { name: `Progress of ${name}` });
    assert.match(await bar.getAttribute("aria-valuetext"), /^100 percent, 15\.7\sMB of 15\.7\sMB$/);
    await visit.heard(/both\.bin is done\./);
  });

  test("what the server is finishing is not called unfinished, unless it has given up", async () => {
    const name = "slow.bin";
    visit.loadsMayFail = true;
    await visit.go("?chunk=100000");
    const id = await visit.pausesAtItsBeginning(name);
    let isFinishing = true;
    await visit.page.route("**/api/uploads", async (route) => {
      const response = await route.fetch();
      const json = (await response.json()).map((upload) => ({ ...upload, status: "finishing" }));
      return route.fulfill({ response, json });
    });
    await visit.page.route(`**${CHUNKS}?upload_id=*`, async (route) => {
      if (route.request().method() !== "GET" || !isFinishing) return route.fallback();
      const response = await route.fetch();
      return route.fulfill({ response, json: { ...(await response.json()), status: "finishing" } });
    });
    await visit.keeps(name);
    await visit.page.reload();
    await visit.reaches(name, "completing");
    await visit.row(name).getByText("The server is checking the file.").waitFor();
    for (const label of ["Cancel", "Resume", "Choose file"]) {
      assert.equal(await visit.button(label, name).count(), 0, label);
    }
    isFinishing = false;
    await visit.reaches(name, "unfinished");
    // It is finished while the user cancels it.
    await visit.answersCancellations((route) =>
      route.fulfill({ status: 400, json: { code: "finishing", detail: "no" } }),
    );
    await visit.page.unroute("**/api/uploads");
    let answer;
    await visit.page.route("**/api/uploads", (route) => {
      answer = route;
    });
    await visit.button("Resume", name).waitFor();
    await visit.cancel(name);
    await visit.heard(/“slow\.bin” is saved already, or just being saved\./);
    await visit.row(name).getByText("The server is checking the file.").waitFor();
    await visit.button("Hide", name).click();
    await visit.row(name).waitFor({ state: "detached" });
    assert.equal((await visit.status(id)).status(), 200);
    await answer?.continue();
  });

  test("an upload whose size nobody knows yet has no percents", async () => {
    const name = "stream.bin";
    const { request } = visit.context;
    await visit.go();
    const tus = { "Tus-Resumable": "1.0.0" };
    const metadata = `filename ${Buffer.from(name).toString("base64")}`;
    const begin = { ...tus, "Upload-Defer-Length": "1", "Upload-Metadata": metadata };
    const begun = await request.post(`${server.url}/files`, { headers: begin });
    const address = new URL(begun.headers().location, server.url).href;
    const type = { "Content-Type": "application/offset+octet-stream" };
    const send = (offset, data, more = {}) => {
      const headers = { ...tus, ...type, "Upload-Offset": `${offset}`, ...more };
      return request.patch(address, { headers, data: Buffer.from(data) });
    };
    assert.ok((await send(0, "all ")).ok());
    await visit.row(name).getByText(/^Unfinished, 4\sbytes sent$/).waitFor();
    await visit.row(name).getByText(/^Only the program that began it can go on with it\./).waitFor();
    assert.equal(await visit.row(name).getByRole("progressbar").count(), 0);
    assert.equal(await visit.row(name).locator(".size").textContent(), "");
    assert.equal(await visit.button("Choose file", name).count(), 0);
    assert.ok((await send(4, "of it")).ok());
    await visit.row(name).getByText(/^Sending elsewhere, 9\sbytes$/).waitFor();
    assert.equal(await visit.button("Continue here", name).count(), 0);
    assert.ok((await send(9, ".", { "Upload-Length": "10" })).ok());
    await visit.reaches(name, "done");
    assert.match(await visit.row(name).locator(".size").textContent(), /^10\sbytes$/);
    assert.equal(await visit.row(name).getByRole("progressbar").count(), 1);
  });

  test("the pace becomes less while nothing moves", async () => {
    const line = await Line.to(server);
    const slow = await Visit.open(browser, line);
    try {
      const name = "stalled.bin";
      await slow.go();
      await slow.throttle(2 * MIB);
      const isBlocked = line.blockedAfter(2 * MIB);
      await slow.choose(await randomFile(folder, name, 24 * MIB));
      const pace = slow.row(name).getByText(/\/s · /);
      await isBlocked;
      await pace.waitFor();
      const kilobytes = async () => {
        const [, amount, unit] = /([\d.]+)\s(kB|MB)\/s/.exec(await pace.textContent());
        return amount * (unit === "MB" ? 1000 : 1);
      };
      const before = await kilobytes();
      await until(async () => (await kilobytes()) < before / 2);
      line.unblock();
    } finally {
      await slow.close();
      await line.end();
    }
  });

  test("without locks, as on plain http, a growing offset tells that another tab sends", async () => {
    const name = "unlocked.bin";
    const file = await randomFile(folder, name, 24 * MIB);
    visit.loadsMayFail = true;
    const other = await visit.anotherTab();
    for (const { page } of [visit, other]) {
      await page.addInitScript(() => delete Navigator.prototype.locks);
    }
    await visit.go("?chunk=1048576");
    await visit.throttle(MIB);
    await visit.choose(file);
    await visit.acknowledged(name, MIB);
    await other.go("?chunk=1048576");
    assert.equal(await other.page.evaluate(() => navigator.locks), undefined);
    await other.row(name).getByText(/Sending elsewhere/).waitFor();
    await other.button("Hide", name).waitFor();
    await other.throttle(2 * MIB);
    await other.choose(file);
    await visit.row(name).getByText(/Another tab or window has taken it over/).waitFor();
    await other.throttle(NO_LIMIT);
    await other.reaches(name, "done");
    await visit.reaches(name, "done");
  });

  test("nothing hides in a name, nor turns it around", async () => {
    const name = "invoice\u202egpj.exe";
    await visit.go();
    await visit.choose({ name, mimeType: "text/plain", buffer: Buffer.from("1") });
    await visit.reaches("invoice⟨U+202E⟩gpj.exe", "done");
    const row = visit.row(shown(name));
    assert.equal(await row.locator(".name .mark").textContent(), "⟨U+202E⟩");
    await showsAll(visit.page);
    // The list of a reloaded page has it from the server.
    await visit.page.reload();
    await visit.reaches(shown(name), "done");
    await showsAll(visit.page);
    await visit.button("Hide", shown(name)).waitFor();

    for (const [n, character] of UNSEEN.entries()) {
      const name = `${n}${character}.txt`;
      await visit.choose({ name, mimeType: "text/plain", buffer: Buffer.from(name) });
      await visit.row(shown(name)).waitFor();
    }
    await showsAll(visit.page);
    for (const [n, character] of UNSEEN.entries()) {
      await visit.reaches(shown(`${n}${character}.txt`), "done");
    }
    await showsAll(visit.page);
    assert.ok((await visit.said()).every((text) => text === shown(text)));
  });

  test("a name that is read from right to left moves nothing around it", async () => {
    const name = "שלום (1).txt";
    await visit.go("?chunk=1");
    await visit.throttle(1);
    const file = await randomFile(folder, name, 5);
    await visit.choose(file);
    await visit.row(name).waitFor();
    await visit.choose(file);
    const set = visit.page.locator("#notice bdi").getByText(name, { exact: true });
    await set.waitFor();
    // The words that follow it in the text stand to its right.
    const [before, after] = await set.evaluate((element) => {
      const place = (node) => {
        const range = document.createRange();
        range.selectNodeContents(node);
        return range.getBoundingClientRect();
      };
      return [element.previousSibling, element.nextSibling].map((node) => place(node).x);
    });
    const { x, width } = await set.boundingBox();
    assert.ok(before < x && after >= x + width - 1, `${before}, ${x}, ${width}, ${after}`);
  });

  test("finished files stay listed with size and checksum until they are hidden", async () => {
    await visit.go();
    await visit.choose({ name: "a.txt", mimeType: "text/plain", buffer: Buffer.from("all of it") });
    await visit.reaches("a.txt", "done");
    await visit.page.reload();
    await visit.reaches("a.txt", "done");
    assert.match(await visit.row("a.txt").locator(".size").textContent(), /^9\sbytes$/);
    assert.equal(await visit.md5("a.txt"), createHash("md5").update("all of it").digest("hex"));
    await visit.button("Hide", "a.txt").click();
    await visit.page.reload();
    await visit.looksAgain();
    assert.equal(await visit.page.locator("#list > li").count(), 0);
    assert.equal((await server.saved()).length, 1);
  });

  test("a finished file is shown with the name that it has on the disk, also after a reload", async () => {
    await visit.go();
    await visit.choose({ name: "a b.txt", mimeType: "text/plain", buffer: Buffer.from("all of it") });
    await visit.reaches("a b.txt", "done");
    const saved = path.basename((await server.saved())[0]);
    assert.match(saved, /^[0-9a-f]{32}-a b\.txt$/);
    const told = visit.row("a b.txt").getByText(`Saved on the server as ${saved}`, { exact: true });
    await told.waitFor();
    await visit.page.reload();
    await told.waitFor();
  });

  test("an upload that another device of the user carries is hidden here, and not cancelled", async (t) => {
    const name = "device.bin";
    const file = await randomFile(folder, name, 24 * MIB);
    visit.loadsMayFail = true;
    await visit.go("?chunk=1048576");
    await visit.throttle(MIB);
    await visit.choose(file);
    await visit.acknowledged(name, MIB);
    const device = await Visit.open(browser, server);
    t.after(() => device.context.close());
    await device.context.addCookies(await visit.context.cookies());
    await device.go("?chunk=1048576");
    const deleted = [];
    device.page.on("request", (request) => {
      if (request.method() === "DELETE") deleted.push(request.url());
    });
    // Only the server says that it grows: this browser remembers nothing of it.
    await device.reaches(name, "elsewhere");
    assert.equal(await device.row(name).getAttribute("data-tone"), "busy");
    assert.equal(await device.button("Cancel", name).count(), 0);
    await device.button("Hide", name).click();
    await device.row(name).waitFor({ state: "detached" });
    await visit.throttle(NO_LIMIT);
    await visit.reaches(name, "done");
    await device.reaches(name, "done");
    assert.deepEqual(deleted, []);
    await device.close();
  });

  test("what another device has taken over is no error, and hiding it does not end it", async (t) => {
    const name = "taken.bin";
    const file = await randomFile(folder, name, 24 * MIB);
    visit.loadsMayFail = true;
    await visit.go("?chunk=1048576");
    await visit.throttle(2 * MIB);
    await visit.choose(file);
    await visit.acknowledged(name, MIB);
    const device = await Visit.open(browser, server);
    t.after(() => device.context.close());
    device.loadsMayFail = true;
    // Its chunks take long, and one has just begun, so that the device's is the newer one.
    await visit.throttle(MIB / 8);
    await device.context.addCookies(await visit.context.cookies());
    await device.go("?chunk=1048576");
    await device.throttle(2 * MIB);
    await device.row(name).waitFor();
    const begun = visit.chunks.length;
    await until(() => visit.chunks.length > begun);
    await device.choose(file);
    await until(() => device.chunks.some(({ answered }) => answered));
    await device.throttle(MIB / 4);
    // The browser reads the answer once it has sent the chunk.
    await visit.throttle(NO_LIMIT);
    await visit.reaches(name, "elsewhere");
    assert.equal(await visit.row(name).getAttribute("data-tone"), "busy");
    await visit.row(name).getByText("You can continue here instead.").waitFor();
    await visit.button("Hide", name).click();
    await visit.row(name).waitFor({ state: "detached" });
    await device.throttle(NO_LIMIT);
    await device.reaches(name, "done");
    await visit.reaches(name, "done");
    await device.close();
  });

  test("bytes are only thrown away after a question that can be answered with no", async () => {
    const name = "asked\u202e.bin";
    const file = await randomFile(folder, name, 24 * MIB);
    await visit.go("?chunk=1048576");
    await visit.throttle(2 * MIB);
    await visit.choose(file);
    await visit.acknowledged(name, MIB);
    const { id } = await visit.remembered(name);
    await visit.button("Pause", shown(name)).click();
    await visit.button("Cancel", shown(name)).focus();
    await visit.page.keyboard.press("Enter");
    const dialog = visit.page.getByRole("dialog", { name: `Cancel “${shown(name)}”?` });
    await dialog.waitFor();
    await dialog.getByText(/^The server deletes the [\d.]+\sMB that it has\.$/).waitFor();
    await showsAll(visit.page);
    await visit.page.keyboard.press("Escape");
    await dialog.waitFor({ state: "hidden" });
    const cancel = visit.button("Cancel", shown(name));
    assert.ok(await cancel.evaluate((element) => element === document.activeElement));
    await cancel.click();
    await visit.page.getByRole("button", { name: "Keep it" }).click();
    assert.equal((await visit.status(id)).status(), 200);
    await visit.reaches(shown(name), "paused");
    await visit.cancel(shown(name));
    await visit.row(shown(name)).waitFor({ state: "detached" });
    assert.equal((await visit.status(id)).status(), 404);
  });

  test("an upload that ends while its user is asked is not lost", async () => {
    const file = await randomFile(folder, "quick.bin", 15 * MIB);
    await visit.go("?chunk=1048576");
    await visit.throttle(MIB);
    await visit.choose(file);
    await visit.acknowledged("quick.bin", MIB);
    await visit.button("Cancel", "quick.bin").click();
    await visit.page.getByRole("dialog").waitFor();
    await visit.throttle(NO_LIMIT);
    await visit.reaches("quick.bin", "done");
    await visit.page.getByRole("button", { name: "Cancel it" }).click();
    await visit.page.locator("#notice").getByText("“quick.bin” is saved already.").waitFor();
    await sameBytes((await server.saved())[0], file);
  });

  test("the focus is not lost when the button is gone that had it before a question", async () => {
    const name = "focus.bin";
    await visit.go("?chunk=100000");
    await visit.pausesAtItsBeginning(name);
    let completion = null;
    await visit.page.route(`**${CHUNKS}_complete`, (route) => {
      completion = route;
    });
    await visit.button("Resume", name).click();
    await visit.reaches(name, "sending");
    await visit.button("Cancel", name).press("Enter");
    const dialog = visit.page.getByRole("dialog");
    await dialog.waitFor();
    await visit.throttle(NO_LIMIT);
    // Then it has no buttons.
    await visit.reaches(name, "finishing");
    await visit.page.keyboard.press("Escape");
    await dialog.waitFor({ state: "hidden" });
    await visit.page.locator("#files:focus").waitFor({ state: "attached" });
    await until(() => completion);
    await completion.continue();
    await visit.reaches(name, "done");
  });

  test("an upload without bytes is cancelled without a question", async () => {
    const names = ["one.bin", "two.bin", "three.bin"];
    const files = await Promise.all(names.map((name) => randomFile(folder, name, 6 * MIB)));
    await visit.go();
    await visit.throttle(64 * 1024);
    await visit.choose(...files);
    await visit.reaches("three.bin", "waiting");
    await visit.button("Cancel", "three.bin").click();
    await visit.row("three.bin").waitFor({ state: "detached" });
    assert.equal(await visit.page.getByRole("dialog").count(), 0);
  });

  test("what failed is removed with its bytes, after a question", async () => {
    const file = await randomFile(folder, "failed.bin", 24 * MIB);
    visit.loadsMayFail = true;
    await visit.go("?chunk=1048576");
    await visit.throttle(2 * MIB);
    await visit.choose(file);
    await visit.acknowledged("failed.bin", MIB);
    const { id } = await visit.remembered("failed.bin");
    await visit.page.route(`**${CHUNKS}`, (route) => route.fulfill({ status: 400, json: {} }));
    await visit.reaches("failed.bin", "error");
    await visit.button("Remove", "failed.bin").click();
    const dialog = visit.page.getByRole("dialog", { name: "Remove “failed.bin”?" });
    await dialog.getByText(/^The server deletes the [\d.]+\sMB that it has\.$/).waitFor();
    await dialog.getByRole("button", { name: "Remove it" }).click();
    await visit.row("failed.bin").waitFor({ state: "detached" });
    assert.equal((await visit.status(id)).status(), 404);
  });

  test("another file than that of the row is only sent after a question", async () => {
    const file = await randomFile(folder, "right.bin", 24 * MIB);
    const wrong = await randomFile(folder, "wrong.bin", MIB);
    await visit.withoutHandles();
    visit.page.on("filechooser", () => {});
    await visit.go("?chunk=1048576");
    await visit.throttle(MIB);
    await visit.choose(file);
    await visit.acknowledged("right.bin", MIB);
    await visit.button("Pause", "right.bin").click();
    await visit.page.reload();
    await visit.throttle(NO_LIMIT);
    await visit.reaches("right.bin", "unfinished");
    await visit.row("right.bin").getByText("Choose the same file again to go on.").waitFor();
    visit.chunks.length = 0;

    await visit.chooseFor("right.bin", wrong);
    const dialog = visit.page.getByRole("dialog", { name: "This is not “right.bin”" });
    await dialog
      .getByText(/“wrong\.bin”, which differs in its name, its size \(1\sMB instead of 25\.2\sMB\) and its date\./)
      .waitFor();
    await dialog.getByRole("button", { name: "Do not send it" }).click();
    await dialog.waitFor({ state: "hidden" });
    assert.equal(await visit.row("wrong.bin").count(), 0);
    assert.equal(visit.chunks.length, 0);

    await visit.chooseFor("right.bin", wrong);
    await dialog.getByRole("button", { name: "Send as a new upload" }).click();
    await visit.reaches("wrong.bin", "done");
    await visit.reaches("right.bin", "unfinished");
    await visit.chooseFor("right.bin", file);
    await visit.reaches("right.bin", "done");
    assert.equal((await server.saved()).length, 2);
  });

  test("all are paused, resumed and hidden at once, and their progress is shown as one", async () => {
    const names = ["one.bin", "two.bin", "three.bin"];
    const files = await Promise.all(names.map((name) => randomFile(folder, name, 5_000_000)));
    const { page } = visit;
    await visit.go("?chunk=500000");
    assert.equal(await page.locator("#overall").isVisible(), false);
    await visit.throttle(500_000);
    await visit.choose(...files);
    const overall = page.locator("#overall");
    await overall.getByText(/^0 of 3 files done · [\d.]+\s(bytes|kB|MB) of 15\sMB · about \d+\s(s|min) left$/).waitFor();
    const pauseAll = page.getByRole("button", { name: "Pause all" });
    const resumeAll = page.getByRole("button", { name: "Resume all" });
    const hideDone = page.getByRole("button", { name: "Hide finished" });
    assert.equal(await resumeAll.isVisible(), false);
    assert.equal(await hideDone.isVisible(), false);
    await pauseAll.focus();
    await page.keyboard.press("Enter");
    for (const name of names) await visit.reaches(name, "paused");
    await overall.getByText(/^0 of 3 files done · .* of 15\sMB · paused$/).waitFor();
    // Before it goes on: a later summary takes the place of what was not said yet.
    await visit.heard(/^All 3 files paused, \d+ percent sent\.$/);
    assert.equal(await pauseAll.isVisible(), false);
    assert.ok(await resumeAll.evaluate((element) => element === document.activeElement));
    const bar = page.getByRole("progressbar", { name: "Progress of all files" });
    assert.match(await bar.getAttribute("aria-valuetext"), /^\d+ percent, .* of 15\sMB$/);

    await visit.throttle(NO_LIMIT);
    await resumeAll.click();
    for (const name of names) await visit.reaches(name, "done");
    await overall.getByText(/^All 3 files are done \(15\sMB\)$/).waitFor();
    assert.equal(await bar.isVisible(), false);
    await visit.heard(/^All 3 files are done\.$/);
    await hideDone.click();
    await page.locator("#uploads[hidden]").waitFor({ state: "attached" });
    await page.reload();
    await visit.looksAgain();
    assert.equal(await page.locator("#list > li").count(), 0);
    assert.equal((await server.saved()).length, 3);
  });

  test("a picture is shown, and what shows it is let go", async () => {
    await visit.page.addInitScript(() => {
      window.addresses = new Set();
      const { createObjectURL, revokeObjectURL } = URL;
      URL.createObjectURL = (file) => {
        const address = createObjectURL.call(URL, file);
        window.addresses.add(address);
        window.created = (window.created ?? 0) + 1;
        return address;
      };
      URL.revokeObjectURL = (address) => {
        window.addresses.delete(address);
        revokeObjectURL.call(URL, address);
      };
    });
    await visit.go();
    const red = '<svg xmlns="http://www.w3.org/2000/svg" width="8" height="8"><rect width="8" height="8" fill="red"/></svg>';
    await visit.choose({ name: "red.svg", mimeType: "image/svg+xml", buffer: Buffer.from(red) });
    const preview = visit.row("red.svg").locator("img");
    await preview.waitFor();
    await visit.page.waitForFunction(() => window.created === 1 && window.addresses.size === 0);
    assert.equal(await preview.evaluate((image) => image.naturalWidth), 8);
    await visit.choose({ name: "broken.png", mimeType: "image/png", buffer: Buffer.from("no picture") });
    await visit.page.waitForFunction(() => window.created === 2 && window.addresses.size === 0);
    assert.equal(await visit.row("broken.png").locator("img").isVisible(), false);
    await visit.choose({ name: "text.txt", mimeType: "text/plain", buffer: Buffer.from("text") });
    await visit.reaches("text.txt", "done");
    assert.equal(await visit.row("text.txt").locator("img").isVisible(), false);
    assert.equal(await visit.page.evaluate(() => window.created), 2);
  });

  test("a small file is kept by the browser, and goes on after a reload without being chosen", async () => {
    const name = "small.bin";
    const file = await randomFile(folder, name, 8_000_000);
    await visit.go("?chunk=1000000");
    await visit.throttle(500_000);
    await visit.choose(file);
    await visit.acknowledged(name, 1_000_000);
    await visit.button("Pause", name).click();
    await visit.keeps(name);
    await visit.page.reload();
    await visit.reaches(name, "unfinished");
    await visit.row(name).getByText("Your browser has kept the file.").waitFor();
    await visit.button("Choose file", name).waitFor();
    await visit.throttle(NO_LIMIT);
    await visit.button("Resume", name).click();
    await visit.reaches(name, "done");
    await sameBytes((await server.saved())[0], file);
    assert.deepEqual(await visit.kept(), []);
  });

  test("a handle whose file is gone is told apart from one that may not be read", async () => {
    const name = "moved.txt";
    await visit.leftPausedByHandle(name);
    await visit.page.evaluate(async (name) => {
      await (await navigator.storage.getDirectory()).removeEntry(name);
    }, name);
    await visit.button("Resume", name).click();
    await visit.page.locator("#notice").getByText("cannot be read any more, or it has changed").waitFor();
    await visit.row(name).getByText("Choose the same file again to go on.").waitFor();
  });

  test("a second click while the browser asks does not send it twice", async () => {
    const name = "twice.txt";
    await visit.leftPausedByHandle(name);
    await visit.page.evaluate(() => {
      window.asking = [];
      FileSystemHandle.prototype.requestPermission = () =>
        new Promise((resolve) => window.asking.push(resolve));
    });
    const { offset } = await (await visit.status((await visit.remembered(name)).id)).json();
    assert.ok(offset < 30_000, offset);
    visit.chunks.length = 0;
    await visit.button("Resume", name).click();
    await visit.button("Resume", name).click();
    await visit.page.waitForFunction(() => window.asking.length === 2);
    await visit.page.evaluate(() => window.asking.forEach((allow) => allow("granted")));
    await visit.reaches(name, "done");
    const from = visit.wentOnAt(offset, 1000);
    assert.equal(visit.chunks.length, (30_000 - from) / 1000);
    assert.equal((await server.saved()).length, 1);
  });

  test("a pause in the last moment is one", async () => {
    const name = "last.txt";
    await visit.page.addInitScript(() => {
      const post = Worker.prototype.postMessage;
      Worker.prototype.postMessage = function (message, ...rest) {
        if (message.action !== "digest") return post.call(this, message, ...rest);
        window.compute = () => {
          Worker.prototype.postMessage = post;
          post.call(this, message, ...rest);
          return new Promise((resolve) => this.addEventListener("message", () => resolve()));
        };
      };
    });
    await visit.go();
    await visit.choose({ name, mimeType: "text/plain", buffer: Buffer.from("all of it") });
    await visit.page.waitForFunction(() => window.compute);
    await visit.button("Pause", name).click();
    await visit.reaches(name, "paused");
    await visit.page.evaluate(() => window.compute());
    assert.equal(await visit.row(name).getAttribute("data-state"), "paused");
    await visit.button("Resume", name).click();
    await visit.reaches(name, "done");
    assert.equal((await server.saved()).length, 1);
  });

  test("what was paused is not stopped by an answer that comes later", async () => {
    const name = "later.bin";
    visit.loadsMayFail = true;
    await visit.go("?chunk=100000");
    await visit.pausesAtItsBeginning(name);
    await visit.page.route(`**${CHUNKS}`, (route) => route.fulfill({ status: 409, json: {} }), { times: 1 });
    const asked = [];
    await visit.page.route(`**${CHUNKS}?upload_id=*`, (route) => {
      asked.push(route);
      if (asked.length === 1) return route.continue();
    });
    await visit.button("Resume", name).click();
    await until(() => asked.length === 2);
    await visit.button("Pause", name).click();
    await visit.reaches(name, "paused");
    const answered = visit.page.waitForResponse(`**${CHUNKS}?upload_id=*`);
    await asked[1].continue();
    await (await answered).finished();
    await visit.looksAgain();
    assert.equal(await visit.row(name).getAttribute("data-state"), "paused");
  });

  test("where locks may not be used, uploads are listed and cancelled all the same", async () => {
    await visit.page.addInitScript(() => {
      const denied = () => Promise.reject(new DOMException("Storage is blocked", "SecurityError"));
      Object.assign(LockManager.prototype, { query: denied, request: denied });
    });
    await visit.go("?chunk=100000");
    const id = await visit.pausesAtItsBeginning("unlocked.bin");
    await visit.cancel("unlocked.bin");
    await visit.row("unlocked.bin").waitFor({ state: "detached" });
    assert.equal((await visit.status(id)).status(), 404);
    await visit.throttle(NO_LIMIT);
    await visit.choose({ name: "listed.txt", mimeType: "text/plain", buffer: Buffer.from("1") });
    await visit.reaches("listed.txt", "done");
    await visit.page.reload();
    await visit.reaches("listed.txt", "done");
  });

  test("what one tab has hidden stays hidden in all of them", async () => {
    const name = "hidden.txt";
    await visit.go();
    await visit.choose({ name, mimeType: "text/plain", buffer: Buffer.from("1") });
    await visit.reaches(name, "done");
    const other = await visit.anotherTab();
    await other.go();
    await other.reaches(name, "done");
    await visit.button("Hide", name).click();
    await other.row(name).waitFor({ state: "detached" });
    await visit.looksAgain();
    assert.equal(await visit.row(name).count(), 0);
    await visit.page.reload();
    await visit.looksAgain();
    assert.equal(await visit.row(name).count(), 0);
  });

  test("what was left to another tab comes back when that is closed", async () => {
    const name = "orphan.bin";
    await visit.go("?chunk=100000");
    await visit.pausesAtItsBeginning(name);
    const other = await visit.anotherTab();
    await other.go();
    await other.button("Hide", name).click();
    await other.row(name).waitFor({ state: "detached" });
    await other.page.reload();
    await other.looksAgain();
    assert.equal(await other.row(name).count(), 0);
    await visit.page.close();
    await other.reaches(name, "unfinished");
    await other.row(name).getByText("Your browser has kept the file.").waitFor();
  });

  test("a file counts as kept when it is on the disk, and not before", async () => {
    const { page } = visit;
    visit.loadsMayFail = true;
    const asked = [];
    page.on("dialog", (dialog) => {
      asked.push(dialog.type());
      dialog.dismiss();
    });
    await page.addInitScript(() => {
      const { put } = IDBObjectStore.prototype;
      IDBObjectStore.prototype.put = function (...args) {
        const request = put.apply(this, args);
        request.addEventListener("success", () => this.transaction.abort());
        this.transaction.addEventListener("abort", () => {
          window.isFull = true;
        });
        return request;
      };
    });
    await visit.go();
    // The browser only asks after the user has done something.
    await page.getByRole("heading", { name: "Send files" }).click();
    await page.route(`**${CHUNKS}`, (route) => route.fulfill({ status: 503, body: "later" }));
    await visit.choose({ name: "full.txt", mimeType: "text/plain", buffer: Buffer.from("1") });
    await visit.reaches("full.txt", "retrying");
    await page.waitForFunction(() => window.isFull);
    const question = page.waitForEvent("dialog");
    await page.evaluate(() => location.reload());
    await question;
    assert.deepEqual(asked, ["beforeunload"]);
  });

  test("the browser's storage is opened again after a failure, and after it was closed", async () => {
    const { page } = visit;
    await page.addInitScript(() => {
      const { open } = IDBFactory.prototype;
      IDBFactory.prototype.open = function () {
        IDBFactory.prototype.open = open;
        throw new DOMException("Not now", "UnknownError");
      };
    });
    const keeps = (key) =>
      page.evaluate(async (key) => {
        const { files } = await import("/memory.js");
        return files.keepWaiting(key, new File(["1"], "1.txt"), 0);
      }, key);
    await visit.go();
    assert.equal(await keeps("local:1"), true);
    const session = await visit.context.newCDPSession(page);
    await session.send("Storage.clearDataForOrigin", { origin: server.url, storageTypes: "indexeddb" });
    await until(() => keeps("local:2"));
    assert.deepEqual(await visit.kept(), ["local:2"]);
  });

  test("copies of files are kept up to a size of all of them", async () => {
    await visit.go();
    const key = "f".repeat(32);
    await visit.page.evaluate(
      (key) =>
        new Promise((resolve) => {
          const opened = indexedDB.open("chunked-upload");
          opened.onsuccess = () => {
            const transaction = opened.result.transaction("files", "readwrite");
            const expires = new Date(Date.now() + 3_600_000).toISOString();
            // Nothing large is written: the size that it tells is what counts.
            transaction.objectStore("files").put({ file: { size: 199_999_999 }, expires }, key);
            transaction.oncomplete = resolve;
          };
        }),
      key,
    );
    await visit.page.reload();
    await visit.looksAgain();
    const kept = await visit.page.evaluate(async (key) => {
      const { files } = await import("/memory.js");
      await files.dropExpired();
      const keep = (key, text) => files.keepWaiting(key, new File([text], "a.txt"), 0);
      const kept = [await keep("local:1", "12"), await keep("local:2", "1"), await keep("local:3", "1")];
      files.drop("local:2");
      kept.push(await keep("local:3", "1"));
      files.drop(key);
      return [...kept, await keep("local:1", "12")];
    }, key);
    assert.deepEqual(kept, [false, true, false, true, true]);
    assert.deepEqual(await visit.kept(), ["local:1", "local:3"]);
  });

  test("the file of an upload that never expires, or later than at first, is kept", async () => {
    await visit.go("?chunk=100000");
    for (const name of ["never.bin", "later.bin"]) await visit.pausesAtItsBeginning(name);
    const { id } = await visit.remembered("later.bin");
    await visit.page.evaluate(async (id) => {
      const { files, memory } = await import("/memory.js");
      const never = memory.all().find(({ name }) => name === "never.bin");
      memory.keep({ ...never, expires: null });
      const kept = await files.of(id);
      await files.keep(id, kept.file, { expires: "2000-01-01T00:00:00Z" });
    }, id);
    await visit.page.route("**/api/uploads", async (route) => {
      const response = await route.fetch();
      const json = (await response.json()).map((upload) => ({ ...upload, expires: null }));
      return route.fulfill({ response, json });
    });
    await visit.page.reload();
    for (const name of ["never.bin", "later.bin"]) {
      await visit.row(name).getByText("Your browser has kept the file.").waitFor();
      await visit.button("Resume", name).waitFor();
    }
    await visit.page.evaluate(async () => (await import("/memory.js")).files.dropExpired());
    assert.equal((await visit.kept()).length, 2);
    await visit.throttle(NO_LIMIT);
    await visit.page.getByRole("button", { name: "Resume all" }).click();
    for (const name of ["never.bin", "later.bin"]) await visit.reaches(name, "done");
  });

  test("the page does not look for files that wait in it", async () => {
    await visit.page.addInitScript(() => {
      window.read = [];
      const { get } = IDBObjectStore.prototype;
      IDBObjectStore.prototype.get = function (key) {
        window.read.push(key);
        return get.call(this, key);
      };
    });
    await visit.go();
    await visit.page.route(`**${CHUNKS}`, () => {});
    const names = ["one.txt", "two.txt", "three.txt"];
    await visit.choose(
      ...names.map((name) => ({ name, mimeType: "text/plain", buffer: Buffer.from(name) })),
    );
    await visit.reaches("three.txt", "waiting");
    await until(async () => (await visit.kept()).length === 3);
    await visit.looksAgain();
    await visit.page.waitForResponse("**/api/uploads");
    assert.deepEqual(await visit.page.evaluate(() => window.read), []);
    assert.equal(await visit.page.locator("[data-state=unbegun]").count(), 0);
  });

  test("a file that is chosen for one of two uploads of the same name goes on with that one", async () => {
    const name = "twins.txt";
    const { request } = visit.context;
    await visit.withoutHandles();
    visit.page.on("filechooser", () => {});
    await visit.go();
    const ids = [];
    for (const part of ["a", "al"]) {
      const file = { name, mimeType: "text/plain", buffer: Buffer.from(part) };
      const headers = { "Content-Range": `bytes 0-${part.length - 1}/9` };
      const begun = await request.post(`${server.url}${CHUNKS}`, { headers, multipart: { file } });
      ids.push((await begun.json()).upload_id);
    }
    const second = visit.row(name).filter({ hasText: "22% sent" });
    await second.waitFor();
    const chooser = visit.page.waitForEvent("filechooser");
    await second.getByRole("button", { name: `Choose file ${name}` }).click();
    const file = path.join(folder, name);
    await writeFile(file, "all of it");
    await (await chooser).setFiles(file);
    await visit.reaches(name, "done");
    assert.equal((await (await visit.status(ids[1])).json()).status, "complete");
    assert.equal((await (await visit.status(ids[0])).json()).status, "open");
  });

  test("the list is asked for once at a time, and not for each chunk of another tab", async () => {
    const name = "chunks.bin";
    await visit.go("?chunk=100000");
    await visit.pausesAtItsBeginning(name);
    const other = await visit.anotherTab();
    // It only looks when it is told to.
    await other.page.addInitScript(() => {
      window.setInterval = () => 0;
    });
    let asked = 0;
    let [open, most] = [0, 0];
    await other.page.route("**/api/uploads", async (route) => {
      asked += 1;
      open += 1;
      most = Math.max(open, most);
      const response = await route.fetch();
      open -= 1;
      await route.fulfill({ response });
    });
    await other.go();
    await other.row(name).waitFor();
    await other.page.evaluate(async () => {
      const { refresh } = await import("/list.js");
      await Promise.all([refresh(), refresh(), refresh(), refresh()]);
    });
    assert.equal(most, 1);
    await visit.button("Resume", name).click();
    await visit.acknowledged(name, 200_000);
    await other.looksAgain();
    const before = asked;
    await visit.acknowledged(name, 1_000_000);
    assert.equal(asked, before);
    await visit.throttle(NO_LIMIT);
    await visit.reaches(name, "done");
    // This is told.
    await other.reaches(name, "done");
  });

  test("of many files one that cannot be read is named, and the others are sent", async () => {
    await visit.page.addInitScript(() => {
      window.showOpenFilePicker = async () => {
        const root = await navigator.storage.getDirectory();
        const handle = async (name) => {
          const handle = await root.getFileHandle(name, { create: true });
          const writable = await handle.createWritable();
          await writable.write(name);
          await writable.close();
          return handle;
        };
        const missing = await handle("missing.txt");
        await root.removeEntry("missing.txt");
        return [await handle("one.txt"), missing, await handle("two.txt")];
      };
    });
    await visit.go();
    await visit.page.getByLabel("Choose files").press("Enter");
    await visit.page.locator("#notice").getByText("“missing.txt” cannot be read.").waitFor();
    for (const name of ["one.txt", "two.txt"]) await visit.reaches(name, "done");
    assert.equal(await visit.page.locator("#list > li").count(), 2);
  });

  test("where files may not be picked by their handles, the plain input is used", async () => {
    await visit.page.addInitScript(() => {
      window.showOpenFilePicker = () => Promise.reject(new DOMException("Not here", "SecurityError"));
    });
    visit.page.on("filechooser", () => {});
    await visit.go();
    const chooser = visit.page.waitForEvent("filechooser");
    await visit.page.getByLabel("Choose files").press("Enter");
    const file = { name: "plain.txt", mimeType: "text/plain", buffer: Buffer.from("1") };
    await (await chooser).setFiles(file);
    await visit.reaches("plain.txt", "done");
  });

  test("files that wait are kept over a reload, and sent once", async () => {
    const names = ["one.bin", "two.bin", "three.bin", "four.bin"];
    const files = await Promise.all(names.map((name) => randomFile(folder, name, MIB)));
    await visit.go();
    await visit.throttle(1);
    await visit.choose(...files);
    await visit.reaches("four.bin", "waiting");
    await until(async () => (await visit.kept()).length === 4);
    // They wait in the first tab, and are nothing to begin for another one.
    const other = await visit.anotherTab();
    await other.go();
    await other.looksAgain();
    assert.equal(await other.row("four.bin").count(), 0);
    await other.page.close();

    await visit.page.reload();
    for (const name of names) await visit.reaches(name, "unbegun");
    await visit.row("four.bin").getByText("Not begun").waitFor();
    await visit.row("four.bin").getByText("Your browser has kept the file.").waitFor();
    await visit.button("Remove", "four.bin").click();
    await visit.row("four.bin").waitFor({ state: "detached" });
    await visit.throttle(NO_LIMIT);
    await visit.button("Resume", "one.bin").click();
    await visit.reaches("one.bin", "done");
    await visit.page.getByRole("button", { name: "Resume all" }).click();
    for (const name of names.slice(0, 3)) await visit.reaches(name, "done");
    assert.deepEqual(await visit.kept(), []);
    await visit.page.reload();
    await visit.reaches("one.bin", "done");
    assert.equal(await visit.page.locator("[data-state=unbegun]").count(), 0);
    assert.equal((await server.saved()).length, 3);
  });

  test("what another tab has begun to send is not forgotten here", async () => {
    const name = "begun.bin";
    const file = await randomFile(folder, name, MIB);
    await visit.go();
    await visit.throttle(1);
    await visit.choose(file);
    await until(async () => (await visit.kept()).length === 1);
    await visit.page.reload();
    await visit.reaches(name, "unbegun");
    // It does not look again.
    await visit.page.evaluate(() => Object.defineProperty(document, "hidden", { value: true }));
    const other = await visit.anotherTab();
    await other.go();
    await other.throttle(1);
    await other.button("Resume", name).click();
    await other.reaches(name, "sending");
    await visit.button("Remove", name).click();
    await visit.row(name).waitFor({ state: "detached" });
    assert.equal((await visit.kept()).length, 1);
    await other.throttle(NO_LIMIT);
    await other.reaches(name, "done");
  });

  test("what is chosen again before the server has told its id is not sent twice", async () => {
    const name = "once.bin";
    const file = await randomFile(folder, name, 300_000);
    visit.loadsMayFail = true;
    await visit.go("?chunk=100000");
    let isTaken = false;
    await visit.page.route(`**${CHUNKS}`, async (route) => {
      if (!isTaken) await route.fetch();
      isTaken = true;
      await route.abort();
    });
    await visit.choose(file);
    await visit.reaches(name, "retrying");
    await visit.button("Pause", name).click();
    await visit.reaches(name, "paused");
    await visit.page.unroute(`**${CHUNKS}`);
    await visit.choose(file);
    await visit.reaches(name, "done");
    assert.equal((await visit.listed()).length, 1);
  });

  test("the browser asks before it loses a file that it cannot keep", async () => {
    const file = await randomFile(folder, "unkept.bin", 17_000_000);
    const { page } = visit;
    const asked = [];
    visit.loadsMayFail = true;
    page.on("dialog", (dialog) => {
      asked.push(dialog.type());
      dialog.dismiss();
    });
    // The browser only asks after the user has done something.
    await visit.go();
    await page.getByRole("heading", { name: "Send files" }).click();
    await page.route(`**${CHUNKS}`, (route) => route.fulfill({ status: 503, body: "later" }));
    await visit.choose(file);
    await visit.reaches("unkept.bin", "retrying");
    const question = page.waitForEvent("dialog");
    await page.evaluate(() => location.reload());
    await question;
    assert.deepEqual(asked, ["beforeunload"]);

    await page.unroute(`**${CHUNKS}`);
    await visit.throttle(NO_LIMIT);
    await visit.reaches("unkept.bin", "done");
    await page.reload();
    assert.deepEqual(asked, ["beforeunload"]);
  });

  test("what is cancelled while the server is down is cancelled when it is back", async () => {
    const names = ["later.bin", "kept.bin"];
    const files = await Promise.all(names.map((name) => randomFile(folder, name, 15 * MIB)));
    visit.loadsMayFail = true;
    await visit.go("?chunk=1048576");
    await visit.throttle(MIB);
    await visit.choose(...files);
    const ids = [];
    for (const name of names) {
      await visit.acknowledged(name, MIB);
      await visit.button("Pause", name).click();
      await visit.reaches(name, "paused");
      ids.push((await visit.remembered(name)).id);
    }
    await server.stop("SIGKILL");
    for (const name of names) {
      await visit.cancel(name);
      await visit
        .row(name)
        .getByText("The server does not answer. It is cancelled as soon as the server does.")
        .waitFor();
      assert.equal(await visit.row(name).getAttribute("data-tone"), "warn");
    }
    await visit.button("Keep it", "kept.bin").click();
    await visit.reaches("kept.bin", "paused");
    await server.launch();
    await visit.row("later.bin").waitFor({ state: "detached" });
    assert.equal((await visit.status(ids[0])).status(), 404);
    assert.equal((await visit.status(ids[1])).status(), 200);

    // Also after a reload.
    await server.stop("SIGKILL");
    await visit.cancel("kept.bin");
    await visit.reaches("kept.bin", "doomed");
    await server.launch();
    await visit.page.reload();
    await visit.looksAgain();
    assert.equal(await visit.page.locator("#list > li").count(), 0);
    assert.equal((await visit.status(ids[1])).status(), 404);
    assert.equal(await visit.page.evaluate(() => localStorage.length), 0);
  });

  test("what is kept while the server cancels another one stays", async () => {
    const names = ["one.bin", "two.bin", "three.bin"];
    visit.loadsMayFail = true;
    await visit.go("?chunk=100000");
    const ids = [];
    for (const name of names) ids.push(await visit.pausesAtItsBeginning(name));
    let answer = (route) => route.abort();
    await visit.answersCancellations((route) => answer(route));
    for (const name of names) {
      await visit.cancel(name);
      await visit.reaches(name, "doomed");
    }
    let first = null;
    answer = (route) => {
      if (first) return route.continue();
      first = route;
    };
    await until(() => first);
    const at = ids.findIndex((id) => first.request().url().endsWith(id));
    const late = names[at];
    const [kept, cancelled] = names.filter((name) => name !== late);
    const response = await first.fetch();
    await visit.button("Keep it", kept).click();
    await visit.button("Keep it", late).click();
    await first.fulfill({ response });
    await visit.row(cancelled).waitFor({ state: "detached" });
    // This one is gone by now, which is not passed over in silence.
    await visit.reaches(late, "ended");
    await visit.reaches(kept, "paused");
    assert.equal((await visit.status(ids[names.indexOf(kept)])).status(), 200);
    assert.equal((await visit.status(ids[at])).status(), 404);
  });

  test("another tab does not forget that an upload is to be cancelled", async () => {
    const name = "everywhere.bin";
    visit.loadsMayFail = true;
    await visit.go("?chunk=100000");
    const id = await visit.pausesAtItsBeginning(name);
    const other = await visit.anotherTab();
    other.loadsMayFail = true;
    await other.go();
    await other.row(name).getByText(/^Held by another tab/).waitFor();
    await visit.answersCancellations((route) => route.fulfill({ status: 503, body: "later" }));
    await visit.cancel(name);
    await visit.reaches(name, "doomed");
    await other.row(name).waitFor({ state: "detached" });
    await other.looksAgain();
    await visit.context.unroute(`**${CHUNKS}?upload_id=*`);
    await visit.row(name).waitFor({ state: "detached" });
    assert.equal((await visit.status(id)).status(), 404);
    await other.looksAgain();
    assert.equal(await other.row(name).count(), 0);
  });

  test("what goes on in another tab is not cancelled because of what was said before", async () => {
    const name = "goes-on.bin";
    const other = await visit.pausesInSightOfAnother(name);
    // The other tab cannot hear from the server that it is to be cancelled.
    await visit.context.route("**/api/uploads", (route) => route.abort());
    await visit.answersCancellations((route) => route.abort());
    await other.looksAgain();
    await visit.cancel(name);
    await visit.reaches(name, "doomed");
    await other.button("Continue here", name).click();
    await visit.reaches(name, "elsewhere");
    // A cancellation that was sent before that is still on its way, and is not to reach the server.
    await visit.looksAgain();
    await other.looksAgain();
    await visit.context.unroute("**/api/uploads");
    await visit.context.unroute(`**${CHUNKS}?upload_id=*`);
    await other.looksAgain();
    await visit.looksAgain();
    await other.throttle(NO_LIMIT);
    await other.reaches(name, "done");
    await visit.reaches(name, "done");
    assert.equal((await server.saved()).length, 1);
  });

  test("what goes on in another tab while it is cancelled here in vain is left to that one", async () => {
    const name = "in-vain.bin";
    const other = await visit.pausesInSightOfAnother(name);
    const asked = [];
    await visit.answersCancellations((route) => asked.push(route));
    await visit.cancel(name);
    await until(() => asked.length > 0);
    await other.row(name).getByRole("button", { name: /^(Continue here|Resume) / }).click();
    await other.reaches(name, "sending");
    await asked[0].abort();
    await visit.reaches(name, "elsewhere");
    await other.throttle(NO_LIMIT);
    await other.reaches(name, "done");
    assert.equal(asked.length, 1);
    assert.equal((await server.saved()).length, 1);
  });

  test("what another tab has cancelled and hidden stays so, whatever an older list says", async () => {
    const [doomed, hidden] = ["doomed.bin", "hidden.bin"];
    visit.loadsMayFail = true;
    await visit.go("?chunk=100000");
    const id = await visit.pausesAtItsBeginning(doomed);
    await visit.answersCancellations((route) => route.abort(), visit.page);
    await visit.cancel(doomed);
    await visit.reaches(doomed, "doomed");
    const old = [];
    await visit.page.route(
      "**/api/uploads",
      async (route) => old.push({ route, response: await route.fetch() }),
      { times: 1 },
    );
    const look = visit.looksAgain();
    await until(() => old.length > 0);
    const other = await visit.anotherTab();
    await other.go();
    await until(async () => (await visit.status(id)).status() === 404);
    await other.choose({ name: hidden, mimeType: "text/plain", buffer: Buffer.from("all") });
    await other.reaches(hidden, "done");
    await other.looksAgain();
    await other.button("Hide", hidden).click();
    await other.row(hidden).waitFor({ state: "detached" });
    const [{ route, response }] = old;
    await route.fulfill({ response });
    await look;
    await visit.looksAgain();
    assert.equal(await visit.page.locator("#list > li").count(), 0);
  });

  test("a cancellation that the server refuses comes to an end", async () => {
    visit.loadsMayFail = true;
    await visit.go("?chunk=100000");
    const removed = await visit.pausesAtItsBeginning("removed.bin");
    const doomed = await visit.pausesAtItsBeginning("doomed.bin");
    let answer = (route) => route.abort();
    await visit.answersCancellations((route) => answer(route));
    await visit.cancel("doomed.bin");
    await visit.reaches("doomed.bin", "doomed");
    answer = (route) => route.fulfill({ status: 403, json: { detail: "no" } });
    await visit.reaches("doomed.bin", "error");
    const words = "The server did not cancel it.";
    await visit.row("doomed.bin").getByText(words).waitFor();
    await visit.cancel("removed.bin");
    await visit.row("removed.bin").getByText(words).waitFor();
    await visit.button("Remove", "removed.bin").click();
    await visit.row("removed.bin").waitFor({ state: "detached" });
    await visit.looksAgain();
    assert.equal(await visit.row("removed.bin").count(), 0, "it is back");

    await visit.context.unroute(`**${CHUNKS}?upload_id=*`);
    const asked = [];
    visit.page.on("request", (request) => asked.push(request.method()));
    await visit.button("Try again", "doomed.bin").evaluate((button) => {
      button.click();
      button.click();
    });
    await visit.row("doomed.bin").waitFor({ state: "detached" });
    assert.equal(asked.filter((method) => method === "DELETE").length, 1);
    assert.equal((await visit.status(doomed)).status(), 404);
    assert.equal((await visit.status(removed)).status(), 200);
  });

  test("what starts over leaves no second upload, though the server did not answer", async () => {
    const name = "again.bin";
    const id = await visit.isRefusedOnce(name);
    await visit.answersCancellations((route) => route.abort());
    await visit.throttle(NO_LIMIT);
    await visit.startOver(name);
    await visit.reaches(name, "done");
    await visit.looksAgain();
    assert.equal(await visit.page.locator("#list > li").count(), 1);
    await visit.context.unroute(`**${CHUNKS}?upload_id=*`);
    await until(async () => (await visit.status(id)).status() === 404);
    assert.equal((await visit.listed()).length, 1);
  });

  test("what starts over is kept by the browser meanwhile", async () => {
    const name = "meanwhile.bin";
    await visit.isRefusedOnce(name);
    const asked = [];
    await visit.answersCancellations((route) => asked.push(route));
    await visit.startOver(name);
    await until(() => asked.length > 0);
    await visit.reaches(name, "restarting");
    await until(async () => (await visit.kept()).some((key) => key.startsWith("local:")));
    await visit.throttle(NO_LIMIT);
    await asked[0].continue();
    await visit.reaches(name, "done");
    assert.deepEqual(await visit.kept(), []);
  });

  test("a large file is not copied, and is chosen again after a reload", async () => {
    const name = "big.bin";
    const file = await randomFile(folder, name, 17_000_000);
    await visit.go("?chunk=1000000");
    await visit.throttle(1_000_000);
    await visit.choose(file);
    await visit.acknowledged(name, 1_000_000);
    await visit.page.reload();
    await visit.row(name).getByText("Choose the same file again to go on.").waitFor();
    assert.equal(await visit.button("Resume", name).count(), 0);
    assert.deepEqual(await visit.kept(), []);
  });

  test("a handle is kept, and its file read again after a reload if the user lets it", async () => {
    const name = "handled.txt";
    await visit.leftPausedByHandle(name);
    assert.equal(await visit.page.evaluate(() => window.asked), undefined, "asked before a click");
    await visit.page.evaluate(() => sessionStorage.setItem("leave", "denied"));
    await visit.button("Resume", name).click();
    const refused = "Your browser did not let this page read the file. Resume asks again.";
    await visit.row(name).getByText(refused).waitFor();
    assert.equal(await visit.page.locator("#notice").isVisible(), false);
    assert.equal(await visit.page.getByRole("button", { name: "Resume all" }).isVisible(), false);

    await visit.page.evaluate(() => sessionStorage.setItem("leave", "granted"));
    await visit.throttle(NO_LIMIT);
    await visit.button("Resume", name).click();
    await visit.reaches(name, "done");
    assert.equal((await server.saved()).length, 1);
    assert.deepEqual(await visit.kept(), []);
  });

  test("many sentences at once are told as a summary", async () => {
    const names = Array.from({ length: 7 }, (_, n) => `${n}.bin`);
    await visit.go();
    await visit.page.evaluate(async () => {
      const { announce } = await import("/speech.js");
      for (const name of ["a", "b", "c", "d"]) announce(`${name} is something else.`);
    });
    // Nothing has been begun of which a summary could tell.
    await visit.heard(/^a is something else\. b is .* d is something else\.$/);
    await visit.page.route(`**${CHUNKS}`, () => {});
    await visit.choose(
      ...names.map((name) => ({ name, mimeType: "text/plain", buffer: randomBytes(1000) })),
    );
    await visit.reaches("6.bin", "waiting");
    await visit.page.evaluate(async () => {
      const { announce, notice } = await import("/speech.js");
      for (const name of ["a", "b", "c", "d"]) announce(`${name} is something else.`);
      notice("Something to know.");
    });
    await visit.heard(/^Something to know\. 7 to go\.$/);
    await visit.page.getByRole("button", { name: "Pause all" }).click();
    await visit.heard(/^All 7 files paused, \d+ percent sent\.$/);
    assert.ok((await visit.said()).every((text) => !/ paused at /.test(text)));
    // What has been said is no part of the page.
    await visit.page.waitForFunction(() => document.querySelector("#live").children.length === 0);
  });

  test("what failed is counted apart, and a hidden tab tells in its title how it ended", async () => {
    visit.loadsMayFail = true;
    const { page } = visit;
    await visit.go();
    assert.equal(await page.title(), "Send files");
    await page.evaluate(() => {
      window.isHidden = true;
      Object.defineProperty(document, "hidden", { get: () => window.isHidden });
    });
    const file = (name, size) => ({ name, mimeType: "text/plain", buffer: randomBytes(size) });
    let release;
    const isReleased = new Promise((resolve) => {
      release = resolve;
    });
    await page.route(`**${CHUNKS}`, async (route) => {
      const isBad = route.request().postDataBuffer().includes("bad.bin");
      if (isBad) return route.fulfill({ status: 400, json: {} });
      await isReleased;
      return route.continue();
    });
    await visit.choose(file("bad.bin", 500_000), file("one.bin", 1000), file("two.bin", 1000));
    await visit.reaches("bad.bin", "error");
    const words = page.locator("#overall");
    await words.getByText(/^0 of 2 files done · 1 failed · .* of 2\skB/).waitFor();
    release();
    await words.getByText("2 done, 1 failed", { exact: true }).waitFor();
    assert.equal(await page.title(), "1 failed – Send files");
    await page.unroute(`**${CHUNKS}`);
    await visit.button("Start over", "bad.bin").click();
    await visit.reaches("bad.bin", "done");
    assert.equal(await page.title(), "Done – Send files");
    await page.evaluate(() => {
      window.isHidden = false;
      document.dispatchEvent(new Event("visibilitychange"));
    });
    assert.equal(await page.title(), "Send files");
  });

  test("a paused upload tells until when it can go on, and changes when that has come", async () => {
    const name = "expiring.bin";
    const file = await randomFile(folder, name, 15 * MIB);
    visit.loadsMayFail = true;
    await visit.page.clock.install();
    await visit.go("?chunk=1048576");
    await visit.throttle(MIB);
    await visit.choose(file);
    await visit.acknowledged(name, MIB);
    await visit.button("Pause", name).click();
    await visit.reaches(name, "paused");
    const { id, expires } = await visit.remembered(name);
    // Midnight may have come since the upload began.
    const noonBefore = await visit.page.evaluate((time) => {
      const noon = new Date(time);
      noon.setDate(noon.getDate() - 1);
      return noon.setHours(12, 0, 0, 0);
    }, expires);
    await visit.page.clock.setSystemTime(noonBefore);
    await visit.looksAgain();
    await visit.row(name).getByText(/ of 15\.7\sMB\. Can go on until tomorrow, \d\d:\d\d\.$/).waitFor();
    // It is another day by then.
    const left = await visit.page.evaluate(() => new Date().setHours(24, 0, 1, 0) - Date.now());
    await visit.page.clock.fastForward(left);
    await visit.row(name).getByText(/ Can go on until today, \d\d:\d\d\.$/).waitFor();
    // The clock of the browser is that of nobody else.
    await visit.page.clock.fastForward("25:00:00");
    await visit.looksAgain();
    await visit.reaches(name, "paused");
    const { request } = visit.context;
    assert.ok((await request.put(`${server.url}/operator/uploads/${id}/expired`)).ok());
    await visit.row(name).getByText("Expired", { exact: true }).waitFor();
    assert.equal(await visit.row(name).getAttribute("data-tone"), "quiet");
    await visit.throttle(NO_LIMIT);
    await visit.button("Start over", name).click();
    await visit.reaches(name, "done");
    await sameBytes((await server.saved())[0], file);
  });

  for (const [how, prepare] of [
    ["without a handle", () => visit.withoutHandles()],
    ["by its handle", () => visit.withHandle("changed.txt", "x".repeat(30_000))],
  ]) {
    test(`a file that has changed on the disk starts over ${how}`, async () => {
      const name = "changed.txt";
      const file = path.join(folder, name);
      await writeFile(file, "x".repeat(30_000));
      await prepare();
      visit.page.on("filechooser", () => {});
      await visit.go("?chunk=1000");
      await visit.throttle(1000);
      const hasHandle = how === "by its handle";
      if (hasHandle) await visit.page.getByLabel("Choose files").press("Enter");
      else await visit.choose(file);
      await visit.acknowledged(name, 1000);
      await visit.button("Pause", name).click();
      if (hasHandle) {
        await visit.page.evaluate(async (name) => {
          const root = await navigator.storage.getDirectory();
          const writable = await (await root.getFileHandle(name)).createWritable();
          await writable.write("as it is now");
          await writable.close();
        }, name);
      } else await writeFile(file, "as it is now");
      await visit.throttle(NO_LIMIT);
      await visit.button("Resume", name).click();
      await visit.row(name).getByText("Try again goes on if it is unchanged, and else starts over.").waitFor();
      await visit.reaches(name, "error");
      if (hasHandle) await visit.button("Try again", name).click();
      else {
        const chooser = visit.page.waitForEvent("filechooser");
        await visit.button("Try again", name).click();
        assert.equal(await visit.row(name).getAttribute("data-state"), "error");
        await (await chooser).setFiles(file);
      }
      await visit.reaches(name, "done");
      const md5 = createHash("md5").update("as it is now").digest("hex");
      assert.equal(await visit.md5(name), md5);
      assert.match(await visit.row(name).locator(".size").textContent(), /^12\sbytes$/);
      assert.equal((await visit.listed()).length, 1, "the server keeps the old part");
    });

    test(`a file that could not be read for a moment goes on ${how}`, async () => {
      const name = "changed.txt";
      const file = path.join(folder, name);
      await writeFile(file, "x".repeat(30_000));
      await prepare();
      await visit.unpluggable();
      visit.page.on("filechooser", () => {});
      await visit.go("?chunk=1000");
      await visit.throttle(1000);
      const hasHandle = how === "by its handle";
      if (hasHandle) await visit.page.getByLabel("Choose files").press("Enter");
      else await visit.choose(file);
      await visit.acknowledged(name, 1000);
      const { id } = await visit.remembered(name);
      await visit.unplug(true);
      await visit.reaches(name, "error");
      await visit.row(name).getByText("The file could not be read.").waitFor();
      await visit.unplug(false);
      await visit.throttle(NO_LIMIT);
      const chooser = hasHandle ? null : visit.page.waitForEvent("filechooser");
      await visit.button("Try again", name).click();
      await (await chooser)?.setFiles(file);
      await visit.reaches(name, "done");
      assert.deepEqual((await visit.listed()).map((upload) => upload.id), [id]);
      const ranges = visit.chunks.map(({ range }) => range);
      assert.equal(ranges.length, 30, ranges.join());
    });
  }

  test("a file that takes too long to be read is chosen with another click", async () => {
    const name = "slow.txt";
    await visit.withHandle(name, "x".repeat(30_000));
    await visit.unpluggable();
    await visit.page.addInitScript(() => {
      const userActivation = { get: () => ({ isActive: !window.isUnplugged }) };
      Object.defineProperty(navigator, "userActivation", userActivation);
    });
    await visit.go("?chunk=1000");
    await visit.throttle(1000);
    await visit.page.getByLabel("Choose files").press("Enter");
    await visit.acknowledged(name, 1000);
    await visit.unplug(true);
    await visit.reaches(name, "error");
    await visit.button("Try again", name).click();
    await visit.button("Choose file", name).waitFor();
    await visit.unplug(false);
    await visit.throttle(NO_LIMIT);
    await visit.button("Choose file", name).click();
    await visit.reaches(name, "done");
    assert.equal((await server.saved()).length, 1);
  });

  test("a file of another date is sent as the user says", async () => {
    const name = "report.bin";
    const file = await randomFile(folder, name, 15 * MIB);
    const { page } = visit;
    await visit.withoutHandles();
    // It is too large to be kept.
    await page.addInitScript(() => delete window.indexedDB);
    page.on("filechooser", () => {});
    await visit.go("?chunk=1048576");
    await visit.throttle(MIB);
    await visit.choose(file);
    await visit.acknowledged(name, MIB);
    await visit.button("Pause", name).click();
    await page.reload();
    await visit.reaches(name, "unfinished");
    await utimes(file, 1, 1);
    await visit.throttle(NO_LIMIT);
    const dialog = page.getByRole("dialog", { name: `Is this the same “${name}”?` });
    await visit.chooseFor(name, file);
    await dialog.getByText(/^It has the same name and size, but another date\./).waitFor();
    assert.equal(await dialog.locator(".grave").count(), 0);
    await dialog.getByRole("button", { name: "Cancel" }).click();
    await dialog.waitFor({ state: "hidden" });
    await visit.reaches(name, "unfinished");
    await visit.chooseFor(name, file);
    await dialog.getByRole("button", { name: "Send as a new upload" }).click();
    await visit.reaches(name, "done");
    await visit.reaches(name, "unfinished");
    await visit.button("Hide", name).click();
    await visit.chooseFor(name, file);
    await dialog.getByRole("button", { name: "Go on with it" }).click();
    await visit.reaches(name, "done");
    assert.equal((await server.saved()).length, 2);
    assert.ok((await visit.listed()).every(({ status }) => status === "complete"));
  });

  test("a file of another date is sent as new if the upload ends while the user is asked", async () => {
    const name = "report.bin";
    const buffer = randomBytes(3_000_000);
    visit.loadsMayFail = true;
    await visit.withoutHandles();
    await visit.page.addInitScript(() => delete window.indexedDB);
    visit.page.on("filechooser", () => {});
    await visit.go("?chunk=100000");
    const id = await visit.pausesAtItsBeginning(name, buffer);
    await visit.page.reload();
    await visit.reaches(name, "unfinished");
    await visit.throttle(NO_LIMIT);
    const file = path.join(folder, name);
    await writeFile(file, buffer);
    await utimes(file, 1, 1);
    await visit.chooseFor(name, file);
    const goOn = visit.page.getByRole("dialog").getByRole("button", { name: "Go on with it" });
    await goOn.waitFor();
    await visit.delete(id);
    await visit.looksAgain();
    await visit.row(name).waitFor({ state: "detached" });
    await goOn.click();
    await visit.reaches(name, "done");
    await sameBytes((await server.saved())[0], file);
  });

  test("a notice goes when it is dismissed, or no longer true", async () => {
    const name = "twice.txt";
    const { page } = visit;
    const file = { name, mimeType: "text/plain", buffer: Buffer.from("twice") };
    const line = page.locator("#notice");
    await visit.go();
    await visit.throttle(1);
    await page.evaluate(() => {
      window.same = new File(["twice"], "twice.txt");
      window.chooseSame = () => {
        const transfer = new DataTransfer();
        transfer.items.add(window.same);
        const picker = document.querySelector("#files");
        picker.files = transfer.files;
        picker.dispatchEvent(new Event("change"));
      };
      window.chooseSame();
    });
    await visit.reaches(name, "sending");
    await page.evaluate(() => window.chooseSame());
    await line.getByText("“twice.txt” is already being sent.").waitFor();
    await line.getByRole("button", { name: "Dismiss" }).click();
    await line.waitFor({ state: "hidden" });
    assert.equal(await page.evaluate(() => document.activeElement.id), "files");
    await page.evaluate(() => window.chooseSame());
    await line.waitFor();
    await visit.button("Pause", name).click();
    await visit.reaches(name, "paused");
    await line.waitFor({ state: "hidden" });

    await visit.button("Resume", name).click();
    await visit.reaches(name, "sending");
    await page.evaluate(() => window.chooseSame());
    await line.getByRole("button", { name: "Dismiss" }).focus();
    await visit.button("Pause", name).evaluate((button) => button.click());
    await line.waitFor({ state: "hidden" });
    assert.equal(await page.evaluate(() => document.activeElement.id), "files");
  });

  test("the header tells the largest size, and a larger file is told once", async () => {
    await server.restart("SIGKILL", { MAX_BYTES: "25000000" });
    visit.loadsMayFail = true;
    await visit.go();
    await visit.page.locator("header").getByText(/^Files up to 25\sMB\.$/).waitFor();
    await visit.choose(await randomFile(folder, "huge.bin", 25_000_001));
    const words = /^The file is too large: this server takes up to 25\sMB\.$/;
    await visit.row("huge.bin").getByText(words).waitFor();
    // A server that tells no limit.
    await visit.page.route("**/files", (route) => route.fulfill({ status: 204 }));
    await visit.go();
    await visit.page.waitForResponse("**/api/uploads");
    assert.equal(await visit.page.locator("#limit").textContent(), "");
  });

  test("a click that comes too late does not take an upload back", async () => {
    const name = "late.bin";
    const file = await randomFile(folder, name, 24 * MIB);
    visit.loadsMayFail = true;
    await visit.go("?chunk=1048576");
    await visit.throttle(2 * MIB);
    await visit.choose(file);
    await visit.acknowledged(name, MIB);
    // No chunk of this tab ends between the other one's question for the offset and its chunk.
    await visit.throttle(1);
    await visit.page.evaluate(() => {
      const row = document.querySelector("#list > li");
      new MutationObserver(() => {
        if (row.dataset.state !== "elsewhere" || row.dataset.clicked) return;
        row.querySelector(".main").click();
        row.dataset.clicked = "true";
      }).observe(row, { attributeFilter: ["data-state"] });
    });
    const other = await visit.anotherTab();
    await other.go("?chunk=1048576");
    await other.reaches(name, "elsewhere");
    await other.throttle(2 * MIB);
    await other.page.evaluate(() => {
      const row = document.querySelector("#list > li");
      window.states = [];
      new MutationObserver(() => window.states.push(row.dataset.state)).observe(row, {
        attributeFilter: ["data-state"],
      });
    });
    await other.choose(file);
    await visit.page.locator("[data-clicked=true]").waitFor();
    await visit.reaches(name, "elsewhere");
    await visit.throttle(NO_LIMIT);
    await other.throttle(NO_LIMIT);
    await other.reaches(name, "done");
    await visit.reaches(name, "done");
    const states = await other.page.evaluate(() => window.states);
    const from = states.findIndex((state) => state !== "elsewhere");
    assert.notEqual(from, -1, "it has not gone on");
    assert.ok(!states.slice(from).includes("elsewhere"), states.join());
    assert.deepEqual(other.failedLoads, []);
  });

  test("a click that comes too late neither starts over nor hides", async () => {
    visit.loadsMayFail = true;
    await visit.go("?chunk=100000");
    const id = await visit.pausesAtItsBeginning("refused.bin");
    const refusal = { status: 400, json: { detail: "No room for it" } };
    await visit.page.route(`**${CHUNKS}`, (route) => route.fulfill(refusal), { times: 1 });
    await visit.page.evaluate(() => {
      const row = document.querySelector("#list > li");
      const { dataset } = row;
      new MutationObserver(() => {
        if (dataset.state === "error") row.querySelector(".main").click();
        if (dataset.state === "done") row.querySelector(".stop").click();
        if (["error", "done"].includes(dataset.state)) dataset.clicked = dataset.state;
      }).observe(row, { attributeFilter: ["data-state"] });
    });
    await visit.button("Resume", "refused.bin").click();
    await visit.page.locator("[data-clicked=error]").waitFor();
    await visit.reaches("refused.bin", "error");
    assert.equal((await visit.status(id)).status(), 200);

    // One that is meant is asked for.
    await visit.button("Start over", "refused.bin").click();
    const dialog = visit.page.getByRole("dialog", { name: "Start over “refused.bin”?" });
    await dialog.getByText(/^The server deletes the [\d.]+\skB that it has\.$/).waitFor();
    await dialog.getByRole("button", { name: "Keep it" }).click();
    await visit.reaches("refused.bin", "error");
    await visit.throttle(NO_LIMIT);
    await visit.startOver("refused.bin");
    await visit.page.locator("[data-clicked=done]").waitFor();
    await visit.reaches("refused.bin", "done");
    assert.equal((await visit.status(id)).status(), 404);
    await visit.button("Hide", "refused.bin").click();
    await visit.row("refused.bin").waitFor({ state: "detached" });
  });

  test("what is left to another tab stays hidden after a reload", async () => {
    const name = "left.bin";
    const file = await randomFile(folder, name, 24 * MIB);
    await visit.go("?chunk=1048576");
    await visit.throttle(2 * MIB);
    await visit.choose(file);
    await visit.acknowledged(name, MIB);
    await visit.button("Pause", name).click();
    const other = await visit.anotherTab();
    await other.go();
    await other.button("Hide", name).click();
    await other.row(name).waitFor({ state: "detached" });
    await other.page.reload();
    await other.page.waitForResponse("**/api/uploads");
    await other.row(name).waitFor({ state: "detached" });
    await visit.throttle(NO_LIMIT);
    await visit.button("Resume", name).click();
    await visit.reaches(name, "done");
    await other.reaches(name, "done");
  });

  test("a kept picture is shown after a reload, and an empty file has no amount", async () => {
    const red = '<svg xmlns="http://www.w3.org/2000/svg" width="8" height="8"><rect width="8" height="8" fill="red"/></svg>';
    const { page } = visit;
    await visit.go();
    await page.route(`**${CHUNKS}`, () => {});
    await visit.choose(
      { name: "red.svg", mimeType: "image/svg+xml", buffer: Buffer.from(red) },
      { name: "empty.txt", mimeType: "text/plain", buffer: Buffer.from("") },
    );
    await visit.row("empty.txt").getByText("Sending, 0%").waitFor();
    assert.doesNotMatch(await visit.row("empty.txt").textContent(), / of 0/);
    await page.waitForFunction(async () => {
      const { files } = await import("/memory.js");
      return (await files.waitingKeys()).length === 2;
    });
    await page.reload();
    await visit.reaches("red.svg", "unbegun");
    await visit.row("red.svg").locator("img").waitFor();
  });

  test("a folder is called by its name", async () => {
    await visit.go();
    await visit.page.evaluate(() => {
      const item = (name) => ({
        kind: "file",
        getAsFile: () => new File([], name),
        webkitGetAsEntry: () => ({ name, isDirectory: true }),
      });
      const drop = new Event("drop");
      drop.dataTransfer = { types: ["Files"], items: [item("photos")] };
      document.dispatchEvent(drop);
    });
    const words = "“photos” is a folder. Open it and drop the files inside.";
    await visit.page.locator("#notice").getByText(words).waitFor();
  });

  test("a screen reader hears at most one sentence a second, and whole percents", async () => {
    await visit.go("?chunk=100000");
    const names = Array.from({ length: 12 }, (_, n) => `${n}.bin`);
    await visit.choose(
      ...names.map((name) => ({ name, mimeType: "text/plain", buffer: randomBytes(400_000) })),
    );
    for (const name of names) await visit.reaches(name, "done");
    await visit.heard(/^All 12 files are done\.$/);
    const longest = Math.max(...(await visit.said()).map(({ length }) => length));
    assert.ok(longest < 100, JSON.stringify(await visit.said()));
    const live = visit.page.locator("#live");
    await live.locator("p").first().waitFor({ state: "detached" });
    const times = await visit.page.evaluate(() => window.saidAt);
    // Each file begins, passes three quarters and ends.
    assert.ok(times.length < 5 * names.length, JSON.stringify(await visit.said()));
    const pauses = times.slice(1).map((time, n) => time - times[n]);
    // The clocks of a browser are rounded.
    assert.ok(pauses.every((pause) => pause > 990), JSON.stringify(pauses));

    await visit.throttle(100_000);
    await visit.choose({ name: "slow.bin", mimeType: "text/plain", buffer: randomBytes(1_000_000) });
    const bar = visit.page.getByRole("progressbar", { name: "Progress of slow.bin" });
    await visit.acknowledged("slow.bin", 100_000);
    const [value, text] = await bar.evaluate((bar) => [bar.value, bar.getAttribute("aria-valuetext")]);
    assert.ok(Number.isInteger(value));
    assert.match(text, new RegExp(`^${value} percent, [\\d.]+\\skB of 1\\sMB$`));
  });

  test("an upload goes on by its token when the session has ended", async () => {
    const name = "token.txt";
    visit.loadsMayFail = true;
    const sent = [];
    await visit.page.route(`**${CHUNKS}`, async (route) => {
      const { "upload-token": token = null, "idempotency-key": key } = route.request().headers();
      sent.push({ token, key });
      if (sent.length === 2) return route.fulfill({ status: 401, json: { detail: "no" } });
      const response = await route.fetch();
      const headers = { ...response.headers(), "Upload-Token": `token ${sent.length}` };
      return route.fulfill({ response, headers });
    });
    const late = [];
    await visit.page.route(`**${CHUNKS}_complete`, (route) =>
      route.fulfill({
        status: 202,
        headers: { Location: "/done/1", "Retry-After": "0" },
        json: { status: "finishing" },
      }),
    );
    await visit.page.route("**/done/1", (route) => {
      late.push(route.request().headers()["upload-token"]);
      return route.fulfill({ json: { saved: name } });
    });
    await visit.go("?chunk=4");
    await visit.choose({ name, mimeType: "text/plain", buffer: Buffer.from("all of it") });
    await visit.reaches(name, "done");
    assert.deepEqual(late, ["token 4"]);
    // The last one is that of the answer before.
    assert.deepEqual(sent.map(({ token }) => token), [null, null, "token 1", "token 3"]);
    assert.match(sent[0].key, /^"[0-9a-f]{32}"$/);
    assert.equal(sent[1].key, undefined);
  });

  test("an upload that the list has shown before its own row knew it is shown once", async () => {
    const name = "known-before.bin";
    await visit.go();
    await visit.page.evaluate(async () => {
      const { files } = await import("/memory.js");
      const { of } = files;
      const hold = new Promise((resolve) => (window.recall = resolve));
      files.of = async (id) => {
        await hold;
        return of(id);
      };
    });
    await visit.page.route(
      `**${CHUNKS}`,
      async (route) => {
        const response = await route.fetch();
        await visit.looksAgain();
        await visit.page.waitForFunction(() => document.querySelectorAll("#list > li").length === 2);
        await route.fulfill({ response });
      },
      { times: 1 },
    );
    await visit.choose({ name, mimeType: "application/octet-stream", buffer: Buffer.alloc(1000) });
    await visit.reaches(name, "done");
    // The row that is gone hears only now what the browser has kept of its file.
    await visit.page.evaluate(() => window.recall());
    await visit.looksAgain();
    assert.equal(await visit.row(name).count(), 1);
  });

  test("without JavaScript there is a form, and nothing is promised that it cannot do", async () => {
    const plain = await launchBrowserWithoutScripts();
    try {
      const page = await plain.newPage();
      await page.goto(server.url);
      assert.ok(await page.locator("noscript button").isVisible());
      const words = await page.locator("main").innerText();
      assert.deepEqual(words.split(/\s*\n\s*/), [
        "Send files",
        "Without JavaScript one file is sent at a time, and cannot be resumed.",
        "File",
        "Send",
      ]);
      const choose = await page
        .getByLabel("File", { exact: true })
        .evaluate((input) => getComputedStyle(input, "::file-selector-button").minHeight);
      const { height } = await page.getByRole("button", { name: "Send" }).boundingBox();
      assert.equal(choose, "44px");
      assert.ok(height >= 44, `${height}`);
    } finally {
      await plain.close();
    }
  });

  test("without JavaScript it is told what has arrived, with the name on the disk", async () => {
    const plain = await launchBrowserWithoutScripts();
    try {
      const page = await plain.newPage();
      await page.goto(server.url);
      const file = { name: "invoice\u202egpj.exe", mimeType: "text/plain", buffer: Buffer.from("1") };
      await page.getByLabel("File", { exact: true }).setInputFiles(file);
      await page.getByRole("button", { name: "Send" }).click();
      await page.getByRole("heading", { name: "File sent" }).waitFor();
      const saved = path.basename((await server.saved())[0]);
      assert.match(saved, /^[0-9a-f]{32}-invoicegpj\.exe$/);
      assert.equal(
        await page.locator(".answer").first().innerText(),
        `“invoice⟨U+202E⟩gpj.exe” has arrived. It is saved on the server as “${saved}”.`,
      );
      assert.equal(await page.locator(".mark").innerText(), "⟨U+202E⟩");

      // Who asks for the address of the answer has lost what was sent.
      await page.goto(page.url());
      assert.equal(page.url(), `${server.url}/`);
      await page.getByLabel("File", { exact: true }).waitFor();
    } finally {
      await plain.close();
    }
  });

  test("axe finds nothing in any state", async () => {
    const { page } = visit;
    visit.loadsMayFail = true;
    await visit.withoutHandles();
    await visit.go("?chunk=100000");
    await accessible(page);

    const red = '<svg xmlns="http://www.w3.org/2000/svg" width="8" height="8"><rect width="8" height="8" fill="red"/></svg>';
    await visit.choose({ name: "red.svg", mimeType: "image/svg+xml", buffer: Buffer.from(red) });
    await visit.reaches("red.svg", "done");
    await accessible(page);

    await page.route(`**${CHUNKS}`, (route) => route.fulfill({ status: 400, json: {} }), { times: 1 });
    await visit.choose({ name: "bad.txt", mimeType: "text/plain", buffer: Buffer.from("1") });
    await visit.reaches("bad.txt", "error");
    await accessible(page);

    await visit.throttle(50_000);
    const name = "invoice\u202egpj-with-a-name-that-is-long-and-has-no-space-in-it.exe";
    await visit.choose(
      { name, mimeType: "text/plain", buffer: randomBytes(5_000_000) },
      { name: "second.txt", mimeType: "text/plain", buffer: randomBytes(5_000_000) },
      { name: "waiting.txt", mimeType: "text/plain", buffer: randomBytes(5_000_000) },
    );
    await visit.acknowledged(name, 100_000);
    await accessible(page);
    await visit.choose({ name: "second.txt", mimeType: "text/plain", buffer: randomBytes(5_000_000) });
    await page.getByRole("button", { name: "Pause all" }).click();
    await visit.reaches(shown(name), "paused");
    await accessible(page);
    await visit.button("Cancel", shown(name)).click();
    await page.getByRole("dialog").waitFor();
    await accessible(page);
    await page.getByRole("button", { name: "Keep it" }).click();

    await page.reload();
    await visit.reaches(shown(name), "unfinished");
    await visit.button("Resume", shown(name)).waitFor();
    await accessible(page);
  });

  test("another user sees nothing of it", async () => {
    await visit.go();
    await visit.choose({ name: "mine.txt", mimeType: "text/plain", buffer: Buffer.from("mine") });
    await visit.reaches("mine.txt", "done");
    assert.equal((await visit.listed()).length, 1);
    const stranger = await Visit.open(browser, server);
    await stranger.go();
    assert.deepEqual(await stranger.listed(), []);
    await stranger.close();
  });

  test("the keyboard alone is enough, and progress is announced", async () => {
    const name = "keys.bin";
    const file = await randomFile(folder, name, 16 * MIB);
    await visit.withoutHandles();
    // Only a listener that is there before the page makes the browser ask it and not the desktop.
    visit.page.on("filechooser", () => {});
    await visit.go("?chunk=524288");
    await visit.throttle(MIB);

    await visit.page.keyboard.press("Tab");
    assert.equal(await visit.page.evaluate(() => document.activeElement.id), "files");
    const chooser = visit.page.waitForEvent("filechooser");
    await visit.page.keyboard.press("Enter");
    await (await chooser).setFiles(file);
    await visit.acknowledged(name, MIB);

    await visit.tabTo(visit.button("Pause", name));
    await visit.page.keyboard.press("Enter");
    await visit.reaches(name, "paused");
    const resume = visit.button("Resume", name);
    assert.ok(await resume.evaluate((element) => element === document.activeElement));
    await visit.heard(/^keys\.bin paused at/);
    await visit.throttle(NO_LIMIT);
    await visit.page.keyboard.press("Space");
    await visit.reaches(name, "done");

    await visit.heard(/keys\.bin is done/);
    const said = await visit.said();
    assert.match(said[0], /^Sending keys\.bin, 16\.8\sMB\.$/);
    for (const pattern of [/^keys\.bin paused at \d+%\.$/, /^keys\.bin is done\.$/]) {
      const matches = said.filter((text) => pattern.test(text));
      assert.equal(matches.length, 1, `${pattern} in ${JSON.stringify(said)}`);
    }

    const hide = visit.button("Hide", name);
    assert.ok(await hide.evaluate((button) => button === document.activeElement));
    // A key that was meant for the button before does nothing.
    await visit.page.locator("[aria-disabled]").waitFor({ state: "detached" });
    await visit.page.keyboard.press("Enter");
    await visit.row(name).waitFor({ state: "detached" });
    assert.equal(await visit.page.evaluate(() => document.activeElement.id), "files");
  });

  test("refusals are told in plain words", async () => {
    visit.loadsMayFail = true;
    const refusals = [
      { status: 403, detail: "no", words: /not allowed to send/, offer: "Try again" },
      { status: 404, detail: "no", words: /does not know this upload/, offer: "Start over" },
      { status: 410, detail: "no", words: /has expired/, offer: "Start over" },
      { status: 409, detail: "no", words: /Another tab or window/, state: "elsewhere", offer: "Continue here" },
      { status: 413, detail: "no", words: /too large for this server/ },
      {
        status: 400,
        code: "too-large",
        detail: "Size of file exceeds the limit (1000 bytes)",
        words: /The file is too large: this server takes up to 1\skB\./,
      },
      {
        status: 400,
        detail: "No room for <b>",
        words: /refused the file: No room for <b>\./,
        offer: "Start over",
      },
    ];
    await visit.go();
    for (const { status, code, detail, words, offer, state = "error" } of refusals) {
      const name = `refused ${status} ${detail.length}.bin`;
      const refusal = { status, json: { code, detail } };
      await visit.page.route(`**${CHUNKS}`, (route) => route.fulfill(refusal), { times: 1 });
      await visit.choose({ name, mimeType: "text/plain", buffer: Buffer.from(name) });
      await visit.reaches(name, state);
      await visit.row(name).getByText(words).waitFor();
      await visit.heard(new RegExp(`${status} ${detail.length}\\.bin.*${words.source}`));
      if (offer) {
        await visit.button(offer, name).click();
        await visit.reaches(name, "done");
      }
    }
  });

  test("a file that does not match its checksum is refused and can be sent again", async () => {
    visit.loadsMayFail = true;
    await visit.go();
    await visit.page.route(
      `**${CHUNKS}_complete`,
      (route) => {
        const postData = route.request().postData().replace(/md5=\w+/, `md5=${"0".repeat(32)}`);
        return route.continue({ postData });
      },
      { times: 1 },
    );
    await visit.choose({ name: "odd.txt", mimeType: "text/plain", buffer: Buffer.from("odd") });
    await visit.reaches("odd.txt", "error");
    await visit.row("odd.txt").getByText(/The file changed while it was sent/).waitFor();
    assert.deepEqual(await server.saved(), []);
    await visit.button("Start over", "odd.txt").click();
    await visit.reaches("odd.txt", "done");
    assert.equal((await server.saved()).length, 1);
  });

  test("while it tries again it does not promise a time", async () => {
    const name = "again.bin";
    visit.loadsMayFail = true;
    await visit.go("?chunk=100000");
    await visit.pausesAtItsBeginning(name);
    await visit.page.route(`**${CHUNKS}`, (route) => route.abort());
    await visit.button("Resume", name).click();
    await visit.row(name).getByText(/^Trying again in \d/).waitFor();
    await visit.page.route(`**${CHUNKS}?upload_id=*`, () => {});
    await visit.row(name).getByText("Trying again", { exact: true }).waitFor();
    await visit.reaches(name, "retrying");
  });

  test("a server in trouble is asked again", async () => {
    visit.loadsMayFail = true;
    await visit.go();
    await visit.page.route(`**${CHUNKS}`, (route) => route.fulfill({ status: 503, body: "later" }));
    await visit.choose({ name: "patient.txt", mimeType: "text/plain", buffer: Buffer.from("1") });
    await visit.row("patient.txt").getByText("The server has a problem (503)").waitFor();
    await visit.page.unroute(`**${CHUNKS}`);
    await visit.reaches("patient.txt", "done");
  });

  test("an answer to the completion that was lost does not fail the upload", async () => {
    visit.loadsMayFail = true;
    await visit.go();
    await visit.page.route(
      `**${CHUNKS}_complete`,
      async (route) => {
        await route.fetch();
        await route.abort();
      },
      { times: 1 },
    );
    // Until that has been seen, there is no answer to a question either.
    await visit.page.route(`**${CHUNKS}?upload_id=*`, (route) => route.abort());
    await visit.choose({ name: "once.txt", mimeType: "text/plain", buffer: Buffer.from("1") });
    await visit.reaches("once.txt", "retrying");
    await visit.page.unroute(`**${CHUNKS}?upload_id=*`);
    await visit.reaches("once.txt", "done");
    assert.equal((await server.saved()).length, 1);
  });

  test("a file that is still being checked is waited for, and not sent again", async () => {
    visit.loadsMayFail = true;
    await visit.go();
    const json = { code: "finishing", detail: "Upload is being completed" };
    await visit.page.route(
      `**${CHUNKS}_complete`,
      (route) => route.fulfill({ status: 400, json }),
      { times: 1 },
    );
    await visit.page.route(`**${CHUNKS}?upload_id=*`, (route) => {
      const id = new URL(route.request().url()).searchParams.get("upload_id");
      return route.fulfill({ json: { upload_id: id, offset: 1, status: "finishing" } });
    });
    await visit.choose({ name: "slow.txt", mimeType: "text/plain", buffer: Buffer.from("1") });
    await visit.row("slow.txt").getByText("The server is still checking the file").waitFor();
    await visit.page.unroute(`**${CHUNKS}?upload_id=*`);
    await visit.reaches("slow.txt", "done");
    assert.equal(visit.chunks.length, 1);
    assert.equal((await server.saved()).length, 1);
  });

  test("a completion that takes long is followed to its end", async () => {
    await visit.go();
    const asked = [];
    await visit.page.route(`**${CHUNKS}_complete`, (route) => route.fulfill(ACCEPTED));
    await visit.page.route("**/done/1", (route) => {
      asked.push(route.request().method());
      return route.fulfill(asked.length < 2 ? ACCEPTED : { json: { saved: "slow.txt" } });
    });
    await visit.choose({ name: "slow.txt", mimeType: "text/plain", buffer: Buffer.from("1") });
    await visit.reaches("slow.txt", "done");
    assert.deepEqual(asked, ["GET", "GET"]);
    assert.equal(visit.chunks.length, 1);
  });

  test("a completion that nobody works on any more is sent again, a few times", async () => {
    visit.loadsMayFail = true;
    await visit.go();
    let completions = 0;
    await visit.page.route(`**${CHUNKS}_complete`, (route) => {
      completions += 1;
      return route.fulfill(ACCEPTED);
    });
    const json = { code: "not-completing", detail: "Nobody works on it" };
    await visit.page.route("**/done/1", (route) => route.fulfill({ status: 409, json }));
    await visit.choose({ name: "slow.txt", mimeType: "text/plain", buffer: Buffer.from("1") });
    await visit.reaches("slow.txt", "error");
    await visit.row("slow.txt").getByText("The server could not save the file.").waitFor();
    assert.equal(completions, 4);
  });

  test("an upload that is cancelled elsewhere does not blame another tab", async () => {
    const file = await randomFile(folder, "ended.bin", 24 * MIB);
    visit.loadsMayFail = true;
    await visit.go("?chunk=1048576");
    await visit.throttle(2 * MIB);
    await visit.choose(file);
    await visit.acknowledged("ended.bin", MIB);
    const { id } = await visit.remembered("ended.bin");
    await visit.delete(id);
    await visit.reaches("ended.bin", "error");
    await visit.row("ended.bin").getByText(/does not know this upload/).waitFor();
  });

  test("what is saved by then is not said to be cancelled", async () => {
    visit.loadsMayFail = true;
    await visit.go();
    await visit.page.route(`**${CHUNKS}_complete`, async (route) => {
      await route.fetch();
      await route.abort();
    });
    await visit.page.route(`**${CHUNKS}?upload_id=*`, (route) =>
      route.request().method() === "GET" ? route.abort() : route.continue(),
    );
    await visit.choose({ name: "late.txt", mimeType: "text/plain", buffer: Buffer.from("1") });
    await visit.reaches("late.txt", "retrying");
    await visit.cancel("late.txt");
    await visit.heard(/“late\.txt” is saved already, or just being saved\./);
    await visit.reaches("late.txt", "done");
    assert.equal((await server.saved()).length, 1);
  });

  test("it looks right in light, dark and narrow windows", async () => {
    const running = await randomFile(folder, "Interview with the harbour master, uncut.mov", 96 * MIB);
    const lost = await randomFile(folder, "measurements-2026.parquet", 24 * MIB);
    const done = path.join(folder, "report.pdf");
    await writeFile(done, randomBytes(300_000));

    visit.loadsMayFail = true;
    await visit.go("?chunk=1048576");
    await visit.throttle(MIB);
    await visit.choose(lost);
    await visit.acknowledged(path.basename(lost), 4 * MIB);
    await visit.button("Pause", path.basename(lost)).click();
    await visit.reaches(path.basename(lost), "paused");
    const { id } = await visit.remembered(path.basename(lost));
    await visit.delete(id);
    await visit.reaches(path.basename(lost), "ended");
    const refusal = { status: 400, json: { detail: "No room for it" } };
    await visit.page.route(`**${CHUNKS}`, (route) => route.fulfill(refusal), { times: 1 });
    await visit.choose({ name: "refused.csv", mimeType: "text/csv", buffer: Buffer.from("1,2") });
    await visit.reaches("refused.csv", "error");
    await visit.choose(done);
    await visit.reaches("report.pdf", "done");
    const turned = "invoice\u202egpj.exe";
    await visit.choose({ name: turned, mimeType: "text/plain", buffer: Buffer.from("1") });
    await visit.reaches(shown(turned), "done");
    await visit.throttle(6 * MIB);
    await visit.choose(running);
    await visit.row(path.basename(running)).getByText(/left/).waitFor();
    await visit.acknowledged(path.basename(running), 6 * MIB);
    await visit.throttle(MIB);

    const { page } = visit;
    await photograph(page, "page");
    assert.equal(await page.locator("[data-state=sending]").count(), 1);
    await visit.cancel(path.basename(running));
    await visit.row(path.basename(running)).waitFor({ state: "detached" });
  });
});
