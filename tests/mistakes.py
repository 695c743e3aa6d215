"""The usual mistakes: each is a change of a line or two of the package (mistakes.txt).

The exercises name them, and the bug hunt hides them. No file is touched: the source of a
function is read, changed and compiled.
"""

import difflib
import inspect
import textwrap
from collections.abc import Callable
from pathlib import Path
from types import CodeType, FunctionType
from typing import NamedTuple

from minigpt2 import model
from minigpt2.learning import backward, optimizer
from minigpt2.sampling import Sampling
from minigpt2.tokenizer import Tokenizer

FUNCTIONS = {
    # those of the exercises
    "merge": Tokenizer._merge,
    "embed": model.embed,
    "layer_norm": model.layer_norm,
    "attention_weights": model.attention_weights,
    "attn": model.attn,
    "gelu": model.gelu,
    "block": model.block,
    "probabilities": Sampling.probabilities,
    "linear_backward": backward.linear,
    "adamw": optimizer.AdamW.update,
    # mistakes for the bug hunt alone
    "Tokenizer._merge": Tokenizer._merge,
    "model.embed": model.embed,
    "model.layer_norm": model.layer_norm,
    "model.attention_weights": model.attention_weights,
    "model.linear": model.linear,
    "model.softmax": model.softmax,
    "model.mlp": model.mlp,
    "model.blocks": model.blocks,
    "model.forward": model.forward,
    "Sampling.choose": Sampling.choose,
}
LIST = Path(__file__).with_suffix(".txt")


class Mistake(NamedTuple):
    function: FunctionType  # of the package
    text: str  # what is wrong
    hunted: bool  # by tests/bug_hunt.py
    edits: list[tuple[str, str]]  # what is right, and what it becomes, in order

    def sources(self) -> tuple[str, str]:
        """The function as it is, and as it is with the mistake."""
        right = textwrap.dedent(inspect.getsource(self.function))
        start = right.find('"""', right.find('"""') + 3)  # of the code, if not -1
        head, wrong = right[: max(start, 0)], right[max(start, 0) :]
        for old, new in self.edits:
            if wrong.count(old) != 1:
                raise ValueError(f"{self.text}: {old!r} is not once in\n{wrong}")
            wrong = wrong.replace(old, new)
        return right, head + wrong

    def code(self) -> CodeType:
        names: dict = {}
        exec(self.sources()[1], dict(self.function.__globals__), names)  # noqa: S102
        return names[self.function.__name__].__code__

    def make(self) -> Callable:
        """The function with the mistake."""
        f = self.function
        return FunctionType(self.code(), f.__globals__, f.__name__, f.__defaults__)

    def where(self) -> str:
        """The file, the line, and what has become of it."""
        right, wrong = (source.splitlines() for source in self.sources())
        matcher = difflib.SequenceMatcher(None, right, wrong, autojunk=False)
        changes = [c for c in matcher.get_opcodes() if c[0] != "equal"]
        path = Path(inspect.getfile(self.function))
        place = path.relative_to(Path(model.__file__).parents[1]).as_posix()
        first = inspect.getsourcelines(self.function)[1] + changes[0][1]
        shown = [f"{place}, line {first}, in {self.function.__qualname__}:"]
        for _, i, j, a, b in changes:
            shown += [f"  right: {line.strip()}" for line in right[i:j]]
            shown += [f"  bug:   {line.strip()}" for line in wrong[a:b]]
        return "\n".join(shown)


def read(text: str) -> dict[str, list[Mistake]]:
    """The list: the name of a function → its mistakes."""
    mistakes: dict[str, list[Mistake]] = {}
    for section in text.split("\n== ")[1:]:
        name, _, listed = section.partition(" ==\n")
        mistakes[name] = []
        for line in listed.strip().splitlines():
            if line.startswith(" "):
                right, _, wrong = line.strip().replace("\\n", "\n").partition(" →")
                mistakes[name][-1].edits.append((right, wrong.removeprefix(" ")))
            else:
                text, hunted = line.removeprefix("- "), not line.startswith("- ")
                mistakes[name].append(Mistake(FUNCTIONS[name], text, hunted, []))
    return mistakes


MISTAKES = read(LIST.read_text(encoding="utf-8"))
