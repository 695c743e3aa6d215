"""How far a text wanders from its prompt.

    python benchmarks/drift.py [--model 124M] [--prompts FILE] [--svg drift.svg]
    python benchmarks/drift.py --prompts FILE --split blank --cut 32 --written

Each prompt is continued at temperature 1 among the --top-k likeliest, in --samples ways,
as far as the context window goes. Then, token by token and paragraph by paragraph:

gain    How much the prompt still matters k tokens later: the log-probability of the k-th
        token of the continuation given the prompt and the continuation so far, less that
        without the prompt: given `<|endoftext|>` ("than none") or another prompt, cut or
        repeated to the same length, so that all positions are the same ("than another").
        In nats, as a mean over all continuations, ± its standard error between prompts.
        With --top-k 0 the tokens come from the model's own distribution, and the
        expectation of the gain is the divergence KL(with ‖ without): it is never negative.

close   How close each paragraph stays to its prompt: the cosine between their vectors.
        The vector of a text is the mean, over its tokens, of the residual stream after
        half of the blocks, when the text is read alone after `<|endoftext|>`. The mean of
        all prompts, or of all paragraphs, is taken off, and each dimension is divided by
        its standard deviation, because a few of GPT-2's are far larger than the others.
        The baseline is the mean cosine with the other prompts' vectors. A paragraph is
        what blank lines separate, or line breaks where there are none; with --paragraph N
        it is N tokens.

FILE has one prompt a line, or as --split says. With --cut, the prompts are the beginnings
of longer texts, such as transcripts; with --written, what follows is what stands there,
and the model writes nothing: how far do people wander?
"""

import argparse
from collections.abc import Sequence
from itertools import islice
from pathlib import Path

import numpy as np
from plot import Plot
from prompts import PROMPTS, cut_texts, read_texts

import minigpt2
from minigpt2.commands.console import choose_model, fail, run
from minigpt2.files.checkpoint import CheckpointError
from minigpt2.files.progress import Progress, notice
from minigpt2.files.save import replace
from minigpt2.files.text import SPLIT_HELP, SPLITS
from minigpt2.files.transfer import DownloadError
from minigpt2.generate import generate_tokens
from minigpt2.model import Array, Cache, blocks
from minigpt2.sampling import Sampling
from minigpt2.score import score

Paragraph = tuple[float, list[int]]  # where its middle is, and its tokens


def continue_all(
    gpt2: minigpt2.GPT2,
    prompt: Sequence[int],
    length: int,
    samples: int,
    top_k: int,
    seed: tuple[int, int],
) -> Array:  # (samples, length)
    """The tokens that follow a prompt, in several ways at a time, seeded."""
    seeds = np.random.SeedSequence(seed).spawn(samples)
    rngs = [np.random.default_rng(each) for each in seeds]
    sampling = Sampling(1.0, top_k or None)
    steps = generate_tokens(gpt2.params, gpt2.config, prompt, sampling, rngs)
    return np.stack(list(islice(steps, length)), axis=1)


def gain(
    gpt2: minigpt2.GPT2,
    prompt: Sequence[int],
    instead: Sequence[int],
    texts: Array,
) -> Array:  # (samples, length) of texts → (samples, length)
    """How much likelier each token of texts (samples, length) is after `prompt` than
    after `instead`, in nats."""
    log_p = []
    for context in prompt, instead:
        before = np.repeat([context], len(texts), axis=0)
        tokens = np.concatenate([before, texts], axis=1)
        log_p.append(score(gpt2.params, gpt2.config, tokens, len(context))[0])
    return log_p[0] - log_p[1]


def vector(gpt2: minigpt2.GPT2, tokens: Sequence[int]) -> Array:  # (T,) → (C,)
    """The mean over tokens of the residual stream after half of the blocks."""
    read = np.array([[gpt2.tokenizer.eot, *tokens][: gpt2.config.n_ctx]])
    cache = Cache(gpt2.config, n_ctx=read.shape[1])
    half = max(1, gpt2.config.n_layer // 2)
    *_, x = islice(blocks(gpt2.params, read, cache.kv, 0), half)
    return x[0, 1:].mean(axis=0)


def paragraphs(gpt2: minigpt2.GPT2, tokens: list[int], size: int) -> list[Paragraph]:
    """A continuation in paragraphs, of which each has at least four tokens. The last
    is left out unless it is the only one: the end of the window cut it off."""
    if size:
        starts = range(0, len(tokens) - size + 1, size)
        return [(i + size / 2, tokens[i : i + size]) for i in starts]
    raw = [gpt2.tokenizer.decode_bytes([token]) for token in tokens]
    text = b"".join(raw)
    separator = b"\n\n" if b"\n\n" in text else b"\n"
    ends = np.cumsum([len(part) for part in raw])  # of each token, in bytes
    parts = text.split(separator)
    found, byte = [], 0
    for part in parts[:-1] or parts:
        first, last = np.searchsorted(ends, [byte, byte + len(part)], side="right")
        byte += len(part) + len(separator)
        if last - first >= 4:
            found.append((float(first + last) / 2, tokens[first:last]))
    return found


def closeness(prompts: Array, own: Array, texts: Array) -> tuple[Array, Array]:
    """The cosine of each text with its own prompt, and the mean of those with the other
    prompts: 2 × (n,).

    prompts (P, C) and texts (n, C) are vectors; own, int (n,), says whose each text is.
    """

    def unit(x: Array) -> Array:
        x = (x - x.mean(axis=0)) / np.maximum(x.std(axis=0), 1e-6)
        return x / np.maximum(np.linalg.norm(x, axis=-1, keepdims=True), 1e-6)

    cosines = unit(texts) @ unit(prompts).T  # (n, P)
    mine = cosines[np.arange(len(texts)), own]
    return mine, (cosines.sum(axis=1) - mine) / (len(prompts) - 1)


def ranges(length: int) -> list[tuple[int, int]]:
    """1 … length in ranges that double: (1, 1), (2, 3), (4, 7), …"""
    return [(1 << i, min((2 << i) - 1, length)) for i in range(length.bit_length())]


def gain_table(gains: Array) -> list[list[float]]:
    """Of gains (2, P, length), for each range of k: its ends, and the mean and its
    standard error between prompts, for each of the two."""
    rows = []
    for low, high in ranges(gains.shape[2]):
        each = gains[:, :, low - 1 : high].mean(axis=2)  # (2, P)
        error = each.std(axis=1, ddof=1) / np.sqrt(each.shape[1])
        (none, another), (none_error, another_error) = each.mean(axis=1), error
        rows.append([low, high, none, none_error, another, another_error])
    return rows


def picture(rows: list[list[float]]) -> str:
    """The gains and their standard errors as an SVG. Both scales are logarithms, so that a
    power of k is a straight line; a gain that is not positive has no place there."""
    gains = [value for row in rows for value in row[2::2] if value > 0]
    low, high = min(gains, default=0.1) / 2, max(gains, default=1) * 1.5
    last = rows[-1][1]
    plot = Plot(
        "What the prompt is worth (± standard error; dashed: falling as 1 / k)",
        ("k, tokens since the prompt", 1, last),
        ("nats for a token", low, high),
        log=True,
    )
    plot.curve([(1, high / 2), (last, high / 2 / last)], "#999", dashed=True)
    for i, colour, name in (2, "#c22", "over no prompt"), (4, "#06c", "over another"):
        shown = [((row[0] + row[1]) / 2, *row[i : i + 2]) for row in rows if row[i] > 0]
        lower, upper = (
            [(x, max(low, value + sign * error)) for x, value, error in shown]
            for sign in (-1, 1)
        )
        plot.band(lower, upper, colour)
        plot.curve([(x, value) for x, value, _ in shown], colour, name)
    return plot.svg()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    add = parser.add_argument
    add("--model", help="as for minigpt2 (default 124M)")
    add("--weights", metavar="DIR", help="where models live")
    add("--prompts", type=Path, metavar="FILE", help="at least two, as --split says")
    add("--split", choices=SPLITS, default="line", help=f"{SPLIT_HELP} (default line)")
    add("--cut", type=int, metavar="N", help="prompts are the first N tokens of texts")
    add(
        "--written", action="store_true", help="with --cut: measure how the texts go on"
    )
    add("--limit", type=int, metavar="N", help="only the first N prompts")
    add("--samples", type=int, default=4, help="texts for each prompt (default 4)")
    add("--tokens", type=int, help="of each text (default: as the window allows)")
    add("--paragraph", type=int, default=0, metavar="N", help="of N tokens each")
    add("--top-k", type=int, default=40, help="default 40; 0: all")
    add("--seed", type=int, default=0)
    add("--svg", type=Path, metavar="FILE", help="draw a picture, too")
    args = parser.parse_args()
    if args.written and args.cut is None:
        fail("--written is what stands after --cut tokens: add --cut")
    if args.prompts is None and (args.cut or args.split != "line"):
        fail("--cut and --split are for a file: add --prompts")
    for name in "samples", "tokens", "cut":
        value = getattr(args, name)
        if value is not None and value < 1:
            fail(f"{name} is {value}, expected 1 or more")
    try:
        gpt2 = minigpt2.load(choose_model(args.model, args.weights), args.weights)
        if args.prompts:
            texts = list(islice(read_texts(gpt2, args.prompts, args.split), args.limit))
        else:
            texts = [gpt2.tokenizer.encode(text) for text in PROMPTS][: args.limit]
        longest = args.cut or max(map(len, texts), default=0)
        length = gpt2.config.n_ctx + 1 - longest
        length = min(length, args.tokens or length)
        if length < 1:
            how = "cut them: --cut" if args.cut is None else "let --cut be less"
            fail(f"a prompt fills the window of {gpt2.config.n_ctx} tokens: {how}")
        follow = length if args.written else 0
        prompts, written = cut_texts(texts, args.cut, follow)
        if len(prompts) < 2:
            fail("at least two prompts are needed")
        gains, found = [], []  # found: prompt, number and middle of a paragraph; vector
        progress = Progress("prompts", len(prompts), unit="prompts", size=1)
        for p, prompt in enumerate(prompts):
            settings = length, args.samples, args.top_k, (args.seed, p)
            tokens = np.array([written[p]])
            if not args.written:
                tokens = continue_all(gpt2, prompt, *settings)
            another = np.resize(prompts[p - 1], len(prompt)).tolist()
            gains.append(
                [
                    gain(gpt2, prompt, instead, tokens).mean(axis=0)
                    for instead in ([gpt2.tokenizer.eot], another)
                ]
            )
            for text in tokens.tolist():
                numbered = enumerate(paragraphs(gpt2, text, args.paragraph), start=1)
                for number, (middle, part) in numbered:
                    found.append((p, number, middle, vector(gpt2, part)))
            progress.add(1)
        progress.close()
    except (CheckpointError, DownloadError, FloatingPointError, ValueError) as error:
        fail(error)

    gain_rows = gain_table(np.array(gains).swapaxes(0, 1))
    print("| tokens later | gain over no prompt | ± | gain over another | ± |")
    print("|---|" + "---:|" * 4)
    for low, high, *values in gain_rows:
        cells = " | ".join(f"{value:.3f}" for value in values)
        print(f"| {low} to {high} | {cells} |")

    print("\n| paragraph | texts | its middle | close to its prompt | to others |")
    print("|---|" + "---:|" * 4)
    if found:
        own, numbers, middles, vectors = map(np.array, zip(*found, strict=True))
        prompt_vectors = np.array([vector(gpt2, prompt) for prompt in prompts])
        cosines = closeness(prompt_vectors, own, vectors)
        for number in sorted(set(numbers)):
            some = numbers == number
            middle, mine, others = (x[some].mean() for x in (middles, *cosines))
            cells = f"{middle:.0f} | {mine:.3f} | {others:.3f}"
            print(f"| {number} | {some.sum()} | {cells} |")
    if args.svg:
        replace(args.svg, [picture(gain_rows).encode()])
        notice(f"drawn: {args.svg}")


if __name__ == "__main__":
    run(main)
