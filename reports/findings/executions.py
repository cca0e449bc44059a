"""Two executions side by side: how much of a method's advantage remains when its rivals are implemented well."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import pandas as pd
from markupsafe import Markup

from reports.findings.finding import Overview, strong
from reports.format import units
from reports.format.cells import Cell, Column, Table
from reports.format.styles import Style
from reports.format.text import uncapitalised
from reports.results import quantities as figures
from reports.results.quantity import Quantity
from reports.results.section_results import SectionResults
from reports.results.sections import Row
from reports.tables.provenance import manner

BASELINE = "full_finetuning"
"""The method over which others claim an advantage in cost."""
NOT_RECORDED = "Not recorded, or nothing to train."


def executions(name: str, title: str, family: Sequence[SectionResults], styles: dict[str, Style]) -> Overview:
    """Two sections that differ in execution alone."""
    by = {results.section.condition.execution: results for results in family}
    reference, fast = by["reference"], by["fast"]
    section = reference.section
    rows = [row for row in section.rows if row.label in reference.complete.index and row.label in fast.complete.index]
    quantities = figures.shown_in("executions", section.costs_only, reference.summary, fast.summary)
    gains = _gains(f"{name}-executions", rows, reference, fast, styles, quantities, scored=not section.costs_only)
    advantages, answer = _advantages(f"{name}-advantages", rows, reference, fast, styles, quantities)
    explained = (
        "The reference execution does the authors' arithmetic; the fast one leaves out work that cannot change the result. Both "
        "ran on this machine with the same recipe."
    )
    if section.condition.steps:
        explained += (
            f" Training was cut off after {section.condition.steps} steps; an epoch is as many of these as see every image once, "
            "with the loading of their batches and the extraction of what they read."
        )
    return Overview(name, title, answer, explained, (advantages, gains) if advantages.rows else (gains,))


def _advantages(
    name: str,
    rows: Sequence[Row],
    reference: SectionResults,
    fast: SectionResults,
    styles: dict[str, Style],
    quantities: Sequence[Quantity],
) -> tuple[Table, Markup]:
    """A line a method: how many times cheaper than the baseline, in either execution; and what that says."""
    columns = [Column("Method", "and how it was run", numeric=False)]
    for quantity in quantities:
        columns += [Column(quantity.title, f"{execution}, times less") for execution in ("reference", "fast")]
    table = Table(
        name, f"Advantage over {BASELINE} under the authors' arithmetic, and when both are implemented well", columns
    )
    baselines = [row.label for row in rows if row.method == BASELINE]
    others = [row for row in rows if row.method != BASELINE and _costs_something(reference, row, quantities)]
    if len(baselines) != 1 or not others:
        return table, Markup("")
    ratios = {
        (row.label, q.name, i): _over(found.line(baselines[0])[q.name], found.line(row.label)[q.name])
        for row in others for q in quantities for i, found in enumerate((reference, fast))
    }  # fmt: skip
    for row in others:
        cells = [
            _advantage(table, ratios[row.label, q.name, i], found.line(row.label)[q.name], q)
            for q in quantities for i, found in enumerate((reference, fast))
        ]  # fmt: skip
        table.rows.append(
            [Cell(row.label, details=(manner(row.records, execution=False),), style=styles[row.label]), *cells]
        )
    whole = [_takes(found, baselines[0], quantities) for found in (reference, fast)]
    table.legend = (
        f"Below each: what it takes itself. {baselines[0]} takes {whole[0]} in the reference execution and {whole[1]} in the fast "
        f"one. A number below 1: it takes more than {baselines[0]}. Steps of unlike batches see unlike numbers of images."
    )
    return table, Markup(" ").join(_remains(baselines[0], [row.label for row in others], ratios, quantities))


def _costs_something(found: SectionResults, row: Row, quantities: Sequence[Quantity]) -> bool:
    return any(pd.notna(found.line(row.label)[quantity.name]) for quantity in quantities)


def _takes(found: SectionResults, label: str, quantities: Sequence[Quantity]) -> str:
    line = found.line(label)
    known = [f"{q.text(line[q.name])} ({uncapitalised(q.title)})" for q in quantities if pd.notna(line[q.name])]
    return ", ".join(known) or "nothing that was recorded"


def _advantage(table: Table, ratio: float, own: float, quantity: Quantity) -> Cell:
    if pd.isna(ratio):
        return table.absent(NOT_RECORDED)
    return Cell(f"{ratio:.2f}", ratio, (quantity.text(own),))


def _remains(
    baseline: str,
    labels: Sequence[str],
    ratios: dict[tuple[str, str, int], float],
    quantities: Sequence[Quantity],
) -> Iterator[Markup]:
    """For training and memory: the largest advantage of the reference executions, what remains, and who leads then."""
    for quantity, words in ((q.name, q.noun) for q in quantities if q.noun):
        known = [x for x in labels if pd.notna(ratios[x, quantity, 0]) and pd.notna(ratios[x, quantity, 1])]
        if not known:
            continue
        most = max(known, key=lambda label: ratios[label, quantity, 0])
        ahead = max(known, key=lambda label: ratios[label, quantity, 1])
        before, after, largest = (ratios[most, quantity, 0], ratios[most, quantity, 1], ratios[ahead, quantity, 1])
        sentence = Markup("In {}, {} takes {} than {} under the authors' arithmetic, and <b>{}</b> when both are "
                          "implemented well").format(
            words, strong(most), _less(before), strong(baseline), _less(after))  # fmt: skip
        if ahead != most:
            place = "is ahead" if largest >= 1 else "comes closest"
            sentence += Markup("; then {} {}, with {}").format(strong(ahead), place, _less(largest))
        yield sentence + Markup(".")


def _less(ratio: float) -> str:
    """An advantage in words: ``4.0 times less``, and of one below 1, ``2.0 times more``."""
    return f"{units.times(ratio)} less" if ratio >= 1 else f"{units.times(1 / ratio)} more"


def _gains(
    name: str,
    rows: Sequence[Row],
    reference: SectionResults,
    fast: SectionResults,
    styles: dict[str, Style],
    quantities: Sequence[Quantity],
    *,
    scored: bool,
) -> Table:
    """A line a method: what the fast execution gains on the reference one."""
    columns = [Column("Method", "and how it was run", numeric=False)]
    columns += [Column("Accuracy", "fast − reference, points")] if scored else []
    columns += [Column(q.title, unit) for q in quantities for unit in ("reference", "fast", "times less")]
    table = Table(name, "What the fast execution gains on the reference execution", columns)
    for row in rows:
        before, after = reference.line(row.label), fast.line(row.label)
        cells = [_difference(table, before[fast.main], after[fast.main])] if scored else []
        for quantity in quantities:
            pair = before[quantity.name], after[quantity.name]
            cells += [table.absent(NOT_RECORDED) if pd.isna(v) else Cell(quantity.text(v), v) for v in pair]
            cells.append(_ratio(table, *pair))
        first = Cell(row.label, details=(manner(row.records, execution=False),), style=styles[row.label])
        table.rows.append([first, *cells])
    return table


def _difference(table: Table, before: float, after: float) -> Cell:
    if pd.isna(before) or pd.isna(after):
        return table.absent("Not every run finished in both.")
    return Cell(units.points(after - before), after - before)


def _ratio(table: Table, before: float, after: float) -> Cell:
    ratio = _over(before, after)
    return table.absent(NOT_RECORDED) if pd.isna(ratio) else Cell(f"{ratio:.2f}", ratio)


def _over(more: float, less: float) -> float:
    return more / less if pd.notna(more) and pd.notna(less) and less else float("nan")
