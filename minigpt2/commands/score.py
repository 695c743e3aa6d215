"""python -m minigpt2.score: perplexity, bits per byte, and the most surprising places."""

import json
import math
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np

from .. import load
from ..files.checkpoint import CheckpointError
from ..files.progress import Progress
from ..files.text import read_file
from ..model import Array
from ..score import score, sliding_windows
from ..tokenizer import Tokenizer
from .console import DEFAULT_MODEL, Parser, choose_model, fail, read_text

BEFORE, AFTER = 16, 8  # tokens shown around a surprising one
TEXT_AT_ONCE = 1 << 16  # characters


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


class Surprises:
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


def print_summary(summary: dict[str, Any]) -> None:
    print(f"{summary['tokens']} tokens, perplexity {summary['perplexity']:.2f}")
    print(f"{summary['bytes']} bytes, {summary['bits_per_byte']:.4f} bits per byte")
    if summary["most_surprising"]:
        print("\nThe most surprising tokens, and after → the likeliest in their place:")
    for place in summary["most_surprising"]:
        where = f"{place['bits']:5.1f} bits, line {place['line']}"
        shown = f"{place['before']}[{place['text']}]{place['after']}"
        print(f"{where}: {shown} → [{place['likeliest']}]")


def main(argv: list[str] | None = None) -> None:
    parser = Parser(
        "python -m minigpt2.score", description="How well a model foresees a text."
    )
    add = parser.add_argument
    add("file", nargs="?", help="the text; -, or none: standard input")
    add("--model", help=f"as for minigpt2 (default {DEFAULT_MODEL})")
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
        gpt2 = load(choose_model(args.model, args.weights), args.weights)
        tokenizer, n_ctx = gpt2.tokenizer, gpt2.config.n_ctx
        blocks = (text[i : i + TEXT_AT_ONCE] for i in range(0, len(text), TEXT_AT_ONCE))
        # a text begins where another has ended
        begin = [] if tokenizer.eot is None else [[tokenizer.eot]]
        parts = chain(begin, tokenizer.encode_parts(blocks))
        report = Surprises(tokenizer, gpt2.config.n_vocab, args.top)
        progress = Progress("scored", len(text.encode()), unit="kB", size=1e3)
        for window, first in sliding_windows(parts, n_ctx, args.stride):
            scores = score(gpt2.params, gpt2.config, window[None], first)
            progress.add(report.add(window, first, scores[0][0], scores[1][0]))
        if progress.shown:
            progress.close()
        if not report.tokens:
            fail("the text is one token, and nothing comes before it")
        summary = report.summary()
    except (CheckpointError, FloatingPointError, ValueError) as error:
        fail(error)
    if args.json:
        print(json.dumps(summary, indent=1, ensure_ascii=False))
    else:
        print_summary(summary)
