"""The network → files: OpenAI's released checkpoints, resumed and verified.

A model is fetched into `NAME.part/` beside its later place. Its files move to `NAME/`
when all of them are whole and verified, the largest one last, so that what stands there
is a model. A broken transfer goes on where it stopped, in the same run or a later one.
"""

import hashlib
import os
import re
import shutil
import threading
import time
from email.utils import parsedate_to_datetime
from pathlib import Path

import requests

from . import locate, lock
from .checkpoint import Checkpoint, CheckpointError, read_model
from .progress import Progress, notice

OPENAI = "https://openaipublic.blob.core.windows.net/gpt-2/models"
FILES = ("vocab.bpe", *locate.OPENAI_FILES)  # the tensors, by far the largest, last
VOCABULARY_SHA256 = "1ce1664773c50f3e0cc8842619a93edc4624525b728b188a9e0be33b7726adc5"
OFFLINE_AFTER = 5  # seconds without any answer
TIMEOUT = (5, 30)  # seconds to connect, and between two pieces of an answer
ATTEMPTS = 5  # in a row without a new byte
PATIENCE = 60  # seconds that a server may ask to be left alone
PROBLEMS: dict[type[Exception], str] = {
    requests.ConnectionError: "no connection",
    requests.Timeout: "no answer",
}
PASSING = {408, 425, 429, 500, 502, 503, 504}  # HTTP status of faults that may pass


class DownloadError(Exception):
    """A model that could not be fetched; the message says why. The next run goes on."""


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


def download(
    model: str, weights: str | Path | None = None, url: str | None = None
) -> Path:
    """Fetch a released model, unless it is there already, and return its directory.

    It comes from `url`, or else $MINIGPT2_URL, or else OpenAI's bucket. Raises ValueError
    for an unknown name, DownloadError if the server does not answer within 5 seconds or
    does not give the model, OSError if the disk does not take it.
    """
    name = locate.ALIASES.get(model, model)
    if name not in locate.RELEASED:
        known = ", ".join(locate.RELEASED)
        raise ValueError(f"{model!r} cannot be downloaded: {known} can")
    if there := locate.find(name, weights):
        Checkpoint(there)
        return there
    url = (url or os.environ.get("MINIGPT2_URL") or OPENAI).rstrip("/")
    final = locate.download_directory(weights) / name
    part = final.with_name(f"{name}.part")
    reach(url)
    mine = lock.take(part)
    if mine is None:
        raise DownloadError(f"another process is downloading to {part}")
    with mine:
        try:
            if there := locate.find(name, weights):  # another process was faster
                return there
            notice(f"downloading {name} from {url} to {final}")
            for file in FILES:
                fetch(f"{url}/{name}/{file}", part / file)
            _move(part, final, url)
        finally:
            if not any((part / file).exists() for file in FILES):
                shutil.rmtree(part, ignore_errors=True)
    return final


def _move(part: Path, final: Path, url: str) -> None:
    """Move the files to their place if they are a model, and delete them if not."""
    try:
        verify(part)
    except CheckpointError as error:
        for file in FILES:
            (part / file).unlink()
        problem = f"what came from {url} is not the model, and was deleted: {error}"
        raise DownloadError(problem) from None
    final.mkdir(exist_ok=True)
    for file in FILES:
        os.replace(part / file, final / file)


def verify(directory: Path) -> None:
    """Check a model on disk: that its sizes fit its tensors, the vocabulary by SHA-256,
    index and tensors by their CRCs.

    Raises CheckpointError at the first difference.
    """
    read_model(directory)
    checkpoint = Checkpoint(directory)
    vocabulary = directory / "vocab.bpe"
    if vocabulary.is_file():
        sha256 = hashlib.sha256(vocabulary.read_bytes()).hexdigest()
        if sha256 != VOCABULARY_SHA256:
            expected = f"expected {VOCABULARY_SHA256}; fetch it again"
            raise CheckpointError(f"{vocabulary}: SHA-256 {sha256}, {expected}")
    progress = Progress("verifying", checkpoint.path.stat().st_size)
    try:
        if checkpoint.verify(progress.add) == 0:
            notice(f"{checkpoint.path}: no checksums, only the structure was checked")
    finally:
        if progress.done:
            progress.close()


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
        except Exception as error:  # noqa: BLE001 whatever it is, it is told
            problem[:] = [PROBLEMS.get(type(error), str(error))]

    thread = threading.Thread(target=ask, daemon=True)
    thread.start()
    thread.join(OFFLINE_AFTER)
    if problem:
        raise DownloadError(f"cannot reach {url}: {problem[0]}")


def fetch(url: str, path: Path) -> None:
    """Fetch one file, and go on where an earlier try stopped; give up when ATTEMPTS tries
    in a row have brought nothing new. The server's ETag stays beside it, as `.etag`.

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


def _transfer(url: str, path: Path, have: int) -> None:
    """One try: append what the file lacks, or write it anew if the server has no ranges,
    or another file than the one that has come (its ETag is kept beside it)."""
    headers = {"Accept-Encoding": "identity"}  # no compression: lengths are of the file
    etag = path.with_name(f"{path.name}.etag")
    version = _strong(etag.read_text("latin-1")) if have and etag.exists() else ""
    if have:
        headers["Range"] = f"bytes={have}-"
    if version:
        headers["If-Range"] = version
    with requests.get(url, headers=headers, stream=True, timeout=TIMEOUT) as response:
        status = response.status_code
        content_range = response.headers.get("Content-Range", "")  # "bytes 7-9/10"
        now = _strong(response.headers.get("ETag", ""))
        changed = bool(version and now and now != version)
        if status == 200:
            if response.headers.get("Content-Type", "").startswith("text/html"):
                problem = "a web page came: does the network want you to log in?"
                raise DownloadError(f"{url}: {problem}")
            have, total = 0, response.headers.get("Content-Length", "")
        elif status == 416 and content_range == f"bytes */{have}" and not changed:
            return  # the file was whole
        elif status == 416 or (status == 206 and changed):
            path.unlink()
            raise _Broken("the file on the server has changed")
        elif status == 206 and content_range.startswith(f"bytes {have}-"):
            total = content_range.rpartition("/")[2]
        elif status in PASSING:
            retry_after = response.headers.get("Retry-After", "")
            problem = f"{status} {response.reason} {retry_after[:40]}".rstrip()
            raise _Broken(problem, _seconds(retry_after))
        else:
            raise DownloadError(f"{url}: {status} {response.reason} {content_range}")
        progress = Progress(path.name, int(total) if total.isdecimal() else 0, have)
        try:
            with open(path, "ab" if have else "wb") as file:
                if not have:
                    etag.write_text(now)
                for piece in response.iter_content(1 << 16):
                    file.write(piece)
                    progress.add(len(piece))
        finally:
            progress.close()
    if progress.done != (progress.total or progress.done) or progress.done == 0:
        raise _Broken(f"{progress.done} of {progress.total} bytes came")


def _strong(etag: str) -> str:
    """An ETag that stands for the very bytes of a file, or else nothing."""
    return etag if re.fullmatch('"[!#-~]+"', etag) else ""


def _seconds(retry_after: str) -> float:
    """How long a server asks to be left alone: seconds, or the date when that ends."""
    if retry_after.isdecimal():
        return float(retry_after)
    try:
        return parsedate_to_datetime(retry_after).timestamp() - time.time()
    except (TypeError, ValueError, OverflowError, OSError):
        return 0
