"""A section's results as tables of the page."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import pandas as pd

from reports.format import units
from reports.format.cells import Cell, Column, Table
from reports.format.styles import Style
from reports.format.text import plural
from reports.results.costs import reason
from reports.results.frames import harmonic_mean
from reports.results.quantities import BORROWED, GROUP_HELP, INTERVAL_HELP, TITLES, Cost, cost_columns, score_column
from reports.results.section_results import Tables, gaps
from reports.results.sections import REFERENCE, Row, Section
from reports.tables.provenance import manner

HEADLINE_COSTS = (
    "train_seconds",
    "images_per_second",
    "train_peak_bytes",
    "train_energy_joules",
    "trainable_parameters",
)
STEP_COSTS = ("epoch_seconds", "step_seconds", "step_flops", "utilisation_percent", "train_peak_bytes", "train_energy_joules",
              "trainable_parameters")  # fmt: skip
"""What a run that was cut off, or only simulated, has to tell."""
DETAIL_COSTS = (
    "train_seconds",
    "texts_per_second",
    "load_seconds",
    "extract_seconds",
    "epoch_seconds",
    "step_seconds",
    "step_flops",
    "utilisation_percent",
    "train_peak_bytes",
    "run_peak_bytes",
    "setup_seconds",
    "test_seconds",
)
OFTEN_UNKNOWN = {"texts_per_second", "load_seconds", "train_energy_joules", "step_flops", "utilisation_percent"}
"""Costs that need a meter or a profile of their own: their columns are left out where no row has them."""
LETTERS = "abcdefghijklmnopqrstuvwxyz"


def headline(name: str, section: Section, tables: Tables, styles: dict[str, Style]) -> Table:
    """A line a row, best first: scores with their interval and their gain on the reference, the rank group, then costs."""
    scores = [*tables.metrics, "h"] if tables.main == "h" else list(tables.metrics)
    if section.costs_only:
        scores = []
    groups = tables.rank_groups() if scores else {}
    costs = cost_columns(tables.peak)
    shown = _known(tables, STEP_COSTS if section.costs_only else HEADLINE_COSTS)
    columns = [
        _method_column(),
        *(score_column(s, bool(tables.summary[f"{s}_gain"].notna().any())) for s in scores),
        *([Column("Group", "tied share a letter", GROUP_HELP, numeric=False)] if groups else []),
        *(costs[c].column for c in shown),
    ]
    table = Table(name, "Cost of each method" if section.costs_only else "Accuracy and cost of each method", columns)
    for row in ranked(section, tables):
        cells = [method_cell(table, section, row, tables, styles, manner(row.records) if section.costs_only else "")]
        cells += [_score_cell(table, row, score, tables) for score in scores]
        cells += [_group_cell(table, row, groups, tables)] if groups else []
        cells += [_cost_cell(table, row, c, costs[c], tables) for c in shown]
        table.rows.append(cells)
    if any("–" in d for cells in table.rows for c in cells for d in c.details):
        table.legend = f"Ranges are 95 % intervals: {INTERVAL_HELP}."
    return table


def cost_table(name: str, section: Section, tables: Tables, styles: dict[str, Style]) -> Table:
    """A line a row: where the time and the memory go, and how the row was run."""
    costs = cost_columns(tables.peak)
    if section.costs_only:  # so many steps after whatever comes before them: no figure to be best in
        costs["train_seconds"] = replace(costs["train_seconds"], better=0)
    shown = _known(tables, DETAIL_COSTS)
    table = Table(name, "Where time and memory go", [_method_column(), *(costs[c].column for c in shown)])
    for row in ranked(section, tables):
        cells = [_cost_cell(table, row, c, costs[c], tables) for c in shown]
        table.rows.append([method_cell(table, section, row, tables, styles, manner(row.records)), *cells])
    return table


def _known(tables: Tables, costs: Sequence[str]) -> list[str]:
    return [c for c in costs if c not in OFTEN_UNKNOWN or tables.summary[c].notna().any()]


def seed_table(name: str, section: Section, tables: Tables, styles: dict[str, Style]) -> Table:
    """A line a row and seed: the score as the headline has it, of that seed alone, and its training time."""
    scores = _by_seed(tables)
    by_dataset = tables.runs.groupby(["row", "seed", "dataset"])["train_seconds"].sum(min_count=1).unstack()
    times = by_dataset.reindex(columns=section.datasets).sum(axis=1, skipna=False)
    finished = tables.runs.groupby(["row", "seed"])["dataset"].nunique()
    columns = [_method_column(), Column("Seed"), SEED_SCORE[tables.main], Column("Train time", "all datasets")]
    table = Table(name, "Each seed by itself", columns, features=("filter",))
    for row in ranked(section, tables):
        for seed in row.seeds:
            own = row.label, seed
            whole = finished.get(own) == len(section.datasets)
            untimed = reason(row, "train_seconds", tables.peak) if whole else GAP
            table.rows.append([
                Cell(row.label, style=styles[row.label]),
                Cell(str(seed), seed),
                _number(table, scores.get(own), units.percent, GAP),
                _number(table, times.get(own), units.duration, untimed),
            ])  # fmt: skip
    return table


def _by_seed(tables: Tables) -> pd.Series:
    """The score that ranks, by (row, seed): the mean over its tests; H is that of the mean base and the mean new."""
    own = tables.scores[tables.scores["metric"].isin(["base", "new"] if tables.main == "h" else [tables.main])]
    by_unit = own.groupby(["row", "seed", "metric", "unit"])["percent"].mean().unstack("unit")
    means = by_unit.mean(axis=1, skipna=False).unstack("metric")
    if tables.main == "h":
        means["h"] = [harmonic_mean(b, n) for b, n in zip(means["base"], means["new"], strict=True)]
    return means[tables.main]


GAP = "A run of this seed is missing."
SEED_SCORE = {
    "h": Column("H", "%", "harmonic mean of the seed's average base and average new"),
    "accuracy": Column("Accuracy", "%"),
    "target": Column("Targets", "%"),
}


def ranked(section: Section, tables: Tables) -> list[Row]:
    """Complete rows, best first; then the others; the reference last of all. The cheapest first where only costs count."""
    best = tables.complete.sort_values(["epoch_seconds", "train_peak_bytes"]) if section.costs_only else tables.complete
    order = {label: i for i, label in enumerate(best.index)}
    return sorted(section.rows, key=lambda r: (r.method == REFERENCE, order.get(r.label, len(order)), r.label))


def method_cell(
    table: Table, section: Section, row: Row, tables: Tables, styles: dict[str, Style], how: str = ""
) -> Cell:
    """A row's heading, with how it was run, and whatever keeps it from being compared."""
    tags = ["reference"] if row.method == REFERENCE else []
    note = None
    if covered := tables.coverage(row.label):
        tags.append(covered)
        missing = "; ".join(gaps(section, row)) or "an accuracy is missing from a record"
        note = table.note(f"Incomplete, so not ranked and not comparable: {missing}.")
    most = max(len(r.seeds) for r in section.rows)
    if len(row.seeds) < most:
        tags.append(f"{len(row.seeds)} of {plural(most, 'seed')}")
    return Cell(row.label, details=(how,) if how else (), tags=tuple(tags), note=note, style=styles[row.label])


def _method_column() -> Column:
    return Column("Method", numeric=False)


def _score_cell(table: Table, row: Row, score: str, tables: Tables) -> Cell:
    line = tables.line(row.label)
    if pd.isna(line[score]):
        return table.absent("No dataset is complete, so there is nothing to average.")
    gain, spread = line[f"{score}_gain"], line[f"{score}_margin"]
    details = [units.points(gain)] if pd.notna(gain) else []
    details += [units.percent_range(line[score], spread)] if spread >= 0.005 else []
    rivals = tables.competing(score)[score]
    best = row.label in rivals.index and stands_out(line[score], rivals, units.percent)
    note = table.note(BORROWED.format(TITLES[score])) if tables.borrowed(row.label, score) else None
    return Cell(units.percent(line[score]), line[score], tuple(details), best=best, note=note)


FEW_SEEDS = "Not compared: it has fewer than two seeds in common with the others."


def _group_cell(table: Table, row: Row, groups: dict[str, tuple[int, ...]], tables: Tables) -> Cell:
    if row.label not in groups:
        complete = row.label in tables.complete.index
        return table.absent(FEW_SEEDS if complete else "Only rows that have finished every dataset are compared.")
    return Cell(" ".join(LETTERS[g] if g < 26 else str(g) for g in groups[row.label]), groups[row.label][0])


def _cost_cell(table: Table, row: Row, name: str, cost: Cost, tables: Tables) -> Cell:
    line = tables.line(row.label)
    if pd.isna(line[name]):
        return table.absent(reason(row, name, tables.peak))
    spread = line[f"{name}_margin"]
    details: tuple[str, ...] = ()
    if pd.notna(spread) and spread > 0.001 * line[name]:
        details = (f"{cost.text(max(line[name] - spread, 0))} – {cost.text(line[name] + spread)}",)
    known = tables.complete[name].dropna()
    comparable = bool(cost.better) and row.label in known.index
    best = comparable and stands_out(line[name], known, cost.text, cost.better)
    return Cell(cost.text(line[name]), line[name], details, best=best)


def stands_out(value: float, among: pd.Series, text: Callable[[float], str], better: int = 1) -> bool:
    """Whether a value reads as the best of `among`, and not just because all of them read alike."""
    low, high = text(among.min()), text(among.max())
    return low != high and text(value) == (high if better > 0 else low)


def _number(table: Table, value: float | None, text: Callable[[float], str], why: str) -> Cell:
    return table.absent(why) if value is None or pd.isna(value) else Cell(text(value), value)
