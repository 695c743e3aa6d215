"""Text → log-probabilities: how well did the model foresee each token?

    python -m minigpt2.score FILE

(commands/score.py) prints the perplexity, the bits per byte, and what surprised the model
most.
"""

from collections.abc import Iterable, Iterator, Sequence

import numpy as np

from .model import Array, Cache, Config, Params, unembed
from .speed.prefill import prefill

LOGITS_AT_ONCE = 64  # rows of n_vocab logits held at a time


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
    for row in range(0, len(rows), LOGITS_AT_ONCE):
        logits = unembed(params, rows[row : row + LOGITS_AT_ONCE])  # (rows, V)
        with np.errstate(invalid="ignore"):
            log_p = logits - logits.max(-1, keepdims=True)
            log_p -= np.log(np.exp(log_p).sum(-1, keepdims=True))
        if not np.isfinite(log_p[:, 0]).all():  # one NaN or +inf makes its row NaN
            raise FloatingPointError("the logits are not finite: damaged parameters?")
        yield log_p


def score(
    params: Params, config: Config, tokens: Array, first: int = 1
) -> tuple[Array, Array]:
    """How each token of int (B, T) from place `first` on was foreseen: its
    log-probability, float64 (B, T - first), and the likeliest token there, int of that
    shape."""
    targets = tokens[:, first:]
    log_p, likeliest = np.empty(targets.size), np.empty(targets.size, np.int64)
    done = 0
    for block in foresee(params, config, tokens, first):
        part = slice(done, done + len(block))
        target = targets.reshape(-1)[part, None]
        log_p[part] = np.take_along_axis(block, target, axis=-1)[:, 0]
        likeliest[part] = block.argmax(-1)
        done += len(block)
    return log_p.reshape(targets.shape), likeliest.reshape(targets.shape)


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
    scores = [score(params, config, tokens[None], first)[0][0] for tokens, first in cut]
    return np.concatenate([np.empty(0), *scores])


if __name__ == "__main__":  # the command python -m minigpt2.score
    from .commands.console import run_command

    run_command("score")
