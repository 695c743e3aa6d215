"""A log of losses → a drawing of the loss curve, as SVG."""

WIDTH, HEIGHT, MARGIN = 640, 360, 48
LEFT, RIGHT, TOP, BOTTOM = MARGIN, WIDTH - MARGIN, MARGIN, HEIGHT - MARGIN


def text(x: float, y: float, anchor: str, content: str, fill: str = "#000") -> str:
    place = f'x="{x}" y="{y}" text-anchor="{anchor}"'
    return f'<text {place} fill="{fill}">{content}</text>'


def loss_curve(log: list[dict[str, float]]) -> str:
    """Training loss in nats per token and, where known, validation in bits per byte,
    over steps: the text of an SVG.

    log: rows with step, loss and valid, the last of which may be NaN. Each curve has
    its own scale, from its lowest to its highest value: training on the left,
    validation on the right.
    """
    last = max([1.0, *(row["step"] for row in log)])
    box = f'viewBox="0 0 {WIDTH} {HEIGHT}" font-family="sans-serif" font-size="12"'
    drawing = [
        f'<svg xmlns="http://www.w3.org/2000/svg" {box}>',
        f'<rect width="{WIDTH}" height="{HEIGHT}" fill="white"/>',
        text(WIDTH / 2, HEIGHT - 10, "middle", f"step (of {last:.0f})"),
    ]
    for key, title, colour, x_label, anchor, y_legend in (
        ("loss", "training, nats per token", "#999", LEFT - 6, "end", TOP),
        ("valid", "validation, bits per byte", "#c22", RIGHT + 6, "start", TOP + 16),
    ):
        # no NaN is less than infinity
        points = [(row["step"], row[key]) for row in log if row[key] < float("inf")]
        if not points:
            continue
        low, high = min(y for _, y in points), max(y for _, y in points)
        x_scale = (RIGHT - LEFT) / last
        y_scale = (BOTTOM - TOP) / ((high - low) or 1)
        path = " ".join(
            f"{LEFT + x * x_scale:.1f},{BOTTOM - (y - low) * y_scale:.1f}"
            for x, y in points
        )
        line = f'fill="none" stroke="{colour}" stroke-width="1.5"'
        legend = f"{title}: {points[-1][1]:.4g}"
        drawing += [
            f'<polyline points="{path}" {line}/>',
            text(x_label, BOTTOM, anchor, f"{low:.3g}", colour),
            text(x_label, TOP, anchor, f"{high:.3g}", colour),
            text(WIDTH / 2, y_legend, "middle", legend, colour),
        ]
    return "\n".join([*drawing, "</svg>", ""])
