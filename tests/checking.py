"""What the functions of the exercises are given, and what is wrong with an answer."""

import copy
import types
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from mistakes import FUNCTIONS, MISTAKES, Mistake

from minigpt2 import model
from minigpt2.learning.optimizer import AdamW
from minigpt2.page.watch import describe
from minigpt2.sampling import Sampling
from minigpt2.tokenizer import BYTE_ORDER

B, T, C, H, N, PAST = 3, 5, 24, 4, 13, 1  # as in model.py; no two are alike, nor are D
D = C // H


class Exercise(NamedTuple):
    """What a function of mine.py is given, what it returns, and what it is compared with.

    cases     the arguments of each call, by their names
    returns   the names of its results
    as_asked  the package's function → one with the arguments of the exercise
    written   the argument that it has to write to, as another result
    further   calls that a later station asks for, and what to say if they fail
    also      another right answer, and what to say about it
    tidy      its results → what is compared
    """

    station: int
    cases: Callable[[], list[dict[str, Any]]]
    returns: tuple[str, ...] = ("the result",)
    as_asked: Callable[[Callable], Callable] = lambda f: f
    written: str = ""
    further: tuple[Callable[[], list[dict[str, Any]]], str] | None = None
    also: Mistake | None = None
    tidy: Callable[[list], list] = lambda parts: parts


def numbers(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def block_parameters() -> dict[str, Any]:
    config = model.Config(n_vocab=11, n_ctx=N, n_embd=C, n_head=H, n_layer=1)
    shapes = model.shapes(config)
    params = {name: numbers(*s, seed=i) for i, (name, s) in enumerate(shapes)}
    return model.nest(params)["h"][0]


# What the functions are given, and how those of the package are called with it


def merge_cases() -> list[dict[str, Any]]:
    merges = {(7, 8): 256, (3, 4): 257, (4, 7): 258, (257, 256): 259, (8, 3): 260}
    merges |= {(6, 6): 261}
    texts = [3, 4, 7, 8], [4, 7, 8], [7, 8, 3], [7, 8, 3, 4], [8, 3, 4], [6, 6, 6], [1]
    return [{"ids": ids, "merges": dict(merges)} for ids in texts]


def merge_as_asked(f: Callable) -> Callable:
    def merge(ids: list[int], merges: dict) -> list[int]:
        tokenizer = types.SimpleNamespace(merges=merges, n_vocab=300)
        return f(tokenizer, bytes(BYTE_ORDER[i] for i in ids))

    return merge


def embed_cases() -> list[dict[str, Any]]:
    tables = {"wte": numbers(11, C), "wpe": numbers(N, C, seed=1)}
    return [{"tokens": np.array([3, 1, 4, 1, 5]), **tables}]


def embed_as_asked(f: Callable) -> Callable:
    return lambda tokens, wte, wpe: f({"wte": wte, "wpe": wpe}, tokens[None], 0)[0]


def layer_norm_cases() -> list[dict[str, Any]]:
    sizes = np.array([[3], [1], [1], [0.3], [0.003]], np.float32)  # the last is as eps
    x = numbers(B, T, C) * sizes + 0.01
    return [{"x": x, "g": numbers(C, seed=1), "b": numbers(C, seed=2)}]


def qk(n_queries: int, n_keys: int) -> dict[str, Any]:
    return {"q": numbers(n_queries, D), "k": numbers(n_keys, D, seed=1)}


def attn_cases() -> list[dict[str, Any]]:
    weights = block_parameters()["attn"]
    kv = numbers(2, B, H, N, D, seed=3)
    return [{"x": numbers(B, T, C), **weights, "kv": kv, "n_past": PAST}]


def block_cases() -> list[dict[str, Any]]:
    given = {"x": numbers(B, T, C), "params": block_parameters()}
    return [{**given, "kv": numbers(2, B, H, N, D, seed=3), "n_past": PAST}]


def probabilities_cases() -> list[dict[str, Any]]:
    names = "temperature", "top_k", "top_p"
    settings = (1.0, None, None), (0.5, None, None), (2.0, 3, None), (1.0, None, 0.7)
    settings += ((1.0, 5, 0.8),)
    logits = numbers(12) * 2
    return [{"logits": logits, **dict(zip(names, s, strict=True))} for s in settings]


def probabilities_as_asked(f: Callable) -> Callable:
    return lambda logits, t, k, p: f(Sampling(t, k, p), logits)


def by_token(parts: list) -> list:
    """The probability of each of the 12 tokens, in whatever order they were given."""
    tokens, p = (
        as_numbers(part, "tokens" if i == 0 else "p") for i, part in enumerate(parts)
    )
    if tokens.ndim != 1 or tokens.shape != p.shape:
        shapes = f"{tokens.shape} and {p.shape}"
        raise Wrong(f"tokens and p have the shapes {shapes}, expected (n,) both")
    if tokens.dtype.kind not in "iu" and len(tokens):
        raise Wrong("tokens are not whole numbers: have tokens and p changed places?")
    ids = tokens.tolist()
    if len(set(ids)) < len(ids) or not set(ids) <= {*range(12)}:
        raise Wrong(f"tokens are {ids}, expected different ids, from 0 to V - 1")
    chance = np.zeros(12)
    chance[tokens.astype(int)] = p
    return [chance]


def linear_backward_cases() -> list[dict[str, Any]]:
    return [
        {"x": numbers(T, C), "w": numbers(C, C, seed=1), "dy": numbers(T, C, seed=2)}
    ]


def linear_backward_as_asked(f: Callable) -> Callable:
    def linear_backward(x: np.ndarray, w: np.ndarray, dy: np.ndarray) -> tuple:
        grads = {"w": np.zeros_like(w), "b": np.zeros_like(w[0])}
        _, backward = f(x, {"w": w, "b": grads["b"]}, grads)
        return backward(dy), grads["w"], grads["b"]

    return linear_backward


def adamw_cases() -> list[dict[str, Any]]:
    p, g, m, v = (numbers(6, seed=i).astype(float) for i in range(4))
    g[0] = 1e-8  # as small as eps
    first = {"p": p, "g": g, "m": 0 * m, "v": 0 * v, "t": 1, "rate": 0.1}
    return [first, {**first, "m": m, "v": v * v, "t": 3}]


def adamw_as_asked(f: Callable) -> Callable:
    def adamw(
        p: np.ndarray, g: np.ndarray, m: Any, v: Any, t: int, rate: float
    ) -> tuple:
        optimizer = AdamW(p.astype(float), n_decay=len(p))
        optimizer.m, optimizer.v, optimizer.step = m.copy(), v.copy(), t - 1
        f(optimizer, g, rate)
        return optimizer.params, optimizer.m, optimizer.v

    return adamw


HOLTZMAN = Mistake(
    Sampling.probabilities,
    "Top-p here is that of Holtzman et al., which also keeps the token with which the sum "
    "passes p; OpenAI's release does not.",
    False,
    [
        (
            "max(1, int((np.cumsum(descending) <= self.top_p).sum()))",
            "min(len(p), int((np.cumsum(descending) < self.top_p).sum()) + 1)",
        )
    ],
)
CACHED = (
    "This is without a cache, as station 4 asks. With one (station 5) there are more keys "
    "than queries: these are then the last T of the S tokens, so the mask moves S - T "
    "places to the right."
)

EXERCISES = {
    "merge": Exercise(1, merge_cases, as_asked=merge_as_asked),
    "embed": Exercise(2, embed_cases, as_asked=embed_as_asked),
    "layer_norm": Exercise(3, layer_norm_cases),
    "attention_weights": Exercise(
        4, lambda: [qk(T, T)], further=(lambda: [qk(3, T), qk(1, T)], CACHED)
    ),
    "attn": Exercise(5, attn_cases, written="kv"),
    "gelu": Exercise(6, lambda: [{"x": numbers(B, T, C) * 3}]),
    "block": Exercise(7, block_cases, written="kv"),
    "probabilities": Exercise(
        8,
        probabilities_cases,
        ("tokens", "p"),
        probabilities_as_asked,
        also=HOLTZMAN,
        tidy=by_token,
    ),
    "linear_backward": Exercise(
        9, linear_backward_cases, ("dx", "dw", "db"), linear_backward_as_asked
    ),
    "adamw": Exercise(10, adamw_cases, ("p", "m", "v"), adamw_as_asked),
}


# Is a function right?


class Wrong(Exception):
    """What is wrong with an answer, and in which line of mine.py, if that is known."""

    def __init__(self, text: str, line: int | None = None) -> None:
        super().__init__(text)
        self.line = line


def guarded(value: Any) -> Any:
    """The same, with arrays that cannot be written to."""
    if isinstance(value, dict):
        return {name: guarded(part) for name, part in value.items()}
    if isinstance(value, np.ndarray):
        value = value.view()
        value.flags.writeable = False
    return value


def unchanged(now: Any, before: Any) -> bool:
    if isinstance(before, dict):
        same_names = now.keys() == before.keys()
        return same_names and all(unchanged(now[k], before[k]) for k in before)
    return np.array_equal(now, before)


def as_numbers(value: Any, name: str) -> np.ndarray:
    try:
        array = np.asarray(value)
    except ValueError:  # lists of different lengths
        array = np.asarray(None)
    if array.dtype.kind not in "biuf":
        raise Wrong(f"{name} is a {type(value).__name__}, expected an array of numbers")
    return array


def shape_or_value(value: Any) -> str:
    arrays = isinstance(value, dict) and "w" in value
    return describe(value) if arrays or isinstance(value, np.ndarray) else str(value)


def outcome(exercise: Exercise, f: Callable, cases: list[dict[str, Any]]) -> list[list]:
    """For each call, its results as arrays."""
    outcomes = []
    for given in cases:
        written = given.get(exercise.written)
        arguments = guarded(copy.deepcopy(given))
        if exercise.written:
            arguments[exercise.written] = written
        try:
            found = f(*arguments.values())
        except (TypeError, ValueError, IndexError) as error:
            shown = (f"{k} {shape_or_value(v)}" for k, v in given.items())
            error.given = ", ".join(text for text in shown if len(text) < 110)
            raise
        if found is None:
            raise Wrong("it returns nothing: is `return` missing?")
        names = exercise.returns
        parts = [found]
        if len(names) > 1:
            parts = list(found) if isinstance(found, tuple | list) else [found]
            if len(parts) != len(names):
                n, expected = len(parts), f"{len(names)}: {', '.join(names)}"
                raise Wrong(
                    f"it returns {n} result{'s' * (n != 1)}, expected {expected}"
                )
        for name, value in arguments.items():
            if name != exercise.written and not unchanged(value, given[name]):
                cure = f"make a copy first, as in {name} = list({name})"
                raise Wrong(f"it changes {name} itself, which is the caller's: {cure}")
        parts = [as_numbers(p, name) for p, name in zip(parts, names, strict=True)]
        parts = exercise.tidy(parts)
        outcomes.append(parts + [written] * (written is not None))
    return outcomes


def close(a: Any, b: Any) -> bool:
    return a.shape == b.shape and np.allclose(a, b, atol=1e-5, equal_nan=True)


def same(found: list[list], expected: list[list]) -> bool:
    return all(
        close(a, b)
        for case in zip(found, expected, strict=True)
        for a, b in zip(*case, strict=True)
    )


def difference(exercise: Exercise, found: list[list], expected: list[list]) -> str:
    """What an answer that makes none of the usual mistakes has wrong."""
    wrong, cases = [], exercise.cases()
    for given, parts, rights in zip(cases, found, expected, strict=True):
        small = {k: v for k, v in given.items() if not isinstance(v, np.ndarray)}
        shown = ", ".join(f"{k} = {v}" for k, v in small.items())
        when = f"with {shown}: " if len(cases) > 1 else ""
        names = [*exercise.returns[-len(rights) :], exercise.written]
        for name, part, right in zip(names, parts, rights, strict=False):
            if not close(part, right):
                wrong.append((part.shape == right.shape, when, name, part, right))
    _, when, *it = min(wrong, key=lambda w: w[0])  # a wrong shape is said first
    return when + compared(*it)


def compared(name: str, part: np.ndarray, right: np.ndarray) -> str:
    if right.dtype.kind == "i" and right.ndim == 1:
        return f"{name} is {part.tolist()}, expected {right.tolist()}"
    if part.shape != right.shape:
        return f"{name} has the shape {part.shape}, expected {right.shape}"
    if right.shape == right.T.shape and close(part.T, right):
        return f"{name} is transposed: rows are where columns should be"
    if not np.isfinite(part).all():
        n = np.count_nonzero(~np.isfinite(part))
        of = f"{name} has {n} numbers that are nan or infinite, of {part.size}"
        return f"{of}: 0 / 0, 0 · ∞, ∞ - ∞, or the root of a negative number"
    if not part.any():
        return f"{name} is 0 everywhere"
    factor = (part * right).sum() / np.square(right).sum()
    if close(part, factor * right):
        return f"{name} is {factor:.4g} times what it should be, everywhere"
    if close(part - part.mean(), right - right.mean()):
        more = (part - right).mean()
        return f"{name} is too large by {more:.4g}, everywhere"
    n_wrong = np.count_nonzero(~np.isclose(part, right, atol=1e-5))
    worst = np.unravel_index(np.abs(part - right).argmax(), part.shape)
    place = [int(i) for i in worst]
    found = f"at {place} it is {part[worst]:.5g}, expected {right[worst]:.5g}"
    return f"{name} is wrong in {n_wrong} of its {part.size} numbers; {found}"


def check(name: str, f: Callable) -> str:
    """What to add for a right answer, often nothing. Raises Wrong for another one."""
    exercise = EXERCISES[name]

    def of_package(function: Callable, cases: list[dict[str, Any]]) -> list[list]:
        return outcome(exercise, exercise.as_asked(function), cases)

    cases = exercise.cases()
    found = outcome(exercise, f, exercise.cases())
    expected = of_package(FUNCTIONS[name], exercise.cases())
    n_right = 0
    while n_right < len(cases) and same(found[n_right:][:1], expected[n_right:][:1]):
        n_right += 1
    if n_right < len(cases):
        if exercise.also and same(
            found, of_package(exercise.also.make(), exercise.cases())
        ):
            return exercise.also.text
        made = [of_package(m.make(), exercise.cases()) for m in MISTAKES[name]]
        for n in len(cases), n_right + 1:  # all of it, or what is written so far
            for mistake, result in zip(MISTAKES[name], made, strict=True):
                if same(found[:n], result[:n]):
                    raise Wrong(mistake.text)
        raise Wrong(difference(exercise, found, expected))
    if exercise.further:
        cases, otherwise = exercise.further
        try:
            later = outcome(exercise, f, cases())
        except Exception:  # noqa: BLE001 (whatever it raises, this was not asked for)
            return otherwise
        if not same(later, of_package(FUNCTIONS[name], cases())):
            return otherwise
    return ""
