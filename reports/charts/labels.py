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
from matplotlib.text import Text
from matplotlib.transforms import Bbox

from reports.format.text import short

if TYPE_CHECKING:
    from reports.charts.drawing import Point

CORNERS = ((1, 1), (1, -1), (-1, 1), (-1, -1))
"""Where a label at the end of a line stands first: a line straight up or across may be taken for an error bar."""
PLACES = ((1, 0), (-1, 0), (0, 1), (0, -1), *CORNERS)
"""Right, left, above, below, then the corners."""
MOST_COVERED = 0.3
"""The share of a label that may lie on bars, lines and markers; none of it on another label, or outside of the frame."""
LETTERS = 26
"""As many of a name stand in a picture."""
SAME_PLACE_PIXELS = 3
"""Points this near one another look like one, and a label stands by both."""


Corners = tuple[float, float, float, float]
"""Left, bottom, right and top of a box, in pixels."""


@dataclass(frozen=True, slots=True)
class Reach:
    """How far from its point a label stands, and how many times as far from it every other point has to be."""

    points: float
    others: float
    places: Sequence[tuple[int, int]]
    line: bool


REACHES = (
    Reach(10, 1.5, PLACES, line=False),
    Reach(32, 0.75, CORNERS, line=True),
    Reach(55, 0.5, CORNERS, line=True),
    Reach(32, 0.75, PLACES, line=True),
    Reach(55, 0.5, PLACES, line=True),
)


def place_labels(
    canvas: FigureCanvasAgg, axes: Axes, points: Sequence[Point], taken: Sequence[Bbox], words: Sequence[Bbox]
) -> None:
    """Each point's label at the first of eight places beside it where it covers nothing, or where it covers least.

    taken: lines, in pixels, which a label may lie on if it has to. words: other texts, which none may lie on.
    Where it would lie on others or seem to be another point's, it stands farther off, at the end of a line from its point. One
    that has no room there either is left out: its point tells name and figures when it is pointed at, focused or touched.
    """
    with any_script():
        lines = [_corners(box) for box in (*taken, *(box for p in points for box in _around(axes, p)))]
        labels = [box.padded(3, 2) for box in words]
        for point in sorted(points, key=lambda p: (-p.y, p.x)):
            for reach in REACHES:
                if box := _placed(canvas, axes, point, points, lines, labels, reach):
                    labels.append(box.padded(3, 5))  # letters of the page's own fonts take more room
                    lines += map(_corners, _leader(box, _pixels(axes, point))) if reach.line else ()
                    break


def _placed(
    canvas: FigureCanvasAgg,
    axes: Axes,
    point: Point,
    points: Sequence[Point],
    lines: Sequence[Corners],
    labels: Sequence[Bbox],
    reach: Reach,
) -> Bbox | None:
    """Where the label now is, in pixels; None where it has no room."""
    own, *others = (_pixels(axes, p) for p in (point, *points))
    size = _size(canvas, point.label)
    boxes = [
        _box(size, own, across, up, _offset(across, up, reach) * canvas.figure.dpi / 72) for across, up in reach.places
    ]
    frame = axes.get_window_extent()
    cover = [_covered(box, lines, labels, frame) for box in boxes]
    apart = [_belongs(box, own, others, reach) and not (reach.line and _crosses(box, own, labels)) for box in boxes]
    cover = [c if alone else inf for c, alone in zip(cover, apart, strict=True)]
    chosen = cover.index(min(cover))
    if cover[chosen] >= MOST_COVERED * boxes[chosen].width * boxes[chosen].height:
        return None
    _label(axes, point, *reach.places[chosen], reach)
    return boxes[chosen]


@contextmanager
def any_script() -> Iterator[None]:
    """Lets labels through whose letters matplotlib's own font lacks: the page's fonts draw them, not matplotlib."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*Glyph.*missing", category=UserWarning)
        yield


def _offset(across: int, up: int, reach: Reach) -> float:
    """In points, along each axis."""
    return reach.points if not (across and up) else 0.7 * reach.points


def _label(axes: Axes, point: Point, across: int, up: int, reach: Reach) -> None:
    offset = _offset(across, up, reach)
    label = axes.annotate(
        short(point.label, LETTERS),
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


def _size(canvas: FigureCanvasAgg, label: str) -> tuple[float, float]:
    """Width and height of a label, in pixels."""
    box = Text(text=short(label, LETTERS), figure=canvas.figure).get_window_extent(canvas.get_renderer())
    return box.width, box.height


def _box(size: tuple[float, float], own: tuple[float, float], across: int, up: int, offset: float) -> Bbox:
    """Where a label would be, in pixels, so far from its point."""
    left, bottom = (at + way * offset - length * (1 - way) / 2
                    for at, way, length in zip(own, (across, up), size, strict=True))  # fmt: skip
    return Bbox.from_bounds(left, bottom, *size)


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


def _leader(box: Bbox, own: tuple[float, float]) -> list[Bbox]:
    """The line from a point to its label, as small boxes."""
    x, y = (min(max(at, low), high) for at, low, high in zip(own, box.min, box.max, strict=True))
    steps = [(own[0] + (x - own[0]) * i / 12, own[1] + (y - own[1]) * i / 12) for i in range(1, 12)]
    return [Bbox.from_extents(left - 2, low - 2, left + 2, low + 2) for left, low in steps]


def _crosses(box: Bbox, own: tuple[float, float], labels: Sequence[Bbox]) -> bool:
    """Whether the line from a point to its label would run through another label."""
    return any(step.overlaps(label) for step in _leader(box, own) for label in labels)


def _distance(box: Bbox, point: tuple[float, float]) -> float:
    x, y = point
    return hypot(max(box.x0 - x, 0, x - box.x1), max(box.y0 - y, 0, y - box.y1))


def _covered(box: Bbox, lines: Sequence[Corners], labels: Sequence[Bbox], frame: Bbox) -> float:
    """Pixels of a label that lie on something else; infinite on another label, or outside of the frame."""
    outside = box.x0 < frame.x0 or box.x1 > frame.x1 or box.y0 < frame.y0 or box.y1 > frame.y1
    if outside or any(box.overlaps(other) for other in labels):
        return inf
    left, bottom, right, top = _corners(box)
    sides = [(min(right, x1) - max(left, x0), min(top, y1) - max(bottom, y0)) for x0, y0, x1, y1 in lines]
    return sum(width * height for width, height in sides if width >= 0 and height >= 0)


def _corners(box: Bbox) -> Corners:
    (x0, y0), (x1, y1) = box.get_points().tolist()
    return min(x0, x1), min(y0, y1), max(x0, x1), max(y0, y1)
