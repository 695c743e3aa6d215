"""The GPT-2 paper's zero-shot table, measured: perplexity and bits per byte.

    python benchmarks/zero_shot.py [TEXT | TEXT=FILE …] [--model 124M] [--limit BYTES]

TEXT is wikitext2, ptb, enwik8, text8 or lambada, by default all. What is no FILE is
downloaded, from where corpora.py says, into --data. A run that was stopped goes on where
it was: each sum is kept in --data, under a name made of all that it depends on.

Three readings of a text:

paper    The text is de-tokenized (corpora.py), begins after `<|endoftext|>`, and is read
         in windows of n_ctx tokens, none of which share more than one: each token but the
         first is scored once. The paper (section 3.1) says as much of de-tokenizers, and
         one of its authors (openai/gpt-2#78) that sums are divided by the number of words
         that the text had before. What it divides by for WikiText-2 is in doubt:
         WikiText-2 and WikiText-103 have one and the same test text, for which the paper
         gives 29.41 and 37.50. Others found about the first per token, and about the
         second per word. Both are shown here.
plain    The text as it stands, in windows of n_ctx tokens that share none; the first token
         of each is given. So do transformers' documentation (with stride = n_ctx) and
         most tables of today.
sliding  The text as it stands, in windows that begin every --stride tokens, by default
         n_ctx / 2, as in transformers' documentation: each token is scored once, with at
         least n_ctx - stride tokens before it.

Words are what white space separates; PTB's line ends count as words, as its literature has
it. LAMBADA (OpenAI's version): the last word given the passage before it, without
`<|endoftext|>`, is scored as a whole, as EleutherAI's lm-evaluation-harness does it, and by
its last token alone, as the paper seems to have done (lm-evaluation-harness#350).
"""

import argparse
import json
import time
import zlib
from collections import Counter
from collections.abc import Iterator
from itertools import chain, islice
from pathlib import Path

import corpora
import numpy as np

import minigpt2
from minigpt2.commands.console import choose_model, fail, run
from minigpt2.files.checkpoint import CheckpointError
from minigpt2.files.locate import weights_directories
from minigpt2.files.progress import Progress
from minigpt2.files.save import replace
from minigpt2.files.transfer import DownloadError
from minigpt2.model import Array
from minigpt2.score import score, sliding_windows

READINGS = "paper", "plain", "sliding"
# Table 3 of the paper; its sizes are those of the checkpoints, by n_layer
PAPER = {
    12: "117M 29.41 37.50 65.85 1.16 1.17 35.13 45.99",
    24: "345M 22.76 26.37 47.33 1.01 1.06 15.60 55.48",
    36: "762M 19.93 22.05 40.31 0.97 1.02 10.87 60.12",
    48: "1542M 18.34 17.48 35.76 0.93 0.98 8.63 63.24",
}
COLUMNS = {
    ("wikitext2", "paper", "perplexity per token"): 1,
    ("wikitext2", "paper", "perplexity per word"): 2,  # the paper's WikiText-103
    ("ptb", "paper", "perplexity per word"): 3,
    ("enwik8", "paper", "bits per byte"): 4,
    ("text8", "paper", "bits per byte"): 5,
    ("lambada", "last token", "perplexity"): 6,
    ("lambada", "last token", "accuracy, %"): 7,
}
# of the released 124M model: what others measured, and where they say so
OTHERS = {
    ("wikitext2", "paper", "perplexity per word"): "37.37 transformers#13761",
    ("wikitext2", "plain", "perplexity per token"): "29.94 transformers#13761",
    ("ptb", "plain", "perplexity per token"): "52.53 transformers#13786",
    ("ptb", "plain", "perplexity per word"): "79.65 transformers#13786",
    ("lambada", "last word", "perplexity"): "40.0554 lm-evaluation-harness#2159",
    ("lambada", "last word", "accuracy, %"): "32.56 lm-evaluation-harness#2159",
    ("lambada", "last token", "accuracy, %"): "46.67 transformers#13761",
}
Item = tuple[Array, int]  # tokens (T,), and from which on they are scored


def items(
    gpt2: minigpt2.GPT2,
    corpus: str,
    reading: str,
    path: Path,
    read: corpora.Read,
    limit: int | None = None,
    stride: int | None = None,
) -> Iterator[Item]:
    """The windows of a text, one by one: memory does not grow with its length."""
    tokenizer, n_ctx = gpt2.tokenizer, gpt2.config.n_ctx
    if corpus == "lambada":
        for line in corpora.lines(path, read, limit):
            passage = json.loads(line)["text"].rstrip()
            tokens = np.array(tokenizer.encode(passage))
            before = tokenizer.encode(passage.rpartition(" ")[0])
            cut = max(0, len(tokens) - n_ctx)
            yield tokens[cut:], max(1, len(before) - cut)
    elif reading == "paper":
        for document in corpora.documents(corpus, path, read, limit):
            parts = chain([[tokenizer.eot]], tokenizer.encode_parts(document))
            yield from sliding_windows(parts, n_ctx, max(2, n_ctx) - 1)
    else:
        parts = tokenizer.encode_parts(corpora.plain(corpus, path, read, limit))
        if reading == "sliding":
            yield from sliding_windows(parts, n_ctx, stride)
            return
        tokens = chain.from_iterable(parts)
        while window := list(islice(tokens, max(2, n_ctx))):
            if len(window) > 1:
                yield np.array(window), 1


def measure(
    gpt2: minigpt2.GPT2, corpus: str, tokens: Array, first: int
) -> dict[str, float]:
    """What an item adds to the sums."""
    scores = score(gpt2.params, gpt2.config, tokens[None], first)
    log_p, likeliest = (array[0] for array in scores)
    sums = {"items": 1, "tokens": len(log_p), "log_p": float(log_p.sum())}
    if corpus == "lambada":
        right = likeliest == tokens[first:]
        sums |= {"right": int(right.all()), "last_right": int(right[-1])}
        sums["last_log_p"] = float(log_p[-1])
    return sums


def figures(
    corpus: str, reading: str, sums: dict[str, float], read: corpora.Read
) -> Iterator[tuple[str, str, float]]:
    """What is printed: the reading, the figure's name, and its value."""
    log_p = sums["log_p"]
    if corpus == "lambada":
        n = sums["items"]
        yield "last word", "perplexity", float(np.exp(-log_p / n))
        yield "last word", "accuracy, %", 100 * sums["right"] / n
        yield "last token", "perplexity", float(np.exp(-sums["last_log_p"] / n))
        yield "last token", "accuracy, %", 100 * sums["last_right"] / n
    elif corpus in ("enwik8", "text8"):
        yield reading, "bits per byte", -log_p / np.log(2) / read.bytes
    else:
        words = read.words + (read.lines if corpus == "ptb" else 0)
        yield reading, "perplexity per token", float(np.exp(-log_p / sums["tokens"]))
        yield reading, "perplexity per word", float(np.exp(-log_p / words))


def total(
    gpt2: minigpt2.GPT2,
    corpus: str,
    reading: str,
    path: Path,
    state: Path,
    limit: int | None = None,
    stride: int | None = None,
    save_every: float = 10,
) -> tuple[dict[str, float], corpora.Read]:
    """The sums over a text. They are kept in the file `state`, every `save_every` seconds
    and at the end, and what it has is not computed again."""
    sums = Counter(json.loads(state.read_bytes()) if state.exists() else {})
    read = corpora.Read()
    todo = items(gpt2, corpus, reading, path, read, limit, stride)
    for _ in islice(todo, sums["items"]):
        pass
    size = path.stat().st_size
    if corpus in ("enwik8", "text8"):
        size = min(size, corpora.LAST_BYTES)
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
    progress.close()
    replace(state, [json.dumps(sums).encode()])
    return sums, read


def checksum(path: Path) -> int:
    crc = 0
    with open(path, "rb") as file:
        while block := file.read(1 << 20):
            crc = zlib.crc32(block, crc)
    return crc


def row(corpus: str, reading: str, name: str, value: float, n_layer: int) -> str:
    """A line of the table: the figure, the paper's and others', and the differences."""
    key = corpus, reading, name
    paper = PAPER.get(n_layer, PAPER[12]).split()
    known = f"{paper[COLUMNS[key]]}" if key in COLUMNS else ""
    other, _, source = OTHERS.get(key, "").partition(" ")
    differences = (f"{value - float(x):+.2f}" if x else "" for x in (known, other))
    cells = [corpus, reading, name, f"{value:.3f}", known, next(differences)]
    return " | ".join(["", *cells, other, next(differences), source, ""]).strip()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    add = parser.add_argument
    names = ", ".join(corpora.SOURCES)
    add("texts", nargs="*", metavar="TEXT", help=f"{names}; or one of them=FILE")
    add("--model", help="as for minigpt2 (default 124M)")
    add("--weights", metavar="DIR", help="where models live")
    add(
        "--data",
        type=Path,
        metavar="DIR",
        help="for downloads and sums (default: cache)",
    )
    add("--readings", default=",".join(READINGS), help="default: paper,plain,sliding")
    add(
        "--stride", type=int, metavar="N", help="of sliding windows (default n_ctx / 2)"
    )
    add("--limit", type=int, metavar="BYTES", help="of each text, only the first BYTES")
    add("--save-every", type=float, default=10, metavar="SECONDS")
    args = parser.parse_args()
    data = args.data or weights_directories()[-1] / "texts"
    paths = {}
    for text in args.texts or corpora.SOURCES:
        name, _, path = text.partition("=")
        if name not in corpora.SOURCES:
            fail(f"unknown text {name!r}, expected {names}")
        paths[name] = Path(path) if path else None
    readings = args.readings.split(",")
    if unknown := set(readings) - set(READINGS):
        fail(f"unknown reading {unknown.pop()!r}, expected {', '.join(READINGS)}")
    try:
        data.mkdir(parents=True, exist_ok=True)
        for name, path in paths.items():
            paths[name] = path or corpora.fetch(corpora.SOURCES[name], data)
        gpt2 = minigpt2.load(choose_model(args.model, args.weights), args.weights)
        model = zlib.crc32(np.ascontiguousarray(gpt2.params["wte"]))
        n_layer = gpt2.config.n_layer
        size = PAPER.get(n_layer, PAPER[12]).split()[0]
        print(
            f"| text | reading | figure | measured | paper, {size} | difference | ",
            end="",
        )
        print(
            "others, 124M | difference | source |\n|---|---|---" + "|---:" * 5 + "|---|"
        )
        for corpus, path in paths.items():
            for reading in ["lambada"] if corpus == "lambada" else readings:
                settings = args.limit, args.stride if reading == "sliding" else None
                given = [str(gpt2.config), model, checksum(path), settings]
                digest = zlib.crc32(repr(given).encode())
                state = data / f"{corpus}-{reading}-{digest:08x}.json"
                result = total(
                    gpt2, corpus, reading, path, state, *settings, args.save_every
                )
                for figure in figures(corpus, reading, *result):
                    print(row(corpus, *figure, n_layer), flush=True)
    except (CheckpointError, DownloadError, FloatingPointError, ValueError) as error:
        fail(error)


if __name__ == "__main__":
    run(main)
