"""A run of training: how does it take a step, get saved, and go on?

It is a model, an optimizer, settings and a log. Everything needed to resume is saved in one
file, STATE, so that it is never half old, half new.
"""

import csv
import io
import json
import math
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np

from ..files import save
from ..files.formats import read_safetensors, safetensors_header
from ..files.progress import say
from ..model import Array, Config, nest
from ..score import log_probabilities
from ..tokenizer import Tokenizer
from . import curve
from .corpus import draw_windows
from .optimizer import AdamW, Stepper, flat, learning_rate, n_matrix

STATE = "training.safetensors"  # parameters, moments, step and settings
VALID_WINDOWS = 32
COLUMNS: tuple[str, ...] = ("step", "tokens", "seconds", "rate", "loss", "valid")


class Training:
    """A model in training, and the directory it is saved in.

    The log has rows of COLUMNS, where valid is NaN if it was not measured. `losses` are
    those of the steps since its last row, `seconds` the time spent in all.
    """

    def __init__(
        self, config: Config, tokenizer: Tokenizer, settings: dict[str, Any], out: Path
    ) -> None:
        self.config, self.tokenizer = config, tokenizer
        self.settings, self.out = settings, out
        self.buffer, self.params = flat(config)
        self.nested = nest(self.params)
        self.optimizer = AdamW(self.buffer, n_matrix(config), settings["weight_decay"])
        self.stepper = Stepper(config, self.nested, self.optimizer, settings["threads"])
        self.log: list[dict[str, float]] = []
        self.losses: list[float] = []
        self.seconds = 0.0
        self.bytes_per_byte = (
            1.0  # of the files, for those of the tokens: see corpus.py
        )

    @property
    def step(self) -> int:
        return self.optimizer.step

    @property
    def steps(self) -> int:
        return int(self.settings["steps"])

    @property
    def windows_per_step(self) -> int:
        return int(self.settings["batch_size"] * self.settings["accumulate"])

    def train_step(self, tokens: Array) -> tuple[float, float]:
        """One update; returns the loss before it, in nats per token, and the learning
        rate.

        Raises FloatingPointError, and changes nothing, if the loss is not finite.
        """
        s = self.settings
        rate = learning_rate(self.step, s["steps"], s["lr"], s["warmup"])
        n, drills = self.windows_per_step, s.get("drills", 0.0)
        batch = draw_windows(
            tokens, self.config.n_ctx, self.step * n, n, s["seed"], drills
        )
        loss, _ = self.stepper.step(np.split(batch, s["accumulate"]), rate)
        return loss, rate

    def record(self, loss: float, rate: float, bits: float, row: bool) -> None:
        """Note the loss of a step; with `row`, log the mean of those since the last row."""
        self.losses.append(loss)
        if row:
            n_tokens = self.step * self.windows_per_step * self.config.n_ctx
            mean = sum(self.losses) / len(self.losses)
            values = self.step, n_tokens, self.seconds, rate, mean, bits
            self.log.append(dict(zip(COLUMNS, values, strict=True)))
            self.losses = []

    def bits_per_byte(self, tokens: Array) -> float:
        """Σ -log2 p(token) / Σ bytes of the text, over windows at equal distances in
        the text; NaN if it is too short for one."""
        n_ctx, vocab, eot = self.config.n_ctx, self.tokenizer.vocab, self.tokenizer.eot
        count = min(VALID_WINDOWS, len(tokens) // n_ctx)
        bits, n_bytes = 0.0, 0
        for start in np.linspace(0, len(tokens) - n_ctx, count).astype(int):
            window = tokens[start : start + n_ctx]
            log_p = log_probabilities(self.nested, self.config, window)
            bits -= log_p.sum() / math.log(2)
            n_bytes += sum(len(vocab[token]) for token in window[1:] if token != eot)
        return bits / (n_bytes * self.bytes_per_byte) if n_bytes else math.nan

    def check(self, tokens: Array) -> None:
        """Raise FloatingPointError if the parameters give no finite loss, here to the
        first window: they are not to be saved."""
        log_probabilities(self.nested, self.config, tokens[: self.config.n_ctx])

    def save(self) -> None:
        """Write log, state and model, in this order. After a kill in between, the log may
        be ahead and the model behind; `restore` drops rows of the one and writes the other.
        """
        table = io.StringIO()
        writer = csv.DictWriter(table, COLUMNS, lineterminator="\n")
        writer.writeheader()
        for row in self.log:
            shown = {k: "" if math.isnan(x) else f"{x:.9g}" for k, x in row.items()}
            writer.writerow(shown)
        save.replace(self.out / "log.csv", [table.getvalue().encode()])
        save.replace(self.out / "loss.svg", [curve.loss_curve(self.log).encode()])
        arrays = {"params": self.buffer, "m": self.optimizer.m, "v": self.optimizer.v}
        facts = {
            "config": vars(self.config),
            "settings": self.settings,
            "step": self.step,
            "seconds": self.seconds,
            "losses": self.losses,
        }
        metadata = {name: json.dumps(fact) for name, fact in facts.items()}
        save.write_safetensors(self.out / STATE, arrays, metadata)
        save.write_model(self.out, self.params)

    def restore(self, arrays: dict[str, Array], facts: dict[str, Any]) -> None:
        """Become what `read_state` has read.

        Raises OSError if the log cannot be read, ValueError if a size differs.
        """
        found, expected = len(arrays["params"]), len(self.buffer)
        if found != expected:
            problem = f"{found} parameters, expected {expected}"
            raise ValueError(f"{self.out / STATE}: {problem}")
        self.buffer[:] = arrays["params"]
        self.optimizer.m[:], self.optimizer.v[:] = arrays["m"], arrays["v"]
        self.optimizer.step = facts["step"]
        self.seconds, self.losses = facts["seconds"], facts["losses"]
        with open(self.out / "log.csv", newline="") as file:
            for row in csv.DictReader(file):
                if float(row["step"]) <= self.step:
                    self.log.append({k: float(x or "nan") for k, x in row.items()})
        # A kill between the two files may have left an earlier model.
        save.write_model(self.out, self.params)


class LiveLine:
    """The live line on standard error: rewritten at every step on a terminal, else one
    line for each validation."""

    def __init__(self, training: Training) -> None:
        self.training, self.first = training, training.step
        self.before, self.start = training.seconds, time.monotonic()
        self.valid = ""

    def write(self, loss: float, bits: float, keep: bool) -> None:
        training, done = self.training, time.monotonic() - self.start
        training.seconds = self.before + done
        pace = done / (training.step - self.first)  # seconds a step
        speed = training.windows_per_step * training.config.n_ctx / pace
        left = time.gmtime(pace * (training.steps - training.step))
        if not math.isnan(bits):
            self.valid = f"valid {bits:.3f} bits/byte  "
        line = f"step {training.step}/{training.steps}  loss {loss:.3f}  {self.valid}"
        line += f"{speed:,.0f} tokens/s  {time.strftime('%H:%M:%S left', left)}"
        if sys.stderr.isatty():
            say(f"\r{line}\x1b[K", end="\n" if keep else "")
        elif keep:
            say(line)


def read_state(path: Path) -> tuple[dict[str, Array], dict[str, Any]]:
    """The arrays and the facts that Training.save wrote.

    Raises OSError if it cannot be read, ValueError if it is not whole.
    """
    data = path.read_bytes()
    try:
        header, _ = safetensors_header(memoryview(data))
        facts = {k: json.loads(text) for k, text in header["__metadata__"].items()}
        arrays = {
            name: np.frombuffer(data, "<f4", entry.size // 4, entry.offset)
            for name, entry in read_safetensors(memoryview(data)).items()
        }
        lengths = {len(array) for array in arrays.values()}
        if set(arrays) != {"params", "m", "v"} or len(lengths) != 1:
            raise ValueError
    except (ValueError, KeyError, TypeError, AttributeError):
        problem = "not the state of a training run, or damaged"
        raise ValueError(f"{path}: {problem}") from None
    return arrays, facts
