"""The two checkpoints that the tests read, OpenAI's format and the embedded model, and the
option --slow."""

import pytest
from helpers import SMALL

import minigpt2


@pytest.fixture(scope="session")
def small():
    """Random, in OpenAI's format: 4 layers, 3 heads, 24 wide, n_ctx 40, n_vocab 1000."""
    return minigpt2.load(SMALL)


@pytest.fixture(scope="session")
def tiny():
    """The embedded model: it has learnt to write."""
    return minigpt2.load("tiny")


def pytest_addoption(parser):
    parser.addoption("--slow", action="store_true", help="run the slow tests too")


def pytest_runtest_setup(item):
    if item.get_closest_marker("slow") and not item.config.getoption("--slow"):
        pytest.skip("slow: python -m pytest --slow runs it")
