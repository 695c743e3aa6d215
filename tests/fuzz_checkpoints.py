"""Damaged checkpoints, by the thousand: each loads rightly or raises CheckpointError.

    python tests/fuzz_checkpoints.py --count 50000 --seed 0

A case is one file of a small checkpoint, of one of the layouts, damaged in one of the ways
below. It is loaded as minigpt2.load does it; what loads must take each tensor from where
one was, give the logits of a token, and have a tokenizer that gives a text back, or
refuse to. Anything else than CheckpointError fails, a warning too, and so does more than
a second of processor time or more than 64 MB above the files (the peak of resident
memory, which Linux tells; elsewhere it is not measured). `--only N` runs the one case N.
"""

import argparse
import contextlib
import ctypes
import io
import json
import os
import pickletools
import random
import re
import shutil
import signal
import struct
import sys
import tempfile
import time
import warnings
import zipfile
from collections import Counter
from pathlib import Path

import numpy as np
from checkpoints import (
    HEADER,
    HPARAMS,
    INDEX,
    MERGES,
    block,
    copy_small,
    entry,
    huggingface,
    table,
    varint,
    with_header,
)
from torch_files import BIN, HOSTILE, RAN, legacy, pickled, sharded, state, zipped

import minigpt2
from minigpt2 import CheckpointError, Tokenizer
from minigpt2.files.checkpoint import Checkpoint
from minigpt2.files.formats import read_bundle_index
from minigpt2.files.save import write_description
from minigpt2.files.small import MAX_HEADER_BYTES
from minigpt2.files.vocabulary import BYTES_PER_TOKEN, MOST_BYTES
from minigpt2.model import Config, shapes

SECONDS, MEGABYTES = 1, 64
HANGS = 30  # seconds after which a case is stopped
TENSORS, CONFIG, VOCAB = "model.safetensors", "config.json", "vocab.json"
INDEX_JSON = f"{TENSORS}.index.json"
TOKENIZER, KIND = "tokenizer.json", Path(__file__).with_name("kinds")
SETTINGS = {
    "tokenizer_class": "GPT2Tokenizer",
    "add_prefix_space": False,
    "added_tokens_decoder": {"599": {"content": "<|endoftext|>", "special": True}},
    "additional_special_tokens": ["<|endoftext|>"],
    "eos_token": {"content": "<|endoftext|>", "lstrip": False},
}
N_VOCAB = 300  # of the checkpoint in Hugging Face's layout
MAX_VOCABULARY_BYTES = MOST_BYTES + BYTES_PER_TOKEN * N_VOCAB
INTEGERS = [0, 1, 2, 3, 4, 8, 24, 40, 96, 127, 128, 300, 1000, 215616, 2**31 - 1]
INTEGERS += [2**31, 2**32, 2**53 + 1, 2**62, 2**63 - 1, 2**63, 2**64 - 1, 2**64, 10**30]
DEEP = [8, 300, *range(900, 1010, 3), 2000, 5000, 60_000, 100_000]
SPECIAL = [b"", b"\0", b"\n", b"\r\n", b"\xff", b"\xc0\x80", b"\xed\xa0\x80", b"\x7f"]
SPECIAL += [b"\xef\xbb\xbf", b"\xff\xfe", b"\xe2\x80\xa8", b'"', b"{", b"[", b"\\u"]
SPECIAL += [b"\xff" * 9 + b"\x01", b"\x80" * 10, b"\xff" * 4, b"\0" * 64, b"9" * 5000]
VALUES = ["null", "true", "-1", "-0", "0.0", "1.5", "1e5", "1e400", "-1e999", "1E-9"]
VALUES += ["NaN", "Infinity", "-Infinity", "{}", "[]", '""', '"F32"', '"BF16"', '"I64"']
VALUES += [
    '"\\ud800"',
    '"\\u0000"',
    '"\\u001b[2J"',
    '"a\\nb"',
    '"__metadata__"',
    "[[]]",
]
VALUES += ["9" * 4300, "9" * 4301, "1" + "0" * 30_000, "0." + "3" * 30_000, "[1,1,24]"]
VALUES += ['"wte.weight"', '"transformer.wte.weight"', '"gpt2"', "[0,0]", '{"a":0}']
TOKEN = re.compile(rb'"(?:[^"\\]|\\.)*"|-?\d[\d.e+-]*|true|false|null|[][{}:,]')


# How a file is damaged: (random, its bytes) → other bytes


def flip(rng, data):
    data = bytearray(data)
    for _ in range(rng.choice([1, 1, 1, 2, 8, 64])):
        if data:
            data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
    return bytes(data)


def truncate(rng, data):
    return data[: rng.randrange(len(data))] + rng.choice([b"", b"", b"\0", b"}"])


def splice(rng, data):
    """A piece of the file moves over another place of it."""
    a, b, c, d = (rng.randrange(len(data) + 1) for _ in range(4))
    if rng.random() < 0.5:  # nearby, and small
        b, d = a + rng.randrange(40), c + rng.randrange(40)
    return data[:c] + data[min(a, b) : max(a, b)] + data[max(c, d) :]


def special(rng, data):
    """Bytes with a meaning of their own come into the file, or over some of it."""
    i = rng.randrange(len(data) + 1)
    inserted = rng.choice(SPECIAL) * rng.choice([1, 1, 1, 3])
    return data[:i] + inserted + data[i + rng.choice([0, 1, len(inserted)]) :]


def nested(rng):
    n, (left, right) = rng.choice(DEEP), rng.choice([("[", "]"), ('{"a":', "}")])
    return left * n + "0" + right * rng.choice([n, n, n, 0])


def token(rng, data):
    """A word of a JSON text becomes another one of it, or one that is hard to read."""
    for _ in range(rng.choice([1, 1, 2, 4])):
        words = list(TOKEN.finditer(data))
        if rng.random() < 0.8:
            words = [word for word in words if len(word[0]) > 1 or word[0].isdigit()]
        if not words:
            break
        old, other = rng.choice(words), rng.choice(words)[0]
        number, value = str(rng.choice(INTEGERS)), rng.choice(VALUES)
        new = rng.choice([other, other, number, value, value, nested(rng)])
        new = new if isinstance(new, bytes) else new.encode()
        data = data[: old.start()] + new + data[old.end() :]
    if rng.random() < 0.05:
        text = data.decode(errors="replace")
        data = text.encode(rng.choice(["utf-16", "utf-16-be", "utf-32", "utf-8-sig"]))
    return data


def in_header(how):
    """Damage to the header of a safetensors file that leaves its length right."""

    def damage(rng, data):
        (size,) = struct.unpack("<Q", data[:8])
        header = how(rng, data[8 : 8 + size])
        return struct.pack("<Q", len(header)) + header + data[8 + size :]

    return damage


def length(rng, data):
    size = rng.choice([*INTEGERS, rng.randrange(len(data)), 1 << 20, 8 << 20])
    return struct.pack("<Q", size % 2**64) + data[8:]


def line(rng, data):
    """Lines of a vocabulary are lost, doubled, swapped, joined or of another kind."""
    lines = data.split(b"\n")
    for _ in range(rng.choice([1, 1, 2, 9])):
        i, j = rng.randrange(len(lines)), rng.randrange(len(lines))
        new = rng.choice([lines[j], b"", b" ", lines[i] * 2, b"a " * 9, *SPECIAL])
        new = rng.choice([new, lines[i].replace(b" ", b""), lines[i] + b"\r"])
        how = rng.randrange(4)
        if how == 0:
            lines[i], lines[j] = lines[j], lines[i]
        else:
            lines[i : i + rng.choice([0, 1, 1])] = [new] * rng.choice([0, 1, 1, 2])
        lines = lines or [b""]
    return b"\n".join(lines)


def records(index):
    entries = read_bundle_index(index)
    fields = {name: e._asdict() | {"shard": 0} for name, e in entries.items()}
    return {name: f | {"dtype": 1} for name, f in fields.items()}


def entries(rng, data):
    """Entries of the index say something else; its CRCs are right."""
    fields = records(data)
    raw = {}
    for _ in range(rng.choice([1, 1, 2, 5])):
        name, other = rng.choices(list(fields), k=2)
        key = rng.choice(list(fields[name]))
        new = rng.choice([fields[other][key], rng.choice(INTEGERS)])
        if key == "shape" and isinstance(new, int):
            shape = list(fields[name][key])
            new = rng.choice([shape[::-1], [1, *shape], [new], [*shape, new], []])
            new = rng.choice([new, shape[:1] * rng.choice([31, 32, 33, 1000])])
        fields[name][key] = new % 2**32 if key == "crc" else new
        how = rng.randrange(8)
        if how == 0:
            fields[f"model/{name}"] = fields[name]
        elif how == 1:
            fields[name + rng.choice(["", "\n", "\0", "/w", "\u2028"])] = fields.pop(
                name
            )
        elif how == 2:
            raw[name] = rng.choice([flip, truncate, splice, special])
    pairs = [HEADER]
    for name, f in fields.items():
        value = entry(
            f["dtype"], f["shape"], f["shard"], f["offset"], f["size"], f["crc"]
        )
        pairs.append((name.encode(), raw.get(name, lambda _, v: v)(rng, value)))
    if rng.random() < 0.2:
        pairs.insert(rng.randrange(len(pairs)), rng.choice(pairs))
    return table(block(pairs))


def blocks(rng, data):
    """The blocks of the index hold other bytes; their CRCs are right."""
    how = rng.choice([flip, flip, truncate, splice, special])
    pairs = [(name.encode(), entry(**f)) for name, f in records(data).items()]
    inside = block([HEADER, *pairs])[:-5]
    inside = block([], restarts=how(rng, inside), compression=rng.choice([0, 0, 0, 1]))
    if rng.random() < 0.5:
        return table(inside)
    handles = [varint(rng.choice([0, 0, 1, 50, len(inside) - 5, *INTEGERS]))]
    handles = [rng.choice(handles) + varint(rng.choice([len(inside) - 5, 0, 4, 2**63]))]
    top = block([(bytes([i]), handle) for i, handle in enumerate(handles * 3)])
    footer = b"\0\0" + varint(len(inside)) + varint(len(top) - 5)
    return inside + top + footer.ljust(40, b"\0") + data[-8:]


# Files made to cost time or memory, of at most `size` bytes


def json_bomb(rng, data, size):
    unit = [
        "[]",
        "{}",
        '{"":0}',
        "1e9",
        '"ab"',
        "[[[[]]]]",
        "1" * 4300,
        '"\\ud83d\\ude00"',
    ]
    items = rng.choice(unit)
    text = "[" + ",".join([items] * (size // (len(items) + 1))) + "]"
    if rng.random() < 0.4:  # an object of many keys
        text = "{" + ",".join(f'"{i:x}":1e9' for i in range(size // 10)) + "}"
        text = rng.choice([text, text.replace("1e9", "{}")])
    key = rng.choice(["a", "n_layer", "n_head", "model_type", "!", "__metadata__"])
    other = rng.choice(
        ['"' + "\\u001b" * (size // 6) + '"', " " * size, "[" * size, "[" * 60_000]
    )
    text = rng.choice([text, text, other])
    return rng.choice(
        [text, f'{{"{key}":{text}}}', f'{{"é":{text},"\U0001f600":0}}']
    ).encode()


def header_bomb(rng, data, size):
    tensor = '{"dtype":"F32","shape":[0],"data_offsets":[0,0]}'
    dims = '{"dtype":"F32","shape":[%s],"data_offsets":[0,0]}'
    text = rng.choice(
        [
            "{" + ",".join(f'"{i:x}":{tensor}' for i in range(size // 57)) + "}",
            '{"wte.weight":%s}' % (dims % ",".join(["9" * 18] * (size // 19))),
            '{"wte.weight":%s}' % (dims % ",".join(["0"] * (size // 2))),
            json.dumps({"\n" * (size // 2 - 50): json.loads(tensor)}),
            '{"%s":1}' % ("h." * (size // 2)),
            json_bomb(rng, data, size).decode(),
        ]
    )
    return with_header(text, bytes(8))


def index_bomb(rng, data, size):
    how = rng.randrange(7)
    if how == 0:  # each key shares a long beginning with the one before it
        start = rng.choice([100, 250, 1000, size // 2])
        key = varint(0) + varint(start) + varint(0) + b"a" * start
        for i in range((size - start) // 8):
            key += varint(start) + varint(3) + varint(0) + b"%03x" % (i % 4096)
        return table(block([HEADER], restarts=key + b"\0" * 4))
    if how in (1, 2):  # the same block again and again
        inside = block([HEADER] if how == 1 else [], restarts=bytes(size // 2))
        inside = [inside, block([], restarts=bytes(4))][rng.randrange(2)]
        handle = varint(0) + varint(len(inside) - 5)
        top = block([(b"", handle)] * (size // 2 // (len(handle) + 3)))
        footer = b"\0\0" + varint(len(inside)) + varint(len(top) - 5)
        return inside + top + footer.ljust(40, b"\0") + data[-8:]
    if how == 3:
        value = rng.choice([b"\x12\0", b"\x12\2\x12\0", b"\x08\0", b"\x0a\0"]) * (
            size // 4
        )
    elif how == 4:
        value = b"\x12" + varint(size // 2 * 2) + b"\x12\0" * (size // 2)
    elif how == 5:
        value = b"".join(varint(i << 3) + b"\0" for i in range(1, size // 4))
    else:
        pairs = [(b"%x" % i, b"") for i in range(size // 8)]
        return table(block([HEADER, *pairs]))
    return table(block([HEADER, (b"a", value)]))


def vocabulary_bomb(rng, data, size):
    unit = rng.choice(
        [b"\n", b"ab\n", b"a b\n", b"\xf0\x9f\x98\x80\n", b" ", b"x" * 99]
    )
    text = b"".join(data.splitlines(True)[: rng.randrange(99)]) + unit * (
        size // len(unit)
    )
    return text if rng.random() < 0.5 else data + text


def bomb(how, limit=MAX_HEADER_BYTES):
    """Most are almost as large as is read at all."""
    sizes = [limit // 50, limit // 5, *[limit - 2000] * 3, 2 * limit]
    return lambda rng, data: how(rng, data, rng.choice(sizes))


# Pickles, in a zip or as torch wrote them before 1.6


def parts(data):
    """The pickle of a file of torch, and its storages."""
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        files = {
            name.split("/", 1)[1]: archive.read(name) for name in archive.namelist()
        }
    program = files.pop("data.pkl")
    return program, {name.removeprefix("data/"): file for name, file in files.items()}


def steps(program):
    """A pickle, cut into its opcodes; the rest of it, if it is no pickle, is one."""
    ends = []
    with contextlib.suppress(Exception):
        ends.extend(position for _, _, position in pickletools.genops(program))
    return [
        program[a:b] for a, b in zip([0, *ends], [*ends, len(program)], strict=True)
    ]


def program(rng, data):
    """Opcodes of the pickle are lost, doubled, swapped, or others come into it."""
    ops = steps(data)
    for _ in range(rng.choice([1, 1, 2, 9])):
        i, j = rng.randrange(len(ops)), rng.randrange(len(ops))
        new = rng.choice(
            [ops[j], rng.choice(OPCODES), rng.choice(list(HOSTILE.values()))]
        )
        how = rng.randrange(4)
        if how == 0:
            ops[i], ops[j] = ops[j], ops[i]
        else:
            ops[i : i + rng.choice([0, 1, 1])] = [new] * rng.choice([0, 1, 1, 2])
        ops = ops or [b"."]
    return b"".join(ops)


def in_pickle(how):
    """Damage to the pickle of a file of torch that leaves its CRC right."""

    def damage(rng, data):
        first, storages = parts(data)
        return zipped(how(rng, first), storages)

    return damage


def in_directory(rng, data):
    """The directory at the end of a zip says something else."""
    start = data.rindex(b"PK\1\2", 0, data.rindex(b"PK\5\6") - 200)
    start = rng.choice([start, data.rindex(b"PK\5\6"), data.index(b"PK\1\2")])
    return data[:start] + rng.choice(BYTES)(rng, data[start:])


def pickle_bomb(rng, data, size):
    """A pickle of `size` bytes, made to cost time or memory."""
    storage = b"(X\7\0\0\0storagectorch\nHalfStorage\nX\1\0\0\0" + b"0X\3\0\0\0cpuJ"
    storage += struct.pack("<i", 1 << 20) + b"tQq\1"
    tensor = b"ctorch._utils\n_rebuild_tensor_v2\n(h\1K\0(%st(%st\x89}tR"
    units = [b"}", b"]", b")", b"(", b"(t", b"N", b"\x85", b")\x85", b"]q\0", b"h\0"]
    units += [b"(lp0\n", b"2", b"0", b"\x8a\xff" + b"\xff" * 255, b"X\0\0\0\0"]
    units += [b"(" * 99 + b"t" * 99, b"](h\0h\0h\0h\0eq\0", b"}X\1\0\0\0ah\0sq\0"]
    units += [
        b"((((q\0h\0h\0h\0tq\0tq\0tq\0tq\0",
        b"\x80\2",
        b"ccollections\nOrderedDict\n)R",
    ]
    units += [
        b"X\1\0\0\0a" + tensor % (b"h\2" * n, b"h\2" * n) + b"s" for n in (1, 9, 40)
    ]
    unit = rng.choice(units)
    start = rng.choice([b"\x80\2", b"\x80\2N\x85q\0}" + storage + b"K\1q\2}", b""])
    end = rng.choice(
        [b".", b"", b"}h\0Ns.", b"h\0Q.", b"h\0R.", b"\x85R.", b"tQ.", b"s."]
    )
    text = start + unit * (size // len(unit)) + end
    if rng.random() < 0.2:  # many names
        names = (b"X\6\0\0\0%06xN" % i for i in range(size // 12))
        text = b"\x80\2}(" + b"".join(names) + b"u."
    storages = {"0": bytes(1 << 16)}
    if rng.random() < 0.3:
        return legacy(text, {"0": (1 << 16, bytes(1 << 16))})
    return zipped(text, storages)


def zip_bomb(rng, data, size):
    """A zip of many files, of files that overlap, or of one that is far larger inside."""
    first, _ = parts(data)
    how = rng.randrange(4)
    if how == 0:
        many = {f"{i:x}": b"" for i in range(min(size, 1 << 20) // 200)}
        return zipped(first, many)
    if how == 1:
        return zipped(
            bytes(20 * size), {"0": bytes(20 * size)}, how=zipfile.ZIP_DEFLATED
        )
    file = bytearray(zipped(first, {"0": b""}))
    at = file.rindex(b"PK\1\2")
    if how == 2:  # its last file has any size, and lies anywhere
        sizes = rng.choices([*INTEGERS[:-2], len(file), 2**32 - 1], k=3)
        struct.pack_into("<2I", file, at + 20, *(n % 2**32 for n in sizes[:2]))
        struct.pack_into("<I", file, at + 42, sizes[2] % 2**32)
    else:  # its directory has one file again and again
        end = file.rindex(b"PK\5\6")
        again = bytes(file[at:end]) * (size // (end - at))
        tail = bytearray(file[end:])
        offset = len(file[:end])
        struct.pack_into("<2I", tail, 12, len(again), offset)
        return bytes(file[:end]) + again + bytes(tail)
    return bytes(file)


# Shards, and half a checkpoint


def shard(rng, path):
    """A shard is damaged, lost, doubled, or another one."""
    names = sorted(file.name for file in path.glob("model-*"))
    name, other = rng.choice(names), rng.choice(names)
    how = rng.randrange(5)
    if how == 0:
        (path / name).unlink()
    elif how == 1:
        os.replace(path / name, path / other)
    elif how == 2:
        (path / name).write_bytes((path / other).read_bytes())
    else:
        data = (path / name).read_bytes()
        (path / name).write_bytes(rng.choice([*HEADERS, length])(rng, data))


def directory(rng, path):
    names = sorted(os.listdir(path))
    name = rng.choice(names)
    how = rng.randrange(5)
    if how == 0:
        (path / name).unlink()
    elif how == 1:
        (path / name).write_bytes(b"")
    elif how == 2:
        os.replace(path / name, path / rng.choice(names))
    elif how == 3:
        (path / name).write_bytes((path / rng.choice(names)).read_bytes())
    else:
        a = rng.choice(
            ["../../a", "model.safetensors", "a.bin", 5, "", "/a", "a" * 999]
        )
        shards = {"wte.weight": "model-00001-of-00002.safetensors", "a": a}
        text = json.dumps({"metadata": {}, "weight_map": shards}).encode()
        text = rng.choice([flip, token, truncate, special])(rng, text)
        (path / "model.safetensors.index.json").write_bytes(text)
        (path / TENSORS).unlink(missing_ok=True)
        if rng.random() < 0.5:
            (path / TENSORS).write_bytes(text)


BYTES = [flip, truncate, splice, special]
HEADERS = [in_header(how) for how in (flip, truncate, splice, special, token, token)]
OPCODES = [bytes([i]) for i in range(256)]
PICKLES = [
    in_pickle(how) for how in (flip, truncate, splice, special, program, program)
]
KINDS = {  # name: share, layout, file, ways
    "index, bytes": (4, "tf", INDEX, BYTES),
    "index, blocks": (8, "tf", INDEX, [blocks]),
    "index, entries": (10, "tf", INDEX, [entries]),
    "index, bombs": (1, "tf", INDEX, [bomb(index_bomb)]),
    "hparams.json": (8, "tf", HPARAMS, [*BYTES, token, token, token]),
    "hparams.json, bombs": (1, "tf", HPARAMS, [bomb(json_bomb)]),
    "vocab.bpe": (8, "tf", "vocab.bpe", [*BYTES, line, line]),
    "vocab.bpe, bombs": (
        0.5,
        "tf",
        "vocab.bpe",
        [bomb(vocabulary_bomb, MAX_VOCABULARY_BYTES)],
    ),
    "safetensors, bytes": (5, "hf", TENSORS, [*BYTES, length]),
    "safetensors, header": (20, "hf", TENSORS, HEADERS),
    "safetensors, bombs": (1, "hf", TENSORS, [bomb(header_bomb)]),
    "bfloat16, header": (5, "bf16", TENSORS, HEADERS),
    "config.json": (10, "hf", CONFIG, [*BYTES, token, token, token]),
    "config.json, bombs": (1, "hf", CONFIG, [bomb(json_bomb)]),
    "merges.txt": (5, "hf", "merges.txt", [*BYTES, line, line]),
    "vocab.json": (6, "hf", VOCAB, [*BYTES, token, token, token]),
    "vocab.json, bombs": (1, "hf", VOCAB, [bomb(json_bomb, MAX_VOCABULARY_BYTES)]),
    ".bin, bytes": (6, "bin", BIN, BYTES),
    ".bin, zip": (4, "bin", BIN, [in_directory]),
    ".bin, pickle": (16, "bin", BIN, PICKLES),
    ".bin, bombs": (1, "bin", BIN, [bomb(pickle_bomb, 1 << 18)]),
    ".bin, zip bombs": (1, "bin", BIN, [bomb(zip_bomb)]),
    ".bin of old": (8, "old", BIN, [*BYTES, program]),
    "shards": (5, "shards", None, [shard]),
    "shards, index": (8, "shards", INDEX_JSON, [*BYTES, token, token, token]),
    "shards, index bombs": (1, "shards", INDEX_JSON, [bomb(json_bomb)]),
    "tokenizer.json": (12, "own", TOKENIZER, [*BYTES, token, token, token]),
    "tokenizer.json, bombs": (
        1,
        "own",
        TOKENIZER,
        [bomb(json_bomb, MAX_VOCABULARY_BYTES)],
    ),
    "tokenizer_config.json": (
        3,
        "own",
        "tokenizer_config.json",
        [*BYTES, token, token],
    ),
    "directory, OpenAI's": (2, "tf", None, [directory]),
    "directory, Hugging Face's": (2, "hf", None, [directory]),
}


def originals(path):
    """The checkpoints that are damaged, by layout: a directory, and where tensors are in
    it, counted from the end of the file."""
    path.mkdir()
    (path / "a").mkdir()
    small = copy_small(path / "a")
    (small / "vocab.bpe").write_text("\n".join(MERGES[:744]) + "\n", encoding="utf-8")
    directories = {"tf": small}
    kinds = {"hf": "F32", "bf16": "BF16", "bin": "F16", "old": "F32", "shards": "F32"}
    for layout, dtype in kinds.items():
        directories[layout] = path / layout
        prefix = "transformer." if layout == "hf" else ""
        config = Config(n_vocab=N_VOCAB, n_ctx=8, n_embd=8, n_head=2, n_layer=2)
        huggingface(path / layout, dtype, prefix, masks=layout == "hf", sizes=config)
        text = (path / layout / CONFIG).read_bytes()
        write_description(path / layout, config, Tokenizer.from_file(n_vocab=N_VOCAB))
        (path / layout / CONFIG).write_bytes(text)
        if layout in ("bin", "old"):
            tensors, storages = state(config, dtype, prefix, masks=layout == "bin")
            data = {key: data for key, (_, data) in storages.items()}
            file = zipped(pickled(tensors), data, byteorder="little")
            if layout == "old":
                file = legacy(pickled(tensors), storages)
            (path / layout / BIN).write_bytes(file)
            (path / layout / TENSORS).unlink()
        elif layout == "shards":
            sharded(path / layout, sizes=config)
            (path / layout / CONFIG).write_bytes(text)
    config = Config(n_vocab=600, n_ctx=8, n_embd=8, n_head=2, n_layer=1)
    directories["own"] = own = huggingface(path / "own", sizes=config)
    shutil.copyfile(KIND / TOKENIZER, own / TOKENIZER)
    (own / "tokenizer_config.json").write_text(json.dumps(SETTINGS))
    return {
        name: (directory, places(directory)) for name, directory in directories.items()
    }


def places(directory):
    """Where the tensors are, from either end of their file, and what their bytes are."""
    checkpoint, found = Checkpoint(directory), set()
    for name in checkpoint.entries:
        found.update(at(checkpoint, name))
    return found


def at(checkpoint, name):
    data, e = checkpoint._places[name]
    yield from ((e.offset, e.size), (len(data) - e.offset, e.size))
    yield bytes(checkpoint._bytes(name))


def use(directory, where):
    """Load it and use it. AssertionError if what comes out cannot be right."""
    gpt2 = minigpt2.load(directory)
    config, named = gpt2.config, Checkpoint(directory)
    for name, shape in shapes(config):
        e = named.entries[name]
        assert not where.isdisjoint(at(named, name)), f"{name} is where no tensor was"
        assert e.shape in (shape, (1, *shape)), f"{name} has another shape"
    with np.errstate(all="ignore"):  # a number may be any number
        logits = gpt2.logits([config.n_vocab - 1])
    assert logits.shape == (1, config.n_vocab) and logits.dtype == np.float32
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of added tokens
        tokenizer = gpt2.tokenizer
    assert tokenizer.n_vocab == config.n_vocab
    text = "It is naïve.\n\tNo 42!"
    try:
        again = tokenizer.decode(tokenizer.encode(text))
    except ValueError as error:
        assert "no token for byte" in str(error)  # a letter was renamed
    else:
        assert again.removeprefix(" ") == text or getattr(tokenizer, "words", None)


# What it takes


def status(field):
    """VmRSS, VmHWM (its peak) or VmSize of this process, in bytes."""
    text = Path("/proc/self/status").read_text()
    return int(re.search(rf"{field}:\s*(\d+) kB", text)[1]) * 1024


def measured(function, *arguments):
    """What the function raised or None, seconds of processor time, bytes of memory."""
    linux = sys.platform == "linux"
    if linux:
        Path("/proc/self/clear_refs").write_text("5")  # the peak is from now on
        before = status("VmRSS")
    start, result = time.process_time(), None
    signal.setitimer(signal.ITIMER_REAL, HANGS)
    try:
        function(*arguments)
    except BaseException as error:
        if isinstance(error, KeyboardInterrupt):
            raise
        result = error.with_traceback(None)
    signal.setitimer(signal.ITIMER_REAL, 0)
    seconds = time.process_time() - start
    memory = status("VmHWM") - before if linux else 0
    if memory > 4e6:
        ctypes.CDLL(None).malloc_trim(0)  # the next one is to pay for its own
    return result, seconds, memory


def hangs(*_):
    raise TimeoutError(f"still at it after {HANGS} seconds")


def case(number, seed):
    """Its random numbers, and its kind."""
    rng = random.Random(f"{seed} {number}")
    shares = [share for share, *_ in KINDS.values()]
    return rng, rng.choices(list(KINDS), shares)[0]


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--count", type=int, default=50_000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--first", type=int, default=0, help="the first case")
    parser.add_argument("--only", type=int, metavar="N", help="show what case N does")
    args = parser.parse_args()
    if args.only is not None:
        args.first, args.count = args.only, 1
    warnings.simplefilter("error")
    warnings.filterwarnings("ignore", r"[^\n]*: not used: [^\n]*\Z", UserWarning)
    signal.signal(signal.SIGALRM, hangs)
    counts, failures = Counter(), 0
    slowest, most = Counter(), Counter()
    with tempfile.TemporaryDirectory() as temporary:
        whole = originals(Path(temporary) / "whole")
        damaged = Path(temporary) / "damaged"
        for directory, where in whole.values():  # and all is imported
            use(directory, where)
        for number in range(args.first, args.first + args.count):
            rng, kind = case(number, args.seed)
            _, layout, file, ways = KINDS[kind]
            directory, where = whole[layout]
            shutil.rmtree(damaged, ignore_errors=True)
            shutil.copytree(directory, damaged)
            how = rng.choice(ways)
            if file is None:
                how(rng, damaged)
            else:
                (damaged / file).write_bytes(how(rng, (damaged / file).read_bytes()))
            error, seconds, memory = measured(use, damaged, where)
            ran = Path(RAN).exists()
            memory -= sum(path.stat().st_size for path in damaged.iterdir())
            slowest[kind] = max(slowest[kind], seconds)
            most[kind] = max(most[kind], memory)
            what = "loaded" if error is None else f"{type(error).__name__}: {error}"
            problem = None
            if error and not isinstance(error, CheckpointError):
                problem = what
            elif ran:
                problem = "a pickle was run"
            elif seconds > SECONDS:
                problem = f"{seconds:.1f} s"
            elif memory > MEGABYTES * 1e6:
                problem = f"{memory / 1e6:.0f} MB"
            if args.only is not None:
                print(f"{kind}: {what:.2000}\n{seconds:.2f} s, {memory / 1e6:.1f} MB")
                shutil.copytree(damaged, f"case-{number}", dirs_exist_ok=True)
            if problem:
                failures += 1
                again = f"--seed {args.seed} --only {number}"
                print(f"FAILED {kind}: {problem:.300} ({again})", flush=True)
            counts[kind, "cases"] += 1
            counts[kind, "loaded" if error is None else "refused"] += 1
    print(f"{'':26} cases  loaded  refused  slowest  most memory")
    for kind in KINDS:
        cases, loaded, refused = (
            counts[kind, what] for what in ("cases", "loaded", "refused")
        )
        cost = f"{slowest[kind]:6.2f} s {most[kind] / 1e6:9.1f} MB"
        print(f"{kind:26}{cases:6}{loaded:8}{refused:9} {cost}")
    print(f"{args.count} cases, {failures} failures")
    sys.exit(1 if failures else 0)


if __name__ == "__main__":
    main()
