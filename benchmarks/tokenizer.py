"""Speed of the tokenizer, beside a straightforward one, tiktoken's and tokenizers'.

    python benchmarks/tokenizer.py [TEXT ...] [--rounds 7] [--megabytes 1] [--json FILE]

Reads UTF-8 files, by default this project's own source and documentation. All build the
vocabulary of GPT-2 from the released merge list and use one thread. "fresh" is the first
text that a tokenizer encodes, "warm" is the same text again; MB are millions of bytes
of UTF-8. They take turns, so that whatever else the machine does slows all; the figures
are medians. Then come texts that are hard to encode, each once, in a process of its
own, which tells how much memory (on Linux) the ids and the work took besides the text.
Without tiktoken or tokenizers (pip install -e '.[bench]') the others are measured.
"""

import argparse
import json
import os
import platform
import statistics
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from itertools import pairwise
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import regex

from minigpt2.tokenizer import (
    BYTE_ORDER,
    CHARACTERS,
    END_OF_TEXT,
    RELEASED_VOCABULARY,
    Tokenizer,
)

HERE = Path(__file__).parent.parent
OWN_TEXTS = [HERE / "README.md", *sorted(HERE.glob("*/*.py"))]
PIECE = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"
BYTES = dict(zip(CHARACTERS, BYTE_ORDER, strict=True))

Coder = tuple[Callable[[str], list[int]], Callable[[list[int]], str]]


def pairs() -> list[list[str]]:
    lines = RELEASED_VOCABULARY.read_text(encoding="utf-8").splitlines()[1:]
    return [line.split(" ") for line in lines]


def minigpt2() -> Coder:
    tokenizer = Tokenizer.from_file()
    return tokenizer.encode, tokenizer.decode


def straightforward() -> Coder:
    """Merges the best-ranked pair wherever it stands, and remembers each piece."""
    ranks = {(left, right): i for i, (left, right) in enumerate(pairs())}
    tokens = CHARACTERS + [left + right for left, right in ranks]
    ids = {token: i for i, token in enumerate(tokens)}
    characters = {byte: character for character, byte in BYTES.items()}
    pattern, cache = regex.compile(PIECE), {}

    def merge(piece: str) -> list[int]:
        symbols = [characters[byte] for byte in piece.encode()]
        while len(symbols) > 1:
            best = min(pairwise(symbols), key=lambda pair: ranks.get(pair, 1 << 30))
            if best not in ranks:
                break
            merged, i = [], 0
            while i < len(symbols):
                if tuple(symbols[i : i + 2]) == best:
                    merged.append(symbols[i] + symbols[i + 1])
                    i += 2
                else:
                    merged.append(symbols[i])
                    i += 1
            symbols = merged
        return [ids[symbol] for symbol in symbols]

    def encode(text: str) -> list[int]:
        encoded = []
        for piece in pattern.findall(text):
            if piece not in cache:
                cache[piece] = merge(piece)
            encoded.extend(cache[piece])
        return encoded

    def decode(ids: list[int]) -> str:
        text = "".join([tokens[i] for i in ids])
        return bytes([BYTES[character] for character in text]).decode("utf-8")

    return encode, decode


def tiktoken() -> Coder:
    import tiktoken

    tokens = CHARACTERS + [left + right for left, right in pairs()]
    ranks = {bytes([BYTES[c] for c in token]): i for i, token in enumerate(tokens)}
    encoding = tiktoken.Encoding(
        "gpt2",
        pat_str=r"'(?:[sdmt]|ll|ve|re)| ?\p{L}++| ?\p{N}++| ?[^\s\p{L}\p{N}]++|\s++$"
        r"|\s+(?!\S)|\s",  # its own form of the pattern, made to be fast
        mergeable_ranks=ranks,
        special_tokens={END_OF_TEXT: len(ranks)},
    )
    return encoding.encode_ordinary, encoding.decode


def tokenizers() -> Coder:
    os.environ["TOKENIZERS_PARALLELISM"] = "false"
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers

    merges = [(left, right) for left, right in pairs()]
    tokens = CHARACTERS + [left + right for left, right in merges]
    bpe = models.BPE({token: i for i, token in enumerate(tokens)}, merges)
    tokenizer = Tokenizer(bpe)
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    return lambda text: tokenizer.encode(text).ids, tokenizer.decode


def seconds(run: Callable, *args: object) -> tuple[float, object]:
    start = time.perf_counter()
    result = run(*args)
    return time.perf_counter() - start, result


def measure(makers: dict, text: str, rounds: int) -> dict[str, dict[str, float]]:
    """Milliseconds of construction, MB/s of the rest, medians over the rounds."""
    size = len(text.encode())
    times: dict = {name: {} for name in makers}
    expected = None
    for _ in range(rounds):
        for name, make in makers.items():
            construction, (encode, decode) = seconds(make)
            fresh, ids = seconds(encode, text)
            warm, again = seconds(encode, text)
            decoding, decoded = seconds(decode, ids)
            expected = expected or ids
            if not (ids == again == expected and decoded == text):
                raise SystemExit(f"{name} does not give the ids that the others give")
            for what, taken in (
                ("construction", construction),
                ("fresh", fresh),
                ("warm", warm),
                ("decode", decoding),
            ):
                times[name].setdefault(what, []).append(taken)
            del encode, decode, ids, again  # one vocabulary at a time
    medians = {}
    for name, lists in times.items():
        taken = {what: statistics.median(values) for what, values in lists.items()}
        ms = 1e3 * taken.pop("construction")
        speeds = {what: size / 1e6 / median for what, median in taken.items()}
        medians[name] = {"construction": ms, **speeds}
    return medians


def characters(n: int, first: int, count: int) -> str:
    """n random characters out of `count` ones, without the lists of Python's random."""
    codes = np.random.default_rng(0).integers(first, first + count, n, np.uint32)
    return codes.tobytes().decode("utf-32-le")


def words(n: int) -> str:
    letters = np.frombuffer(characters(n, ord("a"), 26).encode(), np.uint8).copy()
    letters[::8] = ord(" ")
    return letters.tobytes().decode()


HARD: dict[str, Callable[[int], str]] = {  # bytes → a text of about as many
    "one letter": lambda n: "a" * n,
    "two letters in turn": lambda n: "ab" * (n // 2),
    "random letters": lambda n: characters(n, ord("a"), 26),
    "random digits": lambda n: characters(n, ord("0"), 10),
    "one space": lambda n: " " * n,
    "random ideographs": lambda n: characters(n // 3, 0x4E00, 0x51A6),
    "random emoji": lambda n: characters(n // 4, 0x1F300, 0x350),
    "letter, digit, letter": lambda n: "a1" * (n // 2),
    "random words": words,
}


def peak() -> float:
    """The most memory that this process has had since `forget_peak`, in MB."""
    status = Path("/proc/self/status").read_text(encoding="utf-8")
    return int(status.split("VmHWM:")[1].split()[0]) * 1024 / 1e6


def forget_peak() -> None:
    Path("/proc/self/clear_refs").write_text("5", encoding="utf-8")


def encode_hard(name: str, kind: str, size: int) -> dict[str, float]:
    encode, _ = MAKERS[name]()
    text = HARD[kind](size)
    try:
        forget_peak()
        before = peak()
    except OSError:
        before = None
    taken, ids = seconds(encode, text)
    memory = {} if before is None else {"memory": peak() - before}
    return {"seconds": taken, "tokens": len(ids)} | memory


def measure_hard(name: str, kind: str, size: int) -> dict[str, float]:
    with ProcessPoolExecutor(1, get_context("spawn")) as process:
        try:
            return process.submit(encode_hard, name, kind, size).result()
        except (BrokenProcessPool, ValueError, RuntimeError) as error:
            print(f"{name}, {kind}: {error!r}")
            return {}


MAKERS = {
    "minigpt2": minigpt2,
    "straightforward": straightforward,
    "tiktoken": tiktoken,
    "tokenizers": tokenizers,
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    add = parser.add_argument
    add("texts", nargs="*", type=Path, metavar="TEXT", default=OWN_TEXTS)
    add("--rounds", type=int, default=7, metavar="N")
    add("--megabytes", type=float, default=1, metavar="N", help="of each hard text")
    add("--json", type=Path, metavar="FILE", help="write the figures there, too")
    args = parser.parse_args()
    text = "".join(path.read_text(encoding="utf-8") for path in args.texts)
    makers = {}
    for name, make in MAKERS.items():
        try:
            make()
            makers[name] = make
        except ImportError as error:
            print(f"without {name}: {error}")
    size = len(text.encode())
    print(f"{size / 1e6:.2f} MB of text, medians of {args.rounds} rounds")
    print(f"{'':16}{'construction':>13}{'fresh':>12}{'warm':>12}{'decode':>12}")
    real = measure(makers, text, args.rounds)
    for name, r in real.items():
        speeds = "".join(f"{r[what]:7.1f} MB/s" for what in ("fresh", "warm", "decode"))
        print(f"{name:16}{r['construction']:10.0f} ms{speeds}")
    ours = real["minigpt2"]
    for name, theirs in real.items():
        if name != "minigpt2":
            ratios = [f"{what} {ours[what] / theirs[what]:.2f}" for what in theirs]
            print(f"minigpt2 / {name}: {', '.join(ratios)}")
    hard: dict[str, dict[str, dict[str, float]]] = {}
    if args.megabytes:
        names = [
            name for name in makers if name != "straightforward"
        ]  # it is quadratic
        print(f"\n{args.megabytes:g} MB of{'':<16}{''.join(f'{n:>20}' for n in names)}")
        for kind in HARD:
            hard[kind] = {
                name: measure_hard(name, kind, int(args.megabytes * 1e6))
                for name in names
            }
            cells = []
            for r in hard[kind].values():
                memory = f"{r['memory']:6.0f} MB" if "memory" in r else ""
                cells.append(f"{r['seconds']:8.2f} s{memory}" if r else "failed")
            print(f"{kind:24}{''.join(f'{cell:>20}' for cell in cells)}", flush=True)
    if args.json:
        machine = f"{platform.machine()}, {os.cpu_count()} cores"
        run = {"machine": machine, "python": platform.python_version(), "bytes": size}
        figures = run | {"rounds": args.rounds, "text": real, "hard": hard}
        args.json.write_text(json.dumps(figures, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
