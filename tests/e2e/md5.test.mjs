// node --test tests/e2e/md5.test.mjs
// The page's MD5 against the one of node:crypto.

import assert from "node:assert/strict";
import { createHash, randomBytes } from "node:crypto";
import { readFile } from "node:fs/promises";
import { test } from "node:test";

const source = await readFile(new URL("../../page/md5.js", import.meta.url), "base64");
const { Md5 } = await import(`data:text/javascript;base64,${source}`);

const expected = (bytes) => createHash("md5").update(bytes).digest("hex");

test("the vectors of RFC 1321", () => {
  const vectors = {
    "": "d41d8cd98f00b204e9800998ecf8427e",
    a: "0cc175b9c0f1b6a831c399e269772661",
    abc: "900150983cd24fb0d6963f7d28e17f72",
    "message digest": "f96b697d7cb7938d525a2f31aaf161d0",
    abcdefghijklmnopqrstuvwxyz: "c3fcd3d76192e4007dfb496cca67e13b",
    ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789:
      "d174ab98d277d9f5a5611c2c9f419d9f",
    [ "1234567890".repeat(8) ]: "57edf4a22be3c955ac49da2e2107b67a",
  };
  for (const [text, digest] of Object.entries(vectors)) {
    assert.equal(new Md5().update(new TextEncoder().encode(text)).hex(), digest, text);
  }
});

test("every length around the block boundaries", () => {
  for (let length = 0; length <= 260; length++) {
    const bytes = randomBytes(length);
    assert.equal(new Md5().update(bytes).hex(), expected(bytes), `${length} bytes`);
  }
});

test("any way to cut the message gives the same digest", () => {
  const bytes = randomBytes(400);
  for (const size of [1, 2, 3, 55, 56, 63, 64, 65, 119, 120, 127, 128, 129]) {
    const md5 = new Md5();
    for (let at = 0; at < bytes.length; at += size) md5.update(bytes.subarray(at, at + size));
    assert.equal(md5.hex(), expected(bytes), `pieces of ${size}`);
  }
});

test("a digest can be taken in between", () => {
  const bytes = randomBytes(500);
  const md5 = new Md5();
  for (const [from, to] of [[0, 0], [0, 55], [55, 56], [56, 64], [64, 120], [120, 500]]) {
    md5.update(bytes.subarray(from, to));
    assert.equal(md5.hex(), expected(bytes.subarray(0, to)), `after ${to} bytes`);
    assert.equal(md5.hex(), expected(bytes.subarray(0, to)), `again after ${to} bytes`);
  }
});

test("a message whose length in bits needs more than 32 bits", () => {
  const piece = randomBytes(4 * 1024 * 1024);
  const md5 = new Md5();
  const reference = createHash("md5");
  for (let n = 0; n < 129; n++) {
    md5.update(piece);
    reference.update(piece);
  }
  md5.update(piece.subarray(0, 57));
  assert.equal(md5.hex(), reference.update(piece.subarray(0, 57)).digest("hex"));
});
