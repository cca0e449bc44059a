"""Lines over a quantity that was varied: shots, or a setting of a method."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import FuncFormatter, NullLocator

from reports.charts import SETTINGS, Point, as_svg, drawn, padded, plane
from reports.labels import any_script
from reports.text import short

LINE_PIXELS = 17
"""From one label to the next, at 100 dots an inch."""


def curves(name: str, lines: Mapping[str, Sequence[Point]], x_label: str, y_label: str) -> str:
    """A line a label through its points, with 95 % intervals; named at its right end."""
    ordered = {label: sorted(points, key=lambda p: p.x) for label, points in lines.items()}
    every = [p for points in ordered.values() for p in points]
    with mpl.rc_context(SETTINGS):
        figure, axes = plane(x_label, y_label)
        _across(axes, sorted({p.x for p in every}))
        for points in ordered.values():
            _line(axes, points)
        axes.set_ylim(*padded(_legible(every), "y"))
        drawn(figure)
        with any_script():
            _name(axes, [points[-1] for points in ordered.values()])
        return as_svg(figure, name)


def _legible(points: Sequence[Point]) -> list[Point]:
    """The points with margins no larger than what the lines themselves span: wider bands run out of the frame."""
    span = max(max(p.y for p in points) - min(p.y for p in points), 4.0)
    return [replace(p, y_margin=min(p.y_margin or 0.0, span)) for p in points]


def _name(axes: Axes, ends: Sequence[Point]) -> None:
    """Each line's name right of its end, pushed up where the one below is too near."""
    above = -np.inf
    for point in sorted(ends, key=lambda p: p.y):
        height = axes.transData.transform((point.x, point.y))[1]
        above = max(height, above + LINE_PIXELS)
        axes.annotate(short(point.label, 26), (point.x, point.y), (10, (above - height) * 0.72), va="center_baseline",
                      textcoords="offset points", gid=point.style.key, zorder=5)  # fmt: skip


def _across(axes: Axes, values: Sequence[float]) -> None:
    """Ticks at the values measured, and room for names on the right; logarithmic where they grow by factors."""
    if values[0] > 0 and values[-1] >= 8 * values[0]:
        axes.set_xscale("log")
        axes.set_xlim(values[0] / 1.15, values[-1] * (values[-1] / values[0]) ** 0.35)
    else:
        span = (values[-1] - values[0]) or 1
        axes.set_xlim(values[0] - 0.05 * span, values[-1] + 0.35 * span)
    axes.set_xticks(values)
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.12g}"))


def _line(axes: Axes, points: Sequence[Point]) -> None:
    style = points[0].style
    x, y = [p.x for p in points], [p.y for p in points]
    margins = np.array([p.y_margin or 0.0 for p in points])
    for drawing in (
        axes.fill_between(x, y - margins, y + margins, color=style.colour, alpha=0.12, linewidth=0, zorder=2),
        *axes.plot(x, y, color=style.colour, linewidth=1.6, zorder=3),
        *axes.plot(x, y, style.marker, color=style.colour, markersize=6.5, markeredgewidth=0, zorder=4),
    ):
        drawing.set_gid(style.key)
