"""Log-probabilities are those of the logits, each token in the window said."""

import json
import os
from collections import deque

import numpy as np
import pytest
from helpers import log_softmax, run

import minigpt2
from minigpt2.commands.score import print_summary
from minigpt2.commands.surprises import Surprises
from minigpt2.score import Scores, log_probabilities, score, sliding_windows

EXCERPT = (
    "There was once a poor woodcutter, who lived with his wife and his two children "
    "near a great forest. They had little to eat, and when a famine came upon the land "
    "they could no longer get their daily bread.\n\nOne night, as he lay in his bed, he "
    "sighed, and said to his wife: ‘What is to become of us? How are we to feed our "
    "children?’ The two children had been so hungry that they could not sleep.\n\n"
) * 3


@pytest.mark.parametrize("length", [2, 40, 41, 61])
def test_each_token_is_scored_in_the_first_window_that_holds_it(small, length):
    tokens = np.random.default_rng(length).integers(0, 1000, length)
    expected = []
    for i in range(1, length):
        start = max(0, -(-(i - 39) // 20) * 20)
        expected.append(log_softmax(small.logits(tokens[start:i]))[-1, tokens[i]])
    scores = log_probabilities(small.params, small.config, tokens)
    assert scores.dtype == np.float64
    assert np.abs(scores - expected).max() < 1e-5


@pytest.mark.parametrize("tokens", [[], [5]])
def test_nothing_to_score(small, tokens):
    assert log_probabilities(small.params, small.config, tokens).shape == (0,)


def test_score_of_a_text(tiny):
    text = "Once upon a time there was a king"
    tokens = tiny.tokenizer.encode(text)
    expected = log_softmax(tiny.logits(tokens))[np.arange(len(tokens) - 1), tokens[1:]]
    assert np.abs(tiny.score(text) - expected).max() < 1e-5
    assert (
        tiny.score(text).sum() > tiny.score("king time was upon Once a a there").sum()
    )


def test_the_embedded_model_has_learnt_to_write(tiny):
    """A sentence nobody wrote before today, in bits per byte."""
    text = "The little girl looked at the old woman, and said that she was very sorry."
    assert -tiny.score(text).sum() / np.log(2) / len(text) < 1.6


def test_windows_score_each_token_once_with_at_least_the_context_left_over():
    """However the tokens come in parts: windows of 40, each beginning 7 further on."""
    for length in 1, 2, 39, 40, 41, 47, 200:
        tokens = np.arange(length)
        cut = [(w.tolist(), first) for w, first in sliding_windows([tokens], 40, 7)]
        for parts in np.split(tokens, [length // 3, length // 2]), tokens[:, None]:
            assert [
                (w.tolist(), first) for w, first in sliding_windows(parts, 40, 7)
            ] == cut
        scored = [i for window, first in cut for i in window[first:]]
        assert scored == list(range(1, length))
        assert all(len(window) <= 40 for window, _ in cut)
        assert all(first >= 33 for _, first in cut[1:])


@pytest.mark.parametrize("stride", [-1, 40, 41])
def test_strides_out_of_range(stride):
    with pytest.raises(ValueError, match=f"stride is {stride}, expected 1 to 39"):
        list(sliding_windows([[1, 2]], 40, stride))


def test_a_smaller_stride_gives_more_context(tiny):
    text = tiny.tokenizer.encode(EXCERPT)[:280]
    model = tiny.params, tiny.config
    scores = {
        stride: log_probabilities(*model, text, stride) for stride in (1, None, 255)
    }
    assert {s.shape for s in scores.values()} == {(len(text) - 1,)}
    assert scores[1].sum() > scores[None].sum() > scores[255].sum()
    i = len(text) - 1
    expected = log_softmax(tiny.logits(text[i - 255 : i]))[-1, text[i]]
    assert abs(scores[1][-1] - expected) < 1e-5


def test_a_batch_is_scored_as_its_rows_are(small):
    tokens = np.random.default_rng(0).integers(0, 1000, (3, 40))
    log_p, likeliest, _ = score(small.params, small.config, tokens, 5)
    assert log_p.shape == likeliest.shape == (3, 35)
    for row in range(3):
        logits = small.logits(tokens[row, :-1])
        expected = log_softmax(logits)[np.arange(4, 39), tokens[row, 5:]]
        assert np.abs(log_p[row] - expected).max() < 1e-5
        assert (likeliest[row] == logits[4:].argmax(-1)).all()


def test_logits_that_are_not_finite(small):
    params = small.params | {"ln_f": {"g": np.full(24, np.nan), "b": np.zeros(24)}}
    with pytest.raises(FloatingPointError, match="not finite"):
        log_probabilities(params, small.config, [1, 2, 3])


def command(*arguments, text=None, env=None):
    return run(*arguments, module="minigpt2.score", stdin=text, env=env)


def test_the_command_counts_from_end_of_text(tiny, tmp_path):
    text = "Where is the king’s daughter?\n" * 30
    ids = [tiny.tokenizer.eot, *tiny.tokenizer.encode(text)]
    each = -log_probabilities(tiny.params, tiny.config, ids) / np.log(2)
    n, bits, deviation = len(ids) - 1, each.sum(), each.std()
    expected = f"{n} tokens, perplexity {2 ** (bits / n):.2f}\n"
    expected += f"{30 * 32} bytes, {bits / 960:.4f} bits per byte\n"
    expected += f"surprisal {bits / n:.2f} bits a token, standard deviation"
    expected += f" {deviation:.2f}\nrank among all: "
    (tmp_path / "text").write_bytes(text.encode())
    arguments = "--model=tiny", "--top=0"
    found = command(str(tmp_path / "text"), *arguments)
    assert found[0] == 0 and found[1].startswith(expected) and found[2] == ""
    assert command(*arguments, text=text.encode()) == found


def test_the_most_surprising_places(tiny):
    """A word from elsewhere, at the end of the first window, in its line, with what
    stands around it there and in the next window."""
    model = tiny.params, tiny.config
    ids = [tiny.tokenizer.eot, *tiny.tokenizer.encode(EXCERPT)]
    word = tiny.tokenizer.encode(" Encyclopaedia")[0]
    ids[254] = word
    text = tiny.tokenizer.decode(ids[1:])
    status, out, err = command("--model=tiny", "--json", "--top=3", text=text.encode())
    assert (status, err) == (0, "")
    found = json.loads(out)
    scores = log_probabilities(*model, [ids[0], *tiny.tokenizer.encode(text)])
    assert found["tokens"] == len(scores)
    assert found["bytes"] == len(text.encode())
    assert abs(found["log_probability"] - scores.sum()) < 1e-6
    assert abs(found["perplexity"] - np.exp(-scores.mean())) < 1e-6
    bits = [place["bits"] for place in found["most_surprising"]]
    assert np.allclose(bits, np.sort(-scores / np.log(2))[::-1][:3])
    (place,) = (p for p in found["most_surprising"] if p["text"] == " En")
    before = tiny.tokenizer.decode(ids[1:254])
    assert place["byte"] == len(before.encode())
    assert place["line"] == before.count("\n") + 1 > 1
    shown = [tiny.tokenizer.decode(ids[a:b]) for a, b in ((238, 254), (255, 263))]
    assert [place["before"], place["after"]] == [s.replace("\n", "\\n") for s in shown]
    likeliest = int(tiny.logits(ids[:254])[-1].argmax())
    expected = tiny.tokenizer.decode([likeliest]).replace("\n", "\\n")
    assert place["likeliest"] == expected
    _, out, _ = command("--model=tiny", "--top=3", text=text.encode())
    line = f"line {place['line']}: {place['before']}[ En]{place['after']} → ["
    assert line in out
    assert len(out.splitlines()) == 9


def test_texts_of_a_file_are_scored_as_texts(tiny):
    """Each after `<|endoftext|>`, which is foreseen too; places are those in the file."""
    eot, encode = tiny.tokenizer.eot, tiny.tokenizer.encode
    one, two = "Once upon a time\nthere was\n", " a king. Qzx\n" * 40
    text = f"\n<|endoftext|>\n{one}  <|endoftext|>  \n\n<|endoftext|>\n{two}"
    ids = [eot, *encode(one), eot, *encode(two)]
    scores = log_probabilities(tiny.params, tiny.config, ids)
    out = command("--model=tiny", "--json", "--top=999", text=text.encode())[1]
    found = json.loads(out)
    assert found["tokens"] == len(scores) == len(found["most_surprising"])
    assert found["bytes"] == len(one + two)
    assert found["log_probability"] == pytest.approx(scores.sum())
    bits = found["bits_per_byte"] * len(one + two)
    assert bits == pytest.approx(-scores.sum() / np.log(2))
    for place in found["most_surprising"]:
        assert place["line"] == text[: place["byte"]].count("\n") + 1
        shown = place["text"].replace("\\n", "\n")
        if shown == "<|endoftext|>":
            assert place["byte"] == text.index("  <|")
        else:
            assert text[place["byte"] :].startswith(shown)


def test_where_nothing_can_come_before_a_text_its_first_token_is_given(without_end):
    text = "\n\nOnce upon a time\nthere was a king. Qzx"
    gpt2 = minigpt2.load(without_end)
    assert gpt2.tokenizer.eot is None
    arguments = f"--model={without_end}", "--json", "--top=99"
    found = json.loads(command(*arguments, text=text.encode())[1])
    first = gpt2.tokenizer.decode(gpt2.tokenizer.encode(text)[:1])
    assert found["bytes"] == len(text) - len(first)
    assert found["log_probability"] == pytest.approx(gpt2.score(text).sum())
    for place in found["most_surprising"]:
        assert text[place["byte"] :].startswith(place["text"].replace("\\n", "\n"))
        assert place["line"] == text[: place["byte"]].count("\n") + 1
    several = f"{text}<|endoftext|>{text}".encode()
    status, out, err = command(*arguments, text=several)
    assert (status, out, err.count("\n")) == (2, "", 1)
    assert "no token that a text begins after" in err


def test_a_file_with_a_mark_and_other_line_breaks_is_the_same_text(tmp_path):
    text = "Once upon a time\nthere was\na king.\n"
    expected = command("--model=tiny", text=text.encode())
    other = tmp_path / "text"
    other.write_bytes(text.replace("\n", "\r\n").encode("utf-8-sig"))
    assert command(str(other), "--model=tiny") == expected


def test_json_is_json_and_nothing_else(tiny):
    """On a terminal, too, and of a model that is wrong beyond all numbers."""
    if os.name == "posix":
        master, terminal = os.openpty()
        text = b"the king and his daughter " * 400
        options = {"module": "minigpt2.score", "stdin": text, "stderr": terminal}
        status, out, _ = run("--model=tiny", "--json", **options)
        os.write(terminal, b"!")
        assert (status, os.read(master, 99)) == (0, b"!")
        assert json.loads(out)["bytes"] == len(text)
        os.close(master), os.close(terminal)
    worst = Surprises(tiny.tokenizer, 4096, 1, deque([""]))
    scores = Scores(np.array([-1e4]), np.array([6]), np.array([4096]))
    worst.add(np.array([tiny.tokenizer.eot, 5]), 1, scores)
    summary = json.dumps(worst.summary(), allow_nan=False)
    assert json.loads(summary)["perplexity"] is None
    print_summary(worst.summary())


def test_parts_of_characters_and_controls_are_escaped(tiny):
    out = command("--model=tiny", "--top=99", text="\x1b[1m漢\r\n".encode())[1]
    assert "\x1b" not in out
    assert "[\\xe6]" in out
    assert "\\x1b" in out
