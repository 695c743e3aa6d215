"""The page of one forward pass: its numbers are the model's, and its text is only text."""

import base64
import json
import re
import shutil
import subprocess
import sys
from html.parser import HTMLParser
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import textbook
from helpers import ROOT, run

import minigpt2
from minigpt2 import model
from minigpt2.page import explain
from minigpt2.page.watch import watch
from minigpt2.sampling import Sampling

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


def test_the_command(tiny, data, tmp_path):
    out = tmp_path / "page.html"
    out.write_text("an older page")
    assert command(TEXT, "--model=tiny", f"-o{out}") == (0, f"{out}\n", "")
    found, _ = written(out.read_text(encoding="utf-8"))
    assert found["model"] == "tiny"
    assert found.keys() - {"model"} == data.keys()
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


# In a browser


@pytest.fixture(scope="module")
def chromium():
    """Chromium as the system has it, without a network."""
    reason = "playwright is not installed"
    playwright = pytest.importorskip("playwright.sync_api", reason=reason)
    names = "chromium", "chromium-browser", "google-chrome"
    path = next(filter(None, map(shutil.which, names)), None)
    if path is None:
        pytest.skip("there is no Chromium on the path")
    with playwright.sync_playwright() as running:
        browser = running.chromium.launch(executable_path=path)
        yield browser
        browser.close()


@pytest.fixture
def show(chromium, tmp_path):
    """Open a page of a prompt from the disk; at the end, nothing may have gone wrong."""
    problems, requests, contexts = [], [], []

    def opened(gpt2, prompt, **settings):
        path = tmp_path / "page.html"
        written = explain.page(explain.explain(gpt2, prompt) | {"model": prompt})
        path.write_text(written, encoding="utf-8")
        contexts.append(chromium.new_context(offline=True, **settings))
        page = contexts[-1].new_page()
        page.on("console", lambda message: problems.append(message.text))
        page.on("pageerror", lambda error: problems.append(str(error)))
        page.on("dialog", lambda dialog: problems.append(dialog.message))
        page.on("requestfailed", lambda request: problems.append(request.url))
        page.on("request", lambda request: requests.append(request.url))
        page.goto(path.as_uri())
        page.wait_for_selector("html[data-ready]", state="attached")
        return page

    yield opened
    for context in contexts:
        context.close()
    assert problems == []
    assert requests == [(tmp_path / "page.html").as_uri()] * len(contexts)


def values(page, selector):
    """The whole numbers behind those that are shown."""
    return page.eval_on_selector_all(selector, "all => all.map(d => Number(d.value))")


def numbers(page, selector, name):
    get = f"all => all.map(node => Number(node.dataset.{name}))"
    return page.eval_on_selector_all(selector, get)


SIXTY = " ".join(["The king said to the little girl that she was"] * 6)


@pytest.mark.browser
def test_browser_attention_and_lens(tiny, show):
    page = show(tiny, SIXTY)
    ids = tiny.tokenizer.encode(SIXTY)
    assert len(ids) >= 60
    with watch(*explain.FUNCTIONS) as seen:
        model.forward(tiny.params, np.array([ids]), model.Cache(tiny.config))
    layers = list(explain.by_layer(seen))
    for layer, head, token in (0, 0, 59), (4, 2, 30), (5, 5, 1):
        page.select_option("#layer", str(layer))
        page.select_option("#head", str(head))
        page.select_option("#token", str(token))
        weights = layers[layer][0][head, token, : token + 1]
        assert values(page, "#attention-sum data") == pytest.approx([1], abs=1e-3)
        shown = values(page, "#attention-top data")
        assert shown == pytest.approx(np.sort(weights)[::-1][:8].tolist(), abs=2e-5)
        length = np.linalg.norm(layers[layer][1][5, token])
        assert values(page, "#stream-table data")[2 * layer + 2] == pytest.approx(
            length
        )
        active = (layers[layer][2][1, token] > 0).mean()
        assert values(page, "#active data") == pytest.approx([active])
        logits = tiny.logits(ids)[token]
        cells = numbers(page, "#lens li:last-child .cell", "id")
        assert cells == np.argsort(-logits, kind="stable")[:5].tolist()
        p = textbook.softmax(logits.astype(np.float64))[cells]
        last = values(page, "#lens li:last-child data")
        assert last == pytest.approx(p.tolist(), abs=1e-6)
    page.select_option("#layer", "0")
    page.click("#heads [role=option] >> nth=3")
    assert page.input_value("#head") == "3"
    page.hover("#attention [role=option] >> nth=20")  # a look at another token
    weights = layers[0][0][3, 20, :21]
    shown = values(page, "#attention-top data")
    assert shown == pytest.approx(np.sort(weights)[::-1][:8].tolist(), abs=2e-5)
    page.hover("h1")
    page.focus("#attention [aria-selected=true]")
    page.keyboard.press("ArrowRight")  # and by keyboard
    assert page.input_value("#token") == "2"
    weights = layers[0][0][3, 2, :3]
    shown = values(page, "#attention-top data")
    assert shown == pytest.approx(np.sort(weights)[::-1].tolist(), abs=2e-5)


def assert_sampled_as(page, logits, sampling):
    tokens, p = sampling.probabilities(logits)
    dense = np.zeros(len(logits))
    dense[tokens] = p
    ids = numbers(page, "#next li", "id")
    assert ids == np.argsort(-logits, kind="stable")[:20].tolist()
    assert np.abs(values(page, "#next data") - dense[ids]).max() < 1e-6
    assert values(page, "#kept data")[0] == len(tokens)
    kept = np.zeros(len(logits))  # of which the page shows the likeliest
    kept[page.evaluate("kept.tokens")] = page.evaluate("[...kept.p]")
    assert np.abs(kept - dense).max() < 1e-6


@pytest.mark.browser
def test_browser_sliders_sample_as_sampling_does(tiny, show):
    page = show(tiny, SIXTY)
    logits = tiny.logits(tiny.tokenizer.encode(SIXTY))[-1]

    def press(slider, *keys):
        page.focus(slider)
        for key in keys:
            page.keyboard.press(key)

    assert_sampled_as(page, logits, Sampling(1, 40, 1))
    chosen = Sampling(1, 40).choose(logits, np.random.default_rng(explain.SEED))
    assert numbers(page, "#chosen", "id") == [chosen]
    press("#temperature", *["ArrowLeft"] * 6)
    assert page.inner_text("#temperature-out") == "0.70"
    assert_sampled_as(page, logits, Sampling(0.7, 40, 1))
    press("#topp", *["ArrowLeft"] * 15)
    assert page.inner_text("#topp-out") == "0.85"
    assert_sampled_as(page, logits, Sampling(0.7, 40, 0.85))
    press("#topk", "End")
    assert page.inner_text("#topk-out") == "4,096: all"
    assert_sampled_as(page, logits, Sampling(0.7, None, 0.85))
    press("#topk", "Home", "ArrowRight", "ArrowRight")
    assert page.inner_text("#topk-out") == "3"
    assert_sampled_as(page, logits, Sampling(0.7, 3, 0.85))
    press("#topp", "Home")
    assert_sampled_as(page, logits, Sampling(0.7, 3, 0.01))
    press("#temperature", "End")
    press("#topp", "End")
    press("#topk", "End")
    assert_sampled_as(page, logits, Sampling(2))
    press("#temperature", "Home")
    assert_sampled_as(page, logits, Sampling(0))
    assert numbers(page, "#chosen", "id") == [int(logits.argmax())]
    page.click("#draw")


@pytest.mark.browser
def test_browser_ties_are_kept(tiny, show):
    page = show(tiny, "The king")
    logits = np.array([1, 3, 2, 2, 0, 2], np.float32)
    page.evaluate("z => { logits.fill(-100).set(z); ranked.sort((i, j) => logits[j] - logits[i] || i - j); drawNext(); }", logits.tolist())  # fmt: skip
    full = np.full(4096, -100, np.float32)
    full[:6] = logits
    for k, p in (2, 1), (40, 0.6), (6, 0.5), (3, 0.95):
        found = page.evaluate("([k, p]) => probabilities(1, k, p).tokens", [k, p])
        assert found == Sampling(1, k, p).probabilities(full)[0].tolist()


def merged_naively(tokenizer, piece):
    """Every state of byte-pair encoding: the earliest pair of the list, the leftmost."""
    ids = [tokenizer.vocab.index(bytes([byte])) for byte in piece.encode()]
    states = [ids]
    while True:
        pairs = [
            (tokenizer.merges[pair], i)
            for i, pair in enumerate(pairwise(ids))
            if pair in tokenizer.merges
        ]
        if not pairs:
            return states
        merged, i = min(pairs)
        ids = [*ids[:i], merged, *ids[i + 2 :]]
        states.append(ids)


@pytest.mark.browser
@pytest.mark.parametrize("piece", [" unbelievable", " banana", " “", "aaaaaaaa", "a"])
def test_browser_merges_are_those_of_the_tokenizer(tiny, show, piece):
    page = show(tiny, piece)
    get = "all => all.map(li => li.dataset.ids.split(' ').map(Number))"
    states = merged_naively(tiny.tokenizer, piece)
    pieces = page.evaluate("data.pieces")
    if len(pieces) == 1:
        assert page.eval_on_selector_all("#merges li", get) == states
    assert states[-1] == tiny.tokenizer.encode(piece)


@pytest.mark.browser
def test_browser_surprise(tiny, show):
    page = show(tiny, TEXT)
    page.click("text=How surprising was the prompt?")
    bits = -tiny.score(TEXT) / np.log(2)
    rows = values(page, "#bits-table data")
    assert rows[0::2] == pytest.approx((2**-bits).tolist(), abs=1e-6)
    assert rows[1::2] == pytest.approx(bits.tolist(), abs=1e-4)
    page.click("#bits [role=option] >> nth=3")
    assert values(page, "#bits-detail h3 data") == pytest.approx(
        [2 ** -bits[2]], abs=1e-6
    )


@pytest.mark.browser
def test_browser_text_of_a_prompt_is_text(tiny, show):
    page = show(tiny, HOSTILE)
    page.wait_for_timeout(200)
    assert page.title() == "Inside GPT-2"
    assert page.text_content("#prompt") == HOSTILE
    assert page.locator("img").count() == 0
    assert page.locator("script").count() == explain.beside("page.html").count(
        "<script"
    )
    marks = page.evaluate("show([0xe2, 0x80, 0xae])[0].textContent")  # right to left
    assert marks == "U+202E"


SPILLS = """[...document.querySelectorAll('body *')].filter(e => e.clientWidth
    && e.scrollWidth > e.clientWidth + 1 && getComputedStyle(e).overflowX == 'visible'
    ).map(e => e.outerHTML.slice(0, 80))"""  # elements narrower than what they hold
BROKEN_LABELS = """[...document.querySelectorAll('label')].filter(label => {
    const range = document.createRange();
    range.selectNodeContents(label.firstChild);
    return range.getClientRects().length > 1;
    }).map(label => label.textContent.slice(0, 20))"""  # in several lines


@pytest.mark.browser
@pytest.mark.parametrize("width", [390, 1280])
@pytest.mark.parametrize("prompt", ["", SIXTY, SIXTY * 3, "x" * 120], ids=len)
def test_browser_nothing_is_cut_off(tiny, show, width, prompt):
    screen = {"viewport": {"width": width, "height": 800}, "color_scheme": "dark"}
    page = show(tiny, prompt, **screen)
    page.evaluate("document.querySelectorAll('details').forEach(d => d.open = true)")
    for tab in "#tab-pass", "#tab-surprise":
        page.click(tab)
        assert page.evaluate("document.documentElement.scrollWidth") == width
        assert page.evaluate(SPILLS) == []
    assert page.evaluate(BROKEN_LABELS) == []
