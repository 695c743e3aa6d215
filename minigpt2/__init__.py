"""GPT-2 in plain NumPy, to be read, run and taught with.

    import minigpt2

    gpt2 = minigpt2.load("tiny")
    for piece in gpt2.generate("Once upon a time"):
        print(piece, end="", flush=True)

To learn how it works, read model.py first.
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .checkpoint import CheckpointError
    from .gpt2 import GPT2, load
    from .model import Config
    from .tokenizer import Tokenizer

__all__ = ["GPT2", "CheckpointError", "Config", "Tokenizer", "load"]
__version__ = "0.1.0"

_ROOMS = {
    "GPT2": "gpt2",
    "load": "gpt2",
    "CheckpointError": "checkpoint",
    "Config": "model",
    "Tokenizer": "tokenizer",
}


def __getattr__(name: str) -> object:
    """Each name is imported when it is first used: `--help` need not wait for NumPy,
    and a room can be run with -m."""
    if name not in _ROOMS:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_ROOMS[name]}"), name)
