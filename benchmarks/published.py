"""What the GPT-2 paper and others have measured: the figures to compare with.

A figure's name is its text, its reading (zero_shot.py) and what it is.
"""

Name = tuple[str, str, str]

# The columns of the paper's table 3, and its rows, by the n_layer of the checkpoints
COLUMNS: tuple[Name, ...] = (
    ("lambada", "last token", "perplexity"),
    ("lambada", "last token", "accuracy, %"),
    ("cbt-cn", "paper", "accuracy, %"),
    ("cbt-ne", "paper", "accuracy, %"),
    ("wikitext2", "paper", "perplexity per token"),
    ("ptb", "paper", "perplexity per word"),
    ("enwik8", "paper", "bits per byte"),
    ("text8", "paper", "bits per byte"),
    ("wikitext103", "paper", "perplexity per word"),
    ("1bw", "paper", "perplexity per word"),
)
PAPER = {
    12: "117M  35.13 45.99 87.65 83.4  29.41 65.85 1.16 1.17 37.50 75.20",
    24: "345M  15.60 55.48 92.35 87.1  22.76 47.33 1.01 1.06 26.37 55.72",
    36: "762M  10.87 60.12 93.45 88.0  19.93 40.31 0.97 1.02 22.05 44.575",
    48: "1542M  8.63 63.24 93.30 89.05 18.34 35.76 0.93 0.98 17.48 42.16",
}
# of the released 124M model: what others measured, and where they say so
OTHERS: dict[Name, tuple[str, str]] = {
    ("wikitext103", "paper", "perplexity per word"): ("37.37", "transformers#13761"),
    ("wikitext2", "plain", "perplexity per token"): ("29.94", "transformers#13761"),
    ("ptb", "plain", "perplexity per token"): ("52.53", "transformers#13786"),
    ("ptb", "plain", "perplexity per word"): ("79.65", "transformers#13786"),
    ("lambada", "last word", "perplexity"): ("40.0554", "lm-evaluation-harness#2159"),
    ("lambada", "last word", "accuracy, %"): ("32.56", "lm-evaluation-harness#2159"),
    ("lambada", "last token", "accuracy, %"): ("46.67", "transformers#13761"),
    ("cbt-cn", "paper", "accuracy, %"): ("84.35", "transformers#13761"),
    ("cbt-ne", "paper", "accuracy, %"): ("73.65", "transformers#13761"),
}


def paper(n_layer: int) -> tuple[str, dict[Name, str]]:
    """The size's name in the paper and its figures; of an unknown size, the smallest's."""
    size, *figures = PAPER.get(n_layer, PAPER[12]).split()
    return size, dict(zip(COLUMNS, figures, strict=True))


def header(n_layer: int) -> str:
    size, _ = paper(n_layer)
    titles = ["text", "reading", "figure", "of", "measured", f"paper, {size}"]
    titles += ["difference", "others, 124M", "difference", "source"]
    return f"| {' | '.join(titles)} |\n|---|---|---|{'---:|' * 6}---|"


def row(name: Name, value: float, of: str, n_layer: int) -> str:
    """A line of the table: the figure, the paper's and others', and the differences."""
    known = paper(n_layer)[1].get(name, "")
    other, source = OTHERS.get(name, ("", ""))
    first, second = (f"{value - float(x):+.2f}" if x else "" for x in (known, other))
    cells = [*name, of, f"{value:,.3f}", known, first, other, second, source]
    return f"| {' | '.join(cells)} |"
