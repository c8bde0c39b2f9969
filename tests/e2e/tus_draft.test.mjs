// node --test tests/e2e/tus_draft.test.mjs
//
// tus-js-client, unmodified, with the protocol of the IETF draft, against an application that knows
// nothing of uploads. Environment:
//   WIRE_EXAMPLE  the server, default target/debug/examples/wire
//   CHROMIUM      the browser, default /usr/bin/chromium

import assert from "node:assert/strict";
import { mkdtemp, readFile, rm, stat } from "node:fs/promises";
import { tmpdir } from "node:os";
import path from "node:path";
import { after, afterEach, before, beforeEach, describe, test } from "node:test";
import { fileURLToPath } from "node:url";

import tus from "tus-js-client";

import { Cable } from "./cable.mjs";
import { MIB, ROOT, Server, digest, launchBrowser, randomFile, sameBytes, troubles, until } from "./support.mjs";
import { Wire, having } from "./wire.mjs";

const PROGRAM = path.resolve(ROOT, process.env.WIRE_EXAMPLE ?? "target/debug/examples/wire");
const CLIENT = fileURLToPath(new URL("node_modules/tus-js-client/dist/tus.js", import.meta.url));
const INBOX = "/inbox";
const SIZE = 6 * MIB + 7;
const TIMEOUT = { timeout: 600_000 };
/** As long as a test may take. */
const PATIENT = Array(10_000).fill(10);

let folder;
let server;
let cable;

async function serve(settings) {
  server = await Server.start(folder, settings, PROGRAM);
  cable = await Cable.to(server);
}

beforeEach(async () => {
  folder = await mkdtemp(path.join(tmpdir(), "upload-draft-"));
});

afterEach(async () => {
  await cable?.close();
  await server?.stop("SIGKILL");
  cable = server = null;
  await rm(folder, { recursive: true });
});

/** The one file that the application has is that one, and it got it once. */
async function arrived(file) {
  const saved = (await server.saved()).filter((name) => name.endsWith(".bin"));
  assert.equal(saved.length, 1, saved.join());
  await sameBytes(saved[0], file);
  assert.equal((await stat(saved[0].replace(/bin$/, "deliveries"))).size, 1);
}

async function nothingArrived() {
  assert.deepEqual(await server.saved(), []);
}

/** Where the server has an upload, which it tells on a way of its own. */
async function offset(at) {
  const answer = await fetch(server.url + at, { method: "HEAD" });
  return Number(answer.headers.get("Upload-Offset"));
}

/** Waits until the server has kept what went on to it, whose connection has ended. */
async function keptWhatCame() {
  const { path, offset: at, bytes } = cable.requests.at(-1);
  assert.ok(bytes > 0);
  await until(async () => (await offset(path)) === at + bytes);
  return at + bytes;
}

function bytesSent() {
  const sent = cable.requests.map(({ bytes }) => bytes);
  return sent.reduce((sum, bytes) => sum + bytes, 0);
}

for (const [name, protocol] of Object.entries({
  "version 6": "ietf-draft-05",
  "version 5": "ietf-draft-03",
})) {
  describe(`tus-js-client with ${name}`, TIMEOUT, () => {
    /** From a stream of a file, it never sends the word that these bytes are the last ones. */
    function prepare(input, options) {
      const upload = new tus.Upload(input, {
        endpoint: cable.url + INBOX,
        protocol,
        retryDelays: PATIENT,
        onError: (error) => upload.failed(error),
        onSuccess: ({ lastResponse }) => upload.succeeded(lastResponse),
        ...options,
      });
      upload.done = new Promise((resolve, reject) => {
        upload.succeeded = resolve;
        upload.failed = reject;
      });
      upload.done.catch(() => {});
      return upload;
    }

    function begin(input, options) {
      const upload = prepare(input, options);
      upload.start();
      return upload;
    }

    async function failure(upload) {
      const error = await upload.done.then(() => null, (error) => error);
      assert.ok(error, "it has not failed");
      return error;
    }

    /** Waits until the server has acknowledged so much, and stops there. */
    async function pausedAfter(bytes, file, options) {
      const content = await readFile(file);
      let upload;
      await new Promise((resolve, reject) => {
        upload = begin(content, {
          chunkSize: MIB,
          onError: reject,
          onChunkComplete: (_, accepted) => {
            if (accepted !== bytes) return;
            upload.abort();
            resolve();
          },
          ...options,
        });
      });
      return upload;
    }

    const ways = {
      "in one request": {},
      "in chunks": { chunkSize: MIB },
      "in chunks, the first with the request that begins": {
        chunkSize: MIB,
        uploadDataDuringCreation: true,
      },
    };
    for (const [way, options] of Object.entries(ways)) {
      for (const size of options.uploadDataDuringCreation ? [SIZE, 4 * MIB] : [1, SIZE, 4 * MIB]) {
        test(`sends ${size} bytes ${way}, and gets the application's answer`, async () => {
          await serve();
          const file = await randomFile(folder, "file.bin", size);
          const answer = await begin(await readFile(file), options).done;
          assert.equal(answer.getStatus(), 200);
          assert.equal(answer.getHeader("Upload-Complete"), "?1");
          const { method, size: got, sha256 } = JSON.parse(answer.getBody());
          assert.deepEqual([method, got, sha256], ["POST", size, await digest("sha256", file)]);
          assert.equal(bytesSent(), size);
          await arrived(file);
        });
      }
    }

    test("pauses and resumes between two chunks", async () => {
      await serve();
      const file = await randomFile(folder, "paused.bin", SIZE);
      const upload = await pausedAfter(2 * MIB, file);
      upload.start();
      await upload.done;
      const patches = [0, 1, 2, 3, 4, 5].map((n) => `PATCH ${n * MIB} 204`);
      patches.splice(2, 0, "HEAD 204");
      assert.deepEqual(cable.log, ["POST 201", ...patches, `PATCH ${6 * MIB} 200`]);
      await arrived(file);
    });

    test("goes on at the byte at which it was cut off", async () => {
      await serve();
      const file = await randomFile(folder, "cut.bin", SIZE);
      const held = cable.heldAfter(4 * MIB);
      const upload = begin(await readFile(file));
      await held;
      await cable.cut();
      const kept = await keptWhatCame();
      assert.ok(kept > 3 * MIB, `${kept} bytes were kept`);
      cable.mend();
      await upload.done;
      assert.deepEqual(cable.log, ["POST 201", "PATCH 0", "HEAD 204", `PATCH ${kept} 200`]);
      assert.equal(bytesSent(), SIZE);
      await arrived(file);
    });

    test("goes on when it is cut off again and again", async () => {
      await serve();
      const file = await randomFile(folder, "cut.bin", SIZE);
      const upload = prepare(await readFile(file));
      let held = cable.heldAfter(MIB);
      upload.start();
      for (let n = 0; n < 5; n++) {
        await held;
        await cable.cut();
        await keptWhatCame();
        held = cable.heldAfter(n < 4 ? MIB : Infinity);
        cable.mend();
      }
      await upload.done;
      assert.equal(bytesSent(), SIZE);
      await arrived(file);
    });

    test("goes on at once when the server waits for more of a request that is dead", async () => {
      await serve();
      const file = await randomFile(folder, "dead.bin", SIZE);
      const held = cable.heldAfter(3 * MIB);
      const upload = begin(await readFile(file));
      await held;
      cable.lose();
      await upload.done;
      assert.deepEqual(cable.log.slice(0, 3), ["POST 201", "PATCH 0", "HEAD 204"]);
      await arrived(file);
    });

    test("goes on when the server was killed", async () => {
      await serve();
      const file = await randomFile(folder, "survivor.bin", SIZE);
      const held = cable.heldAfter(3.5 * MIB);
      const upload = begin(await readFile(file), { chunkSize: MIB });
      await held;
      await server.restart("SIGKILL");
      await upload.done;
      // What was acknowledged is not sent again, and not lost.
      const patches = cable.requests.filter(({ method }) => method === "PATCH");
      const offsets = patches.map(({ offset }) => offset);
      assert.deepEqual(offsets.slice(0, 4), [0, MIB, 2 * MIB, 3 * MIB]);
      assert.ok(offsets[4] >= 3 * MIB, cable.log.join());
      assert.equal(cable.requests.filter(({ method }) => method === "POST").length, 1);
      await arrived(file);
    });

    for (const end of ["SIGTERM", "SIGKILL"]) {
      test(`another run goes on with a stored URL after ${end}`, async () => {
        await serve();
        const file = await randomFile(folder, "resumed.bin", SIZE);
        const urlStorage = new tus.FileUrlStorage(path.join(folder, "urls.json"));
        const first = await pausedAfter(3 * MIB, file, { urlStorage });
        await server.restart(end);

        cable.requests.length = 0;
        const second = prepare(await readFile(file), { urlStorage });
        const [previous, ...others] = await second.findPreviousUploads();
        assert.deepEqual(others, []);
        assert.equal(previous.uploadUrl, first.url);
        second.resumeFromPreviousUpload(previous);
        second.start();
        await second.done;
        assert.deepEqual(cable.log, ["HEAD 204", `PATCH ${3 * MIB} 200`]);
        assert.equal(bytesSent(), SIZE - 3 * MIB);
        await arrived(file);
      });
    }

    test("goes on when the application fails once", async () => {
      await serve();
      const file = await randomFile(folder, "retried.bin", SIZE);
      cable.addOnce("PATCH", "X-Hook-Status: 500");
      await begin(await readFile(file)).done;
      const again = `PATCH ${SIZE - 1} 200`;
      assert.deepEqual(cable.log, ["POST 201", "PATCH 0 500", "HEAD 204", again]);
      await arrived(file);
    });

    test("is content when only the application's answer is lost", async () => {
      await serve();
      const file = await randomFile(folder, "lost.bin", SIZE);
      const wire = await Wire.to(cable);
      try {
        wire.breakOnce("back", having("HTTP/1.1 200"));
        await begin(await readFile(file), { endpoint: wire.url + INBOX }).done;
      } finally {
        await wire.close();
      }
      assert.equal(wire.broken, 1);
      assert.deepEqual(cable.log, ["POST 201", "PATCH 0 200", "HEAD 204"]);
      await arrived(file);
    });

    test("stops when the application refuses the file, and has its answer", async () => {
      await serve();
      const file = await randomFile(folder, "refused.bin", SIZE);
      const headers = { "X-Hook-Status": "422" };
      const error = await failure(begin(await readFile(file), { headers }));
      assert.equal(error.originalResponse.getStatus(), 422);
      assert.equal(error.originalResponse.getBody(), "{}");
      assert.deepEqual(cable.log, ["POST 201", "PATCH 0 422"]);
      await nothingArrived();
    });

    test("shows the message if the file is over the limit", async () => {
      await serve({ WIRE_MAX_BYTES: "1000" });
      const { originalResponse: answer } = await failure(begin(Buffer.alloc(1001)));
      assert.equal(answer.getStatus(), 413);
      assert.match(JSON.parse(answer.getBody()).title, /limit \(1000 bytes\)/);
      await begin(Buffer.alloc(1000)).done;
      assert.equal(bytesSent(), 1000);
    });

    test("cancels", async () => {
      await serve();
      const file = await randomFile(folder, "unwanted.bin", SIZE);
      const upload = await pausedAfter(2 * MIB, file);
      await upload.abort(true);
      assert.equal(cable.log.at(-1), "DELETE 204");
      assert.equal((await fetch(upload.url, { method: "HEAD" })).status, 404);
      await nothingArrived();
    });
  });
}

describe("tus-js-client in a browser", TIMEOUT, () => {
  let browser;
  let context;
  let page;
  let found;

  before(async () => {
    browser = await launchBrowser();
  });

  after(() => browser?.close());

  async function visit() {
    page = await context.newPage();
    page.setDefaultTimeout(60_000);
    found = await troubles(page);
    const client = await readFile(CLIENT);
    // A browser asks for the icon of a page that names none, whenever it likes.
    const icon = "<link rel=icon href=data:,>";
    const html = `<!doctype html>${icon}<script src=tus.js></script><input type=file>`;
    const files = {
      "test.html": ["text/html", html],
      "tus.js": ["text/javascript", client],
    };
    const routes = Object.entries(files).map(([name, [contentType, body]]) => {
      return [`**/page/${name}`, (route) => route.fulfill({ contentType, body })];
    });
    for (const [url, serve] of routes) await page.route(url, serve);
    await page.goto(`${cable.url}/page/test.html`);
    // A route takes uploads on a detour, wherever it leads.
    for (const [url, serve] of routes) await page.unroute(url, serve);
  }

  beforeEach(async () => {
    await serve();
    context = await browser.newContext();
    await visit();
  });

  afterEach(async () => {
    await context?.close();
    context = null;
    assert.deepEqual(found.errors, []);
  });

  /** Sends a file, or what is missing of it; gives the application's answer. */
  async function send(file) {
    await page.setInputFiles("input", file);
    return page.evaluate(
      async ([endpoint, retryDelays]) => {
        const [file] = document.querySelector("input").files;
        return new Promise((resolve, reject) => {
          const upload = new tus.Upload(file, {
            endpoint,
            protocol: "ietf-draft-05",
            retryDelays,
            onError: reject,
            onSuccess: ({ lastResponse }) => resolve(lastResponse.getBody()),
          });
          upload.findPreviousUploads().then(([previous]) => {
            if (previous) upload.resumeFromPreviousUpload(previous);
            upload.start();
          });
        });
      },
      [INBOX, PATIENT],
    );
  }

  test("sends a file", async () => {
    const file = await randomFile(folder, "file.bin", SIZE);
    assert.equal(JSON.parse(await send(file)).sha256, await digest("sha256", file));
    assert.deepEqual(cable.log, ["POST 201", "PATCH 0 200"]);
    await arrived(file);
  });

  test("goes on at the byte at which it was cut off", async () => {
    const file = await randomFile(folder, "cut.bin", SIZE);
    const held = cable.heldAfter(3 * MIB);
    const noticed = page.waitForEvent("requestfailed", (request) => request.method() === "PATCH");
    const sent = send(file);
    await held;
    await cable.cut();
    await noticed;
    const kept = await keptWhatCame();
    cable.mend();
    assert.equal(JSON.parse(await sent).size, SIZE);
    assert.deepEqual(cable.log, ["POST 201", "PATCH 0", "HEAD 204", `PATCH ${kept} 200`]);
    assert.equal(bytesSent(), SIZE);
    await arrived(file);
  });

  // Chromium itself repeats a request that dies on a connection which it has used before.
  test("goes on when the server waits for more of a request that is dead", async () => {
    const file = await randomFile(folder, "dead.bin", SIZE);
    const held = cable.heldAfter(3 * MIB);
    const sent = send(file);
    await held;
    cable.lose();
    assert.equal(JSON.parse(await sent).size, SIZE);
    await arrived(file);
  });

  test("goes on when the server was killed", async () => {
    const file = await randomFile(folder, "survivor.bin", SIZE);
    const held = cable.heldAfter(3 * MIB);
    const sent = send(file);
    await held;
    await server.restart("SIGKILL");
    assert.equal(JSON.parse(await sent).size, SIZE);
    assert.equal(cable.requests.filter(({ method }) => method === "POST").length, 1);
    await arrived(file);
  });

  test("goes on in another tab after the first was closed and the server was killed", async () => {
    const file = await randomFile(folder, "later.bin", SIZE);
    const held = cable.heldAfter(3 * MIB);
    send(file).catch(() => {});
    await held;
    await page.close();
    await cable.cut();
    const kept = await keptWhatCame();
    cable.mend();
    await server.restart("SIGKILL");

    await visit();
    cable.requests.length = 0;
    assert.equal(JSON.parse(await send(file)).size, SIZE);
    const [head, patch] = cable.log;
    assert.deepEqual([head, patch], ["HEAD 204", `PATCH ${kept} 200`]);
    await arrived(file);
  });
});
