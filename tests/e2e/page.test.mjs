// node --test tests/e2e/page.test.mjs
//
// The demo page in a real browser, against the real server. Environment:
//   AXUM_EXAMPLE  the server, default target/debug/examples/axum
//   CHROMIUM      the browser, default /usr/bin/chromium
//   SCREENSHOTS   folder for the screenshots, default a temporary one

import assert from "node:assert/strict";
import { createHash, randomBytes } from "node:crypto";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import path from "node:path";
import { after, afterEach, before, beforeEach, describe, test } from "node:test";

import {
  CHUNKS,
  MIB,
  NO_LIMIT,
  Server,
  UNSEEN,
  digest,
  firstByte,
  isChunk,
  launchBrowser,
  photograph,
  randomFile,
  sameBytes,
  shown,
  showsAll,
  troubles,
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
      document.addEventListener("DOMContentLoaded", () => {
        const live = document.querySelector("[aria-live=polite]");
        new MutationObserver((changes) => {
          for (const { addedNodes } of changes) {
            for (const node of addedNodes) window.said.push(node.textContent);
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

  choose(...files) {
    return this.page.setInputFiles("#files", files);
  }

  row(name) {
    return this.page.locator("#list > li").filter({ has: this.page.getByText(name, { exact: true }) });
  }

  button(label, name) {
    return this.page.getByRole("button", { name: `${label} ${name}`, exact: true });
  }

  async reaches(name, state) {
    await this.row(name).and(this.page.locator(`[data-state=${state}]`)).waitFor();
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
    await this.context.close();
    for (const other of this.others) assert.deepEqual(other.errors, []);
    assert.deepEqual(this.errors, []);
    assert.deepEqual(this.strangers, []);
    if (!this.loadsMayFail) assert.deepEqual(this.failedLoads, []);
  }
}

describe("the demo page", { timeout: 300_000 }, () => {
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
    await visit.throttle(48 * MIB);
    await visit.choose(file);
    await visit.acknowledged(name, 24 * MIB);
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

    assert.equal(firstByte(visit.chunks[0].range), offset);
    assert.equal(visit.chunks.length, Math.ceil((200 * MIB - offset) / (4 * MIB)));
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
    await visit.throttle(8 * MIB);
    await visit.choose(file);
    await visit.acknowledged(name, 4 * MIB);
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
    await visit.throttle(16 * MIB);
    await visit.choose(file);
    await visit.acknowledged(name, 8 * MIB);
    await server.stop("SIGKILL");
    await visit.reaches(name, "retrying");
    await visit.row(name).getByText("The server does not answer").waitFor();
    await visit.row(name).getByText(/Trying again in \d+\ss/).waitFor();
    const { offset } = await visit.remembered(name);
    visit.chunks.length = 0;
    await server.launch();
    await visit.reaches(name, "sending");
    await visit.throttle(NO_LIMIT);
    await visit.reaches(name, "done");

    const sent = visit.chunks.filter(({ answered }) => answered);
    assert.ok(firstByte(sent[0].range) >= offset, `went on at ${sent[0].range}`);
    await visit.heard(/The server does not answer\. survivor\.bin will go on by itself/);
    const saved = await server.saved();
    assert.equal(saved.length, 1);
    await sameBytes(saved[0], file);
  });

  test("cancel leaves nothing behind", async () => {
    const name = "unwanted.bin";
    const file = await randomFile(folder, name, 24 * MIB);
    await visit.go("?chunk=1048576");
    await visit.throttle(4 * MIB);
    await visit.choose(file);
    await visit.acknowledged(name, 2 * MIB);
    const { id } = await visit.remembered(name);
    assert.equal((await visit.status(id)).status(), 200);
    await visit.button("Cancel", name).click();
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
    await visit.throttle(4 * MIB);
    await visit.choose(file);
    await visit.acknowledged("dropped.bin", MIB);
    await visit.page.reload();
    await visit.reaches("dropped.bin", "unfinished");
    const { id } = await visit.remembered("dropped.bin");
    await visit.button("Cancel", "dropped.bin").click();
    await visit.page.locator("#uploads[hidden]").waitFor({ state: "attached" });

    assert.equal((await visit.status(id)).status(), 404);
    assert.equal(await visit.page.evaluate(() => localStorage.length), 0);
  });

  test("the server knows what a browser has forgotten, and it goes on", async () => {
    const name = 'Größe "zwei" 📦.bin';
    const file = await randomFile(folder, name, 12 * MIB);
    await visit.go("?chunk=1048576");
    await visit.throttle(4 * MIB);
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
    assert.equal(firstByte(visit.chunks[0].range), offset);
    await sameBytes((await server.saved())[0], file);
  });

  test("another tab sees it grow, takes it over, and the first sees it done", async () => {
    const name = "shared.bin";
    const file = await randomFile(folder, name, 24 * MIB);
    visit.loadsMayFail = true;
    await visit.go("?chunk=1048576");
    await visit.throttle(2 * MIB);
    await visit.choose(file);
    await visit.acknowledged(name, MIB);

    const other = await visit.anotherTab();
    await other.go("?chunk=1048576");
    await other.reaches(name, "unfinished");
    await other.row(name).getByText(/Sending elsewhere/).waitFor();
    await other.choose(file);
    await visit.reaches(name, "error");
    await visit.row(name).getByText(/another tab or window/).waitFor();
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
    // Its chunks take long, so that the other tab's do not begin together with them.
    await visit.throttle(MIB / 2);
    const other = await visit.anotherTab();
    await other.go("?chunk=1048576");
    await other.throttle(2 * MIB);
    await other.reaches(name, "unfinished");
    await other.choose(file);
    await visit.reaches(name, "error");

    await visit.button("Remove", name).click();
    await visit.row(name).waitFor({ state: "detached" });
    assert.equal((await visit.status(id)).status(), 200);
    await visit.page.waitForResponse("**/api/uploads");
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
      await visit.page.unroute(`**${CHUNKS}`);

      const other = await visit.anotherTab();
      await other.go("?chunk=1048576");
      await other.throttle(2 * MIB);
      await other.reaches(name, "unfinished");
      await other.choose(file);
      await visit.row(name).getByText(/another tab or window/).waitFor();
      await visit.button("Continue here", name).waitFor();
      await visit.button("Remove", name).click();
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
    const other = await visit.anotherTab();
    await other.go("?chunk=1048576");
    await other.throttle(2 * MIB);
    await other.reaches(name, "unfinished");
    await other.choose(file);
    await visit.button("Continue here", name).click();
    await other.row(name).getByText(/another tab or window/).waitFor();
    await visit.throttle(NO_LIMIT);
    await visit.reaches(name, "done");
    await other.reaches(name, "done");
    assert.equal((await server.saved()).length, 1);
    await sameBytes((await server.saved())[0], file);
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
    await visit.button("Remove", shown(name)).waitFor();

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

  test("finished files stay listed with size and checksum until they are removed", async () => {
    await visit.go();
    await visit.choose({ name: "a.txt", mimeType: "text/plain", buffer: Buffer.from("all of it") });
    await visit.reaches("a.txt", "done");
    await visit.page.reload();
    await visit.reaches("a.txt", "done");
    assert.match(await visit.row("a.txt").locator(".size").textContent(), /^9\sbytes$/);
    assert.equal(await visit.md5("a.txt"), createHash("md5").update("all of it").digest("hex"));
    await visit.button("Remove", "a.txt").click();
    await visit.page.reload();
    await visit.page.waitForResponse("**/api/uploads");
    assert.equal(await visit.page.locator("#list > li").count(), 0);
    assert.equal((await server.saved()).length, 1);
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
    // Only a listener that is there before the page makes the browser ask it and not the desktop.
    visit.page.on("filechooser", () => {});
    await visit.go("?chunk=524288");
    await visit.throttle(2 * MIB);

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
    await visit.throttle(NO_LIMIT);
    await visit.page.keyboard.press("Space");
    await visit.reaches(name, "done");

    await visit.heard(/keys\.bin is done/);
    const said = await visit.said();
    const expected = [
      [/^Sending keys\.bin, 16\.0\sMiB\.$/, 2],
      [/^keys\.bin paused at \d+%\.$/, 1],
      [/^keys\.bin: 25 percent sent\.$/, 1],
      [/^keys\.bin: 50 percent sent\.$/, 1],
      [/^keys\.bin: 75 percent sent\.$/, 1],
      [/^keys\.bin is done\.$/, 1],
    ];
    for (const [pattern, times] of expected) {
      const matches = said.filter((text) => pattern.test(text));
      assert.equal(matches.length, times, `${pattern} in ${JSON.stringify(said)}`);
    }
    assert.equal(said.length, 7, JSON.stringify(said));

    assert.ok(await visit.row(name).evaluate((row) => row.contains(document.activeElement)));
    await visit.tabTo(visit.button("Remove", name));
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
      { status: 409, detail: "no", words: /another tab or window/, offer: "Continue here" },
      { status: 413, detail: "no", words: /too large for this server/ },
      {
        status: 400,
        code: "too-large",
        detail: "Size of file exceeds the limit (1000 bytes)",
        words: /too large for this server\. Size of file exceeds the limit \(1000 bytes\)\./,
      },
      {
        status: 400,
        detail: "No room for <b>",
        words: /refused the file: No room for <b>\./,
        offer: "Start over",
      },
    ];
    await visit.go();
    for (const { status, code, detail, words, offer } of refusals) {
      const name = `refused ${status} ${detail.length}.bin`;
      const refusal = { status, json: { code, detail } };
      await visit.page.route(`**${CHUNKS}`, (route) => route.fulfill(refusal), { times: 1 });
      await visit.choose({ name, mimeType: "text/plain", buffer: Buffer.from(name) });
      await visit.reaches(name, "error");
      await visit.row(name).getByText(words).waitFor();
      await visit.heard(new RegExp(`${status} ${detail.length}\\.bin stopped\\. .*${words.source}`));
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

  test("a server in trouble is asked again", async () => {
    visit.loadsMayFail = true;
    await visit.go();
    await visit.page.route(`**${CHUNKS}`, (route) => route.fulfill({ status: 503, body: "later" }), {
      times: 1,
    });
    await visit.choose({ name: "patient.txt", mimeType: "text/plain", buffer: Buffer.from("1") });
    await visit.row("patient.txt").getByText("The server has a problem (503)").waitFor();
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
    await visit.choose({ name: "once.txt", mimeType: "text/plain", buffer: Buffer.from("1") });
    await visit.reaches("once.txt", "retrying");
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
    await visit.page.route(
      `**${CHUNKS}?upload_id=*`,
      (route) => route.fulfill({ json: { upload_id: "1", offset: 1, status: "finishing" } }),
      { times: 1 },
    );
    await visit.choose({ name: "slow.txt", mimeType: "text/plain", buffer: Buffer.from("1") });
    await visit.row("slow.txt").getByText("The server is still checking the file").waitFor();
    await visit.reaches("slow.txt", "done");
    assert.equal(visit.chunks.length, 1);
    assert.equal((await server.saved()).length, 1);
  });

  test("a completion that takes long is followed to its end", async () => {
    await visit.go();
    const asked = [];
    const headers = { Location: "/done/1", "Retry-After": "0" };
    const accepted = { status: 202, headers, json: { status: "finishing" } };
    await visit.page.route(`**${CHUNKS}_complete`, (route) => route.fulfill(accepted));
    await visit.page.route("**/done/1", (route) => {
      asked.push(route.request().method());
      return route.fulfill(asked.length < 2 ? accepted : { json: { saved: "slow.txt" } });
    });
    await visit.choose({ name: "slow.txt", mimeType: "text/plain", buffer: Buffer.from("1") });
    await visit.reaches("slow.txt", "done");
    assert.deepEqual(asked, ["GET", "GET"]);
    assert.equal(visit.chunks.length, 1);
  });

  test("an upload that is cancelled elsewhere does not blame another tab", async () => {
    const file = await randomFile(folder, "ended.bin", 24 * MIB);
    visit.loadsMayFail = true;
    await visit.go("?chunk=1048576");
    await visit.throttle(2 * MIB);
    await visit.choose(file);
    await visit.acknowledged("ended.bin", MIB);
    const { id } = await visit.remembered("ended.bin");
    await visit.context.request.delete(`${server.url}${CHUNKS}?upload_id=${id}`);
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
    await visit.button("Cancel", "late.txt").click();
    await visit.page.getByText("“late.txt” is saved already, or just being saved.").first().waitFor();
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
    await visit.throttle(6 * MIB);
    await visit.choose(lost);
    await visit.acknowledged(path.basename(lost), 4 * MIB);
    await visit.button("Pause", path.basename(lost)).click();
    const { id } = await visit.remembered(path.basename(lost));
    await visit.context.request.delete(`${server.url}${CHUNKS}?upload_id=${id}`);
    await visit.button("Resume", path.basename(lost)).click();
    await visit.reaches(path.basename(lost), "error");
    await visit.choose(done);
    await visit.reaches("report.pdf", "done");
    const turned = "invoice\u202egpj.exe";
    await visit.choose({ name: turned, mimeType: "text/plain", buffer: Buffer.from("1") });
    await visit.reaches(shown(turned), "done");
    await visit.choose(running);
    await visit.row(path.basename(running)).getByText(/left/).waitFor();
    await visit.acknowledged(path.basename(running), 6 * MIB);

    const { page } = visit;
    await photograph(page, "page");
    assert.equal(await page.locator("[data-state=sending]").count(), 1);
    await visit.button("Cancel", path.basename(running)).click();
    await visit.row(path.basename(running)).waitFor({ state: "detached" });
  });
});
