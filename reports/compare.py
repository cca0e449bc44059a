"""Two result sets side by side: before and after, two machines, two commits."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd

from harness.records import RunRecord
from reports import statistics, units
from reports.cells import Cell, Column, Table
from reports.costs import peak_field
from reports.document import render
from reports.groups import Section, sections
from reports.page import section_titles
from reports.quantities import PEAK_NAMES, TITLES
from reports.tables import Tables, tables
from reports.text import listed, plural, short, visible

COSTS = (("train_seconds", "Train time", units.duration), ("step_seconds", "Step", units.duration),
         ("train_peak_bytes", "Peak memory", units.size))  # fmt: skip
SURE_HELP = (
    "paired comparison of the same runs over datasets and seeds, Holm's correction for the number of methods, 5 %"
)
NO_COST = "The machines differ, so times and memory are not compared."


@dataclass(frozen=True, slots=True)
class Comparison:
    """Two sections that ask the same; `cautions` say what is not comparable, and what else differs."""

    title: str
    cautions: list[str]
    table: Table


def compare(before: Sequence[RunRecord], after: Sequence[RunRecord]) -> tuple[list[Comparison], list[str]]:
    """Every section of one set beside that of the other with the same conditions, and what only one of them has.

    Where there is none from the same machine, one from another is taken, for accuracy alone.
    """
    mine, others = sections(before), list(sections(after))
    found: list[Comparison] = []
    alone: list[str] = []
    for title, section in zip(section_titles(mine), mine, strict=True):
        match = _match(section, others)
        if match is None:
            alone.append(f"Only in A: {title}.")
        else:
            others.remove(match)
            common = _common(section, match)
            if not common[0].rows or len({(s.paired, s.transfers) for s in common}) > 1:
                alone.append(f"No run of {title} is in both with the same tests.")
                continue
            found.append(_comparison(f"c{len(found)}", title, section, match))
    return found, [*alone, *(f"Only in B: {title}." for title in section_titles(others))]


def compare_page(before: Sequence[RunRecord], after: Sequence[RunRecord]) -> str:
    """The comparison as one self-contained page."""
    found, alone = compare(before, after)
    return render("compare.html.j2", title="Comparison of two result sets", comparisons=found, alone=alone)


def _match(section: Section, others: Sequence[Section]) -> Section | None:
    def asked(condition: Section) -> object:
        return replace(condition.condition, machine="", device="")

    alike = [other for other in others if asked(other) == asked(section)]
    return next((o for o in alike if o.condition == section.condition), alike[0] if alike else None)


def _comparison(name: str, title: str, whole_a: Section, whole_b: Section) -> Comparison:
    a, b = _common(whole_a, whole_b)
    numbers = tables(a), tables(b)
    same_machine = a.condition == b.condition
    same_meter = peak_field(a.records) == peak_field(b.records)
    main = numbers[0].main
    scores = [] if a.costs_only else [Column(TITLES[main], "A, %"), Column(TITLES[main], "B, %"),
              Column("B − A", "points"), Column("Sure?", "paired test", SURE_HELP, numeric=False)]  # fmt: skip
    costs = [column for _, word, _ in COSTS for column in (Column(word, "A"), Column(word, "B"), Column(word, "B / A"))]
    columns = [Column("Method", numeric=False), *scores, *(costs if same_machine else ())]
    table = Table(name, f"A beside B: {title}", columns, kind="wordy")
    sure = _sureness(*numbers)
    for row in a.rows:
        if any(row.label == other.label for other in b.rows):
            cells = [Cell(row.label)]
            cells += _score_cells(table, row.label, numbers, sure) if scores else []
            for column, _, text in COSTS if same_machine else ():
                cells += _cost_cells(
                    table, row.label, numbers, column, text, column != "train_peak_bytes" or same_meter
                )
            table.rows.append(cells)
    return Comparison(title, [*_cautions(a, b), *_left_out((whole_a, a), (whole_b, b))], table)


def _common(*both: Section) -> list[Section]:
    """The two sections, each without the runs that the other lacks: a run is a row, a dataset and a seed."""
    runs = [{(row.label, r.key.dataset, r.key.seed) for row in section.rows for r in row.records} for section in both]
    common = set.intersection(*runs)
    kept = []
    for section in both:
        rows = [
            replace(row, records=tuple(r for r in row.records if (row.label, r.key.dataset, r.key.seed) in common))
            for row in section.rows
        ]
        kept.append(replace(section, rows=tuple(row for row in rows if row.records)))
    return kept


def _left_out(*sides: tuple[Section, Section]) -> list[str]:
    """What of either side has no counterpart."""
    found = []
    for side, (whole, kept) in zip("AB", sides, strict=True):
        missing = len(whole.records) - len(kept.records)
        rows = sorted({row.label for row in whole.rows} - {row.label for row in kept.rows})
        if missing:
            only = f", all of {listed(rows)} among them" if rows else ""
            found.append(f"Left out: {plural(missing, 'run')} of {side} without a counterpart{only}.")
    return found


def _cautions(a: Section, b: Section) -> list[str]:
    found = []
    if a.condition != b.condition:
        machines = [f"{s.condition.machine} ({s.condition.device})" for s in (a, b)]
        found.append(f"{NO_COST} A: {short(visible(machines[0]), 120)}. B: {short(visible(machines[1]), 120)}.")
    for what, values in (("Commits", [{r.environment.commit for r in s.records} for s in (a, b)]),
                         ("Weights", [{r.weights_sha256 for r in s.records} for s in (a, b)])):  # fmt: skip
        if values[0] != values[1]:
            shown = [listed(sorted(v[:12] for v in side if v)) or "unknown" for side in values]
            found.append(f"{what} differ. A: {shown[0]}. B: {shown[1]}.")
    for side, section in (("A", a), ("B", b)):
        if any(w.contended for r in section.records for w in r.windows.values()):
            found.append(f"Some runs of {side} shared the processor with others: their times are too long.")
    return found


def _score_cells(table: Table, label: str, numbers: tuple[Tables, Tables], sure: dict[str, str]) -> list[Cell]:
    main = numbers[0].main
    lines = [n.line(label) for n in numbers]
    shown = [table.absent("No dataset is complete.") if pd.isna(line[main]) else
             Cell(units.percent(line[main]), line[main]) for line in lines]  # fmt: skip
    if label not in sure:
        return [*shown, *[table.absent("Not every run finished in both.")] * 2]
    difference = lines[1][main] - lines[0][main]
    return [*shown, Cell(units.points(difference), difference), Cell(sure[label])]


def _sureness(a: Tables, b: Tables) -> dict[str, str]:
    """In words, for the rows of which every run finished on both sides; Holm's correction over the rows."""
    both = [label for label in a.complete.index if label in b.complete.index]
    found = {frozenset((str(label),)): statistics.p_value(_differences(a, b, str(label))) for label in both}
    return {label: statistics.in_words(p) for (label,), p in statistics.holm(found).items()}


def _differences(a: Tables, b: Tables, label: str) -> np.ndarray:
    """(datasets, seeds), NaN where only one has the run."""
    own, other = ({(d, s): v for (r, d, s), v in n.by_run.items() if r == label} for n in (a, b))
    series = pd.Series({key: other[key] - own[key] for key in own if key in other}, dtype=float)
    return series.unstack().to_numpy(float) if len(series) else np.empty((0, 0))


def _cost_cells(
    table: Table, label: str, numbers: tuple[Tables, Tables], column: str, text: Callable[[float], str], same: bool
) -> list[Cell]:
    a, b = (float(n.line(label)[column]) for n in numbers)
    shown = [table.absent("Not recorded.") if np.isnan(v) else Cell(text(v), v) for v in (a, b)]
    if not same:
        meters = " and ".join(PEAK_NAMES[n.peak] for n in numbers)
        return [*shown, table.absent(f"Measured by different meters: {meters}.")]
    if np.isnan(a) or np.isnan(b) or not a or any(label not in n.complete.index for n in numbers):
        return [*shown, table.absent("Nothing to divide, or not every run finished in both.")]
    return [*shown, Cell(f"{b / a:.2f}", b / a)]
