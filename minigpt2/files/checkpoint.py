"""A model's directory → its sizes and its tensors, whichever tool wrote them.

Tensors are memory-mapped: opening takes milliseconds, nothing is copied, and a page is
read from disk when it is first used. Which files make a model is in layout.py, how they
work in formats.py and pickles.py, and what tools call the tensors in tensor_names.py.
"""

import reprlib
import warnings
from collections.abc import Callable, Collection, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NoReturn

import numpy as np

from ..model import Array, Config, shapes
from . import formats
from .crc32c import crc32c, masked
from .layout import MERGE, data_file, has, model_files, shards
from .small import Damaged, FormatError, check_here, read_json, read_small
from .tensor_names import renamed, unused

HPARAMS = {name: name for name in ("n_vocab", "n_ctx", "n_embd", "n_head", "n_layer")}
CONFIG = HPARAMS | {"n_vocab": "vocab_size", "n_ctx": "n_positions"}
ONLY_GPT2: dict[str, tuple[Any, ...]] = {  # what config.json may say of a GPT-2
    "model_type": ("gpt2",),
    "quantization_config": (None,),
    "activation_function": ("gelu_new", "gelu_pytorch_tanh"),
    "layer_norm_epsilon": (1e-5,),
    "scale_attn_weights": (True,),
    "scale_attn_by_inverse_layer_idx": (False,),
    "add_cross_attention": (False,),
}

AS_FLOAT32: dict[str, Callable[[np.ndarray], np.ndarray]] = {  # from uint8 (bytes,)
    # a mapped file, but for an old safetensors that is not aligned: products of such
    # rows take 6 to 60 times as long, so it is copied
    "F32": lambda data: np.require(data.view("<f4"), requirements="A"),
    "F16": lambda data: data.view("<f2").astype(np.float32),
    # bfloat16 is the upper half of a float32
    "BF16": lambda data: (data.view("<u2").astype("<u4") << 16).view("<f4"),
    "F64": lambda data: data.view("<f8").astype(np.float32),
}
# of each tensor: the bytes of its file, and where it lies in them
Places = dict[str, tuple[np.ndarray, formats.Entry]]


class CheckpointError(Exception):
    """A checkpoint that cannot be used: which file, what was expected, what to do."""


def _fail(path: Path, problem: object) -> NoReturn:
    raise CheckpointError(f"{path}: {problem}") from None


@contextmanager
def _reading(path: Path) -> Iterator[None]:
    """Say which file a FormatError is about."""
    try:
        yield
    except FormatError as error:
        _fail(path, f"{error}; {error.remedy}")


class Checkpoint:
    """An open checkpoint: a directory, or the `.index` of one of several steps in it.

    hparams       n_vocab, n_ctx, n_embd, n_head, n_layer, as found: Config checks them
    hparams_path  the file that holds them, with other `settings`
    path          the file that holds the tensors, or that lists their files
    entries       where each lies in its file, named as by OpenAI without `model/`

    Raises CheckpointError if there is no checkpoint, or if its files cannot be used.
    """

    def __init__(self, directory: str | Path) -> None:
        path = Path(directory)
        if not path.is_dir() and not (path.suffix == ".index" and path.is_file()):
            _fail(path, "no such directory; give a directory with a checkpoint")
        try:
            if has(path, "adapter_config.json"):
                _fail(path, f"adapter_config.json is there, of an adapter; {MERGE}")
            try:
                self.hparams_path, self.path = model_files(path)
            except ValueError as error:
                if has(path, "config.json"):  # perhaps of another architecture
                    read_settings(path / "config.json")
                _fail(path, error)
            self.settings = read_settings(self.hparams_path)
            names = HPARAMS if self.path.suffix == ".index" else CONFIG
            for name in names.values():
                if name not in self.settings:
                    problem = f"{name} is missing, expected the sizes of a GPT-2"
                    _fail(self.hparams_path, problem)
            self.hparams = {ours: self.settings[name] for ours, name in names.items()}
            self._places = self._find_tensors()
        except OSError as error:
            _fail(Path(error.filename or path), f"{error.strerror}; make it readable")
        self.entries = {name: entry for name, (_, entry) in self._places.items()}

    def _find_tensors(self) -> Places:
        path = self.path
        if path.suffix == ".json":
            found = _in_shards(path)
        elif path.suffix == ".index":
            self.path = path.with_name(data_file(path.name))
            with _reading(path):
                entries = formats.read_bundle_index(read_small(path))
            data = _map(self.path)
            with _reading(self.path):
                formats.check_layout(entries, 0, len(data))
            found = {name: (data, entry) for name, entry in entries.items()}
        else:
            found = _in_file(path)
        try:
            return renamed(found)
        except ValueError as error:
            _fail(path, error)

    def tensors(
        self, shapes: Iterable[tuple[str, tuple[int, ...]]]
    ) -> dict[str, np.ndarray]:
        """The tensors of these names and shapes, float32.

        Those stored as float32 are read-only views of the mapped file, others are
        converted. Raises CheckpointError if one is missing, or is of another shape or type.
        """
        files = {id(data): len(data) for data, _ in self._places.values()}
        tensors, left = {}, sum(files.values())
        with np.errstate(over="ignore"):  # a float64 may be too large
            for name, shape in shapes:
                tensors[name] = self._tensor(name, shape)
                left -= self.entries[name].size
                if left < 0:  # a small file may hold endless float16 tensors
                    _fail(self.path, "tensors share their numbers; a GPT-2's do not")
        return tensors

    def _tensor(self, name: str, shape: tuple[int, ...]) -> np.ndarray:
        entry = self.entries.get(name)
        # OpenAI's matrices are kernels of convolutions of width 1: (1, n_in, n_out)
        fits = entry and entry.shape in (shape, (1, *shape))
        if entry and fits and entry.dtype in AS_FLOAT32:
            return AS_FLOAT32[entry.dtype](self._bytes(name)).reshape(shape)
        remedy = f"{self.hparams_path.name} and the tensors are not of one model"
        problem = f"has shape {entry.shape}" if entry else "is missing"
        if entry and fits:
            remedy = "save it as float32, not quantised"
            problem = f"is {entry.dtype}"
        expected = f"expected {' or '.join(AS_FLOAT32)} of shape {shape}"
        _fail(self.path, f"tensor {name} {problem}, {expected}; {remedy}")

    def check_others(self, used: Collection[str]) -> None:
        """Warn of tensors that are not used. Raises CheckpointError if the model needs
        one, or has an output layer that is not the embedding of its tokens."""
        try:
            others = unused(self.entries, {*used, "lm_head/w"})
        except ValueError as error:
            _fail(self.path, f"{error}; this is not GPT-2's architecture")
        if "lm_head/w" in self.entries:
            if not self._same("lm_head/w", "wte"):
                problem = "lm_head.weight differs from wte.weight"
                _fail(self.path, f"{problem}; a GPT-2 has one matrix for both")
        elif self.settings.get("tie_word_embeddings", True) is not True:
            problem = "tie_word_embeddings is not true, and there is no lm_head.weight"
            _fail(self.hparams_path, f"{problem}; save the model with its lm_head")
        if others:
            more = f" and {len(others) - 3} others" if len(others) > 3 else ""
            names = ", ".join(others[:3])
            warnings.warn(f"{self.path}: not used: {names}{more}", stacklevel=3)

    def _same(self, a: str, b: str) -> bool:
        (x, at_x), (y, at_y) = self._places[a], self._places[b]
        if x is y and at_x == at_y:  # one storage, which need not be read
            return True
        return at_x[:2] == at_y[:2] and self._bytes(a).data == self._bytes(b).data

    def verify(self, progress: Callable[[int], object] = lambda size: None) -> int:
        """Compare every tensor with its CRC-32C, and return how many bytes were compared:
        none of Hugging Face's layout, which has no such checksums.

        `progress` gets the size of each tensor that is done. Raises CheckpointError at
        the first that differs.
        """
        compared = 0
        for name, entry in self.entries.items():
            if entry.crc is None:
                continue
            crc = masked(crc32c(self._bytes(name)))
            if crc != entry.crc:
                problem = f"has masked CRC-32C {crc:08x}, expected {entry.crc:08x}"
                with _reading(self.path):
                    raise Damaged(f"tensor {name} {problem}")
            compared += entry.size
            progress(entry.size)
        return compared

    def _bytes(self, name: str) -> np.ndarray:  # uint8 (size,)
        data, entry = self._places[name]
        return data[entry.offset :][: entry.size]


def read_model(directory: str | Path) -> tuple[Config, dict[str, Array]]:
    """The sizes, and the parameters by name, of a model: a directory, or the `.index` of
    one of several steps in it. A warning names tensors not used.

    Raises CheckpointError if there is no GPT-2, or its files do not fit each other.
    """
    checkpoint = Checkpoint(directory)
    try:
        config = Config(**checkpoint.hparams)
        if f"h{config.n_layer}/ln_1/g" in checkpoint.entries:
            raise ValueError(f"n_layer is {config.n_layer}, but there are more layers")
        n_inner, usual = checkpoint.settings.get("n_inner"), 4 * config.n_embd
        if n_inner not in (None, usual):
            raise ValueError(f"n_inner is {reprlib.repr(n_inner)}, expected {usual}")
    except ValueError as error:
        _fail(checkpoint.hparams_path, f"{error}; these are not the sizes of a GPT-2")
    tensors = checkpoint.tensors(shapes(config))
    checkpoint.check_others(tensors)
    return config, tensors


def _in_file(path: Path) -> Places:
    data = _map(path)
    with _reading(path):
        if path.suffix == ".bin":
            from .pickles import read_pytorch  # here: few models need it

            entries = read_pytorch(path, data.data)
        else:
            entries = formats.read_safetensors(data.data)
    return {name: (data, entry) for name, entry in entries.items()}


def _in_shards(index: Path) -> Places:
    found: Places = {}
    with _reading(index):
        shard_of = shards(index)
    for shard in sorted({*shard_of.values()}):
        if not has(index.parent, shard):
            _fail(index, f"lists {shard}, which is missing; get it, too")
        tensors = _in_file(index.with_name(shard))
        listed = {name for name, file in shard_of.items() if file == shard}
        for name in sorted(listed ^ tensors.keys()):
            problem = "lists" if name in listed else "does not list"
            where = "it is not" if name in listed else "it is"
            _fail(index, f"{problem} {name!a:.80} in {shard}, where {where}")
        found |= tensors
    return found


def _map(path: Path) -> np.ndarray:  # uint8 (file size,)
    if path.stat().st_size == 0:  # which cannot be mapped
        return np.empty(0, np.uint8)
    data = np.memmap(path, np.uint8, mode="r").view(np.ndarray)
    with _reading(path):
        check_here(data[:99].tobytes())
    return data


def read_settings(path: Path) -> dict[str, Any]:
    """What hparams.json or config.json says. Raises CheckpointError if it is not of a
    GPT-2."""
    with _reading(path):
        settings = read_json(path)
    for name, values in ONLY_GPT2.items():
        if settings.get(name, values[0]) not in values:
            found = reprlib.repr(settings[name])  # short, however deep it is
            problem = f"{name} is {found}, expected {values[0]!r}"
            _fail(path, f"{problem}; this is not GPT-2's architecture")
    return settings
