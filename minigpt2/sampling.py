"""Logits → one token: temperature, top-k and top-p, as OpenAI's samples were drawn."""

import math
from dataclasses import dataclass
from numbers import Integral, Real

import numpy as np

from .model import Array


@dataclass(frozen=True)
class Sampling:
    """How the next token is chosen, as in src/sample.py of OpenAI's release.

    temperature  divides the logits; 0 takes the likeliest token, 1 changes nothing
    top_k        keeps the k likeliest tokens; None keeps all
    top_p        then keeps the likeliest tokens whose probabilities sum to at most p, but
                 at least one; None keeps all

    Tokens as likely as the last one kept are kept too. (Holtzman et al. 2019, who named
    top-p, also keep the token with which the sum passes p.)

    Raises ValueError for a temperature below 0, top_k below 1 or top_p outside (0, 1],
    TypeError for what is no such number, and its methods FloatingPointError for logits
    that are not finite.
    """

    temperature: float = 1.0
    top_k: int | None = None
    top_p: float | None = None

    def __post_init__(self) -> None:
        check_type("temperature", self.temperature, Real)
        if not 0 <= self.temperature < math.inf:
            raise ValueError(
                f"temperature is {self.temperature}, expected 0 or more, finite"
            )
        if self.top_k is not None:
            check_type("top_k", self.top_k, Integral)
            if self.top_k < 1:
                raise ValueError(f"top_k is {self.top_k}, expected 1 or more")
        if self.top_p is not None:
            check_type("top_p", self.top_p, Real)
            if not 0 < self.top_p <= 1:
                expected = "expected above 0 and at most 1"
                raise ValueError(f"top_p is {self.top_p}, {expected}")

    def probabilities(self, logits: Array) -> tuple[Array, Array]:
        """float32 (V,) → the n tokens kept, int (n,), and their float64 probabilities."""
        likeliest = logits.argmax()
        if not np.isfinite(logits[likeliest]):
            raise FloatingPointError("the logits are not finite: damaged parameters?")
        if self.temperature == 0:
            return np.array([likeliest]), np.ones(1)
        tokens = np.arange(len(logits))
        if self.top_k is not None and self.top_k < len(logits):
            kth = np.partition(logits, -self.top_k)[-self.top_k]
            tokens = np.flatnonzero(logits >= kth)
        x = (logits[tokens] - logits[likeliest]).astype(np.float64)
        with np.errstate(over="ignore"):  # by a tiny temperature
            p = np.exp(x / self.temperature)
        p /= p.sum()
        if self.top_p is not None and self.top_p < 1:  # 1 keeps all, however sums round
            descending = np.sort(p)[::-1]
            n = max(1, int((np.cumsum(descending) <= self.top_p).sum()))
            kept = p >= descending[n - 1]
            tokens, p = tokens[kept], p[kept] / p[kept].sum()
        return tokens, p

    def choose(self, logits: Array, rng: np.random.Generator) -> int:
        """One token, by its probability: where their running sum passes a random number."""
        tokens, p = self.probabilities(logits)
        i = int(np.searchsorted(np.cumsum(p), rng.random(), side="right"))
        return int(tokens[min(i, len(tokens) - 1)])


def check_type(name: str, value: object, kind: type) -> None:
    """Raise TypeError, with the argument's name, if it is not of this kind."""
    if not isinstance(value, kind):
        kinds: dict[type, str] = {Integral: "an int", Real: "a number", str: "a str"}
        raise TypeError(f"{name} is {value!r:.80}, expected {kinds[kind]}")
