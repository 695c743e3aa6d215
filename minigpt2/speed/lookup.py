"""Guessing what comes next, from what came before: how can one pass give many tokens?

GPT-2 repeats its prompt and itself. Where the latest tokens have occurred before, what
followed them then may follow again. `generate.generate_tokens` reads such a guess
together with the latest token, in one forward pass: it gives the logits after each of
them, for little more time than after one, because the weights are read from memory once
(prompt lookup decoding: Saxena 2023; after Leviathan et al. 2023, "Fast Inference from
Transformers via Speculative Decoding").

Why it is exact: the token at each place is chosen as ever, from the logits there and
with the next random number. These logits are right as long as all tokens before them
are; at the first token that is not the guessed one, the rest of the pass is thrown away.
Nothing but the rounding of sums (1e-6) depends on how many were read together; where
that could change a choice (`Sampling.few`), there are no guesses.
"""

import numpy as np

from ..model import Array

NGRAM = 3  # tokens that must have occurred before
SHORTEST, LONGEST = 3, 31  # a pass of 4 rows, or of 32: products like powers of two
WASTE = 0.04  # of the time without guesses may go into wrong ones


class Lookup:
    """When to guess, and how much.

    A pass with a guess takes about one token's time more than one without (on two cores,
    at the 124M shape: 2.0 times for 4 rows, 2.3 for 8, 3.1 for 16). `credit` is the time
    saved so far, in tokens; guesses wait until it, or WASTE, can pay for a wrong one.
    A guess that was right doubles the next.
    """

    def __init__(self) -> None:
        self.length, self.credit = SHORTEST, 1.0

    def guess(self, text: Array, room: int) -> Array:  # (T,) → (guesses,)
        """What followed the last earlier occurrence of the latest NGRAM tokens: at most
        `room` tokens, none if there was no such occurrence."""
        self.credit += WASTE
        if len(text) <= NGRAM or self.credit < 1:
            return text[:0]
        occurs = text[:-NGRAM] == text[-NGRAM]  # (T - NGRAM,) whether it begins there
        for i in range(1, NGRAM):
            occurs &= text[i : i - NGRAM] == text[i - NGRAM]
        found = occurs.nonzero()[0]
        if not len(found):
            return text[:0]
        # If the text has gone in a circle since then, it will do so again.
        return np.resize(text[found[-1] + NGRAM :], min(self.length, room))

    def learn(self, guessed: int, right: int) -> None:
        """Of `guessed` tokens the first `right` were chosen."""
        if guessed:
            self.credit = min(self.credit + right - guessed.bit_length() / 2, LONGEST)
            self.length = (
                min(2 * guessed + 1, LONGEST) if right == guessed else SHORTEST
            )
