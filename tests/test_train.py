"""The command: what it writes, how it is interrupted and goes on, and what it says to
input it cannot use."""

import csv
import functools
import json
import os
import re
import shutil
import signal
import time
import xml.etree.ElementTree

import numpy as np
import pytest
from helpers import finish, start, table

import minigpt2
from minigpt2 import model
from minigpt2.commands import train
from minigpt2.commands.console import run
from minigpt2.files import save
from minigpt2.learning import corpus, optimizer, training
from minigpt2.tokenizer import RELEASED_VOCABULARY, Tokenizer

STORY = (
    "the old king and his young daughter went into a dark wood "
    "where nobody had ever been before"
)
SHAPE = ["--n-layer=2", "--n-head=2", "--n-embd=16", "--n-ctx=16", "--n-vocab=300"]
OPTIONS = [*SHAPE, "--batch-size=4", "--threads=2"]
STEPS = 120


@pytest.fixture(scope="module")
def text(tmp_path_factory):
    rng = np.random.default_rng(0)
    path = tmp_path_factory.mktemp("data") / "story.txt"
    path.write_text(" ".join(rng.choice(STORY.split(), 3000)) + ".\n", encoding="utf-8")
    return path


def begin(text, out, *options, **kwargs):
    """A run as a process."""
    rest = ["--data", text, "--out", out, f"--steps={STEPS}"]
    rest += ["--save-every=5", "--sample-every=1000", *OPTIONS, *options]
    return start(*rest, module="minigpt2.train", **kwargs)


@pytest.fixture(scope="module")
def uninterrupted(text, tmp_path_factory):
    out = tmp_path_factory.mktemp("whole") / "model"
    status, _, errors = finish(begin(text, out))
    assert status == 0, errors
    return out


def saved_step(out):
    """The step of the state in the directory; -1 before there is one."""
    try:
        return training.read_state(out / training.STATE)[1]["step"]
    except FileNotFoundError:
        return -1


def wait_for(out, step, process):
    deadline = time.monotonic() + 60
    while saved_step(out) < step:
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.002)


def same(one, other):
    ours, theirs = ((out / "model.safetensors").read_bytes() for out in (one, other))
    assert ours == theirs
    ours, _ = training.read_state(one / training.STATE)
    theirs, _ = training.read_state(other / training.STATE)
    for name, array in ours.items():
        assert array.tobytes() == theirs[name].tobytes(), name


def same_log(one, other):
    columns = ("step", "tokens", "rate", "loss", "valid")  # all but the time it took
    ours, theirs = (
        [[row[column] for column in columns] for row in log_of(out)]
        for out in (one, other)
    )
    assert ours == theirs


def log_of(out):
    with open(out / "log.csv", newline="") as file:
        return list(csv.DictReader(file))


def test_a_run_leaves_a_model_that_minigpt2_opens(uninterrupted):
    gpt2 = minigpt2.load(uninterrupted)
    assert gpt2.config == minigpt2.Config(
        n_vocab=300, n_ctx=16, n_embd=16, n_head=2, n_layer=2
    )
    ids = gpt2.tokenizer.encode("the old king")
    assert ids == Tokenizer.from_file(RELEASED_VOCABULARY, 300).encode("the old king")
    assert np.isfinite(gpt2.logits(ids)).all()
    assert sorted(path.name for path in uninterrupted.iterdir()) == sorted(
        ["config.json", "log.csv", "loss.svg", "merges.txt", "model.safetensors"]
        + ["tokenizer_config.json", "training.safetensors", "vocab.json"]
    )


def test_the_log_and_the_curve_tell_what_happened(uninterrupted):
    rows = log_of(uninterrupted)
    assert [int(row["step"]) for row in rows] == list(range(10, STEPS + 1, 10))
    assert int(rows[-1]["tokens"]) == STEPS * 4 * 16
    losses = [float(row["loss"]) for row in rows]
    assert losses[-1] < losses[0] - 0.5
    assert rows[0]["valid"] == "" and 0 < float(rows[-1]["valid"]) < 8
    svg = xml.etree.ElementTree.parse(uninterrupted / "loss.svg").getroot()
    points = [
        line.get("points").split()
        for line in svg.iter("{http://www.w3.org/2000/svg}polyline")
    ]
    # validated at 100 and at the end
    assert [len(line) for line in points] == [len(rows), 2]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("number", "at_step"),
    [(signal.SIGINT, 5), (signal.SIGINT, 40), (signal.SIGTERM, 70)],
)
def test_an_interrupted_run_goes_on_bit_for_bit(
    text, uninterrupted, tmp_path, number, at_step
):
    out = tmp_path / "model"
    process = begin(text, out)
    wait_for(out, at_step, process)
    process.send_signal(number)
    status, _, errors = finish(process)
    assert status == 130 and "--resume" in errors and "Traceback" not in errors, errors
    stopped = saved_step(out)
    assert at_step <= stopped < STEPS and f"step {stopped};" in errors
    minigpt2.load(out)
    status, _, errors = finish(begin(text, out, "--resume"))
    assert status == 0, errors
    same(out, uninterrupted)
    same_log(out, uninterrupted)


@pytest.mark.slow
def test_a_run_killed_again_and_again_goes_on_bit_for_bit(
    text, uninterrupted, tmp_path
):
    out, kills, rng = tmp_path / "model", 0, np.random.default_rng(0)
    while saved_step(out) < STEPS:
        process = begin(text, out, *(["--resume"] if kills else []))
        wait_for(out, min(saved_step(out) + 20, STEPS), process)
        time.sleep(rng.uniform(0, 0.03))
        process.kill()
        process.communicate()
        kills += 1
        minigpt2.load(out)  # whole, whenever the kill came
    assert kills >= 3
    status, _, errors = finish(begin(text, out, "--resume"))
    assert status == 0, errors
    same(out, uninterrupted)
    same_log(out, uninterrupted)


def test_resume_repairs_what_a_kill_between_two_files_leaves(
    text, uninterrupted, tmp_path
):
    out = tmp_path / "model"
    shutil.copytree(uninterrupted, out)
    (out / "model.safetensors").write_bytes(b"of an earlier step")
    with open(out / "log.csv", "a") as file:
        file.write("999,1,1,1,1,\n")
    args = train.parse(["--data", str(text), "--out", str(out), "--resume"])
    resumed = train.start(args)
    same(out, uninterrupted)
    assert resumed.log[-1]["step"] == STEPS


def test_a_run_is_the_steps_of_its_windows(text, tmp_path):
    out = tmp_path / "model"
    options = ["--steps=3", "--lr=0.01", "--warmup=1", "--weight-decay=0.2", "--seed=5"]
    options += ["--accumulate=2", *OPTIONS]
    assert call("--data", text, "--out", out, *options) == 0
    config = minigpt2.Config(n_vocab=300, n_ctx=16, n_embd=16, n_head=2, n_layer=2)
    tokens = corpus.read_tokens([text], Tokenizer.from_file(RELEASED_VOCABULARY, 300))
    tokens = tokens[: len(tokens) - len(tokens) // 20]
    buffer, params = optimizer.flat(config)
    optimizer.initialise(params, np.random.default_rng(5))
    adam = optimizer.AdamW(buffer, optimizer.n_matrix(config), decay=0.2)
    stepper = optimizer.Stepper(config, model.nest(params), adam, threads=2)
    for step in range(3):
        batch = corpus.draw_windows(tokens, 16, step * 8, 8, seed=5)
        stepper.step([batch[:4], batch[4:]], optimizer.learning_rate(step, 3, 0.01, 1))
    arrays, _ = training.read_state(out / training.STATE)
    assert arrays["params"].tobytes() == buffer.tobytes()


def test_a_safetensors_file_is_aligned_whatever_its_header(tmp_path):
    arrays = {
        "a": np.arange(6, dtype=np.float32).reshape(2, 3),
        "b": np.ones(1, np.float32),
    }
    for length in range(8):
        save.write_safetensors(tmp_path / "file", arrays, {"x": "y" * length})
        data = (tmp_path / "file").read_bytes()
        size = int.from_bytes(data[:8], "little")
        header = json.loads(data[8 : 8 + size])
        assert size % 8 == 0 and header["a"] == {
            "dtype": "F32",
            "shape": [2, 3],
            "data_offsets": [0, 24],
        }
        assert data[8 + size :] == arrays["a"].tobytes() + arrays["b"].tobytes()


def test_a_write_that_fails_leaves_the_file_before_it(tmp_path):
    path = tmp_path / "file"
    save.replace(path, [b"good"])

    def parts():
        yield b"half"
        raise OSError(28, "No space left on device")

    with pytest.raises(OSError):
        save.replace(path, parts())
    assert path.read_bytes() == b"good" and list(tmp_path.iterdir()) == [path]


def call(*argv):
    """The command in this process: its exit status."""
    before = {n: signal.getsignal(n) for n in (signal.SIGINT, signal.SIGTERM)}
    errors = np.geterr()
    try:
        run(lambda: train.main([str(argument) for argument in argv]))
        return 0
    except SystemExit as end:
        return end.code or 0
    finally:
        np.seterr(**errors)
        for number, handler in before.items():
            signal.signal(number, handler)


# Options, and a part of the line they get; {text} is a story, {model} a run of it.
BAD = """
--data none.txt --out o                         | none.txt: No such file
--data nothing --out o                          | no .txt file
--data empty.txt --out o                        | no text
--data latin.txt --out o                        | latin.txt: not valid UTF-8 (byte 3)
--data utf16.txt --out o              | utf16.txt: this is UTF-16: save it as UTF-8
--data {text} --out tiny --steps 1    | --out tiny is a model's name: choose another
--data {text} --out ./117M --steps 1  | --out 117M is a model's name
--data {text} --out GPT2-XL --steps 1 | --out GPT2-XL is a model's name
--data short.txt --out o              | tokens, but a context and one to predict are 257
--data {text} --out o --n-embd 50 --n-head 6    | n_embd 50
--data {text} --out o --n-vocab 100             | at least 257
--data {text} --out o --n-vocab 99999           | 50000 merges
--data {text} --out o --steps 0                 | --steps must be at least 1, not 0
--data {text} --out o --lr nan                  | --lr must be at least 0, not nan
--data {text} --out o --lr inf                  | --lr must be at least 0, not inf
--data {text}                                   | --out
--data {text} --out o --init nonsense           | unknown model 'nonsense'
--data {text} --out o --init {model} --n-embd 6 | --n-embd is for new
--data {text} --out {model}                     | has training.safetensors, of a model
--data {text} --out {text}                      | story.txt
--data {text} --out o --resume                  | no run to resume
--data {text} --out {model} --resume --lr 1     | cannot go on with another
--data short.txt {text} --out {model} --resume  | the data is not that of the run
--data {text} --out damaged --resume | training.safetensors: not the state of a training
--data {text} --out cut --resume     | training.safetensors: not the state of a training
"""


@pytest.mark.parametrize(("options", "words"), table(BAD))
def test_bad_input_is_one_line_and_status_2(
    options, words, text, uninterrupted, tmp_path, capsys, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "nothing").mkdir()
    (tmp_path / "empty.txt").write_text(" \n")
    (tmp_path / "short.txt").write_text("Once upon a time.")
    (tmp_path / "latin.txt").write_bytes(b"Caf\xe9")
    (tmp_path / "utf16.txt").write_text("Once", encoding="utf-16")
    for case, data in (
        ("damaged", b"\x05" * 99),
        ("cut", (uninterrupted / training.STATE).read_bytes()[:-100]),
    ):
        (tmp_path / case).mkdir()
        (tmp_path / case / training.STATE).write_bytes(data)
    before = {path: path.read_bytes() for path in uninterrupted.iterdir()}
    assert call(*options.format(text=text, model=uninterrupted).split()) == 2
    errors = capsys.readouterr().err
    assert words in errors and errors.count("\n") == 1 and len(errors) < 400, errors
    assert {path: path.read_bytes() for path in uninterrupted.iterdir()} == before
    assert not (tmp_path / "o").exists()


def test_a_loss_that_is_not_finite_ends_the_run_and_keeps_the_last_good_checkpoint(
    text, tmp_path, capsys
):
    options = ["--lr=1e30", "--warmup=0", "--steps=30", "--save-every=1", *OPTIONS]
    assert call("--data", text, "--out", tmp_path / "o", *options) == 2
    errors = capsys.readouterr().err
    told = re.search(
        r"after step (\d+): .*; the checkpoint of step (\d+) is still in", errors
    )
    step, kept = map(int, told.groups())
    assert kept <= step <= kept + 1
    assert saved_step(tmp_path / "o") == kept
    assert np.isfinite(minigpt2.load(tmp_path / "o").logits([1, 2, 3])).all()


@pytest.mark.parametrize("name", ["tokenizer.json", "generation_config.json"])
def test_files_of_another_model_in_out_are_not_mixed_with_ours(
    text, tmp_path, capsys, name
):
    (tmp_path / name).write_text("{}")
    assert call("--data", text, "--out", tmp_path, *OPTIONS) == 2
    assert f"has {name}, of a model" in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == [name]


def test_drills_repeat_a_few_tokens_of_the_text():
    tokens = np.random.default_rng(0).integers(0, 50, 4000)
    draw = functools.partial(corpus.draw_windows, tokens, 40, seed=3)
    plain, drilled = draw(0, 400), draw(0, 400, drills=0.25)
    changed = np.flatnonzero((plain != drilled).any(-1))
    assert 70 < len(changed) < 130  # a quarter of 400
    for window in drilled[changed]:
        periods = [n for n in range(4, 12) if (window[n:] == window[:-n]).all()]
        assert periods and np.isin(window, tokens).all()
    again = np.concatenate([draw(0, 150, drills=0.25), draw(150, 250, drills=0.25)])
    np.testing.assert_array_equal(again, drilled)  # whatever was drawn together


def test_a_model_to_start_from_is_where_it_starts(text, uninterrupted, tmp_path):
    options = ["--init", uninterrupted, "--steps", "1", "--batch-size", "2"]
    assert call("--data", text, "--out", tmp_path / "o", *options) == 0
    first = float(log_of(tmp_path / "o")[0]["loss"])
    assert first == pytest.approx(float(log_of(uninterrupted)[-1]["loss"]), abs=0.5)
    assert minigpt2.load(tmp_path / "o").config == minigpt2.load(uninterrupted).config


def test_a_run_begins_with_the_weights_of_the_model(text, uninterrupted, tmp_path):
    options = ["--init", uninterrupted, "--steps=1", "--lr=0", "--batch-size=2"]
    assert call("--data", text, "--out", tmp_path / "o", *options) == 0
    ours = tmp_path / "o" / "model.safetensors"
    assert ours.read_bytes() == (uninterrupted / ours.name).read_bytes()


def test_windows_come_in_another_order_in_every_epoch():
    first, second = np.split(
        corpus.draw_windows(np.arange(1000), 10, 0, 196, seed=3), 2
    )
    assert (first // 10 != second // 10).any()
    assert (np.argsort(first[:, 0]) != np.argsort(second[:, 0])).any()


@pytest.mark.slow
@pytest.mark.skipif(os.name != "posix", reason="limits the size of files")
def test_a_full_disk_leaves_the_last_good_checkpoint(text, uninterrupted, tmp_path):
    """A file may have 60 KB: the log and the model have less, the state has more."""
    import resource

    def limit():
        resource.setrlimit(resource.RLIMIT_FSIZE, (60 << 10, 60 << 10))

    out = tmp_path / "model"
    process = begin(text, out)
    wait_for(out, 20, process)
    process.send_signal(signal.SIGINT)
    finish(process)
    stopped = saved_step(out)
    state = (out / training.STATE).read_bytes()
    process = begin(text, out, "--resume", preexec_fn=limit)
    status, _, errors = finish(process)
    beginning, problem = errors.splitlines()
    assert status == 2 and "parameters" in beginning
    assert "could not be saved" in problem and "File too large" in problem
    assert f"the checkpoint of step {stopped} is still in {out}" in problem
    assert (out / training.STATE).read_bytes() == state
    assert not list(out.glob("*.partial"))
    minigpt2.load(out)
    status, _, errors = finish(begin(text, out, "--resume"))
    assert status == 0, errors
    same(out, uninterrupted)
    same_log(out, uninterrupted)


def test_windows_show_each_place_once_and_follow_from_their_number():
    tokens = np.arange(1000)
    epoch = corpus.draw_windows(tokens, 10, 0, 98, seed=3)
    assert epoch.shape == (98, 11) and (np.diff(epoch) == 1).all()
    assert len({row[0] for row in epoch}) == 98
    assert len({row[0] % 10 for row in epoch}) == 1
    ahead = corpus.draw_windows(tokens, 10, 90, 20, seed=3)  # over the end of the epoch
    np.testing.assert_array_equal(ahead[:8], epoch[90:])
    np.testing.assert_array_equal(
        ahead[8:], corpus.draw_windows(tokens, 10, 98, 12, seed=3)
    )
    assert (corpus.draw_windows(tokens, 10, 0, 98, seed=4) != epoch).any()
    for length in 11, 12, 20, 21, 30, 31, 32:  # the shortest texts
        found = corpus.draw_windows(np.arange(length), 10, 0, 50, seed=0)
        assert found.min() >= 0 and found.max() < length


def test_texts_begin_with_end_of_text(tmp_path):
    (tmp_path / "a.txt").write_bytes("one\r\ntwo ’".encode())
    (tmp_path / "b.txt").write_text("three")
    (tmp_path / "c.md").write_text("not this")
    tokenizer = Tokenizer.from_file(RELEASED_VOCABULARY, 300)
    files = corpus.find_files([tmp_path], tmp_path / "out")
    tokens = corpus.read_tokens(files, tokenizer).tolist()
    one, three = tokenizer.encode("one\ntwo ’"), tokenizer.encode("three")
    assert tokens == [299, *one, 299, *three]


@pytest.mark.skipif(os.name != "posix", reason="closes a pipe")
def test_a_run_goes_on_when_nobody_reads_what_it_says(text, uninterrupted, tmp_path):
    with begin(text, tmp_path / "o", "--valid-every=10") as process:
        process.stderr.readline()
        process.stderr.close()
        assert process.wait(timeout=60) == 0
    same(tmp_path / "o", uninterrupted)


def test_too_little_text_to_validate_on_is_said_at_the_start(text, tmp_path, capsys):
    (tmp_path / "valid.txt").write_text("Once upon")
    options = ["--steps=1", "--out", tmp_path / "o", *OPTIONS]
    assert call("--data", text, "--valid", tmp_path / "valid.txt", *options) == 0
    first, second, *_ = capsys.readouterr().err.splitlines()
    assert "parameters" in first
    assert second.endswith(
        "tokens are too few to validate on: give more text, or --valid with at least 16"
    )


def test_a_run_that_is_to_be_longer_is_told_how(text, uninterrupted, tmp_path, capsys):
    options = ["--data", text, "--out", uninterrupted, "--resume"]
    assert call(*options, f"--steps={STEPS + 1}") == 2
    way = f"--init {uninterrupted} --out longer"
    assert f"cannot go on with another: for more, {way}\n" in capsys.readouterr().err
    assert call(*options, "--lr=1") == 2
    assert "--init" not in capsys.readouterr().err
    way = way.replace("longer", str(tmp_path / "longer"))
    assert call("--data", text, *way.split(), "--steps=1", "--batch-size=4") == 0


def test_the_prompt_of_samples_is_utf8_in_any_locale(text, tmp_path):
    env = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    options = ["--prompt=“Où?”", "--sample-every=1", "--steps=1"]
    status, _, errors = finish(begin(text, tmp_path / "o", *options, env=env))
    assert status == 0 and "\n  | “Où?”" in errors, errors


def test_what_is_written_says_that_decoding_changes_no_spaces(uninterrupted):
    written = json.loads((uninterrupted / "tokenizer_config.json").read_text())
    assert written["clean_up_tokenization_spaces"] is False


def test_bits_per_byte_are_those_of_a_uniform_model(tmp_path):
    tokenizer = Tokenizer.from_file(RELEASED_VOCABULARY, 300)
    config = minigpt2.Config(n_vocab=300, n_ctx=8, n_embd=6, n_head=1, n_layer=1)
    settings = {"weight_decay": 0.1, "threads": 1}
    # All parameters are zero: every token is as likely.
    fresh = training.Training(config, tokenizer, settings, tmp_path)
    tokens = np.array(tokenizer.encode("abcdefgh" * 4))
    n_bytes = len(tokenizer.decode(tokens[1:8]))
    assert fresh.bits_per_byte(tokens[:8]) == pytest.approx(7 * np.log2(300) / n_bytes)
    assert np.isnan(fresh.bits_per_byte(tokens[:7]))


@pytest.mark.oracle
@pytest.mark.filterwarnings("ignore")
def test_transformers_opens_the_directory_and_gives_the_same_logits(uninterrupted):
    torch = pytest.importorskip("torch")
    transformers = pytest.importorskip("transformers")
    theirs = transformers.AutoModelForCausalLM.from_pretrained(uninterrupted)
    tokenizer = transformers.AutoTokenizer.from_pretrained(uninterrupted)
    gpt2 = minigpt2.load(uninterrupted)
    ids = gpt2.tokenizer.encode("the old king, the café")[:16]
    assert tokenizer.encode("the old king, the café")[:16] == ids
    assert tokenizer.eos_token_id == 299
    with torch.no_grad():
        expected = theirs(torch.tensor([ids])).logits[0].numpy()
    np.testing.assert_allclose(gpt2.logits(ids), expected, atol=1e-4)
    assert json.loads((uninterrupted / "config.json").read_text())["vocab_size"] == 300
