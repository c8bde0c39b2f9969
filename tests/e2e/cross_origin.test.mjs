// node --test tests/e2e/cross_origin.test.mjs
//
// Pages of other origins in a real browser, against servers/examples/cross_origin.rs. Environment:
//   CROSS_ORIGIN_EXAMPLE  the server, default target/debug/examples/cross_origin
//   CHROMIUM              the browser, default /usr/bin/chromium

import assert from "node:assert/strict";
import { once } from "node:events";
import { mkdir, mkdtemp, readdir, rm } from "node:fs/promises";
import { createServer } from "node:http";
import { tmpdir } from "node:os";
import path from "node:path";
import { after, afterEach, before, beforeEach, describe, test } from "node:test";

import {
  CHUNKS,
  MIB,
  ROOT,
  Server,
  digest,
  launchBrowser,
  randomFile,
  sameBytes,
  troubles,
} from "./support.mjs";

const PROGRAM = path.resolve(
  ROOT,
  process.env.CROSS_ORIGIN_EXAMPLE ?? "target/debug/examples/cross_origin",
);
const TUS = path.resolve(ROOT, "tests/e2e/node_modules/tus-js-client/dist/tus.min.js");
const COMPLETE = "/api/chunked_upload_complete";
const ODD_NAME = `Größe "zwei" 'drei'; 100%, 📦.bin`;
const SIZE = 2 * MIB + 7;
const PAGE = `<!doctype html><meta charset=utf-8><link rel=icon href=data:,>
<form method=post enctype=multipart/form-data><input type=file name=file></form>`;

/** Another origin than the server's: it has one page, and nothing to do with uploads. */
class Site {
  static async start() {
    const site = new Site();
    site.http = createServer((request, response) => {
      response.writeHead(200, { "Content-Type": "text/html" }).end(PAGE);
    });
    site.http.listen(0, "127.0.0.1");
    await once(site.http, "listening");
    site.origin = `http://127.0.0.1:${site.http.address().port}`;
    return site;
  }

  async stop() {
    this.http.closeAllConnections();
    this.http.close();
    await once(this.http, "close");
  }
}

/** A page with its file, and the requests that its script can send. */
class Visitor {
  static async at(site, context, server) {
    const visitor = new Visitor();
    visitor.server = server;
    visitor.page = await context.newPage();
    visitor.found = await troubles(visitor.page);
    visitor.preflights = [];
    const devtools = await context.newCDPSession(visitor.page);
    devtools.on("Network.requestWillBeSent", ({ request }) => {
      if (request.method === "OPTIONS") visitor.preflights.push(request.headers);
    });
    await devtools.send("Network.enable");
    await visitor.page.goto(site.origin);
    return visitor;
  }

  async choose(file) {
    this.file = file;
    await this.page.setInputFiles("input", file);
  }

  /** Sends a request with the session's cookie; tells what the script can read of the answer. */
  fetch(target, { body, ...options } = {}) {
    return this.page.evaluate(
      async ([url, options, body]) => {
        const [file] = document.querySelector("input").files;
        const piece = body?.range && file.slice(...body.range);
        if (body?.fields) {
          options.body = new FormData();
          for (const field of Object.entries(body.fields)) options.body.append(...field);
          options.body.append("file", piece, file.name);
        } else {
          options.body = piece ?? (body && new URLSearchParams(body));
        }
        const answer = await fetch(url, { credentials: "include", ...options });
        const text = await answer.text();
        return {
          status: answer.status,
          range: answer.headers.get("Range"),
          json: text && JSON.parse(text),
        };
      },
      [this.server.url + target, options, body],
    );
  }

  async begin() {
    const answer = await this.fetch("/session");
    assert.equal(answer.status, 200);
    return answer.json.csrf_token;
  }

  form(range, { id, token } = {}) {
    const fields = { ...(token && { csrf_token: token }), ...(id && { upload_id: id }) };
    const headers = contentRange(range);
    return this.fetch(CHUNKS, { method: "POST", headers, body: { fields, range } });
  }

  raw(range, { id, token } = {}) {
    const name = encodeURIComponent(path.basename(this.file));
    const disposition = { "Content-Disposition": `attachment; filename="${name}"` };
    const headers = { ...contentRange(range), ...disposition, ...csrf(token) };
    const target = id ? `${CHUNKS}?upload_id=${id}` : CHUNKS;
    return this.fetch(target, { method: "POST", headers, body: { range } });
  }

  /** Sends the file with tus-js-client. */
  async tus(options) {
    await this.page.addScriptTag({ path: TUS });
    await this.page.evaluate(
      ([endpoint, options]) =>
        new Promise((onSuccess, onError) => {
          const [file] = document.querySelector("input").files;
          const onBeforeRequest = (request) => {
            request.getUnderlyingObject().withCredentials = true;
          };
          const metadata = { filename: file.name };
          const all = { endpoint, metadata, onBeforeRequest, onSuccess, onError, ...options };
          new tus.Upload(file, all).start();
        }),
      [`${this.server.url}/files`, options],
    );
  }

  status(id) {
    return this.fetch(`${CHUNKS}?upload_id=${id}`);
  }

  cancel(id, { token } = {}) {
    return this.fetch(`${CHUNKS}?upload_id=${id}`, { method: "DELETE", headers: csrf(token) });
  }

  async complete(id, { token } = {}) {
    const body = { upload_id: id, md5: await digest("md5", this.file) };
    return this.fetch(COMPLETE, { method: "POST", headers: csrf(token), body });
  }
}

function contentRange([start, end]) {
  return { "Content-Range": `bytes ${start}-${end - 1}/${SIZE}` };
}

function csrf(token) {
  return token ? { "X-CSRF-Token": token } : {};
}

describe("a page of another origin", { timeout: 300_000 }, () => {
  let browser;
  let contexts;
  let file;
  let folder;
  let foreign;
  let home;
  let server;

  before(async () => {
    browser = await launchBrowser();
    home = await Site.start();
    foreign = await Site.start();
  });

  after(async () => {
    await browser?.close();
    await home?.stop();
    await foreign?.stop();
  });

  beforeEach(async () => {
    folder = await mkdtemp(path.join(tmpdir(), "upload-cross-origin-"));
    await mkdir(path.join(folder, "chunked_uploads"));
    file = await randomFile(folder, ODD_NAME, SIZE);
    server = await Server.start(folder, { ORIGIN: home.origin }, PROGRAM);
    contexts = [];
  });

  afterEach(async () => {
    await Promise.all(contexts.map((context) => context.close()));
    await server?.stop("SIGKILL");
    await rm(folder, { recursive: true });
  });

  async function newSession() {
    contexts.push(await browser.newContext());
    return contexts.at(-1);
  }

  async function visit(site, context) {
    const visitor = await Visitor.at(site, context ?? (await newSession()), server);
    await visitor.choose(file);
    return visitor;
  }

  /** The files of uploads, finished or not. */
  async function stored() {
    const below = async (name) => {
      const options = { recursive: true, withFileTypes: true };
      const entries = await readdir(path.join(folder, name), options);
      return entries.filter((entry) => entry.isFile()).map((entry) => entry.name);
    };
    return [...(await below("chunked_uploads")), ...(await below("media"))];
  }

  // One for each URL, however many chunks.
  const raw = "content-disposition,content-range,x-csrf-token";
  const ways = {
    form: ["content-range", "x-csrf-token"],
    raw: [raw, raw, "x-csrf-token"],
  };
  for (const [way, preflights] of Object.entries(ways)) {
    test(`sends a file in chunks (${way}), asks for the status, completes`, async () => {
      const visitor = await visit(home);
      const token = await visitor.begin();
      const first = await visitor[way]([0, MIB], { token });
      assert.equal(first.status, 200, JSON.stringify(first));
      assert.equal(first.range, `0-${MIB - 1}`);
      const id = first.json.upload_id;
      const second = await visitor[way]([MIB, 2 * MIB], { id, token });
      assert.equal(second.range, `0-${2 * MIB - 1}`);

      const status = await visitor.status(id);
      assert.deepEqual([status.status, status.json.offset], [200, 2 * MIB]);
      assert.equal(status.json.total, SIZE);
      assert.equal(status.range, second.range);

      const last = await visitor[way]([2 * MIB, SIZE], { id, token });
      assert.equal(last.range, `0-${SIZE - 1}`);
      const completed = await visitor.complete(id, { token });
      assert.equal(completed.status, 200, JSON.stringify(completed));
      assert.equal(completed.json.size, SIZE);
      const saved = await server.saved();
      assert.equal(saved.length, 1, saved.join());
      await sameBytes(saved[0], file);

      // The browser has asked before, in the name of that origin and for these headers.
      const asked = visitor.preflights.map((headers) => headers["Access-Control-Request-Headers"]);
      assert.deepEqual(asked, preflights);
      assert.deepEqual(visitor.found.errors, []);
    });
  }

  for (const parallelUploads of [1, 3]) {
    test(`sends a file by tus in parts: ${parallelUploads}`, async () => {
      const visitor = await visit(home);
      const token = await visitor.begin();
      await visitor.tus({ parallelUploads, headers: csrf(token) });
      const saved = await server.saved();
      assert.equal(saved.length, 1, saved.join());
      await sameBytes(saved[0], file);
      assert.deepEqual(visitor.found.errors, []);
    });
  }

  for (const parallelUploads of [1, 3]) {
    test(`sends nothing by tus without its token, in parts: ${parallelUploads}`, async () => {
      const visitor = await visit(home);
      await visitor.begin();
      const sent = visitor.tus({ parallelUploads, retryDelays: [] });
      const failed = await sent.then(() => null, (error) => error.message);
      assert.match(failed, /response code: 403.*The CSRF token is missing or wrong/s);
      assert.deepEqual(await stored(), []);
    });
  }

  test("cancels", async () => {
    const visitor = await visit(home);
    const token = await visitor.begin();
    const { json: { upload_id: id } } = await visitor.form([0, MIB], { token });
    assert.notDeepEqual(await stored(), []);
    assert.equal((await visitor.cancel(id, { token })).status, 204);
    const gone = await visitor.status(id);
    assert.deepEqual([gone.status, gone.json.code], [404, "not-found"]);
    assert.deepEqual(await stored(), []);
    assert.deepEqual(visitor.found.errors, []);
  });

  describe("with its session but", () => {
    const wrongTokens = {
      "no token": () => undefined,
      "the token of another session": async () => (await visit(home)).begin(),
    };

    for (const [name, wrong] of Object.entries(wrongTokens)) {
      test(`${name}, sends, completes and cancels nothing`, async () => {
        const visitor = await visit(home);
        const right = await visitor.begin();
        const token = await wrong();
        for (const way of ["form", "raw"]) await refused(visitor[way]([0, MIB], { token }));
        assert.deepEqual(await stored(), []);

        const { json: { upload_id: id } } = await visitor.form([0, MIB], { token: right });
        for (const way of ["form", "raw"]) {
          await refused(visitor[way]([MIB, SIZE], { id, token }));
        }
        await refused(visitor.cancel(id, { token }));
        // To look takes no token.
        assert.equal((await visitor.status(id)).json.offset, MIB);

        await visitor.form([MIB, SIZE], { id, token: right });
        await refused(visitor.complete(id, { token }));
        assert.deepEqual(await server.saved(), []);
        assert.equal((await visitor.complete(id, { token: right })).status, 200);
        await sameBytes((await server.saved())[0], file);
      });
    }

    async function refused(request) {
      const answer = await request;
      assert.deepEqual([answer.status, answer.json.code], [403, "wrong-csrf-token"]);
    }
  });

  test("without a session gets nothing, and with another one finds nothing", async () => {
    const visitor = await visit(home);
    const token = await visitor.begin();
    const { json: { upload_id: id } } = await visitor.form([0, MIB], { token });

    const other = await visit(home);
    const { status, json } = await other.status(id);
    assert.deepEqual([status, json.code], [403, "unauthenticated"]);
    assert.equal((await other.form([MIB, SIZE], { id, token })).status, 403);

    const own = { id, token: await other.begin() };
    assert.equal((await other.status(id)).status, 404);
    assert.equal((await other.form([MIB, SIZE], own)).status, 404);
    assert.equal((await other.cancel(id, own)).status, 404);
    assert.equal((await other.complete(id, own)).status, 404);
    assert.equal((await visitor.status(id)).json.offset, MIB);
  });

  test("can read why it is refused", async () => {
    const visitor = await visit(home);
    const token = await visitor.begin();
    const { json: { upload_id: id } } = await visitor.form([0, MIB], { token });
    for (const way of ["form", "raw"]) {
      const early = await visitor[way]([2 * MIB, SIZE], { id, token });
      assert.deepEqual([early.status, early.json.code], [400, "offset-mismatch"]);
      assert.equal(early.json.offset, MIB);
      const unknown = await visitor[way]([MIB, SIZE], { id: "0".repeat(32), token });
      assert.deepEqual([unknown.status, unknown.json.code], [404, "not-found"]);
    }
    const incomplete = await visitor.complete(id, { token });
    assert.deepEqual([incomplete.status, incomplete.json.offset], [400, MIB]);
    assert.equal((await visitor.status(id)).json.offset, MIB);
  });

  describe("that is not allowed", () => {
    let context;
    let stranger;
    let token;

    /** The user has a session, which the browser also sends for a stranger of the same site. */
    beforeEach(async () => {
      context = await newSession();
      token = await (await visit(home, context)).begin();
      stranger = await visit(foreign, context);
    });

    test("cannot send, ask, complete or cancel, even if it knew the token", async () => {
      const owner = await visit(home, context);
      const { json: { upload_id: id } } = await owner.form([0, MIB], { token });
      const before = await stored();
      for (const request of [
        () => stranger.fetch("/session"),
        () => stranger.form([0, MIB], { token }),
        () => stranger.raw([0, MIB], { token }),
        () => stranger.form([MIB, SIZE], { id, token }),
        () => stranger.status(id),
        () => stranger.complete(id, { token }),
        () => stranger.cancel(id, { token }),
      ]) {
        await assert.rejects(request(), /TypeError: Failed to fetch/);
      }
      assert.deepEqual(await stored(), before);
      assert.equal((await owner.status(id)).json.offset, MIB);
    });

    test("cannot send what needs no preflight", async () => {
      const body = { fields: {}, range: [0, SIZE] };
      await assert.rejects(stranger.fetch(CHUNKS, { method: "POST", body }), /Failed to fetch/);
      assert.deepEqual(stranger.preflights, []);
      assert.deepEqual(await stored(), []);
    });

    test("cannot replace the user's session by a link from another site", async () => {
      await stranger.page.goto(foreign.origin.replace("127.0.0.1", "localhost"));
      const url = `${server.url}/session`;
      const answered = stranger.page.waitForResponse(url);
      await stranger.page.evaluate((url) => { location.href = url; }, url);
      assert.equal((await answered).status(), 200);
      const owner = await visit(home, context);
      assert.equal(await owner.begin(), token);
    });

    test("cannot send a plain form in the user's name", async () => {
      const url = server.url + CHUNKS;
      const answered = stranger.page.waitForResponse(url);
      await stranger.page.evaluate((url) => {
        document.forms[0].action = url;
        document.forms[0].submit();
      }, url);
      const answer = await answered;
      assert.match((await answer.request().allHeaders()).cookie, /__Host-session=/);
      assert.equal(answer.status(), 403);
      await stranger.page.getByText("The CSRF token is missing or wrong").waitFor();
      assert.deepEqual(await stored(), []);
    });
  });
});
