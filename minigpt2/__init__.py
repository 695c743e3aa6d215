"""GPT-2 in plain NumPy, to be read, run and taught with.

    import minigpt2

    gpt2 = minigpt2.load("tiny")
    for piece in gpt2.generate("Once upon a time"):
        print(piece, end="", flush=True)

To learn how it works, read model.py first.
"""

from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .files.checkpoint import CheckpointError
    from .files.transfer import DownloadError
    from .gpt2 import GPT2
    from .model import Config
    from .tokenizer import Tokenizer

__version__ = "0.2.0"
__all__ = ["GPT2", "CheckpointError", "Config", "DownloadError", "Tokenizer", "load"]


def load(model: str | Path = "124M", weights: str | Path | None = None) -> "GPT2":
    """Open a model: "124M", "355M", "774M", "1558M" or as the hub calls them ("gpt2-xl"),
    "tiny", a directory, or OWNER/NAME, a repository of the hub.

    A name is looked for in locate.weights_directories(weights), then in the cache of the
    hub's own programs, then it is downloaded. Raises ValueError for an unknown model,
    CheckpointError for a checkpoint that cannot be used, DownloadError if the network does
    not give the model.
    """
    from .files.locate import find
    from .gpt2 import open_model

    directory = find(model, weights)
    if directory is None:
        from .files.download import download

        directory = download(str(model), weights)
    return open_model(directory)


if not TYPE_CHECKING:  # a misspelt name is to be found by type checkers, too
    ROOMS = {
        "GPT2": "gpt2",
        "Tokenizer": "tokenizer",
        "Config": "model",
        "CheckpointError": "files.checkpoint",
        "DownloadError": "files.transfer",
    }

    def __getattr__(name: str) -> object:
        """Import a name when it is first used: --help need not wait for NumPy."""
        if name not in ROOMS:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        return getattr(import_module(f"{__name__}.{ROOMS[name]}"), name)


def __dir__() -> list[str]:
    return sorted([*__all__, "__version__", "__doc__"])
