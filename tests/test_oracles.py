"""Logits equal transformers' on checkpoints that transformers and TensorFlow wrote."""

import importlib
import importlib.util
import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from helpers import transformers_model

import minigpt2
from minigpt2 import score
from minigpt2.files.checkpoint import AS_FLOAT32, Checkpoint
from minigpt2.files.pickles import read_pytorch
from minigpt2.model import Config, nest, shapes

TINY = Path(__file__).parent.parent / "weights" / "tiny"
BENCHMARKS = Path(__file__).parent.parent / "benchmarks"
TOLERANCE = 1e-4  # of 1 + |logit|
LOSS_TOLERANCE = 1e-4  # nats
SHAPES = {
    "124M": Config(n_vocab=50257, n_ctx=1024, n_embd=768, n_head=12, n_layer=12),
    "355M": Config(n_vocab=50257, n_ctx=1024, n_embd=1024, n_head=16, n_layer=24),
}
LENGTHS = 1, 60, 1024

# numbered .npy files and their names → a checkpoint, by TensorFlow's own saver
SAVE = """
import json, os, sys
os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
import numpy as np
import tensorflow as tf

v1 = tf.compat.v1
v1.disable_eager_execution()
arrays, checkpoint = sys.argv[1:]
variables, values = [], []
with open(os.path.join(arrays, "names.json")) as file:
    for i, name in enumerate(json.load(file)):
        value = np.load(os.path.join(arrays, f"{i}.npy"))
        variable = v1.get_variable(
            name, value.shape, tf.float32, initializer=v1.zeros_initializer()
        )
        variables.append(variable)
        values.append(value)
with v1.Session() as session:
    for variable, value in zip(variables, values):
        variable.load(value, session)
    saver = v1.train.Saver(variables)
    saver.save(session, checkpoint, write_meta_graph=False)
print(tf.__version__)
"""

pytestmark = [
    pytest.mark.oracle,
    pytest.mark.filterwarnings("default"),  # other libraries' warnings are theirs
]


@pytest.fixture
def torch():
    return pytest.importorskip("torch", reason="torch is not installed")


@pytest.fixture
def transformers(torch, monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    return pytest.importorskip("transformers", reason="transformers is not installed")


@pytest.fixture
def tensorflow_python():
    """An interpreter that has TensorFlow: torch and it seldom live in one environment."""
    python = os.environ.get("MINIGPT2_TENSORFLOW_PYTHON")
    if python:
        return python
    if importlib.util.find_spec("tensorflow") is None:
        pytest.skip(
            "tensorflow is not installed here; $MINIGPT2_TENSORFLOW_PYTHON may name "
            "an interpreter that has it"
        )
    return sys.executable


def random_tokens(config, length):
    rng = np.random.default_rng([length, config.n_vocab])
    return rng.integers(0, config.n_vocab, length)


def difference(ours, theirs):
    """The largest |ours - theirs| / (1 + |theirs|), and the largest |ours - theirs|."""
    assert ours.shape == theirs.shape
    assert ours.dtype == np.float32
    assert np.isfinite(ours).all() and np.isfinite(theirs).all()
    absolute = np.abs(ours - theirs)
    return float((absolute / (1 + np.abs(theirs))).max()), float(absolute.max())


def assert_same_logits(title, gpt2, oracle, torch, lengths):
    relative = {}
    for length in lengths:
        tokens = random_tokens(gpt2.config, length)
        with torch.no_grad():
            theirs = oracle(torch.tensor(tokens[None])).logits[0].numpy()
        relative[length], absolute = difference(gpt2.logits(tokens), theirs)
        print(
            f"{title}, {length} tokens: max |difference| / (1 + |logit|) "
            f"{relative[length]:.2e}, max |difference| {absolute:.2e}, logits from "
            f"{theirs.min():.1f} to {theirs.max():.1f}"
        )
    assert max(relative.values()) <= TOLERANCE


def test_transformers_reads_the_embedded_model_and_gives_our_logits(
    torch, transformers
):
    oracle = transformers.GPT2LMHeadModel.from_pretrained(TINY, dtype=torch.float32)
    assert_same_logits("tiny", minigpt2.load(TINY), oracle.eval(), torch, (1, 60, 256))


@pytest.fixture
def oracle(torch, transformers):
    """A GPT-2 of transformers with logits of several units."""
    torch.manual_seed(2019)
    config = transformers.GPT2Config(
        n_embd=48,
        n_head=4,
        n_layer=3,
        n_positions=64,
        vocab_size=500,
        bos_token_id=499,
        eos_token_id=499,
        initializer_range=0.2,
    )
    oracle = transformers.GPT2LMHeadModel(config).eval()
    with torch.no_grad():  # transformers starts from zero, where a mistake would hide
        for name, parameter in oracle.named_parameters():
            if name.endswith(".bias"):
                parameter.normal_(std=0.1)
    return oracle


def save_pickle(torch, oracle, directory, **how):
    """config.json and pytorch_model.bin, with the masks that older files have."""
    state = oracle.state_dict()
    N = oracle.config.n_positions
    for i in range(oracle.config.n_layer):
        mask = torch.ones(N, N, dtype=torch.bool).tril()[None, None]
        state[f"transformer.h.{i}.attn.bias"] = mask
        state[f"transformer.h.{i}.attn.masked_bias"] = torch.tensor(-1e4)
    oracle.config.save_pretrained(directory)
    torch.save(state, directory / "pytorch_model.bin", **how)


def save_pickles(torch, oracle, directory):
    """pytorch_model.bin in two shards and their list, as transformers 4 wrote them."""
    state = oracle.state_dict()
    names = {1: list(state)[::2], 2: list(state)[1::2]}
    weight_map = {}
    for i, some in names.items():
        shard = f"pytorch_model-{i:05}-of-00002.bin"
        torch.save({name: state[name].clone() for name in some}, directory / shard)
        weight_map |= dict.fromkeys(some, shard)
    index = {"metadata": {}, "weight_map": weight_map}
    (directory / "pytorch_model.bin.index.json").write_text(json.dumps(index))
    oracle.config.save_pretrained(directory)


WAYS = {
    "safetensors": lambda torch, m, path: m.save_pretrained(path),
    "shards": lambda torch, m, path: m.save_pretrained(path, max_shard_size="90KB"),
    "bin": save_pickle,
    "old bin": lambda *a: save_pickle(*a, _use_new_zipfile_serialization=False),
    "bin shards": save_pickles,
}


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("dtype", ["float32", "float16", "bfloat16"])
def test_a_checkpoint_that_transformers_wrote_gives_its_logits(
    torch, oracle, tmp_path, dtype, way
):
    WAYS[way](torch, oracle.to(getattr(torch, dtype)), tmp_path)
    entries = Checkpoint(tmp_path).entries
    stored = {e.dtype for name, e in entries.items() if "bias" not in name}
    short = {"float32": "F32", "float16": "F16", "bfloat16": "BF16"}[dtype]
    assert stored - {"BOOL"} == {short}
    gpt2 = minigpt2.load(tmp_path)
    assert gpt2.config == Config(500, 64, 48, 4, 3)
    # the rounded weights, and then float32 arithmetic, as here
    title = f"{way}, {dtype}"
    assert_same_logits(title, gpt2, oracle.float(), torch, (1, 7, 64))


def test_what_torch_saves_is_read_as_torch_reads_it(torch, tmp_path):
    """Views, Parameters, one storage for all, no numbers, other folders in the zip."""
    base = torch.arange(60, dtype=torch.float32)
    state = {
        "view": base[10:30].view(4, 5),
        "row": base[:6].view(1, 6),
        "rows": base.view(6, 10)[2:4],
        "parameter": torch.nn.Parameter(base[3:7]),
        "none": torch.zeros(0, 3),
        "scalar": torch.tensor(3.0),
        "half": base.half()[5:9],
    }
    path = tmp_path / "a folder.bin"
    for how in {}, {"_use_new_zipfile_serialization": False}:
        torch.save(state, path, **how)
        data = np.memmap(path, np.uint8, "r")
        for name, entry in read_pytorch(path, data.data).items():
            part = data[entry.offset :][: entry.size]
            array = AS_FLOAT32[entry.dtype](np.asarray(part)).reshape(entry.shape)
            assert np.array_equal(array, state[name].detach().float().numpy()), name
    torch.save({"a": base.view(6, 10).T}, path)
    (entry,) = read_pytorch(path, memoryview(path.read_bytes())).values()
    assert entry.dtype == "F32 with strides (1, 10)"


PUBLISHED = os.environ.get("MINIGPT2_PUBLISHED", "")  # directories, joined by pathsep


@pytest.mark.parametrize("directory", PUBLISHED.split(os.pathsep) if PUBLISHED else [])
def test_a_published_checkpoint_gives_the_logits_of_transformers(
    torch, transformers, directory
):
    """pytorch_model.bin as people published it. $MINIGPT2_PUBLISHED names some, as
    iglm/trained_models/IgLM of PyPI's iglm 0.1.0."""
    oracle = transformers.GPT2LMHeadModel.from_pretrained(directory).float().eval()
    gpt2 = minigpt2.load(directory)
    lengths = 1, 60, gpt2.config.n_ctx
    assert_same_logits(Path(directory).name, gpt2, oracle, torch, lengths)


def released_shape_arrays(config):
    """Random parameters by OpenAI's names, matrices (1, n_in, n_out) as OpenAI's.

    wte as spread as the released one, so that logits are as large as logits are.
    """
    rng = np.random.default_rng(config.n_layer)
    for name, shape in shapes(config):
        array = rng.standard_normal(shape, np.float32)
        if name.endswith("/g"):
            array = 1 + np.float32(0.1) * array
        elif name.endswith("/b"):
            array *= np.float32(0.05)
        else:
            array *= np.float32({"wte": 0.14, "wpe": 0.01}.get(name, 0.02))
        yield name, array[None] if name.endswith("/w") else array


def save_with_tensorflow(python, arrays, directory):
    """Write `model.ckpt.*` and return the version of the TensorFlow that wrote it."""
    numbered = directory / "arrays"
    numbered.mkdir()
    for i, array in enumerate(arrays.values()):
        np.save(numbered / f"{i}.npy", array)
    names = json.dumps([f"model/{name}" for name in arrays])
    (numbered / "names.json").write_text(names)
    done = subprocess.run(
        [python, "-c", SAVE, str(numbered), str(directory / "model.ckpt")],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    shutil.rmtree(numbered)
    return done.stdout.strip()


@pytest.mark.parametrize("size", SHAPES)
def test_a_released_shape_written_by_tensorflow_gives_transformers_logits(
    size, torch, transformers, tensorflow_python, tmp_path
):
    config = SHAPES[size]
    arrays = dict(released_shape_arrays(config))
    directory = tmp_path / size
    directory.mkdir()
    try:
        version = save_with_tensorflow(tensorflow_python, arrays, directory)
        (directory / "hparams.json").write_text(json.dumps(vars(config)))
        check_released_shape(size, directory, arrays, version, torch)
    finally:
        shutil.rmtree(directory)


def check_released_shape(size, directory, arrays, version, torch):
    config = SHAPES[size]
    names = sorted(path.name for path in directory.iterdir())
    data = "model.ckpt.data-00000-of-00001"
    assert names == ["checkpoint", "hparams.json", data, "model.ckpt.index"]

    start = time.perf_counter()
    gpt2 = minigpt2.load(directory)
    seconds = time.perf_counter() - start
    print(f"{size}, written by TensorFlow {version}: loaded in {seconds * 1000:.1f} ms")
    assert gpt2.config == config

    checkpoint = Checkpoint(directory)
    in_file = sorted(
        checkpoint.entries, key=lambda name: checkpoint.entries[name].offset
    )
    order = "in the order of their names" if in_file == sorted(in_file) else in_file[:9]
    index_bytes = (directory / "model.ckpt.index").stat().st_size
    print(f"{size}: index of {index_bytes} bytes, plain blocks, tensors {order}")
    n_bytes = (directory / data).stat().st_size
    start = time.perf_counter()
    assert checkpoint.verify() == n_bytes
    seconds = time.perf_counter() - start
    print(f"{size}: {n_bytes} bytes verified at {n_bytes / seconds / 1e6:.0f} MB/s")

    tensors = checkpoint.tensors(shapes(config))
    for name, array in arrays.items():
        assert np.array_equal(tensors[name], array.reshape(tensors[name].shape)), name
    oracle = transformers_model(config, arrays)
    assert_same_logits(size, gpt2, oracle, torch, LENGTHS)


def transformers_losses(oracle, torch, tokens, size, stride):
    """The losses, float64, of sliding windows as transformers' documentation has them:
    of each window the tokens that the one before did not hold."""
    losses, end_before = [], 0
    for begin in range(0, len(tokens), stride):
        end = min(begin + size, len(tokens))
        window = torch.tensor(np.asarray(tokens)[None, begin:end])
        new = min(end - end_before, end - begin - 1)  # the first one of all is given
        with torch.no_grad():
            logits = oracle(window).logits[0, :-1].double()
        loss = torch.nn.functional.cross_entropy(
            logits, window[0, 1:], reduction="none"
        )
        losses.append(loss[len(loss) - new :].numpy())
        end_before = end
        if end == len(tokens):
            break
    return np.concatenate(losses)


@pytest.mark.parametrize("stride", [256, 128, 100])
def test_losses_of_the_same_windows_on_tiny(torch, transformers, tmp_path, stride):
    """What benchmarks/zero_shot.py sums up, and score.py with it."""
    sys.path.insert(0, str(BENCHMARKS))
    texts, zero_shot = map(importlib.import_module, ("texts", "zero_shot"))
    oracle = transformers.GPT2LMHeadModel.from_pretrained(TINY, dtype=torch.float32)
    gpt2 = minigpt2.load(TINY)
    path = tmp_path / "text8"
    path.write_text("there was once a king whose only daughter lay under a spell " * 60)
    tokens = gpt2.tokenizer.encode(path.read_text())
    reading = "plain" if stride == 256 else "sliding"
    items = zero_shot.items(gpt2, "text8", reading, path, texts.Read(), stride=stride)
    ours = [zero_shot.measure(gpt2, "text8", *item) for item in items]
    theirs = transformers_losses(oracle.eval(), torch, tokens, 256, stride)
    assert sum(sums["tokens"] for sums in ours) == len(theirs) > 600
    mean = -sum(sums["log_p"] for sums in ours) / len(theirs)
    print(f"stride {stride}: mean loss {mean:.6f}, transformers' {theirs.mean():.6f}")
    assert abs(mean - theirs.mean()) < LOSS_TOLERANCE
    if reading == "sliding":
        scores = score.log_probabilities(gpt2.params, gpt2.config, tokens, stride)
        assert np.abs(-scores - theirs).max() < LOSS_TOLERANCE


@pytest.mark.parametrize("corpus", ["1bw", "wikitext103"])
def test_losses_of_the_papers_reading_on_tiny(torch, transformers, tmp_path, corpus):
    sys.path.insert(0, str(BENCHMARKS))
    texts, zero_shot = map(importlib.import_module, ("texts", "zero_shot"))
    oracle = transformers.GPT2LMHeadModel.from_pretrained(TINY, dtype=torch.float32)
    gpt2 = minigpt2.load(TINY)
    path = tmp_path / corpus
    path.write_text(
        "The king 's men ( all 3 ) didn 't see the fox , or a bear .\n" * 60
    )
    text = "The king's men (all 3) didn't see the fox, or a bear.\n" * 60
    tokens = [gpt2.tokenizer.eot, *gpt2.tokenizer.encode(text)]
    items = zero_shot.items(gpt2, corpus, "paper", path, texts.Read())
    ours = [zero_shot.measure(gpt2, corpus, *item) for item in items]
    theirs = transformers_losses(oracle.eval(), torch, tokens, 256, 255)
    assert sum(sums["tokens"] for sums in ours) == len(theirs) > 600
    mean = -sum(sums["log_p"] for sums in ours) / len(theirs)
    assert abs(mean - theirs.mean()) < LOSS_TOLERANCE


@pytest.mark.parametrize(
    "sentence",
    ["It was so .", "The king saw the bear and the fox , and the bear saw him ."],
)
def test_choices_are_those_of_transformers(torch, transformers, tmp_path, sentence):
    """The Children's Book Test, in the window and longer than it: the losses of each
    candidate's text from the candidate on."""
    sys.path.insert(0, str(BENCHMARKS))
    names = "choices", "texts", "zero_shot"
    choices, texts, zero_shot = map(importlib.import_module, names)
    oracle = transformers.GPT2LMHeadModel.from_pretrained(TINY, dtype=torch.float32)
    gpt2 = minigpt2.load(TINY)
    path = tmp_path / "cbt"
    lines = [f"{i} {sentence}" for i in range(1, 21)]
    lines.append(
        "21 Then the XXXXX ate it .\tfox\t\tfox|bear|king|a|b|c|d|e|f|little girl"
    )
    path.write_text("\n".join(lines) + "\n\n")
    ((tokens, right),) = zero_shot.items(gpt2, "cbt-ne", "paper", path, texts.Read())
    assert right == 0
    cut = max(0, max(map(len, tokens)) - 256)
    assert (cut == 0) == sentence.startswith("It")
    first = choices.shared(tokens) - cut
    theirs = [
        transformers_losses(oracle.eval(), torch, each[cut:], 256, 256)[
            first - 1 :
        ].sum()
        for each in tokens
    ]
    ours = choices.log_p_of_each(gpt2.params, gpt2.config, tokens)
    print(f"max |difference| {np.abs(ours + theirs).max():.2e} of {max(theirs):.1f}")
    assert np.abs(ours + theirs).max() < 10 * LOSS_TOLERANCE  # of some ten tokens


def test_losses_of_the_same_windows_at_the_shape_of_124m(torch, transformers):
    config = SHAPES["124M"]
    arrays = dict(released_shape_arrays(config))
    oracle = transformers_model(config, arrays)
    params = nest({k: a[0] if a.ndim == 3 else a for k, a in arrays.items()})
    tokens = random_tokens(config, 1500)
    ours = -score.log_probabilities(params, config, tokens)
    theirs = transformers_losses(oracle, torch, tokens, 1024, 512)
    print(
        f"124M: max |difference| {np.abs(ours - theirs).max():.2e} of {theirs.max():.1f}"
    )
    assert np.abs(ours - theirs).max() < LOSS_TOLERANCE


def test_the_gain_of_a_prompt_is_that_of_transformers(torch, transformers):
    """What benchmarks/drift.py measures."""
    sys.path.insert(0, str(BENCHMARKS))
    drift = importlib.import_module("drift")
    oracle = transformers.GPT2LMHeadModel.from_pretrained(TINY, dtype=torch.float32)
    gpt2 = minigpt2.load(TINY)
    prompt, instead = gpt2.tokenizer.encode(drift.PROMPTS[0]), [gpt2.tokenizer.eot]
    texts = drift.continue_all(gpt2, prompt, 100, 3, 40, (0, 0))
    gains = drift.gain(gpt2, prompt, instead, texts)
    for text, ours in zip(texts, gains, strict=True):
        after, without = (
            transformers_losses(oracle.eval(), torch, [*context, *text], 256, 256)
            for context in (prompt, instead)
        )
        theirs = without - after[len(prompt) - 1 :]
        assert np.abs(ours - theirs).max() < LOSS_TOLERANCE


def test_ranks_and_the_figures_of_choices_are_those_of_transformers(
    torch, transformers
):
    """What python -m minigpt2.score shows, and gpt2.choose."""
    oracle = transformers.GPT2LMHeadModel.from_pretrained(TINY, dtype=torch.float32)
    gpt2 = minigpt2.load(TINY)
    tokens = random_tokens(gpt2.config, 250)
    found = score.score(gpt2.params, gpt2.config, tokens[None])
    with torch.no_grad():
        logits = oracle.eval()(torch.tensor(tokens[None])).logits[0, :-1].numpy()
    own = np.take_along_axis(logits, tokens[1:, None], axis=-1)
    # those that are as likely but for rounding may be on either side
    most, least = ((logits > own + side).sum(-1) + 1 for side in (-1e-4, 1e-4))
    assert ((least <= found.rank[0]) & (found.rank[0] <= most)).all()
    assert np.median(most - least) < 2  # so the bounds say something

    encode, eot = gpt2.tokenizer.encode, [gpt2.tokenizer.eot]
    prompt, texts = "Once upon a time there was a", [" king", " queen who had no child"]
    for choice in gpt2.choose(prompt, texts):
        context, whole = encode(prompt), encode(prompt + choice.text)
        answer = whole[len(context) :]
        losses = [
            transformers_losses(oracle, torch, [*before, *answer], 256, 256)
            for before in (context, eot)
        ]
        after, alone = (-loss[len(loss) - len(answer) :].sum() for loss in losses)
        expected = after, after / len(answer), after - alone
        assert choice[1:4] == pytest.approx(expected, abs=LOSS_TOLERANCE)
