"""One token after another: the loop, the life of the cache, and text as it comes."""

import copy
import operator
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from .lookup import Lookup
from .model import Array, Cache, Config, Params, forward, unembed
from .sampling import Sampling
from .tokenizer import Tokenizer

SAMPLES_AT_ONCE = 16


@dataclass(frozen=True)
class Options:
    """What to generate: `samples` texts, their tokens chosen as sampling.Sampling says.

    A text ends before a string of `stop`, before `<|endoftext|>`, or after max_tokens
    tokens. With a seed, the i-th text is always the same. Raises ValueError for a value
    out of range.
    """

    max_tokens: int = 40
    temperature: float = 1.0
    top_k: int | None = 40
    top_p: float | None = None
    seed: int | None = None
    stop: str | Sequence[str] = ()  # one text or several
    samples: int = 1

    def __post_init__(self) -> None:
        for name, value, least in (
            ("max-tokens", self.max_tokens, 0),
            ("num-samples", self.samples, 1),
            ("seed", self.seed, 0),
        ):
            if value is not None and operator.index(value) < least:
                raise ValueError(f"{name} is {value}, expected {least} or more")
        if "" in self.stops():
            raise ValueError("stop is empty, expected a text")
        self.sampling()

    def stops(self) -> Sequence[str]:
        return [self.stop] if isinstance(self.stop, str) else self.stop

    def sampling(self) -> Sampling:
        return Sampling(self.temperature, self.top_k, self.top_p)


def generate_tokens(
    params: Params,
    config: Config,
    prompt: Sequence[int],
    sampling: Sampling,
    rngs: Sequence[np.random.Generator],
    guess: bool = True,
) -> Iterator[Array]:
    """Continue a prompt without end, once for each of the B generators in `rngs`: the
    next token of every continuation, int (B,), again and again.

    The prompt is read once, whatever B is. When the context window is full, it slides:
    the latest n_ctx // 2 tokens are read again, as if the text began there, and what came
    before is forgotten. (Keys and values depend on their position, so the cache cannot be
    shifted.) The model thus always sees the latest n_ctx // 2 tokens, and up to n_ctx.

    A single text is read together with a guess of what follows (lookup.py), if there is
    one: it changes the time that tokens take, and not the tokens.
    """
    cache = Cache(config, len(rngs))
    once = copy.copy(cache)
    once.kv = cache.kv[:, :, :1]  # the prompt is read into the first row, then copied
    x = forward(params, np.array([prompt]), once)  # (1, T, C)
    cache.length = once.length
    cache.kv[:, :, 1:, :, : once.length] = once.kv[..., : once.length, :]
    x = np.repeat(x[:, -1:], len(rngs), axis=0)  # (B, 1, C)
    text = np.repeat([prompt], len(rngs), axis=0)  # (B, tokens so far)
    guesses, lookup = text[0, :0], Lookup()
    while True:
        logits = unembed(params, x)  # (B, 1 + guesses, V)
        for right in range(len(guesses) + 1):
            choices = zip(logits[:, right], rngs, strict=True)
            tokens = np.array([sampling.choose(z, rng) for z, rng in choices])  # (B,)
            yield tokens
            text = np.column_stack([text[:, -config.n_ctx :], tokens])
            if right == len(guesses) or tokens[0] != guesses[right]:
                break
        cache.length -= len(guesses) - right  # what followed a wrong guess is forgotten
        lookup.learn(len(guesses), right)
        unread, guesses = text[:, -1:], text[0, :0]
        if cache.length == config.n_ctx:
            cache.length = 0
            unread = text[:, -max(1, config.n_ctx // 2) :]
        elif guess and len(rngs) == 1 and sampling.few:
            guesses = lookup.guess(text[0], room=config.n_ctx - cache.length - 1)
            unread = np.append(unread, [guesses], axis=1)
        x = forward(params, unread, cache)[:, -len(guesses) - 1 :]


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
        if token == self.tokenizer.eot:
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

    An empty prompt stands for `<|endoftext|>`, after which the model begins a text of its
    own. Of a prompt longer than the context window, the end is read, with a warning.
    SAMPLES_AT_ONCE are generated together, then the next ones: memory stays bounded.
    """
    tokens = tokenizer.encode(prompt) or [tokenizer.eot]
    if len(tokens) > config.n_ctx:
        read = f"the model reads its last {config.n_ctx}"
        warnings.warn(f"the prompt has {len(tokens)} tokens, {read}", stacklevel=2)
        tokens = tokens[-config.n_ctx :]
    sampling, root = options.sampling(), np.random.SeedSequence(options.seed)
    for first in range(0, options.samples, SAMPLES_AT_ONCE):
        seeds = root.spawn(min(SAMPLES_AT_ONCE, options.samples - first))
        rngs = [np.random.default_rng(seed) for seed in seeds]
        streams = [TextStream(tokenizer, options.stops()) for _ in rngs]
        steps = generate_tokens(params, config, tokens, sampling, rngs)
        for left, step in zip(reversed(range(options.max_tokens)), steps):
            for i, (stream, token) in enumerate(
                zip(streams, step.tolist(), strict=True), start=first
            ):
                if not stream.ended:
                    text = stream.feed(token)
                    yield i, text if left else text + stream.close()
            if all(stream.ended for stream in streams):
                break
