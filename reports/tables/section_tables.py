"""A section's results as tables of the page."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

import numpy as np
import pandas as pd

from reports.format import units
from reports.format.cells import Cell, Column, Table
from reports.format.styles import Style
from reports.format.text import listed, plural
from reports.results import quantities
from reports.results.frames import harmonic_mean, over_datasets
from reports.results.quantity import Quantity, concerns
from reports.results.scores import BY_DESIGN, EQUAL, GROUP_HELP, INTERVAL_HELP, TITLES, score_column
from reports.results.section_results import SectionResults, gaps
from reports.results.sections import REFERENCE, Row
from reports.tables.provenance import manner

LETTERS = "abcdefghijklmnopqrstuvwxyz"


def headline(name: str, results: SectionResults, styles: dict[str, Style]) -> Table:
    """A line a row, best first: scores with their interval and their gain on the reference, the rank group, then costs."""
    scores = [*results.metrics, "h"] if results.main == "h" else list(results.metrics)
    if results.section.costs_only:
        scores = []
    groups = results.rank_groups() if scores else {}
    costs = quantities.shown_in("headline", results.section.costs_only, results.summary)
    columns = [
        _method_column(),
        *(score_column(s, bool(results.summary[f"{s}_gain"].notna().any())) for s in scores),
        *([Column("Group", "tied share a letter", GROUP_HELP, numeric=False)] if groups else []),
        *(cost.column(results.peak) for cost in costs),
    ]
    table = Table(
        name, "Cost of each method" if results.section.costs_only else "Accuracy and cost of each method", columns
    )
    for row in ranked(results):
        cells = [method_cell(table, row, results, styles, manner(row.records) if results.section.costs_only else "")]
        cells += [_score_cell(table, row, score, results) for score in scores]
        cells += [_group_cell(table, row, groups, results)] if groups else []
        cells += [_cost_cell(table, row, cost, results) for cost in costs]
        table.rows.append(cells)
    if any("–" in d for cells in table.rows for c in cells for d in c.details):
        table.legend = f"Ranges are 95 % intervals: {INTERVAL_HELP}."
    return table


def cost_table(name: str, results: SectionResults, styles: dict[str, Style]) -> Table:
    """A line a row: where the time and the memory go, and how the row was run."""
    costs = quantities.shown_in("details", results.section.costs_only, results.summary)
    table = Table(name, "Where time and memory go", [_method_column(), *(cost.column(results.peak) for cost in costs)])
    for row in ranked(results):
        cells = [_cost_cell(table, row, cost, results) for cost in costs]
        table.rows.append([method_cell(table, row, results, styles, manner(row.records)), *cells])
    return table


def seed_table(name: str, results: SectionResults, styles: dict[str, Style]) -> Table:
    """A line a row and seed: the score as the headline has it, of that seed alone, and its training time."""
    scores, seeds = _by_seed(results), results.runs.groupby(["row", "seed"])
    costs = [
        (cost, over_datasets(seeds, cost))
        for cost in quantities.shown_in("seeds", results.section.costs_only, results.summary)
    ]
    finished = seeds["dataset"].nunique()
    columns = [_method_column(), Column("Seed"), SEED_SCORE[results.main]]
    columns += [Column(cost.title, cost.unit, lowest_first=cost.better < 0, data=(cost.name,)) for cost, _ in costs]
    table = Table(name, "Each seed by itself", columns, features=("filter",))
    for row in ranked(results):
        for seed in row.seeds:
            own = row.label, seed
            whole = finished.get(own) == len(results.section.datasets)
            table.rows.append([
                Cell(row.label, style=styles[row.label]),
                Cell(str(seed), seed),
                _number(table, scores.get(own), units.percent, lambda: GAP),
                *(_number(table, found[own], cost.text, partial(cost.reason, row, results.peak)) if whole
                  else table.absent(GAP) for cost, found in costs),
            ])  # fmt: skip
    return table


def _by_seed(results: SectionResults) -> pd.Series:
    """The score that ranks, by (row, seed): the mean over its tests; H is that of the mean base and the mean new."""
    own = results.scores[results.scores["metric"].isin(["base", "new"] if results.main == "h" else [results.main])]
    by_unit = own.groupby(["row", "seed", "metric", "unit"])["percent"].mean().unstack("unit")
    means = by_unit.mean(axis=1, skipna=False).unstack("metric")
    if results.main == "h":
        means["h"] = [harmonic_mean(b, n) for b, n in zip(means["base"], means["new"], strict=True)]
    return means[results.main]


GAP = "A run of this seed is missing."
SEED_SCORE = {
    "h": Column("H", "%", "harmonic mean of the seed's average base and average new", data=("h_percent",)),
    "accuracy": Column("Accuracy", "%", data=("accuracy_percent",)),
    "target": Column("Targets", "%", data=("target_percent",)),
}


def ranked(results: SectionResults) -> list[Row]:
    """Complete rows, best first; then the others; the reference last of all. The cheapest first where only costs count."""
    by = [cost.name for cost in quantities.ranking_costs()]
    best = results.complete.sort_values(by) if results.section.costs_only else results.complete
    order = {label: i for i, label in enumerate(best.index)}
    return sorted(results.section.rows, key=lambda r: (r.method == REFERENCE, order.get(r.label, len(order)), r.label))


def method_cell(table: Table, row: Row, results: SectionResults, styles: dict[str, Style], how: str = "") -> Cell:
    """A row's heading, with how it was run, and whatever keeps it from being compared."""
    tags = ["reference"] if row.method == REFERENCE else []
    note = None
    if covered := results.coverage(row.label):
        tags.append(covered)
        missing = "; ".join(gaps(results.section, row)) or "an accuracy is missing from a record"
        note = table.note(f"Incomplete, so not ranked and not comparable: {missing}.")
    most = max(len(r.seeds) for r in results.section.rows)
    if len(row.seeds) < most:
        tags.append(f"{len(row.seeds)} of {plural(most, 'seed')}")
    return Cell(row.label, details=(how,) if how else (), tags=tuple(tags), note=note, style=styles[row.label],
                apart=bool(covered))  # fmt: skip


def _method_column() -> Column:
    return Column("Method", numeric=False)


def _score_cell(table: Table, row: Row, score: str, results: SectionResults) -> Cell:
    line = results.line(row.label)
    if pd.isna(line[score]):
        return table.absent("No dataset is complete, so there is nothing to average.")
    gain, spread = line[f"{score}_gain"], line[f"{score}_margin"]
    details = [units.points(gain)] if pd.notna(gain) else []
    details += [units.percent_range(line[score], spread)] if spread >= 0.005 else []
    rivals = results.competing(score)[score]
    best = row.label in rivals.index and stands_out(line[score], rivals, units.percent)
    note = borrowed_note(table, results, row, [score])
    ends = [max(line[score] - spread, 0), min(line[score] + spread, 100)] if pd.notna(spread) else []
    more = (float(gain) if pd.notna(gain) else None, *map(float, ends))
    return Cell(units.percent(line[score]), line[score], tuple(details), best=best, note=note, more=more)


def borrowed_note(
    table: Table, results: SectionResults, row: Row, metrics: Sequence[str], unit: str | None = None
) -> int | None:
    """A footnote on the figures (on a unit) that are the pretrained backbone's, with the reason that is known."""
    found = [metric for metric in metrics if results.borrowed(row.label, metric, unit)]
    if not found:
        return None
    said = all(results.by_design(row.label, metric, unit) for metric in found)
    return table.note((BY_DESIGN if said else EQUAL).format(listed([TITLES[metric] for metric in found])))


FEW_SEEDS = "Not compared: it has fewer than two seeds in common with the others."


def _group_cell(table: Table, row: Row, groups: dict[str, tuple[int, ...]], results: SectionResults) -> Cell:
    if row.label not in groups:
        complete = row.label in results.complete.index
        return table.absent(FEW_SEEDS if complete else "Only rows that have finished every dataset are compared.")
    return Cell(" ".join(LETTERS[g] if g < 26 else str(g) for g in groups[row.label]), groups[row.label][0])


def _cost_cell(table: Table, row: Row, cost: Quantity, results: SectionResults) -> Cell:
    line, name = results.line(row.label), cost.name
    if pd.isna(line[name]):
        return table.absent(cost.reason(row, results.peak))
    spread = line[f"{name}_margin"]
    details: tuple[str, ...] = ()
    if pd.notna(spread) and spread > 0.001 * line[name]:
        details = (f"{cost.text(max(line[name] - spread, 0))} – {cost.text(line[name] + spread)}",)
    known = results.complete[name].dropna()
    comparable = bool(cost.better) and concerns(cost.best_of, results.section.costs_only) and row.label in known.index
    best = comparable and stands_out(line[name], known, cost.text, cost.better)
    ends = (max(line[name] - spread, 0.0), line[name] + spread) if pd.notna(spread) else ()
    return Cell(cost.text(line[name]), line[name], details, best=best, more=tuple(map(float, ends)))


def stands_out(value: float, among: pd.Series, text: Callable[[float], str], better: int = 1) -> bool:
    """Whether a value reads as the best of `among`, and not just because all of them read alike."""
    known = among.to_numpy(float)
    low, high = text(np.fmin.reduce(known)), text(np.fmax.reduce(known))
    return low != high and text(value) == (high if better > 0 else low)


def _number(table: Table, value: float | None, text: Callable[[float], str], why: Callable[[], str]) -> Cell:
    return table.absent(why()) if value is None or pd.isna(value) else Cell(text(value), value)
