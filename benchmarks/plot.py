"""Points, lines and bands → a drawing on two scales, as SVG."""

import math
from collections.abc import Sequence

from minigpt2.learning.curve import text

Points = Sequence[tuple[float, float]]
WIDTH, HEIGHT = 640, 400
LEFT, RIGHT, TOP, BOTTOM = 64, 16, 40, 48  # margins


class Plot:
    """A drawing in which x and y go over ranges (low, high), in logarithms or not.

    What is outside the ranges is cut off. Every shape may have a name, in the legend: at
    the top right, or, if `low`, at the bottom right, the last at the bottom.
    """

    def __init__(
        self,
        title: str,
        x: tuple[str, float, float],
        y: tuple[str, float, float],
        log: bool = False,
        low: bool = False,
    ) -> None:
        self.log, self.low = log, low
        self.legend: list[tuple[str, str]] = []  # names and colours
        (x_title, *self.x), (y_title, *self.y) = x, y
        middle = (TOP + HEIGHT - BOTTOM) / 2
        self.shapes = [
            text(WIDTH / 2, 20, "middle", title),
            text(WIDTH / 2, HEIGHT - 10, "middle", x_title),
            f'<g transform="rotate(-90 16 {middle})">',
            text(16, middle, "middle", y_title),
            "</g>",
        ]
        for value in ticks(*self.x, log):
            at = self.place(value, self.y[0])
            self.shapes.append(line([at, (at[0], TOP)], "#ddd"))
            self.shapes.append(text(at[0], HEIGHT - 30, "middle", short(value)))
        for value in ticks(*self.y, log):
            at = self.place(self.x[0], value)
            self.shapes.append(line([at, (WIDTH - RIGHT, at[1])], "#ddd"))
            self.shapes.append(text(LEFT - 6, at[1] + 4, "end", short(value)))

    def place(self, x: float, y: float) -> tuple[float, float]:
        """Where a point is in the drawing."""
        found = []
        for value, (low, high) in (x, self.x), (y, self.y):
            value = min(max(value, low), high)
            if self.log:
                value, low, high = math.log(value), math.log(low), math.log(high)
            found.append((value - low) / (high - low))
        return (
            LEFT + found[0] * (WIDTH - LEFT - RIGHT),
            HEIGHT - BOTTOM - found[1] * (HEIGHT - TOP - BOTTOM),
        )

    def curve(
        self, points: Points, colour: str, name: str = "", dashed: bool = False
    ) -> None:
        places = [self.place(*point) for point in points]
        self.shapes.append(line(places, colour, 2, dashed))
        self.name(colour, name)

    def band(self, low: Points, high: Points, colour: str, name: str = "") -> None:
        places = [self.place(*point) for point in [*low, *reversed(high)]]
        fill = f'fill="{colour}" fill-opacity="0.2"'
        self.shapes.append(f'<polygon points="{joined(places)}" {fill}/>')
        self.name(colour, name)

    def dots(self, points: Points, colour: str, name: str = "") -> None:
        for x, y in (self.place(*point) for point in points):
            circle = f'cx="{x:.1f}" cy="{y:.1f}" r="4" fill="{colour}"'
            self.shapes.append(f"<circle {circle}/>")
        self.name(colour, name)

    def name(self, colour: str, name: str) -> None:
        if name:
            self.legend.append((name, colour))

    def svg(self) -> str:
        box = f'viewBox="0 0 {WIDTH} {HEIGHT}" font-family="sans-serif" font-size="12"'
        first = f'<svg xmlns="http://www.w3.org/2000/svg" {box}>'
        paper = f'<rect width="{WIDTH}" height="{HEIGHT}" fill="white"/>'
        top = HEIGHT - BOTTOM - 16 * len(self.legend) - 12 if self.low else TOP
        names = [
            text(WIDTH - RIGHT - 8, top + 16 * i, "end", *named)
            for i, named in enumerate(self.legend, start=1)
        ]
        return "\n".join([first, paper, *self.shapes, *names, "</svg>", ""])


def line(places: Points, colour: str, width: float = 1, dashed: bool = False) -> str:
    look = f'fill="none" stroke="{colour}" stroke-width="{width}"'
    dashes = ' stroke-dasharray="6 4"' if dashed else ""
    return f'<polyline points="{joined(places)}" {look}{dashes}/>'


def joined(places: Points) -> str:
    return " ".join(f"{x:.1f},{y:.1f}" for x, y in places)


def ticks(low: float, high: float, log: bool) -> list[float]:
    """Round values from low to high: 1, 2 and 5 times powers of ten, few of them."""
    if log and high > 4 * low:
        powers = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
        for steps in (1, 2, 5), (1,):
            found = [step * 10.0**power for power in powers for step in steps]
            found = [value for value in found if low <= value <= high]
            if len(found) <= 10:
                break
        return found
    power = math.floor(math.log10(high - low)) - 1
    for step in (number * 10.0**power for number in (1, 2, 5, 10, 20, 50)):
        first, last = math.ceil(low / step), math.floor(high / step)
        if last - first <= 7:
            break
    return [step * i for i in range(first, last + 1)]


def short(value: float) -> str:
    """100 million as 100 M."""
    for unit, sign in (1e9, " G"), (1e6, " M"), (1e3, " k"):
        if value >= unit:
            return f"{value / unit:.3g}{sign}"
    return f"{value:.3g}"
