"""Where a chart's labels go: next to their points, on nothing else."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from math import dist, hypot, inf
from typing import TYPE_CHECKING

from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.text import Annotation, Text
from matplotlib.transforms import Bbox

from reports.format.text import short

if TYPE_CHECKING:
    from reports.charts.drawing import Point

PLACES = ((1, 0), (-1, 0), (0, 1), (0, -1), (1, 1), (1, -1), (-1, 1), (-1, -1))
"""Right, left, above, below, then the corners."""
MOST_COVERED = 0.3
"""The share of a label that may lie on something else."""
SAME_PLACE_PIXELS = 3
"""Points this near one another look like one, and a label stands by both."""


@dataclass(frozen=True, slots=True)
class Reach:
    """How far from its point a label stands, and how many times as far from it every other point has to be."""

    points: float
    others: float
    line: bool


BESIDE, AFAR = Reach(10, 1.5, line=False), Reach(32, 0.75, line=True)


def place_labels(canvas: FigureCanvasAgg, axes: Axes, points: Sequence[Point], taken: list[Bbox]) -> None:
    """Each point's label at the first of eight places beside it where it covers nothing, or where it covers least.

    Where it would lie on others or seem to be another point's, it stands farther off, at the end of a line from its point. One
    that has no room there either is left out: the point's sign stands beside its name in the tables.
    """
    with any_script():
        taken = [*taken, *(box for p in points for box in _around(axes, p))]
        for point in sorted(points, key=lambda p: (-p.y, p.x)):
            box = _placed(canvas, axes, point, points, taken, BESIDE) or _placed(
                canvas, axes, point, points, taken, AFAR
            )
            if box:
                taken.append(box.padded(3))


def _placed(
    canvas: FigureCanvasAgg, axes: Axes, point: Point, points: Sequence[Point], taken: Sequence[Bbox], reach: Reach
) -> Bbox | None:
    """Where the label now is, in pixels; None where it has no room."""
    places = [_label(axes, point, across, up, reach) for across, up in PLACES]
    boxes = [_box(canvas, place) for place in places]
    own, *others = (_pixels(axes, p) for p in (point, *points))
    cover = [_covered(box, taken, axes.get_window_extent()) for box in boxes]
    cover = [c if _belongs(box, own, others, reach) else inf for c, box in zip(cover, boxes, strict=True)]
    chosen = cover.index(min(cover))
    fits = cover[chosen] < MOST_COVERED * boxes[chosen].width * boxes[chosen].height
    for i, place in enumerate(places):
        if i != chosen or not fits:
            place.remove()
    return boxes[chosen] if fits else None


@contextmanager
def any_script() -> Iterator[None]:
    """Lets labels through whose letters matplotlib's own font lacks: the page's fonts draw them, not matplotlib."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*Glyph.*missing", category=UserWarning)
        yield


def _label(axes: Axes, point: Point, across: int, up: int, reach: Reach) -> Annotation:
    offset = reach.points if not (across and up) else 0.7 * reach.points
    label = axes.annotate(
        short(point.label, 26),
        (point.x, point.y),
        (across * offset, up * offset),
        textcoords="offset points",
        ha=("right", "center", "left")[across + 1],
        va=("top", "center", "bottom")[up + 1] if across == 0 or up else "center_baseline",
        arrowprops={"arrowstyle": "-", "color": point.style.colour, "shrinkA": 1, "shrinkB": 6} if reach.line else None,
        zorder=5,
        gid=point.style.key,
    )
    if label.arrow_patch:
        label.arrow_patch.set_gid(point.style.key)
    return label


def _box(canvas: FigureCanvasAgg, label: Annotation) -> Bbox:
    """A label's text without its line, in pixels."""
    label.update_positions(canvas.get_renderer())
    return Text.get_window_extent(label, canvas.get_renderer())


def _around(axes: Axes, point: Point) -> list[Bbox]:
    """A point's marker and its error bars, in pixels."""
    x_margin, y_margin = point.x_margin or 0.0, point.y_margin or 0.0
    left, bottom = axes.transData.transform((point.x - x_margin, point.y - y_margin))
    right, top = axes.transData.transform((point.x + x_margin, point.y + y_margin))
    x, y = _pixels(axes, point)
    return [
        Bbox.from_extents(x - 6, y - 6, x + 6, y + 6),
        Bbox.from_extents(x - 1, bottom, x + 1, top),
        Bbox.from_extents(left, y - 1, right, y + 1),
    ]


def _pixels(axes: Axes, point: Point) -> tuple[float, float]:
    x, y = axes.transData.transform((point.x, point.y))
    return float(x), float(y)


def _belongs(box: Bbox, own: tuple[float, float], points: Sequence[tuple[float, float]], reach: Reach) -> bool:
    """Whether a label reads as that of its own point, since the others are far enough."""
    others = [p for p in points if dist(own, p) > SAME_PLACE_PIXELS]
    return all(_distance(box, p) > reach.others * _distance(box, own) for p in others)


def _distance(box: Bbox, point: tuple[float, float]) -> float:
    x, y = point
    return hypot(max(box.x0 - x, 0, x - box.x1), max(box.y0 - y, 0, y - box.y1))


def _covered(box: Bbox, taken: Sequence[Bbox], frame: Bbox) -> float:
    """Pixels of a label that lie on something else or outside of the frame."""
    inside = Bbox.intersection(box, frame)
    outside = box.width * box.height - (inside.width * inside.height if inside else 0.0)
    overlaps = (Bbox.intersection(box, other) for other in taken)
    return outside * 2 + sum(o.width * o.height for o in overlaps if o)
