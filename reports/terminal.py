"""The headline table of each section, for the terminal."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import pandas as pd
from rich.table import Table

from harness.cli.terminal import Console
from harness.visible import visible
from reports.findings.comparison import Comparison
from reports.format.cells import Cell
from reports.format.cells import Table as PageTable
from reports.format.text import listed, plural, uncapitalised
from reports.format.units import percent
from reports.results.quantities import ranking_costs, shown_in
from reports.results.scores import TITLES
from reports.results.section_results import SectionResults

WIDTH = 140

Shown = tuple[str, str, Callable[[float], str]]
"""A column of the summary, its heading, and how it is worded."""
OVER_DATASETS = {"sum": "summed", "mean": "averaged", "ratio": "of totals"}


def print_headlines(found: Sequence[SectionResults]) -> None:
    """One table a section: accuracy and the main costs of every method, best first."""
    console = _console()
    for results in found:
        own = results.section.condition
        contents = f" ({visible(own.contents)})" if own.contents else ""
        console.print(
            f"\n{visible(own.suite)}{contents} on {visible(own.backbone)}, {plural(own.shots, 'shot')}, {visible(own.machine)}, "
            f"{own.precision}, {own.execution}; {_taken_together(results)}"
        )
        console.print(_headline(results))


def _taken_together(results: SectionResults) -> str:
    section = results.section
    if section.condition.simulated:
        return "simulated"
    costs = shown_in("terminal", section.costs_only, results.summary)
    titles = {how: listed([uncapitalised(q.title) for q in costs if q.over == how]) for how in (*OVER_DATASETS, "max")}
    taken = listed([f"{titles[how]} {words}" for how, words in OVER_DATASETS.items() if titles[how]])
    return f"{taken} over datasets, {titles['max']} the highest of them; mean over seeds"


def _console() -> Console:
    console = Console(highlight=False, markup=False)
    return console if console.is_terminal else Console(highlight=False, markup=False, width=WIDTH)


def print_comparison(comparisons: Sequence[Comparison], alone: Sequence[str], sides: PageTable | None = None) -> None:
    """What A and B are; each comparison's verdict, cautions and changes; then what has no counterpart."""
    console = _console()
    if sides:
        for name, a, b in sides.rows:
            console.print(f"{name.text}: A {a.text}; B {b.text}" if a.text != b.text else f"{name.text}: {a.text}")
    for comparison in comparisons:
        console.print(f"\n{comparison.title}\n  {comparison.verdict}")
        for caution in comparison.cautions:
            console.print(f"  {caution}")
        if comparison.first.rows:
            console.print(_as_text(comparison.first))
            shown = {cell.note for cells in comparison.first.rows for cell in cells}
            for i, note in enumerate(comparison.table.notes, 1):
                if i in shown:
                    console.print(f"  {_raised(i)} {note}")
        if comparison.unchanged:
            console.print(f"  No change found: {listed([cells[0].text for cells in comparison.rest.rows])}.")
    if not comparisons:
        console.print("The two have no suite in common under the same conditions.")
    for text in alone:
        console.print(text)


def _as_text(page_table: PageTable) -> Table:
    """A page's table, with its tags in parentheses and the numbers of its footnotes."""
    table = Table(box=None, padding=(0, 2, 0, 0))
    for column in page_table.columns:
        unit = column.unit.partition(",")[0]
        heading = f"{column.title} {unit}" if unit in ("A", "B") else "B/A" if unit == "B / A" else column.title
        table.add_column(heading, justify="right" if column.numeric else "left", overflow="fold")
    for cells in page_table.rows:
        table.add_row(*(_marked(cell) for cell in cells))
    return table


def _marked(cell: Cell) -> str:
    beside = (*cell.tags, *cell.details)
    tags = f" ({'; '.join(beside)})" if beside else ""
    return f"{cell.text}{tags}{_raised(cell.note) if cell.note else ''}"


def _raised(number: int) -> str:
    return str(number).translate(str.maketrans("0123456789", "⁰¹²³⁴⁵⁶⁷⁸⁹"))


def _headline(results: SectionResults) -> Table:
    """Scores and costs, best first, then the rows that are not comparable; where training was cut off, costs alone."""
    metrics = [*results.metrics, "h"] if results.main == "h" else list(results.metrics)
    scores: list[Shown] = (
        [] if results.section.costs_only else [(metric, TITLES[metric], percent) for metric in metrics]
    )
    costs = shown_in("terminal", results.section.costs_only, results.summary)
    shown = scores + [(cost.name, uncapitalised(cost.title), cost.text) for cost in costs]
    table = Table("method", box=None, padding=(0, 2, 0, 0))
    for _, heading, _ in shown:
        table.add_column(heading, justify="right")
    order = ranking_costs()[0].name if results.section.costs_only else results.main
    ranked = results.summary.sort_values(order, ascending=results.section.costs_only)
    comparable = ranked.index.isin(results.complete.index)
    for label, line in pd.concat([ranked[comparable], ranked[~comparable]]).iterrows():
        covered = results.coverage(str(label))
        cells = ["-" if pd.isna(line[name]) else text(line[name]) for name, _, text in shown]
        table.add_row(f"{label} ({covered})" if covered else str(label), *cells)
    return table
