"""A model's name → its directory: where do weights live?"""

import os
import sys
from pathlib import Path

RELEASED = ("124M", "355M", "774M", "1558M")
ALIASES = {"117M": "124M", "345M": "355M"}  # as first announced, before a recount
EMBEDDED = "tiny"

OPENAI_FILES = ("hparams.json", "model.ckpt.index", "model.ckpt.data-00000-of-00001")
HUGGINGFACE_FILES = ("config.json", "model.safetensors")

INSTALLED = Path(__file__).parents[1] / "weights"  # in an installed package: `tiny`


def weights_directories(weights: str | Path | None = None) -> list[Path]:
    """Where models are looked for, in this order: `weights`, or else $MINIGPT2_WEIGHTS;
    the checkout's weights/; the installed weights; the user's cache directory."""
    given = weights or os.environ.get("MINIGPT2_WEIGHTS")
    directories = [Path(os.path.expanduser(given))] if given else []
    checkout = Path(__file__).parents[2]
    if (checkout / "setup.cfg").is_file():
        directories.append(checkout / "weights")
    return [*directories, INSTALLED, _user_cache()]


def find(model: str | Path, weights: str | Path | None = None) -> Path | None:
    """The directory of a model, given by its name or as that directory (a Path is always
    a directory); None if it is a released model that has not been downloaded.

    Raises ValueError if it is neither a known name nor a directory.
    """
    name = ALIASES.get(str(model), str(model))
    if isinstance(model, Path) or name not in (*RELEASED, EMBEDDED):
        if not Path(model).is_dir():
            known = f"{', '.join(RELEASED)}, {EMBEDDED} or a directory"
            raise ValueError(f"unknown model {str(model)!r}, expected {known}")
        return Path(model)
    for directory in weights_directories(weights):
        for files in OPENAI_FILES, HUGGINGFACE_FILES:
            # (Path.is_file raises PermissionError where a directory is not ours to read)
            if all(os.path.isfile(directory / name / file) for file in files):
                return directory / name
    if name == EMBEDDED:
        raise ValueError(f"the model {name} is not in {INSTALLED}: install again")
    return None


def download_directory(weights: str | Path | None = None) -> Path:
    """Where downloads go: into `weights` or $MINIGPT2_WEIGHTS if given; else into the
    checkout's weights/, if it can be written; else into the user's cache directory.

    They never go to the installed weights, which are the package manager's to delete.
    Raises OSError if the directory cannot be written.
    """
    first, *_, cache = weights_directories(weights)
    given = weights or os.environ.get("MINIGPT2_WEIGHTS")
    directory = first if given or (first != INSTALLED and _writable(first)) else cache
    try:
        directory.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OSError(f"cannot make {directory}: {error.strerror}") from None
    if not _writable(directory):
        raise PermissionError(f"cannot write to {directory}: see --weights")
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
    return Path(os.path.expanduser(base)) / "minigpt2"
