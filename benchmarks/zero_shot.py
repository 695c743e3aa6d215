"""The GPT-2 paper's zero-shot table, measured: all ten columns.

    python benchmarks/zero_shot.py [TEXT | TEXT=FILE …] [--model 124M] [--limit BYTES]

TEXT is lambada, cbt-cn, cbt-ne, wikitext2, ptb, enwik8, text8, wikitext103 or 1bw, by
default all. FILE is the text, or an archive that has it. What is no FILE is downloaded,
from where corpora.py says, into --data; 1bw is 1.8 GB. A run that was stopped goes on where
it was: each sum is kept in --data, under a name made of all that it depends on.

Three readings of a text:

paper    The text is de-tokenized (detokenize.py), begins after `<|endoftext|>`, and is read
         in windows of n_ctx tokens, none of which share more than one: each token but the
         first is scored once. The paper (section 3.1) says as much of de-tokenizers, and
         one of its authors (openai/gpt-2#78) that sums are divided by the number of words
         that the text had before.
plain    The text as it stands, in windows of n_ctx tokens that share none; the first token
         of each is given. So do transformers' documentation (with stride = n_ctx) and
         most tables of today.
sliding  The text as it stands, in windows that begin every --stride tokens, by default
         n_ctx / 2, as in transformers' documentation: each token is scored once, with at
         least n_ctx - stride tokens before it.

Words are what white space separates. In PTB and the One Billion Words line ends count as
words, as their literature has it, and are scored, as line breaks. What the paper did with
the order of the One Billion Words, which are shuffled sentences, is not known; here they
are one text, as they stand, of the first held-out part (159,658 words, with line ends).

What the paper divides by for WikiText-2 is in doubt: WikiText-2 and WikiText-103 have one
and the same test text, for which the paper gives 29.41 and 37.50. Others found about the
first per token, and about the second per word (transformers#13761). Both are shown.

LAMBADA (OpenAI's version): the last word given the passage before it, without
`<|endoftext|>`, is scored as a whole, as EleutherAI's lm-evaluation-harness does it, and by
its last token alone, as the paper seems to have done (lm-evaluation-harness#350).

Children's Book Test: chosen is the candidate for which candidate and rest of the sentence
together are likeliest, given what is before (the paper's section 3.2; Hill et al. 2016,
section 4.4). All ten texts have the same beginning, so it is also the likeliest text. The
sentences are joined by spaces; a text longer than n_ctx tokens loses its beginning. `paper`
is de-tokenized, after `<|endoftext|>`; `plain` is neither. Of 2,500 questions, the standard
error of 85 % is 0.7.
"""

import argparse
import json
import sys
import time
import zlib
from collections import Counter
from collections.abc import Iterator
from itertools import chain, islice
from pathlib import Path
from typing import Any

import choices
import corpora
import detokenize
import numpy as np
import texts
from corpora import CORPORA
from published import header, row

import minigpt2
from minigpt2.commands.console import choose_model, fail, run
from minigpt2.files.checkpoint import CheckpointError
from minigpt2.files.locate import weights_directories
from minigpt2.files.progress import Progress, notice
from minigpt2.files.save import replace
from minigpt2.files.transfer import DownloadError
from minigpt2.score import score, sliding_windows

READINGS = "paper", "plain", "sliding"
MODULES = sys.modules[__name__], texts, detokenize, choices  # what sums depend on
NAMES = ", ".join(CORPORA)


def readings_of(corpus: str, readings: list[str]) -> list[str]:
    """Those that a text has."""
    if CORPORA[corpus].form == "passages":
        return [corpus]
    questions = CORPORA[corpus].form == "questions"
    return [name for name in readings if not (questions and name == "sliding")]


def items(
    gpt2: minigpt2.GPT2,
    corpus: str,
    reading: str,
    path: Path,
    read: texts.Read,
    limit: int | None = None,
    stride: int | None = None,
) -> Iterator[tuple[Any, int]]:
    """What is measured, one by one, so that memory does not grow with the length of a text:
    the tokens of a window (T,) and from which on they are scored; of a question, the tokens
    of each candidate's text and which one is right."""
    source, encode = CORPORA[corpus], gpt2.tokenizer.encode
    n_ctx, eot = gpt2.config.n_ctx, [gpt2.tokenizer.eot]
    if source.form == "questions":
        for text, candidates, right in texts.questions(path, read, limit):
            filled = [text.replace(texts.BLANK, candidate) for candidate in candidates]
            if reading == "paper":
                rules = source.rules
                filled = [detokenize.detokenize(rules, each) for each in filled]
            begin = eot if reading == "paper" else []
            yield [begin + encode(each) for each in filled], right
    elif source.form == "passages":
        for passage in texts.passages(path, read, limit):
            tokens = np.array(encode(passage))
            before = encode(passage.rpartition(" ")[0])
            cut = max(0, len(tokens) - n_ctx)
            yield tokens[cut:], max(1, len(before) - cut)
    elif reading == "paper":
        for document in texts.documents(source, path, read, limit):
            parts = chain([eot], gpt2.tokenizer.encode_parts(document))
            yield from sliding_windows(parts, n_ctx, max(2, n_ctx) - 1)
    else:
        parts = gpt2.tokenizer.encode_parts(texts.plain(source, path, read, limit))
        if reading == "sliding":
            yield from sliding_windows(parts, n_ctx, stride)
            return
        stream = chain.from_iterable(parts)
        while window := list(islice(stream, max(2, n_ctx))):
            if len(window) > 1:
                yield np.array(window), 1


def measure(
    gpt2: minigpt2.GPT2, corpus: str, tokens: Any, first: int
) -> dict[str, float]:
    """What an item adds to the sums."""
    if CORPORA[corpus].form == "questions":
        log_p = choices.log_p_of_each(gpt2.params, gpt2.config, tokens)
        return {"items": 1, "tokens": len(log_p), "right": int(log_p.argmax() == first)}
    scores = score(gpt2.params, gpt2.config, tokens[None], first)
    log_p, likeliest = scores.log_p[0], scores.likeliest[0]
    sums = {"items": 1, "tokens": len(log_p), "log_p": float(log_p.sum())}
    if CORPORA[corpus].form == "passages":
        right = likeliest == tokens[first:]
        sums |= {"right": int(right.all()), "last_right": int(right[-1])}
        sums["last_log_p"] = float(log_p[-1])
    return sums


def figures(
    corpus: str, reading: str, sums: dict[str, float], read: texts.Read
) -> Iterator[tuple[str, str, float, str]]:
    """What is printed: the reading, the figure's name, its value, and of how much."""
    form, n, log_p = CORPORA[corpus].form, sums["items"], sums.get("log_p", 0)
    if form == "questions":
        yield reading, "accuracy, %", 100 * sums["right"] / n, f"{n:,} questions"
    elif form == "passages":
        of, last = f"{n:,} passages", sums["last_log_p"]
        yield "last word", "perplexity", float(np.exp(-log_p / n)), of
        yield "last word", "accuracy, %", 100 * sums["right"] / n, of
        yield "last token", "perplexity", float(np.exp(-last / n)), of
        yield "last token", "accuracy, %", 100 * sums["last_right"] / n, of
    elif form == "bytes":
        bits = -log_p / np.log(2) / read.bytes
        yield reading, "bits per byte", bits, f"{read.bytes:,} bytes"
    else:
        words = read.words + (read.lines if form == "lines" else 0)
        for unit, count in ("token", sums["tokens"]), ("word", words):
            value = float(np.exp(-log_p / count))
            yield reading, f"perplexity per {unit}", value, f"{count:,} {unit}s"


def total(
    gpt2: minigpt2.GPT2,
    corpus: str,
    reading: str,
    path: Path,
    state: Path,
    limit: int | None = None,
    stride: int | None = None,
    save_every: float = 10,
) -> tuple[dict[str, float], texts.Read]:
    """The sums over a text. They are kept in the file `state`, every `save_every` seconds
    and at the end, and what it has is not computed again. Raises ValueError if the text is
    not of its form, or has nothing to score."""
    sums = Counter(json.loads(state.read_bytes()) if state.exists() else {})
    read = texts.Read()
    todo = items(gpt2, corpus, reading, path, read, limit, stride)
    for _ in islice(todo, sums["items"]):
        pass
    size = path.stat().st_size
    if CORPORA[corpus].form == "bytes":
        size = min(size, texts.LAST_BYTES)
    size = min(size, limit or size)
    progress = Progress(f"{corpus}, {reading}", size, read.bytes, "kB", 1e3)
    saved = time.monotonic()
    for tokens, first in todo:
        for name, value in measure(gpt2, corpus, tokens, first).items():
            sums[name] += value
        progress.add(read.bytes - progress.done)
        if time.monotonic() - saved > save_every:
            replace(state, [json.dumps(sums).encode()])
            saved = time.monotonic()
    progress.add(read.bytes - progress.done)
    progress.close()
    if not sums["items"]:
        raise ValueError(f"{path}: there is nothing to score in it")
    replace(state, [json.dumps(sums).encode()])
    return sums, read


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    add = parser.add_argument
    add("texts", nargs="*", metavar="TEXT", help=f"{NAMES}; or one of them=FILE")
    add("--model", help="as for minigpt2 (default 124M)")
    add("--weights", metavar="DIR", help="where models live")
    add("--data", type=Path, metavar="DIR", help="for texts and sums (default: cache)")
    add("--readings", default=",".join(READINGS), help="default: paper,plain,sliding")
    add("--stride", type=int, metavar="N", help="of sliding windows (default n_ctx/2)")
    add("--limit", type=int, metavar="BYTES", help="of each text, only the first BYTES")
    add("--save-every", type=float, default=10, metavar="SECONDS")
    args = parser.parse_args()
    data = args.data or weights_directories()[-1] / "texts"
    paths = {}
    for text in args.texts or CORPORA:
        name, _, path = text.partition("=")
        if name not in CORPORA:
            fail(f"unknown text {name!r}, expected {NAMES}")
        paths[name] = Path(path) if path else None
    readings = args.readings.split(",")
    if unknown := set(readings) - set(READINGS):
        fail(f"unknown reading {unknown.pop()!r}, expected {', '.join(READINGS)}")
    try:
        data.mkdir(parents=True, exist_ok=True)
        found = {}
        for name, path in paths.items():
            try:
                found[name] = corpora.find(CORPORA[name], data, path)
            except DownloadError as error:
                notice(f"{name} is left out: {error}")
        if not found:
            sys.exit(2)
        gpt2 = minigpt2.load(choose_model(args.model, args.weights), args.weights)
        n_layer = gpt2.config.n_layer
        model = gpt2.config, zlib.crc32(np.ascontiguousarray(gpt2.params["wte"]))
        code = [corpora.checksum(Path(module.__file__)) for module in MODULES]
        print(header(n_layer))
        for name, path in found.items():
            for reading in readings_of(name, readings):
                settings = args.limit, args.stride if reading == "sliding" else None
                given = [*model, code, corpora.checksum(path), settings]
                # WikiText-2 and -103 are one text, read in one way: they share their sums
                text = name.rstrip("0123456789")
                state = f"{text}-{reading}-{zlib.crc32(repr(given).encode()):08x}.json"
                options = data / state, *settings, args.save_every
                sums = total(gpt2, name, reading, path, *options)
                for kind, figure, value, of in figures(name, reading, *sums):
                    print(row((name, kind, figure), value, of, n_layer), flush=True)
        if len(found) < len(paths):
            sys.exit(2)
    except (CheckpointError, DownloadError, FloatingPointError, ValueError) as error:
        fail(error)


if __name__ == "__main__":
    run(main)
