"""python -m minigpt2.score: perplexity, bits per byte, and the most surprising places."""

import json
import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import chain
from typing import Any

import numpy as np

from .. import load
from ..files.checkpoint import CheckpointError
from ..files.progress import Progress
from ..files.text import read_file, split_texts
from ..model import Array
from ..score import score, sliding_windows
from ..tokenizer import Tokenizer
from .console import DEFAULT_MODEL, Parser, choose_model, fail, path, read_text

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
    """The sums over the texts of a file, window by window, and the `top` most surprising
    places: `<|endoftext|>`, which ends a text, is foreseen too, but is no text.

    `between` is what the file has there, before the first text, before the second …
    """

    def __init__(
        self, tokenizer: Tokenizer, n_vocab: int, top: int, between: list[str]
    ) -> None:
        self.tokenizer, self.top, self.between = tokenizer, top, iter(between)
        raw = [*tokenizer.vocab, *[b""] * (n_vocab - len(tokenizer.vocab))]
        self.lengths = np.array([len(token) for token in raw])  # (V,)
        self.breaks = np.array([token.count(b"\n") for token in raw])  # (V,)
        if tokenizer.eot is not None:
            self.lengths[tokenizer.eot] = 0
        first = next(self.between)
        self.at, self.line = len(first.encode()), 1 + first.count("\n")
        self.tokens, self.bytes, self.log_p = 0, 0, 0.0
        self.places: list[Place] = []

    def add(self, window: Array, first: int, log_p: Array, likeliest: Array) -> int:
        """Take in window (T,), scored from place `first` on, and return how many bytes
        that is."""
        new = window[first:]
        for place in self.places:  # those at the end of the last window lack an `after`
            place.after = np.append(place.after, new[: AFTER - len(place.after)])
        if self.tokens == 0 and self.tokenizer.eot is None:  # the first token is text
            self.at += int(self.lengths[window[0]])
            self.line += int(self.breaks[window[0]])
        lengths, breaks = self.lengths[new], self.breaks[new]
        n_bytes = int(lengths.sum())
        for i in np.flatnonzero(new == self.tokenizer.eot):
            text = next(self.between, "")
            lengths[i], breaks[i] = len(text.encode()), text.count("\n")
        bytes_to, breaks_to = np.cumsum(lengths), np.cumsum(breaks)
        for i in np.argsort(log_p, kind="stable")[: self.top]:
            place = Place(
                bits=-float(log_p[i]) / math.log(2),
                line=int(self.line + breaks_to[i] - breaks[i]),
                byte=int(self.at + bytes_to[i] - lengths[i]),
                before=window[max(0, first + i - BEFORE) : first + i],
                token=int(new[i]),
                after=new[i + 1 : i + 1 + AFTER],
                likeliest=int(likeliest[i]),
            )
            self.places.append(place)
        self.places.sort(key=lambda place: (-place.bits, place.byte))
        del self.places[self.top :]
        self.tokens += len(new)
        self.bytes += n_bytes
        self.at += int(bytes_to[-1])
        self.line += int(breaks_to[-1])
        self.log_p += float(log_p.sum())
        return n_bytes

    def summary(self) -> dict[str, Any]:
        """The figures, for JSON; log-probabilities are natural."""
        with np.errstate(over="ignore"):
            perplexity = float(np.exp(-self.log_p / self.tokens))
        return {
            "tokens": self.tokens,
            "bytes": self.bytes,
            "log_probability": self.log_p,
            "perplexity": perplexity if math.isfinite(perplexity) else None,
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
        raw = self.tokenizer.decode_bytes(tokens).decode("utf-8", "backslashreplace")
        escaped = (c.encode("unicode_escape").decode() for c in raw)
        return "".join(
            c if c.isprintable() else e for c, e in zip(raw, escaped, strict=True)
        )


def encode(tokenizer: Tokenizer, begin: list[int], text: str) -> Iterator[list[int]]:
    """The ids of a text, in parts, after those that it begins with."""
    yield begin
    blocks = (text[i : i + TEXT_AT_ONCE] for i in range(0, len(text), TEXT_AT_ONCE))
    yield from tokenizer.encode_parts(blocks)


def print_summary(summary: dict[str, Any]) -> None:
    perplexity = summary["perplexity"] or math.inf
    print(f"{summary['tokens']} tokens, perplexity {perplexity:.2f}")
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
            text = read_file(path(args.file))
        texts = list(split_texts(text))
        if not texts:
            fail("the text is empty")
        gpt2 = load(choose_model(args.model, args.weights), args.weights)
        tokenizer, n_ctx = gpt2.tokenizer, gpt2.config.n_ctx
        # the first token of a text that nothing comes before is given, not scored
        alone = len(texts) == 1 and tokenizer.eot is None
        begin = [] if alone else tokenizer.beginning()
        parts = chain.from_iterable(encode(tokenizer, begin, text) for _, text in texts)
        between = [before for before, _ in texts]
        report = Surprises(tokenizer, gpt2.config.n_vocab, args.top, between)
        size = sum(len(text.encode()) for _, text in texts)
        progress = Progress("scored", size, unit="kB", size=1e3)
        for window, first in sliding_windows(parts, n_ctx, args.stride):
            scores = score(gpt2.params, gpt2.config, window[None], first)
            n_bytes = report.add(window, first, scores[0][0], scores[1][0])
            if not args.json:  # for a program: nothing but the figures
                progress.add(n_bytes)
        if progress.shown:
            progress.close()
        if begin:  # all of it was scored, and a normalizer may change its length
            report.bytes = size
        if not report.tokens:
            fail("the text is one token, and nothing comes before it")
        summary = report.summary()
    except (CheckpointError, FloatingPointError, ValueError) as error:
        fail(error)
    if args.json:
        print(json.dumps(summary, indent=1, ensure_ascii=False))
    else:
        print_summary(summary)
