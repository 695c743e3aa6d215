"""The detector benchmark: passages, figures and areas against plain references."""

import sys
from xml.etree import ElementTree

import numpy as np
import pytest
from helpers import PROMPT, ROOT, log_softmax, run

from minigpt2.sampling import Sampling

BENCHMARKS = ROOT / "benchmarks"
if not BENCHMARKS.is_dir():
    pytest.skip("there are no benchmarks here", allow_module_level=True)
sys.path.insert(0, str(BENCHMARKS))
import detector
import roc

STORY = (
    "Once there was a king who had a daughter, and she was as beautiful as the day. "
    "But she was so proud that no man was good enough for her, and she laughed at all.\n\n"
    "‘Who is there?’ he asked.\n\n"
)


@pytest.fixture
def book(tmp_path):
    (tmp_path / "book.txt").write_text(STORY * 12)
    return tmp_path / "book.txt"


def test_passages_begin_with_a_paragraph_and_follow_their_prompts(tiny):
    whole = tiny.tokenizer.encode("\n\n" + (STORY * 12).strip())
    prompts, texts = detector.passages(tiny.tokenizer, [STORY * 12], 30, 99)
    assert prompts.shape == (len(texts), 32) and texts.shape == (len(texts), 30)
    assert len(texts) >= 5
    at = -1
    for prompt, text in zip(prompts.tolist(), texts.tolist(), strict=True):
        sizes = range(at + 1, len(whole))
        at = next(i for i in sizes if whole[i : i + 62] == prompt + text) + 61
        assert tiny.tokenizer.decode(text).startswith("Once there was a king")
    some = detector.passages(tiny.tokenizer, [STORY * 12], 30, 3)[1]
    assert (some == texts[[0, (len(texts) - 1) // 2, -1]]).all()


def test_texts_are_written_as_generate_writes_them(tiny):
    prompts = np.array([tiny.tokenizer.encode(PROMPT)[:4]] * 2)
    prompts[1, 0] = 500
    rngs = [np.random.default_rng(i) for i in range(2)]
    written = detector.write(tiny, prompts, 8, Sampling(0), rngs)
    text = "".join(tiny.generate(tiny.tokenizer.decode(prompts[0]), 8, 0))
    assert tiny.tokenizer.decode(written[0]) == text
    tokens = prompts[1].tolist()
    for _ in range(8):
        tokens.append(int(tiny.logits(tokens)[-1].argmax()))
    assert written[1].tolist() == tokens[4:]


def test_the_figures_are_those_of_a_plain_reference(tiny):
    texts = detector.passages(tiny.tokenizer, [STORY * 3], 40, 9)[1][:2]
    found = detector.measure(tiny, texts, [7, 40])
    for b, text in enumerate(texts):
        log_p = log_softmax(tiny.logits([tiny.tokenizer.eot, *text[:-1]]))
        p, own = np.exp(log_p), log_p[np.arange(40), text]
        mean = (p * log_p).sum(-1)
        variance = (p * (log_p - mean[:, None]) ** 2).sum(-1)
        top = [t in np.argsort(-row)[:10] for t, row in zip(text, log_p, strict=True)]
        for i, n in enumerate((7, 40)):
            z = (own - mean)[:n].sum() / np.sqrt(variance[:n].sum())
            expected = own[:n].mean(), np.mean(top[:n]), z
            assert found[:, i, b] == pytest.approx(expected, abs=1e-4)


def test_the_area_is_that_under_the_curve_and_its_error_that_of_a_bootstrap():
    rng = np.random.default_rng(0)
    shared = rng.normal(size=120)  # a prompt makes both passages easy, or hard
    own = np.round(shared + rng.normal(0.8, 1, 120), 1)  # rounded: there are ties
    others = np.round(shared + rng.normal(0, 1, 120), 1)
    value, error = roc.area(own, others)
    x, y = np.array(roc.roc(own, others)).T / 100
    assert (x[0], y[0], x[-1], y[-1]) == (0, 0, 1, 1)
    assert value == pytest.approx(np.sum(np.diff(x) * (y[1:] + y[:-1]) / 2))
    drawn = rng.integers(0, 120, (3000, 120))
    areas = [roc.area(own[each], others[each])[0] for each in drawn]
    assert error == pytest.approx(np.std(areas), rel=0.08)
    assert roc.area(own + 100, others) == (1.0, 0.0)
    assert roc.area(others, others)[0] == 0.5


def command(*arguments):
    return run("--model=tiny", *arguments, program=[BENCHMARKS / "detector.py"])


@pytest.mark.slow
def test_the_tables_and_the_pictures(book, tmp_path):
    options = ["--lengths", "10", "30", "--temperatures", "0.7", "1", "--passages=4"]
    options += ["--unseen", book, "--also", book, "--to", tmp_path]
    status, out, err = command(*options)
    assert status == 0, err
    assert command(*options)[1] == out  # the seed is the same
    assert command(*options, "--seed=1")[1] != out
    assert out.startswith("4 passages of either kind, seed 0.\n\n")
    _, areas, fooled = out.split("\n\n")
    rows = [line.split(" | ") for line in areas.splitlines()[2:]]
    assert [row[0] for row in rows[::2]] == [
        *("| temperature 0.7", "| temperature 1"),
        *("| temperature 1, top-k 40", "| temperature 1, top-p 0.9"),
    ]
    names = [line.split(" | ")[0] for line in fooled.splitlines()[2:]]
    assert len(names) == 8 and names[-1] == "| people's: book.txt"
    for name, lines in ("detector-roc.svg", 5), ("detector-area.svg", 5):
        root = ElementTree.parse(tmp_path / name).getroot()
        shapes = root.findall("{http://www.w3.org/2000/svg}polyline")
        assert sum(shape.get("stroke-width") == "2" for shape in shapes) >= lines


@pytest.mark.parametrize(
    ("options", "line"),
    [
        (["--lengths", "0"], "length is 0, expected 1 or more"),
        (["--lengths", "250"], "length 250 and a prompt of 32: the window is 256"),
        (["--temperatures", "-1"], "temperature is -1.0, expected 0 or more"),
        (["--passages", "1"], "passages is 1, expected 2 or more"),
        (["--unseen", "/there/is/nothing"], "/there/is/nothing"),
        (["--also", "/there/is/nothing"], "/there/is/nothing"),
        (["--lengths", "200"], "1 passages of 200 tokens, two are needed"),
    ],
)
def test_mistakes_get_one_line(tmp_path, options, line):
    (tmp_path / "book.txt").write_text(STORY * 5)
    status, out, err = command("--unseen", tmp_path / "book.txt", *options)
    assert (status, out, err.count("\n")) == (2, "", 1)
    assert line in err
