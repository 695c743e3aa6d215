"""Figures of two kinds of passages → ROC curves and the areas under them: tables, pictures."""

from collections.abc import Sequence

import numpy as np
from plot import Plot

from minigpt2.model import Array

FIGURES = "likely", "top 10", "expected"  # detector.py says what they are
FALSE_ALARMS = 0.05
COLOURS = "#c22", "#06c", "#080", "#a0a", "#b60", "#099", "#666"
Models = dict[str, Array]  # by their names: figures (3, lengths, n)


def area(own: Array, others: Array) -> tuple[float, float]:
    """The area under the ROC curve, and its standard error; figures (n,) of the model's
    passages and of people's, pair by pair.

    It is the mean over all n² pairs of whether the model's is higher (ties count half).
    How much of it each passage makes, less the mean, is what DeLong's variance is of.
    """
    higher = (own[:, None] > others) + 0.5 * (own[:, None] == others)  # (n, n)
    parts = higher.mean(axis=1) + higher.mean(axis=0)
    return float(higher.mean()), float(parts.std(ddof=1) / np.sqrt(len(parts)))


def roc(own: Array, others: Array) -> list[tuple[float, float]]:
    """The curve: false alarms and finds, in percent, for each threshold from the top."""
    thresholds = np.unique(np.concatenate([own, others]))[::-1]
    rates = [(np.mean(others >= t), np.mean(own >= t)) for t in thresholds]
    return [(100 * float(x), 100 * float(y)) for x, y in [(0.0, 0.0), *rates]]


def area_table(people: Array, models: Models, lengths: Sequence[int]) -> list[str]:
    heads = [f"{name} | ±" for name in FIGURES]
    lines = [f"| the model's, at | tokens | {' | '.join(heads)} |"]
    lines += ["|---|---:|" + "---:|" * 2 * len(FIGURES)]
    for name, found in models.items():
        for i, length in enumerate(lengths):
            areas = [area(found[f, i], people[f, i]) for f in range(len(FIGURES))]
            cells = [f"{value:.3f}" for pair in areas for value in pair]
            lines.append(f"| {name} | {length} | {' | '.join(cells)} |")
    return lines


def fooled_table(people: Array, found: Models, lengths: Sequence[int]) -> list[str]:
    """Of each kind of passage, how many in a hundred are called the model's by a figure."""
    heads = [f"{FIGURES[f]}, {n}" for f in (0, 2) for n in lengths]
    lines = [f"| passages | {' | '.join(heads)} |"]
    lines += ["|---|" + "---:|" * len(heads)]
    thresholds = np.quantile(people, 1 - FALSE_ALARMS, axis=2)  # (3, lengths)
    for name, figures in {"people's: the unseen book": people, **found}.items():
        called = 100 * (figures > thresholds[..., None]).mean(axis=2)  # (3, lengths)
        cells = [f"{called[f, i]:.0f}" for f in (0, 2) for i in range(len(lengths))]
        lines.append(f"| {name} | {' | '.join(cells)} |")
    return lines


def roc_plot(people: Array, models: Models, lengths: Sequence[int]) -> str:
    """The curves of “likely”, of the first kind of the model's and, dashed, the second."""
    names = list(models)[:2]
    plot = Plot(
        f"How many passages are found: {', dashed: '.join(names)}",
        ("people's passages that are accused, %", 0, 100),
        ("the model's passages that are found, %", 0, 100),
        low=True,
    )
    plot.curve([(0, 0), (100, 100)], "#999", "a coin", dashed=True)
    for dashed, name in enumerate(names):
        for i, length in enumerate(lengths):
            found = models[name][0, i], people[0, i]
            title = "{} tokens: {:.3f} ± {:.3f}".format(length, *area(*found))
            colour = COLOURS[i % len(COLOURS)]
            plot.curve(roc(*found), colour, title, dashed=bool(dashed))
    return plot.svg()


def area_plot(people: Array, models: Models, lengths: Sequence[int]) -> str:
    plot = Plot(
        "The area under the curve, over the length of a passage (± standard error)",
        ("tokens read", 0, max(lengths) * 1.05),
        ("area under the ROC curve of “likely”", 0, 1.05),
        low=True,
    )
    plot.curve([(0, 0.5), (max(lengths) * 1.05, 0.5)], "#999", "a coin", dashed=True)
    for (name, figures), colour in zip(models.items(), COLOURS * len(models)):
        found = [area(figures[0, i], people[0, i]) for i in range(len(lengths))]
        low, high, middle = (
            [(n, x + sign * error) for n, (x, error) in zip(lengths, found)]
            for sign in (-1, 1, 0)
        )
        plot.band(low, high, colour)
        plot.curve(middle, colour, name)
        plot.dots(middle, colour)
    return plot.svg()
