"""A download comes whole or not at all, from a real server on this machine."""

import gzip
import io
import itertools
import os
import random
import shutil
import signal
import socket
import struct
import sys
import threading
import time
from collections import Counter
from contextlib import contextmanager
from email.utils import formatdate
from functools import partial
from http.server import (
    BaseHTTPRequestHandler,
    SimpleHTTPRequestHandler,
    ThreadingHTTPServer,
)
from pathlib import Path

import helpers
import pytest
from helpers import AUDIT, SMALL, finish

import minigpt2
from minigpt2.files import download, locate, lock, transfer
from minigpt2.files.transfer import DownloadError

PACKAGE = Path(minigpt2.__file__).parent
FILES = {name: (SMALL / name).read_bytes() for name in locate.OPENAI_FILES}
FILES["vocab.bpe"] = (PACKAGE / "vocab.bpe").read_bytes()
DATA, INDEX, HPARAMS = (
    "model.ckpt.data-00000-of-00001",
    "model.ckpt.index",
    "hparams.json",
)
PIECE = 1 << 16  # a broken transfer may lose what has come of the last piece


# The server. A behaviour answers one request: (handler, file's bytes, first byte asked).


def reply(handler, status, body=b"", **headers):
    handler.send_response(status)
    for name, value in ({"Content_Length": len(body)} | headers).items():
        handler.send_header(name.replace("_", "-"), str(value))
    handler.end_headers()
    handler.server.sent[handler.file] += len(body)
    handler.wfile.write(body)


def whole(handler, body, start, cut=None, **headers):
    """What a good server answers, or only the first `cut` bytes of it."""
    if start is None:
        length = {"Content_Length": len(body)} | headers
        reply(handler, 200, body[:cut], **length)
    elif start < len(body):
        rest, last = body[start:], f"{len(body) - 1}/{len(body)}"
        where = {"Content_Length": len(rest), "Content_Range": f"bytes {start}-{last}"}
        reply(handler, 206, rest[:cut], **where | headers)
    else:
        reply(handler, 416, Content_Range=f"bytes */{len(body)}", **headers)


def cut_after(n):
    return partial(whole, cut=n)


def without_ranges(handler, body, start, cut=None, **headers):
    whole(handler, body, None, cut, **headers)


def flipped(position):
    """One byte is wrong."""

    def behaviour(handler, body, start):
        wrong = bytearray(body)
        wrong[position] ^= 1
        whole(handler, bytes(wrong), start)

    return behaviour


def longer(handler, body, start):
    """The stated length is ten bytes more than come."""
    without_ranges(handler, body, start, Content_Length=len(body) + 10)


def shorter(handler, body, start):
    without_ranges(handler, body, start, Content_Length=len(body) - 10)


def status(code, **headers):
    return lambda handler, body, start: reply(handler, code, **headers)


def raw(answer):
    """Bytes that are no answer of HTTP, or a strange one; then the connection ends."""
    return lambda handler, body, start: handler.wfile.write(answer)


def reset_after(n):
    """The connection is torn down: what is on its way is lost."""

    def behaviour(handler, body, start):
        whole(handler, body, start, cut=n)
        linger = struct.pack("ii", 1, 0)
        handler.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
        handler.wfile = handler.rfile = io.BytesIO()
        handler.connection.detach() if sys.platform == "win32" else os.close(
            handler.connection.detach()
        )

    return behaviour


def stall_after(n):
    """So much comes, and then nothing, until the client has gone."""

    def behaviour(handler, body, start):
        whole(handler, body, start, cut=n)
        handler.connection.recv(1)

    return behaviour


def chunked(handler, body, start, size=b"%x", end=b"0\r\n\r\n"):
    """No length is stated: the file comes in chunks, each with its own."""
    handler.wfile.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
    for i in range(0, len(body), 50_000):
        piece = body[i : i + 50_000]
        handler.wfile.write((size % len(piece)) + b"\r\n" + piece + b"\r\n")
    handler.wfile.write(end)


def until_the_end(handler, body, start, cut=None):
    """No length is stated: the file ends when the connection does."""
    handler.wfile.write(b"HTTP/1.0 200 OK\r\n\r\n" + body[:cut])


def compressed(handler, body, start):
    """Nobody asked for that."""
    without_ranges(handler, gzip.compress(body), start, Content_Encoding="gzip")


def edition(etag, body=None, cut=None, if_range=True):
    """A file that may change, with an ETag; some servers do not know If-Range."""

    def behaviour(handler, good, start):
        asked = handler.headers.get("If-Range", etag)
        start = None if if_range and asked != etag else start
        whole(handler, good if body is None else body, start, cut, ETag=etag)

    return behaviour


def login_page(handler, body, start):
    reply(handler, 200, b"<!DOCTYPE html>\n<p>Log in to the school's network</p>\n")


def circle(handler, body, start):
    reply(handler, 302, Location=handler.path)


def another_range(handler, body, start):
    if start is None:
        return whole(handler, body, start)
    reply(handler, 206, body, Content_Range=f"bytes 0-{len(body) - 1}/{len(body)}")


def in_portions(handler, body, start):
    """Less is sent than was asked for, and the answer says so."""
    start = start or 0
    portion = body[start : start + 100_000]
    where = f"bytes {start}-{start + len(portion) - 1}/{len(body)}"
    reply(handler, 206, portion, Content_Range=where)


class Handler(BaseHTTPRequestHandler):
    def do_HEAD(self):
        self.file = None
        self.server.asked.append(("HEAD", self.path, None))
        reply(self, self.server.head)

    def do_GET(self):
        self.file = self.path.rpartition("/")[2]
        asked = self.headers.get("Range")
        self.server.asked.append(("GET", self.path, asked))
        if self.path != f"/models/124M/{self.file}" or self.file not in FILES:
            return reply(self, 404)
        start = None if asked is None else int(asked[len("bytes=") : -len("-")])
        behaviour = next(self.server.behaviour.get(self.file, iter(())), whole)
        behaviour(self, FILES[self.file], start)

    def log_message(self, *args):
        pass


@contextmanager
def serving():
    """A mirror of a "124M" that is the small official checkpoint.

    behaviour  by file: how to answer its next requests; then, as a good server does
    head       the status of the answer to HEAD
    asked      all requests: (method, path, range)
    sent       by file: how many of its bytes were sent
    """
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.handle_error = lambda request, address: None  # the client has gone
    server.url = f"http://127.0.0.1:{server.server_port}/models"
    server.behaviour, server.asked, server.sent = {}, [], Counter()
    server.head = 404
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    yield server
    server.shutdown()
    server.server_close()
    thread.join()


@pytest.fixture
def server():
    with serving() as server:
        yield server


def behave(server, file, *behaviours, always=None):
    """Answer the next requests for a file like this, or all of them."""
    later = itertools.repeat(always) if always else ()
    server.behaviour[file] = itertools.chain(behaviours, later)


def ranges(server, file):
    """The ranges that were asked of a file, None for the whole."""
    return [asked for _, path, asked in server.asked if path.endswith(f"/{file}")]


@pytest.fixture(autouse=True)
def alone(tmp_path, monkeypatch):
    """Only the model that a test downloads is on this machine."""
    elsewhere = tmp_path / "installed" / "minigpt2"
    monkeypatch.setattr(locate, "__file__", str(elsewhere / "locate.py"))
    monkeypatch.setattr(locate, "INSTALLED", elsewhere / "weights")
    for name in ("HOME", "XDG_CACHE_HOME", "LOCALAPPDATA"):
        monkeypatch.setenv(name, str(tmp_path / "home"))
    for name in ("MINIGPT2_WEIGHTS", "MINIGPT2_URL"):
        monkeypatch.delenv(name, raising=False)
    for name in ("NO_PROXY", "no_proxy"):
        monkeypatch.setenv(name, "127.0.0.1")


@pytest.fixture
def sleeps(monkeypatch):
    """The waits between tries, which then take no time."""
    seconds = []
    monkeypatch.setattr(transfer.time, "sleep", seconds.append)
    return seconds


@pytest.fixture(scope="session")
def installed(tmp_path_factory):
    """A copy of the package that is no checkout, so that it knows of no other weights."""
    directory = tmp_path_factory.mktemp("installed")
    ignore = shutil.ignore_patterns("__pycache__")
    shutil.copytree(PACKAGE, directory / "minigpt2", ignore=ignore)
    return directory


def start(installed, *arguments, program=("-m", "minigpt2.download"), **environment):
    """Start `python -m minigpt2.download`."""
    env = {"PYTHONPATH": str(installed)} | environment
    return helpers.start(*arguments, program=program, cwd=installed, env=env)


def run(installed, *arguments, **environment):
    """Status, output and messages of `python -m minigpt2.download`."""
    return finish(start(installed, *arguments, **environment))


def is_right(weights):
    return all(
        (weights / "124M" / name).read_bytes() == data for name, data in FILES.items()
    )


def is_whole(weights):
    """The model is there, and nothing else."""
    return sorted(os.listdir(weights)) == ["124M"] and is_right(weights)


def fails(server, weights, *words):
    """The download fails in words, and leaves no model; the next one succeeds."""
    with pytest.raises(DownloadError) as caught:
        download.download("124M", weights, server.url)
    message = str(caught.value)
    assert "\n" not in message
    for word in words:
        assert word in message
    assert not (weights / "124M").exists()
    assert locate.find("124M", weights) is None
    server.behaviour.clear()
    download.download("124M", weights, server.url)
    assert is_whole(weights)


# Whole


def test_a_download_is_the_model(server, tmp_path):
    directory = download.download("124M", tmp_path, server.url)
    assert directory == tmp_path / "124M"
    assert is_whole(tmp_path)
    assert server.sent == {None: 0} | {name: len(data) for name, data in FILES.items()}
    gpt2 = minigpt2.load("124M", tmp_path)
    assert gpt2.logits([1, 2, 3]).shape == (3, 1000)
    assert gpt2.tokenizer.decode(gpt2.tokenizer.encode("Hello")) == "Hello"


@pytest.mark.parametrize("url", ["{}/", "{}//"])
def test_a_slash_may_end_the_url(server, tmp_path, url):
    download.download("124M", tmp_path, url.format(server.url))
    assert is_whole(tmp_path)


def test_117M_is_a_name_of_124M(server, tmp_path):
    assert download.download("117M", tmp_path, server.url) == tmp_path / "124M"
    assert is_whole(tmp_path)


@pytest.mark.parametrize("name", ["tiny", "124m", "", "../124M", "124M/"])
def test_only_released_models_are_downloaded(server, tmp_path, name):
    with pytest.raises(ValueError, match="124M, 355M, 774M, 1558M can"):
        download.download(name, tmp_path, server.url)
    assert not server.asked
    assert not os.listdir(tmp_path)


@pytest.mark.parametrize("name", ["124M", "117M"])
def test_what_is_there_is_not_asked_for(server, tmp_path, name):
    download.download("124M", tmp_path, server.url)
    server.asked.clear()
    assert download.download(name, tmp_path, server.url) == tmp_path / "124M"
    assert not server.asked


def test_the_url_of_the_environment_is_asked(server, tmp_path, monkeypatch):
    monkeypatch.setenv("MINIGPT2_URL", server.url)
    monkeypatch.setenv("MINIGPT2_WEIGHTS", str(tmp_path / "there"))
    download.download("124M")
    assert is_whole(tmp_path / "there")


def test_without_a_weights_directory_it_is_the_user_s_cache(server, tmp_path):
    directory = download.download("124M", url=server.url)
    assert directory.is_relative_to(tmp_path / "home")
    assert is_whole(directory.parent)


def test_load_downloads_what_is_not_there(server, tmp_path, monkeypatch):
    monkeypatch.setenv("MINIGPT2_URL", server.url)
    assert minigpt2.load("117M", tmp_path).config.n_vocab == 1000
    assert is_whole(tmp_path)


def test_the_command_prints_the_directory(server, tmp_path, installed):
    weights = tmp_path / "weights"
    url = {"MINIGPT2_URL": server.url}
    result, output, messages = run(installed, "117M", "--weights", weights, **url)
    assert (result, output) == (0, f"{weights / '124M'}\n"), messages
    assert is_whole(weights)
    for name in FILES:
        assert f"\n{name}: " in messages
    assert "100 %" in messages
    server.asked.clear()
    result, output, messages = run(installed, "124M", "--weights", weights, **url)
    assert (result, output, messages) == (0, f"{weights / '124M'}\n", "")
    assert not server.asked


def test_a_download_writes_nowhere_else(server, tmp_path, installed):
    weights = tmp_path / "weights"
    program = "-c", AUDIT, os.path.realpath(weights), "minigpt2.download"
    arguments = "124M", "--weights", weights, "--url", server.url
    result, output, messages = run(installed, *arguments, program=program)
    assert (result, output) == (0, f"{weights / '124M'}\n"), messages
    assert "open" not in messages
    assert "os." not in messages


# Broken and resumed


@pytest.mark.parametrize(
    "file, n",
    [
        (HPARAMS, 0),
        (HPARAMS, 5),
        ("vocab.bpe", 65_536),
        ("vocab.bpe", 456_317),
        (INDEX, 1691),
        (DATA, 0),
        (DATA, 1),
        (DATA, 65_536),
        (DATA, 100_000),
        (DATA, 131_072),
        (DATA, 215_615),
    ],
)
def test_a_transfer_that_is_cut_goes_on_where_it_stopped(
    server, tmp_path, sleeps, file, n
):
    behave(server, file, cut_after(n))
    download.download("124M", tmp_path, server.url)
    assert is_whole(tmp_path)
    first, second = ranges(server, file)
    have = int(second[len("bytes=") : -1]) if second else 0
    assert first is None
    assert n - PIECE < have <= n
    assert server.sent[file] == n + len(FILES[file]) - have
    assert sleeps == [1]


def test_a_transfer_may_be_cut_again_and_again(server, tmp_path, sleeps):
    behave(server, "vocab.bpe", *[cut_after(PIECE)] * 6)
    download.download("124M", tmp_path, server.url)
    assert is_whole(tmp_path)
    steps = [None, *(f"bytes={i * PIECE}-" for i in range(1, 7))]
    assert ranges(server, "vocab.bpe") == steps
    assert server.sent["vocab.bpe"] == len(FILES["vocab.bpe"])
    assert sleeps == [1] * 6


def test_the_next_run_goes_on_where_the_last_one_stopped(server, tmp_path, sleeps):
    behave(server, DATA, cut_after(150_000), status(404))
    with pytest.raises(DownloadError, match="404"):
        download.download("124M", tmp_path, server.url)
    assert os.listdir(tmp_path) == ["124M.part"]
    have = (tmp_path / "124M.part" / DATA).stat().st_size
    assert 150_000 - PIECE < have <= 150_000
    server.asked.clear()
    server.sent.clear()
    download.download("124M", tmp_path, server.url)
    assert is_whole(tmp_path)
    assert ranges(server, DATA) == [f"bytes={have}-"]
    assert server.sent[DATA] == len(FILES[DATA]) - have
    assert sum(server.sent.values()) == server.sent[DATA]  # the others were whole


def test_a_server_without_ranges_sends_all_again(server, tmp_path, sleeps):
    behave(server, DATA, cut_after(150_000), always=without_ranges)
    download.download("124M", tmp_path, server.url)
    assert is_whole(tmp_path)
    assert ranges(server, DATA)[1] is not None
    assert server.sent[DATA] == 150_000 + len(FILES[DATA])


def test_a_server_may_send_a_range_in_portions(server, tmp_path, sleeps):
    behave(server, DATA, cut_after(PIECE), always=in_portions)
    download.download("124M", tmp_path, server.url)
    assert is_whole(tmp_path)
    starts = [PIECE, PIECE + 100_000]
    assert ranges(server, DATA) == [None, *(f"bytes={n}-" for n in starts)]
    assert server.sent[DATA] == len(FILES[DATA])


def part(tmp_path, **files):
    """An earlier download that was broken off."""
    directory = tmp_path / "124M.part"
    directory.mkdir()
    for name, data in FILES.items():
        (directory / name).write_bytes(data)
    (directory / DATA).write_bytes(files["data"])


def test_a_file_that_is_whole_is_not_sent_again(server, tmp_path):
    part(tmp_path, data=FILES[DATA])
    download.download("124M", tmp_path, server.url)
    assert is_whole(tmp_path)
    assert ranges(server, DATA) == [f"bytes={len(FILES[DATA])}-"]
    assert sum(server.sent.values()) == 0


def test_a_file_longer_than_the_server_s_is_fetched_anew(server, tmp_path, sleeps):
    part(tmp_path, data=FILES[DATA] + b"more")
    download.download("124M", tmp_path, server.url)
    assert is_whole(tmp_path)
    assert ranges(server, DATA) == [f"bytes={len(FILES[DATA]) + 4}-", None]


def test_a_416_that_does_not_say_why_makes_it_fetch_anew(server, tmp_path, sleeps):
    part(tmp_path, data=FILES[DATA])
    behave(server, DATA, status(416))
    download.download("124M", tmp_path, server.url)
    assert is_whole(tmp_path)
    assert ranges(server, DATA) == [f"bytes={len(FILES[DATA])}-", None]


def test_a_beginning_of_another_file_is_found_out(server, tmp_path):
    part(tmp_path, data=bytes(100_000))
    fails(server, tmp_path, "not the model, and was deleted", "tensor h0/attn/c_attn/b")


def test_another_range_than_asked_is_not_appended(server, tmp_path):
    part(tmp_path, data=FILES[DATA][:100_000])
    behave(server, DATA, always=another_range)
    fails(server, tmp_path, DATA, "206", "bytes 0-215615/215616")


@pytest.mark.skipif(os.name != "posix", reason="signals are sent the POSIX way")
@pytest.mark.parametrize(
    ("number", "status"), [(signal.SIGKILL, -signal.SIGKILL), (signal.SIGINT, 130)]
)
def test_a_killed_download_goes_on(server, tmp_path, installed, number, status):
    weights, data = tmp_path / "weights", tmp_path / "weights" / "124M.part" / DATA
    let_go = threading.Event()

    def stall(handler, body, start):
        whole(handler, body, start, cut=150_000)
        let_go.wait(60)

    behave(server, DATA, stall)
    process = start(installed, "124M", "--weights", weights, "--url", server.url)
    try:
        for _ in range(3000):
            if data.is_file() and data.stat().st_size >= 2 * PIECE:
                break
            time.sleep(0.01)
    finally:
        process.send_signal(number)
        result, _, messages = finish(process)
        let_go.set()
    assert (result, "Traceback" in messages) == (status, False)
    assert os.listdir(weights) == ["124M.part"]
    assert locate.find("124M", weights) is None
    have = data.stat().st_size
    assert 2 * PIECE <= have <= 150_000
    server.asked.clear()
    arguments = ("124M", "--weights", weights, "--url", server.url)
    result, output, messages = run(installed, *arguments)
    assert (result, output) == (0, f"{weights / '124M'}\n"), messages
    assert is_whole(weights)
    assert ranges(server, DATA) == [f"bytes={have}-"]


# Faults that may pass


@pytest.mark.parametrize("code", [408, 425, 429, 500, 502, 503, 504])
def test_a_fault_that_passes_is_waited_for(server, tmp_path, sleeps, code):
    behave(server, INDEX, status(code), status(code))
    download.download("124M", tmp_path, server.url)
    assert is_whole(tmp_path)
    assert len(ranges(server, INDEX)) == 3
    assert sleeps == [1, 2]


def test_a_fault_that_does_not_pass_is_told(server, tmp_path, sleeps):
    behave(server, INDEX, always=status(503))
    fails(server, tmp_path, f"{server.url}/124M/{INDEX}", "503", "run the same command")
    assert sleeps == [1, 2, 4, 8]


def test_a_transfer_always_cut_at_the_same_byte_is_given_up(server, tmp_path, sleeps):
    behave(server, DATA, always=partial(without_ranges, cut=100_000))
    fails(server, tmp_path, f"{server.url}/124M/{DATA}", "run the same command")
    assert len(sleeps) < 6


# Wrong files


@pytest.mark.parametrize(
    "file, position, words",
    [
        (DATA, 0, f"{DATA}: tensor h0/attn/c_attn/b has masked CRC-32C"),
        (DATA, 108_000, f"{DATA}: tensor "),
        (DATA, 215_615, f"{DATA}: tensor wte has masked CRC-32C"),
        (INDEX, 0, f"{INDEX}: the block at byte 0 does not match its CRC-32C"),
        (INDEX, 1691, f"{INDEX}: magic number"),
        ("vocab.bpe", 0, "vocab.bpe: SHA-256"),
        ("vocab.bpe", 456_317, "vocab.bpe: SHA-256"),
        (HPARAMS, 0, f"{HPARAMS}: not JSON"),
        (HPARAMS, 3, f"{HPARAMS}: n_vocab is missing"),
    ],
)
def test_a_wrong_byte_is_found(server, tmp_path, file, position, words):
    behave(server, file, flipped(position))
    fails(server, tmp_path, server.url, "not the model, and was deleted", words)


def test_nothing_is_left_of_a_wrong_model(server, tmp_path):
    behave(server, DATA, flipped(7))
    with pytest.raises(DownloadError):
        download.download("124M", tmp_path, server.url)
    assert not os.listdir(tmp_path)


@pytest.mark.parametrize("file", FILES)
def test_less_than_the_stated_length_is_not_whole(server, tmp_path, sleeps, file):
    behave(server, file, always=longer)
    fails(server, tmp_path, f"{server.url}/124M/{file}", "run the same command")


@pytest.mark.parametrize("file", FILES)
def test_too_small_a_stated_length_is_found_out(server, tmp_path, file):
    behave(server, file, always=shorter)
    fails(server, tmp_path, "not the model, and was deleted", file)


@pytest.mark.parametrize("code", [400, 401, 403, 404, 410, 501])
@pytest.mark.parametrize("file", [HPARAMS, DATA])
def test_a_file_that_is_not_there_is_told_at_once(server, tmp_path, file, code):
    behave(server, file, always=status(code))
    fails(server, tmp_path, f"{server.url}/124M/{file}: {code} ")
    assert len(ranges(server, file)) <= 2  # one of them by the run that succeeds


@pytest.mark.parametrize("file", FILES)
def test_a_login_page_is_no_model(server, tmp_path, file):
    behave(server, file, always=login_page)
    fails(server, tmp_path, "not the model, and was deleted", file)


def test_redirects_are_followed(server, tmp_path):
    def elsewhere(handler, body, start):
        reply(handler, 302, Location=handler.path)  # the next answer is good

    for file in FILES:
        behave(server, file, elsewhere)
    download.download("124M", tmp_path, server.url)
    assert is_whole(tmp_path)


def test_a_circle_of_redirects_is_left(server, tmp_path):
    behave(server, DATA, always=circle)
    fails(server, tmp_path, f"{server.url}/124M/{DATA}: ", "redirects")


# No server


def closed_port():
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return listener.getsockname()[1]


def test_a_server_that_is_not_there_is_told_at_once(tmp_path, sleeps):
    url = f"http://127.0.0.1:{closed_port()}/models"
    with pytest.raises(DownloadError, match=f"cannot reach {url}"):
        download.download("124M", tmp_path, url)
    assert not sleeps
    assert not os.listdir(tmp_path)


@pytest.mark.slow
def test_a_server_that_never_answers_is_not_waited_for_long(tmp_path, sleeps):
    with socket.create_server(("127.0.0.1", 0)) as listener:
        url = f"http://127.0.0.1:{listener.getsockname()[1]}/models"
        with pytest.raises(DownloadError, match=f"cannot reach {url}"):
            download.download("124M", tmp_path, url)
    assert not sleeps
    assert not os.listdir(tmp_path)


@pytest.mark.parametrize("code", [200, 301, 403, 404, 405, 501, 503])
def test_any_answer_shows_that_the_server_is_there(server, tmp_path, code):
    server.head = code
    download.download("124M", tmp_path, server.url)
    assert is_whole(tmp_path)


@pytest.mark.parametrize(
    "url",
    [
        "school",
        "ftp://127.0.0.1/models",
        "file:///models",
        "http://",
        "http:///models",
        "http://[/models",
        "http://127.0.0.1:port/models",
        "http://127.0.0.1:99999/models",
        "http://./models",
    ],
)
def test_an_address_that_makes_no_sense_is_told(tmp_path, url):
    with pytest.raises(DownloadError) as caught:
        download.download("124M", tmp_path, url)
    assert url.rstrip("/") in str(caught.value)
    assert "\n" not in str(caught.value)
    assert not os.listdir(tmp_path)


# The command


def ends_in_words(result, messages, *words):
    """It has failed, with one line that says why at the end, and no traceback."""
    *before, last = messages.splitlines()
    assert result != 0
    assert last.startswith("minigpt2: ")
    for word in words:
        assert word in last
    assert [line for line in before if line.startswith("minigpt2: ")] == [
        line for line in before if line.startswith("minigpt2: downloading 124M from ")
    ]
    assert "Traceback" not in messages


@pytest.mark.parametrize(
    "file, behaviour, words",
    [
        (HPARAMS, status(404), "404 Not Found"),
        (DATA, flipped(100), "tensor h0/attn/c_attn/b has"),
        ("vocab.bpe", flipped(100), "SHA-256"),
        (INDEX, login_page, "magic number"),
        (DATA, circle, "redirects"),
        (DATA, shorter, "215606 bytes"),
    ],
    ids=["404", "wrong tensor", "wrong vocabulary", "login page", "circle", "length"],
)
def test_the_command_fails_in_one_line(
    server, tmp_path, installed, file, behaviour, words
):
    behave(server, file, always=behaviour)
    arguments = ("124M", "--weights", tmp_path, "--url", server.url)
    result, output, messages = run(installed, *arguments)
    ends_in_words(result, messages, words)
    assert output == ""
    assert not (tmp_path / "124M").exists()
    server.behaviour.clear()
    download.download("124M", tmp_path, server.url)
    assert is_whole(tmp_path)


def test_the_command_says_that_there_is_no_server(tmp_path, installed):
    url = f"http://127.0.0.1:{closed_port()}/models"
    arguments = ("124M", "--weights", tmp_path, "--url", url)
    result, output, messages = run(installed, *arguments)
    ends_in_words(result, messages, f"cannot reach {url}")
    assert (output, os.listdir(tmp_path)) == ("", [])


def test_the_command_refuses_an_unknown_model(tmp_path, installed):
    result, output, messages = run(installed, "125M", "--weights", tmp_path)
    ends_in_words(result, messages, "'125M' cannot be downloaded")
    assert (output, os.listdir(tmp_path)) == ("", [])


def test_a_file_in_place_of_the_weights_directory_is_told(server, tmp_path, installed):
    file = tmp_path / "file"
    file.write_text("no directory")
    arguments = ("124M", "--weights", file, "--url", server.url)
    result, output, messages = run(installed, *arguments)
    ends_in_words(result, messages, str(file))
    assert (output, file.read_text()) == ("", "no directory")


@pytest.mark.skipif(
    not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root writes everywhere"
)
def test_a_weights_directory_that_cannot_be_written_is_told(
    server, tmp_path, installed
):
    weights = tmp_path / "weights"
    weights.mkdir(mode=0o555)
    arguments = ("124M", "--weights", weights, "--url", server.url)
    result, output, messages = run(installed, *arguments)
    ends_in_words(result, messages, str(weights))
    assert (output, os.listdir(weights)) == ("", [])


def test_verify_says_what_is_on_disk(server, tmp_path, installed):
    verify = ("117M", "--verify", "--weights", tmp_path, "--url", server.url)
    result, output, messages = run(installed, *verify)
    ends_in_words(result, messages, "117M is not there")

    directory = download.download("124M", tmp_path, server.url)
    server.asked.clear()
    result, output, messages = run(installed, *verify)
    assert (result, output) == (0, "")
    assert messages.splitlines()[-1] == f"minigpt2: {directory} is whole"

    data = bytearray(FILES[DATA])
    data[-1] ^= 1
    (directory / DATA).write_bytes(data)
    result, output, messages = run(installed, *verify)
    ends_in_words(result, messages, str(directory / DATA), "tensor wte has", "CRC-32C")
    assert (output, os.listdir(tmp_path)) == ("", ["124M"])
    assert not server.asked


@pytest.mark.parametrize("file", [INDEX, "vocab.bpe", HPARAMS])
def test_verify_checks_every_file(server, tmp_path, file):
    directory = download.download("124M", tmp_path, server.url)
    download.verify(directory)
    data = bytearray(FILES[file])
    data[0] ^= 1
    (directory / file).write_bytes(data)
    with pytest.raises(minigpt2.CheckpointError, match=file):
        download.verify(directory)


def test_sizes_that_do_not_fit_the_tensors(server, tmp_path):
    behave(server, HPARAMS, flipped(FILES[HPARAMS].index(b"24") + 1))
    fails(server, tmp_path, HPARAMS)


def test_a_redirect_to_nowhere(server, tmp_path):
    behave(server, DATA, always=lambda h, b, s: reply(h, 302, Location="http://["))
    fails(server, tmp_path, DATA)


def test_a_login_page_does_not_cost_what_has_come(server, tmp_path):
    part = tmp_path / "124M.part" / DATA
    part.parent.mkdir()
    part.write_bytes(FILES[DATA][:70_000])
    headers = {"Content-Type": "text/html; charset=utf-8"}
    behave(server, DATA, always=lambda h, b, s: reply(h, 200, b"<html>", **headers))
    with pytest.raises(DownloadError, match="log in"):
        download.download("124M", tmp_path, server.url)
    assert part.read_bytes() == FILES[DATA][:70_000]


@pytest.mark.skipif(os.name != "posix", reason="locks the POSIX way")
def test_two_downloads_do_not_disturb_each_other(server, tmp_path):
    """While one process has the directory, another one keeps its hands off it."""
    import fcntl

    (tmp_path / "124M.part").mkdir()
    with open(tmp_path / "124M.part" / "lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        with pytest.raises(DownloadError, match="another process is downloading"):
            download.download("124M", tmp_path, server.url)
        assert [path.name for path in (tmp_path / "124M.part").iterdir()] == ["lock"]
    download.download("124M", tmp_path, server.url)
    assert is_whole(tmp_path)


def test_verify_looks_only_where_it_is_told(server, tmp_path, monkeypatch):
    """A directory whose relative path is the name of a model is that directory."""
    download.download("124M", tmp_path, server.url)
    monkeypatch.chdir(tmp_path)
    download.verify(Path("124M"))


# A hostile network


@pytest.fixture
def impatient(monkeypatch, sleeps):
    monkeypatch.setattr(transfer, "TIMEOUT", (2, 0.2))


HUGE_LINE = b"HTTP/1.1 200 OK\r\nX: " + b"x" * 100_000 + b"\r\n\r\n"


@pytest.mark.parametrize("file", [HPARAMS, DATA])
@pytest.mark.parametrize(
    "behaviour",
    [
        raw(b""),
        raw(b"\0\xff garbage\r\n\r\n"),
        raw(b"HTTP/1.1 200 OK\r\n"),
        raw(HUGE_LINE),
        raw(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n"),
        reset_after(0),
        reset_after(20),
        stall_after(0),
        stall_after(20),
        partial(chunked, end=b""),
        compressed,
    ],
    ids=[
        *("nothing", "garbage", "half a head", "long head", "no chunk", "reset at 0"),
        *("reset at 20", "stall at 0", "stall at 20", "no last chunk", "gzip"),
    ],
)
def test_a_fault_of_the_network_is_passed_or_told(
    server, tmp_path, impatient, file, behaviour
):
    behave(server, file, behaviour)
    download.download("124M", tmp_path / "once", server.url)
    assert is_whole(tmp_path / "once")
    behave(server, file, always=behaviour)
    (tmp_path / "always").mkdir()
    fails(server, tmp_path / "always", f"{server.url}/124M/{file}: ", "run the same")


COMMENTED = partial(chunked, size=b'%x;\0\xff="')  # extensions of a chunk mean nothing


@pytest.mark.parametrize(
    "behaviour",
    [chunked, COMMENTED, until_the_end],
    ids=["chunks", "commented chunks", "until the end"],
)
def test_a_file_without_a_length_is_taken(server, tmp_path, behaviour):
    for file in FILES:
        behave(server, file, always=behaviour)
    download.download("124M", tmp_path, server.url)
    assert is_whole(tmp_path)


@pytest.mark.parametrize(
    "behaviour",
    [partial(until_the_end, cut=50), partial(chunked, size=b"f%x")],
    ids=["early end", "long chunk"],
)
def test_a_wrong_file_without_a_length_is_found_out(
    server, tmp_path, sleeps, behaviour
):
    behave(server, DATA, behaviour)
    fails(server, tmp_path, "not the model, and was deleted", DATA)


@pytest.mark.parametrize("length", ["-1", "1, 2", "ten", "9" * 5000, "1e3", "\u0663"])
def test_a_length_that_makes_no_sense(server, tmp_path, sleeps, length):
    head = f"HTTP/1.1 200 OK\r\nContent-Length: {length}\r\n\r\n".encode()

    def behaviour(handler, body, start):
        handler.wfile.write(head + body)

    behave(server, INDEX, always=behaviour)
    try:
        download.download("124M", tmp_path, server.url)
    except DownloadError as error:
        assert f"{server.url}/124M/{INDEX}: " in str(error)
        server.behaviour.clear()
        download.download("124M", tmp_path, server.url)
    assert is_whole(tmp_path)


def test_another_host_may_have_the_file_or_a_login_page(server, tmp_path):
    with serving() as other:
        location = f"{other.url}/124M/{DATA}"
        behave(server, DATA, always=status(302, Location=location))
        page = {"Content_Type": "text/html; charset=utf-8"}
        behave(other, DATA, lambda h, b, s: reply(h, 200, b"<html>", **page))
        with pytest.raises(DownloadError, match="want you to log in"):
            download.download("124M", tmp_path, server.url)
        assert os.listdir(tmp_path) == ["124M.part"]
        download.download("124M", tmp_path, server.url)
    assert is_whole(tmp_path)
    assert not server.sent[DATA]


@pytest.mark.parametrize("have", [0, 1, 100_000, len(FILES[DATA])])
def test_python_s_own_server_is_a_mirror(tmp_path, have):
    """`python -m http.server`, as the README has it; it does not know ranges."""
    mirror, weights = tmp_path / "mirror", tmp_path / "weights"
    (mirror / "124M").mkdir(parents=True)
    for name, data in FILES.items():
        (mirror / "124M" / name).write_bytes(data)
    weights.mkdir()
    part(weights, data=FILES[DATA][:have])
    handler = partial(SimpleHTTPRequestHandler, directory=mirror)
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        download.download("124M", weights, f"http://127.0.0.1:{server.server_port}")
        server.shutdown()
        thread.join()
    assert is_whole(weights)


# A file that changes


@pytest.mark.parametrize("next_run", [False, True], ids=["same run", "next run"])
@pytest.mark.parametrize("if_range", [True, False], ids=["If-Range", "no If-Range"])
@pytest.mark.parametrize("cut", [100_000, None], ids=["half", "whole"])
def test_halves_of_two_files_are_not_joined(
    server, tmp_path, sleeps, next_run, if_range, cut
):
    old = edition('"old"', bytes(len(FILES[DATA]) + (cut is None)), cut or -1)
    stop = [status(404)] if next_run else []
    behave(server, DATA, old, *stop, always=edition('"new"', if_range=if_range))
    if next_run:
        with pytest.raises(DownloadError, match="404"):
            download.download("124M", tmp_path, server.url)
        server.asked.clear()
    download.download("124M", tmp_path, server.url)
    assert is_whole(tmp_path)
    first, *later = ranges(server, DATA)[0 if next_run else 1 :]
    assert first.startswith("bytes=")
    assert later == ([] if if_range else [None])  # all of it, once


@pytest.mark.parametrize("etag", ['"same"', 'W/"weak"', "", '"a b"', "\x0c", "x" * 9])
def test_a_file_that_does_not_change_goes_on(server, tmp_path, sleeps, etag):
    good = edition(etag)
    behave(server, DATA, edition(etag, cut=100_000), status(404), always=good)
    with pytest.raises(DownloadError, match="404"):
        download.download("124M", tmp_path, server.url)
    download.download("124M", tmp_path, server.url)
    assert is_whole(tmp_path)
    assert ranges(server, DATA)[-1] not in (None, "bytes=0-")
    assert server.sent[DATA] < len(FILES[DATA]) + PIECE


def test_what_is_noted_of_a_file_may_be_damaged(server, tmp_path, sleeps):
    for noted in b"", b"\xff\n", b'"no such', b"x\r\nHost: elsewhere", b"\0":
        shutil.rmtree(tmp_path / "124M", ignore_errors=True)
        part(tmp_path, data=FILES[DATA][:100_000])
        (tmp_path / "124M.part" / f"{DATA}.etag").write_bytes(noted)
        download.download("124M", tmp_path, server.url)
        assert is_whole(tmp_path)


def test_a_file_that_always_changes_is_given_up(server, tmp_path, sleeps):
    editions = (edition(f'"{i}"', cut=100_000, if_range=False) for i in range(100))
    behave(server, DATA, *editions)
    fails(server, tmp_path, DATA, "run the same command")
    assert len(sleeps) < 10


# A server that is too busy


@pytest.mark.parametrize("code", [429, 503])
@pytest.mark.parametrize(
    "retry_after, waits",
    [
        ("7", [7]),
        ("0", [1]),
        ("60", [60]),
        ("", [1]),
        ("-5", [1]),
        ("soon", [1]),
        ("1e3", [1]),
        ("Wed, 21 Oct 2015 07:28:00 GMT", [1]),
        ("Wed, 99 Oct 99999 07:28:00 GMT", [1]),
        ("Mon, 01 Jan 0001 00:00:00 -0000", [1]),
        ("61", []),
        ("9" * 400, []),
        ("Fri, 31 Dec 9999 23:59:59 GMT", []),
    ],
)
def test_a_server_says_when_to_come_again(
    server, tmp_path, sleeps, code, retry_after, waits
):
    behave(server, INDEX, status(code, Retry_After=retry_after))
    if waits:
        download.download("124M", tmp_path, server.url)
        assert is_whole(tmp_path)
    else:
        fails(server, tmp_path, f"{code} ", retry_after[:40], "run the same command")
    assert sleeps == waits


def test_a_server_says_at_what_time_to_come_again(server, tmp_path, sleeps):
    when = formatdate(time.time() + 30, usegmt=True)
    behave(server, INDEX, status(429, Retry_After=when))
    download.download("124M", tmp_path, server.url)
    assert is_whole(tmp_path)
    assert 20 < sleeps[0] <= 30


# A full disk, a process that is killed, and two at once


@pytest.mark.skipif(os.name != "posix", reason="limits the size of files by POSIX")
@pytest.mark.parametrize("n", [0, 60, 1000, 65_536, 200_000, 400_000])
def test_a_full_disk_is_told_and_the_next_run_goes_on(server, tmp_path, installed, n):
    code = (
        "import resource, runpy; resource.setrlimit(resource.RLIMIT_FSIZE, ({0}, {0}))"
    )
    code += "; runpy.run_module('minigpt2.download', run_name='__main__')"
    arguments = ("124M", "--weights", tmp_path, "--url", server.url)
    program = "-c", code.format(n)
    result, output, messages = run(installed, *arguments, program=program)
    ends_in_words(result, messages, "cannot write", str(tmp_path))
    assert output == ""
    assert locate.find("124M", tmp_path) is None
    server.sent.clear()
    download.download("124M", tmp_path, server.url)
    assert is_whole(tmp_path)
    assert server.sent["vocab.bpe"] == len(FILES["vocab.bpe"]) - n


KILLED = """
import os, runpy, signal, sys
def count(event, arguments, left=[int(sys.argv.pop(1))]):
    if any(sys.argv[3] in os.fsdecode(a) for a in arguments if isinstance(a, (str, bytes))):
        left[0] -= 1
        if not left[0]:
            os.kill(os.getpid(), signal.SIGKILL)
import minigpt2.files.download, numpy
sys.argv[0] = "download"
sys.addaudithook(count)
runpy.run_module("minigpt2.download", run_name="__main__")
"""


@pytest.mark.slow
@pytest.mark.skipif(os.name != "posix", reason="kills by POSIX")
@pytest.mark.parametrize("seed", range(2))
def test_a_download_killed_at_any_point_goes_on(server, tmp_path, installed, seed):
    """Ten points each: before the n-th time that a file is opened, moved or removed, or
    after some bytes of one."""
    rng = random.Random(seed)
    for point in range(10):
        weights = tmp_path / str(point)
        arguments = ("124M", "--weights", weights, "--url", server.url)
        n, killed = 10**9, threading.Event()
        if point < 5:
            file = rng.choice([*FILES, DATA, DATA])
            sent = rng.randrange(len(FILES[file]))

            def stop(handler, body, start, sent=sent, killed=killed):
                whole(handler, body, start, cut=sent)
                killed.set()
                handler.connection.recv(1)

            behave(server, file, stop)
        else:
            n = 1 + (point - 5) * 5 + rng.randrange(5)
        process = start(installed, n, *arguments, program=("-c", KILLED))
        if point < 5:
            assert killed.wait(60)
            process.kill()
        assert finish(process)[0] == -signal.SIGKILL, (point, n)
        assert locate.find("124M", weights) is None or is_right(weights), n
        download.download("124M", weights, server.url)
        assert is_right(weights), (point, n)


def test_two_downloads_at_once(server, tmp_path, installed):
    arguments = ("124M", "--weights", tmp_path, "--url", server.url)
    processes = [start(installed, *arguments) for _ in range(4)]
    results = [finish(process) for process in processes]
    assert any(status == 0 for status, _, _ in results)
    for status, output, messages in results:
        if status:
            ends_in_words(status, messages, "another process is downloading")
        else:
            assert output == f"{tmp_path / '124M'}\n"
    assert is_whole(tmp_path)


@pytest.mark.skipif(os.name != "posix", reason="locks the POSIX way")
def test_a_lock_that_is_removed_is_no_lock(tmp_path):
    """Whoever is done removes the directory, while others make it and lock it."""
    holders, most, problems = [], [0], []

    def come_and_go():
        try:
            for _ in range(500):
                if file := lock.take(tmp_path / "part"):
                    holders.append(file)
                    most[0] = max(most[0], len(holders))
                    time.sleep(0)
                    holders.remove(file)
                    shutil.rmtree(tmp_path / "part", ignore_errors=True)
                    file.close()
        except OSError as error:
            problems.append(error)

    threads = [threading.Thread(target=come_and_go) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (most, problems) == ([1], [])
