"""Text → log-probabilities: how well did the model foresee each token?

    python -m minigpt2.score FILE

tells the perplexity, the bits per byte, and what surprised the model most.
"""

import json
import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np

from .console import DEFAULT, Parser, Progress, fail, fetch, read_file, read_text, run
from .model import Array, Cache, Config, Params, forward, unembed
from .tokenizer import Tokenizer

ROWS_AT_ONCE = 64  # rows of n_vocab logits held at a time
BEFORE, AFTER = 16, 8  # tokens shown around a surprising one
BLOCK = 1 << 16  # characters tokenized at a time


def foresee(
    params: Params, config: Config, tokens: Array, first: int = 1
) -> Iterator[Array]:
    """The log-probability of every token of the vocabulary at the places `first`, … of
    each row of int (B, T), given the tokens before it there.

    It comes as float32 (rows, V), ROWS_AT_ONCE of the B (T - first) rows at a time.
    Raises FloatingPointError for logits that are not finite.
    """
    B, T = tokens.shape
    x = forward(params, tokens[:, :-1], Cache(config, B, n_ctx=T - 1))  # (B, T - 1, C)
    rows = x[:, first - 1 :].reshape(-1, config.n_embd)
    for row in range(0, len(rows), ROWS_AT_ONCE):
        log_p = unembed(params, rows[row : row + ROWS_AT_ONCE])  # (rows, V)
        with np.errstate(invalid="ignore"):
            log_p -= log_p.max(-1, keepdims=True)
            log_p -= np.log(np.exp(log_p).sum(-1, keepdims=True))
        if not np.isfinite(log_p[:, 0]).all():
            raise FloatingPointError("the logits are not finite: damaged parameters?")
        yield log_p


def score(
    params: Params, config: Config, tokens: Array, first: int = 1
) -> tuple[Array, Array]:
    """How each token of int (B, T) from place `first` on was foreseen: its
    log-probability, float64 (B, T - first), and the likeliest token there, int of that
    shape."""
    foreseen = tokens[:, first:]
    log_p, likeliest = np.empty(foreseen.size), np.empty(foreseen.size, np.int64)
    done = 0
    for block in foresee(params, config, tokens, first):
        part = slice(done, done + len(block))
        chosen = foreseen.reshape(-1)[part, None]
        log_p[part] = np.take_along_axis(block, chosen, axis=-1)[:, 0]
        likeliest[part] = block.argmax(-1)
        done += len(block)
    return log_p.reshape(foreseen.shape), likeliest.reshape(foreseen.shape)


def windows(
    parts: Iterable[Sequence[int] | Array], n_ctx: int, stride: int | None = None
) -> Iterator[tuple[Array, int]]:
    """Cut tokens, which come in parts, into windows of n_ctx that begin every `stride`,
    by default n_ctx // 2: each window, int (T,), and the place in it from which on the
    tokens are new. The very first token is in no such place: it is given.

    Raises ValueError for a stride outside 1 … n_ctx - 1.
    """
    size = max(2, n_ctx)
    stride = stride or size // 2
    if not 1 <= stride < size:
        raise ValueError(f"stride is {stride}, expected 1 to {size - 1}")
    held, first = np.empty(0, np.int64), 1
    for part in parts:
        held = np.concatenate([held, np.asarray(part, np.int64)])
        while len(held) >= size:
            yield held[:size], first
            held, first = held[stride:], size - stride
    if len(held) > first:
        yield held, first


def log_probabilities(
    params: Params,
    config: Config,
    text: Sequence[int] | Array,
    stride: int | None = None,
) -> Array:
    """The natural logarithm of the probability of each token after the first: float64
    (T - 1,).

    A long text is read in `windows`, and each token is scored once, in the first window
    that holds it.
    """
    cut = windows([text], config.n_ctx, stride)
    scores = [score(params, config, tokens[None], first)[0][0] for tokens, first in cut]
    return np.concatenate([np.empty(0), *scores])


@dataclass
class Place:
    """A token of a text, the likeliest one in its place, and the tokens around it."""

    bits: float
    line: int  # from 1
    byte: int  # from 0
    before: Array
    token: int
    after: Array
    likeliest: int


class Report:
    """The sums over a text, window by window, and its `top` most surprising places."""

    def __init__(self, tokenizer: Tokenizer, n_vocab: int, top: int) -> None:
        self.tokenizer, self.top = tokenizer, top
        raw = [*tokenizer.vocab, *[b""] * (n_vocab - len(tokenizer.vocab))]
        self.lengths = np.array([len(token) for token in raw])  # (V,)
        self.breaks = np.array([token.count(b"\n") for token in raw])  # (V,)
        self.tokens, self.bytes, self.line, self.log_p = 0, 0, 1, 0.0
        self.places: list[Place] = []

    def add(self, window: Array, first: int, log_p: Array, likeliest: Array) -> int:
        """Take in window (T,), scored from place `first` on, and return how many bytes
        that is."""
        new = window[first:]
        for place in self.places:  # those at the end of the last window lack an `after`
            place.after = np.append(place.after, new[: AFTER - len(place.after)])
        bytes_to = np.cumsum(self.lengths[new])
        breaks_to = np.cumsum(self.breaks[new])
        for i in np.argsort(log_p, kind="stable")[: self.top]:
            place = Place(
                bits=-float(log_p[i]) / math.log(2),
                line=int(self.line + breaks_to[i] - self.breaks[new[i]]),
                byte=int(self.bytes + bytes_to[i] - self.lengths[new[i]]),
                before=window[max(0, first + i - BEFORE) : first + i],
                token=int(new[i]),
                after=new[i + 1 : i + 1 + AFTER],
                likeliest=int(likeliest[i]),
            )
            self.places.append(place)
        self.places.sort(key=lambda place: (-place.bits, place.byte))
        del self.places[self.top :]
        self.tokens += len(new)
        self.bytes += int(bytes_to[-1])
        self.line += int(breaks_to[-1])
        self.log_p += float(log_p.sum())
        return int(bytes_to[-1])

    def summary(self) -> dict[str, Any]:
        """The figures, for JSON; log-probabilities are natural."""
        return {
            "tokens": self.tokens,
            "bytes": self.bytes,
            "log_probability": self.log_p,
            "perplexity": float(np.exp(-self.log_p / self.tokens)),
            "bits_per_byte": -self.log_p / math.log(2) / self.bytes,
            "most_surprising": [
                {
                    "bits": place.bits,
                    "line": place.line,
                    "byte": place.byte,
                    "before": self.text(place.before),
                    "text": self.text([place.token]),
                    "after": self.text(place.after),
                    "likeliest": self.text([place.likeliest]),
                }
                for place in self.places
            ],
        }

    def text(self, tokens: Iterable[int]) -> str:
        """Tokens as one line: what cannot be printed is escaped, such as \\n, or \\xe2
        where a token is a part of a character."""
        kept = [int(i) for i in tokens if i != self.tokenizer.eot]
        raw = self.tokenizer.decode_bytes(kept).decode("utf-8", "backslashreplace")
        escaped = (c.encode("unicode_escape").decode() for c in raw)
        return "".join(
            c if c.isprintable() else e for c, e in zip(raw, escaped, strict=True)
        )


def write(summary: dict[str, Any]) -> None:
    print(f"{summary['tokens']} tokens, perplexity {summary['perplexity']:.2f}")
    print(f"{summary['bytes']} bytes, {summary['bits_per_byte']:.4f} bits per byte")
    if summary["most_surprising"]:
        print("\nThe most surprising tokens, and after → the likeliest in their place:")
    for place in summary["most_surprising"]:
        where = f"{place['bits']:5.1f} bits, line {place['line']}"
        shown = f"{place['before']}[{place['text']}]{place['after']}"
        print(f"{where}: {shown} → [{place['likeliest']}]")


def main(argv: list[str] | None = None) -> None:
    from . import load
    from .checkpoint import CheckpointError

    parser = Parser(
        "python -m minigpt2.score", description="How well a model foresees a text."
    )
    add = parser.add_argument
    add("file", nargs="?", help="the text; -, or none: standard input")
    add("--model", help=f"as for minigpt2 (default {DEFAULT})")
    add("--weights", metavar="DIR", help="where models live (default: see the README)")
    stride = "tokens from one window to the next (default n_ctx // 2): fewer is slower"
    add("--stride", type=int, metavar="N", help=f"{stride}, and knows more context")
    add("--top", type=int, default=10, help="how many places to show (default 10)")
    add("--json", action="store_true", help="all figures, unrounded, as JSON")
    args = parser.parse_args(argv)
    for name, value, least in ("stride", args.stride, 1), ("top", args.top, 0):
        if value is not None and value < least:
            fail(f"{name} is {value}, expected {least} or more")
    try:
        if args.file in (None, "-"):
            text = read_text(None)
        else:
            text = read_file(Path(args.file))
        if not text:
            fail("the text is empty")
        gpt2 = load(fetch(args.model, args.weights), args.weights)
        tokenizer, n_ctx = gpt2.tokenizer, gpt2.config.n_ctx
        blocks = (text[i : i + BLOCK] for i in range(0, len(text), BLOCK))
        # a text begins where another has ended
        parts = chain([[tokenizer.eot]], tokenizer.encode_parts(blocks))
        report = Report(tokenizer, gpt2.config.n_vocab, args.top)
        progress = Progress("scored", len(text.encode()), unit="kB", size=1e3)
        for window, first in windows(parts, n_ctx, args.stride):
            scores = score(gpt2.params, gpt2.config, window[None], first)
            progress.add(report.add(window, first, scores[0][0], scores[1][0]))
        if progress.shown:
            progress.close()
        summary = report.summary()
    except (CheckpointError, FloatingPointError, ValueError) as error:
        fail(error)
    if args.json:
        print(json.dumps(summary, indent=1, ensure_ascii=False))
    else:
        write(summary)


if __name__ == "__main__":
    run(main)
