"""What all commands do alike: read a text, see that the model is there, tell an error in
one line, end quietly."""

import argparse
import io
import os
import signal
import sys
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import NoReturn

from .locate import EMBEDDED, RELEASED, find

DEFAULT = RELEASED[0]
MAX_LINE = 2000  # characters of a message


class Parser(argparse.ArgumentParser):
    """Reads the command line; a mistake in it is told in one line."""

    def error(self, message: str) -> NoReturn:
        fail(f"{message} (see {self.prog} --help)")


def take_ctrl_c() -> None:
    """From here on Ctrl-C raises KeyboardInterrupt. While modules were imported, it just
    ended the process (see __init__.py): an interrupted import fails with any error."""
    if signal.getsignal(signal.SIGINT) == signal.SIG_DFL:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def run(main: Callable[[], None], imported: bool = True) -> None:
    """Run a command and exit: with 130 after Ctrl-C, as shells have it, with 1 if the
    system fails (a full disk), and with 2 where `fail` has ended it. A command that has
    not `imported` all that it needs calls take_ctrl_c itself."""
    try:
        if imported:
            take_ctrl_c()
        for name, mode in ("stdin", "r"), ("stdout", "w"), ("stderr", "w"):
            if getattr(sys, name) is None:  # it was closed
                setattr(sys, name, open(os.devnull, mode))  # noqa: SIM115
            stream, errors = getattr(sys, name), "strict" if mode == "r" else "replace"
            if isinstance(stream, io.TextIOWrapper):
                stream.reconfigure(encoding="utf-8", errors=errors)
        warnings.simplefilter("always", UserWarning)
        warnings.showwarning = lambda message, *_: notice(message)
        main()
        sys.stdout.flush()
    except KeyboardInterrupt:
        _leave(130)
    except BrokenPipeError:  # whoever reads the output has had enough
        _leave(0)
    except (OSError, MemoryError) as error:
        notice(error or "out of memory")
        _leave(1)


def _leave(status: int) -> NoReturn:
    """Exit without a word about output that can no longer be written."""
    try:
        sys.stdout.flush()
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    sys.exit(status)


def notice(message: object) -> None:
    """One line on standard error, which is no part of the output.

    What files and servers say may be in it: line breaks, commands to the terminal and
    the middle of an endless text are not.
    """
    text = "".join(c if c.isprintable() else repr(c)[1:-1] for c in str(message))
    if len(text) > MAX_LINE:
        text = f"{text[: MAX_LINE // 2]} … {text[-MAX_LINE // 2 :]}"
    print(f"minigpt2: {text}", file=sys.stderr)


def fail(problem: object) -> NoReturn:
    """End the command with one line on standard error and status 2."""
    notice(problem)
    _leave(2)


def utf8(argument: str) -> str:
    """The type of a text on the command line, whatever the locale says it is."""
    try:
        return os.fsencode(argument).decode()
    except UnicodeDecodeError:
        raise argparse.ArgumentTypeError("not valid UTF-8") from None


def read_text(argument: str | None) -> str:
    """The text given on the command line, or else (None or "-") standard input, which
    must be valid UTF-8."""
    if argument not in (None, "-"):
        return argument
    try:
        return sys.stdin.buffer.read().decode()
    except UnicodeDecodeError as error:
        fail(f"standard input is not valid UTF-8 (byte {error.start})")


def read_file(path: Path) -> str:
    """The text in a file. Raises ValueError, with its name, if it is missing or not
    valid UTF-8."""
    try:
        return path.read_bytes().decode()
    except OSError as error:
        raise ValueError(f"{path}: {error.strerror}") from None
    except UnicodeDecodeError as error:
        raise ValueError(f"{path}: not valid UTF-8 (byte {error.start})") from None


def fetch(model: str | None, weights: str | None) -> str:
    """See that the model is there, and return its name: `tiny` if no model was asked for
    and the default one can be had neither on this machine nor from the network."""
    name = DEFAULT if model is None else model
    if find(name, weights) is None:
        from .download import DownloadError, download

        try:
            download(name, weights)
        except (DownloadError, OSError) as error:
            given = weights or os.environ.get("MINIGPT2_WEIGHTS")
            if given and isinstance(error, OSError):  # it cannot be written
                raise
            if model is not None:
                fail(f"{error}; the model {EMBEDDED} needs no network")
            how = f"to get {name}, run: python -m minigpt2.download {name}"
            notice(f"{error}; this is the small model {EMBEDDED}; {how}")
            return EMBEDDED
    return name


class Progress:
    """A line on standard error: how much is done, how fast, and the time left.

    On a terminal it is kept up to date; elsewhere it is written once, at the end.
    `unit` is that of the figures shown, `size` how many bytes it has.
    """

    def __init__(
        self,
        title: str,
        total: int,
        done: int = 0,
        unit: str = "MB",
        size: float = 1e6,
    ) -> None:
        self.title, self.total, self.done = title, total, done
        self.unit, self.size = unit, size
        self.start, self.at_start, self.shown = time.monotonic(), done, 0.0

    def add(self, size: int) -> None:
        self.done += size
        if sys.stderr.isatty() and time.monotonic() - self.shown > 0.1:
            self.shown = time.monotonic()
            print(f"\r{self}\x1b[K", end="", file=sys.stderr, flush=True)

    def close(self) -> None:
        print(f"\r{self}\x1b[K" if sys.stderr.isatty() else self, file=sys.stderr)

    def __str__(self) -> str:
        seconds = max(time.monotonic() - self.start, 1e-3)
        speed = (self.done - self.at_start) / seconds  # bytes a second
        size, unit = self.size, self.unit
        text = f"{self.title}: {self.done / size:.1f} {unit}"
        if self.total:
            percent = 100 * self.done // self.total
            text += f" of {self.total / size:.1f} {unit}, {percent} %"
        text += f", {speed / size:.1f} {unit}/s"
        if self.done < self.total and speed:
            left = int((self.total - self.done) / speed)
            text += f", {left // 60}:{left % 60:02} left"
        return text
