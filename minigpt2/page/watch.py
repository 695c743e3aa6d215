"""What did each function receive and return? A look at code that runs, from outside."""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from types import CodeType, FrameType
from typing import Any

import numpy as np


@dataclass
class Call:
    """One call of a watched function, and in `calls` those made during it, in order.

    arguments  what each argument was, as `describe` says
    x          a copy of the argument of that name, for which model.py has its vectors
    result     a copy of what was returned
    """

    name: str = ""
    arguments: dict[str, str] = field(default_factory=dict)
    x: Any = None
    result: Any = None
    calls: list["Call"] = field(default_factory=list)

    def find(self, name: str) -> Iterator["Call"]:
        """The calls of a function inside this one, however deep, in order."""
        for call in self.calls:
            if call.name == name:
                yield call
            yield from call.find(name)


@contextmanager
def watch(*functions: Callable[..., Any]) -> Iterator[Call]:
    """Record the calls of these functions, in this thread, until the block ends.

    Python tells a profiler (sys.setprofile) of each call and return: the functions need
    not know that somebody watches, and watching costs nothing when nobody does.
    """
    names: dict[CodeType, str] = {f.__code__: f.__name__ for f in functions}
    everything = Call()
    stack = [everything]

    def on_event(frame: FrameType, event: str, result: Any) -> None:
        if frame.f_code not in names:
            return
        if event == "call":
            given = dict(frame.f_locals)
            described = {k: describe(v) for k, v in given.items() if k != "self"}
            call = Call(names[frame.f_code], described, _copy(given.get("x")))
            stack[-1].calls.append(call)
            stack.append(call)
        elif event == "return":
            stack.pop().result = _copy(result)

    before = sys.getprofile()
    sys.setprofile(on_event)
    try:
        yield everything
    finally:
        sys.setprofile(before)


def _copy(value: Any) -> Any:
    """Arrays are copied: the functions go on to work in place."""
    return value.copy() if isinstance(value, np.ndarray) else value


def describe(value: Any) -> str:
    """The shape of an array, and as much of anything else: for people."""
    if isinstance(value, np.ndarray):
        return str(value.shape)
    if isinstance(value, np.number | int | float | None):
        return str(value)
    if isinstance(value, str):
        return f"{len(value)} character{'s' * (len(value) != 1)}"
    if isinstance(value, bytes):
        return f"{len(value)} byte{'s' * (len(value) != 1)}"
    if isinstance(value, list) and value and isinstance(value[0], dict):
        return f"{len(value)} × {{{', '.join(value[0])}}}"
    if isinstance(value, list):
        return f"{len(value)} number{'s' * (len(value) != 1)}"
    if isinstance(value, tuple):
        return ", ".join(map(describe, value))
    if isinstance(value, dict):
        return f"{{{', '.join(f'{k} {describe(v)}' for k, v in value.items())}}}"
    return type(value).__name__
