"""The bug hunt shows what each bug does, and tells which it was only if it is asked."""

import os
import re

import bug_hunt
import numpy as np
import pytest
from bug_hunt import BUGS, hidden, look, report
from helpers import AUDIT, ROOT, run

PROGRAM = ROOT / "tests" / "bug_hunt.py"
BY_TEXT = {bug.text: bug for bug in BUGS}


def hunt(*arguments):
    return run(*arguments, program=(PROGRAM,))


@pytest.fixture(scope="module")
def sound():
    return look()


def shows(sound, seen):
    """Whether somebody who compares the two would see it."""
    if seen.tokens != sound.tokens or seen.greedy != sound.greedy:
        return True
    if seen.next != sound.next or seen.drawn != sound.drawn:
        return True
    return not np.allclose(seen.bits, sound.bits, atol=0.1)


@pytest.mark.slow
@pytest.mark.parametrize("number", range(1, len(BUGS) + 1))
def test_each_bug_shows_the_same_each_time_and_its_report_is_whole(sound, number):
    with hidden(BUGS[number - 1]):
        seen, again = look(), look()
    assert shows(sound, seen)
    lines = [*report(sound, seen)]
    assert lines == [*report(sound, again)]
    assert max(map(len, "\n".join(lines).split("\n"))) <= 96


QUICK = [
    "the mask is missing: tokens see those that come later",
    "the mask is off by one: a token does not see itself",  # nan
    "it merges nothing",  # more tokens
    "top-k keeps one token too many",
    "positions begin at 0, not at n_past",  # only after the prompt
]


@pytest.mark.parametrize("text", QUICK)
def test_a_bug_shows(sound, text):
    with hidden(BY_TEXT[text]):
        seen = look()
    assert shows(sound, seen)
    assert [*report(sound, seen)]


def test_afterwards_the_model_is_sound(sound):
    with pytest.raises(KeyError), hidden(BY_TEXT["the gain g is missing"]):
        raise KeyError
    after = look()
    assert not shows(sound, after)
    assert np.array_equal(after.attention, sound.attention)


@pytest.mark.parametrize("bug", BUGS, ids=[bug.text for bug in BUGS])
def test_a_bug_has_a_file_and_a_line(bug):
    place, *changes = bug.where().split("\n")
    rooms = "model|sampling|tokenizer"
    file, line = re.match(
        rf"(minigpt2/(?:{rooms})\.py), line (\d+), in ", place
    ).groups()
    source = (ROOT / file).read_text(encoding="utf-8").splitlines()
    if changes[0].startswith("  right: "):  # and not inserted
        assert f"  right: {source[int(line) - 1].strip()}" == changes[0]
    assert any(change.startswith("  bug:   ") for change in changes)


def test_the_numbers_are_those_of_the_list():
    assert len({bug.text for bug in BUGS}) == len(BUGS)
    status, out, err = hunt("--list")
    assert (status, err) == (0, "")
    assert (
        out
        == f"There are {len(BUGS)} bugs: python tests/bug_hunt.py 1 to {len(BUGS)}.\n"
    )


def test_a_hunt_tells_only_if_it_is_asked():
    status, out, err = hunt("7")
    assert (status, err) == (0, "")
    assert BUGS[6].text not in out
    for part in "It goes on", "The surprise", "Where each token looks", "--tell":
        assert part in out
    status, out, err = hunt("7", "--tell")
    assert (status, err) == (0, "")
    assert out == f"Bug 7: {BUGS[6].text}\n{BUGS[6].where()}\n"


def test_it_writes_no_file(tmp_path):
    paths = os.pathsep.join([str(ROOT), str(PROGRAM.parent)])
    watched = "-c", AUDIT, tmp_path, "bug_hunt"
    status, out, err = run("7", program=watched, env={"PYTHONPATH": paths})
    assert (status, err) == (0, "")
    assert out.startswith("Bug 7 of ")


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        ([], "no number is given: there are the bugs 1 to "),
        (["0"], "no bug 0: there are the bugs 1 to "),
        (["-3"], "no bug -3: there are the bugs 1 to "),
        (["1000"], "no bug 1000: there are the bugs 1 to "),
        (["seven"], "argument bug: invalid int value: 'seven' (see "),
        (["1", "2"], "unrecognized arguments: 2 (see "),
        (["--tell"], "no number is given: there are the bugs 1 to "),
    ],
)
def test_a_wrong_command_gets_one_line(arguments, line):
    status, out, err = hunt(*arguments)
    assert (status, out) == (2, "")
    assert line in err
    assert err.count("\n") == 1


def test_its_modules_are_not_in_the_package():
    assert "bug_hunt" in bug_hunt.__file__
    assert not [
        *(ROOT / "minigpt2").rglob("*mistake*"),
        *(ROOT / "minigpt2").rglob("*bug*"),
    ]
