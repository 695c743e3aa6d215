"""The model and its tokenizer behind one face: `load` opens a model, GPT2 is what it
gives."""

from collections.abc import Iterator, Sequence
from functools import cached_property
from pathlib import Path

import numpy as np

from . import locate
from .checkpoint import Checkpoint, CheckpointError
from .generate import Options, generate_text
from .model import Cache, Config, Params, forward, nest, shapes, unembed
from .score import log_probabilities
from .tokenizer import RELEASED as RELEASED_VOCABULARY
from .tokenizer import Tokenizer


class GPT2:
    """A model with its parameters and its tokenizer: `load` makes one.

    config     n_vocab, n_ctx, n_embd, n_head, n_layer
    params     the parameters, float32, nested as in OpenAI's names:
               params["h"][0]["attn"]["c_attn"]["w"]
    tokenizer  the model's tokenizer; raises CheckpointError if there is none for its
               n_vocab"""

    def __init__(
        self, config: Config, params: Params, vocabulary: Path = RELEASED_VOCABULARY
    ) -> None:
        self.config = config
        self.params = params
        self._vocabulary = vocabulary

    @cached_property
    def tokenizer(self) -> Tokenizer:
        try:
            return Tokenizer.from_file(self._vocabulary, self.config.n_vocab)
        except (OSError, ValueError) as error:
            raise CheckpointError(
                f"no tokenizer for this model: {self._vocabulary}: {error}"
            ) from None

    def logits(self, tokens: Sequence[int] | np.ndarray) -> np.ndarray:
        """The logits of the next token after each token: int (T,) or (B, T) → float32
        (T, n_vocab) or (B, T, n_vocab).

        Raises ValueError for tokens of another shape or type, ids outside the
        vocabulary, or T above n_ctx."""
        tokens = np.asarray(tokens)
        if (
            tokens.ndim not in (1, 2)
            or not np.issubdtype(tokens.dtype, np.integer)
            or tokens.size == 0
        ):
            raise ValueError(
                f"expected int tokens (T,) or (B, T), not {tokens.dtype} {tokens.shape}"
            )
        if tokens.shape[-1] > self.config.n_ctx:
            raise ValueError(
                f"{tokens.shape[-1]} tokens do not fit the context window of {self.config.n_ctx}"
            )
        if tokens.min() < 0 or tokens.max() >= self.config.n_vocab:
            raise ValueError(f"token ids must be in 0 … {self.config.n_vocab - 1}")
        batch = np.atleast_2d(tokens)  # (B, T)
        x = forward(self.params, batch, Cache(self.config, *batch.shape))
        return unembed(self.params, x).reshape(*tokens.shape, -1)

    def generate(
        self,
        prompt: str,
        max_tokens: int = 40,
        temperature: float = 1.0,
        top_k: int | None = 40,
        top_p: float | None = None,
        seed: int | None = None,
        stop: Sequence[str] = (),
    ) -> Iterator[str]:
        """The text that follows the prompt, in pieces, as they come.

        What the options mean: generate.Options. Prompts that are empty or longer than
        the context window: generate.generate_text. Raises ValueError for an option out
        of range."""
        options = Options(max_tokens, temperature, top_k, top_p, seed, stop)
        pieces = generate_text(
            self.params, self.config, self.tokenizer, prompt, options
        )
        return (text for _, text in pieces if text)

    def score(self, text: str) -> np.ndarray:
        """The natural-log probability of each token of the text after the first:
        float64 (number of tokens - 1,)."""
        return log_probabilities(self.params, self.config, self.tokenizer.encode(text))


def load(model: str | Path = "124M", weights: str | Path | None = None) -> GPT2:
    """Open a model: "124M", "355M", "774M" or "1558M", "tiny", or a directory with a
    checkpoint.

    A released model that is in none of the weights directories
    (locate.weights_directories) is downloaded first. Raises ValueError for an unknown
    model, CheckpointError for a checkpoint that cannot be used, download.DownloadError.
    """
    directory = locate.find(str(model), weights)
    if directory is None:
        from .download import (
            download,
        )  # requests takes longer to import than all the rest

        directory = download(str(model), weights)
    checkpoint = Checkpoint(directory)
    try:
        config = Config(**checkpoint.hparams)
    except ValueError as error:
        raise CheckpointError(
            f"{directory}: {error}; fetch hparams.json or config.json again"
        ) from None
    return GPT2(
        config,
        nest(checkpoint.tensors(shapes(config))),
        checkpoint.vocabulary or RELEASED_VOCABULARY,
    )
