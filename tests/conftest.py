"""The two checkpoints that the tests read, OpenAI's format and the embedded model; what
servers and a browser need; and the option --slow."""

import json
import os
import shutil
from pathlib import Path

import mirror
import pytest
from helpers import SMALL

import minigpt2
from minigpt2.files import locate, transfer
from minigpt2.page import explain


@pytest.fixture(scope="session")
def small():
    """Random, in OpenAI's format: 4 layers, 3 heads, 24 wide, n_ctx 40, n_vocab 1000."""
    return minigpt2.load(SMALL)


@pytest.fixture(scope="session")
def tiny():
    """The embedded model: it has learnt to write."""
    return minigpt2.load("tiny")


@pytest.fixture
def without_end(tmp_path):
    """The embedded model, with no `<|endoftext|>` in its vocabulary."""
    model = shutil.copytree(locate.find("tiny"), tmp_path / "model")
    for name in "vocab.json", "config.json", "tokenizer_config.json":
        values = json.loads((model / name).read_text(encoding="utf-8"))
        kept = {k: v for k, v in values.items() if k[3:] not in ("_token", "_token_id")}
        kept.pop("<|endoftext|>", None)
        (model / name).write_text(json.dumps(kept))
    return model


def pytest_addoption(parser):
    parser.addoption("--slow", action="store_true", help="run the slow tests too")


def pytest_runtest_setup(item):
    if item.get_closest_marker("slow") and not item.config.getoption("--slow"):
        pytest.skip("slow: python -m pytest --slow runs it")


@pytest.fixture
def alone(tmp_path, monkeypatch):
    """Only the model that a test downloads is on this machine."""
    elsewhere = tmp_path / "installed" / "minigpt2" / "files"
    monkeypatch.setattr(locate, "__file__", str(elsewhere / "locate.py"))
    monkeypatch.setattr(locate, "INSTALLED", elsewhere.parent / "weights")
    for name in ("HOME", "XDG_CACHE_HOME", "LOCALAPPDATA"):
        monkeypatch.setenv(name, str(tmp_path / "home"))
    for name in os.environ:
        if name.startswith(("MINIGPT2_", "HF_")):
            monkeypatch.delenv(name)
    for name in ("NO_PROXY", "no_proxy"):
        monkeypatch.setenv(name, "127.0.0.1")


@pytest.fixture(params=[mirror.openai, mirror.hub], ids=["OpenAI", "hub"])
def server(request, alone):
    """A server of the one kind, then of the other."""
    with mirror.serving(request.param()) as server:
        yield server


@pytest.fixture
def bucket(alone):
    """A server that has the model as OpenAI's bucket does."""
    with mirror.serving(mirror.openai()) as server:
        yield server


@pytest.fixture
def hub(alone):
    """A server that has the model as the hub does."""
    with mirror.serving(mirror.hub()) as server:
        yield server


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
    package = Path(minigpt2.__file__).parent
    shutil.copytree(package, directory / "minigpt2", ignore=ignore)
    return directory


@pytest.fixture(scope="session")
def chromium():
    """Chromium as the system has it, without a network."""
    reason = "playwright is not installed"
    playwright = pytest.importorskip("playwright.sync_api", reason=reason)
    names = "chromium", "chromium-browser", "google-chrome"
    path = next(filter(None, map(shutil.which, names)), None)
    if path is None:
        pytest.skip("there is no Chromium on the path")
    with playwright.sync_playwright() as running:
        browser = running.chromium.launch(executable_path=path)
        yield browser
        browser.close()


@pytest.fixture
def show(chromium, tmp_path):
    """Open a page of a prompt from the disk; at the end, nothing may have gone wrong."""
    problems, requests, contexts = [], [], []

    def opened(gpt2, prompt, view="", runs=False, **settings):
        path = tmp_path / "page.html"
        written = explain.page(explain.explain(gpt2, prompt) | {"model": prompt})
        if runs:  # with the model in it
            written = gpt2.explain(prompt).html
        path.write_text(written, encoding="utf-8")
        contexts.append(chromium.new_context(offline=True, **settings))
        page = contexts[-1].new_page()
        page.on("console", lambda message: problems.append(message.text))
        page.on("pageerror", lambda error: problems.append(str(error)))
        page.on("dialog", lambda dialog: problems.append(dialog.message))
        page.on("requestfailed", lambda request: problems.append(request.url))
        page.on("request", lambda request: requests.append(request.url))
        page.goto(path.as_uri() + view)
        page.wait_for_selector("html[data-ready]", state="attached")
        return page

    yield opened
    for context in contexts:
        context.close()
    assert problems == []
    pages = [url for url in requests if not url.startswith("blob:")]  # the worker
    asked = [url.partition("#")[0] for url in pages]
    assert asked == [(tmp_path / "page.html").as_uri()] * len(contexts)
