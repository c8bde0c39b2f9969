// node --test tests/e2e/clients.test.mjs
//
// The clients of examples/clients and the README's curl lines, against the real server. Environment:
//   AXUM_EXAMPLE  the server, default target/debug/examples/axum
//   CHROMIUM      the browser, default /usr/bin/chromium
//   PYTHONPATH    where Python finds requests, default target/python

import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { once } from "node:events";
import { mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { createServer } from "node:http";
import { tmpdir } from "node:os";
import path from "node:path";
import { after as afterAll, afterEach, before, beforeEach, describe, test } from "node:test";
import { promisify } from "node:util";

import {
  ACCEPTED,
  CHUNKS,
  Line,
  MIB,
  ROOT,
  Server,
  firstByte,
  isChunk,
  launchBrowser,
  randomFile,
  sameBytes,
} from "./support.mjs";
import { Wire, after, having } from "./wire.mjs";

const run = promisify(execFile);
const CLIENTS = path.join(ROOT, "examples/clients");
const PROGRAMS = { "curl.sh": "sh", "upload.py": "python3" };
const ODD_NAME = `Größe "zwei" 'drei'; 100%, 📦.bin`;
const TIMEOUT = { timeout: 600_000 };

let folder;
let server;
let wire;
let line;

async function serve(settings) {
  server = await Server.start(folder, settings);
  wire = await Wire.to(server);
}

/** A plan for the wire: the server is killed, and comes back. */
function killed() {
  server.stop("SIGKILL").then(() => server.launch());
}

beforeEach(async () => {
  folder = await mkdtemp(path.join(tmpdir(), "upload-clients-"));
});

afterEach(async () => {
  await wire?.close();
  await line?.end();
  await server?.stop("SIGKILL");
  wire = line = server = null;
  await rm(folder, { recursive: true });
});

/** The one finished file is that one, under its name. */
async function arrived(file) {
  const saved = await server.saved();
  assert.equal(saved.length, 1, saved.join());
  assert.equal(path.basename(saved[0]).replace(/^\w{32}-/, ""), path.basename(file));
  await sameBytes(saved[0], file);
}

/** A server whose session ends with the first chunk, and that takes the token from then on. */
async function forgetful({ gives }) {
  const token = "A".repeat(76);
  const id = "5230ec1f59d1485d9d7974b853802e31";
  const seen = [];
  let offset = 0;
  const site = createServer(async (request, response) => {
    for await (const _ of request);
    if (request.url === "/md5.js") {
      response.writeHead(200, { "Content-Type": "text/javascript" });
      return response.end(await readFile(path.join(ROOT, "page/md5.js")));
    }
    // A browser looks for an icon.
    if (request.method !== "POST") return response.writeHead(404).end();
    const bears = request.headers["upload-token"] === token;
    const answer = (status, content, headers = {}) =>
      response.writeHead(status, headers).end(JSON.stringify(content));
    seen.push(bears ? "token" : "session");
    if (offset > 0 && !bears) return answer(403, { code: "unauthenticated", detail: "Log in" });
    if (request.url.endsWith("_complete")) return answer(200, { saved: true });
    const [, last] = request.headers["content-range"].match(/-(\d+)\//);
    offset = Number(last) + 1;
    answer(200, { upload_id: id, offset }, bears || !gives ? {} : { "Upload-Token": token });
  });
  site.listen(0, "127.0.0.1");
  await once(site, "listening");
  return { seen, url: `http://127.0.0.1:${site.address().port}`, close: () => site.close() };
}

/** An upload that somebody else has begun, and not ended. */
async function begin(file, bytes) {
  const whole = await readFile(file);
  const body = new FormData();
  body.append("file", new Blob([whole.subarray(0, bytes)]), path.basename(file));
  const headers = { "Content-Range": `bytes 0-${bytes - 1}/${whole.length}` };
  const answer = await fetch(server.url + CHUNKS, { method: "POST", headers, body });
  return (await answer.json()).upload_id;
}

for (const [name, interpreter] of Object.entries(PROGRAMS)) {
  describe(name, TIMEOUT, () => {
    const PYTHONPATH = process.env.PYTHONPATH ?? path.join(ROOT, "target/python");
    const env = { ...process.env, PYTHONPATH, CHUNK_BYTES: MIB };
    const send = (...parameters) =>
      run(interpreter, [path.join(CLIENTS, name), ...parameters], { env });
    const offsets = ({ stderr }) => [...stderr.matchAll(/^(\d+) of \d+/gm)].map((match) => +match[1]);

    async function failure(...parameters) {
      const wrong = await send(...parameters).then(() => null, (error) => error);
      assert.equal(wrong?.code > 0, true, "it has not failed");
      return wrong.stderr;
    }

    test("sends a file of an odd name in chunks", async () => {
      await serve();
      const file = await randomFile(folder, ODD_NAME, 2 * MIB + 7);
      const sent = await send(file, server.url + CHUNKS);
      assert.match(sent.stdout, /saved/);
      assert.deepEqual(offsets(sent), [MIB, 2 * MIB, 2 * MIB + 7]);
      await arrived(file);
    });

    test("sends an empty file", async () => {
      await serve();
      const file = await randomFile(folder, "empty.bin", 0);
      await send(file, server.url + CHUNKS);
      await arrived(file);
    });

    for (const end of ["/", "/?from=here", "?from=here"]) {
      test(`sends it to a URL with ${end} at its end`, async () => {
        await serve();
        const file = await randomFile(folder, "slash.bin", MIB + 7);
        const sent = await send(file, server.url + CHUNKS + end);
        assert.deepEqual(offsets(sent), [MIB, MIB + 7]);
        await arrived(file);
      });
    }

    test("goes on when a chunk is cut off, and when answers are lost", async () => {
      await serve();
      const file = await randomFile(folder, ODD_NAME, 4 * MIB);
      wire.breakOnce("there", after(1.5 * MIB));
      wire.breakOnce("back", having(`"offset":${3 * MIB}`));
      wire.breakOnce("back", having(`"saved"`));
      const sent = await send(file, wire.url + CHUNKS);
      assert.equal(wire.broken, 3);
      assert.deepEqual(offsets(sent), [MIB, 2 * MIB, 3 * MIB, 4 * MIB]);
      await arrived(file);
    });

    test("goes on when the server was killed", async () => {
      await serve();
      const file = await randomFile(folder, "survivor.bin", 4 * MIB);
      wire.breakOnce("there", after(2.5 * MIB), killed);
      const sent = await send(file, wire.url + CHUNKS);
      assert.equal(wire.broken, 1);
      assert.deepEqual(offsets(sent), [MIB, 2 * MIB, 3 * MIB, 4 * MIB]);
      await arrived(file);
    });

    test("goes on with what another run began", async () => {
      await serve();
      const file = await randomFile(folder, "resumed.bin", 3 * MIB);
      const id = await begin(file, 1.5 * MIB);
      const sent = await send(file, server.url + CHUNKS, id);
      assert.deepEqual(offsets(sent).slice(-2), [2.5 * MIB, 3 * MIB]);
      await arrived(file);
    });

    test("says in plain words what is wrong", async () => {
      await serve({ MAX_BYTES: `${2 * MIB}` });
      const url = server.url + CHUNKS;
      const large = await randomFile(folder, "large.bin", 3 * MIB);
      assert.match(await failure(large, url), /^Size of file exceeds the limit \(2097152 bytes\)/m);
      assert.match(await failure(path.join(folder, "nowhere.bin"), url), /No such file/);

      const file = await randomFile(folder, "right.bin", 2 * MIB);
      assert.match(await failure(file, url, "0".repeat(32)), /^Upload not found/m);
      const id = await begin(await randomFile(folder, "wrong.bin", 2 * MIB), MIB);
      assert.match(await failure(file, url, id), /^md5 checksum does not match/m);
      assert.deepEqual(await server.saved(), []);
    });

    test("stops when somebody else goes on with the upload", async () => {
      await serve();
      const file = await randomFile(folder, "taken.bin", 10);
      const detail = "Upload was taken over by a newer request";
      let requests = 0;
      const rival = createServer((request, response) => {
        requests += 1;
        request.resume().on("end", () => {
          response.writeHead(409, { "Content-Type": "application/json" });
          response.end(JSON.stringify({ code: "superseded", detail }));
        });
      }).listen(0, "127.0.0.1");
      await once(rival, "listening");
      try {
        const url = `http://127.0.0.1:${rival.address().port}${CHUNKS}`;
        assert.match(await failure(file, url), new RegExp(`^${detail}`, "m"));
        assert.equal(requests, 1);
      } finally {
        rival.close();
      }
    });
  });
}

describe("upload.py", TIMEOUT, () => {
  const PYTHONPATH = process.env.PYTHONPATH ?? path.join(ROOT, "target/python");
  const env = { ...process.env, PYTHONPATH };
  /** What comes of a file if what follows its chunk is answered like this, the last for ever. */
  async function complete(...answers) {
    const file = await randomFile(folder, "short.bin", 10);
    const asked = [];
    const site = createServer((request, response) => {
      request.resume().on("end", () => {
        asked.push(`${request.method} ${request.url}`);
        const next = () => (answers.length > 1 ? answers.shift() : answers[0]);
        const [status, body, headers] = asked.length > 1 ? next() : [200, { upload_id: ID, offset: 10 }];
        response.writeHead(status, headers).end(typeof body === "string" ? body : JSON.stringify(body));
      });
    }).listen(0, "127.0.0.1");
    await once(site, "listening");
    try {
      const url = `http://127.0.0.1:${site.address().port}${CHUNKS}`;
      const command = [path.join(CLIENTS, "upload.py"), file, url];
      const { code = 0, stdout, stderr } = await run("python3", command, { env }).catch((error) => error);
      return { code, stdout, last: stderr.trimEnd().split("\n").at(-1), asked: asked.slice(1) };
    } finally {
      site.close();
    }
  }

  const ID = "5230ec1f59d1485d9d7974b853802e31";
  const COMPLETION = `POST ${CHUNKS}_complete`;
  const STATUS = `GET ${CHUNKS}?upload_id=${ID}`;
  const late = (address) => [202, { status: "finishing" }, { Location: address, "Retry-After": "0" }];

  test("follows a completion that takes long to its end", async () => {
    const address = `/done/${ID}`;
    const { stdout, asked } = await complete(late(address), late(address), [200, { saved: "here" }]);
    assert.match(stdout, /'saved': 'here'/);
    assert.deepEqual(asked, [COMPLETION, `GET ${address}`, `GET ${address}`]);
  });

  test("gives up if nobody works on the file each time", async () => {
    const nobody = [409, { code: "not-completing", detail: "Nobody works on it" }];
    const { code, last, asked } = await complete(late(`/done/${ID}`), nobody);
    assert.equal(code, 1);
    assert.match(last, /^Nobody works on it/);
    assert.ok(asked.length < 10, asked.join());
  });

  for (const [name, answer] of [
    ["a completion that takes long", late],
    ["a completion", (address) => [303, "", { Location: address }]],
  ]) {
    test(`asks for the status if the answer of ${name} is at another server`, async () => {
      let visits = 0;
      const other = createServer((_, response) => {
        visits += 1;
        response.end("{}");
      }).listen(0, "127.0.0.1");
      await once(other, "listening");
      try {
        const there = answer(`http://127.0.0.1:${other.address().port}/`);
        const [busy, over] = ["finishing", "complete"].map((status) => [200, { status }]);
        const { stdout, asked } = await complete(there, busy, over);
        assert.match(stdout, /'status': 'complete'/);
        assert.deepEqual(asked, [COMPLETION, STATUS, STATUS]);
        const { code, last } = await complete(there, [200, { status: "open" }]);
        assert.equal(code, 1);
        assert.equal(last, `Status ${there[0]} (upload ${ID})`);
        assert.equal(visits, 0);
      } finally {
        other.close();
      }
    });
  }

  test("takes any answer of the application", async () => {
    const answers = [[201, ""], [202, ""], [200, "<p>Saved"], [202, ["saved"]], [200, { saved: "here" }]];
    for (const answer of answers) {
      const { code, last, asked } = await complete(answer);
      assert.deepEqual([code, last, asked], [0, "10 of 10 bytes", [COMPLETION]]);
    }
    for (const body of ["", "no", ["no"]]) {
      const { code, last } = await complete([422, body]);
      assert.deepEqual([code, last], [1, `Status 422 (upload ${ID})`]);
    }
  });

  test("sends a name that is no UTF-8 as Latin-1", async () => {
    await serve();
    // Node's own arguments are text, so Python makes the name and starts the recipe with it.
    const code = `
import os, runpy, sys
sys.argv = ["upload.py", os.fsdecode(os.fsencode(sys.argv[1]) + b"/na\\xefve.txt"), sys.argv[2]]
open(sys.argv[1], "w").write("1")
runpy.run_path("${path.join(CLIENTS, "upload.py")}", run_name="__main__")
`;
    const { stdout } = await run("python3", ["-c", code, folder, server.url + CHUNKS], { env });
    assert.match(stdout, /'saved': 'naïve.txt'/);
    assert.match(path.basename((await server.saved())[0]), /^\w{32}-naïve\.txt$/);
  });

  for (const gives of [true, false]) {
    test(`a session that ends ${gives ? "is replaced by the token" : "ends it without a token"}`, async () => {
      const site = await forgetful({ gives });
      const file = await randomFile(folder, "a.bin", 3 * MIB);
      const command = [path.join(CLIENTS, "upload.py"), file, site.url + CHUNKS];
      const ended = run("python3", command, { env: { ...env, CHUNK_BYTES: MIB } });
      const { stdout } = await ended.catch((error) => error);
      site.close();
      const rest = gives ? ["token", "token", "token"] : [];
      assert.deepEqual(site.seen, ["session", "session", ...rest]);
      assert.equal(/'saved': True/.test(stdout), gives);
    });
  }

  test("says how it is called when it is called without a file", async () => {
    const wrong = await run("python3", [path.join(CLIENTS, "upload.py")], { env }).catch((error) => error);
    assert.match(wrong.stderr, /^Sends a file in chunks/);
  });
});

describe("curl.sh", TIMEOUT, () => {
  // Its pauses end at once.
  beforeEach(() => writeFile(path.join(folder, "sleep"), "#!/bin/sh\n", { mode: 0o755 }));

  function send(url, file, chunk = MIB) {
    const env = { ...process.env, CHUNK_BYTES: chunk, PATH: `${folder}:${process.env.PATH}` };
    return run("sh", [path.join(CLIENTS, "curl.sh"), file, url], { env });
  }

  async function failure(url, file, chunk) {
    const wrong = await send(url, file, chunk).then(() => null, (error) => error);
    assert.equal(wrong?.code, 1, "it has not failed");
    return wrong.stderr.trimEnd().split("\n").at(-1);
  }

  /** A server that gives these answers, one after the other, the last one for ever. */
  async function answers(...planned) {
    const server = createServer((request, response) => {
      request.resume().on("end", () => {
        const [status, body, headers] = planned.length > 1 ? planned.shift() : planned[0];
        response.writeHead(status, headers).end(body);
      });
    }).listen(0, "127.0.0.1");
    await once(server, "listening");
    return server;
  }

  for (const [last, words] of [
    [[200, '{"saved":"finishing"}'], /^{"saved":"finishing"}\n$/],
    [[410, '{"code":"answer-not-kept"}'], /^$/],
    [[422, '{"detail":"Not a picture"}'], /^Not a picture \(completion at \S+: status 422/m],
  ]) {
    test(`waits for an application that takes long, which says ${last[0]}`, async () => {
      const file = await randomFile(folder, "small.bin", 10);
      const all = [200, '{"offset":10,"upload_id":"5230ec1f59d1485d9d7974b853802e31"}'];
      const accepted = [202, '{"status":"finishing"}', { Location: "/done/1" }];
      const server = await answers(all, accepted, accepted, last);
      const asked = [];
      server.on("request", ({ method, url }) => asked.push(`${method} ${url}`));
      const url = `http://127.0.0.1:${server.address().port}/up`;
      try {
        const { code = 0, stdout, stderr } = await send(url, file).catch((error) => error);
        assert.equal(code, last[0] === 422 ? 1 : 0);
        assert.match(code === 0 ? stdout : stderr, words);
        assert.deepEqual(asked, ["POST /up", "POST /up_complete", "GET /done/1", "GET /done/1"]);
      } finally {
        server.closeAllConnections();
        server.close();
      }
    });
  }

  test("sends the completion again if nobody works on the file, a few times", async () => {
    const file = await randomFile(folder, "small.bin", 10);
    const all = [200, '{"offset":10,"upload_id":"5230ec1f59d1485d9d7974b853802e31"}'];
    const server = await answers(all, [409, '{"code":"not-completing","detail":"Nobody works on it"}']);
    const asked = [];
    server.on("request", ({ url }) => asked.push(url));
    const url = `http://127.0.0.1:${server.address().port}/up`;
    try {
      assert.match(await failure(url, file), /^Nobody works on it \(completion at /);
      assert.deepEqual(asked, ["/up", ...Array(4).fill("/up_complete")]);
    } finally {
      server.closeAllConnections();
      server.close();
    }
  });

  test("says which call has failed, and how", async () => {
    const file = await randomFile(folder, "big.bin", MIB + 7);
    const id = "5230ec1f59d1485d9d7974b853802e31";
    const took = [200, `{"offset":${MIB},"upload_id":"${id}"}`];
    const all = [200, `{"offset":${MIB + 7},"upload_id":"${id}"}`];
    const chunk = (start, end) => `chunk ${start}-${end} to URL`;
    const cases = [
      [[[404, "<html>"]], `The server did not take the chunk (${chunk(0, MIB)}: status 404)`],
      [[[200, "<html>"]], `The server did not take the chunk (${chunk(0, MIB)}: status 200)`],
      [
        [took, [400, '{"detail":"No more of it"}']],
        `No more of it (${chunk(MIB, MIB + 7)}: status 400, upload ${id})`,
      ],
      [
        [took, [502, "<html>"]],
        `The server does not answer (${chunk(MIB, MIB + 7)}: status 502, upload ${id})`,
      ],
      [
        [took, all, [422, '{"detail":"Not a picture"}']],
        `Not a picture (completion at URL_complete: status 422, upload ${id})`,
      ],
      [
        [took, all, [404, ""]],
        `The server did not take the file (completion at URL_complete: status 404, upload ${id})`,
      ],
    ];
    for (const [planned, words] of cases) {
      const server = await answers(...planned);
      const url = `http://127.0.0.1:${server.address().port}/up`;
      try {
        assert.equal(await failure(url, file), words.replace("URL", url));
      } finally {
        server.closeAllConnections();
        server.close();
      }
      // Nobody is there any more.
      const gone = `The server does not answer (${chunk(0, MIB)}: curl ended with 7)`;
      assert.equal(await failure(url, file), gone.replace("URL", url));
    }
  });
});

describe("in a browser", TIMEOUT, () => {
  let browser;
  let page;

  before(async () => {
    browser = await launchBrowser();
  });

  afterAll(() => browser?.close());

  afterEach(async () => {
    await page?.context().close();
    page = null;
  });

  /** The demo server's origin, with a page that only has what a test wants. */
  async function visit(url, options, files) {
    const context = await browser.newContext(options);
    page = await context.newPage();
    for (const [name, [contentType, body]] of Object.entries(files)) {
      await page.route(`**/${name}`, (route) => route.fulfill({ contentType, body }));
    }
    await page.goto(`${url}/test.html`);
  }

  describe("fetch.js", () => {
    const chunks = () => sent.map(firstByte);
    let sent;

    async function open(url) {
      const script = await readFile(path.join(CLIENTS, "fetch.js"));
      await visit(url, {}, {
        "test.html": ["text/html", "<!doctype html><input type=file>"],
        "fetch.js": ["text/javascript", script],
      });
      sent = [];
      page.on("request", (request) => {
        if (isChunk(request)) sent.push(request.headers()["content-range"] ?? "bytes 0-");
      });
    }

    /** What came of it, or what is wrong, and how far it was at each step. */
    async function send(file, options = {}) {
      await page.setInputFiles("input", file);
      return page.evaluate(async ([chunkBytes, options]) => {
        const { upload } = await import("/fetch.js");
        const [file] = document.querySelector("input").files;
        const steps = [];
        const onprogress = (offset, total) => steps.push([offset, total]);
        const saved = upload(file, { chunkBytes, onprogress, ...options }).catch(({ message }) => message);
        return { saved: await saved, steps };
      }, [MIB, options]);
    }

    test("sends a file of an odd name in chunks", async () => {
      await serve();
      await open(server.url);
      const size = 2 * MIB + 7;
      const file = await randomFile(folder, ODD_NAME, size);
      const { saved, steps } = await send(file);
      assert.equal(saved.saved, ODD_NAME);
      assert.deepEqual(steps, [[MIB, size], [2 * MIB, size], [size, size]]);
      await arrived(file);
    });

    test("sends an empty file", async () => {
      await serve();
      await open(server.url);
      const file = await randomFile(folder, "empty.bin", 0);
      await send(file);
      await arrived(file);
    });

    for (const gives of [true, false]) {
      test(`a session that ends ${gives ? "is replaced by the token" : "ends it without a token"}`, async () => {
        const site = await forgetful({ gives });
        await open(site.url);
        const { saved } = await send(await randomFile(folder, "a.bin", 3 * MIB));
        site.close();
        assert.deepEqual(saved, gives ? { saved: true } : "Log in");
        const rest = gives ? ["token", "token", "token"] : [];
        assert.deepEqual(site.seen, ["session", "session", ...rest]);
      });
    }

    test("follows a completion that takes long to its end", async () => {
      await serve();
      await open(server.url);
      const asked = [];
      await page.route("**/*_complete", (route) => route.fulfill(ACCEPTED));
      await page.route("**/done/1", (route) => {
        asked.push(route.request().method());
        return route.fulfill(asked.length < 2 ? ACCEPTED : { json: { saved: "here" } });
      });
      const { saved } = await send(await randomFile(folder, "long.bin", 10));
      assert.equal(saved.saved, "here");
      assert.deepEqual(asked, ["GET", "GET"]);
    });

    test("gives up if nobody works on the file each time", async () => {
      await serve();
      await open(server.url);
      let completions = 0;
      await page.route("**/*_complete", (route) => {
        completions += 1;
        return route.fulfill(ACCEPTED);
      });
      const nobody = { code: "not-completing", detail: "Nobody works on it" };
      await page.route("**/done/1", (route) => route.fulfill({ status: 409, json: nobody }));
      const { saved } = await send(await randomFile(folder, "long.bin", 10));
      assert.equal(saved, "Nobody works on it");
      assert.equal(completions, 4);
    });

    test("asks for the status if the answer of a completion is at another server", async () => {
      await serve();
      await open(server.url);
      const asked = [];
      const headers = { Location: "http://elsewhere.test/done/1", "Access-Control-Allow-Origin": "*" };
      const answer = (json, status = 200) => (route) => {
        asked.push(route.request().method());
        return route.fulfill({ status, headers, json });
      };
      await page.route("**/*_complete", answer({ status: "finishing" }, 202));
      await page.route("http://elsewhere.test/**", answer({ saved: "there" }));
      await page.route(/chunked_upload\?/, answer({ status: "complete" }));
      const { saved } = await send(await randomFile(folder, "long.bin", 10));
      assert.deepEqual(saved, { status: "complete" });
      assert.deepEqual(asked, ["POST", "GET"]);
    });

    test("goes on when a chunk is cut off, and when answers are lost", async () => {
      await serve();
      await open(wire.url);
      const file = await randomFile(folder, ODD_NAME, 4 * MIB);
      wire.breakOnce("there", after(1.5 * MIB));
      wire.breakOnce("back", having(`"offset":${3 * MIB}`));
      wire.breakOnce("back", having(`"saved"`));
      const { saved } = await send(file);
      assert.equal(saved.status, "complete");
      assert.equal(wire.broken, 3);
      await arrived(file);
    });

    test("goes on when the server was killed", async () => {
      await serve();
      await open(wire.url);
      const file = await randomFile(folder, "survivor.bin", 4 * MIB);
      wire.breakOnce("there", after(2.5 * MIB), killed);
      await send(file);
      assert.equal(wire.broken, 1);
      assert.equal(chunks().lastIndexOf(0), 0, `began anew: ${chunks()}`);
      await arrived(file);
    });

    test("sends it to a URL with a slash at its end", async () => {
      await serve();
      await open(server.url);
      const file = await randomFile(folder, "slash.bin", MIB + 7);
      const { saved } = await send(file, { url: `${CHUNKS}/` });
      assert.equal(saved.saved, "slash.bin");
      await arrived(file);
    });

    test("goes on after a reload, and begins anew once the file is there", async () => {
      await serve();
      line = await Line.to(server);
      await open(line.url);
      const file = await randomFile(folder, "reloaded.bin", 4 * MIB);
      const blocked = line.blockedAfter(2.5 * MIB);
      const interrupted = send(file).catch(() => {});
      await blocked;
      await page.reload();
      await interrupted;
      sent.length = 0;
      await send(file);
      // The server may still be busy with the chunk that the reload cut off.
      assert.deepEqual([...new Set(chunks())], [2 * MIB, 3 * MIB]);
      await arrived(file);

      sent.length = 0;
      await send(file);
      assert.equal(chunks()[0], 0);
    });

    test("says in plain words why a file was refused", async () => {
      await serve({ MAX_BYTES: `${MIB}` });
      await open(server.url);
      const file = await randomFile(folder, "large.bin", 2 * MIB);
      const { saved } = await send(file);
      assert.equal(saved, `Size of file exceeds the limit (${MIB} bytes)`);
      assert.deepEqual(await server.saved(), []);
    });

    test("begins anew after a checksum that was wrong", async () => {
      await serve();
      await open(server.url);
      const file = await randomFile(folder, "twice.bin", 2 * MIB);
      const body = `export class Md5 { update() {} hex() { return "${"0".repeat(32)}"; } }`;
      const contentType = "text/javascript";
      await page.route("**/md5.js", (route) => route.fulfill({ contentType, body }));
      assert.equal((await send(file)).saved, "md5 checksum does not match");
      await page.unroute("**/md5.js");
      await page.reload();
      await send(file);
      assert.deepEqual(chunks(), [0, MIB, 0, MIB]);
      await arrived(file);
    });
  });

  describe("form.html, without JavaScript", () => {
    async function open(change = (html) => html) {
      const form = change(await readFile(path.join(CLIENTS, "form.html"), "utf8"));
      await visit(server.url, { javaScriptEnabled: false }, { "test.html": ["text/html", form] });
    }

    async function submit() {
      const answer = page.waitForResponse(`**${CHUNKS}_form`);
      await page.getByRole("button", { name: "Send" }).click();
      const response = await answer;
      await page.waitForURL(`**${CHUNKS}_form`);
      await page.getByRole("link", { name: /^(Go back|Send another file)$/ }).waitFor();
      return [response.status(), await page.locator("main > p").first().innerText()];
    }

    test("sends a file of an odd name", async () => {
      await serve();
      await open();
      const file = await randomFile(folder, ODD_NAME, 3 * MIB);
      await page.getByLabel("File").setInputFiles(file);
      const [status, words] = await submit();
      const saved = path.basename((await server.saved())[0]);
      assert.deepEqual(
        [status, words],
        [200, `“${ODD_NAME}” has arrived. It is saved on the server as “${saved}”.`],
      );
      await arrived(file);
    });

    test("is not sent without a file", async () => {
      await serve();
      await open();
      await page.getByRole("button", { name: "Send" }).click();
      assert.equal(await page.locator("input:invalid").count(), 1);
      assert.match(page.url(), /test\.html$/);
      assert.deepEqual(await server.saved(), []);
    });

    test("is answered in words if a browser sends it without a file", async () => {
      await serve();
      await open((html) => html.replace(" required", ""));
      assert.deepEqual(await submit(), [400, "No file was chosen. Go back and choose one."]);
      assert.deepEqual(await server.saved(), []);
    });

    test("is told why the file was refused", async () => {
      await serve({ MAX_BYTES: "1000" });
      await open();
      const file = await randomFile(folder, "large.bin", 1001);
      await page.getByLabel("File").setInputFiles(file);
      const words = "The file was not taken. Size of file exceeds the limit (1\u00a0kB).";
      assert.deepEqual(await submit(), [400, words]);
      assert.deepEqual(await server.saved(), []);
    });
  });
});

test("the curl lines of the README send a file", TIMEOUT, async () => {
  await serve();
  const readme = await readFile(path.join(ROOT, "README.md"), "utf8");
  const [, lines] = /^Start it with.*?^```sh\n(.*?)^```/ms.exec(readme);
  const here = lines.replace("http://127.0.0.1:3000", server.url);
  assert.notEqual(here, lines);

  const { stdout } = await run("bash", ["-ec", here], { cwd: folder });
  const said = stdout.trim().replaceAll("}{", "}\n{").split("\n").map((line) => JSON.parse(line));
  const [, promised] = /^The first response is `(\{.*?\})`/m.exec(readme);
  // The shell of macOS takes what follows for arguments.
  assert.doesNotMatch(lines, /#/);
  assert.deepEqual(Object.keys(said[0]), Object.keys(JSON.parse(promised)));
  assert.deepEqual(
    said.slice(0, 3).map((answer) => answer.offset),
    [JSON.parse(promised).offset, 8000000, 10000000],
  );
  assert.equal(said[3].saved, "big.iso");
  await arrived(path.join(folder, "big.iso"));
});
