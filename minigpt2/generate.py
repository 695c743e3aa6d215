"""One token after another: the loop, the life of the cache, and text as it comes."""

import math
import warnings
from collections.abc import Iterator, Sequence
from copy import copy
from dataclasses import dataclass
from itertools import islice
from numbers import Integral

import numpy as np

from .model import Array, Cache, Config, Params, forward, unembed
from .sampling import Sampling, check_type
from .speed.lookup import Lookup
from .speed.prefill import prefill
from .tokenizer import Tokenizer

SAMPLES_AT_ONCE = 16


@dataclass(frozen=True)
class Options:
    """What to generate: `num_samples` texts, their tokens chosen as `sampling` says.

    A text ends before one of `stops`, at a token of the tokenizer's `ends`, or after
    max_tokens tokens. Special tokens in the prompt are text, unless allow_special.
    With a seed, the i-th text is always the same. Raises ValueError for a value out of
    range, TypeError for one of another type.
    """

    sampling: Sampling
    max_tokens: int = 40
    seed: int | None = None
    stops: Sequence[str] = ()
    num_samples: int = 1
    allow_special: bool = False

    def __post_init__(self) -> None:
        for name, value, least in (
            ("max_tokens", self.max_tokens, 0),
            ("num_samples", self.num_samples, 1),
            ("seed", 0 if self.seed is None else self.seed, 0),
        ):
            check_type(name, value, Integral)
            if value < least:
                raise ValueError(f"{name} is {value}, expected {least} or more")
        for stop in self.stops:
            check_type("stop", stop, str)
            if not stop:
                raise ValueError("stop is empty, expected a text")


def generate_tokens(
    params: Params,
    config: Config,
    prompt: Sequence[int],
    sampling: Sampling,
    rngs: Sequence[np.random.Generator],
) -> Iterator[Array]:
    """Continue a prompt without end, once for each of the B generators in `rngs`: the
    next token of every continuation, int (B,), again and again.

    The cache has the keys and values of all tokens before, so each pass reads one token
    and not all again. A single text usually takes `generate_with_guesses`, below: the
    same tokens in less time.
    """
    seen = np.repeat([prompt], len(rngs), axis=0)  # (B, tokens so far)
    x, cache = read_prompt(params, config, seen)  # (B, C)
    while True:
        logits = unembed(params, x)  # (B, V)
        choices = zip(logits, rngs, strict=True)
        tokens = np.array([sampling.choose(z, rng) for z, rng in choices])  # (B,)
        yield tokens
        seen = np.column_stack([seen[:, -config.n_ctx :], tokens])
        if cache.length < config.n_ctx:
            x = forward(params, tokens[:, None], cache)[:, -1]  # (B, C)
        else:
            x = slide(params, seen, cache)


def read_prompt(params: Params, config: Config, prompt: Array) -> tuple[Array, Cache]:
    """Read a prompt (B, T), whose B rows are equal, once: its last vector, (B, C), and a
    cache in which each of the B texts goes on by itself."""
    B, T = prompt.shape
    cache = Cache(config, B)
    first = copy(cache)
    first.kv = cache.kv[:, :, :1]  # the part of the first text
    x = prefill(params, prompt[:1], first)  # (1, T, C)
    cache.kv[:, :, 1:, :, :T] = first.kv[..., :T, :]
    cache.length = T
    return np.repeat(x[:, -1], B, axis=0), cache


def slide(params: Params, seen: Array, cache: Cache) -> Array:  # (B, T) → (B, C)
    """When the window is full: read the latest n_ctx // 2 tokens again, as if the text
    began there, and forget what was before.

    Keys and values depend on their position, so those in the cache cannot be shifted. The
    model thus always sees the latest n_ctx // 2 tokens, and up to n_ctx.
    """
    n_ctx = cache.kv.shape[-2]
    cache.length = 0
    return prefill(params, seen[:, -max(1, n_ctx // 2) :], cache)[:, -1]


class TextStream:
    """One continuation as text. It holds back an incomplete character, and what may be
    the beginning of a stop string; after a stop string or an end it has `ended`."""

    def __init__(self, tokenizer: Tokenizer, stops: Sequence[str]) -> None:
        self.tokenizer, self.stops = tokenizer, stops
        self.decoder = tokenizer.stream_decoder()
        self.held = ""
        self.ended = False

    def feed(self, token: int) -> str:
        """The text that is certain after one more token."""
        if token in self.tokenizer.ends:
            return self.close()
        return self._release(self.decoder.decode(self.tokenizer.decode_bytes([token])))

    def close(self) -> str:
        """What was held back, now that no more tokens come."""
        if self.ended:
            return ""
        text = self._release(self.decoder.decode(b"", final=True)) + self.held
        self.ended = True
        return text

    def _release(self, text: str) -> str:
        text = self.held + text
        found = [at for stop in self.stops if (at := text.find(stop)) >= 0]
        if found:
            self.held, self.ended = "", True
            return text[: min(found)]
        beginnings = (stop[:n] for stop in self.stops for n in range(1, len(stop)))
        held = max((len(b) for b in beginnings if text.endswith(b)), default=0)
        self.held = text[len(text) - held :]
        return text[: len(text) - held]


def generate_text(
    params: Params, config: Config, tokenizer: Tokenizer, prompt: str, options: Options
) -> Iterator[tuple[int, str]]:
    """Continue a prompt: for each new token, which of the samples it belongs to, and the
    text that is certain after it, which may be empty.

    An empty prompt becomes `<|endoftext|>`, or what else this model begins a text after.
    Of a prompt longer than the context window only the end is read, with a warning.
    SAMPLES_AT_ONCE are generated together, then the next ones: memory stays bounded.
    """
    ids = tokenizer.encode(prompt, options.allow_special) or tokenizer.beginning()
    if len(ids) > config.n_ctx:
        read = f"the model reads its last {config.n_ctx}"
        warnings.warn(f"the prompt has {len(ids)} tokens, {read}", stacklevel=2)
        ids = ids[-config.n_ctx :]
    given, root = (params, config, ids), np.random.SeedSequence(options.seed)
    for first in range(0, options.num_samples, SAMPLES_AT_ONCE):
        seeds = root.spawn(min(SAMPLES_AT_ONCE, options.num_samples - first))
        rngs = [np.random.default_rng(seed) for seed in seeds]
        streams = [TextStream(tokenizer, options.stops) for _ in rngs]
        if len(rngs) == 1 and may_guess(options.sampling):
            steps = generate_with_guesses(*given, options.sampling, rngs[0])
        else:
            steps = generate_tokens(*given, options.sampling, rngs)
        for n, tokens in enumerate(islice(steps, options.max_tokens), start=1):
            for i, stream in enumerate(streams):
                if not stream.ended:
                    text = stream.feed(int(tokens[i]))
                    last = stream.close() if n == options.max_tokens else ""
                    yield first + i, text + last
            if all(stream.ended for stream in streams):
                break


def may_guess(sampling: Sampling) -> bool:
    """Whether guesses leave the choice as it is. Logits of tokens read together differ by
    some 1e-6 from those read one by one: among at most 100 candidates that changes one
    choice in 100,000, among all 50,257 too many."""
    return sampling.temperature == 0 or (sampling.top_k or math.inf) <= 100


def generate_with_guesses(
    params: Params,
    config: Config,
    prompt: Sequence[int],
    sampling: Sampling,
    rng: np.random.Generator,
) -> Iterator[Array]:
    """The tokens of `generate_tokens` for one text, int (1,), in less time: the latest
    token and a guess of what follows it (speed/lookup.py) are read in one pass."""
    seen, lookup = np.array(prompt), Lookup()
    x, cache = read_prompt(params, config, seen[None])  # (1, C)
    guess: list[int] = []
    while True:
        tokens: list[int] = []
        # x is (1 + len(guess), C): after the latest token, and after each guessed one
        for logits in unembed(params, x):
            tokens.append(sampling.choose(logits, rng))
            yield np.array(tokens[-1:])
            if (
                tokens != guess[: len(tokens)]
            ):  # a wrong guess, or one after all of them
                break
        n_right = len(tokens) - 1
        cache.length -= len(guess) - n_right  # what followed a wrong guess is forgotten
        lookup.learn(len(guess), n_right)
        seen = np.append(seen[-config.n_ctx :], tokens)
        if cache.length < config.n_ctx:
            guess = lookup.guess(seen, room=config.n_ctx - cache.length - 1)
            x = forward(params, np.array([[tokens[-1], *guess]]), cache)[0]
        else:
            guess = []
            x = slide(params, seen[None], cache)
