"""The bytes of a file → where each tensor lies in it: TensorFlow's tensor bundle and
safetensors.

A tensor bundle is two files. `model.ckpt.data-00000-of-00001` is the tensors, back to
back; `model.ckpt.index` says where each lies. The index is a sorted table of LevelDB's
format (https://github.com/google/leveldb, doc/table_format.md) whose values are
protocol buffers (tensorflow/core/protobuf/tensor_bundle.proto).

A safetensors file (https://github.com/huggingface/safetensors) is the length of its
header in eight bytes, the header in JSON, and the tensors, back to back.

Every function raises FormatError for bytes that are not of its format.
"""

import json
import math
import reprlib
import struct
from collections.abc import Iterator
from typing import Any, NamedTuple

from .crc32c import crc32c, masked

TABLE_MAGIC = 0xDB4775248B80FB57
FOOTER_BYTES = 48
TRAILER_BYTES = 5  # after each block: its compression, 1, and a masked CRC-32C, 4
SAFETENSORS_KEYS = ("dtype", "shape", "data_offsets")
MAX_DIMENSIONS = 32  # as in NumPy 1
MAX_BRACKETS = 1 << 16  # of a JSON text: each may become 60 times as long in memory
MAX_NAMES = 8  # times the length of the index, which is mostly not names
BYTES_PER_ITEM = {"F32": 4, "F16": 2, "BF16": 2}
TENSORFLOW_FLOAT = 1  # DT_FLOAT of tensorflow/core/framework/types.proto

Fields = dict[int, list[int | bytes]]  # of a protocol buffer, by their numbers


class FormatError(Exception):
    """Bytes that are not of their format: what was found, and what was expected."""


class Entry(NamedTuple):
    """Where a tensor lies: `size` bytes from `offset` on."""

    dtype: str  # "F32", "F16", "BF16", or one that is not read here
    shape: tuple[int, ...]
    offset: int
    size: int
    crc: int | None  # masked CRC-32C of the bytes


def read_bundle_index(index: bytes) -> dict[str, Entry]:
    """The contents of a `model.ckpt.index` file → its tensors by name."""
    if len(index) < FOOTER_BYTES:
        expected = f"expected at least {FOOTER_BYTES}"
        raise FormatError(f"the file has {len(index)} bytes, {expected}")
    footer = index[-FOOTER_BYTES:]
    (magic,) = struct.unpack("<Q", footer[-8:])
    if magic != TABLE_MAGIC:
        expected = f"expected {TABLE_MAGIC:#018x}"
        raise FormatError(f"magic number {magic:#018x} at its end, {expected}")
    *_, index_offset, index_size = _varints(footer[:-8], 4)  # first: a meta-index

    entries: dict[str, Entry] = {}
    header: Fields | None = None
    end = length_of_names = 0
    for _, handle in _block(index, index_offset, index_size):
        offset, size = _varints(handle, 2)
        if offset < end:
            raise FormatError(f"the block at byte {offset} overlaps the one before it")
        end = offset + size
        for key, value in _block(index, offset, size):
            # what a key shares is not stored: a small file may hold endless names
            length_of_names += len(key)
            if length_of_names > MAX_NAMES * len(index):
                raise FormatError("its names are far longer than the file")
            if key == b"":
                header = _message(value)
            else:
                name = key.decode(errors="backslashreplace")
                if name in entries:
                    raise FormatError(f"tensor {name} is there twice")
                entries[name] = _bundle_entry(name, value)
    if header is None:
        raise FormatError("no header entry")
    if (shards := _integer(header, 1, default=1)) != 1:
        raise FormatError(f"its tensors are in {shards} data files, expected 1")
    if _integer(header, 2) != 0:
        raise FormatError("its numbers are big-endian, expected little-endian")
    return entries


def _bundle_entry(name: str, value: bytes) -> Entry:
    """The protocol buffer BundleEntryProto."""
    fields = _message(value)
    if 7 in fields:
        raise FormatError(f"tensor {name} is stored in slices, expected whole")
    shape = []
    for shape_proto in fields.get(2, []):
        for dim in _message(_bytes(shape_proto)).get(2, []):
            shape.append(_integer(_message(_bytes(dim)), 1))
    if _integer(fields, 3) != 0:
        raise FormatError(f"tensor {name} is in another data file than the first")
    number = _integer(fields, 1)
    dtype = "F32" if number == TENSORFLOW_FLOAT else f"TensorFlow type {number}"
    offset, size, crc = (_integer(fields, n) for n in (4, 5, 6))
    return Entry(dtype, tuple(shape), offset, size, crc)


def _block(table: bytes, offset: int, size: int) -> Iterator[tuple[bytes, bytes]]:
    """The keys and values of one block of a table.

    A key is stored as the length that it shares with the key before it, and the rest.
    """
    where = f"the block at byte {offset}"
    end = offset + size
    if end + TRAILER_BYTES > len(table):
        raise FormatError(f"{where} has {size} bytes, more than the file")
    compression, crc = struct.unpack("<BI", table[end : end + TRAILER_BYTES])
    if masked(crc32c(table[offset : end + 1])) != crc:
        raise FormatError(f"{where} does not match its CRC-32C")
    if compression:
        raise FormatError(f"{where} is compressed, expected plain")
    block = table[offset:end]
    if size < 4:
        raise FormatError(f"{where} has {size} bytes, expected at least 4")
    # after the entries stand restart points, which only a search needs, and their number
    (n_restarts,) = struct.unpack("<I", block[-4:])
    end = size - 4 - 4 * n_restarts
    if end < 0:
        raise FormatError(f"{where} is too small for {n_restarts} restart points")
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
        number, wire_type = tag >> 3, tag & 7
        value: int | bytes
        if wire_type == 0:
            value, position = _varint(data, position)
        elif wire_type in (1, 2, 5):
            size = {1: 8, 5: 4}.get(wire_type)
            if size is None:
                size, position = _varint(data, position)
            value, position = data[position : position + size], position + size
            if position > len(data):
                raise FormatError("a field ends after its message")
            if wire_type == 5:
                value = int.from_bytes(value, "little")
        else:
            raise FormatError(f"a field of unknown wire type {wire_type}")
        fields.setdefault(number, []).append(value)
    return fields


def _integer(fields: Fields, number: int, default: int = 0) -> int:
    value = fields.get(number, [default])[-1]
    if not isinstance(value, int):
        raise FormatError("bytes where a number was expected")
    return value


def _bytes(value: int | bytes) -> bytes:
    if not isinstance(value, bytes):
        raise FormatError("a number where bytes were expected")
    return value


def _varint(data: bytes, position: int) -> tuple[int, int]:
    """A number in groups of seven bits, the lowest first, and the position after it."""
    value = 0
    for shift in range(0, 64, 7):
        if position >= len(data):
            raise FormatError("a number is cut off")
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


def read_safetensors_header(header: bytes, data_offset: int) -> dict[str, Entry]:
    """The JSON header of a safetensors file, whose data follow at `data_offset`."""
    entries = {}
    for name, fields in parse_json_object(header).items():
        if name == "__metadata__":
            continue
        try:
            dtype, shape, (start, end) = (fields[key] for key in SAFETENSORS_KEYS)
            numbers = [start, end, *shape]
        except (TypeError, KeyError, ValueError):
            keys = ", ".join(SAFETENSORS_KEYS)
            raise FormatError(f"tensor {name}: expected {keys}") from None
        if type(dtype) is not str or any(
            type(n) is not int or not 0 <= n < 1 << 63 for n in numbers
        ):
            raise FormatError(f"tensor {name}: {reprlib.repr(fields)} makes no sense")
        offset, size = data_offset + start, end - start
        entries[name] = Entry(dtype, tuple(shape), offset, size, None)
    return entries


def parse_json_object(text: bytes, most_brackets: int = MAX_BRACKETS) -> dict[str, Any]:
    """A JSON object in which no key stands twice."""

    def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        keys = dict(pairs)
        if len(keys) < len(pairs):
            raise FormatError("a key stands twice in one object")
        return keys

    if text.count(b"[") + text.count(b"{") > most_brackets:
        raise FormatError("not JSON that anyone wrote: too many brackets")
    try:
        value = json.loads(text, object_pairs_hook=unique)
    except RecursionError:
        raise FormatError("not JSON that anyone wrote: too deeply nested") from None
    except ValueError as error:
        raise FormatError(f"not JSON ({error})") from None
    if not isinstance(value, dict):
        raise FormatError("not a JSON object")
    return value


def _position(item: tuple[str, Entry]) -> tuple[int, int]:
    return item[1].offset, item[1].size


def check_layout(entries: dict[str, Entry], data_offset: int, file_size: int) -> None:
    """See that every tensor is as long as its shape says, and that they fill the file."""
    end = data_offset
    for name, entry in sorted(entries.items(), key=_position):
        if not name.isprintable():
            raise FormatError(f"tensor {name!r} has characters that cannot be printed")
        if len(entry.shape) > MAX_DIMENSIONS:
            raise FormatError(f"tensor {name} has {len(entry.shape)} dimensions")
        bytes_per_item = BYTES_PER_ITEM.get(entry.dtype)
        if bytes_per_item and entry.size != bytes_per_item * math.prod(entry.shape):
            problem = f"{entry.size} bytes do not make its shape {entry.shape}"
            raise FormatError(f"tensor {name}: {problem}")
        if entry.offset != end:
            problem = f"is at byte {entry.offset}, expected {end}"
            raise FormatError(f"tensor {name} {problem}")
        end += entry.size
        if end > file_size:
            problem = f"tensor {name} ends at {end}"
            raise FormatError(f"the file has {file_size} bytes, {problem}")
    if end == data_offset:
        raise FormatError("no tensors, expected a model's")
    if end != file_size:
        raise FormatError(f"the file has {file_size} bytes, expected {end}")
