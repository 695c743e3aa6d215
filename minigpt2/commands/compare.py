"""python -m minigpt2.score --compare A B …: can one tell? A row of figures for each text."""

import argparse
import json
import sys
from collections.abc import Iterable, Iterator
from itertools import chain, islice
from typing import Any

import numpy as np

from ..files.progress import notice
from ..files.text import file_parts, read_parts, stream_texts
from ..generate import generate_tokens
from ..gpt2 import GPT2
from ..sampling import Sampling
from ..score import LIKELIEST, Tally, score, sliding_windows
from .console import path

CLASSES = [
    f"{low + 1}-{high}"
    for low, high in zip((0, *LIKELIEST[:-1]), LIKELIEST, strict=True)
]
CLASSES.append("beyond")


def parts_of(file: str) -> Iterator[str]:
    """The text in a file, or in standard input ("-"), in parts."""
    if file == "-":
        return read_parts(sys.stdin.buffer, "standard input")
    return file_parts(path(file))


def read_once(file: str) -> bool:
    """Whether what is read of it is gone: a pipe, a terminal."""
    return file == "-" or path(file).is_fifo() or path(file).is_char_device()


def check(file: str, split: str) -> None:
    """Read a file to its end, if it can be read again. Raises ValueError, before anything
    is printed, if it is missing, not UTF-8, or without a text."""
    if not read_once(file) and not sum(1 for _ in stream_texts(parts_of(file), split)):
        raise ValueError(f"{file}: the text is empty")


def figures(tally: Tally) -> dict[str, Any]:
    """For JSON: the surprisal of a token in bits, its mean and standard deviation, and the
    share of the tokens whose rank among all is 1 to 10, 11 to 100, …"""
    return {
        "surprisal": tally.mean,
        "deviation": tally.deviation,
        "ranks": dict(zip(CLASSES, tally.shares, strict=True)),
    }


def encoded(gpt2: GPT2, parts: Iterable[str]) -> Iterator[list[int]]:
    """The ids of a text, in parts, after what a text begins after, if there is such."""
    begin = [] if gpt2.tokenizer.eot is None else gpt2.tokenizer.beginning()
    return chain([begin], gpt2.tokenizer.encode_parts(parts))


def row(name: str, tally: Tally, n_bytes: int) -> dict[str, Any]:
    counts = {"text": name, "tokens": tally.tokens, "bytes": n_bytes}
    per_byte = tally.bits / n_bytes if n_bytes else None
    return counts | {"bits_per_byte": per_byte} | figures(tally)


def size(gpt2: GPT2, tokens: Iterable[int]) -> int:
    """The bytes of tokens; `<|endoftext|>` is no text."""
    text = [int(token) for token in tokens if token != gpt2.tokenizer.eot]
    return len(gpt2.tokenizer.decode_bytes(text))


def whole(
    gpt2: GPT2, name: str, parts: Iterable[str], stride: int | None
) -> Iterator[dict[str, Any]]:
    """The row of a text, read in `sliding_windows`."""
    tally, n_bytes = Tally(), 0
    for window, first in sliding_windows(
        encoded(gpt2, parts), gpt2.config.n_ctx, stride
    ):
        tally.add(score(gpt2.params, gpt2.config, window[None], first))
        n_bytes += size(gpt2, window[first:])
    if tally.tokens:
        yield row(name, tally, n_bytes)
    else:
        notice(f"{name}: left out: it is one token, and nothing comes before it")


def halves(
    gpt2: GPT2, name: str, parts: Iterable[str], sampling: Sampling, seed: list[int]
) -> Iterator[dict[str, Any]]:
    """Two rows: the second half of a text's first window, as it stands there, and as the
    model itself goes on from the first half, with as many tokens."""
    tokens = chain.from_iterable(encoded(gpt2, parts))
    window = list(islice(tokens, gpt2.config.n_ctx))
    begun = int(gpt2.tokenizer.eot is not None)
    n = (len(window) - begun) // 2
    if n < 1:
        notice(f"{name}: left out: too short for two halves")
        return
    prompt = window[: begun + n]
    model = gpt2.params, gpt2.config
    steps = generate_tokens(*model, prompt, sampling, [np.random.default_rng(seed)])
    own = [int(step[0]) for step in islice(steps, n)]
    given = window[len(prompt) : len(prompt) + n]
    for whose, half in (", its second half", given), (", the model's own", own):
        tally = Tally()
        tally.add(score(*model, np.array([prompt + half]), len(prompt)))
        yield row(name + whose, tally, size(gpt2, half))


def rows(gpt2: GPT2, args: argparse.Namespace) -> Iterator[dict[str, Any]]:
    """Those of all texts in all files, each read by itself."""
    sampling, number = Sampling(args.temperature, args.top_k), 0
    for file in args.files:
        for n, (_, parts) in enumerate(stream_texts(parts_of(file), args.split)):
            name = "standard input" if file == "-" else file
            name = f"{name}:{n + 1}" if n else name
            if args.own:
                yield from halves(gpt2, name, parts, sampling, [args.seed, number])
            else:
                yield from whole(gpt2, name, parts, args.stride)
            number += 1


def compare(gpt2: GPT2, args: argparse.Namespace) -> None:
    """Print a table of the rows, or a JSON list of them, row by row."""
    if args.json:
        before = "["
        for found in rows(gpt2, args):
            text = json.dumps(found, ensure_ascii=False)
            print(f"{before}\n{text}", end="", flush=True)
            before = ","
        print("\n]" if before == "," else "[]")
        return
    print(
        "Surprisal of a token in bits, its mean and standard deviation; and how many of"
    )
    print("the tokens are, by rank among all, in each class:")
    if args.own:
        among = f"top-k {args.top_k}" if args.top_k else "all tokens"
        how = f"temperature {args.temperature:g}, {among}, seed {args.seed}"
        print(f"(The model's own text: {how}.)")
    head = ["tokens", "mean", "dev.", "bits/byte", *CLASSES]
    print("\n" + "".join(f"{title:>10}" for title in head) + "  text")
    for found in rows(gpt2, args):
        bits = found["surprisal"], found["deviation"], found["bits_per_byte"]
        cells = [str(found["tokens"]), *(f"{x:.3f}" if x else "" for x in bits)]
        cells += [f"{100 * share:.1f} %" for share in found["ranks"].values()]
        line = "".join(f"{cell:>10}" for cell in cells)
        print(f"{line}  {found['text']}", flush=True)
