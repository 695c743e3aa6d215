"""Which of several texts with the same beginning is the likeliest?

The beginning that all share is read once, and their ends after it.
"""

from collections.abc import Sequence
from itertools import takewhile

import numpy as np

from minigpt2.model import Array, Config, Params
from minigpt2.score import log_p_after, log_probabilities


def shared(texts: Sequence[Sequence[int]]) -> int:
    """How many tokens at their beginning all texts have in common."""
    columns = zip(*texts, strict=False)
    return sum(1 for _ in takewhile(lambda tokens: len({*tokens}) == 1, columns))


def log_p_of_each(
    params: Params, config: Config, texts: Sequence[Sequence[int]]
) -> Array:
    """The log-probability of each text given the beginning that all share: float64 (B,).

    The first token, which all must share, is given. If the longest text is longer than
    n_ctx, all lose the same tokens of the beginning. If that is not enough, each is read
    by itself, in the windows of `score.log_probabilities`.

    Raises ValueError if the texts differ in their first tokens, or not at all.
    """
    first, longest = shared(texts), max(map(len, texts))
    if not 0 < first < longest:
        raise ValueError("the texts have no beginning in common, or are one text")
    cut = min(first - 1, max(0, longest - config.n_ctx))
    rows, first, longest = [text[cut:] for text in texts], first - cut, longest - cut
    if longest > config.n_ctx:
        each = (log_probabilities(params, config, row)[first - 1 :] for row in rows)
        return np.array([log_p.sum() for log_p in each])
    ends = [row[first:] for row in rows]
    return log_p_after(params, config, rows[0][:first], ends)
