"""Colours and markers: how a method is told from the others, with and without colour vision."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, replace

import numpy as np
from matplotlib.markers import MarkerStyle

COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")
"""Okabe and Ito's palette without black and yellow, which one of the two backgrounds would swallow."""

HUES = dict(zip(COLOURS, ("blue", "orange", "green", "pink", "orange", "blue"), strict=True))
"""Colours of one hue are easily taken for one another in small signs."""

MARKERS = ("o", "s", "^", "D", "v", "P", "p")
REFERENCE_COLOUR = "#8A8F98"


@dataclass(frozen=True, slots=True)
class Style:
    """How a method is drawn, everywhere on the page: a colour and, for those who don't tell colours, a shape.

    `key` marks whatever belongs to the method, so that the page can hide it.
    """

    colour: str
    marker: str
    key: str = ""

    @property
    def outline(self) -> str:
        """The marker as an SVG path in a box from -1 to 1."""
        marker = MarkerStyle(self.marker)
        polygons = marker.get_path().transformed(marker.get_transform()).to_polygons()
        scaled = [np.asarray(polygon) / np.abs(np.concatenate(polygons)).max() for polygon in polygons]
        return " ".join("M" + "L".join(f"{x:.2f},{-y:.2f}" for x, y in polygon) + "Z" for polygon in scaled)


def distinct_styles(together: Iterable[Collection[str]], references: frozenset[str]) -> dict[str, Style]:
    """A style for each label, the same for the same labels wherever they stand. References are grey.

    together: the labels of each section. There no two look alike as long as there are other styles; sections in which no colour
    has to repeat come first.
    """
    every = list(together)
    sections = sorted((sorted(set(labels) - references) for labels in every), key=lambda labels: (len(labels), labels))
    small, near = _neighbours(s for s in sections if len(s) <= len(COLOURS)), _neighbours(sections)
    found: dict[str, Style] = {}
    for i, name in enumerate(near):
        rings = [[found[other] for other in among.get(name, ()) if other in found] for among in (small, near)]
        found[name] = replace(_least_alike([*rings, found.values()]), key=f"m{i}")
    greys = sorted({label for labels in every for label in labels} & references)
    return found | {name: Style(REFERENCE_COLOUR, "X", f"r{i}") for i, name in enumerate(greys)}


def _neighbours(sections: Iterable[Sequence[str]]) -> dict[str, set[str]]:
    """By label: those that stand beside it, and itself."""
    found: dict[str, set[str]] = {}
    for labels in sections:
        for label in labels:
            found.setdefault(label, set()).update(labels)
    return found


def _least_alike(rings: Sequence[Iterable[Style]]) -> Style:
    """The colour and marker that fewest styles can be taken for, of the first ring before the next."""
    taken = [Counter(look for style in ring for look in _looks(style)) for ring in rings]
    pairs = range(len(COLOURS) * len(MARKERS))
    return min(
        (Style(COLOURS[i % len(COLOURS)], MARKERS[i % len(MARKERS)]) for i in pairs),
        key=lambda style: [counts[look] for counts in taken for look in _looks(style)],
    )


def _looks(style: Style) -> tuple[tuple[str, str] | str, ...]:
    """By what a style may be taken for another, the worst first: both, the marker in one hue, the colour, the marker."""
    return (style.colour, style.marker), (HUES[style.colour], style.marker), style.colour, style.marker
