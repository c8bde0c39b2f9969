// Requests to the server, and what can become of them.

export const CHUNK_PATH = "/api/chunked_upload";
export const COMPLETE_PATH = "/api/chunked_upload_complete";
export const LIST_PATH = "/api/uploads";
/** Of tus, which tells what the server can do. */
const OPTIONS_PATH = "/files";
const STALL_SECONDS = 120;
const TOKEN_HEADER = "Upload-Token";

/** The server gave no usable response: trying again may help. */
export class Unanswered extends Error {
  constructor(message, afterSeconds = 0) {
    super(message);
    this.afterSeconds = afterSeconds;
  }
}

/** The server has refused the request. */
export class Refusal extends Error {
  constructor(status, answer) {
    super(typeof answer?.detail === "string" ? answer.detail : `status ${status}`);
    this.status = status;
    this.code = answer?.code;
    this.offset = answer?.offset;
  }

  /** Nobody works on a completion any more, perhaps after a crash. */
  get isAbandoned() {
    return this.code === "not-completing";
  }

  /** The server has nothing of the upload, or nothing any more. */
  get isGone() {
    return [404, 410].includes(this.status);
  }
}

export async function request(method, url, options = {}) {
  const { session } = options;
  try {
    return await send(method, url, options);
  } catch (error) {
    // The user's session has ended: the upload goes on by its token, if the server gave one.
    if (!session?.token || session.ended || ![401, 403].includes(error.status)) throw error;
    session.ended = true;
    return send(method, url, options);
  }
}

function send(method, url, options) {
  const { body = null, headers = {}, session } = options;
  const { signal, onprogress, stallSeconds = STALL_SECONDS } = options;
  return new Promise((resolve, reject) => {
    if (signal?.aborted) return reject(signal.reason);
    const xhr = new XMLHttpRequest();
    let stall;
    const watch = () => {
      clearTimeout(stall);
      stall = setTimeout(() => {
        reject(new Unanswered("The server does not answer"));
        xhr.abort();
      }, stallSeconds * 1000);
    };
    const abort = () => xhr.abort();

    xhr.open(method, url);
    xhr.responseType = "json";
    for (const [name, value] of Object.entries(headers)) xhr.setRequestHeader(name, value);
    if (session?.ended) xhr.setRequestHeader(TOKEN_HEADER, session.token);
    xhr.upload.onprogress = (event) => {
      watch();
      onprogress?.(event.loaded);
    };
    xhr.onload = () => {
      const { status, response } = xhr;
      const token = xhr.getResponseHeader(TOKEN_HEADER);
      if (session && token) session.token = token;
      const afterSeconds = Number(xhr.getResponseHeader("Retry-After")) || 0;
      if ([408, 425, 429].includes(status) || status >= 500 || (status === 409 && afterSeconds)) {
        const message =
          status >= 500 ? `The server has a problem (${status})` : "The server is too busy";
        reject(new Unanswered(message, afterSeconds));
      } else if (status >= 400) {
        reject(new Refusal(status, response));
      } else if (status === 202 && response?.status === "finishing") {
        // It takes long, and its answer will be there.
        const address = new URL(xhr.getResponseHeader("Location"), xhr.responseURL);
        // Another server is not to have the token.
        const isOurs = address.origin === location.origin;
        const ask = () => request("GET", address, { signal, session: isOurs ? session : undefined });
        setTimeout(() => resolve(ask()), (afterSeconds || 1) * 1000);
      } else {
        resolve(response);
      }
    };
    xhr.onerror = () => reject(new Unanswered("The server does not answer"));
    xhr.onabort = () => reject(signal?.reason);
    xhr.onloadend = () => {
      clearTimeout(stall);
      signal?.removeEventListener("abort", abort);
    };
    signal?.addEventListener("abort", abort);
    watch();
    xhr.send(body);
  });
}

export function statusUrl(id) {
  return `${CHUNK_PATH}?upload_id=${encodeURIComponent(id)}`;
}

/** The size of the largest file that the server takes, or 0 if it does not tell. */
export async function largestFile() {
  try {
    const { headers } = await fetch(OPTIONS_PATH, { method: "OPTIONS" });
    return Number(headers.get("Tus-Max-Size"));
  } catch {
    return 0;
  }
}

/** A name that nobody guesses. */
export function randomKey() {
  const bytes = crypto.getRandomValues(new Uint8Array(16));
  return Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");
}
