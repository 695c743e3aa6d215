"""How many threads a pass has on a busy machine, and that it changes no number."""

import os
import subprocess
import sys

import numpy as np
import pytest
from helpers import ROOT

from minigpt2 import model
from minigpt2.model import Cache
from minigpt2.speed.product import openblas
from minigpt2.speed.threads import Threads


def passes(threads: Threads, blocks):
    """The numbers of threads that blocks have, if each of `blocks` takes the seconds and
    the processor seconds of {number of threads: (seconds, processor)}."""
    clock, had = 0.0, []
    for block in blocks:
        had.append(threads.now)
        seconds, processor = block[threads.now]
        clock += seconds
        threads.learn(seconds, processor, clock)
    return had


def with_cores(most: int) -> Threads:
    threads = Threads()
    threads.most = threads.now = most
    return threads


def test_a_quiet_machine_keeps_all_threads():
    quiet = {4: (1.0, 3.9), 1: (3.0, 3.0)}
    assert passes(with_cores(4), [quiet] * 50) == [4] * 50


def test_a_busy_machine_goes_on_with_one_thread_and_tries_all_of_them_seldom():
    busy = {2: (10.0, 10.0), 1: (2.0, 2.0)}
    had = passes(with_cores(2), [busy] * 400)
    assert had[:2] == [2, 1]
    trials = had[2:].count(2)
    assert 2 <= trials
    assert trials * 8 <= 0.06 * (trials * 10 + (398 - trials) * 2)


def test_when_the_machine_is_quiet_again_so_are_all_threads():
    busy = {2: (10.0, 10.0), 1: (2.0, 2.0)}
    quiet = {2: (1.0, 2.0), 1: (2.0, 2.0)}
    had = passes(with_cores(2), [busy] * 10 + [quiet] * 300)
    assert had[9] == 1 and had[-100:] == [2] * 100


def test_one_thread_that_is_slower_is_left_at_once():
    """Threads can be short of time and yet be the quicker ones."""
    tired = {8: (1.0, 5.0), 1: (4.0, 4.0)}
    had = passes(with_cores(8), [tired] * 200)
    assert had[:3] == [8, 1, 8]
    assert 1 <= had.count(1) <= 5


@pytest.mark.parametrize("number", [1, 2])
def test_the_numbers_are_those_of_model_forward(tiny, number):
    tokens = np.array([[5, 6, 7], [7, 8, 9]])
    threads, cache = Threads(), Cache(tiny.config, 2)
    threads.now = min(number, threads.most)
    x = threads.forward(tiny.params, tokens, cache)
    plain = Cache(tiny.config, 2)
    expected = model.forward(tiny.params, tokens, plain)
    np.testing.assert_allclose(x, expected, atol=1e-5)
    logits = model.unembed(tiny.params, expected)
    np.testing.assert_allclose(threads.unembed(tiny.params, x), logits, atol=1e-4)
    assert cache.length == plain.length == 3


@pytest.mark.skipif(openblas() is None, reason="NumPy has no OpenBLAS here")
def test_blas_has_its_threads_again_afterwards(tiny):
    get_threads, set_threads = openblas()
    before = get_threads()
    try:
        set_threads(3)
        threads = Threads()
        threads.now, seen = 1, []
        with threads.set():
            seen.append(get_threads())
        assert (seen, get_threads()) == ([1], 3)
        with pytest.raises(KeyboardInterrupt), threads.set():
            raise KeyboardInterrupt
        assert get_threads() == 3
    finally:
        set_threads(before)


def test_a_text_is_the_same_on_one_thread_and_on_several():
    """In real processes, whose BLAS has one thread or two."""
    code = (
        "import minigpt2; g = minigpt2.load('tiny'); print(*g.generate('Once', seed=3))"
    )
    texts = {
        subprocess.run(
            [sys.executable, "-c", code],
            env={**os.environ, "OPENBLAS_NUM_THREADS": number, "PYTHONPATH": str(ROOT)},
            capture_output=True,
            check=True,
        ).stdout
        for number in ("1", "2")
    }
    assert len(texts) == 1
