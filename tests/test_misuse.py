"""Whatever users do to the commands: one clear line, no traceback, and nothing is written
where it should not be."""

import os
import shlex
import shutil
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from helpers import AUDIT, PROMPT, SHORT, TINY, has_mapped, run, start, table

from minigpt2.files import locate

pytestmark = pytest.mark.slow  # a process for each
posix = pytest.mark.skipif(os.name != "posix", reason="works the POSIX way")

# what is typed after `python -m`, and a part of the line it gets; `text` is a file;
# test_train.py has more of minigpt2.train
BAD = """
minigpt2 a --model=                          | unknown model ''
minigpt2 a --model=.                         | no checkpoint; a checkpoint is hparams.json
minigpt2 a --model=directory                 | directory: no checkpoint
minigpt2 a --model=345                       | unknown model '345', expected 124M
minigpt2 a --model=125M                      | unknown model '125M', expected 124M
minigpt2 a --model=me/mine                   | there is no directory me/mine, and cannot reach
minigpt2 a --model=TINY2                       | unknown model 'TINY2'
minigpt2 a --model=tiny/                     | unknown model 'tiny/'
minigpt2 a --model=../tiny                   | unknown model '../tiny'
minigpt2 a --model=/nonexistent              | unknown model '/nonexistent'
minigpt2 a --model='my model'                | unknown model 'my model'
minigpt2 a --model=mödèl                     | unknown model 'mödèl'
minigpt2 a --model=text                      | no checkpoint
minigpt2 a --model                           | argument --model: expected one argument
minigpt2 a --m=tiny                          | ambiguous option: --m=tiny
minigpt2 a --model=124M                      | the model tiny needs no network
minigpt2 a --temperature=-1                  | --temperature is -1.0, expected 0 or more
minigpt2 a --temperature=inf                 | --temperature is inf, expected 0 or more
minigpt2 a --temperature=nan                 | --temperature is nan
minigpt2 a --temperature=warm                | invalid float value: 'warm'
minigpt2 a --top-k=0                         | --top-k is 0, expected 1 or more
minigpt2 a --top-k=-1                        | --top-k is -1
minigpt2 a --top-k=1.5                       | argument --top-k: invalid int value: '1.5'
minigpt2 a --top-p=0                         | --top-p is 0.0, expected above 0 and at most
minigpt2 a --top-p=1.01                      | --top-p is 1.01
minigpt2 a --top-p=nan                       | --top-p is nan
minigpt2 a --max-tokens=-1                   | --max-tokens is -1, expected 0 or more
minigpt2 a --max-tokens=1e3                  | invalid int value: '1e3'
minigpt2 a --max-tokens=many                 | invalid int value: 'many'
minigpt2 a --num-samples=0                   | --num-samples is 0, expected 1 or more
minigpt2 a --num-samples=two                 | invalid int value: 'two'
minigpt2 a --seed=-1                         | --seed is -1, expected 0 or more
minigpt2 a --seed=x                          | invalid int value: 'x'
minigpt2 a --stop=                           | --stop is empty, expected a text
minigpt2 a --greedy=1                        | --greedy: ignored explicit argument '1'
minigpt2 a --nonsense                        | unrecognized arguments: --nonsense (see
minigpt2 a and another                       | unrecognized arguments: and another
minigpt2 -x                                  | -x (see minigpt2 --help; put -- before a text
minigpt2 '-Well' --stop=a                    | put -- before a text that begins with a dash
minigpt2.tokenizer a b                       | unrecognized arguments: b (see python -m
minigpt2.tokenizer a --vocab=none            | none: No such file or directory
minigpt2.tokenizer a --vocab=directory       | directory: Is a directory
minigpt2.tokenizer a --vocab=empty           | empty: merge 1 is ''
minigpt2.tokenizer a --vocab=text            | text: merge 1 is 'Once upon'
minigpt2.tokenizer a --vocab=latin           | latin: 'utf-8' codec can't decode
minigpt2.tokenizer -x                        | put -- before a text that begins with a dash
minigpt2.tokenizer a --n-vocab=0             | n_vocab is 0, byte-level is at least 257
minigpt2.tokenizer a --n-vocab=60000         | 50000 merges, 59743 expected
minigpt2.tokenizer a --n-vocab=x             | invalid int value: 'x'
minigpt2.score none                          | none: No such file or directory
minigpt2.score directory                     | directory: Is a directory
minigpt2.score latin                         | latin: not valid UTF-8 (byte 3)
minigpt2.score utf16                         | utf16: this is UTF-16: save it as UTF-8
minigpt2.score empty                         | the text is empty
minigpt2.score                               | the text is empty
minigpt2.score text text                     | 2 files: --compare shows several side by side
minigpt2.score text --split=word             | argument --split: invalid choice: 'word'
minigpt2.score text --own                    | --own is a part of --compare, which is missing
minigpt2.score text --compare --seed=1       | --seed is a part of --own, which is missing
minigpt2.score text --compare --choices      | --compare has no meaning with --choices
minigpt2.score text --compare --top=1        | --top has no meaning with --compare
minigpt2.score text --compare --own --seed=-1 | seed is -1, expected 0 or more
minigpt2.score text --compare --own --top-k=-1 | top-k is -1, expected 0 or more
minigpt2.score text --compare --own --temperature=nan | temperature is nan
minigpt2.score --compare text empty          | empty: the text is empty
minigpt2.score --compare text latin --json   | latin: not valid UTF-8 (byte 3)
minigpt2.score --compare text none           | none: No such file or directory
minigpt2.score text --choices --model=tiny   | text, line 1: not JSON (Expecting value
minigpt2.score text --by=gain                | --by is a part of --choices, which is missing
minigpt2.score text --model=nothing          | unknown model 'nothing'
minigpt2.score text --model=124M             | the model tiny needs no network
minigpt2.score text --stride=0               | stride is 0, expected 1 or more
minigpt2.score text --stride=256 --model=tiny | stride is 256, expected 1 to 255
minigpt2.score text --stride=x               | invalid int value: 'x'
minigpt2.score text --top=-1                 | top is -1, expected 0 or more
minigpt2.score text --json=1                 | --json: ignored explicit argument '1'
minigpt2.explain a b                         | unrecognized arguments: b
minigpt2.explain a --out=directory           | directory is a directory
minigpt2.explain a --out=                    | . is a directory
minigpt2.explain a --out=none/a.html         | there is no directory none
minigpt2.explain a --out                     | expected one argument
minigpt2.explain a --model=nothing           | unknown model 'nothing'
minigpt2.explain a --model=124M              | the model tiny needs no network
minigpt2.download                            | arguments are required: model
minigpt2.download 345                        | '345' cannot be downloaded: 124M
minigpt2.download me/mine                    | there is no directory me/mine, and cannot reach
minigpt2.download me/mine --verify           | me/mine is not there: leave out --verify
minigpt2.download tiny                       | 'tiny' cannot be downloaded
minigpt2.download ../124M                    | '../124M' cannot be downloaded
minigpt2.download directory                  | 'directory' cannot be downloaded
minigpt2.download 124M 355M                  | unrecognized arguments: 355M
minigpt2.download 124M                       | cannot reach http://127.0.0.1:9: no connection
minigpt2.download 124M --url=ftp://a         | ftp://a is not a URL that begins with http
minigpt2.download 124M --url=http://         | is not a URL that begins with http
minigpt2.download 124M --url=http://[::1     | cannot reach http://[::1
minigpt2.download 124M --url='http://a b/'   | cannot reach http://a b
minigpt2.download 124M --verify              | 124M is not there: leave out --verify
minigpt2.download nothing --verify           | unknown model 'nothing'
minigpt2.train                               | arguments are required: --data, --out
minigpt2.train --data --out=o                | --data: expected at least one argument
minigpt2.train --data=text --out=o --nonsense | --nonsense (see python -m minigpt2.train --help)
"""
BAD_LINES = dict(table(BAD))


@pytest.fixture(scope="module")
def answers(tmp_path_factory):
    """Exit status, standard output and standard error of each bad command line."""
    directory = tmp_path_factory.mktemp("misuse")
    (directory / "directory").mkdir()
    (directory / "text").write_text("Once upon\n")
    (directory / "empty").write_text("")
    (directory / "latin").write_bytes(b"caf\xe9")
    (directory / "utf16").write_text("Once upon", encoding="utf-16")
    before = sorted(directory.iterdir())
    env = {
        "MINIGPT2_URL": "http://127.0.0.1:9",  # where nobody is
        "HF_ENDPOINT": "http://127.0.0.1:9",
        "XDG_CACHE_HOME": str(directory / "cache"),
    }

    def answer(line):
        module, *arguments = shlex.split(line)
        return run(*arguments, module=module, env=env, cwd=directory)

    with ThreadPoolExecutor(os.cpu_count()) as pool:
        yield dict(zip(BAD_LINES, pool.map(answer, BAD_LINES), strict=True))
    after = [path for path in directory.iterdir() if path.name != "cache"]
    assert sorted(after) == before


@pytest.mark.parametrize("line", BAD_LINES)
def test_a_bad_command_line_gets_one_clear_line(answers, line):
    if "124M" in line and locate.find("124M"):
        pytest.skip("the released model is there, so nothing has to be downloaded")
    status, out, err = answers[line]
    assert (status, out) == (2, "")
    assert err.startswith("minigpt2: ")
    assert err.count("\n") == 1
    assert BAD_LINES[line] in err


def test_every_control_character_is_read_and_written(tiny):
    """In a prompt and in what is scored; as tokens, and as bytes on standard output. (A
    \\r is a line break there, and becomes \\n.)"""
    controls = [chr(i) for i in (*range(32), *range(127, 160), 0x2028, 0x200E, 0xFEFF)]
    prompt = "".join(f"{c}a" for c in controls)
    assert tiny.tokenizer.decode(tiny.tokenizer.encode(prompt)) == prompt
    expected = "".join(tiny.generate(prompt.replace("\r", "\n"), 8, 0)) + "\n"
    assert run(*SHORT, "--greedy", stdin=prompt.encode())[:2] == (0, expected)
    for module in "minigpt2.score", "minigpt2.tokenizer":
        options = TINY if module == "minigpt2.score" else []
        status, out, err = run(*options, module=module, stdin=prompt.encode())
        assert (status, err) == (0, "")
        shown = out.replace("\n", "")
        assert shown.isprintable(), ascii([c for c in shown if not c.isprintable()])


def test_a_prompt_of_10_MB(tiny):
    text = " the king’s daughter went, 7 times!\n\n\tand “Où?” said"
    prompt = text * (10_000_000 // len(text))
    status, out, err = run(*SHORT, "--greedy", stdin=prompt.encode())
    assert (status, err.count("\n")) == (0, 1)
    assert "the model reads its last 256" in err
    with pytest.warns(UserWarning, match="256"):
        assert out == "".join(tiny.generate(prompt[-5000:], 8, 0)) + "\n"


@posix
def test_a_home_directory_is_expanded_where_no_shell_does_it(tmp_path):
    (tmp_path / "text").write_text(f"{PROMPT} there was a king. " * 20)
    env = {"HOME": str(tmp_path)}
    for module, words in EACH.items():
        given = [word.replace("{out}", "~") for word in words]
        if given != words:
            assert run(*given, module=module, env=env)[0] == 0
    assert {"model", "page.html"} <= set(os.listdir(tmp_path))


def limited(kilobytes):
    import resource

    resource.setrlimit(resource.RLIMIT_AS, (kilobytes << 10,) * 2)


@posix
def test_endless_samples_come_in_bounded_memory():
    process = start(
        PROMPT,
        *TINY,
        "--max-tokens=1",
        f"--num-samples={10**30}",
        preexec_fn=lambda: limited(3 << 20),
    )
    lines = [process.stdout.readline() for _ in range(2 * 16 * 20)]
    process.stdout.close()
    assert process.wait(timeout=60) == 0
    assert process.stderr.read() == b""
    process.stderr.close()
    assert lines[1::2] == [b"<|endoftext|>\n"] * 320


EACH = {  # a good command line of each command; {out} is a directory
    "minigpt2": [PROMPT, *SHORT],
    "minigpt2.tokenizer": [PROMPT],
    "minigpt2.score": [*TINY, "{out}/text"],
    "minigpt2.explain": [PROMPT, *TINY, "--out={out}/page.html"],
    "minigpt2.download": ["tiny", "--verify"],
    "minigpt2.train": [
        *("--data={out}/text", "--out={out}/model", "--steps=1", "--threads=1"),
        *("--n-layer=1", "--n-head=1", "--n-embd=8", "--n-ctx=8", "--n-vocab=300"),
    ],
}


@pytest.fixture
def commands(tmp_path):
    (tmp_path / "text").write_text(f"{PROMPT} there was a king. " * 20)
    return {
        module: [word.replace("{out}", str(tmp_path)) for word in words]
        for module, words in EACH.items()
    }


@posix
@pytest.mark.parametrize("module", EACH)
def test_closed_and_full_outputs(commands, tmp_path, module):
    words = shlex.join([sys.executable, "-m", module, *commands[module]])
    for closed in "<&-", ">&-", "2>&-", "<&- >&- 2>&-":
        done = subprocess.run(
            ["sh", "-c", f"{words} {closed}"], capture_output=True, check=True
        )
        shutil.rmtree(tmp_path / "model", ignore_errors=True)
        assert b"Traceback" not in done.stderr
    if not Path("/dev/full").exists():
        pytest.skip("there is no /dev/full")
    with open("/dev/full", "wb") as full:
        status, _, err = run(*commands[module], module=module, stdout=full)
        if module in (
            "minigpt2.download",
            "minigpt2.train",
        ):  # nothing is printed there
            assert status == 0
        else:
            assert status == 1
            assert err == "minigpt2: [Errno 28] No space left on device\n"
        shutil.rmtree(tmp_path / "model", ignore_errors=True)
        assert run(*commands[module], module=module, stderr=full)[0] == 0


@posix
def test_what_is_no_file_is_written_to_and_stays(tmp_path):
    """As root, a rename would put a file in the place of /dev/null."""
    pipe, link, page = tmp_path / "pipe", tmp_path / "link", tmp_path / "page.html"
    os.mkfifo(pipe)
    link.symlink_to(page)
    out = f"--out={pipe}"
    process = start(PROMPT, *TINY, out, module="minigpt2.explain")
    came = subprocess.run(
        ["cat", pipe], stdout=subprocess.PIPE, check=True, timeout=20
    ).stdout
    assert process.communicate(timeout=60)[1] == b""
    assert pipe.is_fifo()
    assert run(PROMPT, *TINY, f"--out={link}", module="minigpt2.explain")[0] == 0
    assert link.is_symlink()
    assert page.read_bytes() == came
    assert came.startswith(b"<!")


NAMES = [
    "a b",
    "mödèl 模型",
    "deep/../up",
    "-dash",
    "a'b\"c$(d)",
    "line\nbreak",
    "x" * 200,
]


@posix
@pytest.mark.parametrize("name", NAMES, ids=ascii)
def test_directories_of_any_name(tmp_path, tiny, name):
    """As --model, and as --weights; absolute and relative."""
    (tmp_path / "deep").mkdir()
    model = tmp_path / name / "tiny"
    model.mkdir(parents=True)
    for file in locate.find("tiny").iterdir():
        (model / file.name).write_bytes(file.read_bytes())
    expected = "".join(tiny.generate(PROMPT, 8, 0)) + "\n"
    options = "--greedy", "--max-tokens=8"
    for at in f"--model={model}", f"--model={name}/tiny", f"--weights={name}":
        which = [] if "model" in at else TINY
        out = run(PROMPT, at, *which, *options, cwd=tmp_path)
        assert out == (0, expected, "")
    (model / "config.json").write_text("{")
    status, _, err = run(PROMPT, f"--model={name}/tiny", cwd=tmp_path)
    assert (status, err.count("\n")) == (2, 1)


@pytest.mark.parametrize("module", EACH)
def test_nothing_is_written_elsewhere_and_nothing_unpickled(commands, tmp_path, module):
    """By Python's own audit of what a process opens, renames, removes and unpickles."""
    allowed = os.path.realpath(tmp_path)
    status, _, err = run(allowed, module, *commands[module], program=("-c", AUDIT))
    assert status == 0, err
    for event in "open", "os.", "shutil", "pickle", "subprocess":
        assert f"\n{event}" not in f"\n{err}", err


@pytest.mark.parametrize("module", ["minigpt2", "minigpt2.score", "minigpt2.explain"])
@pytest.mark.parametrize("after", [0, 0.01, 0.02, 0.04, 0.08, 0.16, 0.32])
def test_ctrl_c_at_any_time_is_quiet(tmp_path, module, after):
    """While modules are imported, the model is loaded, a prompt is read, text is written."""
    if not Path("/proc/self/maps").exists():
        pytest.skip("there is no /proc to see what a process has imported")
    text = " the king and his daughter" * 200_000
    (tmp_path / "text").write_text(text)
    words = {
        "minigpt2": [*TINY, "--max-tokens=1000000"],
        "minigpt2.score": TINY,
        "minigpt2.explain": [*TINY, f"--out={tmp_path / 'page.html'}"],
    }
    # score is a room itself: it is imported before it is a command
    begun = "model.safetensors" if module == "minigpt2.score" else "_multiarray_umath"
    with open(tmp_path / "text", "rb") as given:
        process = start(*words[module], module=module, stdin=given)
        while process.poll() is None and not has_mapped(process, begun):
            time.sleep(0.001)
        time.sleep(after)
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=60)
    assert process.returncode in (130, -signal.SIGINT)
    assert b"Traceback" not in err
    assert err.count(b"\n") <= 1  # the notice of a long prompt
    assert os.listdir(tmp_path) == ["text"]
