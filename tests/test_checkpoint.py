"""Every tensor comes out of the files as it is; damaged files are told in one line."""

import json
import math
import os
import shutil
import struct
from pathlib import Path

import numpy as np
import pytest
from checkpoints import (
    CONFIG,
    DATA,
    HEADER,
    HPARAMS,
    INDEX,
    MERGES,
    TINY,
    block,
    copy_small,
    entry,
    hparams,
    huggingface,
    is_mapped,
    message,
    refuses,
    safetensors,
    table,
    varint,
    weights,
    with_header,
)
from helpers import SMALL, VOCABULARY, run

import minigpt2
from minigpt2 import CheckpointError, Config
from minigpt2.files.checkpoint import AS_FLOAT32, Checkpoint
from minigpt2.files.crc32c import BYTES_AT_ONCE, FOLD, OFFSETS, crc32c, masked
from minigpt2.files.layout import HUGGINGFACE_FILES, OPENAI_FILES
from minigpt2.model import shapes


def flip(path, position, bits=0xFF):
    data = bytearray(path.read_bytes())
    data[position] ^= bits
    path.write_bytes(data)


# CRC-32C


def registers(data):
    """The CRC register before and after each byte, from the definition, bit by bit."""
    register = 0xFFFFFFFF
    yield register
    for byte in data:
        register ^= byte
        for _ in range(8):
            register = register >> 1 ^ (0x82F63B78 if register & 1 else 0)
        yield register


@pytest.mark.parametrize(
    "data, crc",
    [
        (b"", 0),
        (b"a", 0xC1D04330),
        (b"123456789", 0xE3069283),
        (bytes(32), 0x8A9136AA),
        (b"\xff" * 32, 0x62A8AB43),
        (bytes(range(32)), 0x46DD794E),
        (bytes(range(31, -1, -1)), 0x113FDB5C),
        (
            bytes.fromhex(
                "01c00000 00000000 00000000 00000000 14000000 00000400"
                "00000014 00000018 28000000 00000000 02000000 00000000"
            ),
            0xD9963A56,
        ),
    ],
    ids=["none", "a", "digits", "zeros", "ones", "up", "down", "iSCSI read"],
)
def test_crc32c_of_known_vectors(data, crc):
    assert crc32c(data) == crc


def test_crc32c_is_the_bitwise_loop_around_the_folding_thresholds():
    bytes_folded, words_folded = 2 * FOLD, 8 * FOLD
    data = np.random.default_rng(1).bytes(words_folded + 8 * OFFSETS[0] + 40)
    expected = [register ^ 0xFFFFFFFF for register in registers(data)]
    borders = [FOLD, bytes_folded, words_folded, words_folded + 8 * OFFSETS[0]]
    lengths = {*range(70)}
    lengths.update(n + d for n in borders for d in range(-17, 18))
    for length in lengths:
        assert crc32c(data[:length]) == expected[length], length


def test_crc32c_is_the_byte_loop_around_the_borders_of_its_pieces():
    table = [list(registers(bytes([byte ^ 0xFF])))[1] ^ 0xFFFFFF for byte in range(256)]
    rng = np.random.default_rng(2)
    data = rng.integers(0, 256, BYTES_AT_ONCE + 2 * FOLD + 9, np.uint8)
    borders = (BYTES_AT_ONCE, BYTES_AT_ONCE + 2 * FOLD)
    lengths = {n + d for n in borders for d in (-9, -1, 0, 1, 8)}
    register, expected = 0xFFFFFFFF, {}
    for length, byte in enumerate(data.tobytes(), start=1):
        register = table[(register ^ byte) & 0xFF] ^ register >> 8
        if length in lengths:
            expected[length] = register ^ 0xFFFFFFFF
    for length in lengths:
        assert crc32c(data[:length]) == expected[length], length


def test_the_polynomial_divides_the_one_that_folds():
    assert (FOLD, OFFSETS) == (6777, (6777 - 484, 6777 - 100, 6777))
    remainder = 1 << 6777 | 1 << 484 | 1 << 100 | 1
    while remainder.bit_length() >= 33:
        remainder ^= 0x11EDC6F41 << (remainder.bit_length() - 33)
    assert remainder == 0


def test_crc32c_does_not_change_what_it_reads():
    data = np.arange(100_000).astype(np.uint8)
    data.flags.writeable = False
    assert crc32c(data) == crc32c(data.tobytes())


# OpenAI's layout


def test_the_small_official_checkpoint_opens():
    checkpoint = Checkpoint(SMALL)
    assert checkpoint.hparams == vars(CONFIG)
    assert checkpoint.path == SMALL / DATA
    assert set(checkpoint.entries) == set(dict(shapes(CONFIG)))


def test_every_tensor_is_its_part_of_the_data_file_mapped_and_read_only():
    tensors = Checkpoint(SMALL).tensors(shapes(CONFIG))
    data, offset = (SMALL / DATA).read_bytes(), 0
    for name, shape in sorted(shapes(CONFIG)):  # TensorFlow writes them in this order
        tensor = tensors.pop(name)
        assert tensor.shape == shape
        assert tensor.dtype == np.float32
        assert is_mapped(tensor)
        assert not tensor.flags.writeable
        assert tensor.tobytes() == data[offset : offset + tensor.nbytes]
        offset += tensor.nbytes
    assert offset == len(data)
    assert not tensors


def test_all_tensors_share_one_map():
    tensors = Checkpoint(SMALL).tensors(shapes(CONFIG))
    maps = set()
    for tensor in tensors.values():
        while isinstance(tensor, np.ndarray):
            tensor = tensor.base
        maps.add(id(tensor))
    assert len(maps) == 1


def test_verify_counts_every_byte():
    sizes = []
    size = (SMALL / DATA).stat().st_size
    assert Checkpoint(SMALL).verify(sizes.append) == size == sum(sizes)
    assert len(sizes) == len(dict(shapes(CONFIG)))


def test_verify_names_the_tensor_with_a_wrong_byte(tmp_path):
    directory = copy_small(tmp_path)
    for name, found in Checkpoint(directory).entries.items():
        last = found.offset + found.size - 1
        flip(directory / DATA, last, 0x10)
        words = f"{DATA}: tensor {name} ", "CRC-32C", f"expected {found.crc:08x}"
        refuses(directory, *words, how=lambda path: Checkpoint(path).verify())
        flip(directory / DATA, last, 0x10)
    Checkpoint(directory).verify()


@pytest.mark.parametrize("size", [0, 1, 96, 100_000, 215_612, 215_615])
def test_a_truncated_data_file_is_refused(tmp_path, size):
    directory = copy_small(tmp_path)
    os.truncate(directory / DATA, size)
    refuses(directory, f"{DATA}: the file has {size} bytes", "tensor model/", "fetch")


@pytest.mark.parametrize("more", [1, 4, 4096])
def test_an_extended_data_file_is_refused(tmp_path, more):
    directory = copy_small(tmp_path)
    size = (directory / DATA).stat().st_size
    os.truncate(directory / DATA, size + more)
    refuses(directory, f"{DATA}: the file has {size + more} bytes, expected {size}")


@pytest.mark.parametrize(
    "position, words",
    [
        (-1, "magic number"),
        (-8, "expected 0xdb4775248b80fb57"),
        (0, "the block at byte 0 does not match its CRC-32C"),
        (700, "the block at byte 0 does not match its CRC-32C"),
    ],
)
def test_a_wrong_byte_in_the_index_is_refused(tmp_path, position, words):
    directory = copy_small(tmp_path)
    flip(directory / INDEX, position)
    refuses(directory, f"{INDEX}: ", words, "fetch it again")


def test_no_flipped_byte_of_the_index_changes_an_entry(tmp_path):
    directory = copy_small(tmp_path)
    index = directory / INDEX
    whole = index.read_bytes()
    entries = Checkpoint(directory).entries
    refused = 0
    for position, byte in enumerate(whole):
        flipped = byte ^ 1 << position % 8
        index.write_bytes(whole[:position] + bytes([flipped]) + whole[position + 1 :])
        try:
            assert Checkpoint(directory).entries == entries
        except CheckpointError as error:
            assert str(error).startswith(f"{index}: ")
            refused += 1
    assert refused > len(whole) - 48 - 13  # all but the footer and an empty block


def test_a_truncated_index_is_refused_at_every_length(tmp_path):
    directory = copy_small(tmp_path)
    for size in reversed(range((directory / INDEX).stat().st_size)):
        os.truncate(directory / INDEX, size)
        refuses(directory, f"{INDEX}: ")


def test_an_extended_index_is_refused(tmp_path):
    directory = copy_small(tmp_path)
    with open(directory / INDEX, "ab") as file:
        file.write(b"\0")
    refuses(directory, f"{INDEX}: ", "magic number")


@pytest.mark.parametrize(
    "index, file, words",
    [
        (table(block([HEADER, (b"a", entry())], compression=1)), INDEX, "compressed"),
        (table(block([HEADER], restarts=b"\xff\xff\xff\xff")), INDEX, "no header"),
        (
            table(b"\0\0\0" + struct.pack("<I", masked(crc32c(b"\0\0\0")))),
            INDEX,
            "make no sense",
        ),
        (table(block([(b"a", entry())])), INDEX, "no header"),
        (table(block([(b"", message((1, 2)))])), INDEX, "2 data files, expected 1"),
        (table(block([(b"", message((1, 1), (2, 1)))])), INDEX, "big-endian"),
        (
            table(block([HEADER, (b"a", entry()), (b"a", entry(offset=8))])),
            DATA,
            "tensor a is at byte 8, expected 0",
        ),
        (
            table(block([HEADER, (b"a", entry(shard=1))])),
            INDEX,
            "tensor a is in slices, or in another",
        ),
        (
            table(block([HEADER, (b"a", entry(more=message((7, b""))))])),
            INDEX,
            "slices",
        ),
        (table(block([HEADER, (b"a", entry(more=b"\x2f"))])), INDEX, "make no sense"),
        (table(block([HEADER, (b"a", entry(more=b"\x2a\x7f"))])), INDEX, "ends after"),
        (table(block([HEADER, (b"a", entry(more=b"\xff"))])), INDEX, "make no sense"),
        (table(block([HEADER, (b"a", b"\xff" * 11)])), INDEX, "64 bits"),
        (table(block([HEADER, (b"a", message((4, b"x")))])), INDEX, "make no sense"),
        (table(block([HEADER, (b"a", message((2, 5)))])), INDEX, "make no sense"),
        (table(block([HEADER, (b"a", entry(shape=(3,)))])), DATA, "tensor a: 8 bytes"),
        (
            table(block([HEADER, (b"a", entry(shape=(2**63,)))])),
            DATA,
            "tensor a: 8 bytes",
        ),
        (table(block([HEADER, (b"a", entry(shape=(1,) * 33))])), DATA, "33 dimensions"),
        (table(block([HEADER, (b"a", entry(offset=8))])), DATA, "a is at byte 8"),
        (table(block([HEADER, (b"a", entry(offset=2**64 - 8))])), DATA, "a is at byte"),
        (
            table(block([HEADER, (b"a", entry(2, size=2**62))])),
            DATA,
            "tensor a ends at",
        ),
        (
            table(block([HEADER, (b"a", entry()), (b"b", entry(offset=4))])),
            DATA,
            "tensor b is at byte 4, expected 8",
        ),
        (
            table(block([HEADER, (b"a", entry()), (b"b", entry(offset=9))])),
            DATA,
            "tensor b is at byte 9, expected 8",
        ),
        (table(block([HEADER, (b"a", entry())])), DATA, "215616 bytes, expected 8"),
    ],
)
def test_an_index_that_makes_no_sense_is_refused(tmp_path, index, file, words):
    directory = copy_small(tmp_path)
    (directory / INDEX).write_bytes(index)
    refuses(directory, f"{file}: ", words)


def test_blocks_that_overlap_are_refused(tmp_path):
    """Each would be read and summed up again: a small file that takes hours."""
    directory = copy_small(tmp_path)
    inside = block([], restarts=bytes(4999))
    top = block([(b"", varint(0) + varint(len(inside) - 5))] * 2)
    footer = b"\0\0" + varint(len(inside)) + varint(len(top) - 5)
    magic = (directory / INDEX).read_bytes()[-8:]
    (directory / INDEX).write_bytes(inside + top + footer.ljust(40, b"\0") + magic)
    refuses(directory, f"{INDEX}: the block at byte 0 overlaps")


def test_names_that_grow_without_end_are_refused(tmp_path):
    """A name is stored as what it shares with the one before it, and the rest: here
    5,000 names of 1,004 bytes take 8 bytes each."""
    directory = copy_small(tmp_path)
    keys = varint(0) + varint(1000) + varint(0) + b"a" * 1000
    for i in range(5000):
        keys += varint(1000) + varint(4) + varint(0) + b"%04d" % i
    index = table(block([HEADER], restarts=keys + bytes(4)))
    (directory / INDEX).write_bytes(index)
    refuses(directory, f"{INDEX}: its names are far longer than the file")


@pytest.mark.parametrize("shape", [(0,), (0, 24)])
def test_a_bundle_of_nothing_is_refused(tmp_path, shape):
    """An empty file cannot be mapped."""
    directory = copy_small(tmp_path)
    index = table(block([HEADER, (b"model/wte", entry(shape=shape, size=0))]))
    (directory / INDEX).write_bytes(index)
    os.truncate(directory / DATA, 0)
    refuses(directory, f"{DATA}: no tensors", how=minigpt2.load)


def test_two_tensors_of_one_name_are_refused(tmp_path):
    directory = copy_small(tmp_path)
    pairs = [(b"model/wte", entry()), (b"wte", entry(offset=8))]
    (directory / INDEX).write_bytes(table(block([HEADER, *pairs])))
    os.truncate(directory / DATA, 16)
    refuses(directory, f"{INDEX}: tensor wte is there under another name")

    pair = {name: ("F32", (2,), bytes(8)) for name in ("wte", "transformer.wte")}
    huggingface(tmp_path)
    pair = {f"{name}.weight": fields for name, fields in pair.items()}
    (tmp_path / "model.safetensors").write_bytes(safetensors(pair))
    refuses(tmp_path, "tensor transformer.wte.weight is there under another name")


def test_an_index_of_the_test_itself_is_read(tmp_path):
    directory = copy_small(tmp_path)
    a, b = entry(crc=5), entry(dtype=9, shape=(3, 0), offset=8, size=300)
    (directory / INDEX).write_bytes(table(block([HEADER, (b"a", a), (b"model/b", b)])))
    os.truncate(directory / DATA, 308)
    assert Checkpoint(directory).entries == {
        "a": ("F32", (2,), 0, 8, 5),
        "b": ("TensorFlow type 9", (3, 0), 8, 300, 0),
    }
    with pytest.raises(
        CheckpointError, match="tensor b is TensorFlow type 9, expected"
    ):
        Checkpoint(directory).tensors([("b", (3, 0))])


def test_a_huge_index_is_refused_unread(tmp_path):
    directory = copy_small(tmp_path)
    os.truncate(directory / INDEX, 1 << 40)
    refuses(directory, f"{INDEX}: has {1 << 40} bytes")


# hparams.json


@pytest.mark.parametrize(
    "text, words",
    [
        ("", "not JSON"),
        ("<html>", "not JSON"),
        (hparams()[:-1], "not JSON"),
        ("\ud800", "not JSON"),
        ("[1000, 40, 24, 3, 4]", "not a JSON object"),
        ("[" * 60_000, "nested"),
        ('{"a":' * 60_000, "nested"),
        (json.dumps({"a": [[]] * 100_000}), "too many brackets"),
        ('{"n_vocab": 1000, "n_vocab": 1000}', "twice"),
        ('{"n_vocab": %s}' % ("9" * 5000), "not JSON"),
        ("{}", "n_vocab is missing"),
        (hparams().replace("n_head", "heads"), "n_head is missing"),
        (hparams(n_layer="4"), "n_layer is '4', expected a positive integer"),
        (hparams(n_layer=4.0), "n_layer is 4.0"),
        (hparams(n_layer=True), "n_layer is True"),
        (hparams(n_layer=None), "n_layer is None"),
        (hparams(n_layer=[4]), "n_layer is [4]"),
        (hparams(n_layer=float("nan")), "n_layer is nan"),
        (hparams(n_layer=0), "n_layer is 0"),
        (hparams(n_vocab=0), "n_vocab is 0"),
        (hparams(n_ctx=-40), "n_ctx is -40"),
        (hparams(n_head=5), "n_head 5 must divide n_embd 24"),
        (hparams(n_head=0), "n_head is 0"),
    ],
)
def test_hparams_that_make_no_model_are_refused(tmp_path, text, words):
    directory = copy_small(tmp_path)
    (directory / HPARAMS).write_bytes(text.encode(errors="surrogatepass"))
    refuses(directory, str(directory), words, how=minigpt2.load)


@pytest.mark.parametrize(
    "changes, words",
    [
        ({"n_layer": 5}, ("h4/ln_1/g is missing", "shape (24,)")),
        ({"n_layer": 10**18}, ("h4/ln_1/g is missing", "shape (24,)")),
        ({"n_vocab": 1001}, ("wte has shape (1000, 24)", "shape (1001, 24)")),
        ({"n_vocab": 10**18}, ("wte has shape (1000, 24)",)),
        ({"n_ctx": 1024}, ("wpe has shape (40, 24)", "shape (1024, 24)")),
        ({"n_embd": 48}, ("wte has shape (1000, 24)", "shape (1000, 48)")),
    ],
)
def test_hparams_that_do_not_fit_the_tensors_are_refused(tmp_path, changes, words):
    directory = copy_small(tmp_path)
    (directory / HPARAMS).write_text(hparams(**changes))
    words = (f"{DATA}: tensor ", *words, "not of one model")
    refuses(directory, *words, how=minigpt2.load)


# Hugging Face's layout


@pytest.mark.parametrize("masks", [False, True], ids=["", "masks"])
@pytest.mark.parametrize("prefix", ["", "transformer."])
@pytest.mark.parametrize("dtype", list(AS_FLOAT32))
def test_safetensors_come_out_as_they_were_written(tmp_path, dtype, prefix, masks):
    checkpoint = Checkpoint(huggingface(tmp_path, dtype, prefix, masks))
    tensors = checkpoint.tensors(shapes(TINY))
    assert Config(**checkpoint.hparams) == TINY
    for name, array in weights(TINY).items():
        tensor = tensors.pop(name)
        assert tensor.dtype == np.float32
        np.testing.assert_array_equal(tensor, array)
        if dtype == "F32":
            assert is_mapped(tensor)
            assert not tensor.flags.writeable
    assert not tensors
    assert checkpoint.verify() == 0  # the format has no checksums


@pytest.mark.parametrize("padding", range(8))
def test_safetensors_may_begin_at_any_byte(tmp_path, padding):
    for dtype in AS_FLOAT32:
        gpt2 = minigpt2.load(huggingface(tmp_path, dtype, padding=padding))
        np.testing.assert_array_equal(gpt2.params["wte"], weights(TINY)["wte"])
        assert np.isfinite(gpt2.logits([1, 2, 3])).all()


@pytest.mark.parametrize("dtype", ["F16", "BF16"])
def test_every_half_number_becomes_its_float32(tmp_path, dtype):
    raw = np.arange(1 << 16, dtype="<u2")
    huggingface(tmp_path)
    file = safetensors({"wte.weight": (dtype, raw.shape, raw.tobytes())})
    (tmp_path / "model.safetensors").write_bytes(file)
    (array,) = Checkpoint(tmp_path).tensors([("wte", raw.shape)]).values()
    bits, fraction = {"F16": (5, 10), "BF16": (8, 7)}[dtype]
    bias = (1 << (bits - 1)) - 1
    for number, value in zip(raw.tolist(), array.tolist(), strict=True):
        sign = -1.0 if number >> 15 else 1.0
        exponent = number >> fraction & ((1 << bits) - 1)
        m = number & ((1 << fraction) - 1)
        if exponent == (1 << bits) - 1:
            expected = sign * float("nan" if m else "inf")
        elif exponent:
            expected = sign * (1 + m / (1 << fraction)) * 2.0 ** (exponent - bias)
        else:
            expected = sign * m / (1 << fraction) * 2.0 ** (1 - bias)
        same = value == expected or (math.isnan(value) and math.isnan(expected))
        assert same, number


@pytest.mark.parametrize(
    "settings, words",
    [
        ({"model_type": "llama"}, "model_type is 'llama', expected 'gpt2'"),
        ({"model_type": ["gpt2"]}, "model_type is ['gpt2']"),
        ({"model_type": None}, "model_type is None"),
        ({"activation_function": "gelu"}, "activation_function is 'gelu'"),
        ({"activation_function": "relu"}, "expected 'gelu_new'"),
        ({"layer_norm_epsilon": 1e-6}, "layer_norm_epsilon is 1e-06, expected 1e-05"),
        ({"scale_attn_weights": False}, "scale_attn_weights is False"),
        ({"scale_attn_by_inverse_layer_idx": True}, "scale_attn_by_inverse_layer_idx"),
        ({"quantization_config": {"bits": 4}}, "quantization_config is {'bits': 4}"),
        ({"add_cross_attention": True}, "add_cross_attention is True, expected False"),
    ],
)
def test_another_architecture_is_refused(tmp_path, settings, words):
    huggingface(tmp_path, **settings)
    refuses(tmp_path, "config.json: ", words, "not GPT-2's", how=minigpt2.load)


@pytest.mark.parametrize(
    "settings, words",
    [
        ({"n_layer": -1}, "n_layer is -1"),
        ({"n_layer": 3}, "tensor h2/ln_1/g is missing, expected F32 or F16 or BF16"),
        ({"vocab_size": "100"}, "n_vocab is '100'"),
        ({"vocab_size": 101}, "tensor wte has shape (100, 8)"),
        ({"n_positions": 9}, "tensor wpe has shape (8, 8)"),
        ({"n_head": 3}, "n_head 3 must divide n_embd 8"),
    ],
)
def test_a_config_that_does_not_fit_is_refused(tmp_path, settings, words):
    refuses(huggingface(tmp_path, **settings), words, how=minigpt2.load)


def test_a_config_without_a_size_is_refused(tmp_path):
    huggingface(tmp_path)
    path = tmp_path / "config.json"
    for name in ("vocab_size", "n_positions", "n_embd", "n_head", "n_layer"):
        config = json.loads(path.read_text())
        del config[name]
        (tmp_path / "other").mkdir(exist_ok=True)
        (tmp_path / "other" / "config.json").write_text(json.dumps(config))
        shutil.copy(tmp_path / "model.safetensors", tmp_path / "other")
        refuses(tmp_path / "other", "config.json", f"{name} is missing")


def tensor(dtype="F32", shape=(2,), ends=(0, 8)):
    return {"dtype": dtype, "shape": list(shape), "data_offsets": list(ends)}


def tensors(**fields):
    return json.dumps(fields)


@pytest.mark.parametrize(
    "header, words",
    [
        ("", "header of 0 bytes"),
        ("{", "header of 1 bytes"),
        ("{]", "not JSON"),
        ("[]", "not a JSON object"),
        ("\x00\x00", "not JSON"),
        ("[" * 60_000, "nested"),
        (f'{{"a": {tensors()}, "a": {tensors()}}}', "twice"),
        (tensors(a=5), "tensor a: expected dtype, shape, data_offsets"),
        (tensors(a=None), "tensor a: expected dtype"),
        (tensors(a="dtype shape data_offsets"), "tensor a: expected dtype"),
        (tensors(a=[]), "tensor a: expected dtype"),
        (tensors(a={"dtype": "F32", "shape": [2]}), "tensor a: expected dtype"),
        (tensors(a=tensor(ends=(0, 4, 8))), "tensor a: expected dtype"),
        (tensors(a=tensor() | {"shape": 2}), "tensor a: expected dtype"),
        (tensors(a=tensor() | {"shape": None}), "tensor a: expected dtype"),
        (tensors(a=tensor(dtype=1)), "'dtype': 1"),
        (tensors(a=tensor(dtype=["F32"])), "makes no sense"),
        (tensors(a=tensor(shape=(-2,))), "makes no sense"),
        (tensors(a=tensor(shape=(-1, -2))), "makes no sense"),
        (tensors(a=tensor(shape=(2.0,))), "makes no sense"),
        (tensors(a=tensor(shape=(True, 2))), "makes no sense"),
        (tensors(a=tensor(shape=("2",))), "makes no sense"),
        (tensors(a=tensor(shape=([2],))), "makes no sense"),
        (tensors(a=tensor(ends=(-8, 0))), "makes no sense"),
        (tensors(a=tensor(ends=(0.0, 8.0))), "makes no sense"),
        (tensors(a=tensor(ends=(8, 0))), "tensor a: -8 bytes"),
        (tensors(a=tensor("I16", ends=(8, 0))), "tensor a is at byte"),
        (
            tensors(a=tensor(ends=(0, 4))),
            "tensor a: 4 bytes do not make its shape (2,)",
        ),
        (tensors(a=tensor(shape=(1,))), "tensor a: 8 bytes do not make its shape (1,)"),
        (tensors(a=tensor(shape=())), "tensor a: 8 bytes do not make its shape ()"),
        (tensors(a=tensor(shape=(2**62, 4))), "tensor a: 8 bytes do not make"),
        (tensors(a=tensor(shape=(1,) * 33)), "tensor a has 33 dimensions"),
        (tensors(a=tensor("F16")), "tensor a: 8 bytes do not make its shape (2,)"),
        (tensors(a=tensor(ends=(4, 12))), "tensor a is at byte"),
        (tensors(a=tensor(), b=tensor(ends=(4, 12))), "tensor b is at byte"),
        (tensors(a=tensor(), b=tensor()), "tensor b is at byte"),
        (tensors(a=tensor(), b=tensor(ends=(12, 20))), "tensor b is at byte"),
        (tensors(a=tensor(), b=tensor(ends=(8, 16))), "tensor b ends at"),
        (tensors(a=tensor("I16", ends=(0, 1 << 62))), "tensor a ends at"),
        (tensors(a=tensor("I64", ends=(0, 7))), "7 bytes do not make its shape (2,)"),
        (tensors(), "expected"),
    ],
)
def test_a_safetensors_header_that_makes_no_sense_is_refused(tmp_path, header, words):
    huggingface(tmp_path)
    file = tmp_path / "model.safetensors"
    file.write_bytes(with_header(header, bytes(8)))
    refuses(tmp_path, "model.safetensors: ", words)


@pytest.mark.parametrize("size", [(1 << 19) + 1, 1 << 32, (1 << 63) - 1, (1 << 64) - 1])
def test_a_safetensors_header_longer_than_any_is_refused_unread(tmp_path, size):
    huggingface(tmp_path)
    file = tmp_path / "model.safetensors"
    file.write_bytes(struct.pack("<Q", size) + file.read_bytes()[8:])
    refuses(tmp_path, f"model.safetensors: header of {size} bytes")


def test_truncated_and_extended_safetensors_are_refused(tmp_path):
    huggingface(tmp_path)
    file = tmp_path / "model.safetensors"
    whole = file.read_bytes()
    for size in {*range(40), *range(40, len(whole), 997), len(whole) - 1}:
        file.write_bytes(whole[:size])
        refuses(tmp_path, "model.safetensors: ")
    file.write_bytes(whole + b"\0")
    refuses(tmp_path, f"the file has {len(whole) + 1} bytes, expected {len(whole)}")


@pytest.mark.parametrize("dtype, size", [("I64", 8), ("I32", 4), ("F8_E4M3", 1)])
def test_a_tensor_of_another_dtype_is_refused(tmp_path, dtype, size):
    huggingface(tmp_path)
    data = bytes(size * TINY.n_vocab * TINY.n_embd)
    file = safetensors({"wte.weight": (dtype, (TINY.n_vocab, TINY.n_embd), data)})
    (tmp_path / "model.safetensors").write_bytes(file)
    words = f"tensor wte is {dtype}, expected F32 or F16 or BF16 or F64 of shape"
    refuses(tmp_path, words, how=minigpt2.load)


def test_a_long_value_is_told_shortly(tmp_path):
    """[[…[0]…]], and 100 kB of it."""
    for value in json.loads("[" * 900 + "]" * 900), "x" * 100_000:
        huggingface(tmp_path, model_type=value)
        with pytest.raises(CheckpointError, match="model_type is") as caught:
            Checkpoint(tmp_path)
        assert len(str(caught.value)) < 500


# Damage by the thousand


@pytest.mark.slow
@pytest.mark.skipif(os.name != "posix", reason="uses signals of POSIX")
def test_damaged_checkpoints_load_rightly_or_are_refused():
    """A share of what `python tests/fuzz_checkpoints.py` tries."""
    fuzz = Path(__file__).with_name("fuzz_checkpoints.py")
    status, out, err = run("--count", 300, "--seed", 1, program=[fuzz])
    assert status == 0, out + err
    assert "300 cases, 0 failures" in out


# Files that are not there


@pytest.mark.parametrize("name", OPENAI_FILES)
def test_each_missing_file_of_openai_is_named(tmp_path, name):
    directory = copy_small(tmp_path)
    (directory / name).unlink()
    refuses(directory, str(directory), f"{name} missing", how=minigpt2.load)


@pytest.mark.parametrize("name", HUGGINGFACE_FILES)
def test_each_missing_file_of_hugging_face_is_named(tmp_path, name):
    (huggingface(tmp_path) / name).unlink()
    refuses(tmp_path, str(tmp_path), f"{name} missing", how=minigpt2.load)


def test_a_directory_in_place_of_a_file_is_a_missing_file(tmp_path):
    directory = copy_small(tmp_path)
    (directory / DATA).unlink()
    (directory / DATA).mkdir()
    refuses(directory, f"{DATA} missing")


def test_an_empty_directory_is_no_checkpoint(tmp_path):
    refuses(tmp_path, f"{tmp_path}: no checkpoint", HPARAMS, "model.safetensors")


def test_no_directory_is_no_checkpoint(tmp_path):
    refuses(tmp_path / "none", f"{tmp_path / 'none'}: no such directory")
    (tmp_path / "file").touch()
    refuses(tmp_path / "file", f"{tmp_path / 'file'}: no such directory")


@pytest.mark.skipif(
    not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root reads every file"
)
@pytest.mark.parametrize("name", (*OPENAI_FILES, *HUGGINGFACE_FILES))
def test_an_unreadable_file_is_named(tmp_path, name):
    directory = huggingface(tmp_path / "model")
    if name in OPENAI_FILES:
        shutil.rmtree(directory)
        directory = copy_small(tmp_path)
    (directory / name).chmod(0)
    if name == DATA:  # it is opened when its tensors are asked for
        how = minigpt2.load
    else:
        how = Checkpoint
    refuses(directory, name, "make it readable", how=how)


# The vocabulary


@pytest.mark.parametrize(
    "lines, words",
    [
        ([], "743 expected"),
        (MERGES[:1], "0 merges, 743 expected"),
        (MERGES[:400], "399 merges, 743 expected"),
        ([MERGES[0], "Ġt", *MERGES[2:]], "merge 1 is 'Ġt'"),
        ([MERGES[0], "Ġ t t", *MERGES[2:]], "merge 1 is 'Ġ t t'"),
        ([*MERGES[:5], "the re", *MERGES[6:]], "merge 5 is 'the re'"),
        ([*MERGES[:5], MERGES[1], *MERGES[6:]], "merge 5 is 'Ġ t'"),
        ([*MERGES[:5], "", *MERGES[6:]], "merge 5 is ''"),
        (["<html>", "<p>Please log in</p>"], "2 merges, 743 expected"),
        ([*MERGES[:5], "<html>", *MERGES[6:]], "merge 5 is '<html>'"),
    ],
)
def test_a_damaged_vocabulary_is_refused_when_it_is_needed(tmp_path, lines, words):
    directory = copy_small(tmp_path)
    (directory / "vocab.bpe").write_text("\n".join(lines), encoding="utf-8")
    gpt2 = minigpt2.load(directory)
    assert gpt2.logits([1, 2, 3]).shape == (3, 1000)
    refuses(directory, "vocab.bpe", words, how=lambda _: gpt2.tokenizer)


@pytest.mark.parametrize(
    "name, text, words",
    [
        ("vocab.json", "[" * 60_000, "nested"),
        ("vocab.json", '{"a":' * 60_000, "nested"),
        ("vocab.json", "[[[[]]]]" * 100_000, "too many brackets"),
        ("vocab.json", '{"!": 0, "!": 0}', "twice"),
        ("vocab.json", "[0]", "not a JSON object"),
        ("vocab.json", "{}", "merge 1 needs 'Ġ', no token"),
        ("vocab.json", " " * 1_800_001, "has 1800001 bytes"),
        ("vocab.bpe", "\n" * 1_800_001, "has 1800001 bytes"),
    ],
)
def test_a_vocabulary_that_no_one_wrote_is_refused(tmp_path, name, text, words):
    directory = copy_small(tmp_path)
    (directory / "vocab.bpe").write_bytes(VOCABULARY.read_bytes())
    (directory / name).write_text(text)
    gpt2 = minigpt2.load(directory)
    refuses(directory, name.partition(".")[0], words, how=lambda _: gpt2.tokenizer)


def test_a_vocabulary_that_is_not_text_is_refused(tmp_path):
    directory = copy_small(tmp_path)
    (directory / "vocab.bpe").write_bytes(b"\xff\xfe\x00\x80" * 1000)
    gpt2 = minigpt2.load(directory)
    refuses(directory, "vocab.bpe", "utf-8", how=lambda _: gpt2.tokenizer)


@pytest.mark.parametrize("name", ["vocab.bpe", "merges.txt"])
def test_the_vocabulary_of_the_directory_is_used(tmp_path, name):
    directory = copy_small(tmp_path)
    lines = [*MERGES[:743], "q q"]
    (directory / name).write_text("\n".join(lines) + "\n", encoding="utf-8")
    assert minigpt2.load(directory).tokenizer.encode("qq") == [998]


def test_without_a_vocabulary_the_released_one_is_cut():
    tokenizer = minigpt2.load(SMALL).tokenizer
    assert (tokenizer.n_vocab, tokenizer.eot) == (1000, 999)
    assert tokenizer.encode(" t") == [256]


def test_a_model_of_fewer_tokens_than_bytes_has_logits_and_no_tokenizer(tmp_path):
    gpt2 = minigpt2.load(huggingface(tmp_path))
    logits = gpt2.logits([[1, 2, 3], [0, 99, 50]])
    assert logits.shape == (2, 3, 100)
    assert np.isfinite(logits).all()
    words = "no tokenizer", "n_vocab is 100", "there is no tokenizer.json"
    refuses(tmp_path, *words, how=lambda _: gpt2.tokenizer)


def test_a_layer_too_many_is_refused(tmp_path):
    directory = copy_small(tmp_path)
    (directory / HPARAMS).write_text(hparams(n_layer=3))
    refuses(directory, HPARAMS, "n_layer is 3", how=minigpt2.load)
    refuses(huggingface(tmp_path, n_layer=1), "n_layer is 1", how=minigpt2.load)


def test_a_bundle_without_tensors_is_refused(tmp_path):
    directory = copy_small(tmp_path)
    (directory / INDEX).write_bytes(table(block([HEADER])))
    os.truncate(directory / DATA, 0)
    refuses(directory, DATA, "no tensors", how=minigpt2.load)


@pytest.mark.parametrize(
    "fields",
    [
        '"a":{"dtype":"U8","shape":[2],"data_offsets":[0,%s]}' % ("9" * 4300),
        '"a\\nb":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}',
    ],
    ids=["huge offset", "newline in a name"],
)
def test_a_header_that_no_line_could_tell(tmp_path, fields):
    huggingface(tmp_path)
    file = tmp_path / "model.safetensors"
    file.write_bytes(with_header("{" + fields + "}", bytes(8)))
    refuses(tmp_path, "tensor")


def test_a_vocabulary_without_its_last_lines_is_refused(tmp_path):
    directory = copy_small(tmp_path)
    lines = "\n".join(MERGES[:700]) + "\n"
    (directory / "vocab.bpe").write_text(lines, encoding="utf-8")
    refuses(directory, "vocab.bpe", how=lambda path: minigpt2.load(path).tokenizer)
