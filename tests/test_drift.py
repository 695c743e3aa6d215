"""The drift benchmark: how much the prompt matters, and how close paragraphs stay."""

import sys
from xml.etree import ElementTree

import numpy as np
import pytest
from helpers import ROOT, run

from minigpt2.score import log_probabilities

BENCHMARKS = ROOT / "benchmarks"
if not BENCHMARKS.is_dir():
    pytest.skip("there are no benchmarks here", allow_module_level=True)
sys.path.insert(0, str(BENCHMARKS))
import drift


def test_the_gain_is_a_difference_of_log_probabilities(tiny):
    encode = tiny.tokenizer.encode
    prompt, instead = encode("Once upon a time there was a king"), [tiny.tokenizer.eot]
    texts = np.array(
        [encode(" who had a daughter")[:4], encode(" in the forest of")[:4]]
    )
    gains = drift.gain(tiny, prompt, instead, texts)
    for text, found in zip(texts, gains, strict=True):
        after, without = (
            log_probabilities(tiny.params, tiny.config, [*context, *text])
            for context in (prompt, instead)
        )
        expected = after[len(prompt) - 1 :] - without
        assert np.abs(found - expected).max() < 1e-5
    assert (drift.gain(tiny, prompt, prompt, texts) == 0).all()


def test_continuations_are_seeded_and_differ(tiny):
    prompt = tiny.tokenizer.encode("The king")
    a, b, c = (
        drift.continue_all(tiny, prompt, 9, 3, 40, seed)
        for seed in [(0, 1)] * 2 + [(0, 2)]
    )
    assert a.shape == (3, 9)
    assert (a == b).all()
    assert (a != c).any()
    assert len({tuple(row) for row in a.tolist()}) == 3


@pytest.mark.parametrize("between", ["\n\n", "\n"])
def test_paragraphs(tiny, between):
    texts = [
        "The king’s daughter was very happy.",
        "She sang.",
        "Then came the wolf",
        "No",
    ]
    encode = tiny.tokenizer.encode
    tokens = encode(between.join(texts))
    found = drift.paragraphs(tiny, tokens, 0)
    parts = [tiny.tokenizer.decode(part) for _, part in found]
    assert parts == [text for text in texts[:-1] if len(encode(text)) >= 4]
    assert 2 <= len(parts) <= 3
    for middle, part in found:
        start = int(middle - len(part) / 2)
        assert tokens[start : start + len(part)] == part
    assert drift.paragraphs(tiny, tokens[:6], 0) == [(3.0, tokens[:6])]
    assert drift.paragraphs(tiny, list(range(10)), 4) == [
        (2.0, [0, 1, 2, 3]),
        (6.0, [4, 5, 6, 7]),
    ]


def test_closeness_is_a_cosine_with_what_is_common_taken_off():
    prompts = np.array([[101.0, 1, 7], [99, 3, 7]])  # apart in two dimensions, each ±1
    texts = np.array([[51.0, 0.2, 9], [49, 0.4, 9], [51, 0.4, 9], [49, 0.2, 9]])
    own, others = drift.closeness(prompts, np.array([0, 0, 0, 0]), texts)
    assert np.allclose(own, [1, -1, 0, 0])
    assert np.allclose(others, [-1, 1, 0, 0])


def test_a_text_is_closer_to_itself_than_to_others(tiny):
    """Vectors tell texts apart by what they are about, whatever their order."""
    texts = "The king and the queen had a daughter", "The ship sailed over the sea"
    again = "The queen and the king had a daughter", "Over the sea sailed the ship"
    vectors = [
        np.array([drift.vector(tiny, tiny.tokenizer.encode(text)) for text in some])
        for some in (texts, again)
    ]
    own, others = drift.closeness(vectors[0], np.array([0, 1]), vectors[1])
    assert (own > others + 0.5).all()


def test_ranges_double_and_cover_all():
    for length in 1, 2, 7, 8, 232:
        covered = [k for a, b in drift.ranges(length) for k in range(a, b + 1)]
        assert covered == list(range(1, length + 1))


def command(*arguments):
    return run("--model=tiny", *arguments, program=[BENCHMARKS / "drift.py"])


@pytest.mark.slow
def test_the_tables_and_the_picture(tmp_path):
    picture = tmp_path / "drift.svg"
    options = ["--limit=3", "--samples=2", "--tokens=40", "--paragraph=16"]
    status, out, err = command(*options, f"--svg={picture}")
    assert status == 0, err
    assert command(*options)[1] == out  # the seed is the same
    assert command(*options, "--seed=1")[1] != out
    gains, close = out.split("\n\n")
    first, *_, last = gains.splitlines()[2:]
    assert first.startswith("| 1 to 1 |")
    assert last.startswith("| 32 to 40 |")
    assert float(first.split("|")[2]) > 10 * float(last.split("|")[2])
    rows = [line.split("|")[1:4] for line in close.splitlines()[2:]]
    assert [[int(cell) for cell in row] for row in rows] == [[1, 6, 8], [2, 6, 24]]
    root = ElementTree.parse(picture).getroot()
    assert len(root.findall("{http://www.w3.org/2000/svg}polygon")) == 2


@pytest.mark.slow
def test_transcripts_are_cut_and_measured_as_they_are_written(tiny, tmp_path):
    texts = [
        f"{who} went to the forest.\n‘Who is there?’ " * 4 for who in ("He", "Ann")
    ]
    (tmp_path / "texts").write_text("\n\n".join([*texts, "Too short."]))
    options = ["--prompts", tmp_path / "texts", "--cut=8", "--tokens=20", "--written"]
    status, out, err = command("--split=blank", *options)
    assert status == 0
    assert "left out: 1 of 3 texts have less than 28 tokens" in err
    tokens = [tiny.tokenizer.encode(text.strip()) for text in texts]
    each = [
        drift.gain(tiny, ids[:8], [tiny.tokenizer.eot], np.array([ids[8:28]]))[0]
        for ids in tokens
    ]
    first = out.splitlines()[2].split(" | ")
    assert float(first[1]) == pytest.approx(np.mean([g[0] for g in each]), abs=6e-4)
    assert command("--split=blank", *options[:-1], "--samples=1")[1] != out
    status, _, err = command(*options)  # one a line: then all are too short
    assert (status, err.count("\n")) == (2, 2) and "at least two" in err


@pytest.mark.parametrize(
    ("argument", "line"),
    [
        ("--written", "--written is what stands after --cut tokens: add --cut"),
        ("--cut=4", "--cut and --split are for a file: add --prompts"),
        ("--split=blank", "--cut and --split are for a file: add --prompts"),
        ("--limit=1", "at least two prompts are needed"),
        ("--prompts=/there/is/nothing", "/there/is/nothing"),
        ("--samples=0", "samples is 0, expected 1 or more"),
        ("--tokens=0", "tokens is 0, expected 1 or more"),
        ("--top-k=-1", "top_k is -1"),
    ],
)
def test_mistakes_get_one_line(argument, line):
    status, out, err = command(argument)
    assert status in (1, 2)
    assert (out, err.count("\n")) == ("", 1)
    assert line in err
