"""A guess of what follows changes the time that a text takes, and not the text."""

import numpy as np
import pytest

from minigpt2 import generate, model
from minigpt2.sampling import Sampling
from minigpt2.speed.lookup import LONGEST, SHORTEST, Lookup


def guess(text, room=100):
    return Lookup().guess(np.array(text), room)


def test_what_followed_the_latest_occurrence_is_guessed():
    assert guess([1, 2, 3, 4, 5, 6, 1, 2, 3]) == [4, 5, 6]
    assert guess([1, 2, 3, 4, 4, 4, 1, 2, 3, 9, 8, 7, 1, 2, 3]) == [9, 8, 7]
    assert guess([1, 2, 3, 4, 5, 6, 1, 2, 3], room=2) == [4, 5]


def test_without_an_earlier_occurrence_there_is_no_guess():
    for text in [], [1], [1, 1, 1], [1, 2, 3, 4, 5, 6], [1, 2, 3, 9, 2, 3]:
        assert guess(text) == []
    assert guess([1, 2, 3, 4, 1, 2, 3], room=0) == []


def test_a_circle_is_followed_further():
    lookup = Lookup()
    lookup.length = 8
    assert lookup.guess(np.array([5, 1, 2, 1, 2, 1]), 100) == [2, 1] * 4


def test_right_guesses_grow_and_a_wrong_one_is_short_again():
    lookup = Lookup()
    for expected in 3, 7, 15, 31, 31:
        assert lookup.length == expected
        lookup.learn(lookup.length, lookup.length)
    lookup.learn(LONGEST, LONGEST - 1)
    assert lookup.length == SHORTEST


def test_wrong_guesses_are_few():
    """Of 1000 tokens after each of which a guess could be made, and always wrong."""
    lookup, made = Lookup(), 0
    for _ in range(1000):
        guesses = lookup.guess(np.zeros(20, int), 100)
        lookup.learn(len(guesses), 0)
        made += len(guesses) > 0
    assert 1 < made <= 50


def run(gpt2, prompt, n, sampling, monkeypatch, guess):
    """n tokens, and how many passes it took."""
    passes = []
    blocks = model.blocks

    def counted(params, tokens, kv, n_past):
        passes.append(tokens.shape[1])
        return blocks(params, tokens, kv, n_past)

    monkeypatch.setattr(model, "blocks", counted)
    given, rng = (gpt2.params, gpt2.config, prompt, sampling), np.random.default_rng(4)
    if guess:
        steps = generate.generate_with_guesses(*given, rng)
    else:
        steps = generate.generate_tokens(*given, [rng])
    return [int(step[0]) for _, step in zip(range(n), steps)], len(passes)


@pytest.mark.parametrize("temperature", [0, 0.3])
def test_the_text_is_that_without_guesses(tiny, monkeypatch, temperature):
    """Past the window of 256, whose last tokens leave no room for a guess."""
    prompt = tiny.tokenizer.encode("Once upon a time there was a king. " * 3)
    sampling = Sampling(temperature, top_k=40)
    plain, passes = run(tiny, prompt, 300, sampling, monkeypatch, guess=False)
    guessed, fewer = run(tiny, prompt, 300, sampling, monkeypatch, guess=True)
    assert guessed == plain
    assert passes == 300 and fewer < passes
    if not temperature:
        assert fewer < 150


def test_wrong_guesses_leave_no_trace(small, monkeypatch):
    """The random model never says what is guessed; always the guess is forgotten."""
    monkeypatch.setattr(
        Lookup, "guess", lambda self, text, room: [int(text[0])] * min(5, room)
    )
    prompt = np.random.default_rng(0).integers(0, 1000, 9).tolist()
    plain, _ = run(small, prompt, 100, Sampling(0), monkeypatch, guess=False)
    assert run(small, prompt, 100, Sampling(0), monkeypatch, guess=True)[0] == plain
