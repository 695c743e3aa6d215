"""The exercises say what is wrong: each usual mistake is made, and named."""

import math

import numpy as np
import pytest
import solved
from checking import EXERCISES, Wrong, check
from mistakes import FUNCTIONS, MISTAKES

from minigpt2 import model

CASES = {f"{name}: {m.text}": (name, m) for name in EXERCISES for m in MISTAKES[name]}


def verdict(name, function):
    """What is said of it as an answer; nothing, if it is right."""
    with np.errstate(all="ignore"):
        try:
            return check(name, function)
        except Wrong as wrong:
            return str(wrong)


@pytest.mark.parametrize("case", CASES)
def test_a_mistake_is_named(case):
    name, mistake = CASES[case]
    assert verdict(name, EXERCISES[name].as_asked(mistake.make())) == mistake.text


@pytest.mark.parametrize("name", EXERCISES)
def test_what_the_package_does_is_right(name):
    assert verdict(name, EXERCISES[name].as_asked(FUNCTIONS[name])) == ""


# The same by other hands: as students write them


def centred(x):
    return x - x.mean(-1, keepdims=True)


def scores(q, k):
    return q @ k.T / math.sqrt(q.shape[-1])


def reshaped(x, c_attn, c_proj, kv, n_past):
    (B, T, _), H, S = x.shape, kv.shape[2], n_past + x.shape[1]
    parts = np.split(x @ c_attn["w"] + c_attn["b"], 3, axis=-1)
    q, kv[0, :, :, n_past:S], kv[1, :, :, n_past:S] = (
        part.reshape(B, H, T, -1) for part in parts
    )
    y = model.attention_weights(q, kv[0, :, :, :S]) @ kv[1, :, :, :S]
    return model.linear(y.swapaxes(1, 2).reshape(x.shape), **c_proj)


WRITTEN = [
    (
        "layer_norm",
        lambda x, g, b: g * centred(x) / np.linalg.norm(x, axis=-1, keepdims=True) + b,
        "is wrong in",  # nearly the L2 norm: of x, with its mean
    ),
    (
        "layer_norm",
        lambda x, g, b: (
            g * centred(x) / np.linalg.norm(centred(x), axis=-1, keepdims=True) + b
        ),
        "it divides by the length of the vector (the L2 norm), not by the standard dev",
    ),
    (
        "layer_norm",
        lambda x, g, b: (
            g * centred(x) / np.sqrt((x**2).mean(-1, keepdims=True) + 1e-5) + b
        ),
        "the variance is of x with its mean still in it",
    ),
    (
        "attention_weights",
        lambda q, k: model.softmax(scores(q, k) * np.tril(np.ones((len(q), len(q))))),
        "the mask makes scores 0 before the softmax, and exp(0) is 1: it must make the",
    ),
    (
        "attention_weights",
        lambda q, k: model.softmax(
            np.where(np.triu(np.ones((len(q), len(q)))) == 0, -np.inf, scores(q, k))
        ),
        "the mask is the wrong way round: tokens see the later ones, not the earlier",
    ),
    ("attn", reshaped, "heads are split by a reshape alone, which mixes tokens"),
    (
        "probabilities",
        lambda logits, t, k, p: solved.probabilities(logits * t * t, t, k, p),
        "the logits are multiplied by the temperature: they must be divided",
    ),
]


@pytest.mark.parametrize(("name", "function", "said"), WRITTEN)
def test_a_mistake_is_named_whoever_writes_it(name, function, said):
    assert said in verdict(name, function)
