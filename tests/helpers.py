"""What several tests need: the commands as processes, and where things are."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np

import minigpt2
from minigpt2.files.tensor_names import huggingface_name

ROOT = Path(__file__).parents[1]
SMALL = Path(__file__).with_name("official-small")  # conftest.small, in its directory
VOCABULARY = Path(minigpt2.__file__).with_name("vocab.bpe")
PROMPT = "Once upon a time"
TINY = ["--model", "tiny"]
SHORT = [*TINY, "--max-tokens", "8"]


def start(*arguments, module="minigpt2", program=None, env=None, **streams):
    """`python -m MODULE ARGUMENTS`, or `python PROGRAM ARGUMENTS`, as a process.

    It imports the minigpt2 that the tests import, in whatever directory it runs, and
    does not see the user's own settings. Other keywords are those of Popen.
    """
    settings = "MINIGPT2_WEIGHTS", "MINIGPT2_URL", "HF_ENDPOINT"
    variables = {k: v for k, v in os.environ.items() if k not in settings}
    variables["PYTHONPATH"] = str(Path(minigpt2.__file__).parents[1])
    pipe = subprocess.PIPE
    streams = {"stdin": subprocess.DEVNULL, "stdout": pipe, "stderr": pipe} | streams
    line = [sys.executable, *(program or ("-m", module)), *arguments]
    return subprocess.Popen(
        [part if isinstance(part, bytes) else str(part) for part in line],
        env=variables | (env or {}),
        **streams,
    )


def finish(process, stdin=None):
    """Exit status, standard output and standard error of a process when it has ended."""
    out, err = process.communicate(stdin, timeout=120)
    return process.returncode, (out or b"").decode(), (err or b"").decode()


def run(*arguments, stdin=None, **kwargs):
    """The same of a command that is started like this, and reads these bytes, or an open
    file."""
    given = isinstance(stdin, bytes)
    if stdin is not None:
        kwargs["stdin"] = subprocess.PIPE if given else stdin
    return finish(start(*arguments, **kwargs), stdin if given else None)


def has_mapped(process, name):
    """Whether a compiled module of this name has been imported, as Linux tells."""
    return name in Path(f"/proc/{process.pid}/maps").read_text()


def table(text):
    """The rows `left | right` of a text, as pairs."""
    rows = (row.rpartition(" | ") for row in text.strip().splitlines())
    return [(left.strip(), right.strip()) for left, _, right in rows]


# A program that runs a module and prints each event in which it writes, renames or
# removes something outside a directory, unpickles, or starts a process:
# start(directory, "minigpt2", …, program=("-c", AUDIT))
AUDIT = """
import os, runpy, sys

allowed, module = sys.argv[1:3]

def watch(event, args):
    paths = []
    if event == "open":
        path, mode, flags = args
        if flags & (os.O_WRONLY | os.O_RDWR | os.O_CREAT) and not isinstance(path, int):
            paths = [path]
    elif event in ("os.rename", "os.link", "os.symlink"):
        paths = args[:2]
    elif event in ("os.remove", "os.rmdir") and args[1] != -1:
        pass  # relative to a directory: a part of shutil.rmtree
    elif event in ("os.remove", "os.rmdir", "shutil.rmtree", "os.mkdir", "os.truncate"):
        paths = args[:1]
    elif event in ("pickle.find_class", "subprocess.Popen", "os.system"):
        print(event, file=sys.stderr)
    for path in map(os.fsdecode, paths):
        whole = os.path.realpath(path)
        if not whole.startswith(allowed) and whole != os.devnull:
            print(event, whole, file=sys.stderr)

sys.argv[:] = sys.argv[2:]
sys.dont_write_bytecode = True
sys.addaudithook(watch)
runpy.run_module(module, run_name="__main__", alter_sys=True)
"""


def log_softmax(logits):
    """In float64, over the last axis."""
    logits = logits.astype(np.float64)
    logits -= logits.max(-1, keepdims=True)
    return logits - np.log(np.exp(logits).sum(-1, keepdims=True))


def transformers_model(config, arrays):
    """transformers' GPT-2 with these arrays, which are named as OpenAI names them. It
    leaves nothing out at random, not even to train."""
    import torch
    import transformers

    model = transformers.GPT2LMHeadModel(
        transformers.GPT2Config(
            vocab_size=config.n_vocab,
            n_positions=config.n_ctx,
            n_embd=config.n_embd,
            n_head=config.n_head,
            n_layer=config.n_layer,
        )
    )
    state = {
        huggingface_name(name): torch.tensor(array[0] if array.ndim == 3 else array)
        for name, array in arrays.items()
    }
    missing, unexpected = model.load_state_dict(state, strict=False)
    assert set(missing) <= {"lm_head.weight"}  # it is wte
    assert unexpected == []
    assert set(state) == {name for name, _ in model.named_parameters()}
    assert model.lm_head.weight is model.transformer.wte.weight
    return model.eval()
