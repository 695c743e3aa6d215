"""The lines of LESSON.md print what it says: typed into `python`, and as a notebook.

python tests/test_lesson.py --write

runs them, and writes what they print into LESSON.md, below each.
"""

import code
import contextlib
import io
import itertools
import re
import sys
from pathlib import Path

import pytest

import minigpt2
from minigpt2 import model

FILE = Path(__file__).parent.parent / "LESSON.md"
LESSON = FILE.read_text(encoding="utf-8")
# its code, and below it, perhaps folded away, what it prints
SNIPPET = re.compile(
    r"```python\n(.*?)```\n(?:\n(?:<details>[^\n]*\n\n)?```text\n(.*?)```\n)?",
    re.DOTALL,
)
HOUR = re.compile(r"^## .* hour: .*$", re.MULTILINE)
SNIPPETS = SNIPPET.findall(LESSON)  # each with what the lesson says it prints
BETS = "1 1 1 1 6", "5 2 0 1 2", "1 3 3 0 3", "1 1 1 5 2", "1 1 1 1 6", "1 1 1 1 6"


@pytest.fixture(autouse=True)
def put_back(monkeypatch):
    """What an experiment changes in the package, even if it breaks off."""
    monkeypatch.setattr(model, "attention_weights", model.attention_weights)


class Session:
    """A Python session with somebody at the keyboard, who bets in turn when asked."""

    def __init__(self):
        self.bets = itertools.cycle(BETS)
        self.names = {"input": self.answer}
        self.lines_left = 0

    def answer(self, prompt=""):
        assert not self.lines_left, "a line that is pasted after it is the answer"
        print(prompt + (bet := next(self.bets)))
        return bet

    def printed(self, run, snippet):
        """What `run(snippet)` prints, errors too."""
        output = io.StringIO()
        out, err = contextlib.redirect_stdout, contextlib.redirect_stderr
        with out(output), err(output):
            run(snippet)
        return output.getvalue()


def typed(snippets):
    """What each prints in one session of `python`, typed or pasted line by line."""
    session = Session()
    console = code.InteractiveConsole(session.names)

    def enter(snippet):
        lines = snippet.splitlines()
        for n, line in enumerate(lines, start=1):
            session.lines_left = len(lines) - n
            waits = console.push(line)
        if waits:
            console.push("")  # Enter once more, after a loop

    return [session.printed(enter, snippet) for snippet in snippets]


def as_cells(snippets):
    """What each prints as a cell of a notebook, which is run whole."""
    session = Session()

    def run(snippet):
        exec(compile(snippet, "cell", "exec"), session.names)  # noqa: S102

    return [session.printed(run, snippet) for snippet in snippets]


def hours():
    """The snippets of each hour; the warm-up belongs to the first."""
    before, *parts = HOUR.split(LESSON)
    return [SNIPPET.findall(part) for part in (before + parts[0], *parts[1:])]


@pytest.mark.parametrize("hour", range(3))
def test_typed_it_prints_what_the_lesson_says(hour):
    """Each hour is a session of its own."""
    snippets = hours()[hour]
    printed = typed([snippet for snippet, _ in snippets])
    for (snippet, expected), found in zip(snippets, printed, strict=True):
        assert found == expected, snippet


def test_as_cells_it_prints_what_the_lesson_says():
    """All hours are one notebook."""
    printed = as_cells([snippet for snippet, _ in SNIPPETS])
    for (snippet, expected), found in zip(SNIPPETS, printed, strict=True):
        assert found == expected, snippet


def test_it_opens_as_a_notebook_and_all_cells_run():
    why = "pip install -e '.[notebook]'"
    jupytext = pytest.importorskip("jupytext", reason=why)
    nbclient = pytest.importorskip("nbclient", reason=why)
    notebook = jupytext.reads(LESSON, "md")
    cells = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert [cell.source.strip() for cell in cells] == [
        snippet.strip() for snippet, _ in SNIPPETS
    ]
    answers = f"""
import itertools
bets = itertools.cycle({BETS})
def answer(prompt=""):
    print(prompt + (bet := next(bets)))
    return bet
get_ipython().kernel.raw_input = answer
"""
    notebook.cells.insert(0, jupytext.reads(f"```python{answers}```", "md").cells[0])
    nbclient.NotebookClient(notebook, kernel_name="python3").execute()
    for cell, (_, expected) in zip(cells, SNIPPETS, strict=True):
        assert all(output.output_type == "stream" for output in cell.outputs)
        assert "".join(output.text for output in cell.outputs) == expected


def test_there_are_ten_stations():
    numbers = re.findall(r"^### (\d+)\. ", LESSON, re.MULTILINE)
    assert numbers == [str(n) for n in range(1, 11)]


def test_other_commands_do_not_become_cells():
    """jupytext runs `sh`, and leaves `shell` alone."""
    assert set(re.findall(r"^```(\w+)$", LESSON, re.MULTILINE)) == {
        "python",
        "shell",
        "text",
    }


def test_the_files_it_names_exist():
    for path in re.findall(r"\]\(([\w./-]+)(?:#[\w-]+)?\)", LESSON):
        here = minigpt2.__file__ if path.startswith("minigpt2/") else __file__
        assert (Path(here).parents[1] / path).exists(), path


def write():
    """LESSON.md with what its lines print today."""
    sessions = (typed([snippet for snippet, _ in hour]) for hour in hours())
    printed = itertools.chain.from_iterable(sessions)

    def with_output(match):
        output = next(printed)
        if match[2] is None:
            return match[0] + f"\n```text\n{output}```\n" * bool(output)
        start, end = (i - match.start() for i in match.span(2))
        return match[0][:start] + output + match[0][end:]

    FILE.write_text(SNIPPET.sub(with_output, LESSON), encoding="utf-8", newline="\n")


if __name__ == "__main__":
    if sys.argv[1:] != ["--write"]:
        sys.exit(__doc__)
    write()
