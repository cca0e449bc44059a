"""Where a chart's labels go: next to their points, on nothing else."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.text import Annotation
from matplotlib.transforms import Bbox

from reports.text import short

if TYPE_CHECKING:
    from reports.charts import Point

PLACES = ((1, 0), (-1, 0), (0, 1), (0, -1), (1, 1), (1, -1), (-1, 1), (-1, -1))
"""Right, left, above, below, then the corners."""
MOST_COVERED = 0.3
"""The share of a label that may lie on something else."""


def place_labels(canvas: FigureCanvasAgg, axes: Axes, points: Sequence[Point], taken: list[Bbox]) -> None:
    """Each point's label at the first of eight places where it covers nothing, or where it covers least.

    A label that would lie on others wherever it went is left out: the point's sign stands beside its name in the tables.
    """
    with any_script():
        renderer = canvas.get_renderer()
        taken = [*taken, *(box for p in points for box in _around(axes, p))]
        for point in sorted(points, key=lambda p: (-p.y, p.x)):
            places = [_label(axes, point, across, up) for across, up in PLACES]
            boxes = [place.get_window_extent(renderer) for place in places]
            cover = [_covered(box, taken, axes.get_window_extent()) for box in boxes]
            chosen = cover.index(min(cover))
            fits = cover[chosen] < MOST_COVERED * boxes[chosen].width * boxes[chosen].height
            if fits:
                taken.append(boxes[chosen].padded(3))
            for i, place in enumerate(places):
                if i != chosen or not fits:
                    place.remove()


@contextmanager
def any_script() -> Iterator[None]:
    """Lets labels through whose letters matplotlib's own font lacks: the page's fonts draw them, not matplotlib."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*Glyph.*missing", category=UserWarning)
        yield


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
        gid=point.style.key,
    )


def _around(axes: Axes, point: Point) -> list[Bbox]:
    """A point's marker and its error bars, in pixels."""
    x_margin, y_margin = point.x_margin or 0.0, point.y_margin or 0.0
    left, bottom = axes.transData.transform((point.x - x_margin, point.y - y_margin))
    right, top = axes.transData.transform((point.x + x_margin, point.y + y_margin))
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
