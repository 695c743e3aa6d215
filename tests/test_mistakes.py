"""The exercises say what is wrong: each usual mistake is made, and named."""

import numpy as np
import pytest
from checking import EXERCISES, Wrong, check
from mistakes import FUNCTIONS, MISTAKES

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
