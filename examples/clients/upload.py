"""Sends a file in chunks, and resumes it after the network or the server has failed.

    python3 upload.py FILE [URL [UPLOAD_ID]]

With the id of an unfinished upload, it resumes that one. It needs the package requests.
"""

import hashlib
import os
import sys
import time
import uuid
from urllib.parse import quote, urljoin, urlsplit

import requests
from requests.adapters import HTTPAdapter, Retry

URL = "http://127.0.0.1:3000/api/chunked_upload"
CHUNK_BYTES = int(os.environ.get("CHUNK_BYTES", 8_000_000))
TIMEOUT = (10, 300)
OVER = ("already-complete", "answer-not-kept", "finishing")
TOKEN = "Upload-Token"


class Refused(Exception):
    """The server has refused the request."""

    def __init__(self, response):
        self.status = response.status_code
        self.answer = members(response)
        super().__init__(self.answer.get("detail", f"Status {self.status}"))


class Patience(Retry):
    # A 409 without Retry-After means that somebody else has continued the upload.
    RETRY_AFTER_STATUS_CODES = frozenset([409, 429, 503])


class Server(requests.Session):
    """Knows the last token of the upload, if the server has given one."""

    token = None


class Source:
    """A file that is hashed as it is read, each byte once."""

    def __init__(self, file):
        self.file = file
        self.size = os.fstat(file.fileno()).st_size
        self.md5 = hashlib.md5(usedforsecurity=False)
        self.hashed = 0

    def read(self, start, end):
        while self.hashed < start:
            self._read(self.hashed, min(self.hashed + CHUNK_BYTES, start))
        return self._read(start, end)

    def _read(self, start, end):
        self.file.seek(start)
        data = self.file.read(end - start)
        self.md5.update(memoryview(data)[self.hashed - start :])
        self.hashed = max(self.hashed, end)
        return data


def upload(path, url=URL, upload_id=None, on_progress=None):
    """Sends the file and returns the server's response."""
    name = quote(name_of(path), safe="")
    with open(path, "rb") as file, session() as server:
        source = Source(file)
        offset = status(server, url, upload_id)["offset"] if upload_id else 0
        once = uuid.uuid4()
        while upload_id is None or offset < source.size:
            end = min(offset + CHUNK_BYTES, source.size)
            headers = {"Content-Disposition": f"attachment; filename*=utf-8''{name}"}
            if source.size > 0:  # there is no range for an empty file
                headers["Content-Range"] = f"bytes {offset}-{end - 1}/{source.size}"
            if upload_id is None:  # if the answer is lost, the same request gives the same upload
                headers["Idempotency-Key"] = f'"{once}"'
            query, data = {"upload_id": upload_id}, source.read(offset, end)
            try:
                answer = ask(server, "POST", url, params=query, headers=headers, data=data).json()
            except Refused as refused:
                # The response to an earlier try was lost: the next chunk begins elsewhere.
                if upload_id is None or "offset" not in refused.answer:
                    raise
                answer = {"upload_id": upload_id, **refused.answer}
            upload_id, offset = answer["upload_id"], answer["offset"]
            if on_progress:
                on_progress(upload_id, offset, source.size)
        source.read(source.size, source.size)
        return complete(server, url, upload_id, source.md5.hexdigest())


def name_of(path):
    """The name for the server; bytes that are not UTF-8 are read as Latin-1."""
    name = os.fsencode(os.path.basename(path))
    try:
        return name.decode("utf-8")
    except UnicodeDecodeError:
        return name.decode("latin-1")


def complete(server, url, upload_id, md5, tries_left=3):
    path = urlsplit(url).path.rstrip("/") + "_complete"
    complete_url = urlsplit(url)._replace(path=path).geturl()
    try:
        data = {"upload_id": upload_id, "md5": md5}
        return content(follow(server, ask(server, "POST", complete_url, data=data)))
    except Refused as refused:
        # Nobody works on it any more, perhaps after a crash.
        if refused.answer.get("code") == "not-completing" and tries_left > 0:
            time.sleep(1)
            return complete(server, url, upload_id, md5, tries_left - 1)
        # The response to an earlier try may have been lost, or may still be pending. One below 400
        # is elsewhere, where this client does not go.
        if refused.status >= 400 and refused.answer.get("code") not in OVER:
            raise
        while (answer := status(server, url, upload_id))["status"] == "finishing":
            time.sleep(1)
        if answer["status"] != "complete":
            raise
        return answer


def follow(server, response):
    """Waits for the answer to a completion that takes long, at the address in its first one."""
    while response.status_code == 202 and members(response).get("status") == "finishing":
        address = urljoin(response.url, response.headers["Location"])
        if urlsplit(address)[:2] != urlsplit(response.url)[:2]:
            raise Refused(response)
        wait = response.headers.get("Retry-After", "")
        time.sleep(int(wait) if wait.isdigit() else 1)
        response = ask(server, "GET", address)
    return response


def status(server, url, upload_id):
    return ask(server, "GET", url, params={"upload_id": upload_id}).json()


def content(response):
    """The JSON of a response; an application may answer with something else, or with nothing."""
    try:
        return response.json()
    except requests.JSONDecodeError:
        return {}


def members(response):
    answer = content(response)
    return answer if isinstance(answer, dict) else {}


def ask(server, method, url, **request):
    # Another server is not to have the token, and the page of a login is no answer.
    response = server.request(method, url, timeout=TIMEOUT, allow_redirects=False, **request)
    server.token = response.headers.get(TOKEN, server.token)
    if response.status_code in (401, 403) and server.token and TOKEN not in server.headers:
        # The user's session has ended: the upload goes on by its token.
        server.headers[TOKEN] = server.token
        return ask(server, method, url, **request)
    if response.status_code >= 300:
        raise Refused(response)
    return response


def session():
    """Repeats requests without a response, or with one that may change, with longer pauses."""
    patience = Patience(
        total=8,
        backoff_factor=1,
        status_forcelist=[408, 500, 502, 503, 504, 507],
        allowed_methods=None,
        raise_on_status=False,
    )
    server = Server()
    server.mount("http://", HTTPAdapter(max_retries=patience))
    server.mount("https://", HTTPAdapter(max_retries=patience))
    return server


def main():
    if not 2 <= len(sys.argv) <= 4:
        sys.exit(__doc__.strip())
    upload_id = sys.argv[3] if len(sys.argv) > 3 else None

    def on_progress(known, offset, total):
        nonlocal upload_id
        upload_id = known
        print(f"{offset} of {total} bytes", file=sys.stderr)

    try:
        print(upload(*sys.argv[1:], on_progress=on_progress))
    except Refused as refused:
        sys.exit(f"{refused} (upload {upload_id})")
    except requests.RequestException:
        sys.exit(f"The server does not answer (upload {upload_id})")
    except OSError as error:
        sys.exit(str(error))


if __name__ == "__main__":
    main()
