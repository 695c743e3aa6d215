"""The next token is drawn as OpenAI's sample.py draws it."""

import numpy as np
import pytest

from minigpt2.sampling import Sampling

LOGITS = np.log(np.array([0.05, 0.4, 0.1, 0.25, 0.2], np.float32))
RANDOM = np.random.default_rng(0).normal(0, 3, 50257).astype(np.float32)


def openai(logits, temperature, top_k, top_p):
    """The distribution of OpenAI's src/sample.py, step by step, over all tokens."""
    logits = logits.astype(np.float64) / temperature
    if top_k is not None:
        kth = np.sort(logits)[::-1][:top_k][-1]
        logits = np.where(logits < kth, -1e10, logits)
    if top_p not in (None, 1):
        descending = np.sort(logits)[::-1]
        p = np.exp(descending - descending[0])
        below = (np.cumsum(p / p.sum()) <= top_p).sum()
        logits = np.where(logits < descending[max(below - 1, 0)], -1e10, logits)
    p = np.exp(logits - logits.max())
    return p / p.sum()


def spread(sampling, logits):
    """The probabilities over all tokens."""
    tokens, p = sampling.probabilities(logits)
    dense = np.zeros(len(logits))
    dense[tokens] = p
    return dense


@pytest.mark.parametrize("logits", [LOGITS, RANDOM], ids=["five", "vocabulary"])
@pytest.mark.parametrize("temperature", [0.3, 1.0, 2.5])
@pytest.mark.parametrize("top_k", [None, 1, 3, 40, 60000])
@pytest.mark.parametrize("top_p", [None, 1e-9, 0.5, 0.72, 0.93, 1.0])
def test_distribution_is_openais(logits, temperature, top_k, top_p):
    p = spread(Sampling(temperature, top_k, top_p), logits)
    assert p.sum() == pytest.approx(1)
    assert np.abs(p - openai(logits, temperature, top_k, top_p)).max() < 1e-6


def test_top_p_keeps_what_sums_to_at_most_p():
    assert np.flatnonzero(spread(Sampling(top_p=0.7), LOGITS)).tolist() == [1, 3]
    assert np.flatnonzero(spread(Sampling(top_p=0.39), LOGITS)).tolist() == [1]


def test_ties_with_the_last_one_kept_are_kept():
    logits = np.array([1, 3, 2, 2, 0], np.float32)
    assert np.flatnonzero(spread(Sampling(top_k=2), logits)).tolist() == [1, 2, 3]


def test_temperature_zero_is_greedy():
    rng = np.random.default_rng()
    assert {Sampling(0).choose(LOGITS, rng) for _ in range(100)} == {1}


def test_tiny_temperatures_do_not_overflow():
    assert spread(Sampling(1e-300), LOGITS).tolist() == [0, 1, 0, 0, 0]


@pytest.mark.parametrize(
    "sampling", [Sampling(), Sampling(2.0), Sampling(1.0, 4, 0.9)], ids=str
)
def test_tokens_come_as_often_as_they_should(sampling):
    rng, n = np.random.default_rng(7), 10_000
    drawn = np.bincount([sampling.choose(LOGITS, rng) for _ in range(n)], minlength=5)
    p = spread(sampling, LOGITS)
    assert (drawn[p == 0] == 0).all()
    assert (np.abs(drawn / n - p) < 5 * np.sqrt(p * (1 - p) / n) + 1e-12).all()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"temperature": -0.1}, "temperature is -0.1"),
        ({"temperature": float("nan")}, "temperature is nan"),
        ({"temperature": float("inf")}, "temperature is inf"),
        ({"top_k": 0}, "top_k is 0"),
        ({"top_k": -3}, "top_k is -3"),
        ({"top_p": 0.0}, "top_p is 0.0"),
        ({"top_p": 1.1}, "top_p is 1.1"),
        ({"top_p": float("nan")}, "top_p is nan"),
    ],
    ids=str,
)
def test_values_out_of_range(arguments, message):
    with pytest.raises(ValueError, match=message):
        Sampling(**arguments)


@pytest.mark.parametrize("bad", [np.nan, np.inf])
@pytest.mark.parametrize("temperature", [0, 1])
def test_logits_that_are_no_numbers(bad, temperature):
    logits = LOGITS.copy()
    logits[3] = bad
    with pytest.raises(FloatingPointError, match="not finite"):
        Sampling(temperature).probabilities(logits)
