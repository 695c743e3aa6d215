"""Guessing what comes next, from what came before: how can one pass give many tokens?

GPT-2 repeats its prompt and itself. Where the latest tokens have occurred before, what
followed them then may follow again. `generate.generate_with_guesses` reads such a guess
together with the latest token, in one forward pass. That gives the logits after each of
them: eight tokens for the time of 2.5, because the weights are read from memory once
(prompt lookup decoding: Saxena 2023; after Leviathan et al. 2023, "Fast Inference from
Transformers via Speculative Decoding").

Why it is exact: each token is chosen as ever, from the logits in its place and with the
next random number. These logits are right as long as all tokens before them are. At the
first token that is not the guessed one, the rest of the pass is thrown away.
"""

import numpy as np

from ..model import Array

NGRAM = 3  # tokens that must have occurred before
# How many tokens are guessed, and the extra time of their pass, in tokens: on two cores,
# at the 124M shape, about (benchmarks/speed.py). With the latest token they make passes
# of 4, 8, 16 or 32 rows, which suit BLAS.
COST = {3: 1.0, 7: 1.5, 15: 2.0, 31: 2.5}
SHORTEST, LONGEST = min(COST), max(COST)
WASTE = 0.04  # where all guesses are wrong, a text takes at most this much more time


class Lookup:
    """When to guess, and how much.

    `credit` is the time saved so far, in tokens, and grows by WASTE with each pass. It must
    pay for the shortest guess; a longer one has been earned, since only a guess that was
    right doubles the next. When guesses are made at all: `generate.may_guess`.
    """

    def __init__(self) -> None:
        self.length, self.credit = SHORTEST, 1.0

    def guess(self, text: Array, room: int) -> list[int]:  # (T,) → guesses
        """What followed the last earlier occurrence of the latest NGRAM tokens: at most
        `room` tokens, none if there was no such occurrence."""
        self.credit += WASTE
        if len(text) <= NGRAM or self.credit < COST[SHORTEST]:
            return []
        occurs = text[:-NGRAM] == text[-NGRAM]  # (T - NGRAM,) whether it begins there
        for i in range(1, NGRAM):
            occurs &= text[i : i - NGRAM] == text[i - NGRAM]
        found = occurs.nonzero()[0]
        if not len(found):
            return []
        # If the text has gone in a circle since then, it will do so again.
        guess = np.resize(text[found[-1] + NGRAM :], min(self.length, room))
        return [int(token) for token in guess]

    def learn(self, guessed: int, right: int) -> None:
        """Of `guessed` tokens the first `right` were chosen."""
        if guessed:
            cost = next(cost for length, cost in COST.items() if guessed <= length)
            self.credit = min(self.credit + right - cost, LONGEST)
            grown = min(2 * guessed + 1, LONGEST)
            self.length = grown if right == guessed else SHORTEST
