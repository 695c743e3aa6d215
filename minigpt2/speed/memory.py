"""Memory that is freed and needed again: how does a process keep it?"""

import ctypes
import sys

import numpy as np


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
