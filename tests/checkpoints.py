"""Checkpoints that a test writes itself, in each layout, right or wrong."""

import json
import mmap
import shutil
import struct

import numpy as np
import pytest
from helpers import SMALL, VOCABULARY

from minigpt2 import CheckpointError
from minigpt2.files.checkpoint import Checkpoint
from minigpt2.files.crc32c import crc32c, masked
from minigpt2.files.layout import OPENAI_FILES
from minigpt2.model import Config, shapes

HPARAMS, INDEX, DATA = OPENAI_FILES
CONFIG = Config(n_vocab=1000, n_ctx=40, n_embd=24, n_head=3, n_layer=4)  # of SMALL
TINY = Config(n_vocab=100, n_ctx=8, n_embd=8, n_head=2, n_layer=2)
MERGES = VOCABULARY.read_text(encoding="utf-8").split("\n")


# OpenAI's layout


def copy_small(tmp_path):
    """A copy of the small checkpoint that OpenAI's code wrote."""
    directory = tmp_path / "model"
    directory.mkdir()
    for name in OPENAI_FILES:
        shutil.copyfile(SMALL / name, directory / name)
    return directory


def hparams(**changes):
    return json.dumps(vars(CONFIG) | changes)


def varint(n):
    return bytes([n]) if n < 0x80 else bytes([n & 0x7F | 0x80]) + varint(n >> 7)


def message(*fields):
    """A protocol buffer of (number, value): int → varint, bytes → length-delimited."""
    data = b""
    for number, value in fields:
        if isinstance(value, bytes):
            data += varint(number << 3 | 2) + varint(len(value)) + value
        else:
            data += varint(number << 3) + varint(value)
    return data


def entry(dtype=1, shape=(2,), shard=0, offset=0, size=8, crc=0, more=b""):
    dims = [(2, message((1, n))) for n in shape]
    numbers = (
        message((3, shard), (4, offset), (5, size)) + b"\x35" + struct.pack("<I", crc)
    )
    return message((1, dtype), (2, message(*dims))) + numbers + more


def block(records, restarts=b"\0\0\0\0\1\0\0\0", compression=0):
    data = b"".join(
        varint(0) + varint(len(key)) + varint(len(value)) + key + value
        for key, value in records
    )
    data += restarts + bytes([compression])
    return data + struct.pack("<I", masked(crc32c(data)))


def table(data_block):
    """An index file with one data block, all its CRCs right."""
    handle = varint(0) + varint(len(data_block) - 5)
    top = block([(b"z", handle)])
    footer = b"\0\0" + varint(len(data_block)) + varint(len(top) - 5)
    return (
        data_block + top + footer.ljust(40, b"\0") + bytes.fromhex("57fb808b247547db")
    )


HEADER = (b"", message((1, 1)))


# Hugging Face's layout


def weights(config):
    """Parameters that float16 and bfloat16 hold exactly, by OpenAI's names."""
    rng = np.random.default_rng(3)
    return {
        name: (rng.integers(-128, 128, shape) / 64).astype(np.float32)
        for name, shape in shapes(config)
    }


def stored(array, dtype):
    """The bytes of a float32 array in a safetensors file."""
    if dtype == "BF16":  # the upper two of the four bytes of each number
        return np.frombuffer(array.tobytes(), np.uint8).reshape(-1, 4)[:, 2:].tobytes()
    return array.astype({"F64": "<f8", "F32": "<f4", "F16": "<f2"}[dtype]).tobytes()


def huggingface_name(name):
    """h0/ln_1/g → h.0.ln_1.weight"""
    *parents, last = name.split("/")
    if not parents:
        return f"{name}.weight"
    parents[0] = parents[0].replace("h", "h.")
    return ".".join([*parents, "bias" if last == "b" else "weight"])


def safetensors(tensors, padding=None):
    """A safetensors file of {name: (dtype, shape, bytes)}, by default aligned to 8 bytes."""
    header, offset = {"__metadata__": {"format": "pt"}}, 0
    for name, (dtype, shape, data) in tensors.items():
        ends = [offset, offset + len(data)]
        header[name] = {"dtype": dtype, "shape": list(shape), "data_offsets": ends}
        offset = ends[1]
    text, data = json.dumps(header), b"".join(t[2] for t in tensors.values())
    return with_header(text, data, -len(text) % 8 if padding is None else padding)


def with_header(header, data, padding=0):
    header = header.encode() + b" " * padding
    return struct.pack("<Q", len(header)) + header + data


def huggingface(
    directory, dtype="F32", prefix="", masks=False, padding=0, sizes=TINY, **settings
):
    """Write a checkpoint of these sizes in Hugging Face's layout."""
    directory.mkdir(exist_ok=True)
    config = {"model_type": "gpt2", "activation_function": "gelu_new"}
    config |= {"vocab_size": sizes.n_vocab, "n_positions": sizes.n_ctx}
    config |= {name: getattr(sizes, name) for name in ("n_embd", "n_head", "n_layer")}
    (directory / "config.json").write_text(json.dumps(config | settings))
    tensors = {}
    for name, array in weights(sizes).items():
        name = prefix + huggingface_name(name)
        tensors[name] = dtype, array.shape, stored(array, dtype)
    if masks:
        N = sizes.n_ctx
        mask = np.tri(N, dtype=np.uint8).tobytes()
        for i in range(sizes.n_layer):
            tensors[f"{prefix}h.{i}.attn.bias"] = "U8", (1, 1, N, N), mask
            tensors[f"{prefix}h.{i}.attn.masked_bias"] = "F32", (), b"\0\0\0\0"
    (directory / "model.safetensors").write_bytes(safetensors(tensors, padding))
    return directory


def is_mapped(array):
    """Does the array's memory belong to a mapped file?"""
    while isinstance(array, np.ndarray):
        array = array.base
    return isinstance(array, mmap.mmap)


def refuses(directory, *words, how=Checkpoint):
    """A CheckpointError of one line with these words in it."""
    with pytest.raises(CheckpointError) as caught:
        how(directory)
    message = str(caught.value)
    assert "\n" not in message
    for word in words:
        assert word in message
