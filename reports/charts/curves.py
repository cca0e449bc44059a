"""Lines over a quantity that was varied (shots, a setting of a method), or over a place (blocks, ranks)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import matplotlib as mpl
import numpy as np
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FuncFormatter, MaxNLocator, NullLocator

from reports.charts.drawing import FONT_POINTS, SETTINGS, SIZE_INCHES, Point, as_svg, drawn, padded, plane
from reports.charts.labels import any_script
from reports.format.text import short

LINE_PIXELS = 17
"""From one label to the next, at 100 dots an inch."""
NAMES_FROM_PIXELS = 26
"""From the right end of the lines to their names."""
FRAME_INCHES = (0.85, 0.75)
"""What ticks and titles take of a figure's width and height, about."""
LABEL_WIDTH = 0.085
"""What a number under the axis takes of its width."""
KEY_INCHES = 0.25
"""A line of a key."""


def curves(name: str, lines: Mapping[str, Sequence[Point]], x_label: str, y_label: str) -> str:
    """A line a label through its points, with 95 % intervals; named at its right end."""
    ordered = {label: sorted(points, key=lambda p: p.x) for label, points in lines.items()}
    every = [p for points in ordered.values() for p in points]
    with mpl.rc_context(SETTINGS):
        figure, axes = plane(x_label, y_label)
        _across(axes, sorted({p.x for p in every}), _room_for(figure, list(lines)))
        for points in ordered.values():
            _line(axes, points)
        axes.set_ylim(*padded(_legible(every), "y"))
        drawn(figure)
        with any_script():
            _name(axes, [points[-1] for points in ordered.values()])
        return as_svg(figure, name)


def profiles(
    name: str, lines: Mapping[str, Sequence[Point]], x_label: str, y_label: str, *, keys: int, logarithmic: bool = False
) -> str:
    """A line a label over whole numbers. They end too near one another, so a key below names them; it has room for `keys`."""
    with mpl.rc_context(SETTINGS), any_script():
        figure, axes = plane(x_label, y_label)
        for points in lines.values():
            _line(axes, points)
        axes.xaxis.set_major_locator(MaxNLocator(12, integer=True, steps=(1, 2, 5, 10)))
        if logarithmic:
            axes.set_yscale("log")
            axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
        else:
            axes.set_ylim(bottom=0)
        figure.set_figheight(SIZE_INCHES[1] + KEY_INCHES * -(-keys // 2))
        _key(figure, [points[0] for points in lines.values()])
        drawn(figure)
        return as_svg(figure, name)


def _key(figure: Figure, points: Sequence[Point]) -> None:
    """Which line is whose, in two columns under the axes."""
    signs = [
        Line2D([], [], color=p.style.colour, marker=p.style.marker, markeredgewidth=0, linewidth=1.6) for p in points
    ]
    key = figure.legend(signs, [short(p.label, 26) for p in points], loc="outside lower left", ncols=2, frameon=False,
                        fontsize=FONT_POINTS - 1)  # fmt: skip
    for point, sign, text in zip(points, key.legend_handles, key.get_texts(), strict=True):
        text.set_gid(point.style.key)
        if sign is not None:
            sign.set_gid(point.style.key)


def _legible(points: Sequence[Point]) -> list[Point]:
    """The points with margins no larger than what the lines themselves span: wider bands run out of the frame."""
    span = max(max(p.y for p in points) - min(p.y for p in points), 4.0)
    return [replace(p, y_margin=min(p.y_margin or 0.0, span)) for p in points]


def _room_for(figure: Figure, labels: Sequence[str]) -> float:
    """The share of the axes' width that names take; the figure grows where they would take too much, or stand too close."""
    renderer = FigureCanvasAgg(figure).get_renderer()
    texts = [figure.text(0, 0, short(label, 26)) for label in labels]
    with any_script():
        inches = (max(text.get_window_extent(renderer).width for text in texts) + NAMES_FROM_PIXELS + 4) / figure.dpi
    for text in texts:
        text.remove()
    width = max(SIZE_INCHES[0], 2 * inches + FRAME_INCHES[0])
    figure.set_size_inches(width, max(SIZE_INCHES[1], len(labels) * LINE_PIXELS / figure.dpi + FRAME_INCHES[1]))
    return inches / (width - FRAME_INCHES[0])


def _name(axes: Axes, ends: Sequence[Point]) -> None:
    """Each line's name right of all lines, at the end of a leader from its own."""
    frame, ends = axes.get_window_extent(), sorted(ends, key=lambda p: p.y)
    places = [axes.transData.transform((p.x, p.y)) for p in ends]
    heights = spread([y for _, y in places], LINE_PIXELS, frame.y0 + LINE_PIXELS / 2, frame.y1 - LINE_PIXELS / 2)
    across = max(x for x, _ in places) + NAMES_FROM_PIXELS
    for point, (x, y), height in zip(ends, places, heights, strict=True):
        line = {"arrowstyle": "-", "color": point.style.colour, "linewidth": 0.8, "shrinkA": 2, "shrinkB": 4}
        label = axes.annotate(short(point.label, 26), (point.x, point.y), ((across - x) * 0.72, (height - y) * 0.72),
                              va="center", textcoords="offset points", gid=point.style.key, zorder=5,
                              arrowprops={**line, "relpos": (0, 0.5)})  # fmt: skip
        if label.arrow_patch:
            label.arrow_patch.set_gid(point.style.key)


def spread(heights: Sequence[float], gap: float, low: float, high: float) -> list[float]:
    """`heights`, the lowest first, moved so that they are `gap` apart, or less where there is no room, and all inside."""
    gap = min(gap, (high - low) / max(len(heights) - 1, 1))
    found: list[float] = []
    for height in heights:
        found.append(max(height, found[-1] + gap if found else low))
    above = high
    for i in range(len(found) - 1, -1, -1):
        found[i] = min(found[i], above)
        above = found[i] - gap
    return found


def _across(axes: Axes, values: Sequence[float], names: float) -> None:
    """Ticks at the values measured, and `names` of the width for names on the right; logarithmic where they grow by factors."""
    more = 1.1 * names / (1 - names)
    if values[0] > 0 and values[-1] >= 8 * values[0]:
        axes.set_xscale("log")
        axes.set_xlim(values[0] / 1.15, values[-1] * (1.15 * values[-1] / values[0]) ** more)
    else:
        span = (values[-1] - values[0]) or 1
        axes.set_xlim(values[0] - 0.05 * span, values[-1] + 1.05 * more * span)
    axes.set_xticks(_apart(axes, values))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.12g}"))


def _apart(axes: Axes, values: Sequence[float]) -> list[float]:
    """The values whose labels don't run into that of the one before."""
    kept: list[float] = []
    for value in values:
        across = [
            axes.transAxes.inverted().transform(axes.transData.transform((v, 0.5)))[0] for v in (value, *kept[-1:])
        ]
        if not kept or across[0] - across[1] > LABEL_WIDTH:
            kept.append(value)
    return kept


def _line(axes: Axes, points: Sequence[Point]) -> None:
    style = points[0].style
    x, y = [p.x for p in points], [p.y for p in points]
    drawings: list[Artist] = [
        *axes.plot(x, y, color=style.colour, linewidth=1.6, zorder=3),
        *axes.plot(x, y, style.marker, color=style.colour, markersize=6.5, markeredgewidth=0, zorder=4),
    ]
    margins = np.array([p.y_margin or 0.0 for p in points])
    if margins.any():
        band = axes.fill_between(x, y - margins, y + margins, color=style.colour, alpha=0.12, linewidth=0, zorder=2)
        drawings.append(band)
    for drawing in drawings:
        drawing.set_gid(style.key)
