"""The page in a browser: what it shows is the model's, and all can see and reach it."""

import re
from itertools import pairwise

import numpy as np
import pytest
import textbook
from helpers import ROOT
from test_explain import HOSTILE, TEXT

from minigpt2 import model
from minigpt2.page import explain
from minigpt2.page.watch import watch
from minigpt2.sampling import Sampling

pytestmark = pytest.mark.browser
SIXTY = " ".join(["The king said to the little girl that she was"] * 6)
VIEWS = (0, 0, 59), (4, 2, 30), (5, 5, 1)  # layer, head, token, counted from 0


def values(page, selector):
    """The whole numbers behind those that are shown."""
    return page.eval_on_selector_all(selector, "all => all.map(d => Number(d.value))")


def numbers(page, selector, name):
    get = f"all => all.map(node => Number(node.dataset.{name}))"
    return page.eval_on_selector_all(selector, get)


def choose(page, layer, head, token):
    for name, value in ("layer", layer), ("head", head), ("token", token):
        page.select_option(f"#{name}", str(value))
    page.evaluate("redraw()")  # what is out of sight too


def read(page, drawing):
    """The number that a drawing says of each of its columns, by the arrow keys."""
    press = """plot => {
        const press = (key) => plot.dispatchEvent(new KeyboardEvent("keydown", { key }));
        const said = [], columns = Number(plot.style.getPropertyValue("--columns"));
        for (press("Home"); said.length < columns; press("ArrowRight")) {
            said.push(plot.parentNode.querySelector("output").textContent);
        }
        return said;
    }"""
    said = page.eval_on_selector(drawing, press)
    return [float(re.findall(r"-?[\d.]+", text.replace("−", "-"))[-1]) for text in said]


@pytest.fixture(scope="module")
def sixty(tiny):
    """The token ids of SIXTY, and the calls of each block on them."""
    ids = tiny.tokenizer.encode(SIXTY)
    assert len(ids) >= 60
    with watch(*explain.FUNCTIONS) as seen:
        model.forward(tiny.params, np.array([ids]), model.Cache(tiny.config))
    return ids, seen


# Its numbers


def test_stations_are_the_lessons(tiny, show):
    lesson = (ROOT / "LESSON.md").read_text(encoding="utf-8")
    stations = re.findall(r"^### (\d+)\. (.*)", lesson, re.MULTILINE)[:8]
    page = show(tiny, "The king")
    assert [(str(n), name) for n, name in enumerate((
        page.eval_on_selector_all("main h2", "all => all.map(h => h.childNodes[1].textContent.trim())")
    )[:8], start=1)] == stations  # fmt: skip


def test_attention_and_lens(tiny, show, sixty):
    page = show(tiny, SIXTY)
    ids, seen = sixty
    layers = list(explain.by_layer(seen))
    for layer, head, token in VIEWS:
        choose(page, layer, head, token)
        weights = layers[layer][0][head, token, : token + 1]
        *shown, total = values(page, "#softmax data")
        assert total == pytest.approx(1, abs=1e-3)
        assert shown == pytest.approx(np.sort(weights)[::-1][:8].tolist(), abs=2e-5)
        active = (layers[layer][2][1, token] > 0).mean()
        assert values(page, "#active data") == pytest.approx([active])
        logits = tiny.logits(ids)[token]
        cells = numbers(page, "#lens li:last-child .cell", "id")
        assert cells == np.argsort(-logits, kind="stable")[:5].tolist()
        p = textbook.softmax(logits.astype(np.float64))[cells]
        last = values(page, "#lens li:last-child data")
        assert last == pytest.approx(p.tolist(), abs=1e-6)
        assert_sampled_as(page, logits, Sampling(1, 40, 1))  # it follows the token too
    page.hover("#attention [role=option] >> nth=20")  # a look at another token
    page.evaluate("redraw()")
    weights = layers[5][0][5, 20, :21]
    shown = values(page, "#softmax data")[:-1]
    assert shown == pytest.approx(np.sort(weights)[::-1][:8].tolist(), abs=2e-5)
    page.hover("h1")
    page.focus("#attention [aria-selected=true]")
    page.keyboard.press("ArrowRight")  # and by keyboard
    page.evaluate("redraw()")
    assert page.input_value("#token") == "2"
    weights = layers[5][0][5, 2, :3]
    shown = values(page, "#softmax data")[:-1]
    assert shown == pytest.approx(np.sort(weights)[::-1].tolist(), abs=2e-5)


def test_what_is_drawn_are_the_models_numbers(tiny, show, sixty):
    """The bars of q, k, their products, A v, LayerNorm, the MLP, and the lengths."""
    page = show(tiny, SIXTY)
    blocks = list(sixty[1].find("block"))
    for layer, head, token in VIEWS:
        choose(page, layer, head, token)
        block, params = blocks[layer], tiny.params["h"][layer]
        (split,) = block.find("split_heads")
        q, k, v = (part[head, : token + 1] for part in np.split(split.result[0], 3))
        scores = k @ q[-1] / np.sqrt(32)
        A = textbook.softmax(scores.astype(np.float64))
        s = int(A.argmax())
        score, weight = values(page, "#score-text data")
        assert score == pytest.approx(scores[s], abs=1e-4)
        assert weight == pytest.approx(A[s], abs=2e-5)

        (attn,), (mlp,), (gelu,) = map(block.find, ("attn", "mlp", "gelu"))
        ln_1, ln_2 = block.find("layer_norm")
        x, middle = ln_1.x[0, token], ln_2.x[0, token]
        heads = np.split(split.result[0], 3)[::1]
        all_A = [textbook.attention_weights(*pair)[token] for pair in zip(*heads[:2])]
        w = params["attn"]["c_proj"]["w"].reshape(6, 32, 192)
        parts = [a @ u @ wh for a, u, wh in zip(all_A, heads[2], w, strict=True)]
        normal = [(y - y.mean()) / np.sqrt(y.var() + 1e-5) for y in (x, middle)]
        drawn = {
            "#score .vector:nth-child(1)": q[-1],
            "#score .vector:nth-child(2)": k[s],
            "#score .vector:nth-child(3)": q[-1] * k[s],
            "#values .vector:last-child": A @ v,
            "#norm-1 .vector:nth-child(1)": x,
            "#norm-1 .vector:nth-child(2)": normal[0],
            "#norm-1 .vector:nth-child(3)": ln_1.result[0, token],
            "#norm-2 .vector:nth-child(2)": normal[1],
            "#attention-out .vector:nth-child(2)": attn.result[0, token],
            "#mlp .vector:nth-child(2)": gelu.x[0, token],
            "#mlp .vector:nth-child(3)": gelu.result[0, token],
            "#block-sum .vector:nth-child(3)": mlp.result[0, token],
            "#block-sum .vector:nth-child(4)": block.result[0, token],
            "#added": np.linalg.norm(parts, axis=-1),
        }
        for place, expected in drawn.items():
            shown = read(page, f"{place} .plot")
            accuracy = 0.006 if place == "#added" else 1e-3 * np.abs(expected).max()
            assert np.abs(shown - expected[: len(shown)]).max() < accuracy + 1e-4, place
        lengths = read(page, "#stream .plot")
        last = np.linalg.norm(block.result[0, token])
        assert lengths[2 * layer + 2] == pytest.approx(last, abs=0.006)


def test_another_pass_can_be_shown(tiny, show):
    """`show` with the arrays of another prompt gives the page of that prompt."""
    page = show(tiny, SIXTY)
    other = explain.explain(tiny, TEXT)
    vocabulary = ("byte_ids", "merges", "merged")
    arrays = {k: v for k, v in other["arrays"].items() if k not in vocabulary}
    page.evaluate(
        "([arrays, pieces]) => show({ ...Object.fromEntries(Object.entries(arrays)"
        ".map(([k, v]) => [k, unpack(v)])), pieces }, { layer: 4, head: 2 })",
        [arrays, other["pieces"]],
    )
    page.evaluate("redraw()")
    whole = "document.body.innerText.replace(/ in this run.*/g, '')"
    shown = page.evaluate(whole)
    last = len(tiny.tokenizer.encode(TEXT))
    assert f"The prompt has {last} tokens" in shown
    again = show(tiny, TEXT, f"#token={last}&block=5&head=3&station=0")
    again.evaluate("redraw()")
    kept = "[...document.querySelectorAll('main .plot, main data, main .chip')].map(n => n.textContent)"  # fmt: skip
    assert page.evaluate(kept) == again.evaluate(kept)


def assert_sampled_as(page, logits, sampling):
    tokens, p = sampling.probabilities(logits)
    dense = np.zeros(len(logits))
    dense[tokens] = p
    ids = numbers(page, "#next [data-id]", "id")
    assert ids == np.argsort(-logits, kind="stable")[:20].tolist()
    assert np.abs(values(page, "#next data") - dense[ids]).max() < 1e-6
    assert values(page, "#kept data")[0] == len(tokens)
    kept = np.zeros(len(logits))  # of which the page shows the likeliest
    kept[page.evaluate("kept.tokens")] = page.evaluate("[...kept.p]")
    assert np.abs(kept - dense).max() < 1e-6


def test_sliders_sample_as_sampling_does(tiny, show):
    page = show(tiny, SIXTY)
    ids = tiny.tokenizer.encode(SIXTY)
    choose(page, 0, 0, len(ids) - 1)
    logits = tiny.logits(ids)[-1]

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


def test_ties_are_kept(tiny, show):
    page = show(tiny, "The king")
    logits = np.array([1, 3, 2, 2, 0, 2], np.float32)
    page.evaluate("z => rank(Float32Array.from({ length: V }, (_, i) => z[i] ?? -100))", logits.tolist())  # fmt: skip
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


@pytest.mark.parametrize("piece", [" unbelievable", " banana", " “", "aaaaaaaa", "a"])
def test_merges_are_those_of_the_tokenizer(tiny, show, piece):
    page = show(tiny, piece)
    get = "all => all.map(li => li.dataset.ids.split(' ').map(Number))"
    states = merged_naively(tiny.tokenizer, piece)
    pieces = page.evaluate("data.pieces")
    if len(pieces) == 1:
        assert page.eval_on_selector_all("#merges li", get) == states
    assert states[-1] == tiny.tokenizer.encode(piece)


def test_surprise(tiny, show):
    page = show(tiny, TEXT)
    bits = -tiny.score(TEXT) / np.log(2)
    assert values(page, "#bits-mean data") == pytest.approx(
        [bits.sum(), bits.mean() * np.log(2)], rel=1e-5
    )
    below = page.eval_on_selector_all(
        "#bits .below", "all => all.map(n => n.textContent)"
    )
    assert below == ["given", *(f"{b:.1f}" for b in bits)]
    page.click("#bits [role=option] >> nth=3")
    assert values(page, "#bits-detail h3 data") == pytest.approx(
        [2 ** -bits[2]], abs=1e-6
    )


def test_text_of_a_prompt_is_text(tiny, show):
    page = show(tiny, HOSTILE)
    page.wait_for_timeout(200)
    assert page.title() == "Inside GPT-2"
    assert page.text_content("#prompt") == HOSTILE
    assert page.locator("img").count() == 0
    assert page.locator("script").count() == explain.beside("page.html").count(
        "<script"
    )
    marks = page.evaluate("visible([0xe2, 0x80, 0xae])[0].textContent")  # right to left
    assert marks == "U+202E"


SPILLS = """[...document.querySelectorAll('body *')].filter(e => e.clientWidth
    && e.scrollWidth > e.clientWidth + 1 && getComputedStyle(e).overflowX == 'visible'
    ).map(e => e.outerHTML.slice(0, 80))"""  # elements narrower than what they hold
BROKEN_LABELS = """[...document.querySelectorAll('label')].filter(label => {
    const range = document.createRange();
    range.selectNodeContents(label.firstChild);
    return range.getClientRects().length > 1;
    }).map(label => label.textContent.slice(0, 20))"""  # in several lines


@pytest.mark.parametrize("width", [390, 1280])
@pytest.mark.parametrize("prompt", ["", SIXTY, SIXTY * 3, "x" * 120], ids=len)
def test_nothing_is_cut_off(tiny, show, width, prompt):
    screen = {"viewport": {"width": width, "height": 800}, "color_scheme": "dark"}
    page = show(tiny, prompt, **screen)
    page.evaluate("document.querySelectorAll('details').forEach(d => d.open = true)")
    assert page.evaluate("document.documentElement.scrollWidth") == width
    assert page.evaluate(SPILLS) == []
    assert page.evaluate(BROKEN_LABELS) == []
