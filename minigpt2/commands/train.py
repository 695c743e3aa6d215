"""Texts → a model: the loop, its checkpoints, and the command.

    python -m minigpt2.train --data books/ --out weights/mine

How a transformer learns is in learning/backward.py; how a gradient becomes better weights,
in learning/optimizer.py.
"""

import argparse
import math
import os
import zlib
from typing import Any

import numpy as np

from ..files import layout, locate, save
from ..files.checkpoint import CheckpointError, read_model
from ..files.progress import notice, say
from ..files.vocabulary import open_tokenizer
from ..generate import Options, generate_text
from ..learning.corpus import read_data
from ..learning.optimizer import initialise
from ..learning.training import STATE, LiveLine, Training, read_state
from ..model import Array, Config
from ..sampling import Sampling
from ..speed.memory import keep_memory
from ..speed.product import use_one_blas_thread
from ..tokenizer import Tokenizer
from .console import Parser, fail, path, stop_on_signal, utf8

MODEL_FILES = (  # with the files of a tokenizer: those of another would change the ids
    *(STATE, *layout.HUGGINGFACE_FILES, *layout.OPENAI_FILES),
    *(*layout.TOKENIZER_FILES, *layout.SETTINGS_FILES),
)
SHAPE = {"n_layer": 6, "n_head": 6, "n_embd": 192, "n_ctx": 256, "n_vocab": 4096}
STEPS = 500
LOG_EVERY = 10


def loop(
    training: Training, tokens: Array, valid: Array, args: argparse.Namespace
) -> None:
    """Train to the last step; report, validate, sample and save on the way.

    Ctrl-C ends it after the step at hand, a second one at once.
    """
    stop, line, saved = stop_on_signal(), LiveLine(training), training.step
    try:
        while training.step < training.steps and not stop:
            loss, rate = training.train_step(tokens)
            validate, show, save = (
                training.step % every == 0 or training.step == training.steps
                for every in (args.valid_every, args.sample_every, args.save_every)
            )
            save = save or bool(stop)
            if show or save:
                training.check(tokens)
            bits = training.bits_per_byte(valid) if validate else math.nan
            line.write(loss, bits, keep=validate)
            training.record(
                loss, rate, bits, validate or training.step % LOG_EVERY == 0
            )
            if show:
                text = sample(training, args.prompt)
                say(f"  | {text}")
            if save:
                training.save()
                saved = training.step
    except FloatingPointError as error:
        problem = f"{error} (a lower --lr may help)"
    except OSError as error:
        problem = f"it could not be saved: {error}"
    else:
        if training.step < training.steps:
            how = "to go on, repeat the command with --resume"
            notice(f"stopped and saved at step {training.step}; {how}")
            raise KeyboardInterrupt
        return
    there = f"the checkpoint of step {saved} is still in {training.out}"
    fail(f"after step {training.step}: {problem}; {there}")


def sample(training: Training, prompt: str) -> str:
    """A line of what the model writes now, always with the same dice."""
    model = training.nested, training.config, training.tokenizer
    options = Options(Sampling(0.8, top_k=40), max_tokens=48, seed=0)
    text = "".join(piece for _, piece in generate_text(*model, prompt, options))
    return (prompt + text).replace("\n", " ")


def flag(name: str) -> str:
    return f"--{name.replace('_', '-')}"


def parse(argv: list[str] | None) -> argparse.Namespace:
    """What is not given stays None: to resume a run means to keep its settings."""
    parser = Parser("python -m minigpt2.train", description="Train a GPT-2 on texts.")

    def add(name: str, help: str, **kwargs: Any) -> None:
        parser.add_argument(name, help=help, **kwargs)

    paths = {"type": path, "nargs": "+", "metavar": "PATH"}
    number, real = {"type": int, "metavar": "N"}, {"type": float, "metavar": "X"}
    add("--data", "text files, or directories of .txt files", required=True, **paths)
    add("--valid", "unseen texts (default: the last 5%% of the data)", **paths)
    add("--out", "for model, log and curve", required=True, type=path, metavar="DIR")
    add("--resume", "go on with the run in --out", action="store_true")
    add("--init", "start from tiny, 124M …, a directory, or none", metavar="MODEL")
    for name, value in SHAPE.items():
        add(flag(name), f"of a new model (default {value})", **number)
    add("--steps", f"updates of the parameters (default {STEPS})", **number)
    add("--batch-size", "windows in a batch (default: 4,096 tokens)", **number)
    add("--accumulate", "batches in a step (default 1)", **number)
    add("--lr", "highest learning rate (default at most 0.003)", **real)
    add("--warmup", "steps up to it (default: a tenth, at most 100)", **number)
    add("--weight-decay", "of matrices (default 0.1)", **real)
    add("--drills", "share of windows that repeat a few tokens (default 0)", **real)
    add("--seed", "of first parameters and order of windows (default 0)", **number)
    add("--threads", "default: one for each core", **number)
    add("--save-every", "in steps (default 100)", default=100, **number)
    add("--valid-every", "in steps (default 100)", default=100, **number)
    add("--sample-every", "in steps (default 200)", default=200, **number)
    add("--prompt", "what samples begin with", default="", type=utf8, metavar="TEXT")
    args = parser.parse_args(argv)
    for name, value in vars(args).items():
        lowest = 0 if name in ("seed", "warmup", "weight_decay", "drills", "lr") else 1
        if type(value) in (int, float) and not lowest <= value < math.inf:
            parser.error(f"{flag(name)} must be at least {lowest}, not {value}")
    if args.drills is not None and args.drills > 1:
        parser.error(f"--drills must be at most 1, not {args.drills}")
    return args


def new(args: argparse.Namespace, config: Config, tokenizer: Tokenizer) -> Training:
    """A run from its beginning, with all parameters zero."""
    given = {name: value for name, value in vars(args).items() if value is not None}
    fresh = args.init in (None, "none")
    if hasattr(os, "sched_getaffinity"):
        cores = len(os.sched_getaffinity(0))
    else:
        cores = os.cpu_count() or 1
    defaults = {
        "init": "none",
        "steps": STEPS,
        "batch_size": max(1, 4096 // config.n_ctx),
        "accumulate": 1,
        "lr": 0.003 * min(1, 192 / config.n_embd) * (1 if fresh else 0.1),
        "warmup": min(100, given.get("steps", STEPS) // 10),
        "weight_decay": 0.1,
        "drills": 0.0,
        "seed": 0,
        "threads": cores,
    }
    settings = {name: given.get(name, value) for name, value in defaults.items()}
    settings["threads"] = min(settings["threads"], settings["batch_size"])
    return Training(config, tokenizer, settings, args.out)


def resumed(args: argparse.Namespace) -> Training:
    """The run in --out, as it was when it was saved."""
    if not (args.out / STATE).exists():
        raise ValueError(f"{args.out}: no run to resume: {STATE} is missing")
    arrays, facts = read_state(args.out / STATE)
    for name, value in (facts["config"] | facts["settings"]).items():
        if getattr(args, name, None) not in (None, value):
            problem = f"the run began with {flag(name)} {value}"
            how = f": for more, --init {args.out} --out longer" * (name == "steps")
            raise ValueError(
                f"{args.out}: {problem}, and cannot go on with another{how}"
            )
    config = Config(**facts["config"])
    tokenizer = open_tokenizer(args.out, config)
    training = Training(config, tokenizer, facts["settings"], args.out)
    training.restore(arrays, facts)
    return training


def start(args: argparse.Namespace) -> Training:
    """The run that the command line asks for. Raises ValueError, OSError or
    CheckpointError, in words."""
    if args.resume:
        return resumed(args)
    if locate.canonical(str(args.out)) in (*locate.RELEASED, locate.EMBEDDED):
        raise ValueError(f"--out {args.out} is a model's name: choose another")
    for name in MODEL_FILES:
        if (args.out / name).exists():
            how = "go on with --resume, or choose another --out"
            raise ValueError(f"{args.out} has {name}, of a model: {how}")
    shape = {k: v for k, v in vars(args).items() if k in SHAPE and v is not None}
    if args.init in (None, "none"):
        config = Config(**SHAPE | shape)
        training = new(args, config, Tokenizer.from_file(n_vocab=config.n_vocab))
        initialise(training.params, np.random.default_rng(training.settings["seed"]))
        return training
    for name in shape:
        raise ValueError(f"{flag(name)} is for new models: {args.init} has its own")
    directory = locate.find(args.init)
    if directory is None:
        how = f"python -m minigpt2.download {args.init}"
        raise ValueError(f"{args.init} is not there yet: {how}")
    config, tensors = read_model(directory)
    training = new(args, config, open_tokenizer(directory, config))
    for name, array in tensors.items():
        training.params[name][:] = array
    return training


def main(argv: list[str] | None = None) -> None:
    args = parse(argv)
    np.seterr(all="ignore")  # the loop looks for numbers that are not finite
    keep_memory()
    if not use_one_blas_thread():
        args.threads = 1
    try:
        training = start(args)
        config, settings = training.config, training.settings
        data = args.data, args.valid, args.out, training.tokenizer
        tokens, valid, training.bytes_per_byte = read_data(*data)
        if len(tokens) <= config.n_ctx:
            needed = f"a context and one to predict are {config.n_ctx + 1}"
            raise ValueError(f"the data has {len(tokens)} tokens, but {needed}")
        fingerprint = zlib.crc32(tokens.tobytes())
        if settings.setdefault("fingerprint", fingerprint) != fingerprint:
            raise ValueError(f"the data is not that of the run in {args.out}")
        if not args.resume:
            args.out.mkdir(parents=True, exist_ok=True)
            save.write_description(args.out, config, training.tokenizer)
            training.save()
    except (CheckpointError, ValueError, OSError) as error:
        fail(error)
    notice(
        f"{len(training.buffer):,} parameters, {len(tokens):,} tokens; "
        f"{training.steps - training.step} steps of {training.windows_per_step} "
        f"windows of {config.n_ctx} tokens, on {settings['threads']} threads"
    )
    if len(valid) < config.n_ctx:
        few = f"{len(valid)} tokens are too few to validate on"
        notice(f"{few}: give more text, or --valid with at least {config.n_ctx}")
    loop(training, tokens, valid, args)
