"""Series to SVG by matplotlib, as text: no global figure, no date, the same picture for the same numbers."""

from __future__ import annotations

import io
import warnings
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Literal

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure
from matplotlib.markers import MarkerStyle
from matplotlib.text import Annotation
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullLocator
from matplotlib.transforms import Bbox

from reports.svg import INK, inline
from reports.text import short

COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")
"""Okabe and Ito's palette without black and yellow, which one of the two backgrounds would swallow."""

MARKERS = ("o", "s", "^", "D", "v", "P", "X")
REFERENCE_STYLE_COLOUR = "#8A8F98"
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

TIME_UNITS = (("hours", 3600.0), ("minutes", 60.0), ("seconds", 1.0), ("milliseconds", 1e-3))
MEMORY_UNITS = (("GiB", 2.0**30), ("MiB", 2.0**20), ("KiB", 2.0**10), ("bytes", 1.0))


@dataclass(frozen=True, slots=True)
class Style:
    """How a method is drawn, everywhere on the page: a colour and, for those who don't tell colours, a shape."""

    colour: str
    marker: str

    @property
    def outline(self) -> str:
        """The marker as an SVG path in a box from -1 to 1."""
        marker = MarkerStyle(self.marker)
        polygons = marker.get_path().transformed(marker.get_transform()).to_polygons()
        scaled = [np.asarray(polygon) / np.abs(np.concatenate(polygons)).max() for polygon in polygons]
        return " ".join("M" + "L".join(f"{x:.2f},{-y:.2f}" for x, y in polygon) + "Z" for polygon in scaled)


@dataclass(frozen=True, slots=True)
class Point:
    """One method in a plane; spreads are standard deviations, None where there is none."""

    label: str
    style: Style
    x: float
    y: float
    x_spread: float | None = None
    y_spread: float | None = None


def styles(labels: Iterable[str], references: frozenset[str]) -> dict[str, Style]:
    """A style for each label, the same for the same set of labels. References are grey."""
    names = sorted(set(labels))
    others = [name for name in names if name not in references]
    found = {name: Style(COLOURS[i % 6], MARKERS[i % 7]) for i, name in enumerate(others)}
    return found | {name: Style(REFERENCE_STYLE_COLOUR, "X") for name in names if name in references}


def pareto(points: Sequence[Point]) -> list[Point]:
    """The points that no other beats in both (lower x, higher y), by x."""
    front: list[Point] = []
    for point in sorted(points, key=lambda p: (p.x, -p.y)):
        if not front or point.y > front[-1].y:
            front.append(point)
    return front


def against_cost(
    name: str, points: Sequence[Point], cost: str, units: Sequence[tuple[str, float]], score: str, level: Point | None
) -> str:
    """Score (up is better) against a cost (left is better), the Pareto front marked, `level` as a line at its score."""
    unit, scale = _unit(units, [p.x for p in points])
    scaled = [Point(p.label, p.style, p.x / scale, p.y, None, p.y_spread) for p in points]
    with mpl.rc_context(SETTINGS):
        figure, axes = _axes(f"{cost}, {unit}", score)
        _cost_axis(axes, [p.x for p in scaled])
        _front(axes, pareto(scaled))
        _markers(axes, scaled)
        axes.set_ylim(*_padded(scaled, "y", *([level.y] if level else [])))
        canvas = _drawn(figure)
        taken = _steps(axes, pareto(scaled)) + ([_level(canvas, axes, level)] if level else [])
        _labels(canvas, axes, scaled, taken)
        return _svg(figure, name)


def base_against_new(name: str, points: Sequence[Point]) -> str:
    """The base-new plane with lines of equal harmonic mean H."""
    with mpl.rc_context(SETTINGS):
        figure, axes = _axes("Base accuracy, %", "New accuracy, %")
        _markers(axes, points)
        axes.set_xlim(*_padded(points, "x"))
        axes.set_ylim(*_padded(points, "y"))
        canvas = _drawn(figure)
        _labels(canvas, axes, points, _contours(canvas, axes))
        return _svg(figure, name)


def _unit(units: Sequence[tuple[str, float]], values: Sequence[float]) -> tuple[str, float]:
    """The largest unit that the middle of the values, in orders of magnitude, is at least one of."""
    middle = np.sqrt(max(values) * max(min(values), max(values) / 100))
    return next((unit for unit in units if middle >= unit[1]), units[-1])


def _axes(x_label: str, y_label: str) -> tuple[Figure, Axes]:
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
        decades = np.log10(largest / smallest)
        axes.set_xscale("log")
        axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5) if decades < 2.5 else (1,)))
        axes.xaxis.set_minor_locator(NullLocator())
        axes.set_xlim(smallest / 1.6, largest * 1.9)
    else:
        axes.set_xlim(0, largest * 1.18 or 1)
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.12g}"))


def _padded(points: Sequence[Point], axis: Literal["x", "y"], *also: float) -> tuple[float, float]:
    """Limits of an accuracy axis with room around the points, their error bars and `also`."""
    found = [(getattr(p, axis), getattr(p, f"{axis}_spread") or 0.0) for p in points]
    low = min(*also, *(value - spread for value, spread in found), 100.0)
    high = max(*also, *(value + spread for value, spread in found), 0.0)
    pad = max(0.12 * (high - low), 0.5)
    return max(low - pad, 0), min(high + pad, 100 + pad / 4)


def _front(axes: Axes, front: Sequence[Point]) -> None:
    x, y = [p.x for p in front], [p.y for p in front]
    axes.step(x, y, where="post", color=INK, alpha=0.45, linewidth=1.3, zorder=2)
    axes.scatter(x, y, s=170, facecolors="none", edgecolors=INK, linewidths=1, alpha=0.55, zorder=2)


def _markers(axes: Axes, points: Sequence[Point]) -> None:
    for p in points:
        axes.errorbar(p.x, p.y, p.y_spread, p.x_spread, color=p.style.colour, elinewidth=1.2, capsize=0, zorder=3)
        axes.plot(p.x, p.y, p.style.marker, color=p.style.colour, markersize=7.5, markeredgewidth=0, zorder=4)


def _level(canvas: FigureCanvasAgg, axes: Axes, level: Point) -> Bbox:
    """A line across at a point's score; returns where its label is, in pixels."""
    axes.axhline(level.y, color=level.style.colour, linewidth=1, linestyle=(0, (4, 3)), zorder=1)
    text = axes.annotate(short(level.label, 26), (1, level.y), (0, 4), xycoords=("axes fraction", "data"),
                         textcoords="offset points", ha="right", alpha=0.7)  # fmt: skip
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


def _labels(canvas: FigureCanvasAgg, axes: Axes, points: Sequence[Point], taken: list[Bbox]) -> None:
    """Each point's label at the first of eight places where it covers nothing, or where it covers least."""
    with _any_script():
        renderer = canvas.get_renderer()
        taken = [*taken, *(box for p in points for box in _around(axes, p))]
        for point in sorted(points, key=lambda p: (-p.y, p.x)):
            places = [_label(axes, point, across, up) for across, up in PLACES]
            boxes = [place.get_window_extent(renderer) for place in places]
            cover = [_covered(box, taken, axes.get_window_extent()) for box in boxes]
            chosen = cover.index(min(cover))
            taken.append(boxes[chosen].padded(3))
            for i, place in enumerate(places):
                if i != chosen:
                    place.remove()


def _drawn(figure: Figure) -> FigureCanvasAgg:
    """A canvas on which the figure has its final layout, so that pixels mean something."""
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    figure.set_layout_engine("none")
    return canvas


@contextmanager
def _any_script() -> Iterator[None]:
    """Lets labels through whose letters matplotlib's own font lacks: the page's fonts draw them, not matplotlib."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*Glyph.*missing", category=UserWarning)
        yield


PLACES = ((1, 0), (-1, 0), (0, 1), (0, -1), (1, 1), (1, -1), (-1, 1), (-1, -1))


def _label(axes: Axes, point: Point, across: int, up: int) -> Annotation:
    reach = 10 if not (across and up) else 7
    return axes.annotate(
        short(point.label, 26),
        (point.x, point.y),
        (across * reach, up * reach),
        textcoords="offset points",
        ha=("right", "center", "left")[across + 1],
        va=("top", "center", "bottom")[up + 1] if across == 0 or up else "center_baseline",
        zorder=5,
    )


def _around(axes: Axes, point: Point) -> list[Bbox]:
    """A point's marker and its error bars, in pixels."""
    x_spread, y_spread = point.x_spread or 0.0, point.y_spread or 0.0
    left, bottom = axes.transData.transform((point.x - x_spread, point.y - y_spread))
    right, top = axes.transData.transform((point.x + x_spread, point.y + y_spread))
    x, y = axes.transData.transform((point.x, point.y))
    return [
        Bbox.from_extents(x - 6, y - 6, x + 6, y + 6),
        Bbox.from_extents(x - 1, bottom, x + 1, top),
        Bbox.from_extents(left, y - 1, right, y + 1),
    ]


def _covered(box: Bbox, taken: Sequence[Bbox], frame: Bbox) -> float:
    """Pixels of a label that lie on something else or outside of the frame."""
    inside = Bbox.intersection(box, frame)
    outside = box.width * box.height - (inside.width * inside.height if inside else 0.0)
    overlaps = (Bbox.intersection(box, other) for other in taken)
    return outside * 2 + sum(o.width * o.height for o in overlaps if o)


def _svg(figure: Figure, name: str) -> str:
    buffer = io.StringIO()
    with _any_script():
        FigureCanvasSVG(figure).print_svg(
            buffer, metadata={"Date": None, "Creator": None, "Format": None, "Type": None}
        )
    return inline(buffer.getvalue(), name)
