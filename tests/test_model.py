"""The transformer gives what OpenAI's own code gave, in whatever way the text is read."""

import numpy as np
import pytest
import textbook
from helpers import SMALL

from minigpt2 import model
from minigpt2.model import Cache, Config
from minigpt2.speed.prefill import prefill

EXPECTED = dict(np.load(SMALL / "expected.npz"))


def read(gpt2, tokens, cache, chunks):
    """Logits of tokens (B, T) that are read in chunks of the given lengths."""
    parts = np.split(tokens, np.cumsum(chunks)[:-1], axis=1)
    x = [model.forward(gpt2.params, part, cache) for part in parts]
    return model.unembed(gpt2.params, np.concatenate(x, axis=1))


@pytest.mark.parametrize("i", range(4))
def test_logits_are_those_of_openais_code(small, i):
    logits = small.logits(EXPECTED[f"tokens_{i}"])
    assert logits.dtype == np.float32
    assert np.abs(logits - EXPECTED[f"logits_{i}"]).max() <= 1e-4


@pytest.mark.parametrize("length", [1, 7, 40])
def test_the_textbook_and_the_model_give_the_same_logits(small, length):
    tokens = np.random.default_rng(length).integers(0, 1000, length)
    logits = textbook.gpt2(tokens, small.params, small.config.n_head)
    assert np.abs(small.logits(tokens) - logits).max() <= 1e-4


@pytest.mark.parametrize("i", range(4))
def test_cache_is_the_present_of_openais_code(small, i):
    tokens = EXPECTED[f"tokens_{i}"]
    cache = Cache(small.config, len(tokens))
    model.forward(small.params, tokens, cache)
    present = cache.kv[..., : cache.length, :].transpose(2, 0, 1, 3, 4, 5)
    assert np.abs(present - EXPECTED[f"present_{i}"]).max() <= 1e-4


def test_second_half_on_the_cache_of_the_first(small):
    tokens, split = EXPECTED["tokens_3"], int(EXPECTED["past_split"])
    cache = Cache(small.config, len(tokens))
    model.forward(small.params, tokens[:, :split], cache)
    logits = model.unembed(
        small.params, model.forward(small.params, tokens[:, split:], cache)
    )
    assert np.abs(logits - EXPECTED["past_logits"]).max() <= 1e-4


@pytest.mark.parametrize(
    "chunks", [[1] * 40, [39, 1], [1, 39], [7, 13, 20], [20, 20]], ids=str
)
def test_any_split_into_chunks_gives_the_same_logits(small, chunks):
    tokens = EXPECTED["tokens_2"]
    logits = read(small, tokens, Cache(small.config), chunks)
    assert np.abs(logits - EXPECTED["logits_2"]).max() <= 1e-4


@pytest.mark.parametrize("rows", [1, 3, 16, 39])
def test_long_prompts_are_read_in_chunks(small, rows):
    for i in 2, 3:
        tokens, expected = EXPECTED[f"tokens_{i}"], EXPECTED[f"logits_{i}"]
        x = prefill(small.params, tokens, Cache(small.config, len(tokens)), rows)
        assert np.abs(model.unembed(small.params, x) - expected).max() <= 1e-4


def test_a_batch_is_its_rows(tiny):
    tokens = np.random.default_rng(0).integers(0, 4096, (3, 17))
    together = tiny.logits(tokens)
    for row, logits in zip(tokens, together, strict=True):
        assert np.abs(tiny.logits(row) - logits).max() <= 1e-4


def test_forgotten_tokens_leave_no_trace(small):
    tokens = EXPECTED["tokens_2"]
    cache = Cache(small.config)
    model.forward(small.params, tokens[:, ::-1], cache)
    cache.length = 0
    logits = read(small, tokens, cache, [25, 15])
    assert np.abs(logits - EXPECTED["logits_2"]).max() <= 1e-4


def test_the_future_changes_nothing(tiny):
    tokens = np.arange(100, 130)
    changed = np.concatenate([tokens[:20], tokens[:9:-1][:10]])
    assert np.abs(tiny.logits(tokens)[:20] - tiny.logits(changed)[:20]).max() <= 1e-5


def test_everything_is_float32(tiny, monkeypatch):
    seen = set()
    for name in "layer_norm", "linear", "gelu", "softmax", "attention_weights":
        function = getattr(model, name)

        def spy(*args, function=function, **kwargs):
            y = function(*args, **kwargs)
            seen.add(y.dtype)
            return y

        monkeypatch.setattr(model, name, spy)
    tiny.logits([1, 2, 3])
    assert seen == {np.dtype(np.float32)}


def test_layer_norm_and_gelu_are_the_textbooks():
    rng = np.random.default_rng(1)
    x, g, b = rng.normal(3, 5, (4, 7, 24)), rng.normal(size=24), rng.normal(size=24)
    before = x.copy()
    expected = textbook.layer_norm(x, g, b)
    assert np.allclose(model.layer_norm(x, g, b), expected, rtol=1e-12)
    assert np.allclose(model.gelu(x), textbook.gelu(x), rtol=0, atol=1e-12)
    assert (x == before).all()


def test_softmax_does_not_overflow():
    p = model.softmax(np.array([[1e38, 0, -1e38], [1, 2, 3]], np.float32))
    assert np.allclose(p[0], [1, 0, 0])
    assert np.allclose(p[1], np.exp([1, 2, 3]) / np.exp([1, 2, 3]).sum())


def test_attention_weights_are_causal_and_sum_to_one():
    rng = np.random.default_rng(2)
    q = rng.normal(size=(2, 3, 4, 8)).astype(np.float32)
    k = rng.normal(size=(2, 3, 9, 8)).astype(np.float32)
    weights = model.attention_weights(q, k)
    assert weights.shape == (2, 3, 4, 9)
    assert np.allclose(weights.sum(-1), 1, atol=1e-6)
    for i in np.ndindex(2, 3):
        queries = np.concatenate([k[i][:5], q[i]])  # those of the past: any
        expected = textbook.attention_weights(queries, k[i])[5:]
        assert np.allclose(weights[i], expected, atol=1e-6)
    assert (weights[:, :, np.triu(np.ones((4, 9), bool), 6)] == 0).all()


def test_parameters_are_nested_as_they_are_named(tiny):
    assert set(tiny.params) == {"wte", "wpe", "h", "ln_f"}
    assert len(tiny.params["h"]) == 6
    assert set(tiny.params["h"][0]["attn"]["c_attn"]) == {"w", "b"}


def test_heads_are_split_and_merged_in_order():
    x = np.arange(2 * 3 * 8).reshape(2, 3, 8)
    heads = model.split_heads(x, 4)
    assert heads.shape == (2, 4, 3, 2)
    assert (heads[1, 2, 0] == x[1, 0, 4:6]).all()
    assert (model.merge_heads(heads) == x).all()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"n_head": 0}, "n_head is 0, expected a positive integer"),
        ({"n_ctx": -1}, "n_ctx is -1"),
        ({"n_embd": 24.0}, "n_embd is 24.0"),
        ({"n_layer": True}, "n_layer is True"),
        ({"n_vocab": "1000"}, "n_vocab is '1000'"),
        ({"n_head": 5}, "n_head 5 must divide n_embd 24"),
    ],
    ids=str,
)
def test_a_config_that_makes_no_sense(small, change, message):
    with pytest.raises(ValueError, match=message):
        Config(**{**vars(small.config), **change})


@pytest.mark.parametrize(
    ("tokens", "message"),
    [
        ([], r"expected int \(T,\) or \(B, T\)"),
        ([1.0], "float64"),
        ("text", "expected int"),
        ([[[1]]], r"\(1, 1, 1\)"),
        ([1000], "not in 0 … 999"),
        ([-1], "not in 0 … 999"),
        ([0] * 41, "41 tokens, n_ctx is 40"),
    ],
    ids=str,
)
def test_tokens_that_make_no_sense(small, tokens, message):
    with pytest.raises(ValueError, match=message):
        small.logits(tokens)
