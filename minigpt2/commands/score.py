"""python -m minigpt2.score: perplexity, bits per byte, and the most surprising places."""

import argparse
import json
import math
from collections import deque
from collections.abc import Iterable, Iterator
from itertools import chain
from typing import Any

from .. import load
from ..files.checkpoint import CheckpointError
from ..files.progress import Progress
from ..files.text import SPLIT_HELP, SPLITS, stream_texts
from ..gpt2 import GPT2, Choice
from ..sampling import Sampling
from ..score import Scores, score, sliding_windows
from .choose import choose_all
from .compare import check, compare, parts_of
from .console import DEFAULT_MODEL, Parser, choose_model, fail, path
from .surprises import Surprises

Texts = Iterable[tuple[str, Iterator[str]]]
# an option → the one it needs, and → those it has no meaning with
NEEDS = {"own": "compare", "by": "choices"}
NEEDS |= dict.fromkeys(("temperature", "top_k", "seed"), "own")
WITHOUT = {
    "compare": ("choices",),
    "split": ("choices",),
    "stride": ("choices", "own"),
    "top": ("choices", "compare"),
}


def summarize(
    gpt2: GPT2, texts: Texts, total: int, args: argparse.Namespace
) -> dict[str, Any]:
    """The figures of the texts of a file of `total` bytes (0: not known), which are read
    one after the other."""
    tokenizer, n_ctx = gpt2.tokenizer, gpt2.config.n_ctx
    between: deque[str] = deque()
    size = 0  # of the texts, in bytes

    def tokens() -> Iterator[list[int]]:
        """The ids of the texts, in parts, each text after what it begins after. The first
        token of a text that nothing can come before is given, and not scored."""
        nonlocal size

        def sized(parts: Iterable[str]) -> Iterator[str]:
            nonlocal size
            for part in parts:
                size += len(part.encode())
                yield part

        for number, (before, parts) in enumerate(texts):
            between.append(before)
            yield tokenizer.beginning() if number or tokenizer.eot is not None else []
            yield from tokenizer.encode_parts(sized(parts))

    report = Surprises(tokenizer, gpt2.config.n_vocab, args.top, between)
    progress = Progress("scored", total, unit="kB", size=1e3)
    for window, first in sliding_windows(tokens(), n_ctx, args.stride):
        scores = score(gpt2.params, gpt2.config, window[None], first)
        n_bytes = report.add(window, first, Scores(*(each[0] for each in scores)))
        if not args.json:  # for a program: nothing but the figures
            progress.add(n_bytes)
    if progress.shown:
        progress.close()
    if tokenizer.eot is not None:  # all was scored; a normalizer may change its length
        report.bytes = size
    if not report.tally.tokens:
        fail("the text is one token, and nothing comes before it")
    return report.summary()


def print_summary(summary: dict[str, Any]) -> None:
    perplexity = summary["perplexity"] or math.inf
    print(f"{summary['tokens']} tokens, perplexity {perplexity:.2f}")
    print(f"{summary['bytes']} bytes, {summary['bits_per_byte']:.4f} bits per byte")
    mean, deviation = summary["surprisal"], summary["deviation"]
    print(f"surprisal {mean:.2f} bits a token, standard deviation {deviation:.2f}")
    shares = summary["ranks"].items()
    print("rank among all:", *(f"{name}: {share:.1%}" for name, share in shares))
    if summary["most_surprising"]:
        print("\nThe most surprising tokens, and after → the likeliest in their place:")
    for place in summary["most_surprising"]:
        where = f"{place['bits']:5.1f} bits, line {place['line']}"
        shown = f"{place['before']}[{place['text']}]{place['after']}"
        print(f"{where}: {shown} → [{place['likeliest']}]")


def arguments(argv: list[str] | None) -> argparse.Namespace:
    parser = Parser(
        "python -m minigpt2.score", description="How well a model foresees a text."
    )
    add = parser.add_argument
    add("files", nargs="*", metavar="FILE", help="a text; -, or none: standard input")
    add("--model", help=f"as for minigpt2 (default {DEFAULT_MODEL})")
    add("--weights", metavar="DIR", help="where models live (default: see the README)")
    add("--split", choices=SPLITS, help=f"{SPLIT_HELP} (default end)")
    stride = "tokens from one window to the next (default n_ctx // 2): fewer is slower"
    add("--stride", type=int, metavar="N", help=f"{stride}, and knows more context")
    add("--top", type=int, metavar="N", help="how many places to show (default 10)")
    add("--json", action="store_true", help="all figures, unrounded, as JSON")
    how = "can one tell? a row of figures for each text of each FILE, read by itself"
    add("--compare", action="store_true", help=how)
    how = "with --compare: the second half of each text's first window, beside the"
    add(
        "--own", action="store_true", help=f"{how} model's own; the first is its prompt"
    )
    add("--temperature", type=float, metavar="T", help="of --own (default 1)")
    add("--top-k", type=int, metavar="K", help="of --own (default 40; 0 keeps all)")
    add("--seed", type=int, metavar="S", help="of --own (default 0)")
    how = 'answer lines {"prompt": text, "choices": [text, …]}: each comes back with'
    add("--choices", action="store_true", help=f'{how} "ranked", the best choice first')
    figures = Choice._fields[1:4]
    add("--by", choices=figures, help=f"what is best (default {figures[0]})")
    args = parser.parse_intermixed_args(argv)
    given = {name for name, value in vars(args).items() if value not in (None, False)}
    for name in sorted(given):
        dashed = "--" + name.replace("_", "-")
        if name in NEEDS and NEEDS[name] not in given:
            fail(f"{dashed} is a part of --{NEEDS[name]}, which is missing")
        for other in given.intersection(WITHOUT.get(name, ())):
            fail(f"{dashed} has no meaning with --{other}: leave one out")
    if len(args.files) > 1 and not args.compare:
        fail(f"{len(args.files)} files: --compare shows several side by side")
    for name, least, default in (
        ("stride", 1, None),
        ("top", 0, 10),
        ("temperature", 0, 1.0),
        ("top_k", 0, 40),
        ("seed", 0, 0),
    ):
        value = getattr(args, name)
        if value is None:
            setattr(args, name, default)
        elif not value >= least:
            fail(f"{name.replace('_', '-')} is {value}, expected {least} or more")
    args.top_k = args.top_k or None
    args.by, args.split = args.by or figures[0], args.split or "end"
    args.files = args.files or ["-"]
    return args


def main(argv: list[str] | None = None) -> None:
    args = arguments(argv)
    file = args.files[0]
    try:
        Sampling(args.temperature)
        for each in args.files:  # before a model is looked for
            check(each, args.split)
        texts: Texts = []
        if not args.compare and not args.choices:
            stream = stream_texts(parts_of(file), args.split)
            first = next(stream, None)
            if first is None:
                fail("the text is empty")
            texts = chain([first], stream)
        gpt2 = load(choose_model(args.model, args.weights), args.weights)
        if args.choices:
            choose_all(gpt2, file, args.by)
            return
        if args.compare:
            compare(gpt2, args)
            return
        total = 0 if file == "-" else path(file).stat().st_size
        summary = summarize(gpt2, texts, total, args)
    except (CheckpointError, FloatingPointError, ValueError) as error:
        fail(error)
    if args.json:
        print(json.dumps(summary, indent=1, ensure_ascii=False))
    else:
        print_summary(summary)
