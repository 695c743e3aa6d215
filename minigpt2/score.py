"""Text → log-probabilities: how well did the model foresee each token?

    python -m minigpt2.score FILE

(commands/score.py) prints the perplexity, the bits per byte, and what surprised the model
most.
"""

import math
from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

import numpy as np

from .model import Array, Cache, Config, Params, block, embed, layer_norm, unembed
from .speed.prefill import prefill

LOGITS_AT_ONCE = 64  # rows of n_vocab logits held at a time
TEXTS_AT_ONCE = 16  # with one context: 2 · 16 · 1,024 · C numbers of a block's cache
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
        log_p: Array = logits - logits.max(-1, keepdims=True)
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
    for rows in log_p:  # (rows, V)
        part = slice(done, done + len(rows))
        found.log_p[part] = own(rows, tokens[part])
        found.likeliest[part] = rows.argmax(-1)
        found.rank[part] = ranks(rows, tokens[part])
        done += len(rows)
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
    params: Params,
    config: Config,
    context: Sequence[int],
    texts: Sequence[Sequence[int]],
) -> Array:
    """The log-probability of each of B texts after the same context: float64 (B,).

    The context is read once: its keys and values serve all texts, of which TEXTS_AT_ONCE
    or fewer are read together, as a batch. The context and the longest text have a token
    or more, and fit the window together.
    """
    past, longest = len(context) - 1, max(map(len, texts))
    cache = Cache(config, n_ctx=past + longest)
    if past:
        prefill(params, np.array([context[:past]]), cache)
    at_once = min(TEXTS_AT_ONCE, config.n_ctx // longest)
    found = []
    for first in range(0, len(texts), at_once):
        some = texts[first : first + at_once]
        rows = np.full((len(some), 1 + longest), -1)  # -1 where a text has ended
        rows[:, 0] = context[-1]  # foresees the first token of each text
        for row, text in zip(rows, some, strict=True):
            row[1 : 1 + len(text)] = text
        x = embed(params, np.maximum(rows[:, :-1], 0), past)  # (B, longest, C)
        for weights, kv in zip(params["h"], cache.kv, strict=True):
            x = block(x, weights, np.repeat(kv, len(some), axis=1), past)
        row, place = np.nonzero(rows[:, 1:] >= 0)  # of each token to be foreseen
        x = layer_norm(x[row, place], **params["ln_f"])
        log_p = scores_of(distributions(params, x), rows[row, place + 1]).log_p
        found.append(np.bincount(row, log_p, len(some)))
    return np.concatenate(found)


if __name__ == "__main__":  # the command python -m minigpt2.score
    from .commands.console import run_command

    run_command("score")
