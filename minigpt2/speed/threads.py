"""A machine that is busy: how many threads should a matrix product have?

BLAS gives each of its threads a share of every product, and all wait for the last one. If
another program has one of the cores, that is a wait at each of some fifty products of a
token, and two threads take several times as long as one. So every block is timed, and the
next one has the number of threads that takes less time: all of them, or one.
"""

import time
from collections.abc import Iterator
from contextlib import contextmanager

from .. import model
from ..model import Array, Cache, Params
from .product import openblas

TAKEN = 0.8  # of the threads' time; if they got less, another program had the rest
SPELL = 0.05  # seconds over which that is seen: time is counted in ticks of 4 ms
WASTE = 0.05  # of the time may go into trials of the number that was slower


class Threads:
    """The passes of `model` for one text, on all of BLAS's threads or on one.

    While all of them get their time, nothing is tried. The number that was slower is tried
    again when that costs little of the time since.
    """

    def __init__(self) -> None:
        self.controls = openblas()
        self.most = self.controls[0]() if self.controls else 1
        self.now = self.most
        self.seconds: dict[int, float] = {}  # number of threads → of its latest block
        self.trial, self.next_trial = False, 0.0
        self.spell, self.ran = 0.0, 0.0  # seconds on all threads, and their own

    def forward(self, params: Params, tokens: Array, cache: Cache) -> Array:
        """`model.forward`: (B, T) → (B, T, C)."""
        *_, x = self.timed(model.blocks(params, tokens, cache.kv, cache.length))
        cache.length += tokens.shape[1]
        return model.layer_norm(x, **params["ln_f"])

    def timed(self, blocks: Iterator[Array]) -> Iterator[Array]:
        while True:
            start, ran = time.perf_counter(), time.process_time()
            with self.set():
                x = next(blocks, None)
            if x is None:
                return
            end = time.perf_counter()
            self.learn(end - start, time.process_time() - ran, end)
            yield x

    def unembed(self, params: Params, x: Array) -> Array:  # (…, C) → (…, V)
        """`model.unembed`."""
        with self.set():
            return model.unembed(params, x)

    @contextmanager
    def set(self) -> Iterator[None]:
        if self.controls is None or self.now == self.most:
            yield
            return
        _, set_threads = self.controls
        set_threads(self.now)
        try:
            yield
        finally:
            set_threads(self.most)

    def learn(self, seconds: float, processor: float, clock: float) -> None:
        """A block on `now` threads took `seconds`, in which they ran for `processor`
        seconds in all; it ended at `clock`."""
        if self.most == 1:
            return
        self.seconds[self.now] = seconds
        other = 1 + self.most - self.now
        if self.trial:
            more = abs(seconds - self.seconds[other])
            self.next_trial = clock + more / WASTE
        faster = self.seconds.get(other, seconds) < seconds
        doubtful = self.now == 1 or self.held_up(seconds, processor)
        self.trial = faster or (doubtful and clock >= self.next_trial)
        if self.trial:
            self.now = other

    def held_up(self, seconds: float, processor: float) -> bool:
        """Whether all threads together got less than their time, at the end of a spell."""
        self.spell, self.ran = self.spell + seconds, self.ran + processor
        if self.spell < SPELL:
            return False
        less = self.ran < TAKEN * self.most * self.spell
        self.spell, self.ran = 0.0, 0.0
        return less
