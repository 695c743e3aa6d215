"""Gradient → better weights: GPT-2's initialisation, AdamW, and a step of training.

All parameters of a model are views of one flat buffer, matrices first; so are gradients
and the two moments of Adam. An update is then a few passes over four long vectors, taken
in slices, on threads (of 32,768 elements they take twice as long as of 262,144).
"""

import math
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np

from .. import model
from ..model import Array, Config
from . import backward

SLICE = 1 << 18  # elements: smaller ones keep threads waiting for each other
TOKENS_AT_ONCE = 1024  # per thread: more need more memory, fewer add up dw more often


def flat(config: Config, dtype: type = np.float32) -> tuple[Array, dict[str, Array]]:
    """One buffer of zeros for all parameters, and its views under their names.

    Matrices come first, because weight decay is for matrices only: they are the first
    `n_matrix` elements.
    """
    wanted = dict(model.shapes(config))
    buffer: Array = np.zeros(sum(map(math.prod, wanted.values())), dtype)
    views, start = {}, 0
    for name in sorted(wanted, key=lambda name: len(wanted[name]) == 1):
        stop = start + math.prod(wanted[name])
        views[name] = buffer[start:stop].reshape(wanted[name])
        start = stop
    return buffer, {name: views[name] for name in wanted}


def n_matrix(config: Config) -> int:
    """How many parameters are in matrices: the embeddings, and w of linear layers."""
    return sum(math.prod(shape) for _, shape in model.shapes(config) if len(shape) > 1)


def initialise(params: dict[str, Array], rng: np.random.Generator) -> None:
    """GPT-2's initialisation, in place: matrices N(0, 0.02²), gains one, biases zero.

    Positions start from N(0, 0.01²), as in OpenAI's model.py. A layer adds twice to the
    residual stream; both projections onto it are divided by sqrt(2 n_layer), so that
    its deviation does not grow with depth (Radford et al. 2019, section 2.3).
    """
    n_layer = sum(name.endswith("ln_1/g") for name in params)
    for name, array in params.items():
        if array.ndim > 1:
            std = 0.01 if name == "wpe" else 0.02
            if name.endswith("c_proj/w"):
                std /= math.sqrt(2 * n_layer)
            array[:] = rng.standard_normal(array.shape, np.float32) * std
        else:
            array[:] = name.endswith("/g")


def learning_rate(
    step: int, steps: int, peak: float, warmup: int, floor: float = 0.05
) -> float:
    """The rate after `step` steps: a line up to peak, half a cosine to floor · peak."""
    if step < warmup:
        return peak * (step + 1) / warmup
    progress = (step - warmup) / max(1, steps - warmup)
    return peak * (floor + (1 - floor) * (1 + math.cos(math.pi * min(1, progress))) / 2)


class AdamW:
    """Adam with decoupled weight decay, over one flat buffer (Kingma & Ba 2015;
    Loshchilov & Hutter 2019).

    m = β1 m + (1 - β1) g,  m̂ = m / (1 - β1ᵗ),
    v = β2 v + (1 - β2) g²,  v̂ = v / (1 - β2ᵗ),
    p = p - rate (decay p + m̂ / (sqrt(v̂) + eps)),  decay p only for the first n_decay.
    """

    def __init__(
        self,
        params: Array,
        n_decay: int,
        decay: float = 0.1,
        betas: tuple[float, float] = (0.9, 0.95),
        eps: float = 1e-8,
    ) -> None:
        self.params, self.n_decay, self.decay = params, n_decay, decay
        self.betas, self.eps = betas, eps
        self.m, self.v, self.step = np.zeros_like(params), np.zeros_like(params), 0

    def update(
        self,
        grads: Array,
        rate: float,
        scale: float = 1.0,
        run: Callable[..., Any] = map,
    ) -> None:
        """One step with the gradient scale · grads; `run` may be the map of a pool of
        threads."""
        self.step += 1
        (b1, b2), t = self.betas, self.step

        def change(span: slice) -> None:
            p, m, v = self.params[span], self.m[span], self.v[span]
            g = scale * grads[span]
            m *= b1
            m += (1 - b1) * g
            v *= b2
            v += (1 - b2) * g * g
            m_hat, v_hat = m / (1 - b1**t), v / (1 - b2**t)
            direction = m_hat / (np.sqrt(v_hat) + self.eps)
            if span.start < self.n_decay:
                direction += self.decay * p
            p -= rate * direction

        # (a list, because map is lazy)
        list(run(change, slices(len(self.params), self.n_decay)))


def slices(length: int, boundary: int = 0, size: int = SLICE) -> Iterator[slice]:
    """0 … length in pieces of at most this size, none of which crosses the boundary."""
    for start, stop in (0, boundary), (boundary, length):
        for i in range(start, stop, size):
            yield slice(i, min(i + size, stop))


class Stepper:
    """A step of training on several threads, each with a gradient of its own.

    A thread always takes the same windows of a batch, and gradients are added in the
    order of threads: the result depends on the number of threads, but not on which of
    them is the first to finish.
    """

    def __init__(
        self, config: Config, params: model.Params, optimizer: AdamW, threads: int
    ) -> None:
        self.config, self.params, self.optimizer = config, params, optimizer
        self.threads = threads
        buffers = [flat(config, optimizer.params.dtype.type) for _ in range(threads)]
        self.grads = [buffer for buffer, _ in buffers]
        self.nested = [model.nest(views) for _, views in buffers]
        # NumPy need not warn of numbers that are not finite: `step` looks for them.
        self.pool = ThreadPoolExecutor(threads, initializer=lambda: np.seterr("ignore"))

    def gradient(self, batches: list[Array]) -> tuple[float, float]:
        """The mean loss of the batches, each (B, T + 1), and the norm of its gradient,
        which is left in grads[0]."""
        scale = 1 / sum(tokens[:, 1:].size for tokens in batches)
        at_once = max(1, TOKENS_AT_ONCE // (batches[0].shape[1] - 1))

        def one_thread(thread: int) -> float:
            self.grads[thread].fill(0)
            params, grads, n_head = self.params, self.nested[thread], self.config.n_head
            loss = 0.0
            for tokens in batches:
                mine = np.array_split(tokens, self.threads)[thread]
                for i in range(0, len(mine), at_once):
                    windows = mine[i : i + at_once]
                    loss += backward.loss_and_gradient(
                        params, windows, grads, n_head, scale
                    )
            return loss

        def add_up(span: slice) -> float:
            first, *others = (grads[span] for grads in self.grads)
            for other in others:
                first += other
            return float(first @ first)

        loss = sum(self.pool.map(one_thread, range(self.threads)))
        squares = self.pool.map(add_up, slices(len(self.grads[0])))
        return loss, math.sqrt(sum(squares))

    def step(
        self, batches: list[Array], rate: float, clip: float = 1.0
    ) -> tuple[float, float]:
        """One update of the parameters; returns the loss before it and the gradient's
        norm.

        The gradient is shortened to the length `clip` if it is longer (Pascanu et al.
        2013). Raises FloatingPointError, and changes nothing, if the loss or the
        gradient is not finite.
        """
        loss, norm = self.gradient(batches)
        if not math.isfinite(loss + norm):
            raise FloatingPointError(f"the loss is {loss}, the gradient's norm {norm}")
        scale = min(1.0, clip / (norm + 1e-6))
        self.optimizer.update(self.grads[0], rate, scale, self.pool.map)
        return loss, norm
