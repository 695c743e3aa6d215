"""Weights as other tools write them are opened rightly, or refused by name."""

import io
import pickle
import shutil
import warnings
import zipfile
from pathlib import Path

import numpy as np
import pytest
from checkpoints import (
    CONFIG as SIZES,
)
from checkpoints import (
    HEADER,
    HPARAMS,
    TINY,
    block,
    copy_small,
    entry,
    huggingface,
    huggingface_name,
    is_mapped,
    refuses,
    safetensors,
    table,
    weights,
)
from torch_files import (
    BIN,
    CONFIG,
    HOSTILE,
    RAN,
    TENSORS,
    Raw,
    call,
    legacy,
    named,
    opcodes,
    pickled,
    sharded,
    state,
    tensor,
    torch_file,
    word,
    zipped,
)

import minigpt2
from minigpt2.files.checkpoint import read_model
from minigpt2.files.pickles import unpickle

TORCH = Path(__file__).with_name("torch-small")  # a GPT-2 that torch 2.13 saved


def assert_weights(directory):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        _, tensors = read_model(directory)
    for name, array in weights(TINY).items():
        np.testing.assert_array_equal(tensors[name], array, name)
    return tensors


def change(directory, changed):
    """Write model.safetensors with changed(tensors by their names)."""
    tensors = {huggingface_name(n): a for n, a in weights(TINY).items()}
    file = safetensors(named(changed(tensors)))
    (directory / TENSORS).write_bytes(file)
    return directory


# pytorch_model.bin


@pytest.mark.parametrize("name", [BIN, "legacy.bin"])
def test_files_of_torch_give_the_logits_of_torch(tmp_path, name):
    expected = np.load(TORCH / "expected.npz")
    shutil.copy(TORCH / CONFIG, tmp_path)
    shutil.copy(TORCH / name, tmp_path / BIN)
    logits = minigpt2.load(tmp_path).logits(expected["tokens"])
    assert np.abs(logits - expected["logits"]).max() < 1e-6


@pytest.mark.parametrize("old", [False, True], ids=["zip", "old"])
@pytest.mark.parametrize("dtype", ["F64", "F32", "F16", "BF16"])
def test_tensors_come_out_of_pickles_as_they_were_written(tmp_path, dtype, old):
    directory = torch_file(tmp_path, old, dtype=dtype, prefix="transformer.")
    tensors = assert_weights(directory)
    assert is_mapped(tensors["wte"]) == (dtype == "F32" and not old)
    assert all(array.flags.aligned for array in tensors.values())
    assert_weights(torch_file(tmp_path, old, dtype=dtype, masks=True))


def test_a_float64_beyond_float32_is_infinite(tmp_path):
    huggingface(tmp_path)
    data = np.full((100, 8), 1e300).tobytes()
    (tmp_path / TENSORS).write_bytes(
        safetensors({"wte.weight": ("F64", (100, 8), data)})
    )
    checkpoint = minigpt2.files.checkpoint.Checkpoint(tmp_path)
    assert np.isinf(checkpoint.tensors([("wte", (100, 8))])["wte"]).all()


def with_tensor(tmp_path, wte, storages, **others):
    """A checkpoint whose wte is this one."""
    torch_file(tmp_path)
    tensors, stored = state()
    data = {key: data for key, (_, data) in stored.items()} | storages
    program = pickled(tensors | {"wte.weight": wte})
    (tmp_path / BIN).write_bytes(zipped(program, data, **others))
    return tmp_path


def test_tensors_may_share_a_storage(tmp_path):
    """wte begins at its third number; an attention mask is another view of it."""
    data = bytes(8) + weights(TINY)["wte"].astype("<f4").tobytes() + bytes(4)
    wte = tensor("x", "F32", (100, 8), offset=2, length=803)
    assert_weights(with_tensor(tmp_path, wte, {"x": data}))


@pytest.mark.parametrize("strides", [(1, 100), (0, 1), (8, 2), (0, 0), (16, 1)])
def test_numbers_in_another_order_are_refused(tmp_path, strides):
    wte = tensor("x", "F32", (100, 8), strides=strides, length=2000)
    words = f"wte is F32 with strides {strides}"
    refuses(with_tensor(tmp_path, wte, {"x": bytes(8000)}), words, how=minigpt2.load)


def test_the_stride_of_a_single_row_means_nothing(tmp_path):
    wpe = weights(TINY)["wpe"].astype("<f4").tobytes()
    directory = torch_file(tmp_path)
    tensors, storages = state()
    x = tensor("x", "F32", (1, 8, 8), strides=(5, 8, 1))
    data = {key: data for key, (_, data) in storages.items()} | {"x": wpe}
    file = zipped(pickled(tensors | {"wpe.weight": x}), data)
    (directory / BIN).write_bytes(file)
    assert_weights(directory)


@pytest.mark.parametrize(
    "wte, storages, words",
    [
        (tensor("x", "F32", (100, 8), offset=1), {"x": bytes(3200)}, "does not fit"),
        (tensor("x", "F32", (100, 8), length=900), {"x": bytes(3200)}, "does not fit"),
        (tensor("x", "F32", (100, 8)), {"x": bytes(3204)}, "does not fit"),
        (tensor("x", "F32", (100, 8)), {}, "makes no sense"),
        (tensor("x", "F32", (100, 8), offset=-1), {"x": bytes(3200)}, "another kind"),
        (
            tensor("x", "F32", (100, 8), length=1 << 63),
            {"x": bytes(3200)},
            "another kind",
        ),
        (tensor("x", "F32", (1 << 62, 4), length=4), {"x": bytes(16)}, "does not fit"),
        (tensor("x", "F32", (1,) * 33), {"x": bytes(4)}, "another kind"),
        (
            tensor("x", "F32", (100, 8), strides=(1,)),
            {"x": bytes(3200)},
            "another kind",
        ),
        (tensor("x", "F32", (100, 8), view=(("v", 0, 1),)), {"x": b""}, "another kind"),
        (tensor("x", "I64", (100, 8)), {"x": bytes(6400)}, "wte is I64, expected F32"),
        (7, {}, "'wte.weight' is no tensor, expected a state_dict"),
    ],
)
def test_a_tensor_that_makes_no_sense_is_refused(tmp_path, wte, storages, words):
    directory = with_tensor(tmp_path, wte, storages)
    refuses(directory, BIN, words, how=minigpt2.load)


def test_big_endian_numbers_are_refused(tmp_path):
    wte = tensor("x", "F32", (100, 8))
    directory = with_tensor(tmp_path, wte, {"x": bytes(3200)}, byteorder="big")
    refuses(directory, "big-endian", "save it as", how=minigpt2.load)
    file = legacy(pickled({}), {}, {"little_endian": False})
    (directory / BIN).write_bytes(file)
    refuses(directory, "big-endian", how=minigpt2.load)


def test_a_compressed_zip_is_refused(tmp_path):
    wte = tensor("x", "F32", (100, 8))
    how = zipfile.ZIP_DEFLATED
    directory = with_tensor(tmp_path, wte, {"x": bytes(3200)}, how=how)
    refuses(directory, "archive/data.pkl", "compressed", how=minigpt2.load)


@pytest.mark.parametrize("old", [False, True], ids=["zip", "old"])
def test_a_truncated_file_of_torch_is_refused(tmp_path, old):
    directory = torch_file(tmp_path, old)
    whole = (directory / BIN).read_bytes()
    for size in [*range(60), *range(60, len(whole), 331), len(whole) - 1]:
        (directory / BIN).write_bytes(whole[:size])
        refuses(directory, f"{BIN}: ", how=minigpt2.load)
    refuses(directory, "fetch it again", how=minigpt2.load)


def test_a_wrong_byte_in_the_pickle_is_refused(tmp_path):
    directory = torch_file(tmp_path)
    data = bytearray((directory / BIN).read_bytes())
    data[data.index(b"wte.weight") + 3] ^= 1
    (directory / BIN).write_bytes(data)
    refuses(directory, "pickle", "CRC-32", "fetch it again", how=minigpt2.load)


@pytest.mark.parametrize("payload", HOSTILE.values(), ids=HOSTILE)
@pytest.mark.parametrize("old", [False, True], ids=["zip", "old"])
def test_nothing_in_a_pickle_is_ever_run(tmp_path, monkeypatch, payload, old):
    monkeypatch.chdir(tmp_path)
    directory = torch_file(tmp_path / "model")
    program = pickled({"wte.weight": payload})
    file = legacy(program, {}) if old else zipped(program, {})
    (directory / BIN).write_bytes(file)
    refuses(directory, f"{BIN}: ", how=minigpt2.load)
    assert not Path(RAN).exists()


def test_the_call_that_is_not_made_is_named(tmp_path):
    directory = torch_file(tmp_path)
    (directory / BIN).write_bytes(zipped(pickled(HOSTILE["os.mkdir"]), {}))
    refuses(directory, "its pickle would call 'os mkdir'; ", how=minigpt2.load)


def test_one_of_these_pickles_would_run():
    """What they would do if Python's own reader had them."""
    with pytest.raises(FileNotFoundError, match="no-such-directory"):
        pickle.loads(pickled(call("os mkdir", "no-such-directory/x")))


@pytest.mark.parametrize(
    "value",
    [
        {},
        {"a": 1, "b": [1, 2, (3, (), ("x",))], "c": {"d": None, "e": [True, False]}},
        [-1, 255, 256, 65535, 65536, 1 << 31, -(1 << 40), 0x1950A86A20F9469CFC6C],
        ("é\u2028😀", "", [[]], {"a": {"b": {}}}),
    ],
)
def test_plain_pickles_are_read_as_python_reads_them(value):
    assert unpickle(io.BytesIO(pickle.dumps(value, 2))) == value
    assert unpickle(io.BytesIO(pickled(value))) == value == pickle.loads(pickled(value))


@pytest.mark.parametrize("byte", [26, 28, 29, 30, 40])
def test_a_wrong_byte_where_a_zip_says_where_a_storage_is(tmp_path, byte):
    """It would move a tensor by some bytes, or to another's place."""
    directory = torch_file(tmp_path)
    data = bytearray((directory / BIN).read_bytes())
    data[data.index(b"PK\3\4", data.index(b"archive/data/3")) + byte] ^= 8
    (directory / BIN).write_bytes(data)
    refuses(directory, "is not where its directory says", how=minigpt2.load)


@pytest.mark.parametrize("byte", [42, 43, 44])
def test_a_wrong_byte_in_the_directory_of_a_zip(tmp_path, byte):
    directory = torch_file(tmp_path)
    data = bytearray((directory / BIN).read_bytes())
    data[data.rindex(b"PK\1\2") + byte] ^= 8
    (directory / BIN).write_bytes(data)
    refuses(directory, f"{BIN}: ", "damaged", how=minigpt2.load)


def test_an_endless_directory_of_a_zip_is_not_read(tmp_path):
    """A small line of it becomes 20 times as long in memory."""
    directory = torch_file(tmp_path)
    file = zipped(pickled(state()[0]), {f"{n:0200}": b"" for n in range(1200)})
    (directory / BIN).write_bytes(file)
    refuses(directory, "its directory has ", "more than 262144", how=minigpt2.load)


def test_a_checkpoint_of_training_is_no_state_dict(tmp_path):
    directory = torch_file(tmp_path)
    program = pickled({"model": state()[0], "step": 5})
    for file in zipped(program, {}), legacy(program, {}):
        (directory / BIN).write_bytes(file)
        words = "'model' is no tensor, expected a state_dict"
        refuses(directory, words, how=minigpt2.load)


def deep(depth=250_000):
    """((((…)))), which would end Python if it were hashed, shown or compared."""
    return Raw(b")" + b"\x85" * depth)


@pytest.mark.slow
@pytest.mark.parametrize(
    "value",
    [
        deep(),
        {"a": deep()},
        [deep()],
        Raw(b"}" + deep() + b"Ns"),
        Raw(deep() + b"Q"),
        Raw(deep(120_000) + deep(120_000) + b"R"),
        Raw(deep() + opcodes("a") + b"Ns"),
        *(
            Raw(opcodes((*pid[:i], deep(), *pid[i + 1 :])) + b"Q")
            for pid in [("storage", word("torch FloatStorage"), "0", "cpu", 1, None)]
            for i in range(6)
        ),
    ],
)
def test_no_depth_of_a_pickle_is_too_much(tmp_path, value):
    directory, program = torch_file(tmp_path), pickled(value)
    old = b"".join(map(pickled, (0x1950A86A20F9469CFC6C, 1, {"little_endian": True})))
    for file in zipped(program, {}), old + pickled({}) + program:
        (directory / BIN).write_bytes(file)
        refuses(directory, f"{BIN}: ", how=minigpt2.load)


def test_tensors_that_share_their_numbers_are_no_bomb(tmp_path):
    """A thousand blocks of one float16 storage: each would become a float32 copy."""
    sizes = minigpt2.Config(n_vocab=2, n_ctx=2, n_embd=64, n_head=1, n_layer=99)
    huggingface(tmp_path, sizes=sizes)
    (tmp_path / TENSORS).unlink()
    shared = {
        huggingface_name(name): tensor("0", "F16", array.shape, length=1 << 14)
        for name, array in weights(sizes).items()
    }
    (tmp_path / BIN).write_bytes(zipped(pickled(shared), {"0": bytes(1 << 15)}))
    refuses(tmp_path, "share their numbers", how=minigpt2.load)


# Shards


@pytest.mark.parametrize("kind", [TENSORS, BIN])
def test_shards_are_one_model(tmp_path, kind):
    tensors = assert_weights(sharded(tmp_path, kind))
    assert all(map(is_mapped, tensors.values()))


@pytest.mark.parametrize("kind", [TENSORS, BIN])
def test_a_missing_shard_is_named(tmp_path, kind):
    stem, end = kind.split(".")
    (sharded(tmp_path, kind) / f"{stem}-00002-of-00003.{end}").unlink()
    name = f"{stem}-00002-of-00003.{end}"
    refuses(tmp_path, f"{kind}.index.json: ", name, "missing", how=minigpt2.load)


@pytest.mark.parametrize(
    "shard",
    [
        *("../x.safetensors", "/etc/passwd", "a/b.safetensors", "..", ".", "", None, 5),
        *("a\\b.safetensors", "C:x.safetensors", ".x.safetensors", ["a"], "x.pt"),
        *("x.safetensors\n", "x\0.safetensors", "x\u2044y.safetensors"),
    ],
)
def test_names_of_shards_do_not_lead_out(tmp_path, shard):
    (tmp_path / "x.safetensors").write_bytes(safetensors({}))
    directory = sharded(tmp_path / "model", **{"wte.weight": shard})
    refuses(directory, ".index.json: weight_map is no list", how=minigpt2.load)


@pytest.mark.parametrize("index", ["{}", '{"weight_map": []}', '{"weight_map": "a"}'])
def test_a_list_of_shards_that_is_none_is_refused(tmp_path, index):
    (sharded(tmp_path) / f"{TENSORS}.index.json").write_text(index)
    refuses(tmp_path, "weight_map is no list", how=minigpt2.load)


def test_a_list_that_does_not_fit_the_shards_is_refused(tmp_path):
    shard = "model-00002-of-00003.safetensors"
    directory = sharded(tmp_path, **{"wte.weight": shard})
    words = "does not list 'wte.weight' in model-00001-of-00003.safetensors"
    refuses(directory, words, how=minigpt2.load)
    sharded(tmp_path, x=shard)
    refuses(directory, f"lists 'x' in {shard}, where it is not", how=minigpt2.load)
    sharded(tmp_path, **{"x\ny": shard})
    refuses(directory, r"lists 'x\ny' in ", how=minigpt2.load)


# Names


@pytest.mark.parametrize(
    "prefix",
    [
        *("", "transformer.", "model.", "module.", "_orig_mod.", "model.transformer."),
        *("_orig_mod.transformer.", "module._orig_mod.transformer.", "module.model."),
        *(
            "_orig_mod.module.",
            "module.module.",
            "model._orig_mod.",
            "module.transformer.",
        ),
    ],
)
def test_prefixes_of_what_wraps_a_model_are_left_out(tmp_path, prefix):
    huggingface(tmp_path, prefix=prefix, masks=True)
    assert_weights(tmp_path)


def test_blocks_that_torch_compiled_have_their_names(tmp_path):
    def compiled(tensors):
        return {n.replace("h.1.", "h.1._orig_mod."): a for n, a in tensors.items()}

    assert_weights(change(huggingface(tmp_path), compiled))


@pytest.mark.parametrize("tie", [True, False])
@pytest.mark.parametrize("prefix", ["", "module."])
def test_an_output_layer_that_is_wte_is_fine(tmp_path, tie, prefix):
    huggingface(tmp_path, tie_word_embeddings=tie)
    name = f"{prefix}lm_head.weight"
    change(tmp_path, lambda tensors: tensors | {name: tensors["wte.weight"]})
    assert_weights(tmp_path)


@pytest.mark.parametrize("tie", [True, False])
def test_another_output_layer_is_refused(tmp_path, tie):
    huggingface(tmp_path, tie_word_embeddings=tie)
    other = weights(TINY)["wte"].copy()
    other[99, 7] += 1
    change(tmp_path, lambda tensors: tensors | {"lm_head.weight": other})
    refuses(tmp_path, "lm_head.weight differs from wte.weight", how=minigpt2.load)
    turned = weights(TINY)["wte"].reshape(8, 100)  # the same bytes
    change(tmp_path, lambda tensors: tensors | {"lm_head.weight": turned})
    refuses(tmp_path, "lm_head.weight differs from wte.weight", how=minigpt2.load)
    change(tmp_path, lambda tensors: tensors | {"lm_head.weight": other[:50]})
    refuses(tmp_path, "lm_head.weight differs from wte.weight", how=minigpt2.load)


def test_an_output_layer_that_is_left_out_is_missed(tmp_path):
    huggingface(tmp_path, tie_word_embeddings=False)
    words = "tie_word_embeddings is not true, and there is no lm_head.weight"
    refuses(tmp_path, CONFIG, words, how=minigpt2.load)


def test_tensors_that_are_not_used_are_named_once(tmp_path):
    huggingface(tmp_path)
    names = ["score.weight", "v_head.summary.bias", "step", "x.y", "z"]
    more = {name: np.zeros(3) for name in names}
    change(tmp_path, lambda tensors: tensors | more)
    with pytest.warns(UserWarning) as caught:
        minigpt2.load(tmp_path)
    (warning,) = caught
    words = "not used: score/w, v_head/summary/b, step and 2 others"
    assert str(warning.message) == f"{tmp_path / TENSORS}: {words}"


@pytest.mark.parametrize(
    "name",
    [
        "h.0.attn.c_attn.lora_A.default.weight",
        "h.1.crossattention.c_attn.weight",
        "h.0.mlp.c_fc.weight.absmax",
        "h.0.adapter.weight",
        "ln_f.scale",
        "lm_head.bias",
        "wpe.scale",
    ],
)
def test_a_tensor_that_changes_the_numbers_is_refused(tmp_path, name):
    extra = {name: np.zeros(3)}
    change(huggingface(tmp_path), lambda tensors: tensors | extra)
    refuses(tmp_path, "part of the model, and not of a GPT-2", how=minigpt2.load)


# Runs of fine-tuning tools, in OpenAI's layout


def run(tmp_path, *steps, newest=None):
    """A directory with several steps; the small checkpoint is that of step 2000."""
    directory = copy_small(tmp_path)
    for step in steps:
        for end in ("index", "data-00000-of-00001"):
            shutil.copy(
                directory / f"model.ckpt.{end}", directory / f"model-{step}.{end}"
            )
        if step != 2000:  # of another one
            (directory / f"model-{step}.index").write_bytes(b"")
    for file in directory.glob("model.ckpt.*"):
        file.unlink()
    if newest:
        text = f'model_checkpoint_path: "{newest}"\nall_model_checkpoint_paths: "a"\n'
        (directory / "checkpoint").write_text(text)
    return directory


@pytest.mark.parametrize(
    "newest", ["model-2000", "/content/run1/model-2000", r"C:\r\model-2000"]
)
def test_the_newest_step_of_a_run_is_used(tmp_path, newest):
    directory = run(tmp_path, 500, 2000, 900, newest=newest)
    assert minigpt2.load(directory).config.n_layer == 4


def test_the_only_step_of_a_run_is_used(tmp_path):
    assert minigpt2.load(run(tmp_path, 2000)).config.n_layer == 4


def test_a_step_of_a_run_is_given_by_its_index(tmp_path):
    directory = run(tmp_path, 500, 2000, newest="model-500")
    config, _ = read_model(directory / "model-2000.index")
    assert config.n_layer == 4
    refuses(directory, "model-500.index: ", how=read_model)


@pytest.mark.parametrize("newest", [None, "model-1", "../model-1", "", "a/../b"])
def test_a_run_that_does_not_say_which_step_is_refused(tmp_path, newest):
    directory = run(tmp_path, 500, 2000, newest=newest)
    words = "names none of the steps model-2000.index, model-500.index; give one: "
    refuses(directory, words, str(directory / "model-500.index"), how=read_model)


def test_a_run_without_sizes_says_so(tmp_path):
    directory = run(tmp_path, 2000)
    (directory / HPARAMS).unlink()
    refuses(directory, "hparams.json missing", how=read_model)


def test_tensors_of_an_optimizer_are_named_once(tmp_path):
    directory = copy_small(tmp_path)
    data = (directory / "model.ckpt.data-00000-of-00001").read_bytes()
    found = minigpt2.files.checkpoint.Checkpoint(directory).entries
    records = [
        (f"model/{name}".encode(), entry(1, e.shape, 0, e.offset, e.size, e.crc))
        for name, e in sorted(found.items())
    ]
    for i, name in enumerate([b"beta1_power", b"model/h0/ln_1/g/Adam", b"step"]):
        records.append((name, entry(9, (), 0, len(data) + 8 * i, 8)))
    index = table(block([HEADER, *sorted(records)]))
    (directory / "model.ckpt.index").write_bytes(index)
    (directory / "model.ckpt.data-00000-of-00001").write_bytes(data + bytes(24))
    with pytest.warns(
        UserWarning, match="not used: beta1_power, h0/ln_1/g/Adam, step$"
    ):
        config, _ = read_model(directory)
    assert config == SIZES


# What is there instead


@pytest.mark.parametrize(
    "name, words",
    [
        ("gpt2-q4.gguf", "take the model.safetensors that it was made from"),
        ("model.onnx", "take the model.safetensors that it was made from"),
        ("tf_model.h5", "open it with transformers"),
        ("flax_model.msgpack", "open it with transformers"),
        ("rust_model.ot", "open it with transformers"),
        ("ckpt.pt", "save the state_dict of its model as pytorch_model.bin"),
        ("last.ckpt", "save the state_dict of its model as pytorch_model.bin"),
        ("gpt2.safetensors", "expected under the name model.safetensors"),
        ("model.bin", "or pytorch_model.bin"),
        ("adapter_model.safetensors", "merge the adapter into its model"),
        ("checkpoint-500/config.json", "give that directory"),
    ],
)
@pytest.mark.parametrize("config", [False, True], ids=["", "config.json"])
def test_what_is_there_instead_is_named(tmp_path, name, words, config):
    if config:
        (huggingface(tmp_path) / TENSORS).unlink()
    (tmp_path / name).parent.mkdir(exist_ok=True)
    (tmp_path / name).write_bytes(b"x")
    problem = "model.safetensors missing" if config else "no checkpoint"
    refuses(tmp_path, f"{problem}, but {name} is there; ", words, how=minigpt2.load)
    with pytest.raises(minigpt2.CheckpointError) as caught:
        minigpt2.load(tmp_path)
    assert not any(word in str(caught.value) for word in ("delete", "again"))


@pytest.mark.parametrize("whole", [False, True])
def test_an_adapter_is_refused_beside_its_model_or_without(tmp_path, whole):
    if whole:
        huggingface(tmp_path)
    (tmp_path / "adapter_config.json").write_text("{}")
    refuses(tmp_path, "adapter_config.json", "merge the adapter", how=minigpt2.load)


@pytest.mark.parametrize(
    "name", [TENSORS, BIN, CONFIG, "model.ckpt.index", "model.ckpt.data-00000-of-00001"]
)
def test_a_pointer_of_git_lfs_is_not_the_file(tmp_path, name):
    if name.startswith("model.ckpt"):
        directory = copy_small(tmp_path)
    else:
        directory = huggingface(tmp_path)
        if name == BIN:
            (directory / TENSORS).unlink()
    pointer = b"version https://git-lfs.github.com/spec/v1\noid sha256:%s\nsize 5\n"
    (directory / name).write_bytes(pointer % (b"ab" * 32))
    refuses(directory, f"{name}: ", "Git LFS", "git lfs pull", how=minigpt2.load)


def test_another_architecture_is_said_before_all_else(tmp_path):
    """Before a missing key, and before missing tensors."""
    path = tmp_path / CONFIG
    path.write_text('{"model_type": "llama"}')
    refuses(tmp_path, "model_type is 'llama', expected 'gpt2'", how=minigpt2.load)
    (tmp_path / TENSORS).write_bytes(b"")
    refuses(tmp_path, "model_type is 'llama', expected 'gpt2'", how=minigpt2.load)


@pytest.mark.parametrize("n_inner, right", [(None, 1), (32, 1), (64, 0), ("32", 0)])
def test_another_width_of_the_mlp_is_refused(tmp_path, n_inner, right):
    huggingface(tmp_path, n_inner=n_inner)
    if right:
        assert_weights(tmp_path)
    else:
        words = f"n_inner is {n_inner!r}, expected 32"
        refuses(tmp_path, CONFIG, words, how=minigpt2.load)


def test_quantised_tensors_are_refused(tmp_path):
    huggingface(tmp_path)
    data = safetensors({"wte.weight": ("I8", (100, 8), bytes(800))})
    (tmp_path / TENSORS).write_bytes(data)
    refuses(tmp_path, "wte is I8", "not quantised", how=minigpt2.load)


def test_safetensors_go_before_pickles(tmp_path):
    directory = torch_file(tmp_path)
    (directory / BIN).write_bytes(b"")
    assert_weights(huggingface(directory))
