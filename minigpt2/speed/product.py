"""Matrix products at the machine's speed: what does BLAS, behind NumPy's @, need?

A product of one row reads the matrix once, as fast as memory gives it; one of many rows
is bound by arithmetic. BLAS is quick at the second, and at the first if no core is busy.
"""

import ctypes
import functools
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np

Array = np.ndarray

LARGE = 1 << 19  # numbers, 2 MB: a smaller one is done before a thread wakes up
FEW_ROWS = 4
COLUMNS_AT_ONCE = 4096  # of 768 floats: 12 MB, which a processor's cache holds
TILE = 8  # rows that BLAS computes together; a tile that is not full takes longer


def product(x: Array, w: Array) -> Array:  # (…, n_in), (n_in, n_out) → (…, n_out)
    """x @ w, with all rows of x in one product: w is read from memory once.

    For one row, see `in_halves`. For more than one, BLAS first copies w into another order.
    For a few rows the copy takes longer than the product, so they go one by one, over as
    many columns of w as the cache keeps from one row to the next. More rows are filled up
    with zeros to whole tiles.
    """
    rows = x.reshape(-1, x.shape[-1])
    if len(rows) == 1 and w.size >= LARGE:
        y = in_halves(rows[0], w)
    elif 1 < len(rows) <= FEW_ROWS:
        y = np.empty((len(rows), w.shape[1]), np.result_type(x, w))
        for start in range(0, w.shape[1], COLUMNS_AT_ONCE):
            columns = slice(start, start + COLUMNS_AT_ONCE)
            for row, out in zip(rows, y, strict=True):
                np.matmul(row, w[:, columns], out=out[columns])
    elif len(rows) % TILE > 1:  # a single one costs less than to fill its tile
        filled = np.pad(rows, ((0, -len(rows) % TILE), (0, 0)))
        y = (filled @ w)[: len(rows)]
    else:
        y = rows @ w
    return y.reshape(*x.shape[:-1], -1)


def in_halves(x: Array, w: Array) -> Array:  # (n_in,), (n_in, n_out) → (n_out,)
    """x @ w on two threads: each reads the half of w that lies together in memory.

    BLAS's threads wait for each other without sleeping. If another program has a core, they
    wait at each of some fifty products of a token: it takes 55 ms at the shape of 124M, so
    28. Where none has, 23 and 22. (The wider matrices of 774M take a seventh longer than
    with BLAS where no other program has a core, and half as long where one has.)
    """
    by_rows = w.flags.c_contiguous
    middle = (len(w) if by_rows else w.shape[1]) // 2
    if by_rows:  # each half makes a part of every sum
        first, second = (x[:middle], w[:middle]), (x[middle:], w[middle:])
    else:  # each half makes a half of the sums
        first, second = (x, w[:, :middle]), (x, w[:, middle:])
    other = helper(os.getpid()).submit(np.einsum, "i,ij->j", *second)
    y = np.einsum("i,ij->j", *first)
    return y + other.result() if by_rows else np.concatenate([y, other.result()])


@functools.cache
def helper(process: int) -> ThreadPoolExecutor:
    """Another thread of this process: a fork of it has a thread of its own."""
    return ThreadPoolExecutor(1)


@functools.cache
def openblas() -> tuple[Callable[[], int], Callable[[int], None]] | None:
    """NumPy's OpenBLAS: functions that get and set its number of threads. None if NumPy
    has another BLAS. (The variable OPENBLAS_NUM_THREADS is only read at import.)"""
    package = Path(np.__file__).parent
    linux, mac = package.parent / "numpy.libs", package / ".dylibs"
    for path in (*linux.glob("*openblas*"), *mac.glob("*openblas*")):
        library = ctypes.CDLL(str(path))
        for prefix, suffix in ("scipy_", "64_"), ("", "64_"), ("", ""):
            names = (
                f"{prefix}openblas_{verb}_num_threads{suffix}"
                for verb in ("get", "set")
            )
            get_threads, set_threads = (getattr(library, name, None) for name in names)
            if get_threads and set_threads:
                return get_threads, set_threads
    return None


def use_one_blas_thread() -> bool:
    """Let a matrix product run on the thread that asks for it; False if BLAS has
    no such setting.

    Two threads with half the work each keep two cores busy all the time; two threads
    inside each matrix product leave one idle in every other operation.
    """
    if controls := openblas():
        controls[1](1)
    return bool(controls) or os.environ.get("OPENBLAS_NUM_THREADS") == "1"
