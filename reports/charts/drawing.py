"""Series to SVG by matplotlib, as text: no global figure, no date, the same picture for the same numbers."""

from __future__ import annotations

import io
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from html import escape
from itertools import pairwise
from typing import Any, Literal

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullLocator
from matplotlib.transforms import Bbox

from reports.charts.labels import any_script, place_labels
from reports.charts.svg import INK, inline, with_marks
from reports.format.styles import Style
from reports.format.text import short

SIZE_INCHES = (5.2, 4.2)
FONT_POINTS = 11.5
SETTINGS: dict[Any, Any] = {
    "svg.fonttype": "none",
    "svg.hashsalt": "adaptbench",
    "text.parse_math": False,
    "font.size": FONT_POINTS,
    "font.family": "DejaVu Sans",
    "axes.edgecolor": INK,
    "axes.labelcolor": INK,
    "text.color": INK,
    "xtick.color": INK,
    "ytick.color": INK,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.linewidth": 0.8,
}
ROUND = (1, 2, 2.5, 5, 10)
"""Steps of an axis, times a power of ten."""
AXIS_LETTERS = 45
"""So many digits have room beneath an axis."""


@dataclass(frozen=True, slots=True)
class Point:
    """One method in a plane; margins are half the widths of 95 % intervals, None where there is none. `says`: its figures."""

    label: str
    style: Style
    x: float
    y: float
    x_margin: float | None = None
    y_margin: float | None = None
    says: str = ""


def pareto(points: Sequence[Point], free: Sequence[Point] = ()) -> list[Point]:
    """The points that no other beats in both (lower x, higher y), by x. Those that are `free` beat all that is no higher."""
    front: list[Point] = []
    highest = max((p.y for p in free), default=-np.inf)
    for point in sorted(points, key=lambda p: (p.x, -p.y)):
        if point.y > highest:
            front.append(point)
            highest = point.y
    return front


def against_cost(
    name: str, points: Sequence[Point], cost: str, units: Sequence[tuple[str, float]], score: str, free: Sequence[Point]
) -> str:
    """Score (up is better) against a cost (left is better), the Pareto front marked; what is free as a line at its score."""
    unit, scale = _unit(units, [p.x for p in points])
    scaled = [replace(p, x=p.x / scale, x_margin=p.x_margin and p.x_margin / scale) for p in points]
    with mpl.rc_context(SETTINGS):
        figure, axes = plane(f"{cost}, {unit}", score)
        _cost_axis(axes, [p.x for p in scaled])
        front = pareto(scaled, free)
        _markers(axes, scaled)
        axes.set_ylim(*padded([*scaled, *free], "y"))
        canvas = drawn(figure)
        levels = [_level(canvas, axes, level) for level in free]
        place_labels(canvas, axes, scaled, _steps(axes, front), levels)
        return with_marks(as_svg(figure, name), [*_step(axes, front), *_free(axes, free), *_marks(axes, scaled, front)])


def base_against_new(name: str, points: Sequence[Point]) -> str:
    """The base-new plane with lines of equal harmonic mean H."""
    with mpl.rc_context(SETTINGS):
        figure, axes = plane("Base accuracy, %", "New accuracy, %")
        _markers(axes, points)
        axes.set_xlim(*padded(points, "x"))
        axes.set_ylim(*padded(points, "y"))
        canvas = drawn(figure)
        place_labels(canvas, axes, points, [], _contours(canvas, axes))
        return with_marks(as_svg(figure, name), _marks(axes, points))


def _unit(units: Sequence[tuple[str, float]], values: Sequence[float]) -> tuple[str, float]:
    """The largest unit that the middle of the values, in orders of magnitude, is at least one of."""
    middle = np.sqrt(max(values) * max(min(values), max(values) / 100))
    return next((unit for unit in units if middle >= unit[1]), units[-1])


def plane(x_label: str, y_label: str) -> tuple[Figure, Axes]:
    """An empty figure of the page's size and style."""
    figure = Figure(figsize=SIZE_INCHES, layout="constrained")
    figure.patch.set_alpha(0)
    axes = figure.add_subplot()
    axes.patch.set_alpha(0)
    axes.set_xlabel(x_label)
    axes.set_ylabel(y_label)
    axes.xaxis.set_major_locator(MaxNLocator(7, steps=ROUND))
    axes.grid(color=INK, alpha=0.1, linewidth=0.7)
    axes.set_axisbelow(True)
    axes.tick_params(length=3)
    axes.yaxis.set_major_locator(MaxNLocator(7, steps=ROUND))
    return figure, axes


def _cost_axis(axes: Axes, values: Sequence[float]) -> None:
    """From zero, or logarithmic where the values span more than a decade."""
    smallest, largest = min(values), max(values)
    if 0 < smallest * 10 < largest:
        low, high = smallest / 1.6, largest * 1.9
        decade = AXIS_LETTERS / np.log10(high / low) / (1 + len(f"{high:,.0f}"))
        axes.set_xscale("log")
        axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5) if decade > 3 else (1, 3) if decade > 2 else (1,)))
        axes.xaxis.set_minor_locator(NullLocator())
        axes.set_xlim(low, high)
    else:
        axes.set_xlim(0, largest * 1.18 or 1)
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.12g}"))


def padded(points: Sequence[Point], axis: Literal["x", "y"]) -> tuple[float, float]:
    """Limits of an accuracy axis with room around the points and their error bars."""
    found = [(getattr(p, axis), getattr(p, f"{axis}_margin") or 0.0) for p in points]
    low = min(*(value - spread for value, spread in found), 100.0)
    high = max(*(value + spread for value, spread in found), 0.0)
    pad = max(0.12 * (high - low), 0.5)
    return max(low - pad, 0), min(high + pad, 100 + pad / 4)


def _marks(axes: Axes, points: Sequence[Point], front: Sequence[Point] = ()) -> Iterator[str]:
    """A circle around each point that tells its figures, drawn where it is on the front; the script draws the front anew."""
    for p in points:
        x, y = _in_svg(axes, p)
        kind = ' class="front"' if p in front else ""
        yield (f'<circle{kind} cx="{x:.1f}" cy="{y:.1f}" r="6.7" data-row="{p.style.key}" data-name="{escape(p.label)}">'
               f"<title>{escape(p.says or p.label)}</title></circle>")  # fmt: skip


def _step(axes: Axes, front: Sequence[Point]) -> Iterator[str]:
    """The front's line: across to the next point, then up to it."""
    corners = [_in_svg(axes, p) for p in front]
    steps = "".join(f"H{x:.1f}V{y:.1f}" for x, y in corners[1:])
    yield f'<path class="step" d="{f"M{corners[0][0]:.1f} {corners[0][1]:.1f}" if corners else ""}{steps}"/>'


def _free(axes: Axes, free: Sequence[Point]) -> Iterator[str]:
    """Where the levels are that every front begins above."""
    for p in free:
        yield f'<path class="free" data-row="{p.style.key}" data-level="{_in_svg(axes, p)[1]:.1f}"/>'


def _in_svg(axes: Axes, p: Point) -> tuple[float, float]:
    """Where a point is in the picture, whose unit is 1/72 inch and whose y goes down."""
    figure = axes.get_figure(root=True)
    assert figure
    x, y = axes.transData.transform((p.x, p.y)) * 72 / figure.dpi
    return float(x), float(72 * figure.get_size_inches()[1] - y)


def _markers(axes: Axes, points: Sequence[Point]) -> None:
    for p in points:
        _bars(axes, p)
        (drawn,) = axes.plot(
            p.x, p.y, p.style.marker, color=p.style.colour, markersize=7.5, markeredgewidth=0, zorder=4
        )
        drawn.set_gid(p.style.key)


def _bars(axes: Axes, p: Point) -> None:
    """Error bars, cut off where an axis has no room for them: logarithms have no zero."""
    left = min(p.x_margin or 0.0, 0.95 * p.x)
    across = [[left], [p.x_margin]] if p.x_margin else None
    bars = axes.errorbar(p.x, p.y, p.y_margin, across, color=p.style.colour, elinewidth=1.2, capsize=0, zorder=3)
    for line in bars[2]:
        line.set_gid(p.style.key)


def _level(canvas: FigureCanvasAgg, axes: Axes, level: Point) -> Bbox:
    """A line across at a point's score; returns where its label is, in pixels."""
    line = axes.axhline(level.y, color=level.style.colour, linewidth=1, linestyle=(0, (4, 3)), zorder=1)
    line.set_gid(level.style.key)
    text = axes.annotate(short(level.label, 26), (1, level.y), (0, 4), xycoords=("axes fraction", "data"),
                         textcoords="offset points", ha="right", alpha=0.7, gid=level.style.key)  # fmt: skip
    return text.get_window_extent(canvas.get_renderer())


def _contours(canvas: FigureCanvasAgg, axes: Axes) -> list[Bbox]:
    """Lines of equal H; returns where their labels are, in pixels."""
    (left, right), (bottom, top) = axes.get_xlim(), axes.get_ylim()
    base, new = np.meshgrid(np.linspace(max(left, 0.1), right, 80), np.linspace(max(bottom, 0.1), top, 80))
    h = 2 * base * new / (base + new)
    levels = MaxNLocator(6, steps=ROUND).tick_values(h.min(), h.max())
    lines = axes.contour(base, new, h, levels=levels, colors=INK, alpha=0.28, linewidths=0.8, zorder=1)
    texts = axes.clabel(lines, fmt=lambda level: f"H {level:g}", fontsize=FONT_POINTS - 1.5, colors=INK)
    for text in texts:
        text.set_alpha(0.7)
    return [text.get_window_extent(canvas.get_renderer()) for text in texts]


def _steps(axes: Axes, front: Sequence[Point]) -> list[Bbox]:
    """The Pareto line's segments, in pixels."""
    corners = [axes.transData.transform((p.x, p.y)) for p in front]
    pairs = list(pairwise(corners))
    level = [Bbox.from_extents(x, y - 2, next_x, y + 2) for (x, y), (next_x, _) in pairs]
    return level + [Bbox.from_extents(x - 2, y, x + 2, top) for (_, y), (x, top) in pairs]


def drawn(figure: Figure) -> FigureCanvasAgg:
    """A canvas on which the figure has its final layout, so that pixels mean something."""
    canvas = FigureCanvasAgg(figure)
    figure.draw_without_rendering()
    figure.set_layout_engine("none")
    return canvas


def as_svg(figure: Figure, name: str) -> str:
    """The figure as an element for the page; `name` keeps its ids apart from others'."""
    buffer = io.StringIO()
    with any_script():
        FigureCanvasSVG(figure).print_svg(
            buffer, metadata={"Date": None, "Creator": None, "Format": None, "Type": None}
        )
    return inline(buffer.getvalue(), name)
