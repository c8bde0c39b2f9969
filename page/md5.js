// MD5 (RFC 1321), computed incrementally. page.js loads it as a module worker.

export class Md5 {
  #state = new Int32Array([0x67452301, 0xefcdab89, 0x98badcfe, 0x10325476]);
  #tail = new Uint8Array(64);
  #length = 0;

  /** Takes the next bytes of the message. */
  update(bytes) {
    let from = 0;
    const held = this.#length % 64;
    this.#length += bytes.length;
    if (held > 0) {
      from = Math.min(64 - held, bytes.length);
      this.#tail.set(bytes.subarray(0, from), held);
      if (held + from < 64) return this;
      compress(this.#state, this.#tail, 0, 64);
    }
    const whole = from + Math.floor((bytes.length - from) / 64) * 64;
    compress(this.#state, bytes, from, whole);
    this.#tail.set(bytes.subarray(whole));
    return this;
  }

  /** The digest of everything so far, in hex. More bytes may follow. */
  hex() {
    const held = this.#length % 64;
    const end = new Uint8Array(held < 56 ? 64 : 128);
    end.set(this.#tail.subarray(0, held));
    end[held] = 0x80;
    const view = new DataView(end.buffer);
    view.setUint32(end.length - 8, this.#length << 3, true);
    view.setUint32(end.length - 4, Math.floor(this.#length / 2 ** 29), true);

    const state = this.#state.slice();
    compress(state, end, 0, end.length);
    return Array.from(new Uint8Array(Uint32Array.from(state, swap).buffer), (byte) =>
      byte.toString(16).padStart(2, "0"),
    ).join("");
  }
}

const LITTLE_ENDIAN = new Uint8Array(Uint16Array.of(1).buffer)[0] === 1;
const SINES = Int32Array.from({ length: 64 }, (_, i) => Math.abs(Math.sin(i + 1)) * 2 ** 32);
const words = new Int32Array(16);

function swap(word) {
  if (LITTLE_ENDIAN) return word;
  return (word << 24) | ((word & 0xff00) << 8) | ((word >>> 8) & 0xff00) | (word >>> 24);
}

// The steps are unrolled: as functions, they are too many for an engine to inline.
function compress(state, bytes, from, to) {
  const x = words;
  const t = SINES;
  let a = state[0];
  let b = state[1];
  let c = state[2];
  let d = state[3];
  for (let at = from; at < to; at += 64) {
    for (let n = 0, p = at; n < 16; n++, p += 4) {
      x[n] = bytes[p] | (bytes[p + 1] << 8) | (bytes[p + 2] << 16) | (bytes[p + 3] << 24);
    }
    const a0 = a;
    const b0 = b;
    const c0 = c;
    const d0 = d;
    for (let n = 0; n < 16; n += 4) {
      a = (a + ((b & c) | (~b & d)) + x[n] + t[n]) | 0;
      a = (((a << 7) | (a >>> 25)) + b) | 0;
      d = (d + ((a & b) | (~a & c)) + x[n + 1] + t[n + 1]) | 0;
      d = (((d << 12) | (d >>> 20)) + a) | 0;
      c = (c + ((d & a) | (~d & b)) + x[n + 2] + t[n + 2]) | 0;
      c = (((c << 17) | (c >>> 15)) + d) | 0;
      b = (b + ((c & d) | (~c & a)) + x[n + 3] + t[n + 3]) | 0;
      b = (((b << 22) | (b >>> 10)) + c) | 0;
    }
    for (let n = 16, w = 1; n < 32; n += 4, w += 20) {
      a = (a + ((b & d) | (c & ~d)) + x[w & 15] + t[n]) | 0;
      a = (((a << 5) | (a >>> 27)) + b) | 0;
      d = (d + ((a & c) | (b & ~c)) + x[(w + 5) & 15] + t[n + 1]) | 0;
      d = (((d << 9) | (d >>> 23)) + a) | 0;
      c = (c + ((d & b) | (a & ~b)) + x[(w + 10) & 15] + t[n + 2]) | 0;
      c = (((c << 14) | (c >>> 18)) + d) | 0;
      b = (b + ((c & a) | (d & ~a)) + x[(w + 15) & 15] + t[n + 3]) | 0;
      b = (((b << 20) | (b >>> 12)) + c) | 0;
    }
    for (let n = 32, w = 5; n < 48; n += 4, w += 12) {
      a = (a + (b ^ c ^ d) + x[w & 15] + t[n]) | 0;
      a = (((a << 4) | (a >>> 28)) + b) | 0;
      d = (d + (a ^ b ^ c) + x[(w + 3) & 15] + t[n + 1]) | 0;
      d = (((d << 11) | (d >>> 21)) + a) | 0;
      c = (c + (d ^ a ^ b) + x[(w + 6) & 15] + t[n + 2]) | 0;
      c = (((c << 16) | (c >>> 16)) + d) | 0;
      b = (b + (c ^ d ^ a) + x[(w + 9) & 15] + t[n + 3]) | 0;
      b = (((b << 23) | (b >>> 9)) + c) | 0;
    }
    for (let n = 48, w = 0; n < 64; n += 4, w += 28) {
      a = (a + (c ^ (b | ~d)) + x[w & 15] + t[n]) | 0;
      a = (((a << 6) | (a >>> 26)) + b) | 0;
      d = (d + (b ^ (a | ~c)) + x[(w + 7) & 15] + t[n + 1]) | 0;
      d = (((d << 10) | (d >>> 22)) + a) | 0;
      c = (c + (a ^ (d | ~b)) + x[(w + 14) & 15] + t[n + 2]) | 0;
      c = (((c << 15) | (c >>> 17)) + d) | 0;
      b = (b + (d ^ (c | ~a)) + x[(w + 21) & 15] + t[n + 3]) | 0;
      b = (((b << 21) | (b >>> 11)) + c) | 0;
    }
    a = (a + a0) | 0;
    b = (b + b0) | 0;
    c = (c + c0) | 0;
    d = (d + d0) | 0;
  }
  state.set([a, b, c, d]);
}

// In the worker: one incremental digest per upload, identified by its key.
if (typeof WorkerGlobalScope !== "undefined" && globalThis instanceof WorkerGlobalScope) {
  const running = new Map();
  globalThis.onmessage = ({ data: { call, action, key, buffer } }) => {
    let digest;
    if (action === "update") {
      if (!running.has(key)) running.set(key, new Md5());
      running.get(key).update(new Uint8Array(buffer));
    } else if (action === "digest") {
      digest = (running.get(key) ?? new Md5()).hex();
    } else {
      running.delete(key);
    }
    postMessage({ call, digest });
  };
}
