"""Text → log-probabilities: how well did the model foresee each token?

    python -m minigpt2.score FILE

(commands/score.py) prints the perplexity, the bits per byte, and what surprised the model
most.
"""

import math
from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

import numpy as np

from .model import Array, Cache, Config, Params, unembed
from .speed.prefill import prefill

LOGITS_AT_ONCE = 64  # rows of n_vocab logits held at a time
LIKELIEST = 10, 100, 1000  # GLTR's classes: Gehrmann et al. 2019, section 3


class Scores(NamedTuple):
    """How each token was foreseen: arrays of one shape."""

    log_p: Array  # float64, natural
    likeliest: Array  # the likeliest token in its place
    rank: Array  # of the token itself among all: 1 is the likeliest


def foresee(
    params: Params, config: Config, tokens: Array, first: int = 1
) -> Iterator[Array]:
    """The log-probability of every token of the vocabulary at the places `first`, … of
    each row of int (B, T), given the tokens before it there.

    It comes as float32 (rows, V), LOGITS_AT_ONCE of the B (T - first) rows at a time.
    Raises FloatingPointError for logits that are not finite.
    """
    B, T = tokens.shape
    x = prefill(params, tokens[:, :-1], Cache(config, B, n_ctx=T - 1))  # (B, T - 1, C)
    rows = x[:, first - 1 :].reshape(-1, config.n_embd)  # row t foresees token t + 1
    return distributions(params, rows)


def distributions(params: Params, rows: Array) -> Iterator[Array]:
    """The log-probabilities of the next token after final vectors (rows, C): float32
    (LOGITS_AT_ONCE, V) at a time, as `foresee` has them."""
    for row in range(0, len(rows), LOGITS_AT_ONCE):
        log_p = log_softmax(unembed(params, rows[row : row + LOGITS_AT_ONCE]))
        if not np.isfinite(log_p[:, 0]).all():  # one NaN or +inf makes its row NaN
            raise FloatingPointError("the logits are not finite: damaged parameters?")
        yield log_p


def log_softmax(logits: Array) -> Array:  # (…, V)
    """The logarithm of model.softmax, exact where that is 0."""
    with np.errstate(invalid="ignore"):
        log_p = logits - logits.max(-1, keepdims=True)
        log_p -= np.log(np.exp(log_p).sum(-1, keepdims=True))
    return log_p


def score(params: Params, config: Config, tokens: Array, first: int = 1) -> Scores:
    """How each token of int (B, T) from place `first` on was foreseen: (B, T - first)."""
    targets = tokens[:, first:]
    found = scores_of(foresee(params, config, tokens, first), targets.reshape(-1))
    return Scores(*(each.reshape(targets.shape) for each in found))


def scores_of(log_p: Iterable[Array], tokens: Array) -> Scores:
    """How each of tokens (n,) was foreseen, by blocks of `foresee` with n rows in all."""
    found = Scores(*(np.empty(len(tokens), kind) for kind in (float, int, int)))
    done = 0
    for block in log_p:  # (rows, V)
        part = slice(done, done + len(block))
        found.log_p[part] = own(block, tokens[part])
        found.likeliest[part] = block.argmax(-1)
        found.rank[part] = ranks(block, tokens[part])
        done += len(block)
    return found


def own(x: Array, tokens: Array) -> Array:  # (rows, V), (rows,) → (rows,)
    """The one number in each row that is the token's."""
    y: Array = np.take_along_axis(x, tokens[:, None], axis=-1)[:, 0]
    return y


def ranks(x: Array, tokens: Array) -> Array:  # (rows, V), (rows,) → int (rows,)
    """The place of each token among all, by logits or log-probabilities x: 1 is the
    likeliest. Those that are equally likely share the best place."""
    likelier: Array = np.count_nonzero(x > own(x, tokens)[:, None], axis=-1)
    return 1 + likelier


def classes(rank: Array) -> Array:  # int (…) → int (…)
    """GLTR's four colours: 0 for a token among the 10 likeliest, 1 among the 100, 2 among
    the 1000, 3 beyond."""
    return np.searchsorted(LIKELIEST, rank)


def sliding_windows(
    parts: Iterable[Sequence[int] | Array], n_ctx: int, stride: int | None = None
) -> Iterator[tuple[Array, int]]:
    """Cut tokens, which come in parts, into windows of n_ctx that begin every `stride`,
    by default n_ctx // 2: each window, int (T,), and the place in it from which on the
    tokens are new. (Of the tokens 0 to 5, with n_ctx 4 and stride 2: [0 1 2 3] and 1,
    [2 3 4 5] and 2. The very first token is given, and never new.)

    Raises ValueError for a stride outside 1 … n_ctx - 1.
    """
    size = max(2, n_ctx)
    stride = size // 2 if stride is None else stride
    if not 1 <= stride < size:
        raise ValueError(f"stride is {stride}, expected 1 to {size - 1}")
    held, first = np.empty(0, np.int64), 1
    for part in parts:
        held = np.concatenate([held, np.asarray(part, np.int64)])
        while len(held) >= size:
            yield held[:size], first
            held, first = held[stride:], size - stride
    if len(held) > first:  # some are not scored yet
        yield held, first


def log_probabilities(
    params: Params,
    config: Config,
    text: Sequence[int] | Array,
    stride: int | None = None,
) -> Array:
    """The natural logarithm of the probability of each token after the first: float64
    (T - 1,).

    A long text is read in `sliding_windows`, and each token is scored once, in the first
    window that holds it.
    """
    cut = sliding_windows([text], config.n_ctx, stride)
    scores = [
        score(params, config, window[None], first).log_p[0] for window, first in cut
    ]
    return np.concatenate([np.empty(0), *scores])


class Tally:
    """Sums over the tokens of a text: how surprising they were, in bits, and how many of
    them are in each of `classes`."""

    def __init__(self) -> None:
        self.tokens, self.bits, self.squares = 0, 0.0, 0.0
        self.classes = np.zeros(len(LIKELIEST) + 1, int)

    def add(self, scores: Scores) -> None:
        bits = -scores.log_p / np.log(2)
        self.tokens += bits.size
        self.bits += float(bits.sum())
        self.squares += float((bits * bits).sum())
        found = classes(scores.rank).reshape(-1)
        self.classes += np.bincount(found, minlength=len(self.classes))

    @property
    def mean(self) -> float:
        """The mean surprisal of a token, in bits."""
        return self.bits / self.tokens

    @property
    def deviation(self) -> float:
        """The standard deviation of the surprisal of a token, in bits."""
        return math.sqrt(max(0.0, self.squares / self.tokens - self.mean**2))

    @property
    def shares(self) -> list[float]:
        """How much of the tokens is in each class."""
        return [float(share) for share in self.classes / self.tokens]


def log_p_after(
    params: Params, config: Config, context: Sequence[int], texts: Sequence[list[int]]
) -> list[float]:
    """The log-probability of each of some texts after the same context, which is read
    once: its keys and values serve them all. A text and the context fit the window."""
    longest = max(map(len, texts))
    cache = Cache(config, n_ctx=len(context) + longest - 1)
    last = prefill(params, np.array([context]), cache)[0, -1:]  # (1, C)
    found = []
    for text in texts:
        tokens, rows = np.array(text), last
        if len(text) > 1:
            cache.length = len(context)  # forget the text before
            rest = prefill(params, tokens[None, :-1], cache)[0]
            rows = np.concatenate([last, rest])  # (T, C): row t foresees token t
        found.append(float(scores_of(distributions(params, rows), tokens).log_p.sum()))
    return found


if __name__ == "__main__":  # the command python -m minigpt2.score
    from .commands.console import run_command

    run_command("score")
