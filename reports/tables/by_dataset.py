"""The scores of every row on every dataset, the best marked, and what can't be told from it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType

import numpy as np
import pandas as pd

from harness.visible import visible
from reports.format import units
from reports.format.cells import Cell, Column, Table
from reports.format.styles import Style
from reports.format.text import listed, short
from reports.results.section_results import SectionResults
from reports.results.sections import Row
from reports.results.statistics import SIGNIFICANCE
from reports.tables.section_tables import borrowed_note, ranked, stands_out

UNITS_LEGEND = (
    "Bold: the best. Underlined: can't be told from it. Below a dataset's name stands from which difference methods are told apart "
    f"there: by Tukey's test on the scatter of all methods' seeds ({100 * SIGNIFICANCE:.0f} %)."
)
AVERAGE_LEGEND = " The average's ties are those of the paired comparison by which methods share a letter above."
UNDECIDED = "the seeds decide nothing"


def unit_table(name: str, results: SectionResults, styles: dict[str, Style]) -> Table:
    """A line a dataset (or test), a column a row of the headline; H above base and new."""
    rows = ranked(results)
    first = Column("Dataset" if results.section.paired else "Test", numeric=False)
    unit = "H · base / new" if results.section.paired else "accuracy"
    scores = [results.unit_main, *(results.metrics if results.main == "h" else ())]
    heads = [Column(row.label, unit, row=styles[row.label].key, data=tuple(f"{row.label}_{score}_percent" for score in scores))
             for row in rows]  # fmt: skip
    table = Table(name, "Accuracy on each dataset, mean over seeds", [first, *heads], features=("filter",))
    metrics = [*results.metrics, "h"] if results.main == "h" else ["accuracy"]
    sources = set(results.scores["unit"][results.scores["metric"] == "source"])
    for on in sorted(results.units.index.unique("unit"), key=lambda u: (u not in sources, u)):
        ties, rivals = results.ties_on(on), {metric: results.rivals(on, metric) for metric in metrics}
        cells = [_unit_cell(table, results, row, on, rivals, row.label in ties.rows) for row in rows]
        tags = ("source",) if on in sources else ()
        table.rows.append([Cell(short(visible(on), 60), details=_apart(ties.points, rows), tags=tags), *cells])
    average = "Average of targets" if results.main == "target" else "Average"
    table.foot.append([Cell(average), *(_average_cell(table, row, results) for row in rows)])
    table.legend = _legend(table, rows)
    return table


def _apart(points: float, rows: Sequence[Row]) -> tuple[str, ...]:
    """From which difference rows are told apart, or that none are; nothing where there is nothing to compare."""
    if sum(len(row.seeds) > 1 for row in rows) < 2:
        return ()
    return (UNDECIDED if np.isnan(points) else f"apart from {points:.1f} points",)


def _legend(table: Table, rows: Sequence[Row]) -> str:
    said = any(cells[0].details for cells in table.rows)
    average = AVERAGE_LEGEND if any(c.tied for cells in table.foot for c in cells) else ""
    return UNITS_LEGEND + average + _lone(rows) if said else f"Bold: the best.{average}"


def _lone(rows: Sequence[Row]) -> str:
    """What the missing underline of a row that can't be compared means."""
    lone = [row.label for row in rows if len(row.seeds) == 1]
    words = " Rows of one seed ({}) are compared with none: they are never underlined, nor is any other where they are the best."
    return words.format(listed(lone)) if lone else ""


def _unit_cell(
    table: Table, results: SectionResults, row: Row, unit: str, rivals: Mapping[str, pd.Series], tied: bool
) -> Cell:
    line = results.on(row.label, unit)
    if line is None:
        return table.absent("No run finished.")
    if line["seeds"] < line["expected"]:
        few = f"{line['seeds']:.0f} of {line['expected']:.0f} seeds finished; not in the average."
        return _mean_cell(line, results, note=table.note(few))
    own = {metric: among for metric, among in rivals.items() if row.label in among.index}
    note = borrowed_note(table, results, row, [results.counts_for(metric, unit) for metric in rivals], unit)
    return _mean_cell(line, results, own, tied, note)


def _average_cell(table: Table, row: Row, results: SectionResults) -> Cell:
    line = results.line(row.label)
    if line["complete"] < line["expected"]:
        return table.absent("Averages over other datasets than the rest are not comparable; see the table above.")
    rivals = {metric: results.competing(metric)[metric] for metric in dict.fromkeys((*results.metrics, results.main))}
    own = {metric: among for metric, among in rivals.items() if row.label in among.index}
    return _mean_cell(line, results, own, row.label in results.tied_with_best(), main=results.main)


def _mean_cell(
    line: pd.Series,
    results: SectionResults,
    rivals: Mapping[str, pd.Series] = MappingProxyType({}),
    tied: bool = False,
    note: int | None = None,
    main: str = "",
) -> Cell:
    """The main score above base and new, each in bold where it stands out among its `rivals`, if it has any."""
    main = main or results.unit_main
    halves = results.metrics if main == "h" else ()
    best = {m for m in (*halves, main) if m in rivals and stands_out(line[m], rivals[m], units.percent)}
    return Cell(
        units.percent(line[main]),
        line[main],
        details=tuple(f"{'/ ' if i else ''}{units.percent(line[half])}" for i, half in enumerate(halves)),
        bold=tuple(i for i, half in enumerate(halves) if half in best),
        best=main in best,
        tied=tied and main not in best,
        more=tuple(float(line[half]) for half in halves),
        note=note,
    )
