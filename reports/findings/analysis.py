"""The analysis of a section: how far each block moved, which classes carry the gradient, how long and how wide it flows.

The quantities are `harness.probes.analysis`'s own. Here they are averaged over a row's runs.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from markupsafe import Markup

from harness.records import AnalysisRecord
from harness.visible import visible
from reports.charts.curves import profiles
from reports.charts.drawing import Point
from reports.charts.section_charts import Chart
from reports.findings.finding import Overview, strong
from reports.format.cells import Cell, Column, Table
from reports.format.styles import Style
from reports.format.text import listed
from reports.results.section_results import SectionResults
from reports.results.sections import Row

MOST = 0.9
"""The share of the gradient that the classes counted carry."""
FAINT = 1e-4
"""Shares below are left out of the figure, as in the paper's."""
SHADES = 5
NAMED = 6
"""So many methods are named in a sentence at most."""

Profile = tuple[float, ...]
Read = Callable[[AnalysisRecord], Sequence[float] | None]


@dataclass(frozen=True, slots=True)
class Seen:
    """A row's means over runs; None where no run says it.

    image, text: by block of a tower, its shift over the last block's; () where the last one did not move. before, after: gradient
    shares by rank of the class.
    """

    row: Row
    image_depth: int
    text_depth: int
    image: Profile | None
    text: Profile | None
    before: Profile | None
    after: Profile | None
    image_blocks: float | None
    text_blocks: float | None
    texts: float | None
    classes: float | None

    @property
    def flow(self) -> tuple[float, float, float]:
        """Length in the image tower, length in the text tower, and width; 0 where it isn't known."""
        return self.image_blocks or 0, self.text_blocks or 0, self.texts or 0


def analysed(name: str, title: str, results: SectionResults, styles: dict[str, Style]) -> Iterator[Overview]:
    """The overview of a section that some run of was analysed, else nothing."""
    seen = [look for row in results.section.rows if (look := _seen(row)) is not None]
    if not seen:
        return
    seen.sort(key=lambda s: ([-x for x in s.flow], s.row.label))
    yield Overview(
        name,
        "What training changed, and where its gradient went" + (f": {title}" if title else ""),
        Markup(" ").join(_answers(seen)),
        "The paper gives no formulas: the definitions are AdaptBench's own. The feature sensitivity of a block is how far training "
        "moved its output at the pooled token (mean Euclidean distance over 100 training images), over how far the last block's "
        "moved. The gradient share of a class is its part of an image's gradient on the class features.",
        (_flow(f"{name}-flow", seen, styles), *_sensitivities(name, seen, styles)),
        tuple(_charts(name, seen, styles)),
    )


def _seen(row: Row) -> Seen | None:
    runs = [(r.analysis, r.train_class_count) for r in row.records if r.status == "ok" and r.analysis is not None]
    found = [analysis for analysis, _ in runs]
    if not found:
        return None
    return Seen(
        row,
        image_depth=max(len(a.image_shift or ()) for a in found),
        text_depth=max(len(a.text_shift or ()) for a in found),
        image=_sensitivity(found, lambda a: a.image_shift),
        text=_sensitivity(found, lambda a: a.text_shift),
        before=_profile(found, lambda a: a.rank_gradient_before),
        after=_profile(found, lambda a: a.rank_gradient_after),
        image_blocks=_mean([a.image_blocks_with_gradient for a in found]),
        text_blocks=_mean([a.text_blocks_with_gradient for a in found]),
        texts=_mean([a.class_texts_with_gradient for a in found]),
        classes=_mean([count for _, count in runs]),
    )


def _mean(values: Sequence[float | None]) -> float | None:
    known = [v for v in values if v is not None]
    return sum(known) / len(known) if known else None


def _profile(found: Sequence[AnalysisRecord], read: Read) -> Profile | None:
    """The mean of lists, as far as the shortest goes."""
    known = [values for a in found if (values := read(a))]
    return tuple(float(np.mean(at)) for at in zip(*known, strict=False)) if known else None


def _sensitivity(found: Sequence[AnalysisRecord], read: Read) -> Profile | None:
    shifts = _profile(found, read)
    if shifts is None:
        return None
    return tuple(s / shifts[-1] for s in shifts) if shifts[-1] else ()


def _carrying(shares: Profile | None) -> int | None:
    """How many classes, the largest first, carry most of the gradient."""
    if not shares or not sum(shares):
        return None
    return 1 + int(np.searchsorted(np.cumsum(shares), MOST * sum(shares) - 1e-12))


def _flow(name: str, seen: Sequence[Seen], styles: dict[str, Style]) -> Table:
    """A line a row: length and width of the gradient flow, and how many classes it depends on."""
    columns = [Column("Method", numeric=False), Column("Image blocks", "with gradient"), Column("Text blocks", "with gradient"),
               Column("Class texts", "with gradient"), Column("Classes with 90 %", "of the gradient, before"),
               Column("Classes with 90 %", "of the gradient, after")]  # fmt: skip
    table = Table(name, "Length and width of the gradient flow", columns)
    for s in seen:
        of = (*_depths(seen), s.classes, s.classes, s.classes)
        values = (s.image_blocks, s.text_blocks, s.texts, _carrying(s.before), _carrying(s.after))
        fields = ("image_blocks_with_gradient", "text_blocks_with_gradient", "class_texts_with_gradient",
                  "rank_gradient_before", "rank_gradient_after")  # fmt: skip
        cells = [
            table.absent(_why(s.row, field)) if value is None else Cell(_of(value, whole), value)
            for value, whole, field in zip(values, of, fields, strict=True)
        ]
        table.rows.append([Cell(s.row.label, style=styles[s.row.label]), *cells])
    table.legend = (
        "Length: the blocks whose output receives a gradient in a training step. Width: the class texts that it passes. An image's "
        "own class always has half of its gradient."
    )
    return table


def _depths(seen: Sequence[Seen]) -> tuple[int | None, int | None]:
    """The blocks of the image tower and of the text tower, as far as some record tells."""
    image = max((r.image_depth for r in seen), default=0)
    text = max((r.text_depth for r in seen), default=0)
    return image or None, text or None


def _of(value: float, whole: float | None) -> str:
    return f"{value:.3g}" if whole is None else f"{value:.3g} of {whole:.3g}"


def _why(row: Row, field: str) -> str:
    said = {r.missing[f"analysis.{field}"] for r in row.records if f"analysis.{field}" in r.missing}
    return visible("; ".join(sorted(said))) or "Not recorded."


TOWERS: tuple[tuple[str, Callable[[Seen], Profile | None]], ...] = (
    ("image", lambda s: s.image),
    ("text", lambda s: s.text),
)


def _sensitivities(name: str, seen: Sequence[Seen], styles: dict[str, Style]) -> Iterator[Table]:
    """A table a tower: a line a row whose tower moved, a column a block, tinted."""
    for tower, read in TOWERS:
        moved = {s.row.label: values for s in seen if (values := read(s))}
        still = [s.row.label for s in seen if read(s) == ()]
        if not moved:
            continue
        blocks = max(map(len, moved.values()))
        columns = [Column("Method", numeric=False), *(Column(f"{i}") for i in range(1, blocks + 1))]
        table = Table(
            f"{name}-{tower}", f"Feature sensitivity of the {tower} tower, block by block", columns, kind="map"
        )
        top = max(max(values) for values in moved.values())
        for label, values in moved.items():
            cells = [Cell(f"{v:.2f}", v, shade=round(SHADES * v / top)) for v in values]
            cells += [table.absent("No such block.") for _ in range(blocks - len(values))]
            table.rows.append([Cell(label, style=styles[label]), *cells])
        table.legend = "The last block is 1." + (f" Not moved at all: {listed(still)}." if still else "")
        yield table


def _charts(name: str, seen: Sequence[Seen], styles: dict[str, Style]) -> Iterator[Chart]:
    """Charts of equal height: each has room for a key of every row."""
    for tower, read in TOWERS:
        lines = _lines(seen, read, styles)
        if lines:
            svg = profiles(
                f"{name}-{tower}-curves", lines, f"Block of the {tower} tower", "Feature sensitivity", keys=len(seen)
            )
            yield Chart(svg, f"Feature sensitivity, {tower} tower",
                        "How far each block moved, over how far the last did. Towers that stood still are left out.")  # fmt: skip
    for when, words, read in (
        ("before", "before training", lambda s: s.before), ("after", "after training", lambda s: s.after),
    ):  # fmt: skip
        lines = _lines(seen, read, styles, FAINT)
        if lines:
            svg = profiles(f"{name}-{when}", lines, "Rank of the class", "Share of an image's gradient", keys=len(seen),
                           logarithmic=True)  # fmt: skip
            yield Chart(svg, f"Gradient share by class rank, {words}",
                        "Each image's classes from the largest share to the smallest, mean over images. Logarithmic.")  # fmt: skip


def _lines(
    seen: Sequence[Seen], read: Callable[[Seen], Profile | None], styles: dict[str, Style], least: float = -1.0
) -> Mapping[str, list[Point]]:
    """Points over 1, 2, 3 and so on."""
    lines = {s.row.label: [Point(s.row.label, styles[s.row.label], i, v) for i, v in enumerate(read(s) or (), 1) if v > least]
             for s in seen}  # fmt: skip
    return {label: points for label, points in lines.items() if points}


def _answers(seen: Sequence[Seen]) -> Iterator[Markup]:
    """How far the gradient reaches, and where the image tower moves."""
    entering = [s for s in seen if sum(s.flow[:2])]
    if entering:
        longest, shortest = (end(entering, key=lambda s: s.flow) for end in (max, min))
        yield Markup("The gradient reaches furthest in {}: {}.").format(
            _names([s.row.label for s in entering if s.flow == longest.flow]), _reached(longest, seen))  # fmt: skip
        if shortest.flow != longest.flow:
            yield Markup("It is shortest, where it enters a tower at all, in {}: {}.").format(
                _names([s.row.label for s in entering if s.flow == shortest.flow]), _reached(shortest, seen))  # fmt: skip
        narrow = min(entering, key=lambda s: s.flow[2])
        if narrow.flow[2] < longest.flow[2] and narrow.flow != shortest.flow:
            yield Markup("It is narrowest in {}: {}.").format(
                _names([s.row.label for s in entering if s.flow == narrow.flow]), _reached(narrow, seen))  # fmt: skip
    halfway = {s.row.label: s.image[len(s.image) // 2 - 1] for s in seen if s.image and len(s.image) > 1}
    if halfway:
        least, most = (end(halfway, key=lambda label: halfway[label]) for end in (min, max))
        yield Markup("Halfway up the image tower, features moved between {} ({}) and {} ({}) of what the last block's did.").format(
            f"{halfway[least]:.2f}", strong(least), f"{halfway[most]:.2f}", strong(most))  # fmt: skip


def _reached(s: Seen, seen: Sequence[Seen]) -> str:
    image, text = _depths(seen)
    counts = [
        ("image blocks", s.image_blocks, image),
        ("text blocks", s.text_blocks, text),
        ("class texts", s.texts, s.classes),
    ]
    return listed([f"{_of(value, whole)} {noun}" for noun, value, whole in counts if value is not None])


def _names(labels: Sequence[str]) -> Markup:
    shown = labels if len(labels) <= NAMED else labels[: NAMED - 1]
    more = [f"{len(labels) - len(shown)} others"] if len(labels) > NAMED else []
    return Markup(listed([*(str(strong(label)) for label in shown), *more]))
