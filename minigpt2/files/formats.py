"""The bytes of a file → where each tensor lies in it: TensorFlow's tensor bundle and
safetensors.

A tensor bundle is two files. `model.ckpt.data-00000-of-00001` is the tensors, back to
back; `model.ckpt.index` says where each lies. The index is a sorted table of LevelDB's
format (https://github.com/google/leveldb, doc/table_format.md) whose values are
protocol buffers (tensorflow/core/protobuf/tensor_bundle.proto).

A safetensors file (https://github.com/huggingface/safetensors) is the length of its
header in eight bytes, the header in JSON, and the tensors, back to back.

Every function raises FormatError for bytes that are not of its format. What only a
forger's file has, or one that is cut off, is checked at the end.
"""

import math
import reprlib
import struct
from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

from .crc32c import crc32c, masked
from .small import MAX_HEADER_BYTES, Damaged, FormatError, NotRead, parse_json_object

TABLE_MAGIC = 0xDB4775248B80FB57
FOOTER_BYTES = 48
TRAILER_BYTES = 5  # after each block: its compression, 1, and a masked CRC-32C, 4
SAFETENSORS_KEYS = ("dtype", "shape", "data_offsets")
MAX_DIMENSIONS = 32  # as in NumPy 1
MAX_NAMES = 8  # times the length of the index, which is mostly not names
BYTES_PER_ITEM = {"F64": 8, "F32": 4, "F16": 2, "BF16": 2}
BYTES_PER_ITEM |= {"I64": 8, "I32": 4, "U8": 1, "BOOL": 1}  # of masks, for instance
TENSORFLOW_FLOAT = 1  # DT_FLOAT of tensorflow/core/framework/types.proto

Fields = dict[int, list[Any]]  # of a protocol buffer, by number: integers or bytes


class Entry(NamedTuple):
    """Where a tensor lies: `size` bytes from `offset` on."""

    dtype: str  # "F64", "F32", "F16", "BF16", or one that is not read here
    shape: tuple[int, ...]
    offset: int
    size: int
    crc: int | None  # masked CRC-32C of the bytes


def read_bundle_index(index: bytes) -> dict[str, Entry]:
    """The contents of a `model.ckpt.index` file → its tensors by name."""
    try:
        return _bundle(index)
    except (LookupError, TypeError, struct.error):
        raise FormatError("its numbers make no sense") from None


def _bundle(index: bytes) -> dict[str, Entry]:
    footer = index[-FOOTER_BYTES:]
    magic = int.from_bytes(footer[-8:], "little")
    if len(index) < FOOTER_BYTES or magic != TABLE_MAGIC:
        expected = f"expected {TABLE_MAGIC:#018x}"
        raise Damaged(f"magic number {magic:#018x} at its end, {expected}")
    *_, offset, size = _varints(footer, 4)  # first: a meta-index
    entries, header = {}, None
    # the block at `offset` lists the blocks that hold the records
    for key, value in _records(index, _block(index, offset, size)):
        if key:
            name = key.decode(errors="backslashreplace")
            entries[name] = _bundle_entry(name, _message(value))
        else:
            header = _message(value)
    if header is None:
        raise FormatError("no header entry")
    if (shards := header.get(1, [1])[-1]) != 1:
        raise NotRead(
            f"its tensors are in {reprlib.repr(shards)} data files, expected 1"
        )
    if header.get(2, [0])[-1] != 0:
        raise NotRead("its numbers are big-endian, expected little-endian")
    return entries


def _bundle_entry(name: str, fields: Fields) -> Entry:
    """The protocol buffer BundleEntryProto."""
    number, shard, offset, size, crc = (fields.get(n, [0])[-1] for n in (1, 3, 4, 5, 6))
    dims = (dim for shape in fields.get(2, []) for dim in _message(shape).get(2, []))
    shape = tuple(_message(dim).get(1, [0])[-1] for dim in dims)
    if bytes in map(type, (shard, offset, size, crc, *shape)):
        raise TypeError("bytes where a number was expected")
    if 7 in fields or shard != 0:
        problem = f"tensor {name} is in slices, or in another data file than the first"
        raise NotRead(f"{problem}, expected whole")
    dtype = (
        "F32"
        if number == TENSORFLOW_FLOAT
        else f"TensorFlow type {reprlib.repr(number)}"
    )
    return Entry(dtype, shape, offset, size, crc)


def _block(table: bytes, offset: int, size: int) -> Iterator[tuple[bytes, bytes]]:
    """The keys and values of one block of a table.

    A key is stored as the length that it shares with the key before it, and the rest.
    """
    where, end = f"the block at byte {offset}", offset + size
    if end + TRAILER_BYTES > len(table):
        raise Damaged(f"{where} has {size} bytes, more than the file")
    compression, crc = struct.unpack("<BI", table[end : end + TRAILER_BYTES])
    if masked(crc32c(table[offset : end + 1])) != crc:
        raise Damaged(f"{where} does not match its CRC-32C")
    if compression:
        raise NotRead(f"{where} is compressed, expected plain")
    block = table[offset:end]
    # after the entries are restart points, which only a search needs, and their number
    (n_restarts,) = struct.unpack("<I", block[-4:])
    end = size - 4 - 4 * n_restarts
    position, key = 0, b""
    while position < end:
        shared, position = _varint(block, position)
        fresh, position = _varint(block, position)
        length, position = _varint(block, position)
        if shared > len(key) or position + fresh + length > end:
            raise FormatError(f"{where} has an entry that does not fit in it")
        key = key[:shared] + block[position : position + fresh]
        position += fresh
        yield key, block[position : position + length]
        position += length


def _message(data: bytes) -> Fields:
    """The fields of a protocol buffer (protobuf.dev/programming-guides/encoding)."""
    fields: Fields = {}
    position = 0
    while position < len(data):
        tag, position = _varint(data, position)
        value: Any
        wire_type = tag & 7
        if wire_type == 0:
            value, position = _varint(data, position)
        else:
            if wire_type == 2:
                size, position = _varint(data, position)
            else:
                size = {1: 8, 5: 4}[wire_type]
            value, position = data[position : position + size], position + size
            if wire_type == 5:
                value = int.from_bytes(value, "little")
        fields.setdefault(tag >> 3, []).append(value)
    if position > len(data):
        raise FormatError("a field ends after its message")
    return fields


def _varint(data: bytes, position: int) -> tuple[int, int]:
    """A number in groups of seven bits, the lowest first, and the position after it."""
    value = 0
    for shift in range(0, 64, 7):
        byte = data[position]
        position += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, position
    raise FormatError("a number of more than 64 bits")


def _varints(data: bytes, count: int) -> list[int]:
    values, position = [], 0
    for _ in range(count):
        value, position = _varint(data, position)
        values.append(value)
    return values


def safetensors_header(data: memoryview) -> tuple[dict[str, Any], int]:
    """What the header of a safetensors file says, and where the header ends."""
    length = int.from_bytes(data[:8], "little")
    if not 2 <= length <= MAX_HEADER_BYTES:
        expected = f"expected 2 to {MAX_HEADER_BYTES}"
        raise FormatError(f"header of {length} bytes, {expected}")
    header, data_offset = bytes(data[8 : 8 + length]), 8 + length
    if len(header) < length:
        raise Damaged(f"it ends in its header of {length} bytes")
    return parse_json_object(header), data_offset


def read_safetensors(data: memoryview) -> dict[str, Entry]:
    """A safetensors file → its tensors by name."""
    header, data_offset = safetensors_header(data)
    entries = {}
    for name, fields in header.items():
        if name == "__metadata__":
            continue
        try:
            dtype, shape, (start, end) = (fields[key] for key in SAFETENSORS_KEYS)
            numbers = [start, end, *shape]
        except (TypeError, KeyError, ValueError):
            keys = ", ".join(SAFETENSORS_KEYS)
            raise FormatError(f"tensor {name}: expected {keys}") from None
        if type(dtype) is not str or not all(map(is_size, numbers)):
            raise FormatError(f"tensor {name}: {reprlib.repr(fields)} makes no sense")
        offset, size = data_offset + start, end - start
        entries[name] = Entry(dtype, tuple(shape), offset, size, None)
    check_layout(entries, data_offset, len(data))
    return entries


# What only a forger's file has, or one that is cut off


def _records(
    index: bytes, handles: Iterable[tuple[bytes, bytes]]
) -> Iterator[tuple[bytes, bytes]]:
    """The records of the blocks at these handles. A small file could name one block again
    and again, and hold endless keys: what a key shares with the last is not stored."""
    end = length_of_keys = 0
    for _, handle in handles:
        offset, size = _varints(handle, 2)
        if offset < end:
            raise FormatError(f"the block at byte {offset} overlaps the one before it")
        end = offset + size
        for key, value in _block(index, offset, size):
            length_of_keys += len(key)
            if length_of_keys > MAX_NAMES * len(index):
                raise FormatError("its names are far longer than the file")
            yield key, value


def is_size(n: object) -> bool:
    return type(n) is int and 0 <= n < 1 << 63


def check_layout(entries: dict[str, Entry], data_offset: int, file_size: int) -> None:
    """See that every tensor is as long as its shape says, and that they fill the file."""
    end = data_offset
    for name, entry in sorted(entries.items(), key=lambda item: item[1][2:4]):
        check_entry(name, entry)
        if entry.offset != end:
            problem = f"is at byte {entry.offset}, expected {end}"
            raise FormatError(f"tensor {name} {problem}")
        end += entry.size
        if end > file_size:
            problem = f"tensor {name} ends at {end}"
            raise Damaged(f"the file has {file_size} bytes, {problem}")
    if end == data_offset:
        raise FormatError("no tensors, expected a model's")
    if end != file_size:
        raise FormatError(f"the file has {file_size} bytes, expected {end}")


def check_entry(name: str, entry: Entry) -> None:
    """See that a name can be shown, and that a tensor is as long as its shape says."""
    if not name.isprintable():
        raise FormatError(f"tensor {name!r} has characters that cannot be printed")
    if len(entry.shape) > MAX_DIMENSIONS:
        raise FormatError(f"tensor {name} has {len(entry.shape)} dimensions")
    bytes_per_item = BYTES_PER_ITEM.get(entry.dtype)
    if bytes_per_item and entry.size != bytes_per_item * math.prod(entry.shape):
        problem = f"{entry.size} bytes do not make its shape {entry.shape}"
        raise FormatError(f"tensor {name}: {problem}")
