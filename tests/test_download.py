"""A download comes whole or not at all, from a real server on this machine."""

import os
import random
import shutil
import signal
import socket
import threading
import time
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import helpers
import mirror
import pytest
from helpers import AUDIT, finish
from mirror import (
    DATA,
    HPARAMS,
    INDEX,
    PIECE,
    another_range,
    behave,
    chunked,
    circle,
    compressed,
    cut_after,
    edition,
    flipped,
    in_portions,
    is_right,
    is_whole,
    login_page,
    longer,
    ranges,
    raw,
    reply,
    reset_after,
    shorter,
    stall_after,
    status,
    until_the_end,
    whole,
    without_ranges,
)

import minigpt2
from minigpt2.files import download, locate, lock, transfer
from minigpt2.files.transfer import DownloadError

pytestmark = pytest.mark.usefixtures("alone")
posix = pytest.mark.skipif(os.name != "posix", reason="done the POSIX way")
SIZE = len(mirror.openai().files[DATA])  # that of the hub is a little more


def start(installed, *arguments, program=("-m", "minigpt2.download"), **environment):
    """Start `python -m minigpt2.download`."""
    env = {"PYTHONPATH": str(installed)} | environment
    return helpers.start(*arguments, program=program, cwd=installed, env=env)


def run(installed, *arguments, **environment):
    """Status, output and messages of `python -m minigpt2.download`."""
    return finish(start(installed, *arguments, **environment))


def fetch(server, weights):
    return download.download(server.model, weights, server.url)


def fails(server, weights, *words):
    """The download fails in words, and leaves no model; the next one succeeds."""
    with pytest.raises(DownloadError) as caught:
        fetch(server, weights)
    message = str(caught.value)
    assert "\n" not in message
    for word in words:
        assert word in message
    if server.folder != server.model:
        assert f"there is no directory {server.model}" in message
    assert not (weights / server.folder).exists()
    assert locate.find(server.model, weights) is None
    server.behaviour.clear()
    fetch(server, weights)
    assert is_whole(server, weights)


def part(server, weights, data):
    """An earlier download that was broken off."""
    directory = weights / f"{server.folder}.part"
    directory.mkdir(parents=True)
    for name, body in server.files.items():
        (directory / name).write_bytes(body)
    (directory / server.data).write_bytes(data)
    return directory / server.data


# Whole


def test_a_download_is_the_model(server, tmp_path):
    assert fetch(server, tmp_path) == tmp_path / server.folder
    assert is_whole(server, tmp_path)
    sent = {name: len(data) for name, data in server.files.items()}
    assert {name: server.sent[name] for name in sent} == sent
    gpt2 = minigpt2.load(server.model, tmp_path)
    assert gpt2.logits([1, 2, 3]).shape == (3, 1000)
    assert gpt2.tokenizer.decode(gpt2.tokenizer.encode("Hello")) == "Hello"
    server.asked.clear()
    assert fetch(server, tmp_path) == tmp_path / server.folder
    assert not server.asked


def test_a_slash_may_end_the_url(server, tmp_path):
    download.download(server.model, tmp_path, f"{server.url}//")
    assert is_whole(server, tmp_path)


@pytest.mark.parametrize("name", ["tiny", "", "../124M", "124M/", "distilgpt2"])
def test_only_models_are_downloaded(bucket, tmp_path, name):
    with pytest.raises(ValueError, match="124M, 355M, 774M, 1558M and OWNER/NAME can"):
        download.download(name, tmp_path, bucket.url)
    assert not bucket.asked
    assert not os.listdir(tmp_path)


def test_load_asks_the_url_of_the_environment(server, tmp_path, monkeypatch):
    monkeypatch.setenv("MINIGPT2_URL", server.url)
    monkeypatch.setenv("HF_ENDPOINT", server.url)
    monkeypatch.setenv("MINIGPT2_WEIGHTS", str(tmp_path / "there"))
    assert minigpt2.load(server.model).config.n_vocab == 1000
    assert is_whole(server, tmp_path / "there")


def test_without_a_weights_directory_it_is_the_user_s_cache(server, tmp_path):
    directory = fetch(server, None)
    assert directory.is_relative_to(tmp_path / "home")
    assert is_whole(server, directory.parent)


def test_the_command_prints_the_directory(server, tmp_path, installed):
    weights = tmp_path / "weights"
    url = {"MINIGPT2_URL": server.url, "HF_ENDPOINT": server.url}
    result, output, messages = run(installed, server.model, "--weights", weights, **url)
    assert (result, output) == (0, f"{weights / server.folder}\n"), messages
    assert is_whole(server, weights)
    for name in server.files:
        assert f"\n{name}: " in messages
    assert "100 %" in messages
    server.asked.clear()
    result, output, messages = run(installed, server.model, "--weights", weights, **url)
    assert (result, output, messages) == (0, f"{weights / server.folder}\n", "")
    assert not server.asked


@posix
def test_a_download_goes_on_when_nobody_reads_what_it_says(server, tmp_path, installed):
    weights = tmp_path / "weights"
    arguments = (server.model, "--weights", weights, "--url", server.url)
    with start(installed, *arguments) as process:
        process.stderr.close()
        assert process.stdout.read().decode() == f"{weights / server.folder}\n"
    assert process.returncode == 0
    assert is_whole(server, weights)


def test_a_download_writes_nowhere_else(server, tmp_path, installed):
    weights = tmp_path / "weights"
    program = "-c", AUDIT, os.path.realpath(weights), "minigpt2.download"
    arguments = server.model, "--weights", weights, "--url", server.url
    result, output, messages = run(installed, *arguments, program=program)
    assert (result, output) == (0, f"{weights / server.folder}\n"), messages
    assert "\nopen" not in messages
    assert "\nos." not in messages


# Broken and resumed


@pytest.mark.parametrize("n", [0, 1, 65_536, 100_000, 131_072, SIZE - 1])
def test_a_transfer_that_is_cut_goes_on_where_it_stopped(server, tmp_path, sleeps, n):
    behave(server, server.data, cut_after(n))
    fetch(server, tmp_path)
    assert is_whole(server, tmp_path)
    first, second = ranges(server, server.data)
    have = int(second[len("bytes=") : -1]) if second else 0
    assert first is None
    assert n - PIECE < have <= n
    assert server.sent[server.data] == n + len(server.files[server.data]) - have
    assert sleeps == [1]


def test_a_small_file_that_is_cut_goes_on(server, tmp_path, sleeps):
    behave(server, server.small, cut_after(5))
    fetch(server, tmp_path)
    assert is_whole(server, tmp_path)


def test_a_transfer_may_be_cut_again_and_again(server, tmp_path, sleeps):
    behave(server, server.data, *[cut_after(PIECE)] * 3)
    fetch(server, tmp_path)
    assert is_whole(server, tmp_path)
    steps = [None, *(f"bytes={i * PIECE}-" for i in range(1, 4))]
    assert ranges(server, server.data) == steps
    assert server.sent[server.data] == len(server.files[server.data])
    assert sleeps == [1] * 3


def test_the_next_run_goes_on_where_the_last_one_stopped(server, tmp_path, sleeps):
    behave(server, server.data, cut_after(150_000), status(400))
    with pytest.raises(DownloadError, match="400"):
        fetch(server, tmp_path)
    assert os.listdir(tmp_path) == [f"{server.folder}.part"]
    have = (tmp_path / f"{server.folder}.part" / server.data).stat().st_size
    assert 150_000 - PIECE < have <= 150_000
    server.asked.clear()
    server.sent.clear()
    fetch(server, tmp_path)
    assert is_whole(server, tmp_path)
    assert ranges(server, server.data) == [f"bytes={have}-"]
    assert server.sent[server.data] == len(server.files[server.data]) - have
    assert sum(server.sent.values()) == server.sent[server.data]


def test_a_server_without_ranges_sends_all_again(server, tmp_path, sleeps):
    behave(server, server.data, cut_after(150_000), always=without_ranges)
    fetch(server, tmp_path)
    assert is_whole(server, tmp_path)
    assert ranges(server, server.data)[1] is not None
    assert server.sent[server.data] == 150_000 + len(server.files[server.data])


def test_a_server_may_send_a_range_in_portions(server, tmp_path, sleeps):
    behave(server, server.data, cut_after(PIECE), always=in_portions)
    fetch(server, tmp_path)
    assert is_whole(server, tmp_path)
    starts = [PIECE, PIECE + 100_000]
    assert ranges(server, server.data) == [None, *(f"bytes={n}-" for n in starts)]
    assert server.sent[server.data] == len(server.files[server.data])


def test_a_file_that_is_whole_is_not_sent_again(server, tmp_path):
    size = len(server.files[server.data])
    whole = part(server, tmp_path, server.files[server.data])
    whole.with_name("file.of.another.version").touch()
    fetch(server, tmp_path)
    assert is_whole(server, tmp_path)
    assert ranges(server, server.data) == [f"bytes={size}-"]
    assert sum(server.sent.values()) == 0


@pytest.mark.parametrize(
    "more, behaviour",
    [(b"more", whole), (b"", status(416)), (b"", another_range)],
    ids=["longer", "416 without a size", "another range"],
)
def test_what_cannot_go_on_is_fetched_anew(server, tmp_path, sleeps, more, behaviour):
    part(server, tmp_path, server.files[server.data] + more)
    behave(server, server.data, behaviour)
    fetch(server, tmp_path)
    assert is_whole(server, tmp_path)
    assert ranges(server, server.data)[1:] == [None]


def test_a_beginning_of_another_file_is_found_out(server, tmp_path):
    part(server, tmp_path, bytes(100_000))
    fails(server, tmp_path, "not the model, and was deleted", server.data)


@posix
@pytest.mark.parametrize(
    ("number", "ends"), [(signal.SIGKILL, -signal.SIGKILL), (signal.SIGINT, 130)]
)
def test_a_killed_download_goes_on(server, tmp_path, installed, number, ends):
    weights = tmp_path / "weights"
    data = weights / f"{server.folder}.part" / server.data
    let_go = threading.Event()

    def stall(handler, body, start):
        whole(handler, body, start, cut=150_000)
        let_go.wait(60)

    behave(server, server.data, stall)
    arguments = (server.model, "--weights", weights, "--url", server.url)
    process = start(installed, *arguments)
    try:
        for _ in range(3000):
            if data.is_file() and data.stat().st_size >= 2 * PIECE:
                break
            time.sleep(0.01)
    finally:
        process.send_signal(number)
        result, _, messages = finish(process)
        let_go.set()
    assert (result, "Traceback" in messages) == (ends, False)
    assert os.listdir(weights) == [f"{server.folder}.part"]
    assert locate.find(server.model, weights) is None
    have = data.stat().st_size
    assert 2 * PIECE <= have <= 150_000
    server.asked.clear()
    result, output, messages = run(installed, *arguments)
    assert (result, output) == (0, f"{weights / server.folder}\n"), messages
    assert is_whole(server, weights)
    assert ranges(server, server.data) == [f"bytes={have}-"]


# Faults that may pass


@pytest.mark.parametrize("code", [408, 425, 429, 500, 502, 503, 504])
def test_a_fault_that_passes_is_waited_for(server, tmp_path, sleeps, code):
    behave(server, server.small, status(code), status(code))
    fetch(server, tmp_path)
    assert is_whole(server, tmp_path)
    assert len(ranges(server, server.small)) == 3
    assert sleeps == [1, 2]


def test_a_fault_that_does_not_pass_is_told(server, tmp_path, sleeps):
    behave(server, server.small, always=status(503))
    fails(server, tmp_path, f"{server.small}: 503", "run the same command")
    assert sleeps == [1, 2, 4, 8]


def test_a_transfer_always_cut_at_the_same_byte_is_given_up(server, tmp_path, sleeps):
    behave(server, server.data, always=partial(without_ranges, cut=100_000))
    fails(server, tmp_path, server.url, server.data, "run the same command")
    assert len(sleeps) < 6


@pytest.mark.parametrize(
    "retry_after, waits",
    [("7", [7]), ("0", [1]), ("60", [60]), ("", [1]), ("-5", [1]), ("soon", [1])]
    + [("61", []), ("9" * 400, [])],
)
def test_a_server_says_when_to_come_again(server, tmp_path, sleeps, retry_after, waits):
    behave(server, server.small, status(429, Retry_After=retry_after))
    if waits:
        fetch(server, tmp_path)
        assert is_whole(server, tmp_path)
    else:
        fails(server, tmp_path, "429 ", retry_after[:40], "run the same command")
    assert sleeps == waits


# Wrong files


@pytest.mark.parametrize(
    "file, position, words",
    [
        (DATA, 0, f"{DATA}: tensor h0/attn/c_attn/b has masked CRC-32C"),
        (DATA, 108_000, f"{DATA}: tensor "),
        (DATA, 215_615, f"{DATA}: tensor wte has masked CRC-32C"),
        (INDEX, 0, f"{INDEX}: the block at byte 0 does not match its CRC-32C"),
        (INDEX, 1691, f"{INDEX}: magic number"),
        ("vocab.bpe", 456_317, "vocab.bpe: SHA-256"),
        (HPARAMS, 0, f"{HPARAMS}: not JSON"),
        (HPARAMS, 3, f"{HPARAMS}: n_vocab is missing"),
        (HPARAMS, 36, HPARAMS),  # sizes that do not fit the tensors
    ],
)
def test_a_wrong_byte_is_found(bucket, tmp_path, file, position, words):
    behave(bucket, file, flipped(position))
    fails(bucket, tmp_path, bucket.url, "not the model, and was deleted", words)


def test_nothing_is_left_of_a_wrong_model(server, tmp_path):
    behave(server, server.data, flipped(70_000))
    with pytest.raises(DownloadError, match="was deleted"):
        fetch(server, tmp_path)
    assert not os.listdir(tmp_path)


def test_less_than_the_stated_length_is_not_whole(server, tmp_path, sleeps):
    for file in server.data, server.small:
        behave(server, file, always=longer)
        fails(server, tmp_path, server.url, file, "run the same command")
        shutil.rmtree(tmp_path / server.folder)


def test_too_small_a_stated_length_is_found_out(server, tmp_path):
    for file in server.files:
        if file != "merges.txt":  # it has no end that could be missing
            behave(server, file, always=shorter)
            fails(server, tmp_path, "not the model, and was deleted", server.url)
            shutil.rmtree(tmp_path / server.folder)


@pytest.mark.parametrize("code", [400, 401, 403, 404, 410, 501])
def test_a_file_that_is_not_there_is_told_at_once(server, tmp_path, code):
    behave(server, server.small, always=status(code))
    fails(server, tmp_path, server.url, str(code), server.small)
    assert (
        len(ranges(server, server.small)) == 2
    )  # one of them by the run that succeeds


def test_a_login_page_is_no_model(server, tmp_path):
    for file in server.files:
        behave(server, file, always=login_page)
        fails(server, tmp_path, file, "want you to log in")
        shutil.rmtree(tmp_path / server.folder)


@pytest.mark.parametrize(
    "page, kind",
    [
        (b"<p>Log in", "text/html; charset=utf-8"),
        (b"\n<html><p>Log in", "binary/octet-stream"),
    ],
)
def test_a_login_page_does_not_cost_what_has_come(server, tmp_path, page, kind):
    begun = part(server, tmp_path, server.files[server.data][:70_000])
    behave(server, server.data, partial(login_page, page=page, Content_Type=kind))
    with pytest.raises(DownloadError, match="log in"):
        fetch(server, tmp_path)
    assert begun.read_bytes() == server.files[server.data][:70_000]


def test_redirects_are_followed(server, tmp_path):
    for file in server.files:
        behave(server, file, circle)  # the next answer is good
    fetch(server, tmp_path)
    assert is_whole(server, tmp_path)


@pytest.mark.parametrize(
    "behaviour",
    [circle, lambda h, b, s: reply(h, 302, Location="http://[")],
    ids=["a circle", "nowhere"],
)
def test_a_redirect_that_leads_nowhere_is_told(server, tmp_path, behaviour):
    behave(server, server.data, always=behaviour)
    fails(server, tmp_path, f"{server.data}: ")


def test_another_host_may_have_the_file_or_a_login_page(bucket, tmp_path):
    location = f"{bucket.elsewhere}/models/124M/"
    for file in bucket.files:
        behave(bucket, file, status(302, Location=location + file), login_page)
    with pytest.raises(DownloadError, match="want you to log in"):
        fetch(bucket, tmp_path)
    for file in bucket.files:
        behave(bucket, file, status(302, Location=location + file))
    fetch(bucket, tmp_path)
    assert is_whole(bucket, tmp_path)


# No server


def closed_port():
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return listener.getsockname()[1]


@pytest.mark.parametrize("model", ["124M", "someone/small"])
def test_a_server_that_is_not_there_is_told_at_once(tmp_path, sleeps, model):
    url = f"http://127.0.0.1:{closed_port()}/models"
    with pytest.raises(DownloadError, match=f"cannot reach {url}"):
        download.download(model, tmp_path, url)
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


@pytest.mark.parametrize("code", [200, 301, 403, 405, 503])
def test_any_answer_shows_that_the_server_is_there(server, tmp_path, code):
    server.head = code
    fetch(server, tmp_path)
    assert is_whole(server, tmp_path)


@pytest.mark.parametrize(
    "url",
    ["school", "ftp://127.0.0.1/models", "file:///models", "http:///models"]
    + ["http://[/models", "http://127.0.0.1:port/models", "http://./models"],
)
@pytest.mark.parametrize("model", ["124M", "someone/small"])
def test_an_address_that_makes_no_sense_is_told(tmp_path, model, url):
    with pytest.raises(DownloadError) as caught:
        download.download(model, tmp_path, url)
    assert url in str(caught.value)
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
    for line in before:
        if line.startswith("minigpt2: "):
            assert "downloading " in line
    assert "Traceback" not in messages


@pytest.mark.parametrize(
    "behaviour, words",
    [
        (status(410), "410 Gone"),
        (flipped(100_000), "was deleted"),
        (login_page, "log in"),
        (circle, "redirects"),
    ],
    ids=["gone", "wrong tensor", "login page", "circle"],
)
def test_the_command_fails_in_one_line(server, tmp_path, installed, behaviour, words):
    behave(server, server.data, always=behaviour)
    arguments = (server.model, "--weights", tmp_path, "--url", server.url)
    result, output, messages = run(installed, *arguments)
    ends_in_words(result, messages, words)
    assert (result, output) == (2, "")
    assert not (tmp_path / server.folder).exists()
    server.behaviour.clear()
    fetch(server, tmp_path)
    assert is_whole(server, tmp_path)


def test_a_file_in_place_of_the_weights_directory_is_told(bucket, tmp_path, installed):
    file = tmp_path / "file"
    file.write_text("no directory")
    arguments = ("124M", "--weights", file, "--url", bucket.url)
    result, output, messages = run(installed, *arguments)
    ends_in_words(result, messages, str(file))
    assert (output, file.read_text()) == ("", "no directory")


@pytest.mark.skipif(
    not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root writes everywhere"
)
def test_a_weights_directory_that_cannot_be_written_is_told(
    bucket, tmp_path, installed
):
    weights = tmp_path / "weights"
    weights.mkdir(mode=0o555)
    arguments = ("124M", "--weights", weights, "--url", bucket.url)
    result, output, messages = run(installed, *arguments)
    ends_in_words(result, messages, str(weights))
    assert (output, os.listdir(weights)) == ("", [])


def test_verify_says_what_is_on_disk(server, tmp_path, installed):
    verify = (server.model, "--verify", "--weights", tmp_path, "--url", server.url)
    result, output, messages = run(installed, *verify)
    ends_in_words(result, messages, f"{server.model} is not there")

    directory = fetch(server, tmp_path)
    server.asked.clear()
    result, output, messages = run(installed, *verify)
    assert (result, output) == (0, "")
    assert messages.splitlines()[-1] == f"minigpt2: {directory} is whole"

    data = bytearray(server.files[server.data])
    data[-1] ^= 1
    (directory / server.data).write_bytes(data)
    result, output, messages = run(installed, *verify)
    ends_in_words(result, messages, str(directory / server.data), "expected")
    assert (output, os.listdir(tmp_path)) == ("", [server.folder])
    assert not server.asked


def test_verify_checks_every_file(server, tmp_path):
    directory = fetch(server, tmp_path)
    download.verify(directory)
    for file, data in server.files.items():
        wrong = bytearray(data)
        wrong[0] ^= 1
        (directory / file).write_bytes(wrong)
        with pytest.raises(minigpt2.CheckpointError, match=file):
            download.verify(directory)
        (directory / file).write_bytes(data)


def test_verify_looks_only_where_it_is_told(bucket, tmp_path, monkeypatch):
    """A directory whose relative path is the name of a model is that directory."""
    fetch(bucket, tmp_path)
    monkeypatch.chdir(tmp_path)
    download.verify(Path("124M"))


# A hostile network


@pytest.fixture
def impatient(monkeypatch, sleeps):
    monkeypatch.setattr(transfer, "TIMEOUT", (2, 0.2))


HUGE_LINE = b"HTTP/1.1 200 OK\r\nX: " + b"x" * 100_000 + b"\r\n\r\n"


@pytest.mark.slow
@pytest.mark.parametrize("file", ["small", "data"])
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
    file = vars(server)[file]
    behave(server, file, behaviour)
    fetch(server, tmp_path / "once")
    assert is_whole(server, tmp_path / "once")
    behave(server, file, always=behaviour)
    (tmp_path / "always").mkdir()
    fails(server, tmp_path / "always", f"{file}: ", "run the same")


COMMENTED = partial(chunked, size=b'%x;\0\xff="')  # extensions of a chunk mean nothing


@pytest.mark.parametrize(
    "behaviour",
    [chunked, COMMENTED, until_the_end],
    ids=["chunks", "commented chunks", "until the end"],
)
def test_a_file_without_a_length_is_taken(server, tmp_path, behaviour):
    for file in server.files:
        behave(server, file, always=behaviour)
    fetch(server, tmp_path)
    assert is_whole(server, tmp_path)


@pytest.mark.parametrize(
    "behaviour",
    [partial(until_the_end, cut=50), partial(chunked, size=b"f%x")],
    ids=["early end", "long chunk"],
)
def test_a_wrong_file_without_a_length_is_found_out(
    server, tmp_path, sleeps, behaviour
):
    behave(server, server.data, behaviour)
    fails(server, tmp_path, "not the model, and was deleted", server.data)


@pytest.mark.parametrize("length", ["-1", "1, 2", "ten", "9" * 5000, "1e3", "\u0663"])
def test_a_length_that_makes_no_sense(server, tmp_path, sleeps, length):
    head = f"HTTP/1.1 200 OK\r\nContent-Length: {length}\r\n\r\n".encode()

    def behaviour(handler, body, start):
        handler.wfile.write(head + body)

    behave(server, server.small, always=behaviour)
    try:
        fetch(server, tmp_path)
    except DownloadError as error:
        assert f"{server.small}: " in str(error)
        server.behaviour.clear()
        fetch(server, tmp_path)
    assert is_whole(server, tmp_path)


@pytest.mark.parametrize("have", [0, 100_000, SIZE])
def test_python_s_own_server_is_a_mirror(bucket, tmp_path, have):
    """`python -m http.server`, as the README has it; it does not know ranges."""
    files = tmp_path / "mirror" / "124M"
    files.mkdir(parents=True)
    for name, data in bucket.files.items():
        (files / name).write_bytes(data)
    part(bucket, tmp_path / "weights", bucket.files[DATA][:have])
    handler = partial(SimpleHTTPRequestHandler, directory=files.parent)
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        url = f"http://127.0.0.1:{server.server_port}"
        download.download("124M", tmp_path / "weights", url)
        server.shutdown()
        thread.join()
    assert is_whole(bucket, tmp_path / "weights")


# A file that changes (on the hub: test_hub.py)


@pytest.mark.parametrize("next_run", [False, True], ids=["same run", "next run"])
@pytest.mark.parametrize("cut", [100_000, None], ids=["half", "whole"])
def test_halves_of_two_files_are_not_joined(bucket, tmp_path, sleeps, next_run, cut):
    old = edition('"old"', bytes(SIZE + (cut is None)), cut or -1)
    stop = [status(404)] if next_run else []
    behave(bucket, DATA, old, *stop, always=edition('"new"'))
    if next_run:
        with pytest.raises(DownloadError, match="404"):
            fetch(bucket, tmp_path)
        bucket.asked.clear()
    fetch(bucket, tmp_path)
    assert is_whole(bucket, tmp_path)
    first, *later = ranges(bucket, DATA)[0 if next_run else 1 :]
    assert first.startswith("bytes=")
    assert later == [None]  # all of it, once


@pytest.mark.parametrize("etag", ['"same"', 'W/"weak"', "", "\x0c", "caf\xe9"])
def test_a_file_that_does_not_change_goes_on(bucket, tmp_path, sleeps, etag):
    good = edition(etag)
    behave(bucket, DATA, edition(etag, cut=100_000), status(404), always=good)
    with pytest.raises(DownloadError, match="404"):
        fetch(bucket, tmp_path)
    fetch(bucket, tmp_path)
    assert is_whole(bucket, tmp_path)
    assert ranges(bucket, DATA)[-1] not in (None, "bytes=0-")
    assert bucket.sent[DATA] < SIZE + PIECE


def test_what_is_noted_of_a_file_may_be_damaged(bucket, tmp_path, sleeps):
    for noted in b"", b"\xff\n", b"x\r\nHost: elsewhere", b"\0":
        shutil.rmtree(tmp_path / "124M", ignore_errors=True)
        begun = part(bucket, tmp_path, bucket.files[DATA][:100_000])
        begun.with_name(f"{DATA}.etag").write_bytes(noted)
        behave(bucket, DATA, always=edition('"now"'))
        fetch(bucket, tmp_path)
        assert is_whole(bucket, tmp_path)


def test_a_file_that_always_changes_is_given_up(bucket, tmp_path, sleeps):
    editions = (edition(f'"{i}"', cut=100_000) for i in range(100))
    behave(bucket, DATA, *editions)
    fails(bucket, tmp_path, DATA, "run the same command")
    assert len(sleeps) < 10


# A full disk, a process that is killed, and two at once


@posix
@pytest.mark.parametrize("n", [0, 60, 1000, 65_536, 200_000])
def test_a_full_disk_is_told_and_the_next_run_goes_on(server, tmp_path, installed, n):
    code = "import resource, runpy; "
    code += f"resource.setrlimit(resource.RLIMIT_FSIZE, ({n}, {n})); "
    code += "runpy.run_module('minigpt2.download', run_name='__main__')"
    arguments = (server.model, "--weights", tmp_path, "--url", server.url)
    result, output, messages = run(installed, *arguments, program=("-c", code))
    ends_in_words(result, messages, "cannot write", str(tmp_path))
    assert output == ""
    assert locate.find(server.model, tmp_path) is None
    directory = tmp_path / f"{server.folder}.part"
    had = sum(p.stat().st_size for p in directory.iterdir() if p.suffix != ".etag")
    server.sent.clear()
    fetch(server, tmp_path)
    assert is_whole(server, tmp_path)
    assert sum(server.sent.values()) == sum(map(len, server.files.values())) - had


KILLED = """
import atexit, os, runpy, signal, sys
def count(event, arguments, left=[int(sys.argv.pop(1))]):
    if any(sys.argv[3] in os.fsdecode(a) for a in arguments if isinstance(a, (str, bytes))):
        left[0] -= 1
        if not left[0]:
            os.kill(os.getpid(), signal.SIGKILL)
import minigpt2.files.download, numpy
atexit.register(lambda: print(10**9 - count.__defaults__[0][0], file=sys.stderr))
sys.argv[0] = "download"
sys.addaudithook(count)
runpy.run_module("minigpt2.download", run_name="__main__")
"""


@pytest.mark.slow
@posix
@pytest.mark.parametrize("seed", range(2))
def test_a_download_killed_at_any_point_goes_on(server, tmp_path, installed, seed):
    """Ten points each: before the n-th time that a file is opened, moved or removed, or
    after some bytes of one."""
    rng = random.Random(seed)
    arguments = (server.model, "--weights", tmp_path / "all", "--url", server.url)
    program = "-c", KILLED
    *_, times = run(installed, 10**9, *arguments, program=program)[2].split()
    for point in range(10):
        weights = tmp_path / str(point)
        arguments = (server.model, "--weights", weights, "--url", server.url)
        n, killed = 10**9, threading.Event()
        if point < 5:
            file = rng.choice([*server.files, server.data, server.data])
            sent = rng.randrange(len(server.files[file]))

            def stop(handler, body, start, sent=sent, killed=killed):
                whole(handler, body, start, cut=sent)
                killed.set()
                handler.connection.recv(1)

            behave(server, file, stop)
        else:
            n = int(times) * (point - 5 + rng.random()) // 5 + 1
        process = start(installed, int(n), *arguments, program=program)
        if point < 5:
            assert killed.wait(60)
            process.kill()
        assert finish(process)[0] == -signal.SIGKILL, (point, n)
        there = locate.find(server.model, weights)
        assert there is None or is_right(server, weights), (point, n)
        fetch(server, weights)
        assert is_right(server, weights), (point, n)


def test_two_downloads_at_once(server, tmp_path, installed):
    arguments = (server.model, "--weights", tmp_path, "--url", server.url)
    processes = [start(installed, *arguments) for _ in range(4)]
    results = [finish(process) for process in processes]
    assert any(result == 0 for result, _, _ in results)
    for result, output, messages in results:
        if result:
            ends_in_words(result, messages, "another process is downloading")
        else:
            assert output == f"{tmp_path / server.folder}\n"
    assert is_whole(server, tmp_path)


def test_another_process_may_have_been_faster(server, tmp_path):
    def arrive():
        (tmp_path / server.folder).mkdir()
        for name, data in server.files.items():
            (tmp_path / server.folder / name).write_bytes(data)

    server.meanwhile = arrive
    assert fetch(server, tmp_path) == tmp_path / server.folder
    assert is_whole(server, tmp_path)
    assert [method for method, *_ in server.asked] == ["HEAD"]


@posix
def test_two_downloads_do_not_disturb_each_other(server, tmp_path):
    """While one process has the directory, another one keeps its hands off it."""
    directory = tmp_path / f"{server.folder}.part"
    with lock.take(directory):
        with pytest.raises(DownloadError, match="another process is downloading"):
            fetch(server, tmp_path)
        assert os.listdir(directory) == ["lock"]
    fetch(server, tmp_path)
    assert is_whole(server, tmp_path)


@posix
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
