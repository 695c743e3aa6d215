"""The page in a browser: what it shows is the model's, and all can see and reach it."""

import re
import zlib
from itertools import pairwise

import numpy as np
import pytest
import textbook
from helpers import ROOT
from test_explain import HOSTILE, TEXT

from minigpt2 import model, score
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


def until(page, expression):
    """Wait for it; the page itself forbids the eval of Playwright's way."""
    for _ in range(100):
        if page.evaluate(expression):
            return
        page.wait_for_timeout(50)
    pytest.fail(f"not in five seconds: {expression}")


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
        ".map(([k, v]) => [k, unpack(v)])), pieces })",
        [arrays, other["pieces"]],
    )
    page.evaluate("redraw()")
    last = len(tiny.tokenizer.encode(TEXT))
    assert f"The prompt has {last} tokens" in page.inner_text("#model")
    again = show(tiny, TEXT, page.evaluate("address()"))
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


def test_the_classes_of_ranks_are_those_of_score(tiny, show):
    text = "There was once a king who had three computers, and a quiet bank."
    ids = np.array(tiny.tokenizer.encode(text))
    ranks = score.score(tiny.params, tiny.config, ids[None]).rank[0]
    expected = [*score.classes(ranks)]
    page = show(tiny, text)
    found = page.eval_on_selector_all(
        "#bits [data-class]", "all => all.map(n => Number(n.dataset.class))"
    )
    assert found == expected
    assert len({*found}) == 4  # so that all lines are looked at
    counts = page.eval_on_selector_all(
        "#classes td:last-child", "all => all.map(n => Number(n.textContent))"
    )
    assert counts == [expected.count(i) for i in range(4)]
    lines = page.eval_on_selector_all(
        "#classes [data-class] > *",
        "all => all.map(n => getComputedStyle(n).textDecoration.split(' ').at(-1))",
    )
    assert len({*lines}) == 4, lines


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
    && e.scrollWidth > e.clientWidth + 1 && !/^(step|label)/.test(e.className) && getComputedStyle(e).overflowX == 'visible'
    ).map(e => e.outerHTML.slice(0, 80))"""  # elements narrower than what they hold; columns have labels under the next
BROKEN_LABELS = """[...document.querySelectorAll('.chooser label')].filter(label => {
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


# Everybody can see and reach it


def test_the_address_is_the_view_and_back_works(tiny, show):
    page = show(tiny, SIXTY, "#token=31&block=5&head=3&station=6")

    def view():
        chosen = [page.input_value(f"#{name}") for name in ("token", "layer", "head")]
        return [int(n) for n in chosen], page.evaluate("state.station")

    def at(station):
        return page.evaluate(
            f"Math.abs(sections[{station}].getBoundingClientRect().top) < 100"
        )

    assert view() == ([30, 4, 2], 6)
    until(page, "Math.abs(sections[6].getBoundingClientRect().top) < 100")
    page.click("#contents a >> nth=3")
    until(page, "location.hash.endsWith('head=3&station=4')")
    until(page, "Math.abs(sections[4].getBoundingClientRect().top) < 100")
    page.select_option("#head", "0")
    until(page, "location.hash.includes('head=1&')")
    page.go_back()
    until(page, "state.head === 2")
    page.go_back()
    until(page, "state.station === 6")
    assert view() == ([30, 4, 2], 6)
    for wrong in "#token=99999&block=x&station=77", "#nonsense", "#token=-1&head=1.5":
        page.evaluate("hash => { location.hash = hash }", wrong)
        page.wait_for_timeout(50)
        assert view()[0] == [30, 4, 2]
    assert not at(1)


def test_every_link_leads_somewhere(tiny, show):
    page = show(tiny, TEXT)
    links = page.eval_on_selector_all(
        "a", "all => all.map(a => a.getAttribute('href'))"
    )
    assert len(links) > 100  # the machine's parts, the findings, the contents
    for link in set(links):
        given = dict(re.findall(r"(\w+)=(\d+)", link))
        assert given
        assert int(given.get("station", 1)) in range(10)
        assert int(given.get("block", 1)) in range(1, 7)
        assert int(given.get("head", 1)) in range(1, 7)
    page.focus("#machine a[tabindex='0']")
    page.keyboard.press("End")
    page.keyboard.press("Enter")  # the last part is a next token
    assert page.evaluate("state.station") == 8


def test_it_opens_on_the_head_that_stands_out(tiny, show, sixty):
    """The findings are what NumPy finds in the same attention weights."""
    page = show(tiny, SIXTY)
    ids, seen = sixty
    A = np.stack([weights for weights, _, _ in explain.by_layer(seen)])  # (L, H, T, T)
    T = len(ids)
    copied = {t: [s for s in range(1, t) if ids[s - 1] == ids[t]] for t in range(T)}
    copying = np.mean([A[..., t, s].sum(-1) for t, s in copied.items() if s], axis=0)
    previous = A[..., range(2, T), range(1, T - 1)].mean(-1)
    found = page.evaluate("findings().map(([view, title]) => [title, view.block - 1, view.head - 1, view.token - 1])")  # fmt: skip
    found = {title: rest for title, *rest in found}
    scores = {
        "The head that copies": (copying, 0.2),
        "The token before": (previous, 0.3),
    }
    for title, (of_head, least) in scores.items():
        assert (title in found) == (of_head.max() > least)
        if title in found:
            assert tuple(found[title][:2]) == np.unravel_index(of_head.argmax(), (6, 6))
    bits = -tiny.score(SIXTY)
    assert found["The greatest surprise"][2] == 1 + bits.argmax()
    first = page.evaluate("findings()[0][0]")
    assert page.input_value("#layer") == str(first["block"] - 1)
    assert page.input_value("#head") == str(first["head"] - 1)


def test_keys_lead_through_the_stations(tiny, show):
    page = show(tiny, TEXT, viewport={"width": 1920, "height": 1080})
    for key, station in ("n", 1), ("n", 2), ("n", 3), ("p", 2):
        page.keyboard.press(key)
        assert page.evaluate("state.station") == station
        assert page.evaluate("document.activeElement.textContent").startswith(
            str(station)
        )
    page.focus("#token")  # a letter chooses an option there
    page.keyboard.press("n")
    assert page.evaluate("state.station") == 2
    page.evaluate("document.activeElement.blur()")
    page.keyboard.press("l")
    page.keyboard.press("PageDown")  # a clicker's key
    assert page.evaluate("state.station") == 3


SMALL = """[...document.querySelectorAll('body *')].filter(e => e.getClientRects().length
    && [...e.childNodes].some(n => n.nodeType === 3 && n.data.trim())).map(e => {
        const svg = e.ownerSVGElement;
        const scale = svg ? svg.getBoundingClientRect().width / svg.viewBox.baseVal.width : 1;
        return [parseFloat(getComputedStyle(e).fontSize) * scale, e.outerHTML.slice(0, 80)];
    }).filter(([size]) => size < 20)"""


def test_on_a_projector_all_type_is_large_and_the_width_is_used(tiny, show):
    page = show(tiny, "There was once a king", viewport={"width": 1920, "height": 1080})
    page.click("#large")
    page.evaluate("document.querySelectorAll('details').forEach(d => d.open = true)")
    page.wait_for_timeout(400)
    page.evaluate("redraw()")
    assert page.evaluate(SMALL) == []
    assert page.evaluate("document.documentElement.scrollWidth") == 1920
    width = "$({!r}).getBoundingClientRect().width"
    assert page.evaluate(width.format("machine")) > 1700
    assert page.evaluate(width.format("s-4")) > 1300


def test_bars_and_maps_are_read_by_touch_and_by_keyboard(tiny, show):
    page = show(tiny, SIXTY, has_touch=True, viewport={"width": 390, "height": 844})
    choose(page, 4, 2, 30)
    bars = "#embedding .vector:first-child"
    page.locator(f"{bars} .plot").scroll_into_view_if_needed()
    facts = page.inner_text(f"{bars} output")
    page.tap(f"{bars} .plot", position={"x": 5, "y": 20})
    first = page.inner_text(f"{bars} output")
    assert re.fullmatch(r"number 1: −?\d\.\d{4}", first)
    page.keyboard.press("ArrowRight")
    assert page.inner_text(f"{bars} output").startswith("number 2: ")
    page.focus("#map .plot")
    assert page.inner_text(f"{bars} output") == facts
    box = page.locator("#map .plot").bounding_box()
    cell = box["width"] / len(tiny.tokenizer.encode(SIXTY))
    place = {"x": 10.5 * cell, "y": 20.5 * cell}
    page.tap("#map .plot", position=place)  # reads
    weight = page.evaluate("weight(4, 2, 20, 10)")
    assert values(page, "#map-read data") == [weight]
    assert page.input_value("#token") == "30"
    page.tap("#map .plot", position=place)  # chooses
    assert page.input_value("#token") == "20"
    assert page.evaluate("[state.key, looked(20)]") == [10, 10]
    page.keyboard.press("ArrowDown")
    page.keyboard.press("ArrowLeft")
    assert values(page, "#map-read data") == [page.evaluate("weight(4, 2, 21, 9)")]
    page.keyboard.press("Enter")
    assert page.evaluate("[state.token, state.key]") == [21, 9]
    page.keyboard.press("Home")
    for _ in range(30):
        page.keyboard.press("ArrowRight")
    assert "comes later" in page.inner_text("#map-read")


def inked(page, selector, strip=None):
    """What share of a part of the page, as it is painted, is far from Canvas, the colour of
    the ground; of its whole, or of a strip that many pixels high at the bottom."""
    part = page.locator(selector).first
    part.scroll_into_view_if_needed()
    canvas = page.evaluate("getComputedStyle(document.documentElement).backgroundColor")
    blank = page.context.browser.new_page()
    share = blank.evaluate(
        """async ([bytes, canvas, strip]) => {
            const image = await createImageBitmap(new Blob([Uint8Array.from(bytes)]));
            const { width, height } = image, [r, g, b] = canvas.match(/\\d+/g).map(Number);
            const context = new OffscreenCanvas(width, height).getContext("2d");
            context.drawImage(image, 0, 0);
            const top = strip ? height - strip - 3 : 0;
            const { data } = context.getImageData(3, top, width - 6, strip ?? height);
            let far = 0;
            for (let i = 0; i < data.length; i += 4) {
                const [x, y, z] = data.subarray(i, i + 3);
                far += Math.abs(x - r) + Math.abs(y - g) + Math.abs(z - b) > 150;
            }
            return far / data.length * 4;
        }""",
        [list(part.screenshot()), canvas, strip],
    )
    blank.close()
    return share


PAINTED = (
    "#machine",
    "#embedding .plot",
    "#softmax .bar >> nth=1",
    "#map .plot",
    "#atlas .plot",
    "#added .columns",
    "#stream .columns",
    "#histogram .columns",
    "#line .line",
)


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_in_forced_colours_all_is_seen(tiny, show, scheme):
    page = show(tiny, SIXTY, forced_colors="active", color_scheme=scheme)
    choose(page, 4, 2, 30)
    for selector in PAINTED:
        assert inked(page, selector) > 0.01, selector
    for chosen, other in (
        ("#pieces [aria-selected=true]", "#pieces [role=option] >> nth=3"),
        ("#attention .asked", "#attention [role=option] >> nth=3"),
        ("#lens .here", "#lens li >> nth=0"),
    ):
        how = "n => { const s = getComputedStyle(n); return s.outlineStyle + s.borderLeft; }"
        looks = [page.locator(one).first.evaluate(how) for one in (chosen, other)]
        assert looks[0] != looks[1]
    # The shade of a weight is the length of a bar.
    weights = page.evaluate("weightsOf(30)")
    chips = [f"#attention .chip >> nth={t}" for t in np.argsort(weights)[[-1, 0]]]
    strongest, weakest = (inked(page, chip, strip=4) for chip in chips)
    assert strongest > weakest + 0.1


def test_it_prints_as_a_handout(tiny, show):
    """A few pages, with all marks though backgrounds are off, and no controls."""
    page = show(
        tiny, "There was once a king who had three daughters", color_scheme="dark"
    )

    def operators(**settings):
        pdf = page.pdf(format="A4", **settings)
        streams = re.findall(rb"stream\r?\n(.*?)\r?\nendstream", pdf, re.DOTALL)
        text = b""
        for stream in streams:
            try:
                text += zlib.decompress(stream)
            except zlib.error:  # a font's
                continue
        return len(re.findall(rb"/Type\s*/Page\b", pdf)), text

    pages, text = operators()
    assert 3 <= pages <= 7
    accent = rb"\.078\d* \.329\d* \.611\d* rg"  # of the light page
    assert len(re.findall(accent, text)) > 100
    assert re.findall(
        rb"\nf\*?\n", operators(print_background=True)[1]
    ).__len__() == len(re.findall(rb"\nf\*?\n", text))
    first = """(() => {
        const context = new OffscreenCanvas(1, 1).getContext("2d");
        context.drawImage(map, 0, 0);
        return [...context.getImageData(0, 0, 1, 1).data].slice(0, 3);
    })()"""
    dark = page.evaluate(first)  # the weight of the first token, which is 1
    page.evaluate("dispatchEvent(new Event('beforeprint'))")
    assert page.evaluate(first) == [0x06, 0x29, 0x4F]
    page.evaluate("dispatchEvent(new Event('afterprint'))")
    page.evaluate("redraw()")
    assert page.evaluate(first) == dark == [0xC3, 0xE0, 0xFF]
    page.emulate_media(media="print")
    for hidden in ".chooser", "nav", ".sliders", ".code", "#draw":
        assert not page.locator(hidden).first.is_visible()
    for shown in "#machine", "#softmax", "#map", "#lens", "#next", "#bits":
        assert page.locator(shown).is_visible()


def test_with_250_tokens_a_key_draws_only_what_is_near(tiny, show):
    ids = np.random.default_rng(0).integers(256, 4095, 400)
    prompt = tiny.tokenizer.decode(ids)
    while len(tiny.tokenizer.encode(prompt)) > 250:
        prompt = prompt[:-1]
    page = show(tiny, prompt)
    page.focus("#pieces [aria-selected=true]")
    page.evaluate("scrollTo({ top: $('s-1').offsetTop, behavior: 'instant' })")
    page.wait_for_timeout(500)
    added = page.evaluate("""() => {
        const all = [], watching = new MutationObserver((changes) => {
            for (const { target, addedNodes } of changes) {
                const place = target.closest("section, #machine")?.id;
                for (const node of addedNodes) {
                    all.push([place, 1 + (node.querySelectorAll?.("*").length ?? 0)]);
                }
            }
        });
        watching.observe(document.body, { subtree: true, childList: true });
        $("pieces").querySelector("[aria-selected=true]").dispatchEvent(
            new KeyboardEvent("keydown", { key: state.token ? "ArrowLeft" : "ArrowRight", bubbles: true }));
        return new Promise((done) => setTimeout(() => done(all)));
    }""")
    drawn = {place for place, _ in added}
    assert "s-1" in drawn
    assert not drawn & {f"s-{n}" for n in range(4, 10)}
    assert sum(n for _, n in added) < 900
    until(page, "drawers.every(({ stale }) => !stale)")  # a moment later


@pytest.mark.parametrize("prompt", ["", "k"])
def test_one_token(tiny, show, prompt):
    page = show(tiny, prompt)
    page.evaluate("redraw()")
    assert values(page, "#softmax data") == [1, 1]
    assert not page.locator("#map").is_visible()
    text = page.inner_text("main") + page.inner_text("#model")
    many = r"\b1 (tokens|characters|bytes|numbers|heads|blocks|merges|later tokens)\b"
    assert not re.search(many, text)
    assert "1 token" in text


@pytest.mark.parametrize("width", [390, 1280])
def test_emoji_and_chinese(tiny, show, width):
    prompt = "The king 👑🐺 said “你好，世界” and 王様は狼を見た. e\u0301 👩‍👩‍👧"
    page = show(tiny, prompt, viewport={"width": width, "height": 800})
    page.evaluate("redraw()")
    assert page.text_content("#prompt") == prompt
    ids = tiny.tokenizer.encode(prompt)
    below = page.eval_on_selector_all(
        "#pieces .below", "all => all.map(n => n.textContent)"
    )
    assert below == [str(i) for i in ids]
    marks = page.eval_on_selector_all(
        "#pieces .byte", "all => all.map(n => n.textContent)"
    )
    with_byte = "all => all.map(n => n.querySelector('.byte') !== null)"
    shown = page.eval_on_selector_all("#pieces [role=option]", with_byte)
    assert shown == ["\ufffd" in tiny.tokenizer.decode([i]) for i in ids]
    assert all(re.fullmatch(r"[0-9a-f]{2}|U\+[0-9A-F]{4,}", mark) for mark in marks)
    for token in 5, len(ids) - 1:
        choose(page, 5, 3, token)
        assert page.evaluate("document.documentElement.scrollWidth") == width
        assert page.evaluate(SPILLS) == []
