"""Log-probabilities are those of the logits, each token in the window said."""

import subprocess
import sys

import numpy as np
import pytest

from minigpt2.score import log_probabilities


def log_softmax(logits):
    logits = logits.astype(np.float64)
    logits -= logits.max(-1, keepdims=True)
    return logits - np.log(np.exp(logits).sum(-1, keepdims=True))


@pytest.mark.parametrize("length", [2, 39, 40, 41, 60, 61, 100])
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


def command(*arguments, text=None):
    line = [sys.executable, "-m", "minigpt2.score", *arguments]
    done = subprocess.run(line, input=text, capture_output=True, check=False)
    return done.returncode, done.stdout.decode(), done.stderr.decode()


def test_the_command_counts_from_end_of_text(tiny, tmp_path):
    text = "Where is the king’s daughter?\n" * 30
    ids = [tiny.tokenizer.eot, *tiny.tokenizer.encode(text)]
    bits = -log_probabilities(tiny.params, tiny.config, ids).sum() / np.log(2)
    n = len(ids) - 1
    expected = f"{n} tokens, perplexity {2 ** (bits / n):.2f}\n"
    expected += f"{30 * 32} bytes, {bits / 960:.4f} bits per byte\n"
    (tmp_path / "text").write_bytes(text.encode())
    assert command(str(tmp_path / "text"), "--model=tiny") == (0, expected, "")
    assert command("--model=tiny", text=text.encode()) == (0, expected, "")


@pytest.mark.parametrize(
    ("text", "line"), [(b"", "the text is empty"), (b"\xff", "not valid UTF-8")]
)
def test_texts_that_cannot_be_scored(text, line):
    status, out, err = command("--model=tiny", text=text)
    assert (status, out, err.count("\n")) == (2, "", 1)
    assert line in err


def test_a_file_that_is_not_there(tmp_path):
    status, out, err = command(str(tmp_path / "nothing"))
    assert (status, out, err.count("\n")) == (2, "", 1)
    assert "nothing" in err
