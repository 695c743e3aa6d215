"""Is GPT-2 a step change, or a point on a curve?

    python benchmarks/scaling.py --data BOOKS --unseen BOOK [--runs DIR]

Trains a ladder of models with `python -m minigpt2.train`, all on the same text, the same
number of tokens and the same recipe; only the learning rate depends on the size, as
0.003 √(192 / n_embd). It measures the bits per byte of each on an unseen text, with
`python -m minigpt2.score`, and fits two laws (Kaplan et al. 2020, "Scaling Laws for Neural
Language Models", equation 1.1; Henighan et al. 2020, equation 1.1):

    L(N) = (N_c / N)^α         L(N) = E + (N_c / N)^α

N is the number of parameters without embeddings, 12 n_layer n_embd². E is what no model
of this kind could go below, however large. The largest model is predicted from the others,
and then shown. The fit is least squares of log L, weighted equally; what is uncertain
about it comes from 2,000 ladders that are drawn from the fit with normal errors of the
size that the residuals have (a parametric bootstrap), and is given as 95 % intervals. Each
size is trained once, with one seed, so the errors between seeds are in the residuals.

Then the paper's own four sizes, on its own figures (table 3 of Radford et al. 2019): what
do the two smallest predict for the full model, if the pure law holds?

A run that was stopped goes on; one that is complete is not trained again. --from-csv draws
the picture and the tables from the figures of an earlier run, and trains nothing.
"""

import argparse
import csv
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
from plot import Plot
from power_law import middle_95, power_law, predicted, redrawn, with_lowest
from published import paper

from minigpt2.commands.console import fail, run
from minigpt2.files.progress import notice
from minigpt2.files.save import replace

HERE = Path(__file__).parent
LADDER = ((24, 3, 2), (40, 3, 2), (56, 4, 2), (80, 6, 4), (128, 6, 4), (192, 8, 6))
WINDOWS, N_CTX = 8, 256  # of a step; tokens of each

FITS = (  # name, fit, how many numbers it has, colour
    ("(N_c / N)^α", power_law, 2, "#06c"),
    ("E + (N_c / N)^α", with_lowest, 3, "#c22"),
)
PAPER_SHAPES = ((768, 12), (1024, 24), (1280, 36), (1600, 48))  # n_embd, n_layer
COLUMNS = {
    "LAMBADA": ("lambada", "last token", "perplexity"),
    "WikiText-2": ("wikitext2", "paper", "perplexity per token"),
    "Penn Treebank": ("ptb", "paper", "perplexity per word"),
    "WikiText-103": ("wikitext103", "paper", "perplexity per word"),
    "One Billion Words": ("1bw", "paper", "perplexity per word"),
    "enwik8": ("enwik8", "paper", "bits per byte"),
    "text8": ("text8", "paper", "bits per byte"),
}
PAPER = {
    text: tuple(float(paper(n_layer)[1][column]) for _, n_layer in PAPER_SHAPES)
    for text, column in COLUMNS.items()
}
BITS = ("enwik8", "text8")  # the others are perplexities


def parameters(n_embd: int, n_layer: int) -> int:
    return 12 * n_layer * n_embd**2


def train(shape: tuple[int, int, int], args: argparse.Namespace) -> Path:
    """The directory of a trained model of the ladder: begun, gone on with, or complete."""
    n_embd, n_layer, n_head = shape
    out = args.runs / str(parameters(n_embd, n_layer))
    rate = args.lr * (192 / n_embd) ** 0.5
    command = [sys.executable, "-m", "minigpt2.train", "--out", out]
    command += ["--data", *args.data, "--valid", args.unseen]
    if (out / "training.safetensors").exists():
        command += ["--resume"]
    else:
        command += ["--n-embd", n_embd, "--n-layer", n_layer, "--n-head", n_head]
        command += ["--n-ctx", N_CTX, "--batch-size", WINDOWS, "--steps", args.steps]
        command += ["--lr", f"{rate:.6f}", "--warmup", args.steps // 20]
    if not finished(out, args.steps):
        ended = subprocess.run([str(part) for part in command], check=False)
        if ended.returncode or not finished(out, args.steps):
            fail(f"training of {out} ended with status {ended.returncode}")
    return out


def log(out: Path) -> list[dict[str, str]]:
    try:
        return list(csv.DictReader((out / "log.csv").open(encoding="utf-8")))
    except FileNotFoundError:
        return []


def finished(out: Path, steps: int) -> bool:
    rows = log(out)
    return bool(rows) and int(rows[-1]["step"]) >= steps


def bits_per_byte(out: Path, unseen: Path) -> float:
    command = [sys.executable, "-m", "minigpt2.score", unseen, "--model", out, "--json"]
    printed = subprocess.run(
        [str(part) for part in command], check=True, capture_output=True, text=True
    )
    return float(json.loads(printed.stdout)["bits_per_byte"])


def climb(args: argparse.Namespace) -> list[tuple[int, float]]:
    """Train and score the ladder: parameters without embeddings, bits per byte. Both
    are written to scaling.csv, and what was seen on the way to scaling-log.csv."""
    found: list[tuple[int, float]] = []
    logs = ["parameters,step,loss,valid"]
    for shape in LADDER[: args.rungs]:
        n = parameters(*shape[:2])
        notice(f"rung {len(found) + 1} of {args.rungs}: {n:,} parameters")
        out = train(shape, args)
        found.append((n, bits_per_byte(out, args.unseen)))
        seen = [row for row in log(out) if row["valid"]]
        logs += [f"{n},{row['step']},{row['loss']},{row['valid']}" for row in seen]
    rows = ["parameters,bits_per_byte", *(f"{n},{bits:.6f}" for n, bits in found)]
    for name, lines in ("scaling.csv", rows), ("scaling-log.csv", logs):
        replace(args.to / name, ["".join(f"{line}\n" for line in lines).encode()])
    return found


def ladder_table(rungs: list[tuple[int, float]]) -> list[str]:
    """What was measured, the two laws, and the largest as the others predict it."""
    n, loss = (np.array(column, float) for column in zip(*rungs, strict=True))
    lines = ["| parameters without embeddings | bits per byte |", "|---:|---:|"]
    lines += [f"| {size:,} | {bits:.4f} |" for size, bits in rungs]
    lines += ["", "| law | α | E | the largest, from the others | measured |"]
    lines += ["|---|---:|---:|---:|---:|"]
    for name, fit, free, _ in FITS:
        law, (laws, _) = fit(n, loss), redrawn(fit, n, loss, free)
        alpha, lowest = (
            "{:.3f} ({:.3f} to {:.3f})".format(value, *middle_95(getattr(laws, key)))
            for key, value in (("alpha", law.alpha), ("lowest", law.lowest))
        )
        lowest = lowest if free == 3 else ""
        guess = "{:.4f} ({:.4f} to {:.4f})".format(
            *predicted(fit, n[:-1], loss[:-1], free, n[-1])
        )
        lines.append(f"| {name} | {alpha} | {lowest} | {guess} | {loss[-1]:.4f} |")
    return lines


def paper_losses() -> dict[str, np.ndarray]:
    """Of each text and size, nats per word (or token), or bits."""
    return {
        name: np.array(values) if name in BITS else np.log(values)
        for name, values in PAPER.items()
    }


def paper_table() -> list[str]:
    """What the two smallest models of the paper predict for the full one."""
    n = np.array([parameters(*shape) for shape in PAPER_SHAPES], float)
    lines = ["| text | α | predicted for 1542M | the paper's | loss off by |"]
    lines += ["|---|---:|---:|---:|---:|"]
    for name, loss in paper_losses().items():
        law = power_law(n[:2], loss[:2])
        guess = float(law(n)[3])
        shown = guess if name in BITS else np.exp(guess)
        off = guess / loss[3] - 1
        lines.append(
            f"| {name} | {law.alpha:.3f} | {shown:.2f} | {PAPER[name][3]} | {off:+.1%} |"
        )
    return lines


def ladder_plot(rungs: list[tuple[int, float]]) -> str:
    n, loss = (np.array(column, float) for column in zip(*rungs, strict=True))
    xs = np.geomspace(n[0] / 1.5, n[-1] * 4, 60)
    plot = Plot(
        "Bits per byte of an unseen book, over the size of the model",
        ("parameters without embeddings", float(xs[0]), float(xs[-1])),
        ("bits per byte", float(loss.min() * 0.88), float(loss.max() * 1.05)),
        log=True,
    )
    for name, fit, free, colour in FITS:
        laws, _ = redrawn(fit, n[:-1], loss[:-1], free)
        low, high = middle_95(laws(xs))
        plot.band(pairs(xs, low), pairs(xs, high), colour)
        law = fit(n[:-1], loss[:-1])
        plot.curve(pairs(xs, law(xs)), colour, f"{name}, from the smaller ones")
    plot.dots(rungs[:-1], "#000", "trained")
    plot.dots(rungs[-1:], "#080", "the largest, which the laws have not seen")
    return plot.svg()


def paper_plot() -> str:
    n = np.array([parameters(*shape) for shape in PAPER_SHAPES], float)
    losses = paper_losses()
    every = np.concatenate(list(losses.values()))
    plot = Plot(
        "GPT-2's four sizes: the paper's figures, and what the two smallest predict",
        ("parameters without embeddings", n[0] / 1.3, n[-1] * 1.3),
        ("nats per word (bits per byte)", every.min() * 0.9, every.max() * 2.4),
        log=True,
    )
    colours = ("#c22", "#06c", "#080", "#a0a", "#b60", "#099", "#666")
    for (name, loss), colour in zip(losses.items(), colours, strict=True):
        law = power_law(n[:2], loss[:2])
        plot.curve(pairs(n, law(n)), colour, name, dashed=True)
        plot.dots(pairs(n, loss), colour)
    return plot.svg()


def pairs(x: np.ndarray, y: np.ndarray) -> list[tuple[float, float]]:
    return list(zip(x.tolist(), y.tolist(), strict=True))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    add = parser.add_argument
    add("--data", nargs="+", type=Path, metavar="PATH", help="to train on")
    add("--unseen", type=Path, metavar="FILE", help="to measure on")
    add("--runs", type=Path, default=Path("weights/scaling"), metavar="DIR")
    add("--steps", type=int, default=4000, help="of 2,048 tokens (default 4000)")
    add("--lr", type=float, default=0.003, help="at n_embd 192 (default 0.003)")
    add("--rungs", type=int, default=len(LADDER), help="of the ladder (default all)")
    add("--from-csv", type=Path, metavar="FILE", help="the figures of an earlier run")
    add("--to", type=Path, default=HERE, metavar="DIR", help="where results go")
    args = parser.parse_args()
    if not 4 <= args.rungs <= len(LADDER):
        fail(f"rungs is {args.rungs}, expected 4 to {len(LADDER)}")
    try:
        if args.from_csv:
            with args.from_csv.open(encoding="utf-8", newline="") as file:
                rungs = [
                    (int(n), float(bits)) for n, bits in list(csv.reader(file))[1:]
                ]
        elif args.data and args.unseen:
            rungs = climb(args)
        else:
            parser.error("--data and --unseen are needed, or --from-csv")
        print(*ladder_table(rungs), "", *paper_table(), sep="\n")
        replace(args.to / "scaling.svg", [ladder_plot(rungs).encode()])
        replace(args.to / "scaling-paper.svg", [paper_plot().encode()])
    except (OSError, ValueError) as problem:
        fail(problem)


if __name__ == "__main__":
    run(main)
