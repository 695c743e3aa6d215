"""One token after another: the loop, the cache's life, the context window, and text as
it comes."""

import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from .model import Array, Cache, Config, Params, forward, unembed
from .sampling import Sampling
from .tokenizer import Tokenizer


def generate_tokens(
    params: Params,
    config: Config,
    prompt: Sequence[int],
    sampling: Sampling,
    rngs: Sequence[np.random.Generator],
) -> Iterator[Array]:
    """Continue the prompt without end, once for each of the B generators in `rngs`: int
    (B,) tokens at a time.

    The prompt is read once, whatever B is, and then one token of every continuation at
    a time. When the context window is full, it slides: the latest n_ctx // 2 tokens are
    read again as if the text began there, and the rest is forgotten. (The positions are
    part of what the cache holds, so it cannot simply be shifted.) Between two slides
    the model thus sees between half of n_ctx and all of it."""
    text = np.repeat([prompt], len(rngs), axis=0)  # (B, tokens so far)
    read_once = Cache(config)
    x = forward(params, text[:1], read_once)  # (1, T, C)
    cache = Cache(config, len(rngs))
    cache.length = read_once.length
    cache.kv[..., : cache.length, :] = read_once.kv[..., : cache.length, :]
    del read_once
    x = np.repeat(x[:, -1], len(rngs), axis=0)  # (B, C)
    while True:
        tokens = np.array(
            [
                sampling.choose(logits, rng)
                for logits, rng in zip(unembed(params, x), rngs, strict=True)
            ]
        )
        yield tokens
        text = np.concatenate([text[:, -config.n_ctx :], tokens[:, None]], axis=1)
        unread = text[:, -1:]  # (B, 1)
        if cache.length == config.n_ctx:
            cache.length = 0
            unread = text[:, -max(1, config.n_ctx // 2) :]
        x = forward(params, unread, cache)[:, -1]  # (B, C)


class TextStream:
    """The text of one continuation as its tokens come.

    It holds back the bytes of a character that is not complete, and what may turn out
    to be the beginning of a stop string; `ended` is True once a stop string or
    `<|endoftext|>` has come, or the text has been closed."""

    def __init__(self, tokenizer: Tokenizer, stop: Sequence[str]) -> None:
        self.tokenizer, self.stop = tokenizer, stop
        self.decoder = tokenizer.stream_decoder()
        self.held = ""
        self.ended = False

    def feed(self, token: int) -> str:
        """The text that is certain after one more token."""
        if token == self.tokenizer.eot:
            return self.close()
        return self._release(self.decoder.decode(self.tokenizer.decode_bytes([token])))

    def close(self) -> str:
        """What was held back, when no more tokens come."""
        if self.ended:
            return ""
        text = self._release(self.decoder.decode(b"", final=True)) + self.held
        self.ended = True
        return text

    def _release(self, text: str) -> str:
        text = self.held + text
        stops = [at for stop in self.stop if (at := text.find(stop)) >= 0]
        if stops:
            self.held, self.ended = "", True
            return text[: min(stops)]
        held = max(
            (
                n
                for stop in self.stop
                for n in range(1, len(stop))
                if text.endswith(stop[:n])
            ),
            default=0,
        )
        self.held = text[len(text) - held :]
        return text[: len(text) - held]


@dataclass(frozen=True)
class Options:
    """What to generate from a prompt: `samples` continuations, chosen by temperature,
    top_k and top_p (sampling.Sampling).

    Each ends before a string in `stop` or `<|endoftext|>`, or after max_tokens tokens.
    With a seed, sample i is always the same text. Raises ValueError for a value out of
    range."""

    max_tokens: int = 40
    temperature: float = 1.0
    top_k: int | None = 40
    top_p: float | None = None
    seed: int | None = None
    stop: Sequence[str] = ()
    samples: int = 1

    def __post_init__(self) -> None:
        for name, value, least in (
            ("max-tokens", self.max_tokens, 0),
            ("num-samples", self.samples, 1),
            ("seed", self.seed, 0),
        ):
            if value is not None and value < least:
                raise ValueError(f"{name} must be {least} or more, not {value}")
        if "" in self.stop:
            raise ValueError("a stop text must not be empty")
        self.sampling()

    def sampling(self) -> Sampling:
        return Sampling(self.temperature, self.top_k, self.top_p)


def generate_text(
    params: Params, config: Config, tokenizer: Tokenizer, prompt: str, options: Options
) -> Iterator[tuple[int, str]]:
    """Continue a prompt: for each new token, the number of its sample and the text that
    it adds, which may be empty.

    An empty prompt stands for `<|endoftext|>`, after which the model begins a text of
    its own. Of a prompt longer than the context window only the end is used, with a
    warning."""
    tokens = tokenizer.encode(prompt) or [tokenizer.eot]
    if len(tokens) > config.n_ctx:
        warnings.warn(
            f"the prompt has {len(tokens)} tokens, of which the model reads the last {config.n_ctx}",
            stacklevel=2,
        )
    rngs = [
        np.random.default_rng(seed)
        for seed in np.random.SeedSequence(options.seed).spawn(options.samples)
    ]
    steps = generate_tokens(
        params, config, tokens[-config.n_ctx :], options.sampling(), rngs
    )
    streams = [TextStream(tokenizer, options.stop) for _ in rngs]
    for left, step in zip(range(options.max_tokens - 1, -1, -1), steps):
        for i, (stream, token) in enumerate(zip(streams, step.tolist(), strict=True)):
            if not stream.ended:
                text = stream.feed(token)
                if left == 0:
                    text += stream.close()
                yield i, text
        if all(stream.ended for stream in streams):
            return
