"""A section's results as tables of the page."""

from __future__ import annotations

from collections.abc import Callable

import pandas as pd

from reports import units
from reports.cells import Cell, Column, Table
from reports.charts import Style
from reports.costs import reason
from reports.groups import REFERENCE, Row, Section
from reports.quantities import GROUP_HELP, INTERVAL_HELP, Cost, cost_columns, score_column
from reports.statistics import SIGNIFICANCE
from reports.tables import Tables, gaps
from reports.text import plural, short, visible

HEADLINE_COSTS = (
    "train_seconds",
    "images_per_second",
    "train_peak_bytes",
    "train_energy_joules",
    "trainable_parameters",
)
DETAIL_COSTS = (
    "train_seconds",
    "extract_seconds",
    "step_seconds",
    "train_peak_bytes",
    "run_peak_bytes",
    "setup_seconds",
    "test_seconds",
)
LETTERS = "abcdefghijklmnopqrstuvwxyz"
TIE_LEGEND = (
    "Bold: the best. Underlined: tied with it, which is to say that a paired comparison over the seeds, "
    f"with Holm's correction, can't tell them apart ({100 * SIGNIFICANCE:.0f} %)."
)


def headline(name: str, section: Section, tables: Tables, styles: dict[str, Style]) -> Table:
    """A line a row, best first: scores with their interval and their gain on the reference, the rank group, then costs."""
    scores = [*tables.metrics, "h"] if tables.main == "h" else list(tables.metrics)
    if section.costs_only:
        scores = []
    groups = tables.rank_groups() if scores else {}
    costs = cost_columns(tables.peak)
    shown = [c for c in HEADLINE_COSTS if c != "train_energy_joules" or tables.summary[c].notna().any()]
    columns = [
        _method_column(),
        *(score_column(s, bool(tables.summary[f"{s}_gain"].notna().any())) for s in scores),
        *([Column("Group", "tied share a letter", GROUP_HELP, numeric=False)] if groups else []),
        *(costs[c].column for c in shown),
    ]
    table = Table(name, "Accuracy and cost of each method", columns)
    for row in ranked(section, tables):
        cells = [method_cell(table, section, row, tables, styles)]
        cells += [_score_cell(table, row, score, tables) for score in scores]
        cells += [_group_cell(table, row, groups)] if groups else []
        cells += [_cost_cell(table, row, c, costs[c], tables) for c in shown]
        table.rows.append(cells)
    if any("–" in d for cells in table.rows for c in cells for d in c.details):
        table.legend = f"Ranges are 95 % intervals: {INTERVAL_HELP}."
    return table


def cost_table(name: str, section: Section, tables: Tables, styles: dict[str, Style]) -> Table:
    """A line a row: where the time and the memory go."""
    costs = cost_columns(tables.peak)
    table = Table(name, "Where time and memory go", [_method_column(), *(costs[c].column for c in DETAIL_COSTS)])
    for row in ranked(section, tables):
        cells = [_cost_cell(table, row, c, costs[c], tables) for c in DETAIL_COSTS]
        table.rows.append([method_cell(table, section, row, tables, styles), *cells])
    return table


def unit_table(name: str, section: Section, tables: Tables, styles: dict[str, Style]) -> Table:
    """A line a dataset (or test), a column a row of the headline; H above base and new."""
    rows = ranked(section, tables)
    first = Column("Dataset" if section.paired else "Test", numeric=False)
    unit = "H · base / new" if section.paired else "accuracy"
    heads = [Column(row.label, unit, row=styles[row.label].key) for row in rows]
    table = Table(name, "Accuracy on each dataset, mean over seeds", [first, *heads], features=("filter",))
    sources = set(tables.scores["unit"][tables.scores["metric"] == "source"])
    for on in sorted(tables.units.index.unique("unit"), key=lambda u: (u not in sources, u)):
        tied = tables.tied_on(on)
        cells = [_unit_cell(table, tables, row, on, tied) for row in rows]
        tags = ("source",) if on in sources else ()
        table.rows.append([Cell(short(visible(on), 60), tags=tags), *cells])
    average = "Average of targets" if tables.main == "target" else "Average"
    table.foot.append([Cell(average), *(_average_cell(table, row, tables) for row in rows)])
    marked = any(c.tied for cells in [*table.rows, *table.foot] for c in cells)
    table.legend = TIE_LEGEND if marked else "Bold: the best."
    return table


def seed_table(name: str, section: Section, tables: Tables, styles: dict[str, Style]) -> Table:
    """A line a row and seed: what the means are means of."""
    scores = tables.results[tables.results["counts"]].groupby(["row", "seed"])["percent"].agg(_mean_if_whole)
    sums = tables.runs.groupby(["row", "seed"])["train_seconds"].agg(lambda column: column.sum(skipna=False))
    table = Table(name, "Each seed by itself", [_method_column(), Column("Seed"), Column(SEED_SCORE[tables.main], "%"),
                  Column("Train time", "all datasets")], features=("filter",))  # fmt: skip
    for row in ranked(section, tables):
        for seed in row.seeds:
            table.rows.append([
                Cell(row.label, style=styles[row.label]),
                Cell(str(seed), seed),
                _number(table, scores.get((row.label, seed)), units.percent, "A run of this seed is missing."),
                _number(table, sums.get((row.label, seed)), units.duration, reason(row, "train_seconds", tables.peak)),
            ])  # fmt: skip
    return table


SEED_SCORE = {"h": "Mean H", "accuracy": "Accuracy", "target": "Targets"}


def ranked(section: Section, tables: Tables) -> list[Row]:
    """Complete rows, best first; then the others; the reference last of all."""
    order = {label: i for i, label in enumerate(tables.complete.index)}
    return sorted(section.rows, key=lambda r: (r.method == REFERENCE, order.get(r.label, len(order)), r.label))


def method_cell(table: Table, section: Section, row: Row, tables: Tables, styles: dict[str, Style]) -> Cell:
    """A row's heading, with whatever keeps it from being compared."""
    line = tables.line(row.label)
    tags = ["reference"] if row.method == REFERENCE else []
    note = None
    if line["complete"] < line["expected"]:
        tags.append(f"{line['complete']} of {plural(line['expected'], 'dataset' if section.paired else 'test')}")
        missing = "; ".join(gaps(section, row)) or "an accuracy is missing from a record"
        note = table.note(f"Incomplete, so not ranked and not comparable: {missing}.")
    most = max(len(r.seeds) for r in section.rows)
    if len(row.seeds) < most:
        tags.append(f"{len(row.seeds)} of {plural(most, 'seed')}")
    return Cell(row.label, tags=tuple(tags), note=note, style=styles[row.label])


def _method_column() -> Column:
    return Column("Method", numeric=False)


def _score_cell(table: Table, row: Row, score: str, tables: Tables) -> Cell:
    line = tables.line(row.label)
    if pd.isna(line[score]):
        return table.absent("No dataset is complete, so there is nothing to average.")
    gain, spread = line[f"{score}_gain"], line[f"{score}_margin"]
    details = [units.points(gain)] if pd.notna(gain) else []
    details += [units.percent_range(line[score], spread)] if spread >= 0.005 else []
    by_design = (row.label, score) in tables.by_design and row.method != REFERENCE
    unadapted = by_design or score in tables.unadapted[row.label]
    ranked = row.label in tables.complete.index and not unadapted
    best = ranked and stands_out(line[score], tables.complete[score], units.percent)
    note = table.note(BY_DESIGN if by_design else UNADAPTED) if unadapted else None
    return Cell(units.percent(line[score]), line[score], tuple(details), best=best, note=note)


BY_DESIGN = (
    "The method has nothing to say of these classes and answers as the pretrained backbone does: the figure is no merit of its "
    "training."
)
UNADAPTED = (
    f"Exactly {REFERENCE}'s accuracy in every run: on these classes the method falls back on the backbone, and the figure is "
    "no merit of its training."
)


def _group_cell(table: Table, row: Row, groups: dict[str, tuple[int, ...]]) -> Cell:
    if row.label not in groups:
        return table.absent("Only rows that have finished every dataset are compared.")
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


def _unit_cell(table: Table, tables: Tables, row: Row, unit: str, tied: list[str]) -> Cell:
    line = tables.on(row.label, unit)
    if line is None:
        return table.absent("No run finished.")
    if line["seeds"] < line["expected"]:
        note = table.note(f"{line['seeds']:.0f} of {line['expected']:.0f} seeds finished; not in the average.")
        return _mean_cell(line, tables, None, False, note)
    return _mean_cell(line, tables, tables.finished_on(unit), row.label in tied)


def _average_cell(table: Table, row: Row, tables: Tables) -> Cell:
    line = tables.line(row.label)
    if line["complete"] < line["expected"]:
        return table.absent("Averages over other datasets than the rest are not comparable; see the table above.")
    return _mean_cell(line, tables, tables.complete, row.label in tables.tied_with_best(), main=tables.main)


def _mean_cell(
    line: pd.Series, tables: Tables, rivals: pd.DataFrame | None, tied: bool, note: int | None = None, main: str = ""
) -> Cell:
    """The main score above base and new, each in bold where it stands out among `rivals`."""
    main = main or tables.unit_main
    halves = tables.metrics if main == "h" else ()
    best = {m for m in (*halves, main) if rivals is not None and stands_out(line[m], rivals[m], units.percent)}
    return Cell(
        units.percent(line[main]),
        line[main],
        details=tuple(f"{'/ ' if i else ''}{units.percent(line[half])}" for i, half in enumerate(halves)),
        bold=tuple(i for i, half in enumerate(halves) if half in best),
        best=main in best,
        tied=tied and main not in best,
        note=note,
    )


def _mean_if_whole(column: pd.Series) -> float:
    return column.mean(skipna=False)


def _number(table: Table, value: float | None, text: Callable[[float], str], why: str) -> Cell:
    return table.absent(why) if value is None or pd.isna(value) else Cell(text(value), value)
