// node --test tests/e2e/resumable.test.mjs
//
// The client examples/clients/resumable.js against an application that knows nothing of uploads.
// Environment:
//   WIRE_EXAMPLE  the server, default target/debug/examples/wire
//   CHROMIUM      the browser, default /usr/bin/chromium

import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { once } from "node:events";
import { mkdtemp, readFile, rm } from "node:fs/promises";
import { createServer } from "node:http";
import { tmpdir } from "node:os";
import path from "node:path";
import { afterEach, beforeEach, describe, test } from "node:test";

import { upload } from "../../examples/clients/resumable.js";
import { MIB, ROOT, Server, launchBrowser, randomFile, sameBytes } from "./support.mjs";
import { Wire, after, having } from "./wire.mjs";

const PROGRAM = path.resolve(ROOT, process.env.WIRE_EXAMPLE ?? "target/debug/examples/wire");
const RECIPE = path.join(ROOT, "examples/clients/resumable.js");
const ODD_NAME = `Größe "zwei" 'drei'; 100%, 📦.bin`;
const TIMEOUT = { timeout: 600_000 };

let folder;
let server;
let wire;

async function serve(settings) {
  server = await Server.start(folder, settings, PROGRAM);
  wire = await Wire.to(server);
}

beforeEach(async () => {
  folder = await mkdtemp(path.join(tmpdir(), "upload-resumable-"));
});

afterEach(async () => {
  await wire?.close();
  await server?.stop("SIGKILL");
  wire = server = null;
  await rm(folder, { recursive: true });
});

/** A file on the disk, and the same one for the client. */
async function pick(name, bytes) {
  const there = await randomFile(folder, name, bytes);
  const content = await readFile(there);
  const file = new File([content], name, { type: "text/x-odd" });
  return { there, file, sha256: createHash("sha256").update(content).digest("hex") };
}

/** The application has got that one file, and so often. */
async function arrived({ there, file, sha256 }, answer, method = "POST", runs = 1) {
  assert.deepEqual(answer, { method, size: file.size, sha256, content_type: "text/x-odd" });
  await sameBytes(path.join(server.media, `${sha256}.bin`), there);
  const counter = await readFile(path.join(server.media, `${sha256}.deliveries`));
  assert.equal(counter.length, runs);
}

describe("resumable.js", TIMEOUT, () => {
  async function send(url, { file }, options = {}) {
    const steps = [];
    const onprogress = (sent, total) => {
      assert.equal(total, file.size);
      steps.push(sent);
    };
    const response = await upload(url, file, { chunkBytes: MIB, onprogress, ...options });
    return { response, steps };
  }

  /** It has resumed, and nothing was lost that had arrived. */
  function grows(steps, size) {
    assert.ok(steps.length > 2, `${steps}`);
    assert.deepEqual(steps, steps.toSorted((one, other) => one - other));
    assert.equal(steps.at(-1), size);
  }

  for (const method of ["POST", "PUT"]) {
    test(`sends a file in pieces as one ${method}`, async () => {
      await serve();
      const picked = await pick(ODD_NAME, 2 * MIB + 7);
      const { response, steps } = await send(`${server.url}/inbox`, picked, { method });
      assert.equal(response.status, 200);
      assert.deepEqual(steps, [0, MIB, 2 * MIB, 2 * MIB + 7]);
      await arrived(picked, await response.json(), method);
    });
  }

  test("sends an empty file", async () => {
    await serve();
    const picked = await pick("empty.bin", 0);
    const { response, steps } = await send(`${server.url}/inbox`, picked);
    assert.deepEqual(steps, [0, 0]);
    await arrived(picked, await response.json());
  });

  describe("if the application takes long", () => {
    const CREATED = [201, { "Upload-Complete": "?0", Location: "/uploads/1" }];
    const later = (address) => {
      const headers = { "Content-Location": address, "Upload-Complete": "?0", "Retry-After": "0" };
      return [202, headers, JSON.stringify({ status: "finishing" })];
    };

    /** What a server is asked that gives these answers, and what comes of it. */
    async function answered(...planned) {
      const asked = [];
      const site = createServer((request, response) => {
        request.resume().on("end", () => {
          asked.push(`${request.method} ${request.url}`);
          const [status, headers, body] = planned.shift();
          response.writeHead(status, headers).end(body);
        });
      }).listen(0, "127.0.0.1");
      await once(site, "listening");
      try {
        const picked = await pick("long.bin", 10);
        const sent = send(`http://127.0.0.1:${site.address().port}/inbox`, picked);
        return { asked, last: await sent.then(({ response }) => response.text(), String) };
      } finally {
        site.close();
      }
    }

    test("follows it to its answer", async () => {
      const kept = [200, {}, "kept"];
      const { asked, last } = await answered(CREATED, later("/done/1"), later("/done/1"), kept);
      assert.equal(last, "kept");
      assert.deepEqual(asked, ["POST /inbox", "PATCH /uploads/1", "GET /done/1", "GET /done/1"]);
    });

    test("sends the last byte again if nobody works on it any more", async () => {
      const stands = [204, { "Upload-Offset": "9" }];
      const planned = [CREATED, later("/done/1"), [409, {}], stands, [200, {}, "kept"]];
      const { asked, last } = await answered(...planned);
      assert.equal(last, "kept");
      const [patch, head] = ["PATCH /uploads/1", "HEAD /uploads/1"];
      assert.deepEqual(asked, ["POST /inbox", patch, "GET /done/1", head, patch]);
    });

    test("does not go to another server", async () => {
      const { asked, last } = await answered(CREATED, later("http://elsewhere.test/done/1"));
      assert.equal(last, "Error: The answer is elsewhere");
      assert.deepEqual(asked, ["POST /inbox", "PATCH /uploads/1"]);
    });
  });

  test("goes on when a request is cut off, and when answers are lost", async () => {
    await serve();
    const picked = await pick(ODD_NAME, 4 * MIB);
    wire.breakOnce("back", having("201 Created"));
    wire.breakOnce("there", after(1.5 * MIB));
    wire.breakOnce("back", having("204 No Content"));
    const { response, steps } = await send(`${wire.url}/inbox`, picked);
    assert.equal(wire.broken, 3);
    assert.equal(response.status, 200);
    grows(steps, 4 * MIB);
    await arrived(picked, await response.json());
  });

  test("sends the whole file in one request, which is cut off", async () => {
    await serve();
    const picked = await pick(ODD_NAME, 4 * MIB);
    wire.breakOnce("there", after(2.5 * MIB));
    const options = { chunkBytes: Infinity };
    const { response, steps } = await send(`${wire.url}/inbox`, picked, options);
    assert.equal(wire.broken, 1);
    grows(steps, 4 * MIB);
    await arrived(picked, await response.json());
  });

  test("goes on when the server was killed", async () => {
    await serve();
    const picked = await pick("survivor.bin", 4 * MIB);
    wire.breakOnce("there", after(2.5 * MIB), () => server.restart("SIGKILL"));
    const { response } = await send(`${wire.url}/inbox`, picked);
    assert.equal(wire.broken, 1);
    await arrived(picked, await response.json());
  });

  test("is content if only the application's answer is lost", async () => {
    await serve();
    const picked = await pick("answered.bin", 2 * MIB);
    wire.breakOnce("back", having("upload-complete: ?1"));
    const { response } = await send(`${wire.url}/inbox`, picked);
    assert.equal(wire.broken, 1);
    assert.equal(response.status, 200);
    const answer = { method: "POST", size: 2 * MIB, sha256: picked.sha256 };
    await arrived(picked, { ...answer, content_type: "text/x-odd" });
  });

  test("sends its headers each time, and returns a refusal", async () => {
    await serve({ WIRE_AUTH: "1", WIRE_MAX_BYTES: `${2 * MIB}` });
    const picked = await pick("right.bin", 2 * MIB);
    const anonymous = await send(`${server.url}/inbox`, picked);
    assert.ok([401, 403].includes(anonymous.response.status), anonymous.response.status);
    const headers = { "X-User": "alice" };
    const large = await send(`${server.url}/inbox`, await pick("large.bin", 3 * MIB), { headers });
    assert.equal(large.response.status, 413);
    const { response } = await send(`${server.url}/inbox`, picked, { headers });
    await arrived(picked, await response.json());
    const teapot = { ...headers, "X-Hook-Status": "418" };
    const refused = await send(`${server.url}/inbox`, picked, { headers: teapot });
    assert.equal(refused.response.status, 418);
  });

  test("does not take an ordinary answer for one of the protocol", async () => {
    const ordinary = createServer((_, response) => response.end("ok")).listen(0, "127.0.0.1");
    await once(ordinary, "listening");
    try {
      const url = `http://127.0.0.1:${ordinary.address().port}/`;
      await assert.rejects(send(url, await pick("a.bin", 7)), /is not resumable/);
    } finally {
      ordinary.closeAllConnections();
      ordinary.close();
    }
  });

  const breaks = {
    "when a request is cut off": undefined,
    "when the server was killed": () => server.restart("SIGKILL"),
  };
  for (const [when, act] of Object.entries(breaks)) {
    test(`goes on in a browser ${when}`, async () => {
      await serve();
      const browser = await launchBrowser();
      try {
        const page = await browser.newPage();
        const files = {
          "test.html": ["text/html", "<!doctype html><input type=file>"],
          "resumable.js": ["text/javascript", await readFile(RECIPE)],
        };
        for (const [name, [contentType, body]] of Object.entries(files)) {
          await page.route(`**/${name}`, (route) => route.fulfill({ contentType, body }));
        }
        await page.goto(`${wire.url}/test.html`);
        const there = await randomFile(folder, ODD_NAME, 2 * MIB + 7);
        await page.setInputFiles("input", there);
        wire.breakOnce("there", after(1.5 * MIB), act);
        const answer = await page.evaluate(async (chunkBytes) => {
          const { upload } = await import("/resumable.js");
          const [file] = document.querySelector("input").files;
          return (await upload("/inbox", file, { chunkBytes })).json();
        }, MIB);
        assert.equal(wire.broken, 1);
        assert.equal(answer.size, 2 * MIB + 7);
        await sameBytes(path.join(server.media, `${answer.sha256}.bin`), there);
      } finally {
        await browser.close();
      }
    });
  }
});
