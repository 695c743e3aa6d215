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
import pickle  # only the names of its opcodes, which Lib/pickletools.py explains
import struct
import zlib
from typing import Any, BinaryIO, NamedTuple

from .formats import (
    BYTES_PER_ITEM,
    MAX_DIMENSIONS,
    Damaged,
    Entry,
    FormatError,
    NotRead,
    check_entry,
    is_size,
)

MAX_BYTES = 1 << 18  # of a pickle, or of a zip's directory: 1558M has 118 and 42 kB
LARGE = 0xFFFFFFFF  # in a zip: the number takes eight bytes, and is in another place
MAGIC = 0x1950A86A20F9469CFC6C  # of files before torch 1.6
ORDERED_DICT = "collections OrderedDict"
TENSOR, PARAMETER = "torch._utils _rebuild_tensor_v2", "torch._utils _rebuild_parameter"
STORAGES = {"Double": "F64", "Float": "F32", "Half": "F16", "BFloat16": "BF16"}
STORAGES |= {"Long": "I64", "Int": "I32", "Byte": "U8", "Bool": "BOOL"}  # of masks
STORAGES = {f"torch {name}Storage": dtype for name, dtype in STORAGES.items()}
ARGUMENTS = {  # of opcodes: a number, or how long their text is
    **dict.fromkeys((pickle.PROTO, pickle.BININT1, pickle.BINPUT, pickle.BINGET), "<B"),
    **dict.fromkeys((pickle.BINUNICODE, pickle.LONG_BINPUT, pickle.LONG_BINGET), "<I"),
    **{pickle.LONG1: "<B", pickle.BININT2: "<H", pickle.BININT: "<i"},  # noqa: PIE800
}
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


def read_pytorch(data: memoryview) -> dict[str, Entry]:
    """A `pytorch_model.bin` → its tensors by name. Raises FormatError."""
    try:
        read = _read_zip if bytes(data[:2]) == b"PK" else _read_legacy
        tensors, places = read(data)
        if any(first + size > len(data) for first, size in places.values()):
            raise Damaged("it ends before its tensors do")
        return {name: _entry(name, t, places) for name, t in tensors.items()}
    except struct.error:
        raise Damaged("it ends before all is said") from None
    except (AttributeError, LookupError, TypeError, ValueError):
        raise FormatError("it makes no sense as what torch.save writes") from None


def unpickle(file: BinaryIO) -> Any:
    """The value of a pickle: dictionaries, lists, tuples, strings, numbers, Storages and
    Tensors. What it would call is a string here."""
    stack: list[Any] = []
    stacks: list[list[Any]] = []  # those below each mark
    memo: dict[int, Any] = {}

    def pop(count: int) -> list[Any]:
        """The last values of the stack; if count is 0, those above the mark."""
        nonlocal stack
        if count:
            return [stack.pop() for _ in range(count)][::-1]
        values, stack = stack, stacks.pop()
        return values

    while True:
        opcode, n = file.read(1), 0
        if kind := ARGUMENTS.get(opcode):
            (n,) = struct.unpack(kind, file.read(struct.calcsize(kind)))
        match opcode:
            case pickle.BINPUT | pickle.LONG_BINPUT:
                memo[n] = stack[-1]
            case pickle.BINGET | pickle.LONG_BINGET:
                stack.append(memo[n])
            case pickle.BINUNICODE:
                stack.append(file.read(n).decode())
            case pickle.BININT | pickle.BININT1 | pickle.BININT2:
                stack.append(n)
            case pickle.LONG1:
                stack.append(int.from_bytes(file.read(n), "little", signed=True))
            case pickle.NONE | pickle.NEWTRUE | pickle.NEWFALSE:
                stack.append(
                    None if opcode == pickle.NONE else opcode == pickle.NEWTRUE
                )
            case pickle.EMPTY_DICT | pickle.EMPTY_LIST:
                stack.append({} if opcode == pickle.EMPTY_DICT else [])
            case pickle.MARK:
                stacks.append(stack)
                stack = []
            case pickle.EMPTY_TUPLE:
                stack.append(())
            case pickle.TUPLE | pickle.TUPLE1 | pickle.TUPLE2 | pickle.TUPLE3:
                values = pop(b"t\x85\x86\x87".index(opcode))
                stack.append(tuple(values))
            case pickle.APPEND | pickle.APPENDS:
                values = pop(1 if opcode == pickle.APPEND else 0)
                list.extend(stack[-1], values)
            case pickle.SETITEM | pickle.SETITEMS:
                values = pop(2 if opcode == pickle.SETITEM else 0)
                if any(type(key) is not str for key in values[::2]):
                    raise NotRead("its pickle has a key that is not a string")
                dict.update(stack[-1], zip(values[::2], values[1::2], strict=True))
            case pickle.GLOBAL:
                lines = file.readline()[:-1], file.readline()[:-1]
                name = b" ".join(lines).decode()
                if name not in (ORDERED_DICT, TENSOR, PARAMETER, *STORAGES):
                    raise NotRead(f"its pickle would call {ascii(name)[:80]}")
                stack.append(name)
            case pickle.BINPERSID:
                stack.append(_storage(*stack.pop()))
            case pickle.REDUCE:
                stack.append(_rebuilt(*pop(2)))
            case pickle.BUILD:  # attributes of an OrderedDict: versions of the modules
                stack.pop()
            case pickle.STOP:
                return stack.pop()
            case _ if opcode != pickle.PROTO:
                raise NotRead(f"its pickle has the opcode {opcode!r}, unknown here")


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


def _state_dict(value: dict[str, Any]) -> dict[str, Any]:
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


def _read_zip(data: memoryview) -> tuple[dict[str, Any], Places]:
    """The dictionary, and where the storages are."""
    files = _zip_files(data)
    first, size, crc = files["data.pkl"]
    if size > MAX_BYTES:
        raise NotRead(f"its pickle has {size} bytes, expected at most {MAX_BYTES}")
    program = data[first : first + size]
    if crc and zlib.crc32(program) != crc:  # torch may be told not to compute it
        raise Damaged("its pickle does not match its CRC-32")
    first, size, _ = files.get("byteorder", (0, 0, 0))
    if bytes(data[first : first + size]) == b"big":
        raise NotRead("its numbers are big-endian")
    places = {name.removeprefix("data/"): file[:2] for name, file in files.items()}
    return _state_dict(unpickle(io.BytesIO(program))), places


def _zip_files(data: memoryview) -> dict[str, tuple[int, int, int]]:
    """The first byte, the size and the CRC-32 of each file in a zip, by its name without
    torch's folder (PKWARE's APPNOTE.TXT, 4.3: a zip ends in a directory)."""
    end = len(data) - 22
    mark, size, at = struct.unpack("<4s8x2I2x", data[max(0, end) :])
    if LARGE in (size, at):
        (record,) = struct.unpack("<Q", data[end - 12 : end - 4])
        size, at = struct.unpack("<2Q", data[record + 40 : record + 56])
    if mark != b"PK\5\6":
        raise Damaged("the directory of the zip is not at its end")
    if size > MAX_BYTES:
        raise NotRead(f"its directory has {size} bytes, expected at most {MAX_BYTES}")
    files, end = {}, at + size
    while at < end:
        fields = struct.unpack("<10xH4x3I3H8xI", data[at : at + 46])
        method, crc, packed, size, n, m, k, first = fields
        name, extra = bytes(data[at + 46 :][:n]), at + 46 + n
        at = extra + m + k
        if LARGE in (size, packed, first):
            (length,) = struct.unpack("<2xH", data[extra : extra + 4])
            large = list(struct.unpack(f"<{length // 8}Q", data[extra + 4 :][:length]))
            size = large.pop(0) if size == LARGE else size
            packed = large.pop(0) if packed == LARGE else packed
            first = large.pop(0) if first == LARGE else first
        if method or packed != size:
            raise NotRead(f"{ascii(name)[1:80]} in it is compressed")
        # before each file is its name once more, and after it the next record
        mark, *lengths = struct.unpack("<4s22x2H", data[first : first + 30])
        again, first = data[first + 30 :][:n], first + 30 + sum(lengths)
        if (
            mark != b"PK\3\4"
            or again != name
            or bytes(data[first + size :][:2]) != b"PK"
        ):
            raise Damaged(f"{ascii(name)[1:80]} is not where its directory says")
        files[name.partition(b"/")[2].decode()] = first, size, crc
    return files


def _read_legacy(data: memoryview) -> tuple[dict[str, Any], Places]:
    """The same of a file by a torch before 1.6."""
    file = io.BytesIO(data[:MAX_BYTES])
    magic = unpickle(file) if bytes(data[:1]) == pickle.PROTO else None
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
