// The checksum of a file, computed in a worker while it is read.

class Hasher {
  #worker = new Worker("/md5.js", { type: "module" });
  #waiting = new Map();
  #calls = 0;
  #broken = false;

  constructor() {
    this.#worker.onmessage = ({ data: { call, digest } }) => {
      this.#waiting.get(call).resolve(digest);
      this.#waiting.delete(call);
    };
    this.#worker.onerror = () => {
      this.#broken = true;
      for (const { reject } of this.#waiting.values()) reject(this.#failure());
      this.#waiting.clear();
    };
  }

  update(key, buffer) {
    return this.#post({ action: "update", key, buffer }, [buffer]);
  }

  digest(key) {
    return this.#post({ action: "digest", key });
  }

  forget(key) {
    return this.#post({ action: "forget", key });
  }

  #failure() {
    return new Error("the checksum cannot be computed in this browser");
  }

  #post(message, transfer = []) {
    if (this.#broken) return Promise.reject(this.#failure());
    const call = this.#calls++;
    return new Promise((resolve, reject) => {
      this.#waiting.set(call, { resolve, reject });
      this.#worker.postMessage({ call, ...message }, transfer);
    });
  }
}

export const hasher = new Hasher();
