"""A model and its tokenizer behind one face."""

import warnings
from collections.abc import Iterable, Iterator, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from .files.checkpoint import read_model
from .generate import Options, generate_text
from .model import Array, Cache, Config, Params, nest, unembed
from .sampling import Sampling, check_type
from .score import log_p_after, log_probabilities
from .speed.prefill import prefill
from .tokenizer import Tokenizer

if TYPE_CHECKING:
    from .page.document import Page


class Choice(NamedTuple):
    """An answer to a prompt, and how likely it is there: natural logarithms."""

    text: str
    log_probability: float  # of its tokens, after the prompt
    per_token: float  # that, divided by their number
    gain: float  # that, less what it is after nothing
    tokens: int


class GPT2:
    """A model: its sizes, its parameters, and the tokenizer that goes with it.

    config  n_vocab, n_ctx, n_embd, n_head, n_layer
    params  float32 arrays, nested as OpenAI names them: params["h"][0]["ln_1"]["g"];
            they are read-only where they are mapped from a file, and
            gpt2.params = copy.deepcopy(gpt2.params) makes them writable
    """

    def __init__(
        self, config: Config, params: Params, directory: Path | None = None
    ) -> None:
        self.config = config
        self.params = params
        self._directory = directory

    def __repr__(self) -> str:
        sizes = ", ".join(f"{name}={size}" for name, size in vars(self.config).items())
        return f"<GPT2 {sizes}, from {self._directory or 'memory'}>"

    @cached_property
    def tokenizer(self) -> Tokenizer:
        """Text ⇄ token ids: the model's own (files/vocabulary.py); for a model made in
        memory, OpenAI's, cut to n_vocab. Raises CheckpointError, or ValueError in memory,
        if there is none that fits; `logits` needs none."""
        from .files.vocabulary import open_tokenizer  # here: logits need no tokenizer

        if self._directory is None:
            return Tokenizer.from_file(n_vocab=self.config.n_vocab)
        return open_tokenizer(self._directory, self.config)

    def logits(self, tokens: Sequence[int] | Array) -> Array:
        """The logits of the token that follows each one: int (T,) or (B, T) → float32
        (T, n_vocab) or (B, T, n_vocab).

        Raises ValueError for another shape or type, an id outside the vocabulary, or T
        above n_ctx.
        """
        tokens = np.asarray(tokens)
        if (
            tokens.ndim not in (1, 2)
            or tokens.size == 0
            or tokens.dtype.kind not in "iu"
        ):
            found = f"{tokens.dtype} {tokens.shape}"
            raise ValueError(f"tokens are {found}, expected int (T,) or (B, T)")
        n_vocab, n_ctx = self.config.n_vocab, self.config.n_ctx
        if tokens.shape[-1] > n_ctx:
            raise ValueError(f"{tokens.shape[-1]} tokens, n_ctx is {n_ctx}")
        if tokens.min() < 0 or tokens.max() >= n_vocab:
            raise ValueError(f"a token id is not in 0 … {n_vocab - 1}")
        batch = np.atleast_2d(tokens)  # (B, T)
        B, T = batch.shape
        x = prefill(self.params, batch, Cache(self.config, B, n_ctx=T))
        return unembed(self.params, x).reshape(*tokens.shape, -1)

    def generate(
        self,
        prompt: str,
        max_tokens: int = 40,
        temperature: float = 1.0,
        top_k: int | None = 40,
        top_p: float | None = None,
        seed: int | None = None,
        stop: str | Sequence[str] = (),
        allow_special: bool = False,
    ) -> Iterator[str]:
        """The text that follows the prompt, in pieces as they come.

        prompt       is the beginning of a text; an empty one lets the model begin; if it is
                     longer than the context window, only its end is read, with a warning
        max_tokens   is how many tokens are written at most; they may exceed the window
        temperature  divides the logits: 0 takes the likeliest token, 1 changes nothing
        top_k        keeps the k likeliest tokens; None keeps all
        top_p        then keeps the likeliest whose probabilities sum to at most p, but at
                     least one; None keeps all
        seed         makes the text the same each time; None: another text each time
        stop         is a text, or several: the text ends before the first of these
        allow_special  reads special tokens in the prompt, such as `<|endoftext|>`, as tokens

        Raises ValueError for an option out of range, TypeError for one of another type.
        """
        check_type("prompt", prompt, str)
        sampling = Sampling(temperature, top_k, top_p)
        if not isinstance(stop, Iterable):
            raise TypeError(f"stop is {stop!r}, expected a str, or several")
        stops = [stop] if isinstance(stop, str) else list(stop)
        options = Options(
            sampling, max_tokens, seed, stops, allow_special=allow_special
        )
        model = self.params, self.config, self.tokenizer
        return (text for _, text in generate_text(*model, prompt, options) if text)

    def score(self, text: str) -> Array:
        """The natural-log probability of each token after the first: float64 (T - 1,)."""
        check_type("text", text, str)
        return log_probabilities(self.params, self.config, self.tokenizer.encode(text))

    def explain(self, prompt: str, allow_special: bool = False) -> "Page":
        """The page of one forward pass, which a notebook shows: `page.save("page.html")`
        writes it to a file. A model of up to some six million parameters is in its page,
        and goes on there with another prompt. allow_special is as in `generate`.

        Raises ValueError for a prompt longer than the page shows, FloatingPointError for
        logits that are not finite.
        """
        from .page.document import page_of  # here: nothing else needs the page
        from .page.explain import Model

        check_type("prompt", prompt, str)
        name = self._directory.name if self._directory else "a model in memory"
        model = Model(self.params, self.config, self.tokenizer)
        return page_of(model, prompt, allow_special, name)

    def choose(
        self,
        prompt: str,
        choices: Sequence[str],
        by: str = "log_probability",
        instead: str = "",
    ) -> list[Choice]:
        """How likely each of several answers is after a prompt: the best first, `by`
        one of three figures. (Equal ones are in the order given.)

        log_probability  is that of all the tokens of the answer, so that it is a choice
                         among just these texts; a longer one has more tokens to lose by
        per_token        is this divided by their number
        gain             is log_probability less that of the same answer after nothing
                         (`<|endoftext|>`) or after the text `instead`. Why: what means the
                         same shares its probability, and a common phrase gets much of it
                         after any prompt. The gain is what this prompt adds: the pointwise
                         mutual information (Holtzman et al. 2021, "Surface Form
                         Competition", where `instead` is " A:" or the like)

        The tokens are those of prompt + answer as one text. Of a prompt that does not fit
        the window together with the longest answer, only the end is read, with a warning.

        Raises ValueError for an answer that is empty, fills the window, or merges with the
        end of the prompt into one token, and for another `by`; TypeError for what is no
        text.
        """
        if by not in Choice._fields[1:4]:
            named = ", ".join(Choice._fields[1:4])
            raise ValueError(f"by is {by!r}, expected one of {named}")
        context, answers = self.answers(prompt, choices)
        model = self.params, self.config
        log_p = log_p_after(*model, context, answers)
        before = self.answers(instead, choices) if instead else ([], answers)
        without = log_p_after(
            *model, before[0] or self.tokenizer.beginning(), before[1]
        )
        found = [
            Choice(text, after, after / len(answer), after - alone, len(answer))
            for text, answer, after, alone in zip(
                choices, answers, log_p, without, strict=True
            )
        ]
        return sorted(found, key=lambda choice: getattr(choice, by), reverse=True)

    def answers(
        self, prompt: str, choices: Sequence[str]
    ) -> tuple[list[int], list[list[int]]]:
        """The tokens of a prompt, and those that each answer adds to them. Raises as
        `choose` does."""
        check_type("prompt", prompt, str)
        if isinstance(choices, str):
            raise TypeError(f"choices is {choices!r:.80}, expected several texts")
        if not choices:
            raise ValueError("choices is empty, expected one text or more")
        encode, n_ctx = self.tokenizer.encode, self.config.n_ctx
        context, answers = encode(prompt), []
        for text in choices:
            check_type("an answer", text, str)
            whole = encode(prompt + text)
            if not text:
                raise ValueError("an answer is empty")
            if whole[: len(context)] != context or len(whole) == len(context):
                problem = f"{text!r:.80} merges with the end of the prompt"
                ending = f"{prompt[-40:]!r} into one token"
                how = "a word begins with its space, so let the answer begin with it"
                raise ValueError(f"{problem}, {ending}: {how}")
            answers.append(whole[len(context) :])
        longest = max(map(len, answers))
        room = n_ctx - longest
        if room < 1:
            limit = f"the window has {n_ctx}, one of which is the prompt's"
            raise ValueError(f"an answer has {longest} tokens, {limit}")
        if len(context) > room:
            read = f"the model reads its last {room}"
            warnings.warn(f"the prompt has {len(context)} tokens, {read}", stacklevel=3)
        return context[-room:] or self.tokenizer.beginning(), answers


def open_model(directory: str | Path) -> GPT2:
    """The model in a directory, or in one of several steps there, given by its `.index`.
    Raises CheckpointError if there is none."""
    path = Path(directory)
    config, tensors = read_model(path)
    return GPT2(config, nest(tensors), path if path.is_dir() else path.parent)
