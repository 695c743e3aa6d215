"""A log of losses → a drawing of the loss curve, as SVG."""

from collections.abc import Sequence
from dataclasses import dataclass

WIDTH, HEIGHT, MARGIN = 640, 360, 56
LEFT, RIGHT, BOTTOM = MARGIN, WIDTH - MARGIN, HEIGHT - MARGIN
LINE = 16  # of text


@dataclass
class Curve:
    """Points (x, y) and the text beside them: the values at the bottom and the top of
    the drawing, by default its lowest and its highest, on the left or on the right."""

    title: str
    colour: str
    points: Sequence[tuple[float, float]]
    scale: tuple[float, float] | None = None
    right: bool = False


def text(x: float, y: float, anchor: str, content: str, fill: str = "#000") -> str:
    place = f'x="{x}" y="{y}" text-anchor="{anchor}"'
    return f'<text {place} fill="{fill}">{content}</text>'


def draw(curves: Sequence[Curve], last: float, x_title: str) -> str:
    """Curves over x from 0 to `last`, each with its latest value: the text of an SVG."""
    box = f'viewBox="0 0 {WIDTH} {HEIGHT}" font-family="sans-serif" font-size="12"'
    drawing = [
        f'<svg xmlns="http://www.w3.org/2000/svg" {box}>',
        f'<rect width="{WIDTH}" height="{HEIGHT}" fill="white"/>',
        text(WIDTH / 2, HEIGHT - LINE, "middle", x_title),
    ]
    top = (len(curves) + 2) * LINE
    labels: dict[object, str] = {}  # of the scales: two curves may have one
    for i, curve in enumerate(curves, start=1):
        if not curve.points:
            continue
        values = [y for _, y in curve.points]
        low, high = curve.scale or (min(values), max(values))
        x_scale = (RIGHT - LEFT) / last
        y_scale = (BOTTOM - top) / ((high - low) or 1)
        path = " ".join(
            f"{LEFT + x * x_scale:.1f},{BOTTOM - (y - low) * y_scale:.1f}"
            for x, y in curve.points
        )
        line = f'fill="none" stroke="{curve.colour}" stroke-width="1.5"'
        legend = f"{curve.title}: {values[-1]:.4g}"
        drawing.append(f'<polyline points="{path}" {line}/>')
        drawing.append(text(WIDTH / 2, LINE * i, "middle", legend, curve.colour))
        x_label, anchor = (RIGHT + 6, "start") if curve.right else (LEFT - 6, "end")
        for y, value in (BOTTOM, low), (top, high):
            label = text(x_label, y, anchor, f"{value:.3g}", curve.colour)
            labels.setdefault((curve.right, y, value), label)
    return "\n".join([*drawing, *labels.values(), "</svg>", ""])


def loss_curve(log: list[dict[str, float]]) -> str:
    """Training loss in nats per token and, where known, validation in bits per byte,
    over steps: the text of an SVG.

    log: rows with step, loss and valid, the last of which may be NaN. Each curve has
    its own scale, from its lowest to its highest value: training on the left,
    validation on the right.
    """
    last = max([1.0, *(row["step"] for row in log)])
    # no NaN is less than infinity
    loss, valid = (
        [(row["step"], row[key]) for row in log if row[key] < float("inf")]
        for key in ("loss", "valid")
    )
    curves = [
        Curve("training, nats per token", "#999", loss),
        Curve("validation, bits per byte", "#c22", valid, right=True),
    ]
    return draw(curves, last, f"step (of {last:.0f})")
