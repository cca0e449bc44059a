"""Two result sets side by side: before and after, two machines, two commits."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TypeVar

import numpy as np
import pandas as pd

from harness.records import RunRecord
from harness.visible import visible
from reports.format import units
from reports.format.cells import Cell, Column, Table
from reports.format.text import few, listed, plural, short, uncapitalised
from reports.results import quantities, statistics
from reports.results.costs import peak_field
from reports.results.frames import over_datasets
from reports.results.machines import TIMED_BY
from reports.results.quantity import PEAK_NAMES, Quantity
from reports.results.scores import SCORE_WORDS, TITLES
from reports.results.section_results import SectionResults, section_results
from reports.results.sections import Row, Section, plain, sections
from reports.results.titles import section_titles
from reports.tables.provenance import doubts, origins

SURE_HELP = (
    "paired comparison of the runs of both over datasets and seeds, Holm's correction for the number of methods, 5 %"
)
CHANGE_HELP = "below it the 95 % interval of this difference by itself, paired over datasets and seeds"
RATIO_HELP = (
    "below it the 95 % interval over seeds, in logarithms. A cost has changed where the seeds' ratios are told from 1 (t test, "
    "Holm's correction for the number of methods, 5 %), or where all of them are the same and read as other than 1"
)
NO_COST = "The machines differ, so times and memory are not compared."

NONE_COMPLETE = "No dataset is complete."
UNLIKE_RUNS = "Compared only where every dataset is complete in both."

T = TypeVar("T")
Run = tuple[str, int, frozenset[str]]
"""What was asked of a row: dataset, seed and tests."""


@dataclass(frozen=True, slots=True)
class Comparison:
    """Two sections that ask the same; `cautions` say what is not comparable, and what else differs.

    table: what changed first, the widest change of the score at the top, then what can't be compared, then the `unchanged` rows.
    """

    title: str
    verdict: str
    cautions: list[str]
    table: Table
    unchanged: int

    @property
    def first(self) -> Table:
        """The rows that changed, or can't be compared."""
        return replace(self.table, rows=self.table.rows[: len(self.table.rows) - self.unchanged])

    @property
    def rest(self) -> Table:
        """The rows for which no difference was found."""
        rows = self.table.rows[len(self.table.rows) - self.unchanged :]
        return replace(
            self.table, name=f"{self.table.name}-rest", caption=f"No change found: {self.table.caption}", rows=rows
        )


@dataclass(frozen=True, slots=True)
class _Change:
    """How a figure of a row differs in B: from `low` to `high` with 95 %; `sure` that it does, None where nothing can tell."""

    label: str
    value: float
    words: str
    low: float
    high: float
    sure: bool | None

    @property
    def ends(self) -> tuple[float, ...]:
        """Of the interval; none from one seed."""
        return () if np.isnan(self.low) else (self.low, self.high)

    @property
    def scatters(self) -> bool:
        """Whether there is an interval."""
        return self.high - self.low > statistics.ROUNDING


def sides(before: Sequence[RunRecord], after: Sequence[RunRecord], folders: tuple[str, str]) -> Table:
    """What A and B are, a line a fact."""
    facts = [_side(records, folder) for records, folder in zip((before, after), folders, strict=True)]
    table = Table(
        "sides", "What is compared", [Column(title, numeric=False) for title in ("What", "A", "B")], kind="wordy"
    )
    for name in facts[0]:
        if any(fact[name] for fact in facts):
            shown = [Cell(fact[name]) if fact[name] else table.absent("Not recorded.") for fact in facts]
            table.rows.append([Cell(name), *shown])
    return table


def _side(records: Sequence[RunRecord], folder: str) -> dict[str, str]:
    days = sorted({visible(r.started_at[:10]) for r in records})
    environments = [r.environment for r in records]
    return {
        "Folder": short(visible("/".join(Path(folder).parts[-2:])), 120),  # a page is handed on: no paths of a machine
        "Runs": f"{plural(len(records), 'run')} of {few({r.key.suite for r in records})}",
        "Started": " to ".join(dict.fromkeys([days[0], days[-1]])) if days else "",
        "Machine": few({e.machine for e in environments}),
        "Commit": few(
            {e.commit[:12] + (", with uncommitted changes" if e.dirty else "") for e in environments if e.commit}
        ),
    }


def compare(before: Sequence[RunRecord], after: Sequence[RunRecord]) -> tuple[list[Comparison], list[str]]:
    """Every section of one set beside that of the other with the same conditions, and what only one of them has.

    Where there is none from the same machine, one from another is taken, for accuracy alone.
    """
    mine, others = sections(before), sections(after)
    matches = _matches(mine, others, _same_condition, _elsewhere)
    found: list[Comparison] = []
    alone: list[str] = []
    for title, section, match in zip(section_titles(mine), mine, matches, strict=True):
        if match is None:
            alone.append(f"Only in A: {title}.")
        elif (common := _common(section, match))[0].rows:
            left_out = _left_out((section, common[0]), (match, common[1]))
            found.append(_comparison(f"c{len(found)}", title, *common, left_out))
        else:
            alone.append(f"No run of {title} is in both with the same tests.")
    left = [section for section in others if not any(section is match for match in matches)]
    return found, [*alone, *(f"Only in B: {title}." for title in section_titles(left))]


def _matches(mine: Sequence[T], others: Sequence[T], *alike: Callable[[T, T], bool]) -> list[T | None]:
    """For each of `mine` its own one of `others`: alike in the first sense or, where that leaves none, in the next."""
    found: list[T | None] = [None] * len(mine)
    left = list(others)
    for same in alike:
        for i, own in enumerate(mine):
            match = next((j for j, other in enumerate(left) if same(own, other)), None)
            if match is not None and found[i] is None:
                found[i] = left.pop(match)
    return found


def _same_condition(a: Section, b: Section) -> bool:
    return a.condition == b.condition


def _elsewhere(a: Section, b: Section) -> bool:
    """Alike but for the machine."""
    return replace(a.condition, machine=b.condition.machine, device=b.condition.device) == b.condition


def _comparison(name: str, title: str, a: Section, b: Section, left_out: list[str]) -> Comparison:
    both = section_results(a), section_results(b)
    costs = _comparable(a, b, both)
    same_meter = peak_field(a.records) == peak_field(b.records)
    main = both[0].main
    scores = [] if a.costs_only else _score_columns(main)
    divided = [column for cost in costs for column in _cost_columns(cost, RATIO_HELP if cost is costs[0] else "")]
    columns = [Column("Method", numeric=False), *scores, *divided]
    table = Table(name, f"A beside B: {title}", columns, kind="wordy")
    sure = _sureness(*both)
    gains = {} if a.costs_only else _gains(*both, sure)
    ratios = {cost.name: _ratios(*both, cost) for cost in costs if not cost.metered or same_meter}
    for rows in zip(a.rows, b.rows, strict=True):
        label = rows[0].label
        cells = [_method_cell(label, both)]
        cells += _score_cells(table, label, both, sure, gains) if scores else []
        for cost in costs:
            cells += _cost_cells(table, rows, both, cost, ratios.get(cost.name))
        table.rows.append(cells)
    order = {label: _place(label, gains, ratios) for label in (row.label for row in a.rows)}
    table.rows.sort(key=lambda cells: order[cells[0].text])
    unchanged = [label for label, place in order.items() if place[0] == UNCHANGED]
    verdict = _verdict(list(order), main, gains, {cost: ratios[cost.name] for cost in costs if cost.name in ratios})
    return Comparison(title, verdict, [*_cautions(a, b), *left_out], table, len(unchanged))


def _score_columns(score: str) -> list[Column]:
    return [
        *(Column(TITLES[score], f"{side}, %", data=(f"{side.lower()}_{score}_percent",)) for side in "AB"),
        Column("B − A", "points", CHANGE_HELP, data=("change_points", "low_change_points", "high_change_points")),
        Column("Sure?", "paired test", SURE_HELP, numeric=False),
    ]


def _cost_columns(cost: Quantity, explained: str) -> list[Column]:
    title, ratio = cost.short or cost.title, f"{cost.name}_ratio"
    return [
        *(Column(title, side, data=(f"{side.lower()}_{cost.name}",)) for side in "AB"),
        Column(title, "B / A", explained, data=(ratio, f"low_{ratio}", f"high_{ratio}")),
    ]


CHANGED, UNTOLD, UNCHANGED = range(3)
Changes = Mapping[str, _Change]
"""By row."""


def _place(label: str, gains: Changes, ratios: Mapping[str, Changes]) -> tuple[int, float]:
    """What became of a row, and how far its score moved."""
    gain = gains.get(label)
    told = [change.sure for change in (gain, *(by_row.get(label) for by_row in ratios.values())) if change]
    scored = bool(gain and gain.sure)
    if any(told):
        return CHANGED, -abs(gain.value) if gain and scored else 0.0
    return (UNTOLD if gain is None or None in told else UNCHANGED), 0.0


def _gains(a: SectionResults, b: SectionResults, sure: Mapping[str, float]) -> dict[str, _Change]:
    """B's score less A's, in points, of the rows of which every run finished on both sides."""
    changes = b.paired_runs(b.main) - a.paired_runs(a.main)
    found = {}
    for label, p in sure.items():
        value = float(b.line(label)[b.main] - a.line(label)[a.main])
        low, high = statistics.paired_interval(changes.loc[label].unstack())
        found[label] = _Change(label, value, units.points(value), low, high, _told(p))
    return found


def _ratios(a: SectionResults, b: SectionResults, cost: Quantity) -> dict[str, _Change]:
    """B's cost over A's, of the rows that have it on every dataset of both sides."""
    logs: dict[str, np.ndarray] = {}
    per_seed = [over_datasets(side.runs.groupby(["row", "seed"]), cost) for side in (a, b)]
    for label in a.complete.index.intersection(b.complete.index):
        values = [
            side[label].to_numpy(float) if label in side.index.unique("row") else np.array([]) for side in per_seed
        ]
        if len(values[0]) == len(values[1]) > 0 and all((side > 0).all() for side in values):
            logs[str(label)] = np.log(values[1] / values[0])
    p = statistics.holm({frozenset((label,)): statistics.p_value(found[None]) for label, found in logs.items()})
    return {label: _ratio(a, b, cost, label, found, p[frozenset((label,))]) for label, found in logs.items()}


def _ratio(a: SectionResults, b: SectionResults, cost: Quantity, label: str, logs: np.ndarray, p: float) -> _Change:
    value = float(b.line(label)[cost.name] / a.line(label)[cost.name])
    words = f"{value:.2f}"
    low, high = np.exp(statistics.paired_interval(logs[None]))
    steady = len(logs) > 1 and np.ptp(logs) < statistics.ROUNDING
    return _Change(label, value, words, float(low), float(high), words != "1.00" if steady else _told(p))


def _told(p: float) -> bool | None:
    return None if np.isnan(p) else p <= statistics.SIGNIFICANCE


def _verdict(labels: Sequence[str], main: str, gains: Changes, ratios: Mapping[Quantity, Changes]) -> str:
    """In words: what rose, what fell, what didn't, and of how many rows nothing can be said."""
    said = []
    if gains:
        said.append(_said(labels, f"{uncapitalised(SCORE_WORDS[main])} in B", gains, 0.0, " points"))
    elif not ratios:
        said.append("Nothing can be compared: no row has every run on both sides.")
    same = []
    for cost, changes in ratios.items():
        if any(change.sure for change in changes.values()):
            said.append(_said(labels, f"{uncapitalised(cost.title)} in B", changes, 1.0, " times A's"))
        elif any(change.sure is False for change in changes.values()):
            same.append(uncapitalised(cost.title))
    if same:
        said.append(f"no change of {listed(same)} was found.")
    return " ".join(f"{text[:1].upper()}{text[1:]}" for text in said)


def _said(labels: Sequence[str], what: str, changes: Changes, same: float, unit: str) -> str:
    up = [c for c in changes.values() if c.sure and c.value > same]
    down = [c for c in changes.values() if c.sure and c.value < same]
    alike = sum(c.sure is False for c in changes.values())
    untold = len(labels) - len(up) - len(down) - alike
    told = []
    for way, found in (("higher", up), ("lower", down)):
        if found:
            ordered = sorted(found, key=lambda c: abs(c.value - same), reverse=True)
            told.append(f"{way} for {len(found)} ({listed([_named(c, unit) for c in ordered], 3)})")
    told += [f"no difference found for {alike}"] if alike else []
    told += [f"not comparable for {untold}"] if untold else []
    return f"{what}, of {plural(len(labels), 'method')}: {'; '.join(told)}."


def _named(change: _Change, unit: str) -> str:
    return f"{change.label} {change.words}{unit}{f', {_range(change)}' if change.scatters else ''}"


def _range(change: _Change) -> str:
    """``+0.85 to +1.15``; of a ratio ``0.48 to 0.52``."""
    return " to ".join(
        units.points(end) if change.words[0] in "+−±" else f"{end:.2f}" for end in (change.low, change.high)
    )


def _common(a: Section, b: Section) -> tuple[Section, Section]:
    """The two sections, each without the runs that the other lacks: the same rows in the same order, labelled as in A."""
    kept: tuple[list[Row], list[Row]] = ([], [])
    for own, other in _row_pairs(a, b):
        runs, theirs = _runs(a, own), _runs(b, other)
        common = [run for run in runs if run in theirs]
        for rows, found in zip(kept, (runs, theirs), strict=True):
            rows += [Row(own.label, own.method, tuple(found[run] for run in common))] if common else []
    return replace(a, rows=tuple(kept[0])), replace(b, rows=tuple(kept[1]))


def _row_pairs(a: Section, b: Section) -> list[tuple[Row, Row]]:
    """The rows of one method and configuration on some dataset; then those of one label, which depends on the rows beside it."""
    configured = {
        id(row): {(r.key.dataset, frozenset(_fields(r).items())) for r in row.records} for row in (*a.rows, *b.rows)
    }

    def run_alike(own: Row, other: Row) -> bool:
        return own.method == other.method and not configured[id(own)].isdisjoint(configured[id(other)])

    matches = _matches(a.rows, b.rows, run_alike, lambda own, other: own.label == other.label)
    return [(row, match) for row, match in zip(a.rows, matches, strict=True) if match]


def _runs(section: Section, row: Row) -> dict[Run, RunRecord]:
    return {(r.key.dataset, r.key.seed, frozenset(section.tests(r))): r for r in row.records}


def _left_out(*sides: tuple[Section, Section]) -> list[str]:
    """What of either side has no counterpart."""
    found = []
    for side, (whole, kept) in zip("AB", sides, strict=True):
        missing = len(whole.records) - len(kept.records)
        found_again = {id(r) for r in kept.records}
        rows = sorted(row.label for row in whole.rows if found_again.isdisjoint(map(id, row.records)))
        if missing:
            only = f", all of {listed(rows)} among them" if rows else ""
            found.append(f"Left out: {plural(missing, 'run')} of {side} without a counterpart{only}.")
    return found


def _comparable(a: Section, b: Section, both: tuple[SectionResults, SectionResults]) -> list[Quantity]:
    """The costs that may be divided: none of unlike machines, no time where what it depends on differs."""
    if a.condition != b.condition:
        return []
    unlike = bool(_unlike(a, b).keys() & set(TIMED_BY))
    shown = quantities.shown_in("compare", a.costs_only, *(n.summary for n in both))
    return [cost for cost in shown if not (unlike and cost.timed)]


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
    found: dict[str, dict[str, tuple[set[str], set[str]]]] = {}
    labels = [row.label for row in a.rows for _ in row.records]
    for label, record, match in zip(labels, a.records, b.records, strict=True):
        own, other = _fields(record), _fields(match)
        for name in sorted(n for n in {**own, **other} if own.get(n) != other.get(n)):
            values = found.setdefault(label, {}).setdefault(name, (set(), set()))
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


def _method_cell(label: str, both: tuple[SectionResults, SectionResults]) -> Cell:
    """A row's heading, with the side whose figures are averages of fewer datasets."""
    covered = {side: n.coverage(label) for side, n in zip("AB", both, strict=True)}
    return Cell(label, tags=tuple(f"{side}: {words}" for side, words in covered.items() if words))


def _score_cells(
    table: Table, label: str, both: tuple[SectionResults, SectionResults], sure: Mapping[str, float], gains: Changes
) -> list[Cell]:
    main = both[0].main
    lines = [n.line(label) for n in both]
    shown = [table.absent(NONE_COMPLETE) if pd.isna(line[main]) else
             Cell(units.percent(line[main]), line[main]) for line in lines]  # fmt: skip
    if label not in sure:
        return [*shown, *[table.absent(UNLIKE_RUNS)] * 2]
    return [*shown, _change_cell(gains[label]), Cell(statistics.in_words(sure[label]))]


def _change_cell(change: _Change) -> Cell:
    return Cell(change.words, change.value, details=(_range(change),) if change.scatters else (), more=change.ends)


def _sureness(a: SectionResults, b: SectionResults) -> dict[str, float]:
    """The p of a change, for the rows of which every run finished on both sides; Holm's correction over the rows."""
    both = [label for label in a.complete.index if label in b.complete.index]
    changes = b.paired_runs(b.main) - a.paired_runs(a.main)
    found = {frozenset((str(label),)): statistics.p_value(changes.loc[label].unstack()) for label in both}
    return {label: p for (label,), p in statistics.holm(found).items()}


def _cost_cells(
    table: Table,
    rows: tuple[Row, Row],
    both: tuple[SectionResults, SectionResults],
    cost: Quantity,
    ratios: Changes | None,
) -> list[Cell]:
    """`ratios`: None where the two sides were measured by different meters."""
    shown = [_cost_cell(table, *side, cost) for side in zip(rows, both, strict=True)]
    if ratios is None:
        meters = " and ".join(PEAK_NAMES[n.peak] for n in both)
        return [*shown, table.absent(f"Measured by different meters: {meters}.")]
    if any(n.coverage(rows[0].label) for n in both):
        return [*shown, table.absent(UNLIKE_RUNS)]
    ratio = ratios.get(rows[0].label)
    return [*shown, _change_cell(ratio) if ratio else table.absent("Nothing to divide.")]


def _cost_cell(table: Table, row: Row, results: SectionResults, cost: Quantity) -> Cell:
    line = results.line(row.label)
    if not line["complete"]:
        return table.absent(NONE_COMPLETE)
    value = float(line[cost.name])
    return table.absent(cost.reason(row, results.peak)) if np.isnan(value) else Cell(cost.text(value), value)
