"""Text → log-probabilities: how well the model foresaw each token."""

from collections.abc import Sequence

import numpy as np

from .model import Array, Cache, Config, Params, forward, unembed

ROWS_AT_ONCE = 64  # rows of n_vocab logits that are held at a time


def log_probabilities(params: Params, config: Config, tokens: Sequence[int]) -> Array:
    """The natural logarithm of the probability of each token after the first, float64
    (T - 1,).

    A text longer than the context window is read in windows of n_ctx tokens that start
    every n_ctx // 2; a token is scored in the first window that holds it, so that all
    but the first ones are foreseen from at least n_ctx // 2 others."""
    tokens = np.asarray(tokens)
    size = max(2, config.n_ctx)
    scored = 1  # the first token has nothing to be foreseen from
    result = np.empty(max(len(tokens) - 1, 0))
    for start in range(0, len(tokens), size // 2):
        window = tokens[start : start + size]
        if start + len(window) <= scored:
            break
        x = forward(params, window[None, :-1], Cache(config))[
            0, scored - start - 1 :
        ]  # (tokens to score, C)
        for i in range(0, len(x), ROWS_AT_ONCE):
            logits = unembed(params, x[i : i + ROWS_AT_ONCE])  # (rows, V)
            logits -= logits.max(-1, keepdims=True)
            target = tokens[scored : scored + len(logits), None]
            chosen = np.take_along_axis(logits, target, axis=-1)[:, 0]
            result[scored - 1 : scored - 1 + len(logits)] = chosen - np.log(
                np.exp(logits).sum(-1)
            )
            scored += len(logits)
    return result
