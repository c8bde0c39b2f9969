// node --test tests/e2e/tus.test.mjs
//
// Clients of tus, unmodified, against the real server. Environment:
//   WIRE_EXAMPLE  the server, default target/debug/examples/wire
//   PYTHONPATH    where Python finds tuspy, default target/python
//   CHROMIUM      the browser, default /usr/bin/chromium
//   SCREENSHOTS   folder for the screenshots, default a temporary one

import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { createReadStream } from "node:fs";
import { mkdtemp, readFile, rm, stat } from "node:fs/promises";
import { tmpdir } from "node:os";
import path from "node:path";
import { Readable } from "node:stream";
import { after, afterEach, before, beforeEach, describe, test } from "node:test";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";

import tus from "tus-js-client";

import { Cable } from "./cable.mjs";
import {
  MIB,
  ROOT,
  Server,
  launchBrowser,
  photograph,
  randomFile,
  sameBytes,
  troubles,
  until,
} from "./support.mjs";
import { Wire, having } from "./wire.mjs";

const HERE = fileURLToPath(new URL(".", import.meta.url));
const PROGRAM = path.resolve(ROOT, process.env.WIRE_EXAMPLE ?? "target/debug/examples/wire");
const FILES = "/files";
const ODD_NAME = `Größe "zwei" 'drei'; 100%, 📦.bin`;
const SIZE = 6 * MIB + 7;
const TIMEOUT = { timeout: 600_000 };
const RELEASE = /https:\/\/releases\.transloadit\.com\/uppy\/v[\d.]+\//g;
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
  folder = await mkdtemp(path.join(tmpdir(), "upload-tus-"));
});

afterEach(async () => {
  await cable?.close();
  await server?.stop("SIGKILL");
  cable = server = null;
  await rm(folder, { recursive: true });
});

async function delivered() {
  return (await server.saved()).filter((file) => file.endsWith(".bin"));
}

/** The one finished file is that one, and the application got it once. */
async function arrived(file) {
  const saved = await delivered();
  assert.equal(saved.length, 1, saved.join());
  await sameBytes(saved[0], file);
  assert.equal((await stat(saved[0].replace(/bin$/, "deliveries"))).size, 1);
}

/** What the server says of an upload, on a way of its own. */
function head(url) {
  const direct = new URL(new URL(url).pathname, server.url);
  return fetch(direct, { method: "HEAD", headers: { "Tus-Resumable": "1.0.0" } });
}

async function offset(url) {
  return Number((await head(url)).headers.get("Upload-Offset"));
}

/** Waits until the server has kept what went on to it, all of it. */
async function keptWhatCame() {
  const { path, offset: at, bytes } = cable.requests.at(-1);
  assert.ok(bytes > 0);
  await until(async () => (await offset(server.url + path)) === at + bytes);
  return at + bytes;
}

function bytesSent() {
  const sent = cable.requests.map(({ bytes }) => bytes);
  return sent.reduce((sum, bytes) => sum + bytes, 0);
}

describe("tus-js-client", TIMEOUT, () => {
  /** An upload, whose `done` tells how it ends. */
  function prepare(input, options) {
    const upload = new tus.Upload(input, {
      endpoint: cable.url + FILES,
      retryDelays: PATIENT,
      onError: (error) => upload.failed(error),
      onSuccess: () => upload.succeeded(),
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
    let upload;
    await new Promise((resolve, reject) => {
      upload = begin(createReadStream(file), {
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
    "with the request that creates it": { uploadDataDuringCreation: true },
    "in chunks, the first with the request that creates it": {
      uploadDataDuringCreation: true,
      chunkSize: MIB,
    },
    "by POST instead of PATCH": { overridePatchMethod: true },
  };
  for (const [way, options] of Object.entries(ways)) {
    for (const size of [0, 1, SIZE, 4 * MIB]) {
      test(`sends ${size} bytes ${way}`, async () => {
        await serve();
        const file = await randomFile(folder, "file.bin", size);
        // It does not send an empty stream with the request that creates the upload.
        const input = size > 0 ? createReadStream(file) : await readFile(file);
        await begin(input, options).done;
        assert.equal(bytesSent(), size);
        await arrived(file);
      });
    }
  }

  test("tells the server what the file is, and gets it back", async () => {
    await serve();
    const metadata = { filename: ODD_NAME, filetype: "text/plain", empty: "" };
    const upload = begin(Buffer.from("sand"), { metadata });
    await upload.done;
    const answer = await head(upload.url);
    const pairs = answer.headers.get("Upload-Metadata").split(",");
    const decoded = pairs.map((pair) => {
      const [key, value] = pair.split(" ");
      return [key, Buffer.from(value ?? "", "base64").toString()];
    });
    assert.deepEqual(Object.fromEntries(decoded), metadata);
    assert.equal(answer.headers.get("Upload-Length"), "4");
    assert.equal(answer.headers.get("Upload-Offset"), "4");
  });

  test("pauses and resumes between two chunks", async () => {
    await serve();
    const file = await randomFile(folder, "paused.bin", SIZE);
    const upload = await pausedAfter(2 * MIB, file);
    assert.equal(await offset(upload.url), 2 * MIB);
    upload.start();
    await upload.done;
    const offsets = [0, 1, 2, 3, 4, 5, 6].map((n) => `PATCH ${n * MIB} 204`);
    offsets.splice(2, 0, "HEAD 200");
    assert.deepEqual(cable.log, ["POST 201", ...offsets]);
    await arrived(file);
  });

  test("pauses in the middle of a request, and resumes at that byte", async () => {
    await serve();
    const file = await randomFile(folder, "paused.bin", SIZE);
    const held = cable.heldAfter(3 * MIB);
    const upload = begin(createReadStream(file));
    await held;
    await upload.abort();
    await cable.cut();
    const kept = await keptWhatCame();
    cable.mend();
    upload.start();
    await upload.done;
    assert.deepEqual(cable.log, ["POST 201", "PATCH 0", "HEAD 200", `PATCH ${kept} 204`]);
    assert.equal(bytesSent(), SIZE);
    await arrived(file);
  });

  test("goes on at the byte at which it was cut off", async () => {
    await serve();
    const file = await randomFile(folder, "cut.bin", SIZE);
    const held = cable.heldAfter(4 * MIB);
    const upload = begin(createReadStream(file));
    await held;
    await cable.cut();
    const kept = await keptWhatCame();
    assert.ok(kept > 3 * MIB, `${kept} bytes were kept`);
    cable.mend();
    await upload.done;
    assert.deepEqual(cable.log, ["POST 201", "PATCH 0", "HEAD 200", `PATCH ${kept} 204`]);
    assert.equal(bytesSent(), SIZE);
    await arrived(file);
  });

  test("goes on when it is cut off again and again", async () => {
    await serve();
    const file = await randomFile(folder, "cut.bin", SIZE);
    const upload = prepare(createReadStream(file));
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
    const upload = begin(createReadStream(file));
    await held;
    const kept = await keptWhatCame();
    cable.lose();
    await upload.done;
    assert.deepEqual(cable.log, ["POST 201", "PATCH 0", "HEAD 200", `PATCH ${kept} 204`]);
    assert.equal(bytesSent(), SIZE);
    await arrived(file);
  });

  test("goes on when a request dies before the server has kept what came", async () => {
    await serve();
    const file = await randomFile(folder, "dead.bin", SIZE);
    const held = cable.heldAfter(3 * MIB);
    const upload = begin(createReadStream(file));
    await held;
    cable.lose();
    await upload.done;
    await arrived(file);
  });

  test("goes on when it is cut off in the request that creates the upload", async () => {
    await serve();
    const file = await randomFile(folder, "cut.bin", SIZE);
    const held = cable.heldAfter(3 * MIB);
    const upload = begin(createReadStream(file), { uploadDataDuringCreation: true });
    await held;
    await cable.cut();
    cable.mend();
    await upload.done;
    assert.deepEqual(cable.log, ["POST", "POST 201"]);
    await arrived(file);
  });

  test("goes on when the server was killed", async () => {
    await serve();
    const file = await randomFile(folder, "survivor.bin", SIZE);
    const held = cable.heldAfter(3.5 * MIB);
    const upload = begin(createReadStream(file), { chunkSize: MIB });
    await held;
    await server.restart("SIGKILL");
    await upload.done;
    // What was acknowledged is not sent again, and not lost.
    const offsets = cable.requests.filter(({ method }) => method === "PATCH").map(({ offset }) => offset);
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
      const removeFingerprintOnSuccess = true;
      const second = prepare(createReadStream(file), { urlStorage, removeFingerprintOnSuccess });
      const [previous, ...others] = await second.findPreviousUploads();
      assert.deepEqual(others, []);
      assert.equal(previous.uploadUrl, first.url);
      second.resumeFromPreviousUpload(previous);
      second.start();
      await second.done;
      assert.deepEqual(cable.log, ["HEAD 200", `PATCH ${3 * MIB} 204`]);
      assert.equal(bytesSent(), SIZE - 3 * MIB);
      await arrived(file);
    });
  }

  test("another run goes on with a URL, also if the upload is complete", async () => {
    await serve();
    const file = await randomFile(folder, "resumed.bin", SIZE);
    const { url: uploadUrl } = await pausedAfter(2 * MIB, file);
    cable.requests.length = 0;
    await begin(createReadStream(file), { uploadUrl }).done;
    await begin(createReadStream(file), { uploadUrl }).done;
    assert.deepEqual(cable.log, ["HEAD 200", `PATCH ${2 * MIB} 204`, "HEAD 200"]);
    await arrived(file);
  });

  test("starts again if the upload is gone", async () => {
    await serve();
    const file = await randomFile(folder, "again.bin", SIZE);
    const upload = await pausedAfter(2 * MIB, file);
    await upload.abort(true);
    cable.requests.length = 0;
    await begin(createReadStream(file), { uploadUrl: upload.url }).done;
    assert.deepEqual(cable.log, ["HEAD 404", "POST 201", "PATCH 0 204"]);
    await arrived(file);
  });

  describe("with a length that is not known at first", () => {
    /** The file in pieces that have nothing to do with chunks. */
    function streamed(file, options) {
      const stream = Readable.from(createReadStream(file, { highWaterMark: 100_000 }), {
        objectMode: false,
      });
      return begin(stream, { uploadLengthDeferred: true, chunkSize: MIB, ...options });
    }

    for (const size of [1, MIB - 1, SIZE]) {
      test(`sends ${size} bytes`, async () => {
        await serve();
        const file = await randomFile(folder, "stream.bin", size);
        const upload = streamed(file);
        await upload.done;
        assert.equal(bytesSent(), size);
        assert.equal((await head(upload.url)).headers.get("Upload-Length"), String(size));
        await arrived(file);
      });
    }

    test("goes on when it is cut off", async () => {
      await serve();
      const file = await randomFile(folder, "stream.bin", SIZE);
      const held = cable.heldAfter(3.5 * MIB);
      const upload = streamed(file);
      await held;
      await cable.cut();
      const kept = await keptWhatCame();
      cable.mend();
      await upload.done;
      assert.ok(cable.log.includes(`PATCH ${kept} 204`), cable.log.join());
      assert.equal(bytesSent(), SIZE);
      await arrived(file);
    });

    for (const size of [1, SIZE]) {
      test(`goes on when the application fails once with ${size} bytes`, async () => {
        await serve();
        const file = await randomFile(folder, "stream.bin", size);
        cable.addOnce("Upload-Length", "X-Hook-Status: 500");
        await streamed(file).done;
        // Its last request is empty if it learns too late that there are no more bytes.
        const again = cable.log.includes(`PATCH ${size} 500`) ? size : size - 1;
        assert.match(cable.log.at(-3), / 500$/);
        assert.deepEqual(cable.log.slice(-2), ["HEAD 200", `PATCH ${again} 204`]);
        await arrived(file);
      });
    }

    test("shows the message if it is over the limit", async () => {
      await serve({ WIRE_MAX_BYTES: String(2.5 * MIB) });
      const file = await randomFile(folder, "stream.bin", SIZE);
      const { originalResponse: answer } = await failure(streamed(file));
      assert.equal(answer.getStatus(), 413);
      assert.equal(answer.getBody(), "Size of file exceeds the limit (2621440 bytes)");
      assert.deepEqual(await delivered(), []);
    });
  });

  describe("with four parts at the same time", () => {
    const parallel = { parallelUploads: 4 };
    const isPatch = ({ method }) => method === "PATCH";

    for (const size of [4, SIZE]) {
      test(`sends ${size} bytes`, async () => {
        await serve();
        const file = await randomFile(folder, "parts.bin", size);
        const metadata = { filename: ODD_NAME };
        const upload = begin(createReadStream(file), { ...parallel, metadata });
        await upload.done;
        assert.equal(bytesSent(), size);
        assert.equal(cable.requests.filter(isPatch).length, 4);
        assert.equal(await offset(upload.url), size);
        const answer = await head(upload.url);
        assert.match(answer.headers.get("Upload-Concat"), /^final;(\S+ ){3}\S+$/);
        await arrived(file);
      });
    }

    test("sends them in chunks, the first with the request that creates a part", async () => {
      await serve();
      const file = await randomFile(folder, "parts.bin", SIZE);
      const options = { ...parallel, chunkSize: MIB / 2, uploadDataDuringCreation: true };
      await begin(createReadStream(file), options).done;
      assert.equal(bytesSent(), SIZE);
      await arrived(file);
    });

    test("goes on when all of them are cut off", async () => {
      await serve();
      const file = await randomFile(folder, "parts.bin", SIZE);
      const held = cable.heldAfter(3 * MIB);
      const upload = begin(createReadStream(file), parallel);
      await held;
      await cable.cut();
      for (const { path, offset: at, bytes } of cable.requests.filter(isPatch)) {
        await until(async () => (await offset(server.url + path)) === at + bytes);
      }
      cable.mend();
      await upload.done;
      assert.equal(bytesSent(), SIZE);
      await arrived(file);
    });

    test("another run goes on after the server was killed", async () => {
      await serve();
      const file = await randomFile(folder, "parts.bin", SIZE);
      const urlStorage = new tus.FileUrlStorage(path.join(folder, "urls.json"));
      const held = cable.heldAfter(3 * MIB);
      const first = begin(createReadStream(file), { ...parallel, urlStorage, retryDelays: [] });
      await held;
      const [{ path: begun }] = cable.requests.filter(isPatch);
      await until(async () => (await offset(server.url + begun)) > 0);
      await first.abort();
      await server.restart("SIGKILL");
      cable.release();

      cable.requests.length = 0;
      const second = prepare(createReadStream(file), { ...parallel, urlStorage });
      const [previous, ...others] = await second.findPreviousUploads();
      assert.deepEqual(others, []);
      assert.equal(previous.parallelUploadUrls.length, 4);
      second.resumeFromPreviousUpload(previous);
      second.start();
      await second.done;
      assert.ok(bytesSent() < SIZE, `${bytesSent()} bytes were sent again`);
      await arrived(file);
    });

    test("goes on when the application fails once", async () => {
      await serve();
      const file = await randomFile(folder, "parts.bin", SIZE);
      cable.addOnce("Upload-Concat: final", "X-Hook-Status: 500");
      await begin(createReadStream(file), parallel).done;
      assert.equal(bytesSent(), SIZE);
      const joined = cable.log.filter((line) => /^POST (500|201)$/.test(line)).slice(-2);
      assert.deepEqual(joined, ["POST 500", "POST 201"]);
      await arrived(file);
    });

    test("another run has the parts joined if the application failed", async () => {
      await serve();
      const file = await randomFile(folder, "parts.bin", SIZE);
      const urlStorage = new tus.FileUrlStorage(path.join(folder, "urls.json"));
      cable.addOnce("Upload-Concat: final", "X-Hook-Status: 500");
      const first = begin(createReadStream(file), { ...parallel, urlStorage, retryDelays: [] });
      assert.equal((await failure(first)).originalResponse.getStatus(), 500);
      assert.deepEqual(await delivered(), []);

      cable.requests.length = 0;
      const second = prepare(createReadStream(file), { ...parallel, urlStorage });
      second.resumeFromPreviousUpload((await second.findPreviousUploads())[0]);
      second.start();
      await second.done;
      assert.equal(bytesSent(), 0);
      assert.equal(cable.log.at(-1), "POST 201");
      await arrived(file);
    });

    test("shows the message if the file is over the limit", async () => {
      await serve({ WIRE_MAX_BYTES: String(2 * MIB) });
      const file = await randomFile(folder, "parts.bin", SIZE);
      const { originalResponse: answer } = await failure(begin(createReadStream(file), parallel));
      assert.equal(answer.getStatus(), 413);
      assert.equal(answer.getBody(), "Size of file exceeds the limit (2097152 bytes)");
      assert.deepEqual(await delivered(), []);
    });
  });

  describe("cancels", () => {
    async function isGone(url) {
      const answer = await head(url);
      assert.equal(answer.status, 404);
      assert.equal(answer.headers.get("Upload-Offset"), null);
      assert.deepEqual(await server.saved(), []);
    }

    test("between two chunks", async () => {
      await serve();
      const file = await randomFile(folder, "unwanted.bin", SIZE);
      const upload = await pausedAfter(2 * MIB, file);
      await upload.abort(true);
      assert.equal(cable.log.at(-1), "DELETE 204");
      await isGone(upload.url);
    });

    test("while a request brings bytes, which does not revive it", async () => {
      await serve();
      const file = await randomFile(folder, "unwanted.bin", SIZE);
      const held = cable.heldAfter(3 * MIB);
      const upload = begin(createReadStream(file));
      await held;
      await upload.abort(true);
      const methods = cable.requests.map(({ method }) => method);
      assert.deepEqual(methods, ["POST", "PATCH", "DELETE"]);
      await isGone(upload.url);
      cable.release();
      await cable.cut();
      await isGone(upload.url);
    });
  });

  test("goes on when the application fails once", async () => {
    await serve();
    const file = await randomFile(folder, "retried.bin", SIZE);
    cable.addOnce("PATCH", "X-Hook-Status: 500");
    await begin(createReadStream(file)).done;
    const again = `PATCH ${SIZE - 1} 204`;
    assert.deepEqual(cable.log, ["POST 201", "PATCH 0 500", "HEAD 200", again]);
    await arrived(file);
  });

  test("goes on when the application fails again and again, and when the server was killed", async () => {
    await serve();
    const file = await randomFile(folder, "retried.bin", SIZE);
    const upload = begin(createReadStream(file), {
      headers: { "X-Hook-Status": "503" },
      onAfterResponse: () => {
        if (cable.requests.length >= 8) upload.abort();
      },
    });
    await until(() => cable.requests.length >= 8);
    await upload.abort();
    const failed = `PATCH ${SIZE - 1} 503`;
    assert.deepEqual(cable.log.slice(0, 4), ["POST 201", "PATCH 0 503", "HEAD 200", failed]);
    assert.deepEqual(await delivered(), []);
    await server.restart("SIGKILL");
    await begin(createReadStream(file), { uploadUrl: upload.url }).done;
    assert.equal(cable.log.at(-1), `PATCH ${SIZE - 1} 204`);
    await arrived(file);
  });

  test("goes on when the application fails once with a file that is created whole", async () => {
    await serve();
    const file = await randomFile(folder, "retried.bin", SIZE);
    cable.addOnce("POST", "X-Hook-Status: 500");
    await begin(createReadStream(file), { uploadDataDuringCreation: true }).done;
    assert.equal(cable.log[0], "POST 500");
    await arrived(file);
  });

  test("goes on when the answer to the last request is lost", async () => {
    await serve();
    const file = await randomFile(folder, "lost.bin", SIZE);
    const wire = await Wire.to(cable);
    try {
      wire.breakOnce("back", having("HTTP/1.1 204"));
      await begin(createReadStream(file), { endpoint: wire.url + FILES }).done;
    } finally {
      await wire.close();
    }
    assert.equal(wire.broken, 1);
    assert.deepEqual(cable.log, ["POST 201", "PATCH 0 204", "HEAD 200"]);
    await arrived(file);
  });

  test("stops when the application refuses the file, and has its answer", async () => {
    await serve();
    const file = await randomFile(folder, "refused.bin", SIZE);
    const error = await failure(
      begin(createReadStream(file), { headers: { "X-Hook-Status": "422" } }),
    );
    assert.equal(error.originalResponse.getStatus(), 422);
    assert.equal(error.originalResponse.getBody(), "{}");
    assert.equal(error.originalResponse.getHeader("Content-Type"), "application/json");
    assert.match(error.message, /response code: 422, response text: {}/);
    assert.deepEqual(cable.log, ["POST 201", "PATCH 0 422"]);
    assert.deepEqual(await delivered(), []);
  });

  for (const uploadDataDuringCreation of [false, true]) {
    const when = uploadDataDuringCreation ? "brings bytes" : "brings none";
    test(`shows the message if the file is over the limit and the creation ${when}`, async () => {
      await serve({ WIRE_MAX_BYTES: "1000" });
      const options = { uploadDataDuringCreation };
      const error = await failure(begin(Buffer.alloc(1001), options));
      assert.equal(error.originalResponse.getStatus(), 413);
      const detail = "Size of file exceeds the limit (1000 bytes)";
      assert.equal(error.originalResponse.getBody(), detail);
      assert.ok(error.message.includes(`response code: 413, response text: ${detail}`));
      await begin(Buffer.alloc(1000), options).done;
      assert.equal(bytesSent(), 1000 + 1001 * uploadDataDuringCreation);
    });
  }

  test("shows the message if the file is over the limit while it is still sent", async () => {
    await serve({ WIRE_MAX_BYTES: "1000" });
    const file = await randomFile(folder, "large.bin", 48 * MIB);
    const upload = begin(createReadStream(file), { uploadDataDuringCreation: true });
    const { originalResponse: answer } = await failure(upload);
    assert.equal(answer.getStatus(), 413);
    assert.equal(answer.getBody(), "Size of file exceeds the limit (1000 bytes)");
  });

  test("goes on with another session when the first one ends in the middle", async () => {
    await serve({ WIRE_AUTH: "1" });
    const file = await randomFile(folder, "session.bin", SIZE);
    let session = "ann";
    const upload = begin(createReadStream(file), {
      chunkSize: MIB,
      onChunkComplete: (_, accepted) => {
        if (accepted === 2 * MIB) session = undefined;
      },
      // As in the guide.
      onBeforeRequest: (request) => {
        if (session) request.setHeader("X-User", session);
      },
      onAfterResponse: async (request, response) => {
        if (response.getStatus() === 401) session = "ann";
      },
      onShouldRetry: (error) => {
        const status = error.originalResponse?.getStatus() ?? 0;
        return status < 400 || status >= 500 || [401, 409, 423].includes(status);
      },
    });
    await upload.done;
    const refused = `PATCH ${2 * MIB} 401`;
    assert.deepEqual(cable.log.slice(3, 6), [refused, "HEAD 200", `PATCH ${2 * MIB} 204`]);
    assert.equal(cable.log.filter((line) => line.endsWith(" 401")).length, 1);
    await arrived(file);
  });

  test("finds only uploads of its own user", async () => {
    await serve({ WIRE_AUTH: "1" });
    const file = await randomFile(folder, "owned.bin", SIZE);
    const as = (user) => ({ headers: { "X-User": user } });
    const { url: uploadUrl } = await pausedAfter(2 * MIB, file, as("ann"));
    const other = { uploadUrl, endpoint: null, ...as("bob") };
    const error = await failure(begin(createReadStream(file), other));
    assert.equal(error.originalResponse.getStatus(), 404);
    await assert.rejects(tus.Upload.terminate(uploadUrl, as("bob")), (error) => {
      return error.originalResponse.getStatus() === 404;
    });
    const nobody = await failure(begin(createReadStream(file), { uploadUrl, endpoint: null }));
    assert.equal(nobody.originalResponse.getStatus(), 401);
    assert.equal((await failure(begin(createReadStream(file)))).originalResponse.getStatus(), 401);
    cable.requests.length = 0;
    await begin(createReadStream(file), { uploadUrl, ...as("ann") }).done;
    assert.deepEqual(cable.log, ["HEAD 200", `PATCH ${2 * MIB} 204`]);
    await arrived(file);
  });
});

describe("tuspy", TIMEOUT, () => {
  const PYTHONPATH = process.env.PYTHONPATH ?? path.join(ROOT, "target/python");
  const env = { ...process.env, PYTHONPATH };
  const run = promisify(execFile);

  function send(file, options = {}) {
    const all = { chunk_size: MIB, retries: 60, retry_delay: 1, ...options };
    const parameters = [path.join(HERE, "tus.py"), cable.url + FILES, file, JSON.stringify(all)];
    return run("python3", parameters, { env });
  }

  for (const upload_checksum of [false, true]) {
    describe(upload_checksum ? "with checksums" : "without checksums", () => {
      for (const size of [0, 1, SIZE]) {
        test(`sends ${size} bytes`, async () => {
          await serve();
          const file = await randomFile(folder, "file.bin", size);
          const metadata = { filename: ODD_NAME, empty: "" };
          const { stdout } = await send(file, { upload_checksum, metadata });
          assert.equal(bytesSent(), size);
          assert.equal(await offset(stdout.trim()), size);
          await arrived(file);
        });
      }

      test("goes on when it is cut off", async () => {
        await serve();
        const file = await randomFile(folder, "cut.bin", SIZE);
        const held = cable.heldAfter(3.5 * MIB);
        const sent = send(file, { upload_checksum });
        await held;
        await cable.cut();
        // Bytes with a checksum are kept if all of them came.
        const kept = upload_checksum ? 3 * MIB : await keptWhatCame();
        cable.mend();
        await sent;
        const resumed = cable.log.indexOf("HEAD 200");
        assert.equal(cable.log[resumed - 1], `PATCH ${3 * MIB}`);
        assert.equal(cable.log[resumed + 1], `PATCH ${kept} 204`);
        if (!upload_checksum) assert.equal(bytesSent(), SIZE);
        await arrived(file);
      });

      test("goes on when the application fails once", async () => {
        await serve();
        const file = await randomFile(folder, "retried.bin", SIZE);
        cable.addOnce(`upload-offset: ${6 * MIB}`, "X-Hook-Status: 500");
        await send(file, { upload_checksum });
        assert.deepEqual(cable.log.slice(-3), [
          `PATCH ${6 * MIB} 500`,
          "HEAD 200",
          `PATCH ${SIZE - 1} 204`,
        ]);
        await arrived(file);
      });
    });
  }
});

/** A browser with the page, as it is in the examples but for the place of Uppy's own files. */
class Visit {
  static async open(context) {
    const visit = new Visit();
    visit.page = await context.newPage();
    const { page } = visit;
    page.setDefaultTimeout(60_000);
    visit.found = await troubles(page);
    const serve = async (route) => {
      const [, name] = new URL(route.request().url()).pathname.split("/uppy/");
      if (name) return route.fulfill({ path: path.join(HERE, "node_modules/uppy/dist", name) });
      const html = await readFile(path.join(ROOT, "examples/uppy.html"), "utf8");
      // A browser asks for the icon of a page that names none, whenever it likes.
      const icon = "<head><link rel=icon href=data:,>";
      const body = html.replaceAll(RELEASE, "/uppy/").replace("<head>", icon);
      return route.fulfill({ contentType: "text/html", body });
    };
    await page.route("**/uppy/**", serve);
    await page.goto(`${cable.url}/uppy/`);
    await page.getByText("Drop files here").waitFor();
    // A route takes uploads on a detour, wherever it leads.
    await page.unroute("**/uppy/**", serve);
    return visit;
  }

  async drop(...files) {
    const input = await this.page.evaluateHandle(() => {
      return Object.assign(document.createElement("input"), { type: "file", multiple: true });
    });
    await input.setInputFiles(files);
    const dataTransfer = await input.evaluateHandle(({ files }) => {
      const transfer = new DataTransfer();
      for (const file of files) transfer.items.add(file);
      return transfer;
    });
    await this.page.dispatchEvent(".uppy-Dashboard-inner", "drop", { dataTransfer });
  }

  /** Drops files, and starts the upload. */
  async send(...files) {
    await this.drop(...files);
    await this.click(files.length === 1 ? "Upload 1 file" : `Upload ${files.length} files`);
  }

  /** The button of this name, the one at the bottom if there are several. */
  button(name) {
    return this.page.getByRole("button", { name, exact: true }).last();
  }

  click(name) {
    return this.button(name).click();
  }

  /** Waits until the page says this. While it is moved there, it is there twice. */
  shows(text) {
    return this.page.getByText(text, { exact: true }).first().waitFor();
  }

  /** Cuts the cable when so much has gone on, waits until the page has noticed, and mends it. */
  async cutAfter(bytes, start) {
    const held = cable.heldAfter(bytes);
    await start();
    await held;
    const noticed = this.page.waitForEvent("requestfailed", (request) => request.method() === "PATCH");
    await cable.cut();
    await noticed;
    const kept = await keptWhatCame();
    cable.mend();
    return kept;
  }
}

describe("Uppy", { timeout: 900_000 }, () => {
  let browser;
  let context;
  let visit;

  before(async () => {
    browser = await launchBrowser();
  });

  after(() => browser?.close());

  async function open(settings) {
    await serve(settings);
    context = await browser.newContext();
    visit = await Visit.open(context);
  }

  afterEach(async () => {
    await context?.close();
    // It writes to the console why an upload failed.
    const errors = visit?.found.errors.filter((text) => !text.startsWith("[Uppy]")) ?? [];
    context = visit = null;
    assert.deepEqual(errors, []);
  });

  test("sends a file that was dropped", async () => {
    await open();
    const file = await randomFile(folder, ODD_NAME, SIZE);
    await visit.send(file);
    await visit.shows("Complete");
    assert.deepEqual(cable.log, ["POST 201", "PATCH 0 204"]);
    const answer = await head(server.url + cable.requests[1].path);
    const name = Buffer.from(ODD_NAME).toString("base64");
    assert.ok(answer.headers.get("Upload-Metadata").split(",").includes(`filename ${name}`));
    await arrived(file);
    await photograph(visit.page, "uppy");
    assert.deepEqual(visit.found.failedLoads, []);
  });

  test("sends several files, one of them empty, and one of them again", async () => {
    await open();
    const sizes = [0, 1, SIZE];
    const files = await Promise.all(sizes.map((size) => randomFile(folder, `${size}.bin`, size)));
    await visit.send(...files);
    await visit.shows("Complete");
    assert.equal((await delivered()).length, 3);
    await visit.click("Done");
    await visit.send(files[2]);
    await visit.shows("Complete");
    const saved = await Promise.all((await delivered()).map(async (file) => (await stat(file)).size));
    assert.deepEqual(saved.sort((one, other) => one - other), [...sizes, SIZE]);
  });

  test("pauses and resumes", async () => {
    await open();
    const file = await randomFile(folder, "paused.bin", SIZE);
    const held = cable.heldAfter(3 * MIB);
    await visit.send(file);
    await held;
    await visit.click("Pause");
    await visit.button("Resume").waitFor();
    await cable.cut();
    const kept = await keptWhatCame();
    cable.mend();
    await visit.click("Resume");
    await visit.shows("Complete");
    assert.deepEqual(cable.log, ["POST 201", "PATCH 0", "HEAD 200", `PATCH ${kept} 204`]);
    assert.equal(bytesSent(), SIZE);
    await arrived(file);
  });

  test("goes on at the byte at which it was cut off", async () => {
    await open();
    const file = await randomFile(folder, "cut.bin", SIZE);
    const kept = await visit.cutAfter(3 * MIB, () => visit.send(file));
    await visit.shows("Complete");
    assert.deepEqual(cable.log, ["POST 201", "PATCH 0", "HEAD 200", `PATCH ${kept} 204`]);
    assert.equal(bytesSent(), SIZE);
    await arrived(file);
  });

  // Chromium itself repeats a request that dies on a connection which it has used before.
  test("goes on when the server waits for more of a request that is dead", async () => {
    await open();
    const file = await randomFile(folder, "dead.bin", SIZE);
    const held = cable.heldAfter(3 * MIB);
    await visit.send(file);
    await held;
    const kept = await keptWhatCame();
    cable.lose();
    await visit.shows("Complete");
    assert.deepEqual(cable.log.slice(-2), ["HEAD 200", `PATCH ${kept} 204`]);
    await arrived(file);
  });

  test("goes on in another tab after the first was closed and the server was killed", async () => {
    await open();
    const file = await randomFile(folder, "later.bin", SIZE);
    const held = cable.heldAfter(3 * MIB);
    await visit.send(file);
    await held;
    await visit.page.close();
    await cable.cut();
    const kept = await keptWhatCame();
    cable.mend();
    await server.restart("SIGKILL");

    visit = await Visit.open(context);
    cable.requests.length = 0;
    await visit.send(file);
    await visit.shows("Complete");
    assert.deepEqual(cable.log, ["HEAD 200", `PATCH ${kept} 204`]);
    await arrived(file);
  });

  test("goes on when the application fails once", async () => {
    await open();
    const file = await randomFile(folder, "retried.bin", SIZE);
    cable.addOnce("PATCH", "X-Hook-Status: 500");
    await visit.send(file);
    await visit.shows("Complete");
    const again = `PATCH ${SIZE - 1} 204`;
    assert.deepEqual(cable.log, ["POST 201", "PATCH 0 500", "HEAD 200", again]);
    await arrived(file);
  });

  test("shows what the application says when it refuses a file", async () => {
    await open();
    const file = await randomFile(folder, "refused.bin", SIZE);
    cable.addOnce("PATCH", "X-Hook-Status: 422");
    // It is shown for some seconds.
    await Promise.all([visit.shows("refused.bin: {}"), visit.send(file)]);
    assert.deepEqual(cable.log, ["POST 201", "PATCH 0 422"]);
    assert.deepEqual(await delivered(), []);
    await visit.click("Retry upload");
    await visit.shows("Complete");
    assert.deepEqual(cable.log.slice(2), ["HEAD 200", `PATCH ${SIZE - 1} 204`]);
    await arrived(file);
  });

  test("shows the message if a file is over the limit", async () => {
    await open({ WIRE_MAX_BYTES: String(MIB) });
    const file = await randomFile(folder, "large.bin", MIB + 1);
    const words = "large.bin: Size of file exceeds the limit (1048576 bytes)";
    await Promise.all([visit.shows(words), visit.send(file)]);
    assert.deepEqual(cable.log, ["POST 413"]);
  });

  test("cancels", async () => {
    await open();
    const file = await randomFile(folder, "unwanted.bin", SIZE);
    const held = cable.heldAfter(3 * MIB);
    await visit.send(file);
    await held;
    const { path } = cable.requests.at(-1);
    const removed = visit.page.waitForResponse((answer) => answer.request().method() === "DELETE");
    await visit.click("Cancel");
    assert.equal((await removed).status(), 204);
    assert.equal((await head(server.url + path)).status, 404);
    assert.deepEqual(await server.saved(), []);
  });
});
