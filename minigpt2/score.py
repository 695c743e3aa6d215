"""Text → log-probabilities: how well did the model foresee each token?"""

import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from .console import Parser, fail, read_text, run
from .model import Array, Cache, Config, Params, forward, unembed

ROWS_AT_ONCE = 64  # rows of n_vocab logits held at a time


def log_probabilities(
    params: Params, config: Config, text: Sequence[int] | Array
) -> Array:
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


def main(argv: list[str] | None = None) -> None:
    from . import load
    from .__main__ import fetch
    from .checkpoint import CheckpointError

    parser = Parser(
        "python -m minigpt2.score", description="How well a model foresees a text."
    )
    add = parser.add_argument
    add("file", nargs="?", help="the text; -, or none: standard input")
    add("--model", help="as for minigpt2 (default 124M)")
    add("--weights", metavar="DIR", help="where models live (default: see the README)")
    args = parser.parse_args(argv)
    if args.file in (None, "-"):
        text = read_text(None)
    else:
        try:
            text = Path(args.file).read_bytes().decode()
        except (OSError, UnicodeDecodeError) as error:
            fail(f"{args.file}: {error}")
    if not text:
        fail("the text is empty")
    try:
        gpt2 = load(fetch(args.model, args.weights), args.weights)
        tokens = gpt2.tokenizer.encode(text)
        tokens.insert(0, gpt2.tokenizer.eot)  # a text begins where another has ended
        scores = log_probabilities(gpt2.params, gpt2.config, tokens)
    except (CheckpointError, ValueError) as error:
        fail(error)
    bits, n_bytes = -scores.sum() / math.log(2), len(text.encode())
    print(f"{len(scores)} tokens, perplexity {2 ** (bits / len(scores)):.2f}")
    print(f"{n_bytes} bytes, {bits / n_bytes:.4f} bits per byte")


if __name__ == "__main__":
    run(main)
