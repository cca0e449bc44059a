"""Suites whose sections differ in shots alone: a curve a method, and what more images gain."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from markupsafe import Markup

from reports.charts.curves import curves
from reports.charts.drawing import Point
from reports.charts.section_charts import Chart, axis, point
from reports.findings.finding import Overview, strong
from reports.format import units
from reports.format.cells import Cell, Column, Table
from reports.format.styles import Style
from reports.format.text import plural
from reports.results.section_results import Found, Tables

BANDS = "The bands are 95 % intervals over seeds; those that leave the frame are whole in the table."


def over_shots(name: str, title: str, family: Sequence[Found], styles: dict[str, Style]) -> Overview:
    """Sections that differ in shots, as one table and one chart."""
    ordered = sorted(family, key=lambda pair: pair[0].condition.shots)
    main = ordered[0][1].main
    labels = list(dict.fromkeys(row.label for section, _ in ordered for row in section.rows))
    columns = [Column("Method", numeric=False), *(Column(f"{s.condition.shots}-shot", "%") for s, _ in ordered)]
    table = Table(f"{name}-shots", f"{axis(main)[:-3]} by number of shots", columns)
    for label in sorted(labels, key=lambda label: -_last(ordered, label)):
        cells = [_score(table, pair, label) for pair in ordered]
        table.rows.append([Cell(label, style=styles[label]), *cells])
    lines = {label: line for label in labels if len(line := _line(ordered, label, styles)) > 1}
    charts = []
    if lines:
        svg = curves(f"{name}-curves", lines, "Training images per class (shots)", axis(main))
        charts.append(Chart(svg, f"{axis(main)[:-3]} by number of shots", f"Higher is better. {BANDS}"))
    explained = (
        "Rows that have finished every dataset at a number of shots; each number of shots has its own section below."
    )
    return Overview(name, title, _gains(ordered, lines), explained, (table,), tuple(charts))


def _gains(ordered: Sequence[Found], lines: dict[str, list[Point]]) -> Markup:
    """Who gains most from the fewest shots to the most, and what leads at either end."""
    changed = {label: points for label, points in lines.items() if points[-1].y != points[0].y}
    if not changed:
        return Markup("No method that learns has finished two numbers of shots.")
    most = max(changed, key=lambda label: changed[label][-1].y - changed[label][0].y)
    first, last = changed[most][0], changed[most][-1]
    sentence = Markup("From {} to {}, {} gains most: {} points, from {} to {} %.").format(
        plural(int(first.x), "shot"), int(last.x), strong(most), units.points(last.y - first.y), units.percent(first.y),
        units.percent(last.y))  # fmt: skip
    few, many = (_leader(found) for found in (ordered[0][1], ordered[-1][1]))
    return sentence + Markup(" With {} a class, {}; with {}, {}.").format(
        plural(ordered[0][0].condition.shots, "image"), few, ordered[-1][0].condition.shots, many
    )


def _leader(found: Tables) -> Markup:
    """The best row, and how many can't be told from it."""
    ranked, tied = found.competing(found.main), len(found.tied_with_best())
    if ranked.empty:
        return Markup("nothing finished")
    best = Markup("{} is best, {} %").format(strong(str(ranked.index[0])), units.percent(ranked[found.main].iloc[0]))
    return best + (f" (tied with {plural(tied, 'other')})" if tied else "")


def _line(ordered: Sequence[Found], label: str, styles: dict[str, Style]) -> list[Point]:
    return [
        replace(point(found.line(label), styles, found.main, found.main), x=section.condition.shots, x_margin=None)
        for section, found in ordered
        if label in found.complete.index
    ]


def _last(ordered: Sequence[Found], label: str) -> float:
    scores = [found.line(label)[found.main] for _, found in ordered if label in found.complete.index]
    return scores[-1] if scores else 0.0


def _score(table: Table, pair: Found, label: str) -> Cell:
    section, found = pair
    if label not in {row.label for row in section.rows}:
        return table.absent("Not run with so many shots.")
    if label not in found.complete.index:
        return table.absent("Not every dataset and seed finished.")
    line, rivals = found.line(label), found.competing(found.main)
    margin = line[f"{found.main}_margin"]
    details = (units.percent_range(line[found.main], margin),) if margin >= 0.005 else ()
    best = label in rivals.index and line[found.main] == rivals[found.main].max()
    return Cell(units.percent(line[found.main]), line[found.main], details, best=best,
                tied=not best and label in found.tied_with_best())  # fmt: skip
