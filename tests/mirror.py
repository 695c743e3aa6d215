"""A server on this machine that has small models, as OpenAI's bucket does and as the hub."""

import functools
import gzip
import hashlib
import io
import itertools
import os
import socket
import struct
import sys
import tempfile
import threading
from collections import Counter
from contextlib import contextmanager
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import SimpleNamespace

from helpers import SMALL, VOCABULARY

from minigpt2.files import layout, save
from minigpt2.files.checkpoint import read_model
from minigpt2.tokenizer import Tokenizer

DATA, INDEX, HPARAMS = (
    "model.ckpt.data-00000-of-00001",
    "model.ckpt.index",
    "hparams.json",
)
PIECE = 1 << 16  # a broken transfer may lose what has come of the last piece


@functools.cache
def openai():
    """A "124M" that is the small official checkpoint."""
    files = {name: (SMALL / name).read_bytes() for name in layout.OPENAI_FILES}
    files["vocab.bpe"] = VOCABULARY.read_bytes()
    return SimpleNamespace(
        model="124M",
        folder="124M",
        path="/models/124M/",
        files=files,
        data=DATA,
        small=HPARAMS,
    )


@functools.cache
def hub():
    """The same model as a repository of the hub, which sends one on: for what is large to
    another host."""
    with tempfile.TemporaryDirectory() as name:
        config, params, *_ = read_model(SMALL)
        save.write_model(Path(name), params)
        tokenizer = Tokenizer.from_file(VOCABULARY, config.n_vocab)
        save.write_description(Path(name), config, tokenizer)
        files = {path.name: path.read_bytes() for path in Path(name).iterdir()}
    return SimpleNamespace(
        model="someone/small.v1",
        folder="someone--small.v1",
        path="/someone/small.v1/resolve/main/",
        files=files,
        data="model.safetensors",
        small="config.json",
    )


# A behaviour answers one request: (handler, file's bytes, first byte asked).


def reply(handler, status, body=b"", **headers):
    handler.send_response(status)
    for name, value in ({"Content_Length": len(body)} | headers).items():
        handler.send_header(name.replace("_", "-"), str(value))
    handler.end_headers()
    if handler.command == "GET":
        handler.server.state.sent[handler.file] += len(body)
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


def edition(etag, body=None, cut=None):
    """A file that may change, with an ETag."""
    return lambda handler, good, start: whole(
        handler, good if body is None else body, start, cut, ETag=etag
    )


def login_page(handler, body, start, page=b"<!DOCTYPE html>\n<p>Log in!", **headers):
    reply(handler, 200, page, **headers)


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
        if "/resolve/" in self.path or "/blobs/" in self.path:  # the hub's own program
            return self.do_GET()
        self.server.state.asked.append(("HEAD", self.path, None))
        self.server.state.meanwhile()
        reply(self, self.server.state.head)

    def do_GET(self):
        state = self.server.state
        folder, _, self.file = self.path.rpartition("/")
        asked = self.headers.get("Range")
        start = None if asked is None else int(asked[len("bytes=") : -len("-")])
        is_there = f"{folder}/" in (state.path, "/blobs/") and self.file in state.files
        is_large = self.file.endswith((".safetensors", ".bin"))
        gate = state.gate.get(self.file, iter(())) if folder != "/blobs" else iter(())
        if behaviour := next(gate, None):
            return behaviour(self, b"", start)
        body = state.files.get(self.file, b"")
        sha1, sha256 = hashlib.sha1(body).hexdigest(), hashlib.sha256(body).hexdigest()
        commit = {"X_Repo_Commit": "0123abcd" * 5} if state.is_hub else {}
        if is_there and state.is_hub and folder != "/blobs":
            etag = f'"{sha256 if is_large else sha1}"'
            etag = next(state.linked.get(self.file, iter(())), etag)
            headers = {"X_Linked_ETag": etag, "X_Linked_Size": len(body)} | commit
            to = f"{state.elsewhere if is_large else ''}/blobs/{self.file}"
            return reply(self, 302, Location=to, ETag='"of the pointer"', **headers)
        state.asked.append((self.command, self.path, asked))
        if not is_there:
            return reply(self, 404, X_Error_Code="EntryNotFound", **commit)
        good = partial(whole, ETag=f'"{sha1}"', **commit) if state.is_hub else whole
        next(state.behaviour.get(self.file, iter(())), good)(self, body, start)

    def log_message(self, *args):
        pass


@contextmanager
def serving(source):
    """A server for one of the models.

    url        what to download it from
    behaviour  by file: how to answer its next requests; then, as a good server does
    gate       the same, of the hub's own answers, which send one on
    linked     by file: what these answers state as its X-Linked-ETag
    head       the status of the answer to HEAD
    meanwhile  what else happens then
    asked      all requests but those that are sent on: (method, path, range)
    sent       by file: how many of its bytes were sent
    """
    state = SimpleNamespace(**vars(source), behaviour={}, gate={}, linked={}, asked=[])
    state.files, state.sent, state.head = dict(source.files), Counter(), 404
    state.meanwhile = lambda: None
    servers = [ThreadingHTTPServer(("127.0.0.1", 0), Handler) for _ in range(2)]
    urls = [f"http://127.0.0.1:{server.server_port}" for server in servers]
    state.url = urls[0] + ("/models" if source.path.startswith("/models") else "")
    state.elsewhere, state.is_hub = urls[1], source.model != "124M"
    threads = []
    for server in servers:
        server.state = state
        server.handle_error = lambda request, address: None  # the client has gone
        threads.append(threading.Thread(target=server.serve_forever, args=(0.01,)))
        threads[-1].start()
    yield state
    for server, thread in zip(servers, threads, strict=True):
        server.shutdown()
        server.server_close()
        thread.join()


def behave(server, file, *behaviours, always=None):
    """Answer the next requests for a file like this, or all of them."""
    later = itertools.repeat(always) if always else ()
    server.behaviour[file] = itertools.chain(behaviours, later)


def ranges(server, file):
    """The ranges that were asked of a file, None for the whole."""
    return [asked for _, path, asked in server.asked if path.endswith(f"/{file}")]


def is_right(server, weights):
    directory = weights / server.folder
    return all(
        (directory / name).read_bytes() == data for name, data in server.files.items()
    )


def is_whole(server, weights):
    """The model is there, and nothing else."""
    here = set(os.listdir(weights / server.folder)) - {"SHA256SUMS"}
    return (
        os.listdir(weights) == [server.folder]
        and here == set(server.files)
        and is_right(server, weights)
    )
