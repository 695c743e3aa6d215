"""What a student's mine.py may hold, and what the exercises say of it."""

import inspect
import re
import shutil
from pathlib import Path

import exercises
import pytest
from checking import EXERCISES
from exercises import STUBS, Mine, sentence
from helpers import run

HERE = Path(__file__).parent
SOLVED = HERE / "solved.py"
FILES = """
exercises.py checking.py mistakes.py mistakes.txt mine.txt solved.py test_exercises.py
conftest.py helpers.py mirror.py
"""


@pytest.fixture
def answer(tmp_path):
    """A student writes a file, and asks about a function in it."""

    def ask(name, text):
        path = tmp_path / "mine.py"
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        return sentence(name, Mine(path).verdict(name), path)

    return ask


@pytest.mark.parametrize("name", EXERCISES)
def test_a_right_answer_hears_so(name):
    said = sentence(name, Mine(SOLVED).verdict(name), SOLVED)
    assert said.startswith(f"Right! Your {name} gives the numbers of GPT-2's.")
    assert "\n" not in said


@pytest.mark.parametrize("name", EXERCISES)
def test_a_stub_says_what_to_do_and_is_not_written_yet(name):
    mine = Mine(STUBS)
    assert mine.verdict(name).text == "not written yet"
    stub, (given, *_) = mine.names[name], EXERCISES[name].cases()
    inspect.signature(stub).bind(*given.values())
    for argument in given:
        assert argument in stub.__doc__ or argument in ("kv", "n_past")
    assert "Returns" in stub.__doc__


IMPORTS = "import math\nimport numpy as np\nfrom minigpt2 import model\n"
READ_ONLY = "it writes into an array that it was given, which is the caller's"
ANSWERS = [
    # the name, the lines in its function (the first is line 5), what is said
    ("gelu", "return", "line 4): it returns nothing: is `return` missing?"),
    ("gelu", "pass\n 'later'", "line 4): not written yet"),
    ("gelu", "raise NotImplementedError('todo')", "line 4): not written yet"),
    ("gelu", "y = x\n return z", "line 6): NameError: name 'z' is not defined"),
    ("gelu", "return gelu(x)", "line 5): the function calls itself without an end"),
    ("gelu", "exit('bye')", "line 5): SystemExit: bye"),
    ("gelu", "input()", "line 5): EOFError"),
    (
        "gelu",
        "raise ValueError('a\\n\\nb')",
        "line 5): ValueError: a b (it was given x",
    ),
    ("gelu", "raise BaseException", "line 5): BaseException"),
    ("gelu", "return 'x'", "line 4): the result is a str, expected an array of numb"),
    ("gelu", "return [[1], [1, 2]]", "the result is a list, expected an array of num"),
    ("gelu", "yield x", "the result is a generator, expected an array of numbers"),
    ("gelu", "return model", "the result is a module, expected an array of numbers"),
    ("gelu", "return x[0]", "the result has the shape (5, 24), expected (3, 5, 24)"),
    ("gelu", "return 3 * model.gelu(x)", "is 3 times what it should be, everywhere"),
    ("gelu", "return model.gelu(x) - 1", "the result is too large by -1, everywhere"),
    (
        "gelu",
        "return x * np.nan",
        "the result has 360 numbers that are nan or infinite",
    ),
    ("gelu", "return model.gelu(x) * (x > 0)", "of its 360 numbers; at ["),
    ("gelu", "x *= 2\n return x", f"line 5): {READ_ONLY}"),
    ("gelu", "x[:] = model.gelu(x)\n return x", f"line 5): {READ_ONLY}"),
    (
        "layer_norm",
        "x -= x.mean(-1, keepdims=True)\n return x",
        f"line 5): {READ_ONLY}",
    ),
    ("layer_norm", "np.multiply(x, g, out=x)", f"line 5): {READ_ONLY}"),
    ("embed", "wte += 1\n return wte[tokens]", f"line 5): {READ_ONLY}"),
    ("attention_weights", "q /= 2\n return q @ k.T", f"line 5): {READ_ONLY}"),
    ("attn", "c_proj['w'] *= 2", f"line 5): {READ_ONLY}"),
    (
        "attn",
        "c_proj.clear()\n return x",
        "it changes c_proj itself, which is the call",
    ),
    ("block", "params['ln_1']['g'] *= 2", f"line 5): {READ_ONLY}"),
    ("probabilities", "logits /= temperature", f"line 5): {READ_ONLY}"),
    ("linear_backward", "dy += 1", f"line 5): {READ_ONLY}"),
    ("adamw", "p -= rate * g", f"line 5): {READ_ONLY}"),
    ("adamw", "m *= 0.9", f"line 5): {READ_ONLY}"),
    (
        "merge",
        "ids.append(1)\n return ids",
        "it changes ids itself, which is the caller",
    ),
    ("merge", "merges.clear()\n return ids", "it changes merges itself"),
    (
        "merge",
        "return bytes(ids)",
        "the result is a bytes, expected an array of numbers",
    ),
    ("merge", "return [256, 4]", "the result is [256, 4], expected [259]"),
    (
        "attention_weights",
        "return q @ k.transpose(0, 1, 3, 2)",
        "line 5): ValueError: axes don't match array (it was given q (5, 6), k (5, 6))",
    ),
    ("attention_weights", "return model.attention_weights(q, k).T", "is transposed:"),
    ("probabilities", "return logits", "it returns 1 result, expected 2: tokens, p"),
    ("probabilities", "return logits, 1", "tokens and p have the shapes (12,) and ()"),
    ("probabilities", "return [0, 0], [1, 1]", "tokens are [0, 0], expected different"),
    ("probabilities", "return [0.5], [1]", "have tokens and p changed places?"),
    ("probabilities", "return [], []", "top_k = None, top_p = None: p is 0 everywhere"),
    (
        "probabilities",  # the temperature is right, the rest is not written
        "return np.arange(12), model.softmax(logits / temperature)",
        "line 4): top-k keeps all tokens",
    ),
    ("gelu", "return x (1 + x)", "is not callable: is a * missing before a bracket? ("),
    ("gelu", "return math.tanh(x)", ": math.… takes one number, np.… an array ("),
    (
        "attn",
        "kv[0, :, :, 1:6] = model.split_heads(x, kv.shape[1])",
        "the shapes do not fit: print them",  # 3 texts, of 4 heads
    ),
    ("gelu", "return x / 2 * x^3", "^ is no power in Python: that is **"),
    ("embed", "return wte[tokens] + wpe", "the shapes do not fit: print them"),
    ("gelu", "return mlp(x)", "NameError: name 'mlp' is not defined: it is model.mlp"),
    (
        "attention_weights",
        "return q @ k",
        "line 5): ValueError: the shapes do not fit for a matrix product (size 5 is diff",
    ),
    ("merge", "return ids[9]", "(it was given ids [3, 4, 7, 8], merges {(7, 8): 256, "),
    ("probabilities", "return [0, 99], [1, 1]", "tokens are [0, 99], expected differe"),
    (
        "probabilities",
        "p = model.softmax(logits + logits % 1)\n return np.arange(12), p",
        "with temperature = 1.0, top_k = None, top_p = None: p is wrong in",
    ),
    ("linear_backward", "return dy", "it returns 1 result, expected 3: dx, dw, db"),
    ("linear_backward", "return x, w, w", "db has the shape (24, 24), expected (24,)"),
]


@pytest.mark.parametrize(("name", "lines", "said"), ANSWERS)
def test_what_is_said_of_an_answer(answer, name, lines, said):
    arguments = ", ".join(EXERCISES[name].cases()[0])
    text = answer(name, f"{IMPORTS}def {name}({arguments}):\n {lines}\n")
    assert text.startswith(f"{name} (mine.py, line ")
    assert said in text
    assert "\n" not in text


EVERY = """\
kept, p = solved.probabilities(logits, temperature, top_k, top_p)
 every = np.zeros(12)  # those not kept have 0
 every[kept] = p
 return np.arange(12), every"""
RIGHT = [
    ("gelu", "print('here', x.shape)\n return model.gelu(x).tolist()"),
    ("gelu", "import warnings\n warnings.warn('w')\n 1 / x[:0]\n return model.gelu(x)"),
    ("merge", "return np.array(solved.merge(ids, merges))"),
    ("linear_backward", "return [dy @ w.T, x.T @ dy, dy.sum(0)]"),
    ("probabilities", EVERY),
]


@pytest.mark.parametrize(("name", "lines"), RIGHT)
def test_a_right_answer_in_another_form(answer, name, lines):
    arguments = ", ".join(EXERCISES[name].cases()[0])
    imports = f"{IMPORTS}import solved\n"
    said = answer(name, f"{imports}def {name}({arguments}):\n {lines}\n")
    assert said.startswith("Right!")


def test_the_textbooks_top_p_is_right_and_explained(answer):
    text = SOLVED.read_text(encoding="utf-8")
    theirs = text.replace("max(1, np.count_nonzero(np.cumsum(p) <= top_p))", "N")
    assert theirs != text
    theirs = theirs.replace("[:N]", "[:n]").replace(
        "n = N", "n = np.searchsorted(np.cumsum(p), top_p) + 1"
    )
    said = answer("probabilities", theirs)
    assert said.startswith("Right!")
    assert "Holtzman et al." in said


def test_attention_with_and_without_a_cache(answer):
    without = SOLVED.read_text(encoding="utf-8")
    assert "This is without a cache" in answer("attention_weights", without)  # it fails
    misplaced = without.replace("np.tri(len(q),", "np.tri(len(q), len(k),")
    assert "This is without a cache" in answer("attention_weights", misplaced)
    cached = without.replace(
        "np.tri(len(q),", "np.tri(len(q), len(k), len(k) - len(q),"
    )
    assert cached != without
    said = answer("attention_weights", cached)
    assert said.startswith("Right!")
    assert "cache" not in said


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("def gelu(x:\n  return x", "line 1): SyntaxError: '(' was never closed"),
        ("def gelu(x):\nreturn x", "line 2): IndentationError: expected an indented"),
        ("def gelu(x):\n\ty = x\n        return y", "line 3): TabError"),
        (
            b"def gelu(x):\n  return '\xe9'",
            "SyntaxError: (unicode error) 'utf-8' codec",
        ),
        ("x = 1\n".encode("utf-16"), "Error: "),
        (
            "\nimport nothing_of_this_name",
            "line 2): ModuleNotFoundError: No module nam",
        ),
        ("\n\n1 / 0\ndef gelu(x): return x", "line 3): ZeroDivisionError: division by"),
        ("quit()", "line 1): SystemExit"),
        ("def f(): f()\nf()", "line 1): the function calls itself without an end"),
        ("def elu(x): return x", "(mine.py): there is no function gelu in mine.py"),
        ("", "(mine.py): there is no function gelu in mine.py"),
        ("gelu = 3", "(mine.py): TypeError: 'int' object is not callable"),
        ("def gelu(): return 1", "line 1): TypeError: gelu() takes 0 positional argum"),
    ],
)
def test_a_file_that_cannot_be_used(answer, text, said):
    line = answer("gelu", text)
    assert line.startswith("gelu (mine.py")
    assert said in line
    assert "\n" not in line


@pytest.mark.parametrize("where", ["in the function", "outside"])
def test_a_loop_without_end_is_stopped(answer, monkeypatch, where):
    monkeypatch.setattr(exercises, "SECONDS", 0.2)
    loop = "while True: y = 1"
    text = f"def gelu(x):\n {loop}" if where == "in the function" else f"\n{loop}"
    said = answer("gelu", text)
    assert said == "gelu (mine.py, line 2): it does not end: stopped after 0.2 seconds"


def test_the_lesson_has_each_exercise_at_its_station_with_two_hints():
    lesson = (HERE.parent / "LESSON.md").read_text(encoding="utf-8")
    stations = re.split(r"^### (\d+)\. .*$", lesson, flags=re.MULTILINE)[1:]
    for n, text in zip(stations[::2], stations[1::2], strict=True):
        start = r"\*Exercise\* [★☆]{3}, \d+ minutes: `(\w+)`; then "
        [(name, after)] = re.findall(
            start + r"`python tests/exercises.py \1`\.\n(.*?)(?=\n#|\Z)",
            text,
            re.DOTALL,
        )
        assert EXERCISES[name].station == int(n)
        hints = re.findall(r"<details><summary>(\w+ hint)</summary>\n\n\S", after)
        assert hints == ["First hint", "Second hint"]


# As a student has it: a copy, the command, a file


@pytest.fixture
def clone(tmp_path):
    """A copy of what belongs to the exercises."""
    (tmp_path / "tests").mkdir()
    for name in FILES.split():
        shutil.copy(HERE / name, tmp_path / "tests")
    shutil.copy(HERE.parent / "setup.cfg", tmp_path)
    return tmp_path


def ask(clone, *arguments, **streams):
    return run(*arguments, program=(clone / "tests" / "exercises.py",), **streams)


def test_the_first_run_writes_a_file_and_no_run_overwrites_it(clone):
    mine = clone / "mine.py"
    status, out, err = ask(clone)
    assert (status, err) == (0, "")
    assert out.startswith(f"{mine} is written: open it in an editor.\n 1  merge  ")
    assert out.count("not written yet") == len(EXERCISES)
    assert mine.read_bytes() == STUBS.read_bytes()

    mine.write_text(
        "def gelu(x):\n    print('hello')\n    return x\n", encoding="utf-8"
    )
    status, out, err = ask(clone, "gelu")
    assert (status, err) == (1, "")
    assert out.splitlines()[0] == "hello"
    assert out.splitlines()[1].startswith("gelu (mine.py, line 1): the result is ")
    assert mine.read_text(encoding="utf-8").startswith("def gelu")


def test_a_solved_file(clone):
    shutil.copy(SOLVED, clone / "mine.py")
    status, out, err = ask(clone)
    assert (status, err) == (0, "")
    assert out.endswith("10 of 10 are right.\n")
    assert len(out.splitlines()) == 11
    status, out, err = ask(clone, "layer_norm")
    assert (status, err) == (0, "")
    right = "Right! Your layer_norm gives the numbers of GPT-2's."
    assert out == f"{right} Next is attention_weights, station 4.\n"


def test_one_wrong_function_leaves_the_others(clone):
    text = SOLVED.read_text(encoding="utf-8").replace("return g * (x", "return (x")
    (clone / "mine.py").write_text(
        text + "\n\ndef gelu(x):\n    ...\n", encoding="utf-8"
    )
    status, out, err = ask(clone)
    assert (status, err) == (1, "")
    assert "3  layer_norm         the gain g is missing, line " in out
    assert "6  gelu               not written yet\n" in out
    assert out.endswith("8 of 10 are right.\n")


def test_a_file_with_a_syntax_error_gets_one_line(clone):
    (clone / "mine.py").write_text("def gelu(x):\n    return (x\n", encoding="utf-8")
    status, out, err = ask(clone)
    assert (status, err) == (1, "")
    problem = "SyntaxError: '(' was never closed"
    assert out == f"none of them can be tried (mine.py, line 2): {problem}\n"


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (["gel"], "there is no exercise 'gel'; there are merge, embed, layer_norm, "),
        (["--file", "nowhere.py"], "nowhere.py cannot be read: No such file or direct"),
        (["--file", "."], ". cannot be read: "),
        (["gelu", "block"], "unrecognized arguments: block (see "),
    ],
)
def test_a_wrong_command_gets_one_line(clone, arguments, line):
    status, out, err = ask(clone, *arguments)
    assert (status, out) == (2, "")
    assert line in err
    assert err.count("\n") == 1


def test_pytest_looks_into_the_file_only_if_it_is_asked(clone):
    (clone / "mine.py").write_text(
        "def layer_norm(x, g, b):\n    return x / 0 0\n", encoding="utf-8"
    )

    def pytest_run(*arguments):
        line = (
            *arguments,
            "-k",
            "test_exercise and layer_norm",
            "-p",
            "no:cacheprovider",
        )
        return run(*line, module="pytest", cwd=clone)

    status, out, _ = pytest_run("tests/test_exercises.py")
    assert status == 1
    assert "\nlayer_norm (mine.py, line 2): SyntaxError: " in out
    assert "Traceback" not in out
    status, out, _ = pytest_run()
    assert status == 0, out
    assert "1 passed" in out
