"""The two checkpoints that the tests read, OpenAI's format and the embedded model, and the
option --slow."""

import json
import os
import shutil
from pathlib import Path

import mirror
import pytest
from helpers import SMALL

import minigpt2
from minigpt2.files import locate, transfer


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
