"""One URL → one file: how does a broken transfer go on where it stopped?"""

import itertools
import re
import threading
import time
from pathlib import Path

import requests

from .progress import Progress

OFFLINE_AFTER = 5  # seconds without any answer
TIMEOUT = (5, 30)  # seconds to connect, and between two pieces of an answer
ATTEMPTS = 5  # in a row without a new byte
PATIENCE = 60  # seconds that a server may ask to be left alone
PROBLEMS: dict[type[Exception], str] = {
    requests.ConnectionError: "no connection",
    requests.Timeout: "no answer",
}
PASSING = {408, 425, 429, 500, 502, 503, 504}  # HTTP status of faults that may pass

SHA256 = re.compile('"?[0-9a-f]{64}"?')


class DownloadError(Exception):
    """A model that could not be fetched; the message says why. The next run goes on.

    status  what the server has answered, in HTTP; 0: it has not; None: that was no fault
    """

    def __init__(self, problem: object, status: int | None = None) -> None:
        super().__init__(problem)
        self.status = status


class _Broken(Exception):
    """A fault that may pass, though not before `wait` seconds have."""

    def __init__(self, problem: str, wait: float = 0) -> None:
        super().__init__(problem)
        self.wait = wait


PASSING_ERRORS = (
    _Broken,
    requests.ConnectionError,
    requests.Timeout,
    requests.exceptions.ChunkedEncodingError,
)


def reach(url: str) -> None:
    """Raise DownloadError unless the server gives some answer within OFFLINE_AFTER seconds.

    It is asked in a thread, because the look-up of its name knows no time limit.
    """
    if not url.startswith(("http://", "https://")):
        raise DownloadError(f"{url} is not a URL that begins with http:// or https://")
    problem = [f"no answer within {OFFLINE_AFTER} seconds"]

    def ask() -> None:
        try:
            requests.head(url, timeout=OFFLINE_AFTER)
            problem.clear()
        except Exception as error:  # noqa: BLE001 whatever it is, it is reported
            problem[:] = [PROBLEMS.get(type(error), str(error))]

    thread = threading.Thread(target=ask, daemon=True)
    thread.start()
    thread.join(OFFLINE_AFTER)
    if problem:
        raise DownloadError(f"cannot reach {url}: {problem[0]}", status=0)


def fetch(url: str, path: Path) -> str:
    """Fetch one file, and go on where an earlier try stopped; give up when ATTEMPTS tries
    in a row have brought nothing new. Returns the SHA-256 of the file if the server is the
    hub and states it, or nothing. The file's version, its ETag, is noted in `.etag`.

    Raises DownloadError if the server does not give it, OSError if the disk does not
    take it.
    """
    failures = most = 0
    while True:
        before = path.stat().st_size if path.exists() else 0
        most = max(most, before)
        try:
            return _transfer(url, path, before)
        except PASSING_ERRORS as error:
            came = path.exists() and path.stat().st_size > most
            failures = 1 if came else failures + 1
            wait = max(2 ** (failures - 1), getattr(error, "wait", 0))
            if failures == ATTEMPTS or wait > PATIENCE:
                problem = f"{url}: {error}; run the same command again to go on"
                raise DownloadError(problem) from None
            time.sleep(wait)
        except (requests.RequestException, ValueError) as error:  # say, a bad URL
            raise DownloadError(f"{url}: {error}") from None
        except OSError as error:
            raise OSError(f"cannot write {path}: {error.strerror or error}") from None


def _transfer(url: str, path: Path, have: int) -> str:
    """One try: append what the file lacks, or write it anew if the server has no ranges,
    or another version than the one that has come."""
    headers = {"Accept-Encoding": "identity"}  # no compression: lengths are of the file
    if have:
        headers["Range"] = f"bytes={have}-"
    noted = path.with_name(f"{path.name}.etag")
    with requests.get(url, headers=headers, stream=True, timeout=TIMEOUT) as response:
        status = response.status_code
        # The hub states its ETag where it sends us on; that of a large file is its SHA-256.
        answers = [answer.headers for answer in (*response.history, response)]
        stated = [headers.get("X-Linked-ETag", "") for headers in answers]
        version = next(filter(None, stated), response.headers.get("ETag", ""))
        sha256 = next(filter(SHA256.fullmatch, stated), "").strip('"')
        before = noted.read_text("latin-1") if have and noted.exists() else ""
        same = not (version and before) or version == before
        content_range = response.headers.get("Content-Range", "")  # "bytes 7-9/10"
        if status == 416 and same and content_range == f"bytes */{have}":
            return sha256  # the file was whole
        if status == 206 and same and content_range.startswith(f"bytes {have}-"):
            total = content_range.rpartition("/")[2]
        elif status in (206, 416):
            path.unlink(missing_ok=True)
            raise _Broken("the file on the server has changed")
        elif status == 200:
            have, total = 0, response.headers.get("Content-Length", "")
        elif status in PASSING:
            wait = response.headers.get("Retry-After", "")  # seconds
            problem = f"{status} {response.reason} {wait[:40]}".rstrip()
            raise _Broken(problem, float(wait) if wait.isdecimal() else 0)
        else:
            raise DownloadError(f"{url}: {status} {response.reason}", status)
        pieces = response.iter_content(1 << 16)
        first = next(pieces, b"")
        if not have and (
            response.headers.get("Content-Type", "").startswith("text/html")
            or first.lstrip()[:9].lower().startswith((b"<!doctype", b"<html"))
        ):
            problem = "a web page came: does the network want you to log in?"
            raise DownloadError(f"{url}: {problem}")
        progress = Progress(path.name, int(total) if total.isdecimal() else 0, have)
        try:
            with open(path, "ab" if have else "wb") as file:
                if not have:
                    noted.write_text(version, "latin-1")
                for piece in itertools.chain([first], pieces):
                    file.write(piece)
                    progress.add(len(piece))
        finally:
            progress.close()
    if progress.done != (progress.total or progress.done) or progress.done == 0:
        raise _Broken(f"{progress.done} of {progress.total} bytes came")
    return sha256
