"""A long prompt, fast: `model.forward` in chunks, on as many threads as BLAS has.

Two threads inside each matrix product leave one idle in every other operation; two
chunks, a thread each, keep both busy. Block n of a chunk needs the keys and values of
block n of the chunk before it, and nothing else: it runs as soon as that has.
"""

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import numpy as np

from .. import model
from ..model import Array, Cache, Params
from .memory import keep_some_memory
from .product import openblas

CHUNK_ROWS = 128  # of a prompt: full speed for BLAS, and little memory


def prefill(
    params: Params, tokens: Array, cache: Cache, rows: int = CHUNK_ROWS
) -> Array:  # (B, T) → (B, T, C)
    """The same as `model.forward`, in chunks of at most `rows` tokens of the whole batch."""
    B, T = tokens.shape
    size, past = max(1, rows // B), cache.length
    chunks = [tokens[:, i : i + size] for i in range(0, T, size)]
    get_threads, set_threads = openblas() or (lambda: 1, None)
    threads = get_threads()
    if set_threads is None or not 1 < threads <= len(chunks):
        xs = [model.forward(params, chunk, cache) for chunk in chunks]
        return np.concatenate(xs, axis=1)

    keep_some_memory()
    layers = range(len(params["h"]))
    passed = [[threading.Event() for _ in layers] for _ in chunks]

    def stream(i: int) -> Iterator[Array]:
        """`model.blocks` of chunk i, each after that of the chunk before."""
        blocks = model.blocks(params, chunks[i], cache.kv, past + i * size)
        for layer in layers:
            if i > 0:
                passed[i - 1][layer].wait()
            yield next(blocks)
            passed[i][layer].set()

    def read(i: int) -> Array:  # (B, size, C)
        try:
            *_, x = stream(i)
            return x
        finally:
            for event in passed[i]:  # should it fail, no other waits for it
                event.set()

    set_threads(1)
    try:
        with ThreadPoolExecutor(threads) as pool:
            x = np.concatenate(list(pool.map(read, range(len(chunks)))), axis=1)
    finally:
        set_threads(threads)
    cache.length += T
    return model.layer_norm(x, **params["ln_f"])
