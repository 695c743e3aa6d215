"""A model and a text → a page that can be kept, mailed and shown in a notebook.

A small model goes into its page, which then runs it: rounding.py says in which numbers,
model.js how. What the page of a larger model has is one pass.
"""

import html
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..files.byte_level import ByteLevelTokenizer, Rules
from ..files.save import replace
from ..tokenizer import Tokenizer
from .explain import MOST_NUMBERS, Model, explain, longest, packed, page
from .rounding import named, rounded

MOST_BYTES = 10_000_000  # of a page that holds its model
MOST_WEIGHTS = 6_500_000  # a byte each, of which base64 makes 4/3; the rest has 1.3 MB
VOCABULARY = "tokens", "byte_ids", "merges", "merged"


@dataclass(frozen=True, repr=False)
class Page:
    """A web page, in one file. A notebook shows it in a frame of its own, which keeps the
    styles of the two apart."""

    html: str

    def _repr_html_(self) -> str:
        style = "width: 100%; height: 90vh; min-height: 40rem; border: 0"
        source = html.escape(self.html)
        return (
            f'<iframe style="{style}" title="Inside GPT-2" srcdoc="{source}"></iframe>'
        )

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write it to a file, in the place of the one before it. Raises OSError if that
        cannot be done: then the file is as it was."""
        check_place(Path(path))
        replace(Path(path), [self.html.encode()])


def check_place(path: Path) -> None:
    """Raises OSError for a directory, or for a file in one that is not there."""
    if path.is_dir():
        raise IsADirectoryError(f"{path} is a directory")
    if not path.parent.is_dir():
        raise FileNotFoundError(f"there is no directory {path.parent}")


def page_of(gpt2: Model, prompt: str, allow_special: bool, name: str) -> Page:
    """The page of a prompt, and of what else is typed there if the model fits into it.

    Its numbers are then those of the rounded weights. Raises ValueError and
    FloatingPointError as `explain` does.
    """
    if sum(array.size for _, array in named(gpt2.params)) > MOST_WEIGHTS:
        return Page(page(explain(gpt2, prompt, allow_special) | {"model": name}))
    held, params = rounded(gpt2.params)
    tokenizer = gpt2.tokenizer
    data: dict[str, Any] = explain(
        gpt2._replace(params=params), prompt, allow_special
    ) | {
        "model": name,
        "weights": {name: packed(array) for name, array in held.items()},
        "untyped": why_untyped(tokenizer),
        "beginning": None if tokenizer.eot is None else tokenizer.beginning(),
        "ends": sorted(tokenizer.ends),
        "longest": longest(gpt2.config),
        "most": MOST_NUMBERS,
    }
    whole = page(data)
    if len(whole.encode()) > MOST_BYTES:  # a long prompt, whose pass is then made there
        data["arrays"] = {name: data["arrays"][name] for name in VOCABULARY}
        whole = page(data)
    return Page(whole)


def why_untyped(tokenizer: Tokenizer) -> str:
    """Why tokenizer.js cannot give the ids of a text, which it does as tokenizer.py does;
    empty if it can."""
    if isinstance(tokenizer, ByteLevelTokenizer):
        if tokenizer.rules != Rules():
            return "its tokenizer changes a text before it is cut into pieces"
        if tokenizer.words:
            return "its vocabulary has words that no merge makes"
    elif any(
        tokenizer._merge(raw) != [i] for i, raw in enumerate(tokenizer.vocab[:-1])
    ):
        return "its vocabulary has tokens to which its merges do not lead"
    return ""
