"""python -m minigpt2 as its users run it: text on stdout, one line for an error."""

import os
import shutil
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest
from helpers import PROMPT, SHORT, SMALL, TINY, finish, has_mapped, run, start

import minigpt2
from minigpt2.files import locate


def test_text_goes_to_standard_output_and_nothing_else(tiny):
    expected = "".join(tiny.generate(PROMPT, max_tokens=8, seed=1))
    assert run(PROMPT, *SHORT, "--seed", "1") == (0, expected + "\n", "")


def test_greedy_is_temperature_zero(tiny):
    expected = "".join(tiny.generate(PROMPT, max_tokens=8, temperature=0)) + "\n"
    assert run(PROMPT, *SHORT, "--greedy") == (0, expected, "")
    assert run(PROMPT, *SHORT, "--temperature", "0") == (0, expected, "")


def test_options_reach_the_sampler(tiny):
    options = {"temperature": 1.5, "top_k": 500, "top_p": 0.8, "seed": 9}
    expected = "".join(tiny.generate(PROMPT, max_tokens=8, **options))
    flags = [f"--{k.replace('_', '-')}={v}" for k, v in options.items()]
    assert run(PROMPT, *SHORT, *flags)[1] == expected + "\n"


@pytest.mark.parametrize("arguments", [[], ["-"]], ids=["pipe", "dash"])
@pytest.mark.parametrize("end", [b"", b"\n", b"\r\n"])
def test_prompt_from_standard_input(tiny, arguments, end):
    expected = "".join(tiny.generate(PROMPT, 8, 0)) + "\n"
    given = PROMPT.encode() + end
    assert run(*arguments, *SHORT, "--greedy", stdin=given) == (0, expected, "")


def test_several_samples_with_a_line_between(tiny):
    status, out, err = run(PROMPT, *SHORT, "--seed=1", "--num-samples=3")
    first = "".join(tiny.generate(PROMPT, max_tokens=8, seed=1))
    texts = out.removesuffix("\n").split("\n<|endoftext|>\n")
    assert (status, err, len(set(texts)), texts[0]) == (0, "", 3, first)


def test_stop_may_be_repeated(tiny):
    out = run(PROMPT, *TINY, "--seed=1", "--stop=.", "--stop= the")[1]
    assert out == "".join(tiny.generate(PROMPT, seed=1, stop=[".", " the"])) + "\n"


def test_stats_go_to_standard_error():
    status, out, err = run(PROMPT, *SHORT, "--greedy", "--stats")
    assert (status, out) == run(PROMPT, *SHORT, "--greedy")[:2]
    assert err.count("\n") == 1
    for word in "loaded in", "first token after", "tokens/s":
        assert word in err


def test_empty_prompt():
    status, out, err = run("", *SHORT)
    assert (status, err) == (0, "")
    assert out.strip()


def test_version():
    assert run("--version") == (0, f"minigpt2 {minigpt2.__version__}\n", "")


def test_help_does_not_wait_for_numpy():
    code = "import runpy, sys; sys.argv[1:] = ['--help']\n"
    code += "try: runpy.run_module('minigpt2', run_name='__main__')\n"
    code += "finally: sys.exit(any(m in sys.modules for m in ('numpy', 'requests')))"
    status, out, _ = run(program=("-c", code))
    assert status == 0
    for option in "--model", "--weights", "--max-tokens", "--stop", "--stats":
        assert option in out


def test_a_message_is_one_line_whatever_a_file_says(tmp_path):
    """A name in a checkpoint gives no command to the terminal, and fills no screen."""
    header = b'{"\\u001b[2J\\n%s": 1}' % (b"x" * 10_000)
    shutil.copy(locate.find("tiny") / "config.json", tmp_path)
    size = len(header).to_bytes(8, "little")
    (tmp_path / "model.safetensors").write_bytes(size + header)
    status, out, err = run(PROMPT, "--model", str(tmp_path))
    assert (status, out) == (2, "")
    assert err[:-1].isprintable()
    assert err[-1] == "\n"
    assert r"tensor \x1b[2J\nxxx" in err
    assert len(err) < 2100


def test_long_prompt_gives_a_notice():
    status, out, err = run(*SHORT, stdin=b" and then" * 300)
    assert (status, err.count("\n")) == (0, 1)
    assert "reads its last 256" in err
    assert out.strip()


def test_no_network_no_weights_gives_the_embedded_model(tmp_path):
    if locate.find("124M"):
        pytest.skip("the default model is there, so nothing has to be downloaded")
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        nobody = f"http://127.0.0.1:{unused.getsockname()[1]}"
        env = {"MINIGPT2_URL": nobody, "MINIGPT2_WEIGHTS": str(tmp_path)}
        status, out, err = run(PROMPT, "--greedy", "--max-tokens=8", env=env)
        assert (status, out) == run(PROMPT, *SHORT, "--greedy")[:2]
        assert err.count("\n") == 1
        for word in nobody, "tiny", "python -m minigpt2.download 124M":
            assert word in err
        page = f"--out={tmp_path / 'page.html'}"
        for module, *words in ("minigpt2.score",), ("minigpt2.explain", page):
            text = {"stdin": PROMPT.encode(), "module": module}
            assert run(*words, env=env, **text)[::2] == (0, err)
            status, _, refusal = run(*words, "--model=124M", env=env, **text)
            assert (status, refusal.count("\n")) == (2, 1)
        status, out, err = run(PROMPT, "--model=124M", env=env)
        assert (status, out, err.count("\n")) == (2, "", 1)
    assert [path.name for path in tmp_path.iterdir()] == ["page.html"]


def test_weights_directories_come_in_order(tmp_path, tiny):
    """A `tiny` in --weights comes before the embedded one, and so does $MINIGPT2_WEIGHTS."""
    shutil.copytree(SMALL, tmp_path / "tiny")
    random = run("a", *SHORT, "--greedy", f"--weights={tmp_path}")[1]
    assert random != run("a", *SHORT, "--greedy")[1]
    env = {"MINIGPT2_WEIGHTS": str(tmp_path)}
    assert run("a", *SHORT, "--greedy", env=env)[1] == random
    assert (
        run("a", f"--model={tmp_path / 'tiny'}", "--greedy", "--max-tokens=8")[1]
        == random
    )


def test_prompts_that_are_not_utf8():
    assert run(b"caf\xe9", *SHORT)[0::2] == (
        2,
        "minigpt2: argument prompt: not valid UTF-8 (see minigpt2 --help)\n",
    )
    assert run(*SHORT, stdin=b"caf\xe9")[0::2] == (
        2,
        "minigpt2: standard input: not valid UTF-8 (byte 3)\n",
    )


def test_a_weights_directory_that_cannot_be_written(tmp_path):
    if locate.find("124M"):
        pytest.skip("the default model is there, so nothing has to be downloaded")
    (tmp_path / "file").write_text("")
    status, out, err = run(PROMPT, f"--weights={tmp_path / 'file' / 'weights'}")
    assert (status, out, err.count("\n")) == (1, "", 1)
    assert str(tmp_path) in err


def test_a_damaged_checkpoint(tmp_path):
    model = shutil.copytree(SMALL, tmp_path / "model")
    data = model / "model.ckpt.data-00000-of-00001"
    data.write_bytes(data.read_bytes()[:-4])
    status, out, err = run(PROMPT, f"--model={model}")
    assert (status, out, err.count("\n")) == (2, "", 1)
    assert f"{data}: the file has 215612 bytes" in err


def test_non_ascii_text_in_a_c_locale():
    env = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    prompt = "“Où est-il?”".encode()
    out = run(*SHORT, "--greedy", stdin=prompt, env=env)
    assert out == run(*SHORT, "--greedy", stdin=prompt)


@pytest.mark.skipif(os.name != "posix", reason="signals are sent the POSIX way")
def test_ctrl_c_ends_quietly():
    process = start(PROMPT, *TINY, "--max-tokens=1000000")
    assert process.stdout.read(20)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=60)
    assert (process.returncode, err) == (130, b"")


@pytest.mark.skipif(os.name != "posix", reason="signals are sent the POSIX way")
def test_a_closed_pipe_ends_quietly():
    process = start(PROMPT, *TINY, "--max-tokens=1000000")
    assert process.stdout.read(20)
    process.stdout.close()
    assert process.wait(timeout=60) == 0
    assert process.stderr.read() == b""
    process.stderr.close()


@pytest.mark.skipif(os.name != "posix", reason="closes descriptors in a shell")
def test_closed_streams(tiny):
    line = f"{sys.executable} -m minigpt2 {' '.join(SHORT)} --greedy 'The king'"
    text = "".join(tiny.generate("The king", 8, 0)) + "\n"
    for closed, out in ("<&-", text), ("2>&-", text), (">&-", ""):
        done = subprocess.run(
            ["sh", "-c", f"{line} {closed}"], capture_output=True, text=True, check=True
        )
        assert (done.stdout, done.stderr) == (out, "")


def test_no_home_and_no_right_to_write_leave_the_embedded_model(tmp_path):
    if locate.find("124M"):
        pytest.skip("the default model is there, so nothing has to be downloaded")
    package = shutil.copytree(Path(minigpt2.__file__).parent, tmp_path / "minigpt2")
    embedded = locate.find("tiny")
    shutil.copytree(embedded, package / "weights" / "tiny", dirs_exist_ok=True)
    env = {"HOME": "/dev/null/home", "XDG_CACHE_HOME": "", "PYTHONPATH": str(tmp_path)}
    status, out, err = run("The king", "--max-tokens=3", env=env, cwd=tmp_path)
    assert (status, err.count("\n")) == (0, 1)
    assert "/dev/null/home" in err
    assert out.strip()


def test_options_in_an_ascii_locale(tiny):
    env = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    prompt = "“Où est la reine?”"
    whole = "".join(tiny.generate(prompt, 8, 0))
    assert run(prompt, *SHORT, "--greedy", env=env)[1] == whole + "\n"


@pytest.mark.skipif(os.name != "posix", reason="needs a pseudo-terminal")
def test_without_prompt_a_terminal_is_asked(tiny):
    master, terminal = os.openpty()
    process = start(*SHORT, "--greedy", stdin=terminal)
    os.close(terminal)
    os.write(master, f"{PROMPT}\nThe king\n\x04".encode())
    out, err = process.communicate(timeout=60)
    os.close(master)
    texts = ["".join(tiny.generate(p, 8, 0)) for p in (PROMPT, "The king")]
    assert out.decode() == "".join(f"{text}\n" for text in texts)
    assert (process.returncode, err.decode()) == (0, "> > > \n")


@pytest.mark.skipif(os.name != "posix", reason="needs a pseudo-terminal")
def test_ctrl_c_ends_the_text_and_a_line_that_is_no_text_is_asked_again(tiny):
    master, terminal = os.openpty()
    process = start(
        *(*TINY, "--max-tokens=400", "--greedy"),
        stdin=terminal,
        preexec_fn=os.setsid,
    )
    os.close(terminal)
    os.write(master, b"caf\xe9\nThe end \nThe end \nThe king\n")
    come = process.stdout.read(20)
    process.send_signal(signal.SIGINT)
    os.write(master, b"\x04")
    out, err = process.communicate(timeout=60)
    os.close(master)
    assert process.returncode == 0
    whole = ["".join(tiny.generate(p, 400, 0)) for p in ("The end ", "The king")]
    first, _, rest = (come + out).decode().partition("\n" + whole[0])
    assert whole[0].startswith(first) and len(first) < len(whole[0])
    assert rest == f"\n{whole[1]}\n"
    refused, hint = err.decode().removesuffix("> \n").split("> ")[1:3]
    assert refused == "minigpt2: the prompt: not valid UTF-8 (byte 3)\n"
    assert "ends in a space" in hint and err.count(b"ends in a space") == 1


@pytest.mark.skipif(os.name != "posix", reason="needs a pseudo-terminal")
def test_a_prompt_that_a_vocabulary_lacks_is_asked_again(without_end):
    master, terminal = os.openpty()
    options = f"--model={without_end}", "--max-tokens=8", "--greedy"
    process = start(*options, stdin=terminal)
    os.close(terminal)
    os.write(master, b"\nThe king\n\x04")
    status, out, err = finish(process)
    os.close(master)
    text = "".join(minigpt2.load(without_end).generate("The king", 8, 0))
    assert (status, out, err.count("> ")) == (0, f"{text}\n", 3)
    assert "> minigpt2: this vocabulary has no token" in err
    status, out, err = run("", *options)
    assert (status, out, err.count("\n")) == (2, "", 1)


def test_a_prompt_that_ends_in_a_space_is_mentioned():
    out = run("The king ", *SHORT, "--greedy")
    assert (out[0], out[2].count("\n")) == (0, 1)
    assert "the prompt ends in a space" in out[2]
    assert run("The king", *SHORT)[2] == ""


def test_texts_that_are_equal_are_written_once():
    expected = run(PROMPT, *SHORT, "--greedy")
    for greedy in "--greedy", "--temperature=0":
        status, out, err = run(PROMPT, *SHORT, greedy, "--num-samples=3")
        assert (status, out) == expected[:2]
        assert err == "minigpt2: without chance all texts are equal: one is written\n"


def test_a_stop_that_looks_like_a_line_break_is_mentioned():
    status, out, err = run(PROMPT, *SHORT, "--greedy", "--stop", r"\n")
    assert (status, out) == run(PROMPT, *SHORT, "--greedy")[:2]
    assert err == (
        r"minigpt2: --stop '\n' is no line break: that is --stop $'\n' in bash and zsh"
        "\n"
    )
    assert run(PROMPT, *SHORT, "--stop=\n")[2] == ""


def test_a_prompt_that_begins_with_a_dash(tiny):
    expected = "".join(tiny.generate("-Well", 8, 0)) + "\n"
    assert run(*SHORT, "--greedy", "--", "-Well") == (0, expected, "")


@pytest.mark.parametrize("prompt", ["The king’s\nson", "\ufeffThe king’s\r\nson\r"])
def test_bytes_of_standard_input_become_a_text(tiny, prompt):
    expected = "".join(tiny.generate("The king’s\nson", 8, 0)) + "\n"
    assert run(*SHORT, "--greedy", stdin=prompt.encode()) == (0, expected, "")
    status, out, err = run(*SHORT, stdin=prompt.encode("utf-16"))
    assert (status, out) == (2, "")
    assert err == "minigpt2: standard input: this is UTF-16: save it as UTF-8\n"


def test_the_public_face():
    assert set(minigpt2.__all__) >= {"load", "GPT2", "Tokenizer"}
    for name in minigpt2.__all__:
        assert getattr(minigpt2, name).__name__ == name
    with pytest.raises(AttributeError, match="nonsense"):
        minigpt2.nonsense  # noqa: B018


# (tokenizer and score are rooms themselves: they are imported before they are commands)
@pytest.mark.parametrize("room", ["download", "explain", "train"])
def test_ctrl_c_while_numpy_is_imported_ends_without_a_word(room):
    if not Path("/proc/self/maps").exists():
        pytest.skip("there is no /proc to see what a process has imported")
    process = start("--help", module=f"minigpt2.{room}")
    while process.poll() is None:
        if has_mapped(process, "numpy"):
            process.send_signal(signal.SIGINT)
            break
    _, err = process.communicate(timeout=60)
    assert (process.returncode, err) == (-signal.SIGINT, b"")


def test_ctrl_c_that_is_ignored_stays_ignored(tiny):
    """As of a job that a script has put into the background."""

    def ignore():
        signal.signal(signal.SIGINT, signal.SIG_IGN)

    process = start(PROMPT, *TINY, "--max-tokens=100", preexec_fn=ignore)
    process.stdout.read(1)
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=60)
    assert process.returncode == 0
