// Uploads in chunks with blueimp-file-upload 10. They resume after a lost connection or a server
// restart, and if the file is chosen again after a reload.

import { Md5 } from "/md5.js";

const CHUNKS = "/api/chunked_upload";
const COMPLETE = "/api/chunked_upload_complete";
const MIB = 1024 * 1024;
const MAX_RETRIES = 10;
const LONGEST_WAIT_SECONDS = 30;

$("#upload")
  .on("submit", false)
  .fileupload({
    url: CHUNKS,
    dataType: "json",
    maxChunkSize: 4 * MIB,
    add(event, data) {
      data.upload = new Upload(data, $(this).serializeArray());
      data.upload.resume();
    },
    // Called before each chunk; `this` is that chunk's options.
    formData() {
      return this.upload.fields();
    },
    send: putFieldsInQuery,
    chunkbeforesend: putFieldsInQuery,
    chunkdone(event, { upload, result }) {
      upload.remember(result.upload_id);
    },
    progress(event, { upload, loaded, total }) {
      upload.row.find("progress").val(loaded / total);
    },
    done(event, { upload, result }) {
      upload.remember(result.upload_id);
      upload.complete();
    },
    fail(event, { upload, jqXHR }) {
      upload.failed(jqXHR);
    },
  });

/** With `multipart: false`, the plugin sends only the bytes, so the fields go into the query. */
function putFieldsInQuery(event, data) {
  if (!data.multipart) data.url = `${CHUNKS}?${$.param(data.formData())}`;
}

class Upload {
  failures = 0;
  cancelled = false;

  constructor(data, extra) {
    [this.file] = data.files;
    this.data = data;
    this.extra = extra;
    const { name, size, lastModified } = this.file;
    this.key = `upload:${name}:${size}:${lastModified}`;
    this.id = localStorage.getItem(this.key);
    this.row = $($("#row").html()).appendTo("#uploads");
    this.row.find("b").text(name);
    this.row.find("button").on("click", () => this.cancel());
  }

  say(text) {
    this.row.find("[role=status]").text(text);
  }

  /** The fields of a chunk. The first has no id yet: it is in the response. */
  fields() {
    return this.id ? [...this.extra, { name: "upload_id", value: this.id }] : this.extra;
  }

  remember(id) {
    this.failures = 0;
    this.id = id;
    localStorage.setItem(this.key, id);
    this.say("");
  }

  forget() {
    this.id = null;
    localStorage.removeItem(this.key);
  }

  /** Continues from the server's offset. */
  async resume() {
    try {
      const { offset, status } = await this.standing();
      if (this.cancelled) return;
      if (status === "complete") this.finished();
      else if (status === "finishing") this.tryLater();
      else if (this.id && offset >= this.file.size) this.complete();
      else {
        this.data.uploadedBytes = offset;
        this.data.submit();
      }
    } catch (error) {
      this.failed(error);
    }
  }

  async standing() {
    try {
      if (this.id) return await $.getJSON(CHUNKS, { upload_id: this.id });
    } catch (error) {
      if (![404, 410].includes(error.status)) throw error;
      this.forget();
    }
    return { offset: 0 };
  }

  async complete() {
    try {
      this.say("Checking");
      this.md5 ??= await md5(this.file);
      if (this.cancelled) return;
      let request = $.post(COMPLETE, { upload_id: this.id, md5: this.md5 });
      // An application that takes long has its answer there, and may still refuse the file.
      while ((await request)?.status === "finishing" && request.status === 202) {
        const seconds = Number(request.getResponseHeader("Retry-After")) || 1;
        await new Promise((resolve) => setTimeout(resolve, seconds * 1000));
        if (this.cancelled) return;
        request = $.get(request.getResponseHeader("Location"));
      }
      this.finished();
    } catch (error) {
      // The application has taken the file, and its answer is gone.
      if (error.responseJSON?.code === "answer-not-kept") this.finished();
      else this.failed(error);
    }
  }

  finished() {
    this.forget();
    this.row.find("progress").val(1);
    this.row.find("button").remove();
    this.say("Saved");
  }

  failed(error) {
    if (this.cancelled) return;
    if (mayPass(error) && this.failures < MAX_RETRIES) {
      this.say(`${reason(error)}. Trying again …`);
      this.tryLater();
    } else {
      // This upload is lost; if the file is chosen again, a new one begins.
      if (isFinal(error)) this.forget();
      this.say(reason(error));
    }
  }

  tryLater() {
    const seconds = Math.min(2 ** this.failures, LONGEST_WAIT_SECONDS);
    this.failures += 1;
    this.timer = setTimeout(() => this.resume(), seconds * 1000);
  }

  async cancel() {
    this.cancelled = true;
    clearTimeout(this.timer);
    this.data.abort();
    try {
      if (this.id) await $.ajax(`${CHUNKS}?upload_id=${this.id}`, { method: "DELETE" });
    } catch (error) {
      if (![404, 410].includes(error.status)) return this.say(reason(error));
    }
    this.forget();
    this.row.remove();
  }
}

/** Whether the upload itself is refused, and not only this attempt or this user. */
function isFinal({ status }) {
  return status >= 400 && status <= 500 && ![401, 403, 408, 409, 429].includes(status);
}

/** Whether the same may work later. A request without a response has status 0. */
function mayPass(error) {
  return (
    error.status === 0 ||
    error.status === 408 ||
    error.status >= 500 ||
    error.getResponseHeader?.("Retry-After") ||
    error.responseJSON?.offset !== undefined ||
    // Nobody works on it any more, perhaps after a crash.
    error.responseJSON?.code === "not-completing"
  );
}

function reason({ status, responseJSON, message }) {
  if (status === 0) return "The server does not answer";
  return responseJSON?.detail ?? message ?? `The server answers with status ${status}`;
}

async function md5(file) {
  const digest = new Md5();
  for (let start = 0; start < file.size; start += MIB) {
    digest.update(new Uint8Array(await file.slice(start, start + MIB).arrayBuffer()));
  }
  return digest.hex();
}
