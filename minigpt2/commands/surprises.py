"""The figures of a file and its most surprising places, window by window."""

import math
from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..model import Array
from ..score import Scores, Tally
from ..tokenizer import Tokenizer
from .compare import figures

BEFORE, AFTER = 16, 8  # tokens shown around a surprising one


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

    `between` is what the file has there, before the first text, before the second …; it
    grows as the file is read, and is taken from as it is scored.
    """

    def __init__(
        self, tokenizer: Tokenizer, n_vocab: int, top: int, between: "deque[str]"
    ) -> None:
        self.tokenizer, self.top, self.between = tokenizer, top, between
        raw = [*tokenizer.vocab, *[b""] * (n_vocab - len(tokenizer.vocab))]
        self.lengths = np.array([len(token) for token in raw])  # (V,)
        self.breaks = np.array([token.count(b"\n") for token in raw])  # (V,)
        if tokenizer.eot is not None:
            self.lengths[tokenizer.eot] = 0
        self.at, self.line = 0, 1
        self.bytes, self.log_p, self.tally = 0, 0.0, Tally()
        self.places: list[Place] = []

    def add(self, window: Array, first: int, scores: Scores) -> int:
        """Take in window (T,), scored from place `first` on, and return how many bytes
        that is."""
        new, log_p = window[first:], scores.log_p
        for place in self.places:  # those at the end of the last window lack an `after`
            place.after = np.append(place.after, new[: AFTER - len(place.after)])
        if self.tally.tokens == 0:
            before = self.between.popleft()
            self.at, self.line = len(before.encode()), 1 + before.count("\n")
            if self.tokenizer.eot is None:  # the first token is text
                self.at += int(self.lengths[window[0]])
                self.line += int(self.breaks[window[0]])
        lengths, breaks = self.lengths[new], self.breaks[new]
        n_bytes = int(lengths.sum())
        for i in np.flatnonzero(new == self.tokenizer.eot):
            text = self.between.popleft() if self.between else ""
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
                likeliest=int(scores.likeliest[i]),
            )
            self.places.append(place)
        self.places.sort(key=lambda place: (-place.bits, place.byte))
        del self.places[self.top :]
        self.tally.add(scores)
        self.bytes += n_bytes
        self.at += int(bytes_to[-1])
        self.line += int(breaks_to[-1])
        self.log_p += float(log_p.sum())
        return n_bytes

    def summary(self) -> dict[str, Any]:
        """The figures, for JSON; log-probabilities are natural."""
        with np.errstate(over="ignore"):
            perplexity = float(np.exp(-self.log_p / self.tally.tokens))
        return {
            "tokens": self.tally.tokens,
            "bytes": self.bytes,
            "log_probability": self.log_p,
            "perplexity": perplexity if math.isfinite(perplexity) else None,
            "bits_per_byte": -self.log_p / math.log(2) / self.bytes,
            **figures(self.tally),
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
