"""Checkpoints as torch and transformers write them: pickles in a zip or in a row, shards.

`pickled` writes a pickle opcode by opcode, as torch does and as no one should.
"""

import io
import json
import struct
import zipfile

import numpy as np
from checkpoints import (
    TINY,
    huggingface,
    huggingface_name,
    safetensors,
    stored,
    weights,
)

BIN, TENSORS, CONFIG = "pytorch_model.bin", "model.safetensors", "config.json"
CLASSES = {"F64": "Double", "F32": "Float", "F16": "Half", "BF16": "BFloat16"}
CLASSES |= {"U8": "Byte", "I64": "Long", "BOOL": "Bool"}
DICT, REBUILD = "collections OrderedDict", "torch._utils _rebuild_tensor_v2"


class Raw(bytes):
    """Opcodes as they are."""


def word(name):
    """A global: `module name`."""
    return Raw(b"c" + name.replace(" ", "\n").encode() + b"\n")


def call(name, *arguments):
    return Raw(word(name) + opcodes(arguments) + b"R")


def opcodes(value):
    """The opcodes that build a value."""
    match value:
        case Raw():
            return value
        case bool() | None:
            return {True: b"\x88", False: b"\x89", None: b"N"}[value]
        case int() if -(1 << 31) <= value < 1 << 31:
            return b"J" + struct.pack("<i", value)
        case int():
            data = value.to_bytes(value.bit_length() // 8 + 1, "little", signed=True)
            return b"\x8a" + bytes([len(data)]) + data
        case str():
            return b"X" + struct.pack("<I", len(value.encode())) + value.encode()
        case tuple():
            return b"(" + b"".join(map(opcodes, value)) + b"t"
        case list():
            return b"](" + b"".join(map(opcodes, value)) + b"e"
        case dict():
            pairs = (opcodes(x) for pair in value.items() for x in pair)
            return b"}(" + b"".join(pairs) + b"u"


def pickled(value):
    return b"\x80\x02" + opcodes(value) + b"."


def tensor(key, dtype, shape, offset=0, length=None, strides=None, view=()):
    """A tensor of a state_dict, and its storage."""
    size = int(np.prod(shape, dtype=object))
    if strides is None:
        strides = tuple(int(np.prod(shape[i + 1 :])) for i in range(len(shape)))
    length = size if length is None else length
    storage = ("storage", word(f"torch {CLASSES[dtype]}Storage"), key, "cpu", length)
    storage = Raw(opcodes((*storage, *view)) + b"Q")
    return call(REBUILD, storage, offset, tuple(shape), strides, False, call(DICT))


def zipped(program, storages, **others):
    """A file as torch has written it since 1.6."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", others.pop("how", zipfile.ZIP_STORED)) as archive:
        archive.writestr("archive/data.pkl", program)
        for name, data in others.items():
            archive.writestr(f"archive/{name}", data)
        for key, data in storages.items():
            info = zipfile.ZipInfo(f"archive/data/{key}")
            padding = -(file.tell() + 34 + len(info.filename)) % 64  # torch aligns them
            info.extra = struct.pack("<2H", 0x4246, padding) + b"Z" * padding
            archive.writestr(info, data, archive.compression)
    return file.getvalue()


def legacy(program, storages, system=None):
    """A file as torch wrote it before 1.6. Storages: {key: (number of items, bytes)}."""
    head = (0x1950A86A20F9469CFC6C, 1001, system or {"little_endian": True})
    data = b"".join(map(pickled, head)) + program + pickled(list(storages))
    return data + b"".join(struct.pack("<Q", n) + data for n, data in storages.values())


def state(sizes=TINY, dtype="F32", prefix="", masks=False):
    """A state_dict and its storages: {key: (number of items, bytes)}."""
    state, storages = {}, {}

    def add(name, shape, dtype, data):
        key = str(len(storages))
        state[prefix + name] = tensor(key, dtype, shape, view=())
        storages[key] = int(np.prod(shape)), data

    for name, array in weights(sizes).items():
        add(huggingface_name(name), array.shape, dtype, stored(array, dtype))
    if masks:
        N = sizes.n_ctx
        for i in range(sizes.n_layer):
            add(f"h.{i}.attn.bias", (1, 1, N, N), "U8", np.tri(N, dtype="u1").tobytes())
            add(f"h.{i}.attn.masked_bias", (), "F32", bytes(4))
    return state, storages


def torch_file(directory, old=False, **how):
    """A checkpoint of which pytorch_model.bin has the tensors."""
    (huggingface(directory) / TENSORS).unlink()
    tensors, storages = state(**how)
    data = {key: data for key, (_, data) in storages.items()}
    program = pickled(Raw(call(DICT) + opcodes(tensors)[1:]))
    file = legacy(program, storages) if old else zipped(program, data)
    (directory / BIN).write_bytes(file)
    return directory


def named(tensors):
    """{name: array} → what `safetensors` takes."""
    return {
        name: ("F32", array.shape, array.astype("<f4").tobytes())
        for name, array in tensors.items()
    }


def sharded(directory, kind=TENSORS, n=3, sizes=TINY, **changes):
    """Three files with the tensors, and their list."""
    huggingface(directory, sizes=sizes)
    (directory / TENSORS).unlink()
    stem, end = kind.split(".")
    shards = [f"{stem}-{i + 1:05}-of-{n:05}.{end}" for i in range(n)]
    names = [huggingface_name(name) for name in weights(sizes)]
    shard_of = {name: shards[i % n] for i, name in enumerate(names)}
    every = dict(zip(names, weights(sizes).values(), strict=True))
    tensors, storages = state(sizes)
    for shard in shards:
        mine = [name for name in names if shard_of[name] == shard]
        if end == "bin":
            program = pickled({name: tensors[name] for name in mine})
            data = {key: data for key, (_, data) in storages.items()}
            (directory / shard).write_bytes(zipped(program, data))
        else:
            some = named({name: every[name] for name in mine})
            (directory / shard).write_bytes(safetensors(some))
    index = {"metadata": {"total_size": 1}, "weight_map": shard_of | changes}
    (directory / f"{kind}.index.json").write_text(json.dumps(index))
    return directory


# Pickles that would run code

RAN = "minigpt2-ran"
HOSTILE = {  # opcodes that would make a directory, if anything ran them
    "os.mkdir": call("os mkdir", RAN),
    "posix.mkdir": call("posix mkdir", RAN),
    "eval": call("builtins eval", f"__import__('os').mkdir('{RAN}')"),
    "exec": call("__builtin__ exec", f"import os; os.mkdir('{RAN}')"),
    "torch.load": call("torch load", RAN),
    "a known name's attribute": call("collections OrderedDict.fromkeys", RAN),
    "a name of torch": call("torch._utils _rebuild_tensor", RAN),
    "INST": Raw(b"(" + opcodes(RAN) + b"ios\nmkdir\n"),
    "OBJ": Raw(b"(" + word("os mkdir") + opcodes(RAN) + b"o"),
    "NEWOBJ": Raw(word("os mkdir") + opcodes((RAN,)) + b"\x81"),
    "STACK_GLOBAL": Raw(
        opcodes("os") + opcodes("mkdir") + b"\x93" + opcodes((RAN,)) + b"R"
    ),
    "a string that is called": Raw(opcodes("os mkdir") + opcodes((RAN,)) + b"R"),
    "a persistent id": Raw(
        opcodes(("storage", word("os mkdir"), "0", "cpu", 1)) + b"Q"
    ),
    "BUILD": Raw(call(DICT) + opcodes({"__class__": word("os mkdir")}) + b"b"),
    "EXT1": Raw(b"\x82\x01" + opcodes((RAN,)) + b"R"),
    "DUP": Raw(b"]" + b"2" * 1000),
    "lines in a name": word("os\x1b[2J\x07 mkdir"),
    "a key that is a call": Raw(b"}" + call("os mkdir", RAN) + b"Ns"),
}
