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
from reports.results.section_results import SectionResults

BANDS = "The bands are 95 % intervals over seeds; those that leave the frame are whole in the table."


def over_shots(name: str, title: str, family: Sequence[SectionResults], styles: dict[str, Style]) -> Overview:
    """Sections that differ in shots, as one table and one chart."""
    ordered = sorted(family, key=lambda results: results.section.condition.shots)
    main = ordered[0].main
    labels = list(dict.fromkeys(row.label for results in ordered for row in results.section.rows))
    columns = [
        Column("Method", numeric=False),
        *(Column(f"{results.section.condition.shots}-shot", "%") for results in ordered),
    ]
    table = Table(f"{name}-shots", f"{axis(main)[:-3]} by number of shots", columns)
    for label in sorted(labels, key=lambda label: -_last(ordered, label)):
        cells = [_score(table, results, label) for results in ordered]
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


def _gains(ordered: Sequence[SectionResults], lines: dict[str, list[Point]]) -> Markup:
    """Who gains most from the fewest shots to the most, and what leads at either end."""
    changed = {label: points for label, points in lines.items() if points[-1].y != points[0].y}
    if not changed:
        return Markup("No method that learns has finished two numbers of shots.")
    most = max(changed, key=lambda label: changed[label][-1].y - changed[label][0].y)
    first, last = changed[most][0], changed[most][-1]
    sentence = Markup("From {} to {}, {} gains most: {} points, from {} to {} %.").format(
        plural(int(first.x), "shot"), int(last.x), strong(most), units.points(last.y - first.y), units.percent(first.y),
        units.percent(last.y))  # fmt: skip
    few, many = (_leader(results) for results in (ordered[0], ordered[-1]))
    return sentence + Markup(" With {} a class, {}; with {}, {}.").format(
        plural(ordered[0].section.condition.shots, "image"), few, ordered[-1].section.condition.shots, many
    )


def _leader(results: SectionResults) -> Markup:
    """The best row, and how many can't be told from it."""
    ranked, tied = results.competing(results.main), len(results.tied_with_best())
    if ranked.empty:
        return Markup("nothing finished")
    best = Markup("{} is best, {} %").format(strong(str(ranked.index[0])), units.percent(ranked[results.main].iloc[0]))
    return best + (f" (tied with {plural(tied, 'other')})" if tied else "")


def _line(ordered: Sequence[SectionResults], label: str, styles: dict[str, Style]) -> list[Point]:
    return [
        replace(
            point(results.line(label), styles, results.main, results.main),
            x=results.section.condition.shots,
            x_margin=None,
        )
        for results in ordered
        if label in results.complete.index
    ]


def _last(ordered: Sequence[SectionResults], label: str) -> float:
    scores = [results.line(label)[results.main] for results in ordered if label in results.complete.index]
    return scores[-1] if scores else 0.0


def _score(table: Table, results: SectionResults, label: str) -> Cell:
    if label not in {row.label for row in results.section.rows}:
        return table.absent("Not run with so many shots.")
    if label not in results.complete.index:
        return table.absent("Not every dataset and seed finished.")
    line, rivals = results.line(label), results.competing(results.main)
    margin = line[f"{results.main}_margin"]
    details = (units.percent_range(line[results.main], margin),) if margin >= 0.005 else ()
    best = label in rivals.index and line[results.main] == rivals[results.main].max()
    return Cell(units.percent(line[results.main]), line[results.main], details, best=best,
                tied=not best and label in results.tied_with_best())  # fmt: skip
