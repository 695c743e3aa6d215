"""The bytes of a `pytorch_model.bin` → where each tensor lies in it; none of it is run.

`torch.save` writes a pickle and the numbers of the tensors. A pickle is a program for a
stack machine that builds, here, a dictionary of tensors. It may call any function, and
Python's `pickle` would do so. `unpickle` is a machine of its own: it knows the few names
that such a dictionary needs, imports and calls nothing, and refuses all else.

Since torch 1.6 the file is a zip, not compressed: `data.pkl` in it is the pickle, and
`data/0`, `data/1`, … are the storages that tensors are made of. Before, it was five
pickles (a magic number, a version, the system, the dictionary, the storages' keys), and
then the storages, each behind its length.
"""

import io
import pickletools
import struct
import warnings
import zipfile
import zlib
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

from .formats import BYTES_PER_ITEM, MAX_DIMENSIONS, Entry, check_entry, is_size
from .small import Damaged, FormatError, NotRead

MAX_BYTES = 1 << 18  # of a pickle, or of a zip's directory: 1558M has 118 and 42 kB
MAGIC = 0x1950A86A20F9469CFC6C  # of files before torch 1.6
ORDERED_DICT = "collections OrderedDict"
TENSOR, PARAMETER = "torch._utils _rebuild_tensor_v2", "torch._utils _rebuild_parameter"
STORAGES = {"Double": "F64", "Float": "F32", "Half": "F16", "BFloat16": "BF16"}
STORAGES |= {"Long": "I64", "Int": "I32", "Byte": "U8", "Bool": "BOOL"}  # of masks
STORAGES = {f"torch {name}Storage": dtype for name, dtype in STORAGES.items()}
CONSTANTS = {"NONE": None, "NEWTRUE": True, "NEWFALSE": False, "EMPTY_TUPLE": ()}
# how many values an opcode takes off the stack; 0: all above the mark
TAKES = {"TUPLE": 0, "TUPLE1": 1, "TUPLE2": 2, "TUPLE3": 3, "APPEND": 1, "APPENDS": 0}
TAKES |= {"SETITEM": 2, "SETITEMS": 0, "BINPERSID": 1, "REDUCE": 2, "BUILD": 1}
Places = dict[str, tuple[int, int]]  # of storages, by key: their first byte, and size


class Storage(NamedTuple):
    """`length` numbers in a row."""

    dtype: str
    key: str
    length: int


class Tensor(NamedTuple):
    """The numbers of a storage from the one at `start` on."""

    storage: Storage
    start: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]


def read_pytorch(path: Path, data: memoryview) -> dict[str, Entry]:
    """A `pytorch_model.bin`, and its bytes → its tensors by name. Raises FormatError."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of backslashes, which no sound pickle has
            if bytes(data[:2]) == b"PK":
                tensors, places = _read_zip(path, data)
            else:
                tensors, places = _read_legacy(data)
        if any(first + size > len(data) for first, size in places.values()):
            raise Damaged("it ends before its tensors do")
        return {name: _entry(name, t, places) for name, t in tensors.items()}
    except FormatError:
        raise
    except struct.error:
        raise Damaged("it ends before all is said") from None
    except (AttributeError, LookupError, TypeError, ValueError):
        raise FormatError("it makes no sense as what torch.save writes") from None


def unpickle(file: BinaryIO) -> Any:
    """The value of a pickle: dictionaries, lists, tuples, strings, numbers, Storages and
    Tensors. What it would call is a string here."""
    stack: list[Any] = []
    stacks: list[list[Any]] = []  # those below each mark
    memo: dict[Any, Any] = {}
    for opcode, argument, _ in pickletools.genops(file):  # which explains the opcodes
        name, values = opcode.name, []
        if count := TAKES.get(name):
            values = [stack.pop() for _ in range(count)][::-1]
        elif name in TAKES:
            values, stack = stack, stacks.pop()
        match name:
            case "BINPUT" | "LONG_BINPUT":
                memo[argument] = stack[-1]
            case "BINGET" | "LONG_BINGET":
                stack.append(memo[argument])
            case "BINUNICODE" | "BININT" | "BININT1" | "BININT2" | "LONG1":
                stack.append(argument)
            case "NONE" | "NEWTRUE" | "NEWFALSE" | "EMPTY_TUPLE":
                stack.append(CONSTANTS[name])
            case "EMPTY_DICT":
                stack.append({})
            case "EMPTY_LIST":
                stack.append([])
            case "MARK":
                stacks.append(stack)
                stack = []
            case "TUPLE" | "TUPLE1" | "TUPLE2" | "TUPLE3":
                stack.append(tuple(values))
            case "APPEND" | "APPENDS":
                list.extend(stack[-1], values)
            case "SETITEM" | "SETITEMS":
                if any(type(key) is not str for key in values[::2]):
                    raise NotRead("its pickle has a key that is not a string")
                dict.update(stack[-1], zip(values[::2], values[1::2], strict=True))
            case "GLOBAL":
                if argument not in (ORDERED_DICT, TENSOR, PARAMETER, *STORAGES):
                    raise NotRead(f"its pickle would call {ascii(argument)[:80]}")
                stack.append(argument)
            case "BINPERSID":
                stack.append(_storage(*values[0]))
            case "REDUCE":
                stack.append(_rebuilt(*values))
            case "STOP":
                return stack.pop()
            case _ if name not in ("PROTO", "BUILD"):  # versions of the modules
                raise NotRead(f"its pickle has the opcode {name}, unknown here")


def _storage(
    kind: Any, name: Any, key: Any, device: Any, length: Any, *view: Any
) -> Storage:
    if not type(kind) is type(name) is type(key) is str or any(view):
        raise NotRead("its pickle has a storage of another kind")
    return Storage(STORAGES[name], key, length)


def _rebuilt(function: Any, arguments: Any) -> Any:
    """What a call would give."""
    match function, arguments:
        case str(), () if function == ORDERED_DICT:
            return {}
        case str(), (Tensor() as tensor, *_) if function == PARAMETER:
            return tensor
        case str(), (Storage() as storage, start, shape, strides, *_) if (
            function == TENSOR and len(shape) == len(strides) <= MAX_DIMENSIONS
        ):
            numbers = storage.length, start, *shape, *strides
            if all(map(is_size, numbers)):
                return Tensor(storage, start, tuple(shape), tuple(strides))
    raise NotRead("its pickle has a call of another kind, which is not done")


def _state_dict(value: dict[str, Any]) -> dict[str, Tensor]:
    for name, tensor in value.items():
        if not isinstance(tensor, Tensor):
            problem = f"{ascii(name)[:80]} is no tensor"
            raise NotRead(f"{problem}, expected a state_dict alone")
    return value


def _entry(name: str, tensor: Tensor, places: Places) -> Entry:
    """Where a tensor lies. One whose numbers are not in order has a dtype of its own."""
    (dtype, key, length), start, shape, strides = tensor
    (first, size), item = places[key], BYTES_PER_ITEM[dtype]
    count = 1
    for n, stride in zip(shape[::-1], strides[::-1], strict=True):
        if n != 1 and stride != count:
            dtype = f"{tensor.storage.dtype} with strides {strides}"
        count *= n
    if size != length * item or (start + count > length and dtype in BYTES_PER_ITEM):
        raise FormatError(f"tensor {ascii(name)[:80]} does not fit in its storage")
    entry = Entry(dtype, shape, first + start * item, count * item, None)
    check_entry(name, entry)
    return entry


class _Zip(io.FileIO):
    """A zip of which no more is read at once than a sound directory has."""

    def read(self, size: int | None = -1, /) -> bytes:
        if size and size > MAX_BYTES:
            raise NotRead(f"its directory has {size} bytes, more than {MAX_BYTES}")
        return super().read(size)


def _read_zip(path: Path, data: memoryview) -> tuple[dict[str, Tensor], Places]:
    """The dictionary, and where the storages are."""
    places, pickle, crc = {}, b"", 0
    try:
        with _Zip(path) as file, zipfile.ZipFile(file) as archive:
            members = archive.infolist()
    except (zipfile.BadZipFile, NotImplementedError, OSError):
        raise Damaged("the directory of the zip is not at its end") from None
    for member in members:
        name, first, size = member.orig_filename, member.header_offset, member.file_size
        if member.compress_type != zipfile.ZIP_STORED or size != member.compress_size:
            raise NotRead(f"{ascii(name)[1:-1]:.80} in it is compressed")
        # before each file is its name once more, and after it the next record
        mark, n, m = struct.unpack("<4s22x2H", data[first : first + 30])
        again, first = bytes(data[first + 30 :][:n]), first + 30 + n + m
        records = mark, bytes(data[first + size :][:2])
        if records != (b"PK\3\4", b"PK") or again != name.encode():
            problem = "is not where its directory says"
            raise Damaged(f"{ascii(name)[1:-1]:.80} {problem}")
        name = name.partition("/")[2]  # torch's folder
        if name == "byteorder" and bytes(data[first:][:size]) == b"big":
            raise NotRead("its numbers are big-endian")
        if name == "data.pkl":
            if size > MAX_BYTES:
                problem = f"has {size} bytes, expected at most {MAX_BYTES}"
                raise NotRead(f"its pickle {problem}")
            pickle, crc = bytes(data[first:][:size]), member.CRC
        places[name.removeprefix("data/")] = first, size
    if crc and zlib.crc32(pickle) != crc:  # torch may be told not to compute it
        raise Damaged("its pickle does not match its CRC-32")
    return _state_dict(unpickle(io.BytesIO(pickle))), places


def _read_legacy(data: memoryview) -> tuple[dict[str, Tensor], Places]:
    """The same of a file by a torch before 1.6."""
    file = io.BytesIO(data[:MAX_BYTES])
    magic = unpickle(file) if bytes(data[:1]) == b"\x80" else None
    if type(magic) is not int or magic != MAGIC:
        raise FormatError("neither a zip nor the pickles of an old torch")
    _, system, tensors, keys = (unpickle(file) for _ in range(4))
    if system["little_endian"] is not True:
        raise NotRead("its numbers are big-endian")
    storages = {t.storage.key: t.storage for t in _state_dict(tensors).values()}
    places, at = {}, file.tell()
    if not all(type(key) is str for key in keys):
        raise TypeError
    for key in keys:
        length, size = storages[key].length, BYTES_PER_ITEM[storages[key].dtype]
        if struct.unpack("<Q", data[at : at + 8]) != (length,):
            raise Damaged(f"storage {ascii(key)[:80]} does not begin with its length")
        places[key] = at + 8, length * size
        at += 8 + length * size
    return tensors, places
