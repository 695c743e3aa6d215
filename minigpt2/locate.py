"""A model's name → its directory: where do weights live?"""

import os
import sys
from pathlib import Path

RELEASED = ("124M", "355M", "774M", "1558M")
ALIASES = {
    "117M": "124M",
    "345M": "355M",
}  # the sizes as first announced, before they were counted again
EMBEDDED = "tiny"
COMPLETE = (  # the files of a model in either layout
    ("hparams.json", "model.ckpt.index", "model.ckpt.data-00000-of-00001", "vocab.bpe"),
    ("config.json", "model.safetensors"),
)
INSTALLED = Path(__file__).with_name("weights")


def weights_directories(weights: str | Path | None = None) -> list[Path]:
    """The directories in which models are looked for, in this order: `weights` or else
    $MINIGPT2_WEIGHTS, if given; the checkout's weights/; the installed copy of it,
    which holds `tiny`; the user's cache directory."""
    given = weights or os.environ.get("MINIGPT2_WEIGHTS")
    directories = [Path(given).expanduser()] if given else []
    checkout = Path(__file__).parent.parent
    if (checkout / "setup.cfg").is_file():
        directories.append(checkout / "weights")
    return [*directories, INSTALLED, _user_cache()]


def find(model: str, weights: str | Path | None = None) -> Path | None:
    """The directory of a model, given by name or as a directory; None for a released
    model that is not there yet.

    Raises ValueError if it is neither the name of a model nor a directory.
    """
    name = ALIASES.get(model, model)
    if name not in (*RELEASED, EMBEDDED):
        if not Path(model).is_dir():
            raise ValueError(
                f"unknown model {model!r}: it is none of {', '.join(RELEASED)}, {EMBEDDED}, nor a directory"
            )
        return Path(model)
    for directory in weights_directories(weights):
        for files in COMPLETE:
            if all((directory / name / file).is_file() for file in files):
                return directory / name
    if name == EMBEDDED:
        raise ValueError(
            f"the embedded model {EMBEDDED} is missing from {INSTALLED}: install minigpt2 again"
        )
    return None


def download_directory(weights: str | Path | None = None) -> Path:
    """Where downloads go: the directory given as `weights` or $MINIGPT2_WEIGHTS; else
    the checkout's weights/ if it can be written; else the user's cache directory. (Not
    the installed copy: that belongs to the package manager.)

    Raises OSError if it cannot be written.
    """
    given = weights or os.environ.get("MINIGPT2_WEIGHTS")
    first, *_, cache = weights_directories(weights)
    directory = first if given or (first != INSTALLED and _writable(first)) else cache
    directory.mkdir(parents=True, exist_ok=True)
    if not _writable(directory):
        raise PermissionError(
            f"the weights directory {directory} cannot be written: choose another with --weights"
        )
    return directory


def _writable(directory: Path) -> bool:
    return os.access(directory, os.W_OK | os.X_OK)


def _user_cache() -> Path:
    if sys.platform == "win32":
        base = os.environ.get("LOCALAPPDATA") or "~/AppData/Local"
    elif sys.platform == "darwin":
        base = "~/Library/Caches"
    else:
        base = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    return Path(base).expanduser() / "minigpt2"
