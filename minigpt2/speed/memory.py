"""Memory: how is it had when it is needed, and kept when it is needed again?"""

import ctypes
import math
import mmap
import sys

import numpy as np


def as_written(shape: tuple[int, ...]) -> np.ndarray:
    """A float32 array of zeros, whose memory comes a page at a time, as it is written.

    On Linux, np.empty asks for pages of 2 MB. The keys of one token are all over the cache:
    they would touch all of it, and to clear 75 MB (124M) takes 10 ms, or 150 if they must
    be found. A prompt of 5 tokens takes 38 ms, with np.empty 193; one of 512 698 and 812.
    """
    if sys.platform != "linux":
        return np.zeros(shape, np.float32)
    private = mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS  # a fork has its own
    pages = mmap.mmap(-1, 4 * math.prod(shape), private)
    return np.frombuffer(pages, np.float32).reshape(shape)


def keep_some_memory() -> None:
    """Let glibc keep up to 48 MB of what is freed: its limit is twice the largest array
    that was freed so far, of 32 MB at most (mallopt(3), M_MMAP_THRESHOLD). A prompt of 512
    tokens takes 0.73 s, else 0.79; one of 1023 takes 1.52 s, else 1.62 (124M's shape)."""
    np.empty(24 << 20, np.uint8)


def keep_memory() -> None:
    """Ask glibc, where it is the C library, to keep what is freed for the next array.

    Left alone it returns large arrays to the system, which hands their pages out again
    one by one, cleared: at each step of `tiny` 46,000 times, a twelfth of its time.
    """
    if sys.platform == "linux" and hasattr(libc := ctypes.CDLL(None), "mallopt"):
        M_TRIM_THRESHOLD, M_MMAP_MAX, M_ARENA_MAX = -1, -4, -8  # malloc.h
        libc.mallopt(M_TRIM_THRESHOLD, -1)  # give nothing back
        libc.mallopt(M_MMAP_MAX, 0)  # take nothing that must be given back
        libc.mallopt(M_ARENA_MAX, 1)  # one heap for all threads
