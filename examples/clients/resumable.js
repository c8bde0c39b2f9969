// Sends a file as the body of one request, and resumes it after a failure; in a page or in Node.
//
//     const onprogress = (sent, total) => …;
//     const response = await upload("/inbox", input.files[0], { onprogress });

/** The application's answer, or a refusal. `headers` are for each request: credentials, say. */
export async function upload(url, file, options = {}) {
  const { method = "POST", headers = {}, chunkBytes = 8e6, onprogress } = options;
  const { name = "", size, type } = file;
  const begun = await request(url, {
    method,
    headers: {
      ...headers,
      "Content-Type": type || "application/octet-stream",
      "Content-Disposition": `attachment; filename*=UTF-8''${encode(name)}`,
      "Upload-Complete": "?0",
      "Upload-Length": size,
    },
  });
  if (!begun.ok) return begun;
  if (begun.headers.get("Upload-Complete") !== "?0") throw new Error(`${url} is not resumable`);
  const upload = new URL(begun.headers.get("Location"), begun.url);

  let offset = 0;
  let failures = 0;
  for (;;) {
    onprogress?.(offset, size);
    const end = Math.min(offset + chunkBytes, size);
    const answer = await fetch(upload, {
      method: "PATCH",
      headers: {
        ...headers,
        "Content-Type": "application/partial-upload",
        "Upload-Offset": offset,
        "Upload-Complete": end < size ? "?0" : "?1",
      },
      body: file.slice(offset, end),
    }).catch(() => null);
    const response = await settled(answer, headers);
    if (response && !mayChange(response)) {
      if (response.ok && end === size) onprogress?.(size, size);
      if (!response.ok || end === size) return response;
      offset = end;
      failures = 0;
      continue;
    }

    // What arrived before the failure was kept.
    const state = await request(upload, { method: "HEAD", headers });
    if (!state.ok) return state;
    const reached = Number(state.headers.get("Upload-Offset"));
    failures = reached > offset ? 0 : failures + 1;
    if (failures > TRIES) return response ?? Promise.reject(new Error(SILENT));
    await pause(failures, response);
    offset = reached;
  }
}

/**
 * What the application answers at last, if it takes long; or null, if that cannot be told now. A 410
 * with the code `answer-not-kept` means that it has taken the file.
 */
async function settled(response, headers) {
  for (;;) {
    const later = response?.status === 202 && response.headers.get("Content-Location");
    const state = later && (await response.clone().json().catch(() => null));
    if (state?.status !== "finishing") return response;
    const address = new URL(later, response.url);
    // The headers may be credentials.
    if (address.origin !== new URL(response.url).origin) throw new Error("The answer is elsewhere");
    await pause(1, response);
    response = await fetch(address, { headers }).catch(() => null);
  }
}

/** Repeats a request if there is no response, or one that may change, with longer pauses. */
async function request(url, options) {
  for (let failures = 1; ; failures += 1) {
    const response = await fetch(url, options).catch(() => null);
    if (response && !mayChange(response)) return response;
    if (failures > TRIES) return response ?? Promise.reject(new Error(SILENT));
    await pause(failures, response);
  }
}

// A 409 says that the upload has another offset.
function mayChange({ status }) {
  return status >= 500 || [408, 409, 423, 429].includes(status);
}

function pause(failures, response) {
  const seconds = failures && Math.min(2 ** (failures - 1), 30);
  const atLeast = Number(response?.headers.get("Retry-After")) || 0;
  return new Promise((resolve) => setTimeout(resolve, Math.max(seconds, atLeast) * 1000));
}

/** As in RFC 8187. */
function encode(name) {
  const code = (char) => `%${char.charCodeAt(0).toString(16)}`;
  return encodeURIComponent(name).replace(/['()*]/g, code);
}

const TRIES = 8;
const SILENT = "The server does not answer";
