"""A model's name → its directory: where do weights live?"""

import functools
import os
import re
import sys
from collections.abc import Iterator
from pathlib import Path

from .layout import NAME, OPENAI_FILES, has, weights_in
from .progress import notice

REPOSITORIES = {  # the released models, and where they are on the hub
    "124M": "openai-community/gpt2",
    "355M": "openai-community/gpt2-medium",
    "774M": "openai-community/gpt2-large",
    "1558M": "openai-community/gpt2-xl",
}
RELEASED = tuple(REPOSITORIES)
EMBEDDED = "tiny"
ALIASES = {"117m": "124M", "345m": "355M"}  # as first announced, before a recount
ALIASES[EMBEDDED] = EMBEDDED  # in any letter case
for _size, _repository in REPOSITORIES.items():
    for _name in _size.lower(), _repository, _repository.partition("/")[2]:
        ALIASES[_name] = _size

TOKENIZERS = ("tokenizer.json",), ("vocab.json", "merges.txt")
INSTALLED = Path(__file__).parents[1] / "weights"  # in an installed package: `tiny`


def canonical(model: str) -> str:
    """The name that a model has here: "gpt2", "openai-community/gpt2", "117M" → "124M"."""
    return ALIASES.get(model.lower(), model)


def is_repository(name: str) -> bool:
    """Is it OWNER/NAME, as a repository of the hub may be called?"""
    return re.fullmatch(rf"(?!.*(\.\.|--)){NAME}/{NAME}", name) is not None


def kept_as(repository: str) -> str:
    """The name of its directory. The hub's names have no `--`: no other one has it."""
    return repository.replace("/", "--")


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
    """The directory of a model, given by its name, as that directory, or as a file in it
    (a Path is never a name); None if it is to be downloaded. Of a TensorFlow run, the
    `.index` of the step that was given.

    A released model goes before a directory of that name, which is mentioned; any other
    directory goes before a repository of the hub. Raises ValueError for what is neither.
    """
    for argument, value in ("model", model), ("weights", weights or ""):
        if not isinstance(value, (str, os.PathLike)):
            raise TypeError(f"{argument} is {value!r}, expected a str or a Path")
    name, path = canonical(str(model)), Path(os.path.expanduser(model))
    known = not isinstance(model, Path) and name in (*RELEASED, EMBEDDED)
    if not known and str(model) and os.path.exists(path):
        return _model_at(path)
    if isinstance(model, Path) or not (known or is_repository(name)):
        names = f"{', '.join(RELEASED)}, {EMBEDDED}, a directory or OWNER/NAME"
        raise ValueError(f"unknown model {str(model)!r}, expected {names}")
    found = next(_places(name, weights), None)
    if known and path.is_dir() and not (found and path.samefile(found)):
        _mention(str(model), name)
    if name == EMBEDDED and found is None:
        raise ValueError(f"the model {name} is not in {INSTALLED}: install again")
    return found


@functools.cache  # once is enough
def _mention(given: str, name: str) -> None:
    notice(f"{given} is the model {name}; the directory of that name is ./{given}")


def _places(name: str, weights: str | Path | None) -> Iterator[Path]:
    """Where a model of this name is: among the weights, then in the hub's cache."""
    repository = REPOSITORIES.get(name, name)
    for directory in weights_directories(weights):
        for known_as in name, repository:
            if weights_in(directory / kept_as(known_as)):
                yield directory / kept_as(known_as)
    for cache in _hub_caches():
        for known_as in repository, repository.removeprefix("openai-community/"):
            place = _snapshot(cache / f"models--{kept_as(known_as)}")
            if not place or not weights_in(place):
                continue
            # where only the weights are, the tokenizer may have stayed at the hub
            if name in RELEASED or any(has(place, *files) for files in TOKENIZERS):
                yield place


def _hub_caches() -> list[Path]:
    """Where the hub's own programs keep what they download."""
    base = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    home = os.environ.get("HF_HOME") or f"{base}/huggingface"
    caches = os.environ.get("HF_HUB_CACHE"), f"{home}/hub", "~/.cache/huggingface/hub"
    return [Path(os.path.expanduser(cache)) for cache in caches if cache]


def _snapshot(repository: Path) -> Path | None:
    """models--OWNER--NAME/ in the hub's cache → its version on the branch `main`."""
    try:
        commit = (repository / "refs" / "main").read_text("latin-1").strip()
    except OSError:
        return None
    place = repository / "snapshots" / commit
    return place if re.fullmatch(NAME, commit) and place.is_dir() else None


def _model_at(path: Path) -> Path:
    """The directory of the model that a path leads to."""
    if os.path.isfile(path):
        step = re.sub(r"\.data-\d{5}-of-\d{5}$", ".index", path.name)
        if step.endswith(".index") and step not in OPENAI_FILES:
            return path.with_name(step)
        read, text = weights_in(path.parent), path.suffix in (".json", ".txt", ".bpe")
        if read and not text and path.name not in (*read, *OPENAI_FILES):
            raise ValueError(f"{path} is not read: the model beside it is in {read[0]}")
        return path.parent
    repository = path.parent if path.name == "snapshots" else path
    return _snapshot(repository) or path


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
