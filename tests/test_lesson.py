"""The lines of LESSON.md print what it says, typed in one after another."""

import contextlib
import io
import re
from code import InteractiveInterpreter
from pathlib import Path

import pytest

import minigpt2

LESSON = (Path(__file__).parent.parent / "LESSON.md").read_text(encoding="utf-8")
STATION = re.compile(r"^### (\d+\. .*)$", re.MULTILINE)
SNIPPET = re.compile(r"```python\n(.*?)```\n\n```text\n(.*?)```", re.DOTALL)


@pytest.fixture(scope="module")
def outputs():
    """Station → what its snippet prints, in one Python session for all of them."""
    _, *parts = STATION.split(LESSON)
    session, printed = InteractiveInterpreter(), {}
    for station, part in zip(parts[::2], parts[1::2], strict=True):
        [(snippet, _)] = SNIPPET.findall(part)
        with contextlib.redirect_stdout(io.StringIO()) as output:
            session.runcode(compile(snippet, station, "exec"))
        printed[station] = output.getvalue()
    return printed


@pytest.mark.parametrize("station", STATION.findall(LESSON))
def test_a_snippet_prints_what_the_lesson_says(outputs, station):
    part = STATION.split(LESSON.partition(f"### {station}\n")[2])[0]
    [(_, expected)] = SNIPPET.findall(part)
    assert outputs[station] == expected


def test_every_python_snippet_shows_its_output():
    assert LESSON.count("```python") == len(SNIPPET.findall(LESSON))


def test_the_files_it_names_exist():
    for path in re.findall(r"\]\(([\w./-]+)\)", LESSON):
        here = minigpt2.__file__ if path.startswith("minigpt2/") else __file__
        assert (Path(here).parents[1] / path).exists(), path
