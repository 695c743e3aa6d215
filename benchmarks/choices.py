"""Which of several texts with the same beginning is the likeliest?

The beginning is read once: its keys and values serve all of the texts, whose ends are then
read together, as a batch.
"""

from collections.abc import Sequence
from itertools import takewhile

import numpy as np

from minigpt2.model import Array, Cache, Config, Params, blocks, layer_norm
from minigpt2.score import distributions, log_probabilities, own
from minigpt2.speed.prefill import prefill


def shared(texts: Sequence[Sequence[int]]) -> int:
    """How many tokens at their beginning all texts have in common."""
    columns = zip(*texts, strict=False)
    return sum(1 for _ in takewhile(lambda tokens: len({*tokens}) == 1, columns))


def log_p_of_each(
    params: Params, config: Config, texts: Sequence[Sequence[int]]
) -> Array:
    """The log-probability of each text given the beginning that all share: float64 (B,).

    The first token, which all must share, is given. If the longest text is longer than
    n_ctx, all lose the same tokens of the beginning. If that is not enough, or the ends
    are so long that a batch of them would take much memory, each is read by itself, in the
    windows of `score.log_probabilities`.

    Raises ValueError if the texts differ in their first tokens, or not at all.
    """
    first, longest = shared(texts), max(map(len, texts))
    if not 0 < first < longest:
        raise ValueError("the texts have no beginning in common, or are one text")
    cut = min(first - 1, max(0, longest - config.n_ctx))
    rows, first, longest = [text[cut:] for text in texts], first - cut, longest - cut
    if longest - first > config.n_ctx // 4:
        each = (log_probabilities(params, config, row)[first - 1 :] for row in rows)
        return np.array([log_p.sum() for log_p in each])

    past = first - 1  # the last token that all share foresees: it is read with the ends
    cache = Cache(config, n_ctx=longest - 1)
    if past:
        prefill(params, np.array([rows[0][:past]]), cache)
    ends = np.full((len(rows), longest - past), -1)  # (B, T), -1 where a text has ended
    for end, row in zip(ends, rows, strict=True):
        end[: len(row) - past] = row[past:]
    kv = (np.repeat(layer, len(rows), axis=1) for layer in cache.kv)  # one at a time
    *_, x = blocks(params, np.maximum(ends[:, :-1], 0), kv, past)  # (B, T - 1, C)
    text, place = np.nonzero(ends[:, 1:] >= 0)  # of each token to be foreseen
    x, targets = layer_norm(x[text, place], **params["ln_f"]), ends[text, place + 1]
    log_p = np.empty(len(targets))
    done = 0
    for block in distributions(params, x):  # (rows, V)
        part = slice(done, done + len(block))
        log_p[part] = own(block, targets[part])
        done += len(block)
    return np.bincount(text, log_p, len(rows))
