"""The exercises tell a student what is wrong: each mistake is made, and named."""

import numpy as np
import pytest
from test_exercises import EXERCISES, LAYER_NORM, layer_norm, wrong

CASES = [(name, text) for name, e in EXERCISES.items() for text in e.mistakes]


@pytest.mark.parametrize(("name", "mistake"), CASES, ids=[": ".join(c) for c in CASES])
def test_a_mistake_is_named(name, mistake):
    exercise = EXERCISES[name]
    assert wrong(exercise, exercise.mistakes[mistake]) == mistake


@pytest.mark.parametrize(
    ("function", "message"),
    [
        (
            lambda x, g, b: None,
            "it returns nothing: its body is empty, or `return` is ",
        ),
        (lambda x, g, b: x[0], "a result has the shape (3, 8), expected (2, 3, 8)"),
        (lambda x, g, b: layer_norm(x, g, b) + 1, "at (0, 0, 0) a result is"),
        (lambda x, g, b: np.full_like(x, np.nan), "at (0, 0, 0) a result is nan"),
    ],
)
def test_other_mistakes_are_shown(function, message):
    assert message in wrong(LAYER_NORM, function)
