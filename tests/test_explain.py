"""The page of one forward pass: its numbers are the model's, and its text is only text."""

import base64
import json
import re
import shutil
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
import textbook
from helpers import ROOT, run

import minigpt2
from minigpt2 import model
from minigpt2.page import explain
from minigpt2.page.watch import watch

TEXT = "Once upon a time there was an “unbelievable” wolf 🐺.\nThe king said"
HOSTILE = (
    "</script><script>document.title = 'hacked'</script><!-- <script> "
    "<img src=x onerror=\"document.title='hacked'\"> &lt;b> \u2028 \u202e'\"`${x}"
)


def unpack(data):
    """The arrays of a page's data."""
    return {
        name: np.frombuffer(base64.b64decode(a["data"]), a["type"]).reshape(a["shape"])
        for name, a in data["arrays"].items()
    }


def written(page):
    """The data that stands in a page, by way of an HTML parser; and all tags."""

    class Reader(HTMLParser):
        tags, text, inside = [], "", False

        def handle_starttag(self, tag, attrs):
            self.tags.append((tag, dict(attrs)))
            self.inside = dict(attrs).get("id") == "data"

        def handle_data(self, data):
            if self.inside:
                self.text += data
                self.inside = False

    reader = Reader()
    reader.tags = []
    reader.feed(page)
    return json.loads(reader.text), reader.tags


@pytest.fixture(scope="module")
def data(tiny):
    return explain.explain(tiny, TEXT)


@pytest.fixture(scope="module")
def arrays(data):
    return unpack(data)


def test_tokens_and_last_logits_are_the_models(tiny, arrays):
    ids = tiny.tokenizer.encode(TEXT)
    assert arrays["tokens"].tolist() == ids
    assert (arrays["logits"] == tiny.logits(ids)[-1]).all()


def test_the_logit_lens_of_the_last_block_is_the_logits(tiny, arrays):
    logits = tiny.logits(tiny.tokenizer.encode(TEXT))
    p = textbook.softmax(logits.astype(np.float64))
    assert arrays["lens"].shape == (6, len(logits), 5)
    best = np.argsort(-logits, axis=-1, kind="stable")[:, :5]
    assert (arrays["lens"][-1] == best).all()
    assert np.abs(np.take_along_axis(p, best, -1) - arrays["lens_p"][-1]).max() < 1e-6


def test_surprise_is_the_score_in_bits_and_rank_counts_likelier_tokens(tiny, arrays):
    ids = tiny.tokenizer.encode(TEXT)
    assert np.abs(arrays["bits"] + tiny.score(TEXT) / np.log(2)).max() < 1e-4
    logits = tiny.logits(ids)
    for t in range(1, len(ids)):
        likelier = (logits[t - 1] > logits[t - 1, ids[t]]).sum()
        assert arrays["rank"][t - 1] == 1 + likelier


def textbook_attention(params, x, n_head):
    """float64 weights (H, T, T) from the vectors (T, C) that enter a block."""
    x = textbook.layer_norm(x.astype(np.float64), **params["ln_1"])
    heads = textbook.split_heads(x, params["attn"]["c_attn"], n_head)
    return np.stack([textbook.attention_weights(q, k) for q, k, _ in heads])


@pytest.mark.parametrize("length", [1, 40, 200])
def test_attention_and_vectors_of_any_length(tiny, length):
    ids = np.random.default_rng(length).integers(0, 4096, length)
    with watch(*explain.FUNCTIONS) as seen:
        x = model.forward(tiny.params, ids[None], model.Cache(tiny.config))
    stream = tiny.params["wte"][ids] + tiny.params["wpe"][:length]
    layers = list(explain.by_layer(seen))
    assert len(layers) == 6
    for params, (weights, vectors, hidden) in zip(tiny.params["h"], layers):
        assert np.abs(weights - textbook_attention(params, stream, 6)).max() < 1e-5
        assert np.abs(weights.sum(-1) - 1).max() < 1e-5
        _, attn, middle, _, mlp, out = vectors
        assert np.abs(stream + attn - middle).max() < 1e-4
        assert np.abs(middle + mlp - out).max() < 1e-4
        assert np.abs(model.gelu(hidden[0]) - hidden[1]).max() < 1e-6
        stream = out
    last = model.layer_norm(stream, **tiny.params["ln_f"])
    assert np.abs(last - x[0]).max() < 1e-4


def test_what_heads_do_adds_up_to_attention(tiny, arrays):
    """q, k and v give the weights, and all heads with c_proj's b what attention adds;
    LayerNorm's vectors, times g plus b, are those that enter attention and the MLP."""
    T = len(arrays["tokens"])
    with watch(*explain.FUNCTIONS) as seen:
        model.forward(tiny.params, arrays["tokens"][None], model.Cache(tiny.config))
    for i, (layer, block) in enumerate(zip(explain.by_layer(seen), tiny.params["h"])):
        q, k, v = (arrays[name][i] for name in "qkv")  # (H, T, D)
        A = np.stack([textbook.attention_weights(*head) for head in zip(q, k)])
        assert np.abs(A - layer[0]).max() < 1e-5
        w, b = (block["attn"]["c_proj"][name] for name in "wb")
        parts = A @ v @ w.reshape(6, 32, 192)  # (H, T, C)
        assert np.abs(parts.sum(0) + b - layer[1][1]).max() < 1e-4
        assert np.abs(np.linalg.norm(parts, axis=-1) - arrays["added"][i]).max() < 1e-3
        for name, normal, result in zip(
            ("ln_1", "ln_2"), arrays["normal"][i], layer[1][[0, 3]], strict=True
        ):
            g, b = (block[name][letter][:32] for letter in "gb")
            assert np.abs(normal * g + b - result[:, :32]).max() < 1e-2
    assert (arrays["all_logits"] == tiny.logits(arrays["tokens"])).all()
    assert arrays["all_logits"].shape == (T, 4096)


def test_of_a_long_prompt_only_the_last_logits_are_kept(tiny):
    arrays = unpack(explain.explain(tiny, "and" + " and" * 249))
    assert arrays["all_logits"].shape == (1, 4096)
    assert (arrays["all_logits"][0] == arrays["logits"]).all()


def test_packed_attention_has_rows_that_sum_to_one(arrays):
    T = len(arrays["tokens"])
    assert arrays["attention"].shape == (6, 6, T * (T + 1) // 2)
    for t in range(T):
        row = (
            arrays["attention"][..., t * (t + 1) // 2 : (t + 1) * (t + 2) // 2] / 65535
        )
        assert np.abs(row.sum(-1) - 1).max() < 1e-5 * (t + 1)


def test_the_merge_list_of_the_page_is_the_vocabulary(tiny, data, arrays):
    vocab = {i: bytes([byte]) for byte, i in enumerate(arrays["byte_ids"])}
    for (left, right), i in zip(arrays["merges"], arrays["merged"], strict=True):
        vocab[i] = vocab[left] + vocab[right]
    assert [vocab[i] for i in range(4095)] == tiny.tokenizer.vocab[:-1]
    assert data["special"] == {4095: "<|endoftext|>"}
    assert sum(data["pieces"]) == len(arrays["tokens"])


def test_each_station_has_the_source_and_the_shapes_of_this_run(data):
    T = sum(data["pieces"])
    functions = data["functions"]
    assert functions["forward"]["arguments"]["tokens"] == f"(1, {T})"
    assert functions["attention_weights"]["result"] == f"(1, 6, {T}, {T})"
    assert functions["layer_norm"]["calls"] == 13
    assert functions["unembed"]["result"] == f"(1, {T}, 4096)"
    assert functions["mlp"]["source"].startswith("def mlp(x: Array, c_fc")
    html = Path(explain.__file__).with_name("page.html").read_text(encoding="utf-8")
    named = " ".join(re.findall(r'data-functions="(.*?)"', html)).split()
    assert sorted(named) == sorted(functions)


def test_an_empty_prompt_is_end_of_text(tiny):
    arrays = unpack(explain.explain(tiny, ""))
    assert arrays["tokens"].tolist() == [tiny.tokenizer.eot]
    assert (arrays["logits"] == tiny.logits([tiny.tokenizer.eot])[-1]).all()
    assert arrays["bits"].shape == arrays["rank"].shape == (0,)


@pytest.mark.parametrize(
    ("n_layer", "n_head", "n_embd", "most"),
    [(6, 6, 192, 256), (12, 12, 768, 203), (48, 25, 1600, 70)],
)
def test_the_longest_prompt_depends_on_the_model(n_layer, n_head, n_embd, most):
    config = model.Config(4096, 256, n_embd, n_head, n_layer)
    assert explain.longest(config) == most
    weights = n_layer * n_head * most * (most + 1) // 2
    assert weights <= explain.MOST_WEIGHTS


def test_damaged_parameters_are_told(tiny):
    params = tiny.params | {"wte": np.full_like(tiny.params["wte"], np.nan)}
    with pytest.raises(FloatingPointError, match="not finite"):
        explain.explain(minigpt2.GPT2(tiny.config, params), "The king")


def test_watching_leaves_nothing_behind(tiny):
    before = sys.getprofile()
    with watch(model.forward) as seen, pytest.raises(KeyError):
        assert sys.getprofile() is not before
        model.forward({}, np.array([[1]]), model.Cache(tiny.config))
    assert sys.getprofile() is before
    assert [call.name for call in seen.calls] == ["forward"]
    with pytest.raises(ZeroDivisionError), watch(model.forward):
        _ = 1 / 0
    assert sys.getprofile() is before


def test_what_is_recorded_is_as_it_was(tiny):
    """The functions work in place, and others call them too."""
    x = np.array([1.0, 2.0], np.float32)
    with watch(model.gelu) as seen:
        y = model.gelu(x)
        x[:], y[:] = 0, 0
        model.softmax(x)
    (call,) = seen.calls
    assert call.x.tolist() == [1, 2]
    assert call.result.tolist() == model.gelu(np.array([1, 2], np.float32)).tolist()
    assert call.arguments == {"x": "(2,)"}


def test_a_hostile_prompt_or_directory_is_data(tiny):
    harmless, hostile = (
        explain.page(explain.explain(tiny, text) | {"model": text})
        for text in ("The king", HOSTILE)
    )
    data, tags = written(hostile)
    assert tags == written(harmless)[1]
    assert data["model"] == HOSTILE
    ids = unpack(data)["tokens"].tolist()
    assert tiny.tokenizer.decode(ids) == HOSTILE


def test_the_page_asks_nobody_for_anything(data):
    page = explain.page(data | {"model": "tiny"})
    _, tags = written(page)
    for tag, attributes in tags:
        assert tag not in ("link", "img", "iframe", "object", "base", "form")
        assert not {"src", "srcset", "action", "data"} & set(attributes)
        assert attributes.get("href", "#").startswith("#")
    assert "default-src 'none'" in page
    own = page.replace(json.dumps(data["functions"]), "")
    own = own.replace('"http://www.w3.org/2000/svg"', "")  # a name, not an address
    assert not re.search(r"https?://|//[a-z]+\.|url\(|@import|\bimport\(", own)
    for unsafe in (
        "innerHTML",
        "outerHTML",
        "insertAdjacentHTML",
        "document.write",
        "eval",
    ):
        assert unsafe not in page


def command(*arguments, **kwargs):
    return run(*arguments, module="minigpt2.explain", **kwargs)


def test_the_command(tiny, tmp_path):
    out = tmp_path / "page.html"
    out.write_text("an older page")
    assert command(TEXT, "--model=tiny", f"-o{out}") == (0, f"{out}\n", "")
    found, _ = written(out.read_text(encoding="utf-8"))
    data, _ = written(tiny.explain(TEXT).html)
    assert found["model"] == data["model"] == "tiny"
    assert found.keys() == data.keys()
    assert found["weights"] == data["weights"]
    expected = unpack(data)
    for name, array in unpack(found).items():
        assert array.shape == expected[name].shape
        assert np.allclose(array, expected[name], rtol=1e-3, atol=1e-3), name
    given = {"stdin": TEXT.encode() + b"\n", "cwd": tmp_path}
    assert command("--model=tiny", **given) == (0, "explain.html\n", "")
    again, _ = written((tmp_path / "explain.html").read_text(encoding="utf-8"))
    assert again["arrays"]["tokens"] == found["arrays"]["tokens"]
    assert {path.name for path in tmp_path.iterdir()} == {"page.html", "explain.html"}


@pytest.mark.parametrize(
    ("arguments", "status", "line"),
    [
        (["a", "-o", "/proc/page.html"], 1, "/proc/page.html"),
        (
            ["and" + " and" * 299],
            2,
            "has 300 tokens, a page of this model shows at most 256",
        ),
        ([b"\xff"], 2, "not valid UTF-8"),
    ],
    ids=lambda value: str(value)[:30],
)
def test_what_cannot_be_done_is_told_in_one_line(tmp_path, arguments, status, line):
    if "/proc/page.html" in arguments and not Path("/proc").is_dir():
        pytest.skip("there is no /proc, where nobody can write")
    found, out, err = command("--model=tiny", *arguments, cwd=tmp_path)
    assert (found, out, err.count("\n")) == (status, "", 1)
    assert line in err
    assert list(tmp_path.iterdir()) == []


def test_a_built_package_has_all_files(tmp_path):
    pytest.importorskip("setuptools", "64", reason="setuptools builds the package")
    if not (ROOT / "minigpt2").is_dir():
        pytest.skip("the package is installed, and its source is not here")
    unneeded = shutil.ignore_patterns(".*", "build", "tests", "*M")
    source = shutil.copytree(ROOT, tmp_path / "source", ignore=unneeded)
    code = "import setuptools; setuptools.setup()"
    build = [sys.executable, "-c", code, "-q", "build", "-b", tmp_path / "build"]
    subprocess.run(build, cwd=source, check=True, capture_output=True)
    for path in (ROOT / "minigpt2").rglob("*.*"):
        if path.is_file() and path.suffix not in (
            ".pyc",
            ".png",
        ):  # the README's picture
            built = tmp_path / "build" / "lib" / path.relative_to(ROOT)
            assert built.read_bytes() == path.read_bytes()
