// Sends a file in chunks, and resumes it after a failure or a reload of the page.
//
//     const saved = await upload(input.files[0], { onprogress: (sent, total) => … });

import { Md5 } from "./md5.js";

/** `md5` has `update(bytes)` and `hex()`. */
export async function upload(file, options = {}) {
  const { url = "/api/chunked_upload", chunkBytes = 8e6, onprogress, md5 = new Md5() } = options;
  const { name, size } = file;
  const key = `upload ${name} ${size} ${file.lastModified}`;
  // If the answer to the first chunk is lost, the same request gives the same upload.
  const once = crypto.getRandomValues(new Uint32Array(4)).join("-").padStart(16, "0");
  const session = { token: null, ended: false };
  let { upload_id: id, offset } = await begun(session, url, localStorage.getItem(key));

  let hashed = 0;
  const hashTo = async (end) => {
    while (hashed < end) {
      const piece = file.slice(hashed, Math.min(hashed + chunkBytes, end));
      md5.update(new Uint8Array(await piece.arrayBuffer()));
      hashed += piece.size;
    }
  };

  while (!id || offset < size) {
    const end = Math.min(offset + chunkBytes, size);
    const form = new FormData();
    if (id) form.append("upload_id", id);
    form.append("file", file.slice(offset, end), name);
    // There is no range for an empty file.
    const headers = size > 0 ? { "Content-Range": `bytes ${offset}-${end - 1}/${size}` } : {};
    if (!id) headers["Idempotency-Key"] = `"${once}"`;
    const sent = request(session, url, { method: "POST", headers, body: form }).catch((error) => {
      // The response to an earlier try was lost: the next chunk begins elsewhere.
      if (!id || !("offset" in (error.answer ?? {}))) throw error;
      return { upload_id: id, ...error.answer };
    });
    const [answer] = await Promise.all([sent, hashTo(end)]);
    ({ upload_id: id, offset } = answer);
    localStorage.setItem(key, id);
    onprogress?.(offset, size);
  }

  await hashTo(size);
  const saved = await complete(session, url, id, md5.hex()).catch((error) => {
    // The server would refuse it again.
    if ([400, 410].includes(error.status)) localStorage.removeItem(key);
    throw error;
  });
  localStorage.removeItem(key);
  return saved;
}

/** The status of an upload that was begun before, if it still exists. */
async function begun(session, url, id) {
  const fresh = { upload_id: null, offset: 0 };
  if (!id) return fresh;
  try {
    const answer = await request(session, `${url}?upload_id=${id}`);
    return answer.status === "complete" ? fresh : answer;
  } catch (error) {
    if ([404, 410].includes(error.status)) return fresh;
    throw error;
  }
}

async function complete(session, url, id, md5, triesLeft = 3) {
  try {
    const body = new URLSearchParams({ upload_id: id, md5 });
    const completeUrl = `${url.replace(/\/+$/, "")}_complete`;
    return await request(session, completeUrl, { method: "POST", body });
  } catch (error) {
    // Nobody works on it any more, perhaps after a crash.
    if (error.answer?.code === "not-completing" && triesLeft > 0) {
      await pause(1);
      return complete(session, url, id, md5, triesLeft - 1);
    }
    // The response to an earlier try may have been lost, or may still be pending.
    const isOver = ["already-complete", "answer-not-kept", "finishing"].includes(error.answer?.code);
    if (error.status && !isOver) throw error;
    for (;;) {
      const answer = await request(session, `${url}?upload_id=${id}`);
      if (answer.status === "complete") return answer;
      if (answer.status !== "finishing") throw error;
      await pause(1);
    }
  }
}

/** Repeats a request if there is no response, or one that may change, with longer pauses. */
async function request(session, url, options = {}, triesLeft = 8, seconds = 1) {
  const headers = { ...options.headers };
  if (session.ended) headers["Upload-Token"] = session.token;
  const response = await fetch(url, { ...options, headers }).catch(() => null);
  session.token = response?.headers.get("Upload-Token") ?? session.token;
  if (response?.ok) {
    const answer = await response.json();
    if (response.status !== 202 || answer.status !== "finishing") return answer;
    // It takes long, and its answer will be there. Another server is not to have the token.
    const address = new URL(response.headers.get("Location"), response.url);
    if (address.origin !== new URL(response.url).origin) throw new Error("The answer is elsewhere");
    await pause(Number(response.headers.get("Retry-After")) || 1);
    return request(session, address);
  }
  // The user's session has ended: the upload goes on by its token, if the server gave one.
  if ([401, 403].includes(response?.status) && session.token && !session.ended) {
    session.ended = true;
    return request(session, url, options, triesLeft, seconds);
  }
  if (triesLeft > 0 && mayChange(response)) {
    await pause(Math.max(seconds, Number(response?.headers.get("Retry-After")) || 0));
    return request(session, url, options, triesLeft - 1, Math.min(seconds * 2, 30));
  }
  const answer = await response?.json().catch(() => null);
  const message = answer?.detail ?? "The server does not answer";
  throw Object.assign(new Error(message), { status: response?.status, answer });
}

// A 409 without Retry-After means that another tab, for example, has continued the upload.
function mayChange(response) {
  if (!response) return true;
  const { status, headers } = response;
  return status >= 500 || status === 408 || headers.has("Retry-After");
}

function pause(seconds) {
  return new Promise((resolve) => setTimeout(resolve, seconds * 1000));
}
