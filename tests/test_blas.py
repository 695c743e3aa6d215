"""Products and passes that are taken apart for speed give what the plain ones give."""

import threading
import time

import numpy as np
import pytest

from minigpt2 import blas, model


@pytest.mark.parametrize("rows", [1, 2, 3, 4, 5, 15, 16, 17])
@pytest.mark.parametrize("columns", [5, 4096, 4097, 10_000])
def test_a_product_of_few_rows_is_the_product(rows, columns):
    rng = np.random.default_rng(rows)
    x = rng.standard_normal((rows, 24)).astype(np.float32)
    w = rng.standard_normal((24, columns)).astype(np.float32)
    for matrix in w, np.asfortranarray(w):
        y = blas.product(x, matrix)
        assert y.dtype == np.float32 and y.shape == (rows, columns)
        assert np.abs(y - x @ w).max() <= 1e-5
    assert blas.product(x[:, None], w).shape == (rows, 1, columns)


def test_a_product_keeps_float64():
    assert (
        blas.product(np.ones((2, 3)), np.ones((3, 4), np.float32)).dtype == np.float64
    )


@pytest.fixture
def two_threads():
    """As on a machine with two cores. With another BLAS than OpenBLAS there is no such
    setting, and passes are read one after the other."""
    if blas.openblas() is None:
        pytest.skip("NumPy's BLAS is not OpenBLAS")
    get, set = blas.openblas()
    before = get()
    set(2)
    yield get
    set(before)


def test_streams_keep_step(two_threads):
    """Step n of one comes after step n of the one before; and several threads do it."""
    taken, names = [], set()

    def stream(i):
        for step in range(20):
            names.add(threading.current_thread().name)
            assert two_threads() == 1
            time.sleep(0.001 * (i % 2))
            taken.append((i, step))
            yield np.array([i, step])

    last = blas.in_step([stream(i) for i in range(5)])
    assert [array.tolist() for array in last] == [[i, 19] for i in range(5)]
    for i in range(1, 5):
        for step in range(20):
            assert taken.index((i - 1, step)) < taken.index((i, step))
    assert len(names) == 2
    assert two_threads() == 2


def test_a_stream_that_fails_ends_them_all(two_threads):
    def stream(i):
        yield np.zeros(1)
        if i == 1:
            raise MemoryError("no room")
        yield np.zeros(1)

    with pytest.raises(MemoryError, match="no room"):
        blas.in_step([stream(i) for i in range(6)])
    assert two_threads() == 2


def test_without_threads_streams_come_one_after_the_other(monkeypatch):
    monkeypatch.setattr(blas, "openblas", lambda: None)
    taken = []

    def stream(i):
        for step in range(3):
            taken.append((i, step))
            yield np.array([step])

    assert np.concatenate(blas.in_step([stream(0), stream(1)])).tolist() == [2, 2]
    assert taken == [(i, step) for i in range(2) for step in range(3)]


def test_a_long_prompt_is_the_same_on_two_threads(two_threads, tiny, monkeypatch):
    tokens = np.random.default_rng(0).integers(0, 4096, 250)
    monkeypatch.setattr(model, "ROWS_AT_ONCE", 250)
    whole = tiny.logits(tokens)
    monkeypatch.setattr(model, "ROWS_AT_ONCE", 16)
    for _ in range(5):
        assert np.abs(tiny.logits(tokens) - whole).max() <= 1e-4
