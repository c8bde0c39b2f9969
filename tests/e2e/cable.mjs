// A way to the server that notes the requests on it, and that a test can hold, cut and mend.

import { once } from "node:events";
import { connect, createServer } from "node:net";

/** Of a body in chunks. */
const END = "0\r\n\r\n";

export class Cable {
  #listener;
  #links = new Set();
  #left = Infinity;
  #reached;
  #additions = [];
  #isCut = false;

  /** In their order. Each has its method, path and offset, the bytes of it that went on, and the status
   * that the client got. */
  requests = [];

  static async to({ port }) {
    const cable = new Cable();
    cable.#listener = createServer((client) => cable.#join(client, port)).listen(0, "127.0.0.1");
    await once(cable.#listener, "listening");
    ({ port: cable.port } = cable.#listener.address());
    cable.url = `http://127.0.0.1:${cable.port}`;
    return cable;
  }

  /** The requests, as in `PATCH 0 204`. */
  get log() {
    return this.requests.map(({ method, offset, status }) => {
      return [method, offset, status].filter((part) => part !== undefined).join(" ");
    });
  }

  /** Waits until so many bytes came; the connection that brings the last of them is held. */
  heldAfter(bytes) {
    this.#left = bytes;
    return new Promise((resolve) => {
      this.#reached = resolve;
    });
  }

  /** Lets what is held go on. */
  release() {
    for (const link of this.#links) {
      const { held } = link;
      if (!held) continue;
      link.held = null;
      this.#pass(link, held);
      link.client.resume();
    }
  }

  /**
   * Disconnects all clients, now and later. What went on arrives, what is held does not. Waits until
   * the server has noticed.
   */
  async cut() {
    this.#isCut = true;
    const closed = [...this.#links].map(({ client, server }) => {
      const closed = once(server, "close");
      client.destroy();
      server.end();
      return closed;
    });
    await Promise.all(closed);
  }

  /** Disconnects the clients of what is held, which the server does not notice. */
  lose() {
    for (const { client, held } of this.#links) if (held) client.destroy();
  }

  mend() {
    this.#isCut = false;
  }

  /** Adds a header to the next request whose head has these words. */
  addOnce(words, header) {
    this.#additions.push({ words, header });
  }

  async close() {
    const closed = once(this.#listener, "close");
    this.#listener.close();
    for (const { client, server } of this.#links) {
      client.destroy();
      server.destroy();
    }
    await closed;
  }

  #join(client, port) {
    client.on("error", () => {});
    if (this.#isCut) return client.destroy();
    const server = connect({ host: "127.0.0.1", port, allowHalfOpen: true });
    const link = { client, server, held: null, request: null, rest: Buffer.alloc(0), left: 0 };
    this.#links.add(link);
    client.on("data", (bytes) => this.#bring(link, bytes));
    client.on("close", () => {
      // Whatever waits to be sent is sent.
      if (!link.held) server.end();
    });
    server.on("data", (bytes) => {
      // Interim responses may be in front of it.
      const status = /(?:^|\r\n\r\n)HTTP\/1\.1 ([2-5]\d\d)/.exec(bytes.toString("latin1"));
      if (status && link.request && !client.destroyed) link.request.status = Number(status[1]);
      client.write(bytes);
    });
    // A close follows.
    server.on("error", () => {});
    server.on("end", () => {
      client.end();
      server.end();
    });
    server.on("close", () => {
      this.#links.delete(link);
      client.destroy();
    });
  }

  #bring(link, bytes) {
    this.#left -= bytes.length;
    if (this.#left > 0) return this.#pass(link, bytes);
    this.#left = Infinity;
    link.held = bytes;
    link.client.pause();
    this.#reached();
  }

  #pass(link, bytes) {
    const { client, server } = link;
    // The server does not want it any more.
    if (server.writableEnded) return;
    if (!server.write(this.#note(link, bytes))) {
      client.pause();
      server.once("drain", () => link.held ?? client.resume());
    }
  }

  /** Notes the requests, and returns the bytes for the server. */
  #note(link, bytes) {
    const noted = [];
    let rest = Buffer.concat([link.rest, bytes]);
    while (rest.length > 0) {
      if (link.left === 0) {
        const end = rest.indexOf("\r\n\r\n") + 4;
        if (end < 4) break;
        noted.push(this.#begin(link, rest.subarray(0, end)));
        rest = rest.subarray(end);
      }
      const body = rest.subarray(0, link.left);
      link.left -= body.length;
      if (link.request.hasLength) link.request.bytes += body.length;
      noted.push(body);
      rest = rest.subarray(body.length);
    }
    link.rest = rest;
    return Buffer.concat(noted);
  }

  #begin(link, bytes) {
    const head = bytes.toString("latin1");
    const [line, method, path] = /^([A-Z]+) (\S+) HTTP\/1\.1\r\n/.exec(head);
    const number = (name) => new RegExp(`^${name}: *(\\d+)`, "im").exec(head)?.[1];
    const length = number("content-length");
    const offset = number("upload-offset");
    link.request = { method, path, hasLength: length !== undefined, bytes: 0 };
    if (offset !== undefined) link.request.offset = Number(offset);
    this.requests.push(link.request);
    // Only empty bodies come in chunks.
    link.left = Number(length ?? (/^transfer-encoding: *chunked/im.test(head) ? END.length : 0));
    const addition = this.#additions.findIndex(({ words }) => head.includes(words));
    if (addition < 0) return bytes;
    const [{ header }] = this.#additions.splice(addition, 1);
    return Buffer.from(`${line}${header}\r\n${head.slice(line.length)}`, "latin1");
  }
}
