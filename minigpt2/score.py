"""Text → log-probabilities: how well did the model foresee each token?"""

from collections.abc import Sequence

import numpy as np

from .model import Array, Cache, Config, Params, forward, unembed

ROWS_AT_ONCE = 64  # rows of n_vocab logits held at a time


def log_probabilities(params: Params, config: Config, text: Sequence[int]) -> Array:
    """The natural logarithm of the probability of each token after the first: float64
    (T - 1,).

    A long text is read in windows of n_ctx tokens that begin every n_ctx // 2, and each
    token is scored once, in the first window that holds it.
    """
    tokens = np.asarray(text)
    size = max(2, config.n_ctx)
    scores = np.empty(max(0, len(tokens) - 1))
    scored = 1  # the first token is given
    start = 0
    while scored < len(tokens):
        window = tokens[start : start + size]
        x = forward(params, window[None, :-1], Cache(config))[0]  # (T, C)
        for row in range(scored - start - 1, len(x), ROWS_AT_ONCE):
            logits = unembed(params, x[row : row + ROWS_AT_ONCE])  # (rows, V)
            logits -= logits.max(-1, keepdims=True)
            foreseen = tokens[scored : scored + len(logits), None]
            chosen = np.take_along_axis(logits, foreseen, axis=-1)[:, 0]
            log_p = chosen - np.log(np.exp(logits).sum(-1))
            scores[scored - 1 : scored - 1 + len(logits)] = log_p
            scored += len(logits)
        start += size // 2
    return scores
