"""Sections that differ in one condition only: a curve over shots, the fast execution against the authors' arithmetic."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import pandas as pd

from reports import units
from reports.cells import Cell, Column, Table
from reports.charts import Point, Style
from reports.curves import curves
from reports.groups import Section, grouped
from reports.pictures import SCORE, Chart, point
from reports.tables import Tables
from reports.text import short, visible

Found = tuple[Section, Tables]

BANDS = "The bands are 95 % intervals over seeds; those that leave the frame are whole in the table."


@dataclass(frozen=True, slots=True)
class Overview:
    """What a family of sections shows together, above the sections themselves."""

    title: str
    explained: str
    table: Table
    charts: tuple[Chart, ...] = ()


def overviews(found: Sequence[Found], styles: dict[str, Style]) -> list[Overview]:
    """One for each set of sections that differ in shots alone, or in execution alone."""
    by_shots = grouped(found, lambda pair: (pair[1].main, replace(pair[0].condition, shots=0)))
    by_execution = grouped(found, lambda pair: (pair[1].main, replace(pair[0].condition, execution="")))
    shots = [_few_shot(f"f{i}", family, styles) for i, family in enumerate(by_shots.values()) if len(family) > 1]
    pairs = [_execution(f"e{i}", family, styles) for i, family in enumerate(by_execution.values()) if len(family) > 1]
    return [*shots, *pairs]


def _few_shot(name: str, family: Sequence[Found], styles: dict[str, Style]) -> Overview:
    ordered = sorted(family, key=lambda pair: pair[0].condition.shots)
    condition, main = ordered[0][0].condition, ordered[0][1].main
    labels = list(dict.fromkeys(row.label for section, _ in ordered for row in section.rows))
    columns = [Column("Method", numeric=False), *(Column(f"{s.condition.shots}-shot", "%") for s, _ in ordered)]
    table = Table(f"{name}-shots", f"{SCORE[main][:-3]} by number of shots", columns)
    for label in sorted(labels, key=lambda label: -_last(ordered, label)):
        cells = [_score(table, found, label) for _, found in ordered]
        table.rows.append([Cell(label, style=styles[label]), *cells])
    lines = {label: line for label in labels if len(line := _line(ordered, label, styles)) > 1}
    charts = []
    if lines:
        svg = curves(f"{name}-curves", lines, "Training images a class (shots)", SCORE[main])
        charts.append(Chart(svg, SCORE[main][:-3], f"Higher is better. {BANDS}"))
    return Overview(
        f"{short(visible(condition.suite), 60)}: accuracy by shots",
        "Rows that have finished every dataset at a number of shots; each number of shots has its own section below.",
        table,
        tuple(charts),
    )


def _line(ordered: Sequence[Found], label: str, styles: dict[str, Style]) -> list[Point]:
    return [
        replace(point(found.line(label), styles, found.main, found.main), x=section.condition.shots, x_margin=None)
        for section, found in ordered
        if label in found.complete.index
    ]


def _last(ordered: Sequence[Found], label: str) -> float:
    scores = [found.line(label)[found.main] for _, found in ordered if label in found.complete.index]
    return scores[-1] if scores else 0.0


def _score(table: Table, found: Tables, label: str) -> Cell:
    if label not in found.complete.index:
        return table.absent("Not every dataset and seed finished.")
    line = found.line(label)
    margin = line[f"{found.main}_margin"]
    details = (units.percent_range(line[found.main], margin),) if margin >= 0.005 else ()
    best = line[found.main] == found.complete[found.main].max()
    return Cell(units.percent(line[found.main]), line[found.main], details, best=best,
                tied=not best and label in found.tied_with_best())  # fmt: skip


def _execution(name: str, family: Sequence[Found], styles: dict[str, Style]) -> Overview:
    by = {section.condition.execution: (section, found) for section, found in family}
    reference, fast = by["reference"][1], by["fast"][1]
    columns = [
        Column("Method", numeric=False),
        Column("Accuracy", "fast − reference, points"),
        Column("Train time", "reference"), Column("Train time", "fast"), Column("Speed-up", "train time, times"),
        Column("Step", "reference"), Column("Step", "fast"), Column("Speed-up", "step, times"),
        Column("Peak memory", "reference"), Column("Peak memory", "fast"), Column("Saving", "peak, times"),
    ]  # fmt: skip
    table = Table(f"{name}-executions", "Reference execution against fast execution", columns)
    for label in [label for label in reference.summary.index if label in fast.summary.index]:
        before, after = reference.line(label), fast.line(label)
        cells = [_gain(table, before, after, fast.main)]
        for column, text in (
            ("train_seconds", units.duration),
            ("step_seconds", units.duration),
            ("train_peak_bytes", units.size),
        ):
            pair = [table.absent("Not recorded, or nothing to train.") if pd.isna(v) else Cell(text(v), v)
                    for v in (before[column], after[column])]  # fmt: skip
            cells += [*pair, _ratio(table, before[column], after[column])]
        table.rows.append([Cell(label, style=styles[label]), *cells])
    title = f"{short(visible(by['fast'][0].condition.suite), 60)}: authors' arithmetic against fast execution"
    return Overview(
        title,
        "The reference execution does the authors' arithmetic; the fast one leaves out work that cannot change the result. "
        "Both ran on this machine with the same recipe.",
        table,
    )


def _gain(table: Table, before: pd.Series, after: pd.Series, main: str) -> Cell:
    if before["complete"] != after["complete"] or pd.isna(before[main]) or pd.isna(after[main]):
        return table.absent("The two did not finish the same datasets.")
    return Cell(units.points(after[main] - before[main]), after[main] - before[main])


def _ratio(table: Table, before: float, after: float) -> Cell:
    if pd.isna(before) or pd.isna(after) or not after:
        return table.absent("Not recorded, or nothing to train.")
    return Cell(f"{before / after:.2f}", before / after)
