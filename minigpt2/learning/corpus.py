"""Text files → windows of tokens to learn from."""

from pathlib import Path

import numpy as np

from ..files.text import read_file
from ..model import Array
from ..tokenizer import Tokenizer


def read_tokens(paths: list[Path], tokenizer: Tokenizer) -> Array:  # int32 (tokens,)
    """The tokens of all files, each text after an `<|endoftext|>`; a directory stands
    for the .txt files in it.

    Raises ValueError, with its name, for a file that is missing or no UTF-8 text, and
    if there is no text at all.
    """
    tokens: list[Array] = []
    for path in paths:
        files = sorted(path.rglob("*.txt")) if path.is_dir() else [path]
        if not files:
            raise ValueError(f"{path}: no .txt file in this directory")
        for file in files:
            text = read_file(file)
            if text.strip():
                ids = [*tokenizer.beginning(), *tokenizer.encode(text)]
                tokens.append(np.array(ids, np.int32))
    if not tokens:
        raise ValueError(f"{', '.join(map(str, paths))}: no text")
    return np.concatenate(tokens)


def draw_windows(
    tokens: Array, n_ctx: int, first: int, count: int, seed: int, drills: float = 0.0
) -> Array:
    """Numbers `first` to `first + count` of an endless sequence of windows, which
    `seed` determines: int (count, n_ctx + 1).

    The text is cut into n windows of n_ctx tokens, and one more to predict; they come
    in random order, each once; then the text is cut at other places, and so on. Nothing
    has to be remembered to go on.

    A share `drills` of them is drills instead: a few random tokens of the text, again and
    again. Only copying foretells them, and books seldom reward it: without drills, a small
    model does not learn to copy (weights/tiny/README.md).
    """
    n = max(1, (len(tokens) - 1) // n_ctx - 1)
    starts = np.empty(count, np.int64)
    for epoch in range(first // n, (first + count - 1) // n + 1):
        rng = np.random.default_rng((seed, epoch))
        cuts = rng.integers(len(tokens) - n * n_ctx) + n_ctx * rng.permutation(n)
        begin = epoch * n  # the number of this epoch's first window
        start, stop = max(first, begin), min(first + count, begin + n)
        starts[start - first : stop - first] = cuts[start - begin : stop - begin]
    batch: Array = tokens[starts[:, None] + np.arange(n_ctx + 1)]
    for i, window in enumerate(batch if drills else ()):
        rng = np.random.default_rng((seed, first + i, 1))  # 1: no epoch's generator
        if rng.random() < drills:
            few = rng.choice(tokens, rng.integers(4, 4 + n_ctx // 5))
            window[:] = np.resize(few, len(window))
    return batch
