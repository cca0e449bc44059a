"""Two result sets side by side: before and after, two machines, two commits."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import asdict, dataclass, replace

import numpy as np
import pandas as pd

from harness.records import RunRecord
from reports import statistics, units
from reports.cells import Cell, Column, Table
from reports.costs import peak_field
from reports.document import render
from reports.groups import Condition, Section, plain, sections
from reports.page import section_titles
from reports.provenance import TIMED_BY, doubts, few, origins
from reports.quantities import PEAK_NAMES, TITLES
from reports.tables import Tables, tables
from reports.text import listed, plural, short, visible

COSTS = (("train_seconds", "Train time", units.duration), ("step_seconds", "Step", units.duration),
         ("train_peak_bytes", "Peak", units.size))  # fmt: skip
SURE_HELP = (
    "paired comparison of the runs of both over datasets and seeds, Holm's correction for the number of methods, 5 %"
)
NO_COST = "The machines differ, so times and memory are not compared."

Run = tuple[str, str, int, frozenset[str]]
"""A row's label, dataset, seed and tests."""


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
    mine, left = sections(before), list(sections(after))
    matches = _matches(mine, left)
    found: list[Comparison] = []
    alone: list[str] = []
    for title, section, match in zip(section_titles(mine), mine, matches, strict=True):
        if match is None:
            alone.append(f"Only in A: {title}.")
        elif not _runs(section).keys() & _runs(match).keys():
            alone.append(f"No run of {title} is in both with the same tests.")
        else:
            found.append(_comparison(f"c{len(found)}", title, section, match))
    return found, [*alone, *(f"Only in B: {title}." for title in section_titles(left))]


def compare_page(before: Sequence[RunRecord], after: Sequence[RunRecord]) -> str:
    """The comparison as one self-contained page."""
    found, alone = compare(before, after)
    return render("compare.html.j2", title="Comparison of two result sets", comparisons=found, alone=alone)


def _matches(mine: Sequence[Section], others: list[Section]) -> list[Section | None]:
    """For each section the other of the same condition; then, where there is none, one from another machine.

    What is taken leaves `others`.
    """
    found: list[Section | None] = [None] * len(mine)
    for asked in (lambda section: section.condition, _anywhere):
        for i, section in enumerate(mine):
            match = next((o for o in others if asked(o) == asked(section)), None)
            if match is not None and found[i] is None:
                found[i] = match
                others.remove(match)
    return found


def _anywhere(section: Section) -> Condition:
    return replace(section.condition, machine="", device="")


def _comparison(name: str, title: str, whole_a: Section, whole_b: Section) -> Comparison:
    a, b = _common(whole_a, whole_b)
    numbers = tables(a), tables(b)
    costs = _comparable(a, b)
    same_meter = peak_field(a.records) == peak_field(b.records)
    main = numbers[0].main
    scores = [] if a.costs_only else [Column(TITLES[main], "A, %"), Column(TITLES[main], "B, %"),
              Column("B − A", "points"), Column("Sure?", "paired test", SURE_HELP, numeric=False)]  # fmt: skip
    divided = [Column(word, side) for _, word, _ in costs for side in ("A", "B", "B / A")]
    columns = [Column("Method", numeric=False), *scores, *divided]
    table = Table(name, f"A beside B: {title}", columns, kind="wordy")
    sure = _sureness(*numbers)
    for row in a.rows:
        cells = [Cell(row.label)]
        cells += _score_cells(table, row.label, numbers, sure) if scores else []
        for column, _, text in costs:
            cells += _cost_cells(table, row.label, numbers, column, text, column != "train_peak_bytes" or same_meter)
        table.rows.append(cells)
    return Comparison(title, [*_cautions(a, b), *_left_out((whole_a, a), (whole_b, b))], table)


def _runs(section: Section) -> dict[Run, RunRecord]:
    return {
        (row.label, r.key.dataset, r.key.seed, frozenset(section.tests(r))): r
        for row in section.rows
        for r in row.records
    }


def _common(*both: Section) -> list[Section]:
    """The two sections, each without the runs that the other lacks."""
    common = set.intersection(*(set(_runs(section)) for section in both))
    kept = []
    for section in both:
        own = {id(r) for run, r in _runs(section).items() if run in common}
        rows = [replace(row, records=tuple(r for r in row.records if id(r) in own)) for row in section.rows]
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


def _comparable(a: Section, b: Section) -> Sequence[tuple[str, str, Callable[[float], str]]]:
    """The costs that may be divided: none of unlike machines, no time where what it depends on differs."""
    if a.condition != b.condition:
        return ()
    return [cost for cost in COSTS if cost[0] == "train_peak_bytes"] if TIMED_BY & _unlike(a, b).keys() else COSTS


def _unlike(a: Section, b: Section) -> dict[str, str]:
    """Weights, commit, machine and software: what is not one and the same in all runs of both, in words."""
    sides = origins(a.records), origins(b.records)
    facts = {**sides[0], **sides[1]} if all(sides) else {}
    values = {fact: [side.get(fact, {"unknown"}) for side in sides] for fact in facts}
    return {fact: _either(own, other) for fact, (own, other) in values.items() if len(own | other) > 1}


def _either(own: Collection[str], other: Collection[str]) -> str:
    return f"{few(own)} in A, {few(other)} in B"


def _cautions(a: Section, b: Section) -> list[str]:
    unlike = _unlike(a, b)
    times = [f"{fact} ({values})" for fact, values in unlike.items() if fact in TIMED_BY]
    others = [f"{fact} ({values})" for fact, values in unlike.items() if fact not in TIMED_BY]
    found = []
    if a.condition != b.condition:
        machines = [f"{s.condition.machine} ({s.condition.device})" for s in (a, b)]
        found.append(f"{NO_COST} A: {short(visible(machines[0]), 120)}. B: {short(visible(machines[1]), 120)}.")
    elif times:
        found.append(f"The machines differ, so times are not compared: {listed(times)}.")
    if others:
        found.append(f"Not of one origin: {listed(others)}.")
    found += [f"{side}: {doubt}" for side, section in (("A", a), ("B", b)) for doubt in doubts(section)]
    return found + _configured(a, b)


def _configured(a: Section, b: Section) -> list[str]:
    """The rows whose settings or recipe are not the same in A and B, with the fields."""
    theirs = _runs(b)
    found: dict[str, dict[str, tuple[set[str], set[str]]]] = {}
    for run, record in _runs(a).items():
        own, other = _fields(record), _fields(theirs[run])
        for name in sorted(n for n in {**own, **other} if own.get(n) != other.get(n)):
            values = found.setdefault(run[0], {}).setdefault(name, (set(), set()))
            for side, fields in zip(values, (own, other), strict=True):
                side.add(fields.get(name, "none"))
    return [
        f"{label} was not run alike: "
        + "; ".join(f"{short(visible(name), 60)} {_either(*values)}" for name, values in fields.items()) + "."
        for label, fields in found.items()
    ]  # fmt: skip


def _fields(record: RunRecord) -> dict[str, str]:
    """Settings and recipe, each value as ``--set`` takes it."""
    recipe = asdict(record.key.recipe)
    del recipe["settings"]  # the run's settings hold them
    return {name: plain(value) for name, value in {**recipe, **record.key.settings}.items()}


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
    changes = b.paired_runs(b.main) - a.paired_runs(a.main)
    found = {frozenset((str(label),)): statistics.p_value(changes.loc[label].unstack()) for label in both}
    return {label: statistics.in_words(p) for (label,), p in statistics.holm(found).items()}


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
