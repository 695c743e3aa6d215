"""What all commands do alike: read a text, tell an error in one line, end quietly."""

import argparse
import os
import sys
import warnings
from collections.abc import Callable
from typing import NoReturn


class Parser(argparse.ArgumentParser):
    """Reads the command line; a mistake in it is told in one line."""

    def error(self, message: str) -> NoReturn:
        fail(f"{message} (see {self.prog} --help)")


def run(main: Callable[[], None]) -> None:
    """Run a command and exit: 130 after Ctrl-C, as shells have it, 1 if the system fails
    (a full disk), 0 otherwise. Bad input has ended it by `fail`, with 2."""
    try:
        for stream in sys.stdout, sys.stderr:
            if hasattr(stream, "reconfigure"):
                stream.reconfigure(encoding="utf-8", errors="replace")
        warnings.showwarning = lambda message, *_: notice(message)
        main()
        sys.stdout.flush()
    except KeyboardInterrupt:
        _leave(130)
    except BrokenPipeError:  # whoever reads the output has had enough
        _leave(0)
    except OSError as error:
        notice(error)
        _leave(1)


def _leave(status: int) -> NoReturn:
    """Exit without a word about output that can no longer be written."""
    try:
        sys.stdout.flush()
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    sys.exit(status)


def notice(message: object) -> None:
    """One line on standard error, which is no part of the output."""
    print(f"minigpt2: {message}", file=sys.stderr)


def fail(problem: object) -> NoReturn:
    """End the command with one line on standard error and status 2."""
    notice(problem)
    _leave(2)


def read_text(argument: str | None) -> str:
    """The text given on the command line, or else (None or "-") standard input, which
    must be valid UTF-8."""
    if argument not in (None, "-"):
        try:
            argument.encode()
        except UnicodeEncodeError:
            fail("the text on the command line is not valid UTF-8")
        return argument
    if sys.stdin is None:
        fail("no text: standard input is closed")
    try:
        return sys.stdin.buffer.read().decode()
    except UnicodeDecodeError as error:
        fail(f"standard input is not valid UTF-8 (byte {error.start})")
