// A way to the server that breaks where a test wants it to.

import { once } from "node:events";
import { connect, createServer } from "node:net";

export class Wire {
  #listener;
  #sockets = new Set();
  #plans = [];
  #broken = 0;

  static async to({ port }) {
    const wire = new Wire();
    wire.#listener = createServer((client) => wire.#join(client, connect(port, "127.0.0.1")));
    wire.#listener.listen(0, "127.0.0.1");
    await once(wire.#listener, "listening");
    wire.url = `http://127.0.0.1:${wire.#listener.address().port}`;
    return wire;
  }

  /** How often it has broken. */
  get broken() {
    return this.#broken;
  }

  /**
   * Plans a break: in the direction `there` or `back`, at the first bytes of which `when` is true;
   * they are lost. Plans come true one after the other. `act` is what happens besides.
   */
  breakOnce(direction, when, act) {
    this.#plans.push({ direction, when, act });
  }

  #join(client, server) {
    for (const socket of [client, server]) {
      this.#sockets.add(socket);
      // A close follows.
      socket.on("error", () => {});
      socket.on("close", () => {
        this.#sockets.delete(socket);
        client.destroy();
        server.destroy();
      });
    }
    this.#pass("there", client, server);
    this.#pass("back", server, client);
  }

  #pass(direction, from, to) {
    from.on("data", (bytes) => {
      const [plan] = this.#plans;
      if (plan?.direction === direction && plan.when(bytes)) {
        this.#plans.shift();
        this.#broken += 1;
        from.destroy();
        plan.act?.();
      } else if (!to.write(bytes)) {
        from.pause();
        to.once("drain", () => from.resume());
      }
    });
    from.on("end", () => to.end());
  }

  async close() {
    const closed = once(this.#listener, "close");
    this.#listener.close();
    for (const socket of this.#sockets) socket.destroy();
    await closed;
  }
}

/** After so many bytes. */
export function after(count) {
  return (bytes) => (count -= bytes.length) <= 0;
}

/** With these words. */
export function having(words) {
  return (bytes) => bytes.includes(words);
}
