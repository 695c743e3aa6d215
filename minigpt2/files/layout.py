"""A directory → the files of a model in it. If there are none: what is there instead?"""

import re
from pathlib import Path

from .locate import HUGGINGFACE_FILES, OPENAI_FILES

WEIGHTS = (  # in this order
    *("model.safetensors", "model.safetensors.index.json"),
    *("pytorch_model.bin", "pytorch_model.bin.index.json"),
)
MERGE = "merge the adapter into its model, and save the whole"
SOURCE = "take the model.safetensors that it was made from"
AGAIN = "open it with transformers: save_pretrained writes model.safetensors"
STATE = "save the state_dict of its model as pytorch_model.bin"
OTHERS = {  # what other tools write, and what to do with it
    "*/config.json */hparams.json": "give that directory",
    "adapter_model.*": MERGE,
    "*.gguf *.onnx": SOURCE,
    "*.h5 *.msgpack *.ot": AGAIN,
    "*.pt *.pth *.ckpt": STATE,
    "*.safetensors *.bin": f"expected under the name {WEIGHTS[0]} or {WEIGHTS[2]}",
}


def find_files(path: Path) -> tuple[Path, Path]:
    """The file with a model's sizes, and the one with its tensors or their index.

    The path is a directory, or one of several `.index` files in it. Raises ValueError.
    """
    directory = path if path.is_dir() else path.parent
    if (directory / "adapter_config.json").is_file():
        raise ValueError(f"adapter_config.json is there, of an adapter; {MERGE}")
    step = _newest(directory) if path.is_dir() else path.name
    weights = [name for name in WEIGHTS if (directory / name).is_file()] or WEIGHTS
    problem = "no checkpoint"
    for files in (
        (OPENAI_FILES[0], step, data_file(step)),
        (HUGGINGFACE_FILES[0], weights[0]),
    ):
        missing = [name for name in files if not (directory / name).is_file()]
        if not missing:
            return directory / files[0], directory / files[1]
        if problem == "no checkpoint" and len(missing) < len(files):
            problem = f"{' and '.join(missing)} missing"
    for patterns, remedy in OTHERS.items():
        for pattern in patterns.split():
            for file in sorted(directory.glob(pattern)):
                there = file.relative_to(directory)
                raise ValueError(f"{problem}, but {there} is there; {remedy}")
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
