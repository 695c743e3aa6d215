"""Can one tell the model's texts from people's?

    python benchmarks/detector.py --unseen BOOK [--also TEXT …] [--model 124M]

Passages of a book that the model has not read begin with a paragraph (of at least 20
tokens) and run on for as many tokens as the longest of --lengths. Before each, the book
has a prompt of 32 tokens; from it the model writes as many tokens of its own, at each of
several settings. Both are then read alone, after `<|endoftext|>`, as one meets a text, and
by their first 20, 50, 100 or 200 tokens each gets three figures:

likely     the mean log-probability of its tokens (surprisal, with the sign changed)
top 10     the share of tokens among the 10 likeliest, as GLTR shows it (Gehrmann et al. 2019)
expected   how far log-probabilities exceed what the model expects in their places, Σ (log p -
           E[log p]) / sqrt(Σ Var[log p]): it allows for texts that are hard to foresee
           (Bao et al. 2023, "Fast-DetectGPT", with one model)

A detector calls the model's what is above a threshold. The ROC curve has, for each
threshold, the share of the model's passages it finds over the share of people's it accuses;
the area under it is the chance that the model's passage of a pair has the higher figure:
0.5 is a coin; below it people's texts look more like the model's than its own do. Its standard error is that of DeLong et al.
(1988) for pairs, in which each prompt gives one passage of either kind, and counts once
(Obuchowski 1997).

The second table asks what fools it, with the threshold above which 5 % of the book's
passages are.
"""

import argparse
from collections.abc import Sequence
from itertools import chain
from pathlib import Path
from typing import NamedTuple

import numpy as np
from roc import area_plot, area_table, fooled_table, roc_plot

import minigpt2
from minigpt2.commands.console import choose_model, fail, run
from minigpt2.files.checkpoint import CheckpointError
from minigpt2.files.progress import Progress, notice
from minigpt2.files.save import replace
from minigpt2.files.text import read_file, split_texts
from minigpt2.files.transfer import DownloadError
from minigpt2.learning.corpus import find_files
from minigpt2.model import Array, Cache, forward, unembed
from minigpt2.sampling import Sampling
from minigpt2.score import foresee, own, ranks
from minigpt2.speed.prefill import prefill

HERE = Path(__file__).parent
PROMPT, SHORTEST = 32, 20  # tokens: of a prompt, and of a passage's first paragraph


class Way(NamedTuple):
    """A setting of the model's."""

    name: str
    sampling: Sampling


def paragraphs(texts: Sequence[str], tokenizer: minigpt2.Tokenizer) -> list[list[int]]:
    """The ids of the paragraphs of texts, each with the blank line before it."""
    parts = (part for text in texts for _, part in split_texts(text, "blank"))
    return [tokenizer.encode("\n\n" + part.strip()) for part in parts]


def passages(
    tokenizer: minigpt2.Tokenizer, texts: Sequence[str], length: int, most: int
) -> tuple[Array, Array]:
    """The prompts (n, PROMPT) and the passages (n, length) that follow them in texts: at
    most `most`, evenly spaced, none of which overlap."""
    break_before = len(tokenizer.encode("\n\na")) - len(tokenizer.encode("a"))
    ids: list[int] = []
    starts = []
    for paragraph in paragraphs(texts, tokenizer):
        if len(paragraph) - break_before >= SHORTEST:
            starts.append(len(ids) + break_before)
        ids += paragraph
    chosen: list[int] = []
    for start in starts:
        free = chosen[-1] + length if chosen else 0
        if start - PROMPT >= free and start + length <= len(ids):
            chosen.append(start)
    if len(chosen) > most:
        chosen = [chosen[i] for i in np.linspace(0, len(chosen) - 1, most).astype(int)]
    all_ids = np.array(ids)
    places = np.array(chosen, int)[:, None]
    return (
        all_ids[places + np.arange(-PROMPT, 0)],
        all_ids[places + np.arange(length)],
    )


def write(
    gpt2: minigpt2.GPT2,
    prompts: Array,
    length: int,
    sampling: Sampling,
    rngs: Sequence[np.random.Generator],
) -> Array:  # (B, P) → (B, length)
    """The model's own continuation of each prompt: token by token, from a cache."""
    cache = Cache(gpt2.config, len(prompts), n_ctx=prompts.shape[1] + length)
    x = prefill(gpt2.params, prompts, cache)[:, -1]  # (B, C)
    written: list[Array] = []
    while True:
        choices = zip(unembed(gpt2.params, x), rngs, strict=True)
        written.append(np.array([sampling.choose(z, rng) for z, rng in choices]))
        if len(written) == length:
            return np.stack(written, axis=1)
        x = forward(gpt2.params, written[-1][:, None], cache)[:, -1]


def measure(gpt2: minigpt2.GPT2, texts: Array, lengths: Sequence[int]) -> Array:
    """The three figures of passages (B, T), read alone, by their first tokens:
    (3, lengths, B)."""
    B, T = texts.shape
    begin = np.repeat([gpt2.tokenizer.beginning()], B, axis=0)
    tokens = np.concatenate([begin, texts], axis=1)
    log_p, rank, expected, variance = (np.empty(B * T) for _ in range(4))
    done = 0
    for block in foresee(gpt2.params, gpt2.config, tokens, begin.shape[1]):
        part = slice(done, done + len(block))
        targets = texts.reshape(-1)[part]
        log_p[part], rank[part] = own(block, targets), ranks(block, targets)
        p = np.exp(block)
        expected[part] = (p * block).sum(-1)
        variance[part] = (p * block * block).sum(-1) - expected[part] ** 2
        done += len(block)
    sums = [
        np.cumsum(each.reshape(B, T), axis=1)[:, np.array(lengths) - 1].T
        for each in (log_p, rank <= 10, log_p - expected, variance)
    ]  # each (lengths, B)
    tokens_read = np.array(lengths)[:, None]
    spread = np.sqrt(np.maximum(sums[3], 1e-9))
    return np.stack([sums[0] / tokens_read, sums[1] / tokens_read, sums[2] / spread])


def edited(texts: Array, every: int, words: Array, seed: int) -> Array:
    """Every so many tokens, one drawn from `words` is in the place of the model's."""
    texts = texts.copy()
    places = texts[:, every - 1 :: every]
    places[:] = np.random.default_rng(seed).choice(words.reshape(-1), places.shape)
    return texts


def measure_all(
    gpt2: minigpt2.GPT2, args: argparse.Namespace
) -> tuple[Array, dict[str, Array], dict[str, Array]]:
    """The figures (3, lengths, n) of the book's passages, of the model's by setting, and
    of what is to fool the detector."""
    lengths, most = args.lengths, args.passages
    longest, n_ctx = max(lengths), gpt2.config.n_ctx
    if longest + PROMPT > n_ctx:
        fail(f"length {longest} and a prompt of {PROMPT}: the window is {n_ctx}")

    def read(path: Path) -> tuple[Array, Array]:
        texts = [read_file(file) for file in find_files([path], Path(".no-model"))]
        return passages(gpt2.tokenizer, texts, longest, most)

    prompts, texts = read(args.unseen)
    also = {path: read(path)[1] for path in args.also}
    for path, found in ((args.unseen, texts), *also.items()):
        if len(found) < 2:
            what = f"{len(found)} passages of {longest} tokens, two are needed"
            fail(f"{path}: {what}: give a longer text, or --lengths")
    ways = [Way(f"temperature {t:g}", Sampling(t)) for t in args.temperatures]
    ways += [Way("temperature 1, top-k 40", Sampling(1.0, 40))]
    ways += [Way("temperature 1, top-p 0.9", Sampling(1.0, None, 0.9))]
    edits = {"one token in ten from the book": 10, "one in five": 5}
    total = (len(ways) * 4 + 1 + len(edits)) * len(texts)
    total += sum(map(len, also.values()))
    progress = Progress("read and written", total, unit="passages", size=1)

    def figures(some: Array) -> Array:
        found = []
        for first in range(0, len(some), args.batch):
            batch = some[first : first + args.batch]
            found.append(measure(gpt2, batch, lengths))
            progress.add(len(batch))
        return np.concatenate(found, axis=2)

    people = figures(texts)
    models, foolers = {}, {}
    for number, way in enumerate(ways):
        seeds = np.random.SeedSequence([args.seed, number]).spawn(len(texts))
        rngs = [np.random.default_rng(seed) for seed in seeds]
        written = []
        for first in range(0, len(texts), args.batch):
            part = slice(first, first + args.batch)
            written.append(
                write(gpt2, prompts[part], longest, way.sampling, rngs[part])
            )
            progress.add(3 * len(written[-1]))  # it takes longer than to read them
        models[way.name] = figures(np.concatenate(written))
        if way is ways[0]:
            for name, every in edits.items():
                changed = edited(np.concatenate(written), every, texts, args.seed)
                foolers[f"{way.name}, {name}"] = figures(changed)
    for path, found in also.items():
        foolers[f"people's: {path.name}"] = figures(found)
    progress.close()
    return people, models, foolers


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    add = parser.add_argument
    how = "what the model has not read: a text, or a directory of .txt files"
    add("--unseen", type=Path, metavar="PATH", required=True, help=how)
    how = "other people's texts, which the detector is to leave alone"
    add("--also", type=Path, nargs="+", default=[], metavar="PATH", help=how)
    add("--model", help="as for minigpt2 (default 124M)")
    add("--weights", metavar="DIR", help="where models live")
    default = [0.7, 1.0, 0.85, 1.15]
    add("--temperatures", type=float, nargs="+", default=default, metavar="T")
    default = [20, 50, 100, 200]
    add("--lengths", type=int, nargs="+", default=default, metavar="N", help="tokens")
    add("--passages", type=int, default=400, metavar="N", help="at most (default 400)")
    add("--batch", type=int, default=16, help="texts written at a time (default 16)")
    add("--seed", type=int, default=0)
    add("--to", type=Path, default=HERE, metavar="DIR", help="where pictures go")
    args = parser.parse_args()
    numbers = [("length", n, 1) for n in args.lengths]
    numbers += [("passages", args.passages, 2), ("batch", args.batch, 1)]
    for name, value, least in (*numbers, ("seed", args.seed, 0)):
        if value < least:
            fail(f"{name} is {value}, expected {least} or more")
    args.lengths = sorted(set(args.lengths))
    try:
        for temperature in args.temperatures:
            Sampling(temperature)
        for path in chain([args.unseen], args.also):
            find_files([path], Path(".no-model"))
        gpt2 = minigpt2.load(choose_model(args.model, args.weights), args.weights)
        people, models, foolers = measure_all(gpt2, args)
    except (CheckpointError, DownloadError, FloatingPointError, ValueError) as error:
        fail(error)
    lengths = args.lengths
    print(f"{people.shape[2]} passages of either kind, seed {args.seed}.\n")
    print(*area_table(people, models, lengths), "", sep="\n")
    print(*fooled_table(people, models | foolers, lengths), sep="\n")
    for name, drawing in (
        ("detector-roc.svg", roc_plot(people, models, lengths)),
        ("detector-area.svg", area_plot(people, models, lengths)),
    ):
        replace(args.to / name, [drawing.encode()])
        notice(f"drawn: {args.to / name}")


if __name__ == "__main__":
    run(main)
