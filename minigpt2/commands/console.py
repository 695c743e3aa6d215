"""What all commands do alike: read a text, see that the model is there, tell an error in
one line, end quietly, after Ctrl-C too."""

import argparse
import io
import os
import signal
import sys
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from typing import NoReturn

from ..files.locate import EMBEDDED, RELEASED, find
from ..files.progress import notice
from ..files.text import as_text

DEFAULT_MODEL = RELEASED[0]


class Parser(argparse.ArgumentParser):
    """Reads the command line; a mistake in it gets one line."""

    def error(self, message: str) -> NoReturn:
        hint = f"see {self.prog} --help"
        dash = message.startswith(("unrecognized arguments: -", "argument -h/--help:"))
        if dash and self._get_positional_actions():
            hint += "; put -- before a text that begins with a dash"
        fail(f"{message} ({hint})")


@contextmanager
def importing() -> Iterator[None]:
    """While modules are imported, Ctrl-C just ends the process: an import that is
    interrupted can fail with any error. Afterwards it raises KeyboardInterrupt again."""
    usual = signal.getsignal(signal.SIGINT) is signal.default_int_handler
    if usual:
        signal.signal(signal.SIGINT, signal.SIG_DFL)
    yield
    if usual:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def run_command(name: str) -> None:
    """Run `main` of commands/NAME.py."""
    with importing():
        main = import_module(f"{__package__}.{name}").main
    run(main)


def run(main: Callable[[], None]) -> None:
    """Run a command and exit: with 130 after Ctrl-C, as shells have it, with 1 if the
    system fails (a full disk), with 2 where `fail` has ended it."""
    try:
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


def fail(problem: object) -> NoReturn:
    """End the command with one line on standard error and status 2."""
    notice(problem)
    _leave(2)


def stop_on_signal() -> list[int]:
    """A list that is empty until the first Ctrl-C or SIGTERM, whose number comes into it;
    the second one interrupts as usual."""
    stop: list[int] = []

    def on_signal(number: int, frame: object) -> None:
        stop.append(number)
        signal.signal(number, signal.default_int_handler)

    for number in signal.SIGINT, signal.SIGTERM:
        signal.signal(number, on_signal)
    return stop


def utf8(argument: str) -> str:
    """The type of a text on the command line, whatever the locale says it is."""
    try:
        return os.fsencode(argument).decode()
    except UnicodeDecodeError:
        raise argparse.ArgumentTypeError("not valid UTF-8") from None


def path(argument: str) -> Path:
    """The type of a path on the command line: in --out=~/mine no shell expands the ~."""
    return Path(os.path.expanduser(argument))


def read_text(argument: str | None) -> str:
    """The text given on the command line, or else (None or "-") standard input, read as
    files.text.as_text reads it."""
    if argument not in (None, "-"):
        return argument
    try:
        return as_text(sys.stdin.buffer.read(), "standard input")
    except ValueError as error:
        fail(error)


def choose_model(model: str | None, weights: str | None) -> str:
    """See that the model is there, and return its name: `tiny` if no model was asked for
    and the default one can be had neither on this machine nor from the network."""
    name = DEFAULT_MODEL if model is None else model
    if find(name, weights) is None:
        from ..files.download import download
        from ..files.transfer import DownloadError

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
