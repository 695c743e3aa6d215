"""Products and passes that are taken apart for speed give what the plain ones give."""

import mmap
import multiprocessing
import os
import sys
import threading
import time
import warnings
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from minigpt2 import model
from minigpt2.model import Cache
from minigpt2.speed import product
from minigpt2.speed.prefill import prefill


@pytest.mark.parametrize("rows", [1, 2, 3, 4, 5, 15, 16, 17])
@pytest.mark.parametrize("columns", [5, 4096, 4097, 10_000])
def test_a_product_of_few_rows_is_the_product(rows, columns):
    rng = np.random.default_rng(rows)
    x = rng.standard_normal((rows, 24)).astype(np.float32)
    w = rng.standard_normal((24, columns)).astype(np.float32)
    for matrix in w, np.asfortranarray(w):
        y = product.product(x, matrix)
        assert y.dtype == np.float32 and y.shape == (rows, columns)
        assert np.abs(y - x @ w).max() <= 1e-5
    assert product.product(x[:, None], w).shape == (rows, 1, columns)


@pytest.mark.parametrize("shape", [(768, 700), (700, 768), (1, 1 << 19), (1 << 19, 1)])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_a_row_times_a_large_matrix_is_the_product(shape, dtype):
    assert np.prod(shape) >= product.LARGE
    rng = np.random.default_rng(1)
    x = rng.standard_normal((1, 1, shape[0])).astype(dtype)
    w = rng.standard_normal(shape).astype(dtype)
    sliced = np.pad(w, 1)[1:-1, 1:-1]
    for matrix in w, np.asfortranarray(w), sliced:
        y = product.product(x, matrix)
        assert y.dtype == dtype and y.shape == (1, 1, shape[1])
        exact = x.astype(np.float64) @ w.astype(np.float64)
        assert np.abs(y - exact).max() <= 1e-6 * shape[0]


def test_a_row_times_a_large_matrix_is_the_same_each_time():
    rng = np.random.default_rng(2)
    x, w = rng.standard_normal(768), rng.standard_normal((768, 700))
    first = product.in_halves(x, w)
    with ThreadPoolExecutor(4) as pool:
        again = pool.map(lambda _: product.in_halves(x, w), range(20))
        assert all((y == first).all() for y in again)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system does not fork")
def test_a_forked_process_has_a_thread_of_its_own():
    x, w = np.ones(768), np.ones((768, 700))
    product.in_halves(x, w)  # the parent's thread is there
    process = multiprocessing.get_context("fork").Process(
        target=product.in_halves, args=(x, w)
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        process.start()  # Python 3.12 warns of what is tested
    process.join(60)
    ended, _ = process.exitcode, process.kill()
    assert ended == 0


def test_a_product_keeps_float64():
    assert (
        product.product(np.ones((2, 3)), np.ones((3, 4), np.float32)).dtype
        == np.float64
    )


@pytest.mark.skipif(sys.platform != "linux", reason="the figure is from /proc")
def test_a_cache_takes_the_memory_of_its_tokens():
    def resident():
        return int(Path("/proc/self/statm").read_text().split()[1]) * mmap.PAGESIZE

    config = model.Config(n_vocab=300, n_ctx=1024, n_embd=768, n_head=12, n_layer=12)
    before = resident()
    cache = Cache(config)
    cache.kv[..., :5, :] = 1
    assert cache.kv.nbytes > 75e6 and resident() - before < 10e6
    cache.kv[...] = 1
    assert resident() - before > 70e6  # it is counted at all


@pytest.fixture
def two_threads():
    """As on a machine with two cores. With another BLAS than OpenBLAS there is no such
    setting, and passes are read one after the other."""
    if product.openblas() is None:
        pytest.skip("NumPy's BLAS is not OpenBLAS")
    get, set = product.openblas()
    before = get()
    set(2)
    yield get
    set(before)


def tokens_of(gpt2, length):
    return np.random.default_rng(0).integers(0, gpt2.config.n_vocab, (1, length))


def test_blocks_of_chunks_keep_step(two_threads, tiny, monkeypatch):
    """Block n of a chunk runs after block n of the chunk before, on two threads that
    BLAS does not divide further."""
    taken, names = [], set()
    block = model.block

    def watched(x, params, kv, n_past):
        names.add(threading.current_thread().name)
        assert two_threads() == 1
        time.sleep(0.001 * (n_past % 32 > 0))
        y = block(x, params, kv, n_past)
        taken.append((n_past, id(params)))
        return y

    monkeypatch.setattr(model, "block", watched)
    prefill(tiny.params, tokens_of(tiny, 80), Cache(tiny.config), rows=16)
    for past in range(16, 80, 16):
        for params in tiny.params["h"]:
            before, after = (past - 16, id(params)), (past, id(params))
            assert taken.index(before) < taken.index(after)
    assert len(names) == 2
    assert two_threads() == 2


def test_a_chunk_that_fails_ends_them_all(two_threads, tiny, monkeypatch):
    block = model.block

    def failing(x, params, kv, n_past):
        if n_past == 16:
            raise MemoryError("no room")
        return block(x, params, kv, n_past)

    monkeypatch.setattr(model, "block", failing)
    with pytest.raises(MemoryError, match="no room"):
        prefill(tiny.params, tokens_of(tiny, 90), Cache(tiny.config), rows=16)
    assert two_threads() == 2


@pytest.mark.parametrize("blas", ["OpenBLAS", "another"])
@pytest.mark.parametrize("rows", [1, 7, 16, 128, 250])
def test_a_prompt_is_the_same_in_chunks(two_threads, tiny, monkeypatch, blas, rows):
    tokens, cache, once = tokens_of(tiny, 250), Cache(tiny.config), Cache(tiny.config)
    if blas == "another":
        monkeypatch.setattr("minigpt2.speed.prefill.openblas", lambda: None)
    whole = model.forward(tiny.params, tokens, once)
    read = prefill(tiny.params, tokens, cache, rows)
    np.testing.assert_allclose(read, whole, rtol=1e-5, atol=1e-4)  # of up to 20
    assert cache.length == 250
    read, whole = (each.kv[..., :250, :] for each in (cache, once))  # the rest is empty
    assert np.abs(read - whole).max() <= 1e-4
