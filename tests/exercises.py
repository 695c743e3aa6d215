"""Is your answer to an exercise of LESSON.md right, and if not, what is wrong?

    python tests/exercises.py               how far you are, in all of them
    python tests/exercises.py layer_norm    this one

The first time, this writes mine.py, beside LESSON.md, where your functions go. The
package does not use them, so nothing else can break. A teacher can name a student's file
with --file; the status is 1 if an answer is wrong.
"""

import _thread
import ast
import io
import signal
import sys
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout
from pathlib import Path
from typing import Any, NamedTuple

try:
    import numpy as np
except ImportError:
    sys.exit("NumPy is not here: is the virtual environment active? README.md has how")
from checking import EXERCISES, Wrong, check

from minigpt2 import model
from minigpt2.commands.console import Parser, fail, run

MINE = Path(__file__).parents[1] / "mine.py"
STUBS = Path(__file__).with_name("mine.txt")
SECONDS = 5  # a right answer takes some thousandths of one


class Verdict(NamedTuple):
    right: bool | None  # None: not written yet
    text: str
    line: int | None = None


@contextmanager
def careful(path: Path) -> Iterator[None]:
    """Whatever a student's code raises becomes Wrong; it may warn; it has no keyboard to
    wait for; and after some seconds it is stopped."""
    late = []

    def stop() -> None:
        late.append(True)
        _thread.interrupt_main()

    timer = threading.Timer(SECONDS, stop)
    timer.daemon = True
    usual = signal.signal(signal.SIGINT, signal.default_int_handler)
    stdin, sys.stdin = sys.stdin, io.StringIO()
    try:
        timer.start()
        with warnings.catch_warnings(), np.errstate(all="ignore"):
            warnings.simplefilter("ignore")
            yield
    except Wrong:
        raise
    except KeyboardInterrupt as error:
        if not late:
            raise
        problem = f"it does not end: stopped after {SECONDS} seconds"
        raise Wrong(problem, line_of(error, path)) from None
    except BaseException as error:  # noqa: BLE001 (of exit() too)
        raise Wrong(told(error), line_of(error, path)) from None
    finally:
        timer.cancel()
        sys.stdin = stdin
        signal.signal(signal.SIGINT, usual)


def line_of(error: BaseException, path: Path) -> int | None:
    """The line of this file at which it happened."""
    if isinstance(error, SyntaxError):
        return error.lineno
    line, step = None, error.__traceback__
    while step:
        if step.tb_frame.f_code.co_filename == str(path):
            line = step.tb_lineno
        step = step.tb_next
    return line


def told(error: BaseException) -> str:
    """An exception in one line."""
    if isinstance(error, RecursionError):
        return "the function calls itself without an end"
    text = " ".join(str(error.msg if isinstance(error, SyntaxError) else error).split())
    if isinstance(error, ValueError) and "read-only" in text:
        return (
            "it writes into an array that it was given, which is the caller's: make a "
            "new one, x = x - 1 and not x -= 1"
        )
    if "gufunc signature" in text:  # NumPy's words for it are long
        sizes = text[text.rfind("(") :]
        text = f"the shapes do not fit for a matrix product {sizes}"
    if "can be converted to Python scalars" in text:
        text += ": math.… takes one number, np.… an array"
    if "object is not callable" in text:
        text += ": is a * missing before a bracket?"
    if "broadcast" in text:
        text += "; the shapes do not fit: print them"
    if "must be of ArrayType" in text:
        text += ": does a bracket end too early?"
    if "bitwise_xor" in text:
        return "^ is no power in Python: that is **"
    if isinstance(error, NameError) and hasattr(model, str(error.name)):
        text += f": it is model.{error.name}"
    text = f"{type(error).__name__}: {text[:200]}".rstrip(": ")
    given = getattr(error, "given", "")
    return f"{text} (it was given {given})" if given else text


class Mine:
    """A student's file, read once. Raises OSError; its verdicts raise nothing."""

    def __init__(self, path: Path) -> None:
        self.path, self.problem = path, None
        self.names: dict[str, Any] = {"__name__": "mine", "__file__": str(path)}
        self.unwritten: dict[str, int] = {}  # the line of each
        source = path.read_bytes()
        try:
            with careful(path):
                tree = ast.parse(source, str(path))
                for node in tree.body:
                    if isinstance(node, ast.FunctionDef):
                        self.unwritten.pop(node.name, None)
                        if is_stub(node):
                            self.unwritten[node.name] = node.lineno
                code = compile(source, str(path), "exec", dont_inherit=True)
                exec(code, self.names)  # noqa: S102
        except Wrong as problem:
            self.problem = Verdict(False, str(problem), problem.line)

    def verdict(self, name: str) -> Verdict:
        if self.problem:
            return self.problem
        if name in self.unwritten:
            return Verdict(None, "not written yet", self.unwritten[name])
        f = self.names.get(name)
        if f is None:
            return Verdict(None, f"there is no function {name} in {self.path.name}")
        code = getattr(f, "__code__", None)
        line = code.co_firstlineno if code else None
        try:
            with careful(self.path):
                return Verdict(True, check(name, f), line)
        except Wrong as wrong:
            return Verdict(False, str(wrong), wrong.line or line)


def is_stub(function: ast.FunctionDef) -> bool:
    """Nothing but a docstring, `...`, `pass`, or `raise NotImplementedError`."""
    return all(
        isinstance(line, ast.Pass)
        or (isinstance(line, ast.Expr) and isinstance(line.value, ast.Constant))
        or (isinstance(line, ast.Raise) and "NotImplemented" in ast.unparse(line))
        for line in function.body
    )


def sentence(name: str, verdict: Verdict, path: Path) -> str:
    """The verdict on one function, in one line."""
    if not verdict.right:
        place = f"{path.name}, line {verdict.line}" if verdict.line else path.name
        return f"{name} ({place}): {verdict.text}"
    names = [*EXERCISES]
    after = names[names.index(name) + 1 :][:1]
    then = [f"Next is {name}, station {EXERCISES[name].station}." for name in after]
    right = f"Right! Your {name} gives the numbers of GPT-2's."
    return " ".join(filter(None, [right, verdict.text, *then]))


def begin(path: Path) -> None:
    """Write the file that a student starts from, if there is none."""
    try:
        with open(path, "x", encoding="utf-8") as file:
            file.write(STUBS.read_text(encoding="utf-8"))
        print(f"{path} is written: open it in an editor.")
    except FileExistsError:
        pass


def main() -> None:
    parser = Parser(
        prog="python tests/exercises.py",
        description="The exercises of LESSON.md: is your answer right?",
    )
    parser.add_argument("name", nargs="?", help=f"one of {', '.join(EXERCISES)}")
    parser.add_argument("--file", type=Path, help="the answers, by default mine.py")
    options = parser.parse_args()
    if options.name is not None and options.name not in EXERCISES:
        fail(f"there is no exercise {options.name!r}; there are {', '.join(EXERCISES)}")
    if options.file is None:
        begin(MINE)
    path = options.file or MINE
    try:
        if options.name:
            verdict = Mine(path).verdict(options.name)
            print(sentence(options.name, verdict, path))
            sys.exit(verdict.right is False)
        with redirect_stdout(io.StringIO()):
            mine = Mine(path)
            verdicts = {name: mine.verdict(name) for name in EXERCISES}
    except OSError as error:
        fail(f"{path} cannot be read: {error.strerror}")
    if mine.problem:
        print(sentence("none of them can be tried", mine.problem, path))
        sys.exit(1)
    for name, verdict in verdicts.items():
        line = (
            f", line {verdict.line}" if verdict.right is False and verdict.line else ""
        )
        text = "right" if verdict.right else verdict.text
        print(f"{EXERCISES[name].station:2}  {name:18} {text}{line}")
    print(
        f"{sum(v.right is True for v in verdicts.values())} of {len(verdicts)} are right."
    )
    sys.exit(any(v.right is False for v in verdicts.values()))


if __name__ == "__main__":
    run(main)
