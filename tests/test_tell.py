"""Can one tell? Ranks, their classes and the table of python -m minigpt2.score --compare,
against plain references."""

import json
import os
import threading
import tracemalloc

import numpy as np
import pytest
from helpers import TINY, log_softmax, run

from minigpt2.commands.compare import encoded, parts_of
from minigpt2.files.text import stream_texts
from minigpt2.generate import generate_tokens
from minigpt2.sampling import Sampling
from minigpt2.score import Tally, classes, ranks, score, sliding_windows

HEAD = "The king went to the forest, and there he met an old woman.\n"
TEXT = HEAD + "‘Where are you going?’ she asked.\n\nHe said that he did not know. " * 30


def command(*arguments, text=None):
    return run(*arguments, *TINY, module="minigpt2.score", stdin=text)


def slowly(gpt2, tokens, first):
    """Of one window: the bits and the rank of each token from `first` on, by sorting."""
    bits, rank = [], []
    for i in range(first, len(tokens)):
        log_p = log_softmax(gpt2.logits(tokens[:i])[-1])
        bits.append(-log_p[tokens[i]] / np.log(2))
        rank.append(1 + list(np.argsort(-log_p, kind="stable")).index(tokens[i]))
    return np.array(bits), np.array(rank)


def figures(bits, rank):
    shares = [np.mean(rank <= 10), np.mean((10 < rank) & (rank <= 100))]
    shares += [np.mean((100 < rank) & (rank <= 1000)), np.mean(rank > 1000)]
    return {"surprisal": bits.mean(), "deviation": bits.std(), "shares": shares}


def assert_same(row, expected):
    for name in "surprisal", "deviation":
        assert row[name] == pytest.approx(expected[name], abs=1e-4)
    assert list(row["ranks"]) == ["1-10", "11-100", "101-1000", "beyond"]
    assert list(row["ranks"].values()) == pytest.approx(expected["shares"], abs=1e-9)


def test_ranks_and_classes():
    x = np.array([[0.1, 0.4, 0.3, 0.2], [0.5, 0.5, 0.0, 0.0]])
    for tokens, expected in (([1, 0], [1, 1]), ([0, 1], [4, 1]), ([3, 2], [3, 3])):
        assert ranks(x, np.array(tokens)).tolist() == expected
    rank = np.array([1, 10, 11, 100, 101, 1000, 1001, 50257])
    assert classes(rank).tolist() == [0, 0, 1, 1, 2, 2, 3, 3]


def test_scores_and_sums_are_those_of_a_plain_reference(tiny):
    tokens = np.array([tiny.tokenizer.eot, *tiny.tokenizer.encode(TEXT)[:120]])
    bits, rank = slowly(tiny, tokens, 5)
    found = score(tiny.params, tiny.config, tokens[None], 5)
    assert np.abs(found.log_p[0] + bits * np.log(2)).max() < 1e-5
    assert (found.rank[0] == rank).all()
    tally = Tally()
    for start, end in ((5, 40), (40, len(tokens))):  # window by window
        tally.add(score(tiny.params, tiny.config, tokens[None, :end], start))
    expected = figures(bits, rank)
    assert tally.tokens == len(bits)
    assert tally.mean == pytest.approx(expected["surprisal"], abs=1e-4)
    assert tally.deviation == pytest.approx(expected["deviation"], abs=1e-4)
    assert tally.shares == pytest.approx(expected["shares"])


def test_a_row_for_each_text_of_each_file(tiny, tmp_path):
    """Read by itself after `<|endoftext|>`; split as it is said."""
    (tmp_path / "a").write_text(HEAD + "\n" + HEAD[:20])
    (tmp_path / "b").write_text(HEAD)
    files = str(tmp_path / "a"), str(tmp_path / "b")
    status, out, err = command("--compare", files[0], "--json", files[1])
    assert (status, err) == (0, "")
    assert [row["text"] for row in json.loads(out)] == list(files)
    out = command("--compare", *files, "--json", "--split=blank")[1]
    found = json.loads(out)
    assert [row["text"] for row in found] == [files[0], f"{files[0]}:2", files[1]]
    texts = HEAD.strip(), HEAD[:20], HEAD.strip()
    for row, text in zip(found, texts, strict=True):
        ids = [tiny.tokenizer.eot, *tiny.tokenizer.encode(text)]
        expected = figures(*slowly(tiny, np.array(ids), 1))
        assert_same(row, expected)
        assert (row["tokens"], row["bytes"]) == (len(ids) - 1, len(text))
        bits = expected["surprisal"] * (len(ids) - 1)
        assert row["bits_per_byte"] == pytest.approx(bits / len(text), abs=1e-4)
    table = command("--compare", *files, "--split=blank")[1].splitlines()
    assert len(table) == 4 + 3
    assert table[-1].endswith(f"%  {files[1]}")
    assert f"{found[0]['surprisal']:.3f}" in table[4]


def test_the_models_own_continuation_beside_the_text(tiny, tmp_path):
    (tmp_path / "text").write_text(TEXT)
    options = ["--compare", "--own", "--json", "--seed=3", "--temperature=0.8"]
    status, out, err = command(*options, str(tmp_path / "text"))
    assert (status, err) == (0, "")
    given, own = json.loads(out)
    ids = tiny.tokenizer.encode(TEXT)[:255]
    prompt, n = [tiny.tokenizer.eot, *ids[:127]], 127
    rng = np.random.default_rng([3, 0])
    steps = generate_tokens(tiny.params, tiny.config, prompt, Sampling(0.8, 40), [rng])
    written = [int(next(steps)[0]) for _ in range(n)]
    for row, half in ((given, ids[127:254]), (own, written)):
        assert row["tokens"] == n
        assert_same(row, figures(*slowly(tiny, np.array(prompt + half), 128)))
    assert own["ranks"]["101-1000"] == own["ranks"]["beyond"] == 0  # of top-k 40
    assert command(*options, str(tmp_path / "text"))[1] == out
    assert command(*options[:3], "--seed=4", str(tmp_path / "text"))[1] != out
    shown = command("--compare", "--own", text=TEXT.encode())[1]
    assert "temperature 1, top-k 40, seed 0" in shown
    assert "standard input, the model's own" in shown


def test_what_is_too_short_is_left_out_by_name(tmp_path):
    text = b"a\n\nOnce upon a time\n"
    status, out, err = command(
        "--compare", "--own", "--split=blank", "--json", text=text
    )
    assert status == 0
    assert err == "minigpt2: standard input: left out: too short for two halves\n"
    assert len(json.loads(out)) == 2
    out = command("--compare", "--own", "--json", text=b"a")[1]
    assert json.loads(out) == []


def test_a_pipe_is_read_once_and_whole(tmp_path):
    if os.name != "posix":
        pytest.skip("makes a named pipe")
    (tmp_path / "text").write_text(TEXT)
    os.mkfifo(tmp_path / "pipe")
    for options in [], ["--compare"]:
        writer = threading.Thread(
            target=(tmp_path / "pipe").write_text, args=[TEXT], daemon=True
        )
        writer.start()
        piped = command("--json", *options, str(tmp_path / "pipe"))[1]
        whole = command("--json", *options, str(tmp_path / "text"))[1]
        assert piped.replace("/pipe", "/text") == whole
        writer.join()


@pytest.mark.slow
def test_memory_does_not_grow_with_the_file(tiny, tmp_path):
    """Of one long line, of many texts, and of one whose end nobody asks for."""
    line = "the king and his daughter went away "
    assert tiny.tokenizer  # is made now
    for between in "", "\n\n":
        (tmp_path / "text").write_text((line * 2000 + between) * 160)  # 12 MB
        tracemalloc.start()
        for _, parts in stream_texts(parts_of(str(tmp_path / "text")), "blank"):
            for window, _ in sliding_windows(encoded(tiny, parts), 256):
                assert len(window) <= 256
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert peak < 2_000_000, between  # less than the text; its ids are 20 MB
    (tmp_path / "text").write_text(line * 600_000)  # 22 MB
    status, out, _ = command("--compare", "--own", str(tmp_path / "text"), "--json")
    assert status == 0
    assert [row["tokens"] for row in json.loads(out)] == [127, 127]
