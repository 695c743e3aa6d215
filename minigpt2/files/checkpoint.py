"""Files → arrays: the checkpoints that OpenAI released and others' safetensors.

`Checkpoint(directory)` opens either layout. Its tensors are memory-mapped: opening takes
milliseconds, nothing is copied, and a page is read from disk when it is first used. How
the two file formats work stands in formats.py.
"""

import re
import reprlib
import struct
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, NoReturn

import numpy as np

from ..model import Array, Config, shapes
from . import formats
from .crc32c import crc32c, masked
from .locate import HUGGINGFACE_FILES, OPENAI_FILES

HPARAMS = {name: name for name in ("n_vocab", "n_ctx", "n_embd", "n_head", "n_layer")}
CONFIG = HPARAMS | {"n_vocab": "vocab_size", "n_ctx": "n_positions"}
ONLY_GPT2 = {  # what a config.json may set otherwise, and the values that make a GPT-2
    "model_type": ("gpt2",),
    "activation_function": ("gelu_new", "gelu_pytorch_tanh"),
    "layer_norm_epsilon": (1e-5,),
    "scale_attn_weights": (True,),
    "scale_attn_by_inverse_layer_idx": (False,),
    "tie_word_embeddings": (True,),
    "add_cross_attention": (False,),
}
MAX_HEADER_BYTES = 1 << 19  # of an index or a JSON file; a released one has 0.1 MB
READABLE = "make it readable"

AS_FLOAT32: dict[str, Callable[[np.ndarray], np.ndarray]] = {  # from uint8 (bytes,)
    "F32": lambda data: data.view("<f4"),
    "F16": lambda data: data.view("<f2").astype(np.float32),
    # bfloat16 is the upper half of a float32
    "BF16": lambda data: (data.view("<u2").astype("<u4") << 16).view("<f4"),
}


class CheckpointError(Exception):
    """A checkpoint that cannot be used: which file, what was expected, what to do."""


def _fail(
    path: Path,
    problem: object,
    remedy: str = "the file is damaged or incomplete: delete it and fetch it again",
) -> NoReturn:
    raise CheckpointError(f"{path}: {problem}; {remedy}") from None


class Checkpoint:
    """An open checkpoint directory, of OpenAI's layout or of Hugging Face's.

    hparams       n_vocab, n_ctx, n_embd, n_head, n_layer, as found: Config checks them
    hparams_path  the file that holds them
    path          the file that holds the tensors
    entries       where each lies in it, named as by OpenAI without the leading `model/`

    Raises CheckpointError if there is no checkpoint, or if its files are damaged.
    """

    def __init__(self, directory: str | Path) -> None:
        directory = Path(directory)
        if not directory.is_dir():
            _fail(directory, "no such directory", "give a directory with a checkpoint")
        here = [
            f for f in OPENAI_FILES + HUGGINGFACE_FILES if (directory / f).is_file()
        ]
        openai = bool(set(here) & set(OPENAI_FILES))
        needed = OPENAI_FILES if openai else HUGGINGFACE_FILES
        missing = [name for name in needed if name not in here]
        if missing:
            layouts = f"{', '.join(OPENAI_FILES)}, or {', '.join(HUGGINGFACE_FILES)}"
            problem = f"{' and '.join(missing)} missing" if here else "no checkpoint"
            _fail(directory, problem, f"a checkpoint is {layouts}")
        self.hparams_path, self.path = directory / needed[0], directory / needed[-1]
        try:
            if openai:
                self.hparams = _read_hparams(self.hparams_path, HPARAMS)
                self.entries = _read_bundle(directory / "model.ckpt.index", self.path)
            else:
                self.hparams = _read_hparams(self.hparams_path, CONFIG)
                self.entries = _read_safetensors(self.path)
        except OSError as error:
            _fail(Path(error.filename or directory), error.strerror, READABLE)

    def tensors(
        self, shapes: Iterable[tuple[str, tuple[int, ...]]]
    ) -> dict[str, np.ndarray]:
        """The tensors of these names and shapes, float32.

        Those stored as float32 are read-only views of the mapped file, float16 and
        bfloat16 are converted. Raises CheckpointError if one is missing, or is of
        another shape or type.
        """
        data, tensors = self._map(), {}
        for name, shape in shapes:
            entry = self.entries.get(name)
            if entry is None:
                problem = "is missing"
            # OpenAI's matrices are kernels of convolutions of width 1: (1, n_in, n_out)
            elif entry.shape not in (shape, (1, *shape)):
                problem = f"has shape {entry.shape}"
            elif entry.dtype not in AS_FLOAT32:
                problem = f"is {entry.dtype}"
            else:
                array = AS_FLOAT32[entry.dtype](data[entry.offset :][: entry.size])
                tensors[name] = array.reshape(shape)
                continue
            expected = f"expected {' or '.join(AS_FLOAT32)} of shape {shape}"
            remedy = "sizes and tensors are not of one model: fetch both again"
            _fail(self.path, f"tensor {name} {problem}, {expected}", remedy)
        return tensors

    def verify(self, progress: Callable[[int], object] = lambda size: None) -> int:
        """Compare every tensor with its CRC-32C, and return how many bytes were compared:
        none of a safetensors file, which has no checksums.

        `progress` is told the size of each tensor that is done. Raises CheckpointError at
        the first that differs.
        """
        data, compared = self._map(), 0
        for name, entry in self.entries.items():
            if entry.crc is None:
                continue
            crc = masked(crc32c(data[entry.offset :][: entry.size]))
            if crc != entry.crc:
                problem = f"has masked CRC-32C {crc:08x}, expected {entry.crc:08x}"
                _fail(self.path, f"tensor {name} {problem}")
            compared += entry.size
            progress(entry.size)
        return compared

    def _map(self) -> np.ndarray:  # uint8 (file size,)
        try:
            return np.memmap(self.path, np.uint8, mode="r").view(np.ndarray)
        except PermissionError as error:
            _fail(self.path, error.strerror, READABLE)


def read_model(directory: str | Path) -> tuple[Config, dict[str, Array]]:
    """The sizes, and the parameters by name, of a checkpoint's directory.

    Raises CheckpointError if it has none, or if they do not fit each other.
    """
    checkpoint = Checkpoint(directory)
    try:
        config = Config(**checkpoint.hparams)
        if f"h{config.n_layer}/ln_1/g" in checkpoint.entries:
            raise ValueError(f"n_layer is {config.n_layer}, but there are more layers")
    except ValueError as error:
        problem = f"{checkpoint.hparams_path}: {error}"
        raise CheckpointError(
            f"{problem}; the file is damaged: fetch it again"
        ) from None
    return config, checkpoint.tensors(shapes(config))


def _read_hparams(path: Path, names: dict[str, str]) -> dict[str, Any]:
    """The model's sizes; `names` says what OpenAI's names for them are in this file."""
    try:
        config = formats.parse_json_object(read_small(path))
    except formats.FormatError as error:
        _fail(path, error)
    for name in names.values():
        if name not in config:
            _fail(path, f"{name} is missing")
    if names is CONFIG:
        for name, values in ONLY_GPT2.items():
            if config.get(name, values[0]) not in values:
                found = reprlib.repr(config[name])  # short, however deep it is
                problem = f"{name} is {found}, expected {values[0]!r}"
                _fail(path, problem, "this is not GPT-2's architecture")
    return {ours: config[theirs] for ours, theirs in names.items()}


def _read_bundle(index: Path, data: Path) -> dict[str, formats.Entry]:
    try:
        entries = formats.read_bundle_index(read_small(index))
    except formats.FormatError as error:
        _fail(index, error)
    _check_layout(data, entries, 0)
    return _renamed(index, entries, lambda name: name.removeprefix("model/"))


def _read_safetensors(path: Path) -> dict[str, formats.Entry]:
    with open(path, "rb") as file:
        (size,) = struct.unpack("<Q", file.read(8).rjust(8, b"\0"))
        if not 2 <= size <= MAX_HEADER_BYTES:
            _fail(path, f"header of {size} bytes, expected 2 to {MAX_HEADER_BYTES}")
        header = file.read(size)
    try:
        entries = formats.read_safetensors_header(header, 8 + size)
    except formats.FormatError as error:
        _fail(path, f"header: {error}")
    _check_layout(path, entries, 8 + size)
    return _renamed(path, entries, _openai_name)


def _renamed(
    path: Path, entries: dict[str, formats.Entry], rename: Callable[[str], str]
) -> dict[str, formats.Entry]:
    """The entries under OpenAI's names. Which one is meant if two get the same?"""
    renamed: dict[str, formats.Entry] = {}
    for name, entry in entries.items():
        if renamed.setdefault(rename(name), entry) is not entry:
            _fail(path, f"tensor {name} is there under another name, too")
    return renamed


def _openai_name(name: str) -> str:
    """transformer.h.0.attn.c_attn.weight → h0/attn/c_attn/w"""
    name = re.sub(r"^h\.(\d+)", r"h\1", name.removeprefix("transformer."))
    name = re.sub(r"^(wte|wpe)\.weight$", r"\1", name)
    name = re.sub(r"(ln_\w)\.weight$", r"\1.g", name)
    name = re.sub(r"\.weight$", ".w", name)
    return re.sub(r"\.bias$", ".b", name).replace(".", "/")


def _check_layout(path: Path, entries: dict[str, formats.Entry], start: int) -> None:
    try:
        formats.check_layout(entries, start, path.stat().st_size)
    except formats.FormatError as error:
        _fail(path, error)


def read_small(path: Path, limit: int = MAX_HEADER_BYTES) -> bytes:
    """The bytes of a file. Raises CheckpointError if there are more than `limit`."""
    size = path.stat().st_size
    if size > limit:
        _fail(path, f"has {size} bytes, expected at most {limit}")
    return path.read_bytes()
