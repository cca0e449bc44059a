"""Method by dataset, as differences to a reference row: where a method gains and where it loses."""

from __future__ import annotations

import pandas as pd
from markupsafe import Markup

from harness.visible import visible
from reports.format import units
from reports.format.cells import Cell, Column, Table
from reports.format.styles import Style
from reports.format.text import short
from reports.results.section_results import SectionResults
from reports.results.sections import REFERENCE, Row
from reports.tables.section_tables import ranked

STEPS = (0.5, 1, 2, 5, 10)
"""From so many points on a cell is tinted, one shade stronger at each; the same on every page."""
LEGEND = Markup(
    "Points above (blue) or below (orange) <bdi>{}</bdi>; the tints begin at 0.5, 1, 2, 5 and 10 points, on every page."
)
"""The script replaces the name where the reader chooses another reference."""


def heat_map(name: str, results: SectionResults, styles: dict[str, Style]) -> Table | None:
    """A line a method, a column a dataset, in points above or below the reference; None with fewer than two rows.

    The reference is zero_shot where it is complete, else the best row; the page lets the reader choose another.
    """
    rows = ranked(results)
    if len(rows) < 2 or results.complete.empty:
        return None
    methods = results.complete["method"]
    reference = next((str(label) for label in methods.index[methods == REFERENCE]), str(methods.index[0]))
    score = "H" if results.main == "h" else "Accuracy"
    on = sorted(results.units.index.unique("unit"))
    columns = [Column("Method", numeric=False), *(_column(short(visible(unit), 60)) for unit in on)]
    caption = f"{score} on each dataset, difference to a reference row in points"
    table = Table(name, caption, columns, features=("reference",))
    found = {row.label: [_score(results, row, unit) for unit in on] for row in rows}
    differences = pd.DataFrame(found, index=on, dtype=float).sub(pd.Series(found[reference], on, dtype=float), axis=0)
    for row in rows:
        cells = [_cell(table, v, differences.loc[u, row.label]) for v, u in zip(found[row.label], on, strict=True)]
        table.rows.append([Cell(row.label, style=styles[row.label]), *cells])
    table.legend = LEGEND.format(reference)
    return table


def _column(unit: str) -> Column:
    return Column(unit, data=(f"{unit}_percent", f"{unit}_points"))


def _score(results: SectionResults, row: Row, unit: str) -> float | None:
    line = results.on(row.label, unit)
    return None if line is None or line["seeds"] < line["expected"] else float(line[results.unit_main])


def _cell(table: Table, score: float | None, difference: float) -> Cell:
    """`value` is the score itself, from which the script takes differences to another row."""
    if score is None or pd.isna(difference):
        return table.absent("Not every seed finished, here or in the reference.")
    shade = sum(abs(difference) >= step for step in STEPS)
    return Cell(units.points(difference), score, shade=shade if difference > 0 else -shade, more=(float(difference),))
