"""The page that runs: in Chromium, from the disk, without a network, it gives NumPy's numbers."""

import base64
import json
import random
import unicodedata
import warnings
from html.parser import HTMLParser

import numpy as np
import pytest
import textbook
from test_page import SPILLS, until
from test_vocabulary import FILE, added, changed, write

import minigpt2
from minigpt2.files.vocabulary import open_tokenizer
from minigpt2.model import Config, nest, shapes
from minigpt2.page import document, rounding
from minigpt2.page.explain import explain

TEXT = "There was once a king who had three daughters, and the king"
OTHER = "The wolf knocked at the door, and said “Open!”"
ON = [{"heads": [], "mlp": False}] * 6


def arrays_of(data):
    return {
        name: np.frombuffer(base64.b64decode(a["data"]), a["type"]).reshape(a["shape"])
        for name, a in data.items()
    }


def params_of(gpt2):
    """The parameters that the page of a model holds."""
    return rounding.rounded(gpt2.params)[1]


@pytest.fixture(scope="module")
def held(tiny):
    """`tiny` as its page has it."""
    return minigpt2.GPT2(tiny.config, params_of(tiny))


# In Python


def test_rounding_is_to_the_nearest_of_255(tiny):
    held, params = rounding.rounded(tiny.params)
    decoded = dict(rounding.named(params))
    for name, array in rounding.named(tiny.params):
        if array.ndim == 1:
            assert (decoded[name] == array).all()
            continue
        scale = held[f"{name}/scale"]
        embedding = name in ("wte", "wpe")
        assert scale.shape == ((len(array), 1) if embedding else (1, array.shape[1]))
        assert held[name].dtype == np.int8
        assert np.abs(held[name]).max(int(embedding)).min() == 127
        assert (np.abs(decoded[name] - array) <= scale / 2 * 1.0001).all()


def test_rounding_costs_little(tiny, held):
    ids = np.array([tiny.tokenizer.encode((TEXT + ". ") * 20)[:256]])
    text = (TEXT + ". " + OTHER + " ") * 4
    assert tiny.score(text).mean() == pytest.approx(held.score(text).mean(), abs=0.02)
    for before, after in zip(tiny.logits(ids)[0, :15], held.logits(ids)[0, :15]):
        assert before.argsort()[-1] == after.argsort()[-1]


def test_a_column_of_zeros_stays_zero():
    params = nest({"wte": np.zeros((3, 2), np.float32), "ln_f/g": np.ones(2)})
    assert (rounding.rounded(params)[1]["wte"] == 0).all()


def test_damaged_parameters_are_told(tiny):
    params = tiny.params | {"wpe": np.full_like(tiny.params["wpe"], np.inf)}
    with pytest.raises(FloatingPointError, match="wpe is not finite"):
        minigpt2.GPT2(tiny.config, params).explain(TEXT)


@pytest.mark.parametrize("text", [TEXT, "and" + " and" * 249], ids=len)
def test_a_page_has_at_most_ten_megabytes(tiny, text):
    size = len(tiny.explain(text).html.encode())
    assert 4_700_000 < size < 10_000_000


def test_the_page_of_a_larger_model_has_one_pass(tiny, small, monkeypatch):
    monkeypatch.setattr(document, "MOST_WEIGHTS", 3_000_000)
    assert '"weights":' not in tiny.explain(TEXT).html
    assert '"weights":' in small.explain(TEXT).html


def test_a_notebook_shows_it_and_a_file_keeps_it(tiny, tmp_path):
    page = tiny.explain(TEXT)
    path = tmp_path / "page.html"
    page.save(path)
    page.save(str(path))
    assert path.read_bytes() == page.html.encode()
    frames = []

    class Reader(HTMLParser):
        def handle_starttag(self, tag, attributes):
            frames.append((tag, dict(attributes)))

    Reader().feed(page._repr_html_())
    ((tag, attributes),) = frames
    assert (tag, attributes["srcdoc"]) == ("iframe", page.html)
    assert repr(page) < "<minigpt2.page.document.Page p"
    for place, error in (
        (tmp_path, IsADirectoryError),
        (tmp_path / "not" / "there.html", FileNotFoundError),
    ):
        with pytest.raises(error, match=str(tmp_path)):
            page.save(place)
    assert [*tmp_path.iterdir()] == [path]
    with pytest.raises(TypeError, match="prompt is 7, expected a str"):
        tiny.explain(7)


# In the browser

browser = pytest.mark.browser


ASK = """async ([ids, off]) => {
    const pass = await ask(ids, off);
    return Object.fromEntries(Object.entries(pass).map(([k, v]) => [k, [...v]]));
}"""


def answer(page, ids, off=ON):
    """A pass of the page, as arrays."""
    found = page.evaluate(ASK, [[int(i) for i in ids], off])
    return {name: np.array(array) for name, array in found.items()}


def assert_same(found, data):
    """A pass of the page is one of `explain`: every array."""
    expected = arrays_of(data["arrays"])
    assert found.keys() == expected.keys() - {"byte_ids", "merges", "merged"}
    for name, array in found.items():
        wanted = expected[name]
        assert array.shape == (wanted.size,), name
        if name == "attention":
            assert (np.abs(array - wanted.ravel().astype(int)) <= 4).all()
        elif name == "rank":
            assert (np.abs(array - wanted) <= 1).all()
        elif name == "lens":
            assert (array.reshape(wanted.shape)[..., 0] == wanted[..., 0]).mean() > 0.99
        else:
            half = wanted.dtype == np.float16
            close = (
                {"rtol": 1e-3, "atol": 1e-3} if half else {"rtol": 1e-4, "atol": 1e-4}
            )
            assert np.allclose(array, wanted.ravel(), **close), name


@browser
@pytest.mark.parametrize("text", [TEXT, OTHER, "a", ""], ids=len)
def test_a_typed_text_is_read_as_numpy_reads_it(tiny, held, show, text):
    page = show(tiny, runs=True, prompt="The king said")
    page.fill("#text-a", text)
    page.press("#text-a", "Enter")
    until(
        page,
        "!busy && document.getElementById('live-says').textContent.includes('read in')",
    )
    ids = tiny.tokenizer.encode(text) or [tiny.tokenizer.eot]
    assert page.evaluate("[...ids]") == ids
    assert not page.is_visible("#fixed")
    data = explain(held, text)
    assert page.evaluate("a.pieces") == data["pieces"]
    logits = np.array(page.evaluate("[...a.logits]"))
    assert np.abs(logits - held.logits(ids)[-1]).max() < 1e-4
    assert_same(answer(page, ids), data)
    n = 5 if text else 4  # after nothing, the fifth and the sixth are nearly equal
    best = {*np.argsort(-tiny.logits(ids)[-1])[:n].tolist()}
    assert {*np.argsort(-logits)[:n].tolist()} == best


def without(params, n_head, off):
    """The parameters with the rows of c_proj zero of heads that are off, and c_proj of
    MLPs."""
    params = params | {"h": list(params["h"])}
    for i, parts in enumerate(off):
        block = params["h"][i]
        w = block["attn"]["c_proj"]["w"].copy()
        D = len(w) // n_head
        for head in parts["heads"]:
            w[head * D : (head + 1) * D] = 0
        attn = block["attn"] | {"c_proj": block["attn"]["c_proj"] | {"w": w}}
        mlp = block["mlp"]
        if parts["mlp"]:
            mlp = mlp | {"c_proj": {k: 0 * v for k, v in mlp["c_proj"].items()}}
        params["h"][i] = block | {"attn": attn, "mlp": mlp}
    return params


@browser
def test_switches_are_zeros_in_c_proj(tiny, held, show):
    page = show(tiny, runs=True, prompt=TEXT)
    ids = tiny.tokenizer.encode(TEXT)
    one, many = [dict(parts) for parts in ON], [dict(parts) for parts in ON]
    one[1] = {"heads": [2], "mlp": False}
    many[0] = {"heads": [0, 5], "mlp": True}
    many[4] = {"heads": [0, 1, 2, 3, 4, 5], "mlp": False}
    for off in one, many:
        params = without(held.params, 6, off)
        expected = minigpt2.GPT2(tiny.config, params).logits(ids)
        found = answer(page, ids, off)["all_logits"].reshape(expected.shape)
        assert np.abs(found - expected).max() < 1e-4
        assert np.abs(found - held.logits(ids)).max() > 0.1
    page.click("#switching")
    page.click("#grid button >> nth=9")  # block 2, head 3
    until(page, "!busy && document.querySelector('#effect table')")
    off = minigpt2.GPT2(tiny.config, without(held.params, 6, one))
    losses = [-gpt2.score(TEXT).mean() / np.log(2) for gpt2 in (held, off)]
    shown = page.eval_on_selector_all(
        "#effect p data", "all => all.map(d => Number(d.value))"
    )
    assert shown == pytest.approx(losses, abs=1e-4)
    assert page.get_attribute("#grid button >> nth=9", "aria-pressed") == "false"
    assert page.inner_text("#switching") == "Switches: 1 off"
    page.focus("#grid button >> nth=0")
    page.keyboard.press("ArrowDown")
    page.keyboard.press("ArrowRight")
    page.keyboard.press("Enter")  # block 2, head 2
    assert page.inner_text("#switching") == "Switches: 2 off"
    page.click("#presets button >> nth=0")
    until(page, "!busy && texts[0].pass === texts[0].whole")
    assert page.inner_text("#switching") == "Switches"


@browser
def test_the_next_token_by_the_cache_is_the_whole_pass(tiny, held, show):
    page = show(tiny, runs=True, prompt=TEXT)
    ids = tiny.tokenizer.encode(TEXT)
    off = [dict(parts) for parts in ON]
    off[3] = {"heads": [1], "mlp": False}
    for _ in range(4):
        ids.append(page.evaluate("next()"))
    assert page.evaluate("[...ids]") == ids
    logits = np.array(page.evaluate("[...a.logits]"))
    assert np.abs(logits - held.logits(ids)[-1]).max() < 1e-4
    (worker,) = page.workers
    read = "seen.embed[0].result.length / config.n_embd"  # tokens, at the last time
    for switches in ON, off:
        params = without(held.params, 6, switches)
        data = explain(minigpt2.GPT2(tiny.config, params), tiny.tokenizer.decode(ids))
        for n, again in (5, 5), (6, 1), (9, 3), (len(ids), len(ids) - 9):
            found = answer(page, ids[:n], switches)
            assert worker.evaluate(read) == again
        assert_same(found, data)
    answer(page, ids[:5], ON)
    assert_same(answer(page, ids, off), data)  # ON's cache is not taken
    answer(page, ids[:5], off)
    ids[2] += 1  # nor that of another beginning
    params = without(held.params, 6, off)
    logits = minigpt2.GPT2(tiny.config, params).logits(ids)
    found = answer(page, ids, off)["logits"]
    assert np.abs(found - logits[-1]).max() < 1e-4


# Its tokenizer


def strings(count, seed=0):
    """Texts of all kinds of characters, those that a piece begins or ends at more often."""
    rng = random.Random(seed)
    known = [chr(i) for i in range(0x110000) if unicodedata.category(chr(i)) != "Cn"]
    kinds = [
        known,
        " \t\n\r\v\f\x1c\x1d\x1e\x1f\x85\xa0\u1680\u180e\u2003\u200b\u2028\u202f\u3000\ufeff",
        "'\u2019stmdrevl",
        "abcdefgh THE the and ing",
        "0123456789½²Ⅷ٣",
        "🐺👩‍👩‍👧🇫🇷é\u0301中文日本語한국어Ωж",
        "\ud800\udbff\udc00\udfff",
        "<|endoftext|>",
    ]
    for _ in range(count):
        parts = rng.choices(kinds, k=rng.randint(1, 4))
        yield "".join(rng.choice(rng.choice(parts)) for _ in range(rng.randint(1, 40)))


ENCODE = """texts => texts.map((text) => {
    try { return encode(text) } catch (error) { return error.message }
})"""


def assert_tokenized(page, tokenizer, texts):
    """Its ids and pieces, of texts given as UTF-16, in which a lone surrogate can be."""
    texts = list(texts)
    units = [
        [*memoryview(text.encode("utf-16-le", "surrogatepass")).cast("H")]
        for text in texts
    ]
    get = f"units => ({ENCODE})(units.map(u => String.fromCharCode(...u)))"
    found = page.evaluate(get, units)
    for text, result in zip(texts, found, strict=True):
        assert result["ids"] == tokenizer.encode(text), ascii(text)
        assert sum(result["pieces"]) == len(result["ids"])


@browser
def test_the_tokenizer_gives_the_ids_of_the_tokenizer(tiny, show):
    page = show(tiny, "The king", runs=True)
    assert_tokenized(page, tiny.tokenizer, strings(4000))
    words = ["I'll've", "  two  spaces ", "\n\n x", "don't DON'T", "x" * 300, " " * 99]
    assert_tokenized(
        page,
        tiny.tokenizer,
        [*words, *(f"a{chr(i)}b {chr(i)}{chr(i)}" for i in range(1, 0x3100))],
    )


@browser
def test_the_tokenizer_with_the_whole_of_openais_list(show):
    gpt2 = random_model(50257)
    assert_tokenized(show(gpt2, "a", runs=True), gpt2.tokenizer, strings(1000, seed=1))


def random_model(n_vocab):
    config = Config(n_vocab, n_ctx=32, n_embd=12, n_head=2, n_layer=2)
    rng = np.random.default_rng(0)
    tensors = {
        name: rng.normal(0, 0.2, shape).astype(np.float32)
        for name, shape in shapes(config)
    }
    return minigpt2.GPT2(config, nest(tensors))


@browser
def test_other_sizes_run_too(small, show):
    """n_embd 24 is less than is drawn of each vector; 3 heads, n_ctx 40."""
    for gpt2 in small, random_model(777):
        page = show(gpt2, "The king", runs=True)
        held = minigpt2.GPT2(gpt2.config, params_of(gpt2))
        on = [{"heads": [], "mlp": False}] * gpt2.config.n_layer
        text = "There was an “old” man"
        assert_same(answer(page, gpt2.tokenizer.encode(text), on), explain(held, text))


# Vocabularies of other people: see tests/test_vocabulary.py


def other_vocabulary(tmp_path, **parts):
    write(tmp_path, tokenizer=changed(**parts))
    gpt2 = random_model(604)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it names the added tokens
        gpt2.tokenizer = open_tokenizer(tmp_path, gpt2.config)
    return gpt2


@browser
def test_ids_of_another_order_and_special_tokens(tmp_path, show):
    ids = FILE["model"]["vocab"]
    names = [*ids]
    random.Random(0).shuffle(names)
    places = [i for i in range(604) if i not in (7, 100)][: len(names)]
    vocab = dict(zip(names, places))
    tokens = [added(7, "<|endoftext|>"), added(100, "<|user|>")]
    vocab.pop("<|endoftext|>", None)
    gpt2 = other_vocabulary(tmp_path, vocab=vocab, added_tokens=tokens)
    page = show(gpt2, "Hello <|user|> 12", runs=True)
    assert page.is_visible("#text-a")
    assert_tokenized(
        page, gpt2.tokenizer, [*strings(1000, seed=2), "<|user|> <|endoftext|>"]
    )
    page.fill("#text-a", "")
    page.press("#text-a", "Enter")
    until(page, "!busy && ids.length === 1")
    assert page.evaluate("[...ids]") == [7]


@browser
@pytest.mark.parametrize(
    ("parts", "why"),
    [
        ({"normalizer": {"type": "NFC"}}, "changes a text"),
        ({"added_tokens": [*FILE["added_tokens"], added(600, "word", False)]}, "words that no merge makes"),
    ],
    ids=["normalizer", "word"],
)  # fmt: skip
def test_where_the_page_cannot_tokenize_it_says_why(tmp_path, show, parts, why):
    gpt2 = other_vocabulary(tmp_path, **parts)
    page = show(gpt2, "Hello", runs=True)
    assert not page.is_visible("#text-a")
    assert why in page.inner_text("#fixed")
    before = page.evaluate("ids.length")
    page.click("#step")
    until(page, f"!busy && ids.length === {before + 1}")


@browser
def test_a_page_of_one_pass_says_so(tiny, show):
    page = show(tiny, "The king")
    assert not page.is_visible("#live")
    assert "too large" in page.inner_text("#fixed")


# What people do


SAID = "document.getElementById('live-says').textContent"


@browser
def test_what_cannot_be_read_is_told_in_one_line(tiny, show):
    page = show(tiny, "The king", runs=True)
    for text, told in (
        ("and" + " and" * 299, "The text has 300 tokens: this page reads at most 256."),
        ("x" * 100_000, "The text is too long: this page reads at most 256 tokens."),
    ):
        page.fill("#text-a", text)
        page.press("#text-a", "Enter")
        until(page, f"!busy && {SAID} === {json.dumps(told)}")
        assert page.evaluate("[...ids]") == tiny.tokenizer.encode("The king")


@browser
def test_a_full_window_is_told(small, show):
    page = show(small, "and" + " and" * 38, runs=True)
    page.click("#step")
    until(page, "!busy && ids.length === 40")
    page.click("#step")
    told = "The text is full: this page reads at most 40 tokens."
    until(page, f"!busy && {SAID} === '{told}'")
    page.click("#play")
    until(page, "!busy && document.getElementById('play').textContent === 'Play'")
    assert page.evaluate("ids.length") == 40


@browser
def test_next_token_is_the_one_that_station_8_shows(tiny, show):
    page = show(tiny, TEXT, f"#token={len(tiny.tokenizer.encode(TEXT))}", runs=True)
    page.evaluate("redraw()")
    for _ in range(3):
        shown = int(page.get_attribute("#chosen", "data-id"))
        before = page.evaluate("ids.length")
        page.click("#step")
        until(page, f"!busy && ids.length === {before + 1}")
        page.evaluate("redraw()")
        assert page.evaluate("ids.at(-1)") == shown
    ids = page.evaluate("[...ids]")
    assert page.input_value("#text-a") == tiny.tokenizer.decode(ids)


@browser
def test_play_goes_on_until_it_is_stopped(tiny, show):
    page = show(tiny, TEXT, runs=True)
    before = page.evaluate("ids.length")
    page.click("#play")
    until(page, f"ids.length >= {before + 3}")
    assert page.inner_text("#play") == "Stop"
    page.click("#play")
    until(page, "!busy")
    assert "tokens a second" in page.inner_text("#live-says")
    length = page.evaluate("ids.length")
    page.wait_for_timeout(300)
    assert page.evaluate("ids.length") == length
    assert page.inner_text("#play") == "Play"


@browser
def test_two_texts_side_by_side(tiny, held, show):
    page = show(tiny, TEXT, runs=True)
    page.click("#two")
    page.fill("#text-b", OTHER)
    page.press("#text-b", "Enter")
    until(page, "!busy && document.querySelector('#compared table')")
    shown = page.eval_on_selector_all(
        "#compared data", "all => all.map(d => Number(d.value))"
    )
    losses = [-held.score(text).mean() / np.log(2) for text in (TEXT, OTHER)]
    assert shown[-2:] == pytest.approx(losses, abs=1e-4)
    p = [
        textbook.softmax(held.logits(tiny.tokenizer.encode(text))[-1])
        for text in (TEXT, OTHER)
    ]
    best = {i for some in p for i in np.argsort(-some)[:5]}
    wanted = sorted(
        (max(a, b) for i in best for a, b in [(p[0][i], p[1][i])]), reverse=True
    )
    pairs = zip(shown[:-2:2], shown[1:-2:2], strict=True)
    assert [max(pair) for pair in pairs] == pytest.approx(wanted, abs=1e-5)
    page.click("#compared button >> nth=1")
    assert page.evaluate("[...ids]") == tiny.tokenizer.encode(OTHER)
    page.click("#two")
    assert page.evaluate("[...ids]") == tiny.tokenizer.encode(TEXT)


@browser
def test_a_long_prompt_is_read_when_the_page_opens(tiny, held, show):
    text = "and" + " and" * 249
    page = show(tiny, text, runs=True)
    assert page.evaluate("!written.vectors && ids.length") == 250
    logits = np.array(page.evaluate("[...a.logits]"))
    assert np.abs(logits - held.logits(tiny.tokenizer.encode(text))[-1]).max() < 1e-4


@browser
def test_it_runs_in_the_frame_of_a_notebook(tiny, chromium, tmp_path):
    notebook = tmp_path / "notebook.html"
    notebook.write_text(
        f"<!doctype html><pre>1</pre>{tiny.explain(TEXT)._repr_html_()}"
    )
    context = chromium.new_context(offline=True)
    page = context.new_page()
    problems = []
    page.on("console", lambda message: problems.append(message.text))
    page.on("pageerror", lambda error: problems.append(str(error)))
    page.goto(notebook.as_uri())
    frame = page.frames[1]
    frame.wait_for_selector("html[data-ready]", state="attached")
    before = frame.evaluate("ids.length")
    frame.click("#step")
    until(frame, f"!busy && ids.length === {before + 1}")
    frame.click("#findings a >> nth=0")
    context.close()
    assert problems == []


@browser
def test_times(tiny, show, record_property, capsys):
    """Reported, not judged: python -m pytest -k test_times tests/test_page_model.py"""
    page = show(tiny, TEXT, runs=True)
    timed = """async ([start, n]) => {
        const times = [];
        for (let i = 0; i < n; i++) {
            const before = performance.now();
            await ask(start(i), allOn);
            times.push(performance.now() - before);
        }
        return Math.min(...times);
    }"""
    whole = page.evaluate(
        timed.replace("start(i)", "[i, ...start.slice(1)]"),
        [tiny.tokenizer.encode(TEXT), 8],
    )
    one = page.evaluate(
        timed.replace("start(i)", "[...start, ...Array(i).fill(11)]"),
        [tiny.tokenizer.encode(TEXT), 12],
    )
    with capsys.disabled():
        n = len(tiny.tokenizer.encode(TEXT))
        print(f"\n{n} tokens {whole:.0f} ms, the next token {one:.0f} ms")


@browser
@pytest.mark.parametrize(
    "screen", [{"color_scheme": "dark"}, {"forced_colors": "active"}], ids=str
)
@pytest.mark.parametrize("width", [390, 1280])
def test_nothing_is_cut_off_where_the_page_runs(tiny, show, width, screen):
    page = show(
        tiny, TEXT, runs=True, viewport={"width": width, "height": 800}, **screen
    )
    page.click("#switching")
    page.click("#grid button >> nth=9")
    page.click("#two")
    page.fill("#text-b", OTHER)
    page.press("#text-b", "Enter")
    until(
        page,
        "!busy && document.querySelector('#compared table') && document.querySelector('#effect table')",
    )
    assert page.evaluate("document.documentElement.scrollWidth") == width
    assert page.evaluate(SPILLS) == []
