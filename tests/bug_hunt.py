"""Bug hunt: one line of the model is wrong. Which?

    python tests/bug_hunt.py 7          what the model does with bug 7, and what without
    python tests/bug_hunt.py 7 --tell   which line it is
    python tests/bug_hunt.py --list     how many bugs there are

The bugs are the usual mistakes (mistakes.txt), those of them that show when the model runs.
No file is changed: a function gets other code, in the memory of this process alone.
"""

import random
import sys
import textwrap
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import zip_longest
from typing import NamedTuple

try:
    import numpy as np
except ImportError:
    sys.exit("NumPy is not here: is the virtual environment active? README.md has how")
from helpers import log_softmax
from mistakes import MISTAKES, Mistake

import minigpt2
from minigpt2 import CheckpointError, model
from minigpt2.commands.console import Parser, fail, run
from minigpt2.model import Cache
from minigpt2.page.watch import watch
from minigpt2.sampling import Sampling

TEXT = "There was once a king who had three daughters, and the king"
DRAWN = Sampling(temperature=0.7, top_k=20, top_p=0.8)
LENGTH = 32  # of what it writes, in tokens
NEXT = {
    "temperature 0.5": Sampling(temperature=0.5),
    "top-k 4": Sampling(top_k=4),
    "top-k 4, top-p 0.8": Sampling(top_k=4, top_p=0.8),
}
SHADES = " ·░▒▓█"
SHARES = 0.05, 0.1, 0.2, 0.4, 0.7  # the least of each shade after the first
PLACES = 17  # of the map

LEARNING = "linear_backward", "adamw"  # a model that runs does not learn
BUGS = [m for k in MISTAKES if k not in LEARNING for m in MISTAKES[k] if m.hunted]
random.Random(7).shuffle(BUGS)  # the same order everywhere


class Look(NamedTuple):
    """What one can see of a model."""

    greedy: str
    drawn: str
    next: dict[str, str]
    tokens: list[str]
    bits: list[float]  # of each token after the first
    attention: np.ndarray  # (n_layer, H, T, T)


@contextmanager
def hidden(bug: Mistake) -> Iterator[None]:
    """While the block runs, the package's function makes this mistake."""
    sound, code = bug.function.__code__, bug.code()
    bug.function.__code__ = code
    try:
        yield
    finally:
        bug.function.__code__ = sound


def look(text: str = TEXT) -> Look:
    """What one can see of `tiny`, with whatever bug it has now. This takes the plain
    way, through model.py alone: what is there for speed has no bug."""
    gpt2 = minigpt2.load("tiny")  # a new one: a tokenizer remembers
    params, tokenizer = gpt2.params, gpt2.tokenizer
    ids = tokenizer.encode(text)

    def read() -> tuple[Cache, np.ndarray]:
        cache = Cache(gpt2.config)
        cache.kv.fill(0)  # what a bug reads beyond its end is the same each time
        return cache, model.forward(params, np.array([ids]), cache)  # (1, T, C)

    def write(sampling: Sampling) -> str:
        rng, written = np.random.default_rng(1), []
        try:
            cache, x = read()
            while len(written) < LENGTH:
                written += [sampling.choose(model.unembed(params, x[0, -1]), rng)]
                x = model.forward(params, np.array([written[-1:]]), cache)
        except (FloatingPointError, ValueError, IndexError) as error:
            return f"{tokenizer.decode(written)} (it stops: {error})"
        return tokenizer.decode(written)

    def kept(sampling: Sampling) -> str:
        try:
            tokens, p = sampling.probabilities(logits[-1])
        except FloatingPointError as error:
            return f"({error})"
        first = np.argsort(-p)[:5]
        return ", ".join(f"{tokenizer.decode(tokens[[i]])!r} {p[i]:.0%}" for i in first)

    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")
        with watch(model.attention_weights) as calls:
            logits = model.unembed(params, read()[1][0])  # (T, V)
        heads = [call.result[0] for call in calls.find("attention_weights")]
        shape = gpt2.config.n_layer, gpt2.config.n_head, len(ids), len(ids)
        bits = -log_softmax(logits) / np.log(2)
        return Look(
            write(Sampling(temperature=0)),
            write(DRAWN),
            {setting: kept(sampling) for setting, sampling in NEXT.items()},
            [tokenizer.decode([i]) for i in ids],
            [float(row[i]) for row, i in zip(bits, ids[1:], strict=False)],
            np.stack(heads) if heads else np.zeros(shape),
        )


def report(sound: Look, bug: Look) -> Iterator[str]:
    """The two side by side, or one below the other, in lines of some 80 characters."""
    for title, name in (
        ("the likeliest token each time", "greedy"),
        (
            f"drawn: temperature {DRAWN.temperature}, top-k {DRAWN.top_k}, top-p {DRAWN.top_p}",
            "drawn",
        ),
    ):
        yield f"\nIt goes on ({title})"
        for who, seen in ("sound", sound), ("bug", bug):
            text = getattr(seen, name).replace("\n", "⏎")
            yield textwrap.fill(
                text, 80, initial_indent=f"  {who:6} ", subsequent_indent=" " * 9
            )
    yield "\nThe next token, and its probability"
    for setting in NEXT:
        yield f"  {setting}"
        yield f"    sound  {sound.next[setting]}"
        yield f"    bug    {bug.next[setting]}"
    yield "\nThe surprise at each token, in bits"
    yield f"  {'':10} {'sound':28}  bug"
    same = sound.tokens == bug.tokens
    for left, right in zip_longest(
        surprises(sound), surprises(bug), fillvalue=" " * 38
    ):
        yield "  " + (left + right[10:] if same else f"{left} {right}").rstrip()
    means = (np.mean(seen.bits) for seen in (sound, bug))
    yield "  mean       " + "".join(f"{mean:<28.2f}" for mean in means).rstrip()
    shades = (f"{s} from {n:.0%}" for s, n in zip(SHADES[1:], SHARES, strict=True))
    yield f"\nWhere each token looks (rows): {', '.join(shades)}"
    width = 2 * min(PLACES, len(sound.tokens))
    for layer, head in most_telling(sound):
        yield f"\n  block {layer + 1}, head {head + 1}"
        yield f"  {'':10} {'sound':{width}}   bug"
        maps = (attention_map(seen, layer, head) for seen in (sound, bug))
        for left, right in zip_longest(*maps, fillvalue=" " * (11 + width)):
            row = f"{left:{11 + width}}   {right[11:] if same else right}"
            yield f"  {row}".rstrip()


def label(token: str) -> str:
    return f"{token.strip(' ')[:8] or '␣':10}".replace("\n", "⏎")


def surprises(seen: Look) -> Iterator[str]:
    """A line of 38 characters for each token after the first."""
    for token, bits in zip(seen.tokens[1:], seen.bits, strict=True):
        bar = "█" * min(round(bits), 20) if np.isfinite(bits) else ""
        yield f"{label(token)} {bits:5.1f} {bar:21}"


def most_telling(seen: Look) -> list[tuple[int, int]]:
    """The head in which tokens look most at one place: of the first block, where a bug
    begins, and of all blocks."""
    places = seen.attention.max(-1)[:, :, 1:].mean(-1)  # (n_layer, H)
    layer, head = np.unravel_index(places.argmax(), places.shape)
    return sorted({(0, int(places[0].argmax())), (int(layer), int(head))})


def attention_map(seen: Look, layer: int, head: int) -> Iterator[str]:
    """A row for each query, a shade for each key."""
    shares = seen.attention[layer, head, :PLACES, :PLACES]
    for token, row in zip(seen.tokens, shares, strict=False):
        shades = (shade(share) for share in row)
        yield f"{label(token)} " + "".join(2 * s for s in shades)


def shade(share: float) -> str:
    if not np.isfinite(share):
        return "?"
    return SHADES[np.searchsorted(SHARES, share, side="right")]


def main() -> None:
    parser = Parser(
        prog="python tests/bug_hunt.py",
        description="One line of the model is wrong. Which?",
    )
    n = len(BUGS)
    parser.add_argument("bug", nargs="?", type=int, help=f"its number, 1 to {n}")
    parser.add_argument("--tell", action="store_true", help="which line it is")
    parser.add_argument("--list", action="store_true", help="how many bugs there are")
    options = parser.parse_args()
    if options.list:
        print(f"There are {n} bugs: python tests/bug_hunt.py 1 to {n}.")
        return
    if options.bug is None or not 1 <= options.bug <= n:
        given = "no number is given" if options.bug is None else f"no bug {options.bug}"
        fail(f"{given}: there are the bugs 1 to {n}")
    bug = BUGS[options.bug - 1]
    if options.tell:
        print(f"Bug {options.bug}: {bug.text}\n{bug.where()}")
        return
    print(
        f"Bug {options.bug} of {n}. The files are sound; one function has the bug, here"
    )
    print("and now. The text is\n")
    print(f"  {TEXT}")
    try:
        sound = look()
        with hidden(bug):
            wrong = look()
    except CheckpointError as error:
        fail(error)
    print("\n".join(report(sound, wrong)))
    print(
        "\nWhich line of model.py, sampling.py or tokenizer.py, and what is wrong in it?"
    )
    print(f"The answer: python tests/bug_hunt.py {options.bug} --tell")


if __name__ == "__main__":
    run(main)
