// node --test tests/e2e/jquery.test.mjs
//
// blueimp-file-upload, unmodified and used as in examples/clients/jquery.js, in a real browser
// against the real server. Environment as for page.test.mjs.

import assert from "node:assert/strict";
import { mkdtemp, readFile, readdir, rm, truncate } from "node:fs/promises";
import { tmpdir } from "node:os";
import path from "node:path";
import { after, afterEach, before, beforeEach, describe, test } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import { fileURLToPath } from "node:url";

import {
  ACCEPTED,
  CHUNKS,
  Line,
  MIB,
  ROOT,
  Server,
  digest,
  firstByte,
  isChunk,
  launchBrowser,
  randomFile,
} from "./support.mjs";

const HERE = fileURLToPath(new URL(".", import.meta.url));
const RECIPE = path.join(ROOT, "examples/clients");
const COMPLETE = `${CHUNKS}_complete`;
const SILENCE = "The server does not answer";

/** The recipe and its libraries, on the server's origin. */
function serve(route) {
  const asked = new URL(route.request().url()).pathname.replace("/jfu/", "");
  const folder = asked.startsWith("node_modules/") ? HERE : RECIPE;
  return route.fulfill({ path: path.join(folder, asked) });
}

/** A browser page with the recipe; what it sends goes through a line that can be cut. */
class Visit {
  static async open(browser, line) {
    const visit = new Visit();
    visit.line = line;
    visit.chunks = [];
    visit.errors = [];
    visit.context = await browser.newContext();
    visit.page = await visit.context.newPage();
    const { page } = visit;
    page.setDefaultTimeout(60_000);
    page.on("request", (request) => isChunk(request) && visit.chunks.push(request));
    page.on("pageerror", (error) => visit.errors.push(String(error)));
    return visit;
  }

  async go(options = {}) {
    await this.page.route("**/jfu/**", serve);
    await this.page.goto(`${this.line.url}/jfu/jquery.html`);
    // A route takes chunks on a detour, wherever it leads.
    await this.page.unroute("**/jfu/**", serve);
    await this.page.evaluate((options) => $("#upload").fileupload("option", options), options);
  }

  choose(...files) {
    return this.page.setInputFiles("input[type=file]", files);
  }

  /** The row of the file, the newest if there are several. */
  row(file) {
    const name = this.page.getByText(path.basename(file), { exact: true });
    return this.page.locator("#uploads > li").filter({ has: name }).last();
  }

  async says(file, text) {
    await this.row(file).getByRole("status").getByText(text, { exact: true }).waitFor();
  }

  async saves(...files) {
    await this.choose(...files);
    for (const file of files) await this.says(file, "Saved");
  }

  cancel(file) {
    return this.row(file).getByRole("button", { name: "Cancel" }).click();
  }

  /** Where the chunks that were sent begin, in MiB. */
  starts() {
    return this.chunks.map((request) => firstByte(request.headers()["content-range"]) / MIB);
  }

  remembered() {
    return this.page.evaluate(() => Object.values(localStorage));
  }

  async close() {
    await this.context.close();
    assert.deepEqual(this.errors, []);
  }
}

describe("jQuery-File-Upload", { timeout: 900_000 }, () => {
  let browser;
  let folder;
  let server;
  let line;
  let visit;

  before(async () => {
    browser = await launchBrowser();
  });

  after(() => browser?.close());

  beforeEach(async () => {
    folder = await mkdtemp(path.join(tmpdir(), "upload-jquery-"));
    server = await Server.start(folder);
    line = await Line.to(server);
    visit = await Visit.open(browser, line);
  });

  afterEach(async () => {
    try {
      await visit?.close();
    } finally {
      await line?.end();
      await server?.stop("SIGKILL");
      await rm(folder, { recursive: true });
    }
  });

  async function savedAre(...files) {
    const digests = (files) => Promise.all(files.map((file) => digest("sha256", file)));
    const [saved, wanted] = [await digests(await server.saved()), await digests(files)];
    assert.deepEqual(saved.sort(), wanted.sort());
  }

  /** The files of uploads, finished or not, that the server keeps. */
  async function kept() {
    const options = { recursive: true, withFileTypes: true };
    const entries = await readdir(folder, options);
    const files = entries.filter((entry) => entry.isFile());
    const paths = files.map((entry) => path.join(entry.parentPath ?? entry.path, entry.name));
    return paths.filter((file) => file.startsWith(path.join(folder, "chunked_uploads")));
  }

  function answerOnce(url, answer) {
    return visit.page.route(`**${url}`, answer, { times: 1 });
  }

  /** Lets time pass until no attempt is left to wait for; the page's clock is a fake. */
  async function ends(file, text) {
    const given = visit.says(file, text).then(() => true);
    while (!(await Promise.race([given, visit.page.clock.fastForward(31_000)])));
  }

  for (const multipart of [true, false]) {
    const shape = multipart ? "in a form" : "raw";

    test(`a small file goes in one piece, and again if it is cut off, ${shape}`, async () => {
      const file = await randomFile(folder, "small.bin", MIB);
      await visit.page.clock.install();
      await visit.go({ multipart });
      const blocked = line.blockedAfter(MIB / 2);
      await visit.choose(file);
      await blocked;
      // It does not try again before the line is mended.
      await visit.page.clock.pauseAt(Date.now() + 60_000);
      line.cut();
      await visit.says(file, `${SILENCE}. Trying again …`);
      line.mend();
      await visit.page.clock.resume();
      await visit.says(file, "Saved");
      const headers = visit.chunks.map((request) => request.headers());
      assert.deepEqual(headers.map((each) => each["content-range"]), [undefined, undefined]);
      assert.equal(headers[0]["content-type"].startsWith("multipart/form-data"), multipart);
      assert.deepEqual(await visit.remembered(), []);
      await savedAre(file);
    });

    test(`names with quotes, umlauts and emoji, and an empty file, ${shape}`, async () => {
      const names = ["\"zwei\" & 'drei'.txt", "Größe 100%; é=ß.txt", "📦 パッケージ 👩‍🚀.bin"];
      const files = await Promise.all(names.map((name) => randomFile(folder, name, MIB + 7)));
      names.push("empty.bin");
      files.push(await randomFile(folder, "empty.bin", 0));
      await visit.go({ multipart, maxChunkSize: MIB });
      await visit.saves(...files);
      await savedAre(...files);
      const saved = (await server.saved()).map((file) => path.basename(file).replace(/^\w+-/, ""));
      assert.deepEqual(saved.sort(), names.sort());
    });

    test(`the form's other fields and the id go along, ${shape}`, async () => {
      const file = await randomFile(folder, "noted.bin", 2 * MIB + 1);
      await visit.go({ multipart, maxChunkSize: MIB });
      await visit.page.getByLabel("Note").fill("for the harbour & its master");
      await visit.saves(file);
      const queries = visit.chunks.map((request) => new URL(request.url()).searchParams);
      const withId = queries.map((query) => query.has("upload_id"));
      assert.deepEqual(withId, [false, !multipart, !multipart]);
      await savedAre(file);
      const [record] = (await kept()).filter((file) => file.endsWith(".log"));
      assert.match(await readFile(record, "utf8"), /\["note","for the harbour & its master"\]/);
    });

    test(`a cut connection is tried again, ${shape}`, async () => {
      const file = await randomFile(folder, "cut.bin", 4 * MIB);
      await visit.go({ multipart, maxChunkSize: MIB });
      const blocked = line.blockedAfter(2.5 * MIB);
      await visit.choose(file);
      await blocked;
      line.cut();
      await visit.says(file, `${SILENCE}. Trying again …`);
      line.mend();
      await visit.says(file, "Saved");
      assert.deepEqual(visit.starts(), [0, 1, 2, 2, 3]);
      await savedAre(file);
    });
  }

  test("50 MiB go in chunks of 1 MiB", async () => {
    const file = await randomFile(folder, "large.bin", 50 * MIB);
    await visit.go({ maxChunkSize: MIB });
    await visit.saves(file);
    assert.deepEqual(visit.starts(), [...Array(50).keys()]);
    await savedAre(file);
  });

  test("the server is killed in mid-upload and the upload goes on", async () => {
    const file = await randomFile(folder, "survivor.bin", 6 * MIB);
    await visit.go({ maxChunkSize: MIB });
    const blocked = line.blockedAfter(3.5 * MIB);
    await visit.choose(file);
    await blocked;
    await server.stop("SIGKILL");
    await visit.says(file, `${SILENCE}. Trying again …`);
    await server.launch();
    await visit.says(file, "Saved");
    assert.deepEqual(visit.starts(), [0, 1, 2, 3, 3, 4, 5]);
    await savedAre(file);
  });

  test("after a kill of the server and a reload the chosen file goes on", async () => {
    const file = await randomFile(folder, "reloaded.bin", 6 * MIB);
    await visit.go({ maxChunkSize: MIB });
    const blocked = line.blockedAfter(3.5 * MIB);
    await visit.choose(file);
    await blocked;
    await visit.page.goto("about:blank");
    await server.restart("SIGKILL");
    visit.chunks.length = 0;
    await visit.go({ maxChunkSize: MIB });
    await visit.saves(file);
    assert.deepEqual(visit.starts(), [3, 4, 5]);
    await savedAre(file);
  });

  test("after a reload an upload that has all its bytes is only completed", async () => {
    const file = await randomFile(folder, "arrived.bin", 2 * MIB);
    await visit.go({ maxChunkSize: MIB });
    const refusal = { status: 403, json: { detail: "Log in" } };
    await answerOnce(COMPLETE, (route) => route.fulfill(refusal));
    await visit.choose(file);
    await visit.says(file, "Log in");
    assert.deepEqual(await server.saved(), []);
    visit.chunks.length = 0;
    await visit.go({ maxChunkSize: MIB });
    await visit.saves(file);
    assert.deepEqual(visit.chunks, []);
    await savedAre(file);
  });

  test("what the server does not know any more is begun anew", async () => {
    const file = await randomFile(folder, "forgotten.bin", 3 * MIB);
    await visit.go({ maxChunkSize: MIB });
    const blocked = line.blockedAfter(1.5 * MIB);
    await visit.choose(file);
    await blocked;
    const [id] = await visit.remembered();
    await visit.page.goto("about:blank");
    assert.equal((await fetch(server.statusUrl(id), { method: "DELETE" })).status, 204);
    visit.chunks.length = 0;
    await visit.go({ maxChunkSize: MIB });
    await visit.saves(file);
    assert.deepEqual(visit.starts(), [0, 1, 2]);
    await savedAre(file);
  });

  test("answers that ask for patience are obeyed", async () => {
    const troubles = [
      { status: 503, body: "later" },
      { status: 409, headers: { "Retry-After": "1" }, json: { detail: "held" } },
      { status: 408, json: { detail: "slow" } },
      { status: 400, json: { detail: "Offsets do not match", offset: 0 } },
    ];
    const names = ["one.bin", "two.bin", "three.bin", "four.bin"];
    const files = await Promise.all(names.map((name) => randomFile(folder, name, 1000)));
    await visit.go();
    await visit.page.route(`**${CHUNKS}`, (route) => {
      const trouble = troubles.shift();
      return trouble ? route.fulfill(trouble) : route.continue();
    });
    await visit.saves(...files);
    assert.equal(visit.chunks.length, 8);
    await savedAre(...files);
  });

  test("it gives up in the end, and goes on when the file is chosen again", async () => {
    const file = await randomFile(folder, "given-up.bin", 3 * MIB);
    await visit.page.clock.install();
    await visit.go({ maxChunkSize: MIB });
    const blocked = line.blockedAfter(1.5 * MIB);
    await visit.choose(file);
    await blocked;
    line.cut();
    await ends(file, SILENCE);
    line.mend();
    visit.chunks.length = 0;
    await visit.saves(file);
    assert.deepEqual(visit.starts(), [1, 2]);
    await savedAre(file);
  });

  test("a damaged upload is begun anew", async () => {
    const file = await randomFile(folder, "damaged.bin", 3 * MIB);
    await visit.page.clock.install();
    await visit.go({ maxChunkSize: MIB });
    const blocked = line.blockedAfter(1.5 * MIB);
    await visit.choose(file);
    await blocked;
    const [id] = await visit.remembered();
    const bytes = (await kept()).find((each) => each.endsWith(".part") && each.includes(id));
    await server.stop("SIGKILL");
    // A browser may send a chunk again by itself, which the server that comes back would refuse.
    await visit.says(file, `${SILENCE}. Trying again …`);
    await truncate(bytes, 1000);
    visit.chunks.length = 0;
    await server.launch();
    await ends(file, "Saved");
    assert.deepEqual(visit.starts(), [0, 1, 2]);
    await savedAre(file);
  });

  test("a completion whose answer was lost is not sent twice", async () => {
    const file = await randomFile(folder, "once.bin", MIB);
    let completions = 0;
    visit.page.on("request", (request) => request.url().endsWith(COMPLETE) && completions++);
    await visit.go();
    await answerOnce(COMPLETE, async (route) => {
      await route.fetch();
      await route.abort();
    });
    const finishing = { upload_id: "", offset: MIB, status: "finishing" };
    await answerOnce(`${CHUNKS}?*`, (route) => route.fulfill({ json: finishing }));
    await visit.saves(file);
    assert.equal(completions, 1);
    await savedAre(file);
  });

  for (const [last, words] of [
    [{ status: 200, json: { saved: "here" } }, "Saved"],
    [{ status: 410, json: { code: "answer-not-kept", detail: "It is gone" } }, "Saved"],
    [{ status: 422, json: { detail: "Not a picture" } }, "Not a picture"],
  ]) {
    test(`an application that takes long has the last word: ${last.status}, ${words}`, async () => {
      const file = await randomFile(folder, "long.bin", MIB);
      const answers = [ACCEPTED, last];
      await visit.go();
      await answerOnce(COMPLETE, (route) => route.fulfill(ACCEPTED));
      await visit.page.route("**/done/1", (route) => route.fulfill(answers.shift()));
      await visit.choose(file);
      await visit.says(file, words);
      assert.deepEqual(answers, []);
    });
  }

  test("a completion that nobody works on any more is sent again", async () => {
    const file = await randomFile(folder, "long.bin", MIB);
    await visit.go();
    await answerOnce(COMPLETE, (route) => route.fulfill(ACCEPTED));
    const json = { code: "not-completing", detail: "Nobody works on it" };
    await answerOnce("/done/1", (route) => route.fulfill({ status: 409, json }));
    await visit.saves(file);
    await savedAre(file);
  });

  test("a wrong md5 is told, and nothing is saved", async () => {
    const file = await randomFile(folder, "odd.bin", 2 * MIB);
    await visit.go({ maxChunkSize: MIB });
    await answerOnce(COMPLETE, (route) => {
      const postData = route.request().postData().replace(/md5=\w+/, `md5=${"0".repeat(32)}`);
      return route.continue({ postData });
    });
    await visit.choose(file);
    await visit.says(file, "md5 checksum does not match");
    assert.deepEqual(await server.saved(), []);
    await visit.saves(file);
    assert.deepEqual(visit.starts(), [0, 1, 0, 1]);
    await savedAre(file);
  });

  test("a file over the limit is refused in the server's words", async () => {
    await server.restart("SIGKILL", { MAX_BYTES: "1000000" });
    const large = await randomFile(folder, "large.bin", 20_000_000);
    const fits = await randomFile(folder, "fits.bin", 1_000_000);
    for (const multipart of [true, false]) {
      for (const maxChunkSize of [100_000, 20_000_000]) {
        await visit.go({ multipart, maxChunkSize });
        await visit.choose(large);
        await visit.says(large, "Size of file exceeds the limit (1000000 bytes)");
      }
    }
    assert.deepEqual(await kept(), []);
    await visit.saves(fits);
    await savedAre(fits);
  });

  test("a cancelled upload leaves nothing on the server", async () => {
    const file = await randomFile(folder, "unwanted.bin", 4 * MIB);
    await visit.go({ maxChunkSize: MIB });
    const blocked = line.blockedAfter(2.5 * MIB);
    await visit.choose(file);
    await blocked;
    const [id] = await visit.remembered();
    assert.notDeepEqual(await kept(), []);
    const aborted = visit.page.waitForEvent("requestfailed", isChunk);
    await visit.cancel(file);
    await aborted;
    await visit.row(file).waitFor({ state: "detached" });
    assert.equal((await server.status(id)).status, 404);
    assert.deepEqual(await kept(), []);
    assert.deepEqual(await visit.remembered(), []);
    assert.deepEqual(visit.starts(), [0, 1, 2]);
  });

  test("cancelled while it is asked where it stands, it sends nothing", async () => {
    const file = await randomFile(folder, "unwanted.bin", 3 * MIB);
    const other = await randomFile(folder, "other.bin", 1000);
    await visit.go({ maxChunkSize: MIB });
    const blocked = line.blockedAfter(1.5 * MIB);
    await visit.choose(file);
    await blocked;
    await visit.go({ maxChunkSize: MIB });
    visit.chunks.length = 0;
    const asked = new Promise((resolve) => answerOnce(`${CHUNKS}?*`, resolve));
    await visit.choose(file);
    const question = await asked;
    await visit.cancel(file);
    await visit.row(file).waitFor({ state: "detached" });
    await question.fulfill({ json: { offset: MIB, status: "open" } });
    await visit.saves(other);
    assert.equal(visit.chunks.length, 1);
    await savedAre(other);
  });

  test("cancelling is possible while the server is away, and told", async () => {
    const file = await randomFile(folder, "unwanted.bin", 4 * MIB);
    await visit.go({ maxChunkSize: MIB });
    const blocked = line.blockedAfter(2.5 * MIB);
    await visit.choose(file);
    await blocked;
    line.cut();
    await visit.says(file, `${SILENCE}. Trying again …`);
    await visit.cancel(file);
    await visit.says(file, SILENCE);
    line.mend();
    await visit.cancel(file);
    await visit.row(file).waitFor({ state: "detached" });
    assert.deepEqual(await kept(), []);
    assert.deepEqual(visit.starts(), [0, 1, 2]);
  });

  test("two files go at once", async () => {
    const names = ["one.bin", "two.bin"];
    const files = await Promise.all(names.map((name) => randomFile(folder, name, 4 * MIB)));
    await visit.go({ maxChunkSize: MIB });
    const blocked = line.blockedAfter(2.5 * MIB);
    await visit.choose(...files);
    await blocked;
    // One is blocked in the middle of a chunk, and the other one does not wait for it.
    const saved = visit.page.locator("#uploads").getByText("Saved", { exact: true });
    await saved.waitFor();
    assert.equal(await saved.count(), 1);
    line.unblock();
    for (const file of files) await visit.says(file, "Saved");
    await savedAre(...files);
  });

  test("an expired upload is told, and can be begun anew", async () => {
    await server.restart("SIGKILL", { EXPIRES_AFTER: "20" });
    const file = await randomFile(folder, "late.bin", 4 * MIB);
    await visit.go({ maxChunkSize: MIB });
    const blocked = line.blockedAfter(1.5 * MIB);
    await visit.choose(file);
    await blocked;
    const [id] = await visit.remembered();
    while ((await server.status(id)).status !== 410) await sleep(50);
    line.unblock();
    await visit.says(file, "Upload has expired");
    assert.deepEqual(await server.saved(), []);

    await server.restart("SIGKILL", {});
    visit.chunks.length = 0;
    await visit.saves(file);
    assert.deepEqual(visit.starts(), [0, 1, 2, 3]);
    await savedAre(file);
  });
});
