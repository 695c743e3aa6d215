"""Logits → one token: temperature, top-k and top-p, as OpenAI's samples were drawn."""

import math
from dataclasses import dataclass

import numpy as np

from .model import Array


@dataclass(frozen=True)
class Sampling:
    """How the next token is chosen.

    temperature  divides the logits; 0 takes the likeliest token, 1 leaves the model's
                 distribution as it is
    top_k        keeps the k likeliest tokens; None keeps all
    top_p        then keeps the likeliest tokens whose probabilities sum to at most p,
                 at least one; None keeps all

    Tokens as likely as the last one kept are kept too. All of it is as in src/sample.py
    of OpenAI's release. (Holtzman et al. 2019, who named top-p, also keep the token
    with which the sum passes p.)

    Raises ValueError for a temperature below 0, top_k below 1 or top_p outside (0, 1];
    its methods raise FloatingPointError for logits that are not finite."""

    temperature: float = 1.0
    top_k: int | None = None
    top_p: float | None = None

    def __post_init__(self) -> None:
        if not 0 <= self.temperature < math.inf:
            raise ValueError(f"temperature must be 0 or more, not {self.temperature}")
        if self.top_k is not None and self.top_k < 1:
            raise ValueError(f"top-k must be at least 1, not {self.top_k}")
        if self.top_p is not None and not 0 < self.top_p <= 1:
            raise ValueError(f"top-p must be above 0 and at most 1, not {self.top_p}")

    def probabilities(self, logits: Array) -> tuple[Array, Array]:
        """logits float32 (V,) → the n tokens that are kept, int (n,), and their
        probabilities, float64 (n,)."""
        likeliest = logits.argmax()
        if not np.isfinite(logits[likeliest]):
            raise FloatingPointError(
                "the model's logits are not finite: its checkpoint is damaged, or badly trained"
            )
        if self.temperature == 0:
            return np.array([likeliest]), np.ones(1)
        tokens = np.arange(len(logits))
        if self.top_k is not None and self.top_k < len(logits):
            least = np.partition(logits, -self.top_k)[-self.top_k]
            tokens = np.flatnonzero(logits >= least)
        p = np.exp(
            (logits[tokens] - logits[likeliest]).astype(np.float64) / self.temperature
        )
        p /= p.sum()
        if self.top_p is not None:
            likeliest_first = np.sort(p)[::-1]
            n = np.count_nonzero(np.cumsum(likeliest_first) <= self.top_p)
            kept = p >= likeliest_first[max(n - 1, 0)]
            tokens, p = tokens[kept], p[kept] / p[kept].sum()
        return tokens, p

    def choose(self, logits: Array, rng: np.random.Generator) -> int:
        """One token drawn from `probabilities(logits)`: the first at which their
        running sum passes a random number."""
        tokens, p = self.probabilities(logits)
        return int(
            tokens[
                min(
                    np.searchsorted(np.cumsum(p), rng.random(), side="right"),
                    len(tokens) - 1,
                )
            ]
        )
