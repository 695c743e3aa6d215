"""A directory → the files of a model in it. If there are none: what is there instead?"""

import fnmatch
import os
import re
from contextlib import suppress
from pathlib import Path

from .small import FormatError, read_json

OPENAI_FILES = ("hparams.json", "model.ckpt.index", "model.ckpt.data-00000-of-00001")
HUGGINGFACE_FILES = ("config.json", "model.safetensors")
WEIGHTS = ("model.safetensors", "pytorch_model.bin")  # in this order; or their shards
TOKENIZER_FILES = (  # the last two have OpenAI's names
    *("tokenizer.json", "vocab.json", "merges.txt", "encoder.json", "vocab.bpe"),
)
SETTINGS_FILES = (  # what else is said of a tokenizer
    *("tokenizer_config.json", "special_tokens_map.json", "added_tokens.json"),
    *("generation_config.json",),
)
NAME = r"[A-Za-z0-9][A-Za-z0-9._-]*"  # of a file, or of an owner or a repository
MERGE = "merge the adapter into its model, and save the whole"
OTHERS = {  # what other tools write, and what to do with it
    "*/config.json */hparams.json": "give that directory",
    "adapter_model.*": MERGE,
    "*.gguf *.onnx": "take the model.safetensors that it was made from",
    "*.h5 *.msgpack *.ot": "open it with transformers, and save_pretrained",
    "*.pt *.pth *.ckpt": f"save the state_dict of its model as {WEIGHTS[1]}",
    "*.safetensors *.bin": f"expected under the name {' or '.join(WEIGHTS)}",
}


def model_files(path: Path) -> tuple[Path, Path]:
    """The file with a model's sizes, and the one with its tensors or their index.

    The path is a directory, or one of several `.index` files in it. Raises ValueError.
    """
    directory = path if path.is_dir() else path.parent
    step = _newest(directory) if path.is_dir() else path.name
    names = [name for file in WEIGHTS for name in (file, f"{file}.index.json")]
    weights = [name for name in names if has(directory, name)] or names
    problem = "no checkpoint"
    for files in (
        (OPENAI_FILES[0], step, data_file(step)),
        (HUGGINGFACE_FILES[0], weights[0]),
    ):
        missing = [name for name in files if not has(directory, name)]
        if not missing:
            return directory / files[0], directory / files[1]
        if problem == "no checkpoint" and len(missing) < len(files):
            problem = f"{' and '.join(missing)} missing"
    inside = (file.relative_to(directory) for file in directory.glob("*/*.json"))
    there = [*(file.as_posix() for file in inside), *os.listdir(directory)]
    if other := first_of(OTHERS, there):
        raise ValueError(f"{problem}, but {other[0]} is there; {other[1]}")
    expected = f"{', '.join(OPENAI_FILES)}, or {', '.join(HUGGINGFACE_FILES)}"
    raise ValueError(f"{problem}; a checkpoint is {expected}")


def data_file(index: str) -> str:
    return f"{index.removesuffix('.index')}.data-00000-of-00001"


def _newest(directory: Path) -> str:
    """The `.index` of the step that the file `checkpoint` names: a run may keep several."""
    steps = sorted(file.name for file in directory.glob("*.index"))
    named = directory / "checkpoint"
    if named.is_file():
        with open(named, encoding="utf-8", errors="replace") as file:
            text = file.read(4096)
        # model_checkpoint_path: "model-1000", or a path where it was trained
        name = re.match(r'model_checkpoint_path: "(?:[^"\n]*[/\\])?([^"\n]+)"', text)
        if name and f"{name[1]}.index" in steps:
            return f"{name[1]}.index"
    elif len(steps) < 2:
        return (steps or OPENAI_FILES[1:])[0]
    problem = f"the file `checkpoint` names none of the steps {', '.join(steps)}"
    raise ValueError(f"{problem}; give one: {directory / (steps or ['*.index'])[-1]}")


def weights_in(directory: Path) -> list[str]:
    """The names of the files with the tensors, if a whole model is in the directory."""
    with suppress(OSError, ValueError):
        if not directory.is_dir():
            return []
        _, weights = model_files(directory)
        names = [weights.name]
        if weights.suffix == ".index":
            names = [data_file(weights.name)]
        elif weights.suffix == ".json":
            names = sorted({*shards(weights).values()})
        if has(directory, *names):
            return names
    return []


def shards(index: Path) -> dict[str, str]:
    """The file of each tensor, as a `.index.json` lists them. Raises FormatError if it
    lists none, or any that are not in its directory."""
    listed = read_json(index).get("weight_map")
    file_of = listed if isinstance(listed, dict) else {}
    right = (
        isinstance(name, str) and re.fullmatch(rf"{NAME}\.(safetensors|bin)", name)
        for name in file_of.values()
    )
    if not file_of or not all(right):
        raise FormatError("weight_map is no list of tensors and the files beside it")
    return file_of


def has(directory: Path, *names: str) -> bool:
    # (Path.is_file raises PermissionError where a directory is not ours to read)
    return all(os.path.isfile(directory / name) for name in names)


def first_of(kinds: dict[str, str], names: list[str]) -> tuple[str, str] | None:
    """The first of these files that is of one of the kinds, and what is said of it."""
    for patterns, meaning in kinds.items():
        for pattern in patterns.split():
            if found := sorted(fnmatch.filter(names, pattern)):
                return found[0], meaning
    return None
