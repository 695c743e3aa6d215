"""What is said to whoever waits: lines on standard error."""

import os
import sys
import time

MAX_LINE = 2000  # characters of a message
EVERY = 10  # seconds between two lines of progress where there is no terminal


def say(text: object, end: str = "\n") -> None:
    """Write to standard error. If nobody reads it any more, or its disk is full, the
    work goes on without."""
    try:
        print(text, end=end, file=sys.stderr, flush=True)
    except OSError:
        sys.stderr = open(os.devnull, "w", encoding="utf-8", errors="replace")  # noqa: SIM115


def notice(message: object) -> None:
    """One line on standard error, which is no part of the output.

    What files and servers say may be in it: line breaks, commands to the terminal and
    the middle of an endless text are not.
    """
    text = "".join(c if c.isprintable() else repr(c)[1:-1] for c in str(message))
    if len(text) > MAX_LINE:
        text = f"{text[: MAX_LINE // 2]} … {text[-MAX_LINE // 2 :]}"
    say(f"minigpt2: {text}")


class Progress:
    """A line on standard error: how much is done, how fast, and the time left.

    On a terminal it is kept up to date; elsewhere (a notebook, a file) it is written now
    and then, and at the end.
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
        now, terminal = time.monotonic(), sys.stderr.isatty()
        if now - max(self.start, self.shown) > (0.1 if terminal else EVERY):
            self.shown = now
            line, end = (f"\r{self}\x1b[K", "") if terminal else (str(self), "\n")
            say(line, end)

    def close(self) -> None:
        say(f"\r{self}\x1b[K" if sys.stderr.isatty() else self)

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
