"""A section's results as tables and charts of the page."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, cast

import pandas as pd

from reports import charts, units
from reports.cells import Cell, Column, Table
from reports.charts import Point, Style
from reports.groups import REFERENCE, Row, Section
from reports.tables import PeakField, Tables, gaps, reason
from reports.text import listed, plural, short, visible

PEAK_NAMES: dict[PeakField, str] = {
    "peak_allocated_bytes": "CUDA allocator",
    "peak_tensor_bytes": "live tensors",
}
PEAK_HELP: dict[PeakField, str] = {
    "peak_allocated_bytes": "the most bytes PyTorch's CUDA allocator had handed out at once",
    "peak_tensor_bytes": "the exact most bytes of tensors alive at once, counted on the CPU in a pass of its own",
}
TITLES = {"base": "Base", "new": "New", "h": "H", "accuracy": "Accuracy"}


@dataclass(frozen=True, slots=True)
class Cost:
    """A cost column: its heading, how its numbers are worded, and which end of it is good (1 high, -1 low, 0 neither)."""

    column: Column
    text: Callable[[float], str]
    better: Literal[-1, 0, 1]


@dataclass(frozen=True, slots=True)
class Chart:
    """An inline SVG and what it says to those who read rather than look."""

    svg: str
    title: str
    caption: str


def cost_columns(peak: PeakField) -> dict[str, Cost]:
    """Every cost a table may show, by its column in the summary."""
    quantity, meaning = PEAK_NAMES[peak], PEAK_HELP[peak]
    whole_train = "the whole train window (decoding images, text features, feature extraction, every step)"
    built = "the backbone's weights, the dataset's lists and the method's model"
    summed = "summed over the datasets of a seed, mean over seeds"

    def cost(
        title: str, unit: str, explained: str, text: Callable[[float], str], better: Literal[-1, 0, 1] = 0
    ) -> Cost:
        return Cost(Column(title, unit, explained), text, better)

    return {
        "train_seconds": cost("Train time", "all datasets", f"{whole_train}, {summed}", units.duration, -1),
        "images_per_second": cost(
            "Throughput", "train images/s", f"images consumed / seconds of {whole_train}", units.rate, 1
        ),
        "train_peak_bytes": cost(
            "Peak memory",
            f"{quantity}, training",
            f"{meaning} in the train window; the highest of a seed's datasets, mean over seeds",
            units.size,
            -1,
        ),
        "trainable_parameters": cost(
            "Trainable",
            "parameters",
            "distinct trained numbers; the largest of the datasets where they differ",
            units.count,
        ),
        "extract_seconds": cost(
            "Extraction", "part of train time", f"computing the features to train on, {summed}", units.duration
        ),
        "step_seconds": cost(
            "Step",
            "median",
            "the median optimiser step after warm-up, mean over datasets and seeds",
            units.duration,
            -1,
        ),
        "run_peak_bytes": cost(
            "Peak, any phase", quantity, f"{meaning} in the worst phase (set-up counts on a GPU only)", units.size, -1
        ),
        "setup_seconds": cost("Set-up", "all datasets", f"{built}, {summed}", units.duration),
        "test_seconds": cost("Test", "all datasets", f"all tests, decoding included, {summed}", units.duration),
    }


HEADLINE_COSTS = ("train_seconds", "images_per_second", "train_peak_bytes", "trainable_parameters")
DETAIL_COSTS = (
    "train_seconds",
    "extract_seconds",
    "step_seconds",
    "train_peak_bytes",
    "run_peak_bytes",
    "setup_seconds",
    "test_seconds",
)


def headline(name: str, section: Section, tables: Tables, styles: dict[str, Style]) -> Table:
    """A line a row, best first: scores with their spread and their gain on the reference, then costs."""
    scores = [*tables.metrics, "h"] if section.paired else ["accuracy"]
    costs = cost_columns(tables.peak)
    columns = [
        _method_column(),
        *(_score_column(s, tables) for s in scores),
        *(costs[c].column for c in HEADLINE_COSTS),
    ]
    table = Table(name, "Accuracy and cost of each method", columns)
    for row in _ranked(section, tables):
        cells = [_method_cell(table, section, row, tables, styles)]
        cells += [_score_cell(table, section, row, score, tables) for score in scores]
        cells += [_cost_cell(table, row, c, costs[c], tables) for c in HEADLINE_COSTS]
        table.rows.append(cells)
    return table


def cost_table(name: str, section: Section, tables: Tables, styles: dict[str, Style]) -> Table:
    """A line a row: where the time and the memory go."""
    costs = cost_columns(tables.peak)
    table = Table(name, "Where time and memory go", [_method_column(), *(costs[c].column for c in DETAIL_COSTS)])
    for row in _ranked(section, tables):
        cells = [_cost_cell(table, row, c, costs[c], tables) for c in DETAIL_COSTS]
        table.rows.append([_method_cell(table, section, row, tables, styles), *cells])
    return table


def unit_table(name: str, section: Section, tables: Tables, styles: dict[str, Style]) -> Table:
    """A line a dataset (or test), a column a row of the headline; H above base and new."""
    rows = _ranked(section, tables)
    first = Column("Dataset" if section.paired else "Test", numeric=False)
    heads = [Column(row.label, "H · base / new" if section.paired else "accuracy") for row in rows]
    table = Table(name, "Accuracy on each dataset, mean over seeds", [first, *heads])
    for unit in sorted(tables.units.index.unique("unit")):
        cells = [_unit_cell(table, tables, row, unit) for row in rows]
        table.rows.append([Cell(short(visible(unit), 60)), *cells])
    table.foot.append([Cell("Average"), *(_average_cell(table, row, tables) for row in rows)])
    return table


def section_charts(name: str, tables: Tables, styles: dict[str, Style]) -> list[Chart]:
    """Score against time and memory, and the base-new plane; a chart with fewer than two points is left out."""
    complete = tables.complete
    references = complete[complete["method"] == REFERENCE]
    level = next((_point(r, styles, r[tables.main], tables.main) for _, r in references.iterrows()), None)
    score = "H, %" if tables.main == "h" else "Average accuracy, %"
    found = []
    for cost, title, scale in (
        ("train_seconds", "Training time", charts.TIME_UNITS),
        ("train_peak_bytes", f"Peak memory in training ({PEAK_NAMES[tables.peak]})", charts.MEMORY_UNITS),
    ):
        points = [_point(r, styles, r[cost], tables.main) for _, r in complete[complete[cost].notna()].iterrows()]
        if len(points) > 1:
            front = listed([p.label for p in charts.pareto(points)])
            svg = charts.against_cost(f"{name}-{cost}", points, title, scale, score, level)
            found.append(Chart(svg, f"{score[:-3]} against {title[0].lower()}{title[1:]}",
                               f"Up and left is better. Ringed, on the Pareto front: {front}."))  # fmt: skip
    if tables.main == "h" and len(complete) > 1:
        points = [_point(r, styles, r["base"], "new") for _, r in complete.iterrows()]
        svg = charts.base_against_new(f"{name}-plane", points)
        found.append(Chart(svg, "Base against new classes", "Up and right is better. H is equal along each curve."))
    return found


def _point(row: pd.Series, styles: dict[str, Style], x: float, score: str) -> Point:
    spread = row[f"{score}_sd"]
    x_spread = row["base_sd"] if score == "new" else None
    return Point(
        label=str(row.name),
        style=styles[str(row.name)],
        x=x,
        y=row[score],
        x_spread=x_spread if pd.notna(x_spread) else None,
        y_spread=spread if pd.notna(spread) else None,
    )


def _ranked(section: Section, tables: Tables) -> list[Row]:
    """Complete rows, best first; then the others; the reference last of all."""
    order = {label: i for i, label in enumerate(tables.complete.index)}
    return sorted(section.rows, key=lambda r: (r.method == REFERENCE, order.get(r.label, len(order)), r.label))


def _method_column() -> Column:
    return Column("Method", numeric=False)


def _score_column(score: str, tables: Tables) -> Column:
    helps = {
        "base": "top-1 on the classes trained on: mean over seeds, then over datasets",
        "new": "top-1 on the classes not trained on: mean over seeds, then over datasets",
        "h": "harmonic mean of the two averages beside it (not the mean of the datasets' H)",
        "accuracy": "top-1: mean over seeds, then over tests",
    }
    gains = tables.summary[f"{score}_gain"].notna().any()
    gain = f"; the signed number is the difference to {REFERENCE}, in points" if gains else ""
    return Column(TITLES[score], "%", helps[score] + gain)


def _method_cell(table: Table, section: Section, row: Row, tables: Tables, styles: dict[str, Style]) -> Cell:
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


def _score_cell(table: Table, section: Section, row: Row, score: str, tables: Tables) -> Cell:
    line = tables.line(row.label)
    if pd.isna(line[score]):
        return table.absent("No dataset is complete, so there is nothing to average.")
    gain, spread = line[f"{score}_gain"], line[f"{score}_sd"]
    details = [units.points(gain)] if pd.notna(gain) else []
    details += [f"sd {spread:.2f}"] if pd.notna(spread) else []
    best = row.label in tables.complete.index and _stands_out(line[score], tables.complete[score], units.percent)
    return Cell(units.percent(line[score]), line[score], tuple(details), best=best)


def _cost_cell(table: Table, row: Row, name: str, cost: Cost, tables: Tables) -> Cell:
    line = tables.line(row.label)
    if pd.isna(line[name]):
        return table.absent(reason(row, name, tables.peak))
    spread = line[f"{name}_sd"]
    details = (f"sd {cost.text(spread)}",) if pd.notna(spread) and spread > 0.001 * line[name] else ()
    known = tables.complete[name].dropna()
    ranked = bool(cost.better) and row.label in known.index
    best = ranked and _stands_out(line[name], known, cost.text, cost.better)
    return Cell(cost.text(line[name]), line[name], details, best=best)


def _stands_out(value: float, among: pd.Series, text: Callable[[float], str], better: int = 1) -> bool:
    """Whether a value reads as the best of `among`, and not just because all of them read alike."""
    low, high = text(among.min()), text(among.max())
    return low != high and text(value) == (high if better > 0 else low)


def _unit_cell(table: Table, tables: Tables, row: Row, unit: str) -> Cell:
    line = tables.on(row.label, unit)
    if line is None:
        return table.absent("No run finished.")
    if line["seeds"] < line["expected"]:
        note = table.note(f"{line['seeds']:.0f} of {line['expected']:.0f} seeds finished; not in the average.")
        return _mean_cell(line, tables, None, note)
    on_unit = cast(pd.DataFrame, tables.units.xs(unit, level="unit"))
    return _mean_cell(line, tables, on_unit[on_unit["seeds"] == on_unit["expected"]])


def _average_cell(table: Table, row: Row, tables: Tables) -> Cell:
    line = tables.line(row.label)
    if line["complete"] < line["expected"]:
        return table.absent("Averages over other datasets than the rest are not comparable; see the table above.")
    return _mean_cell(line, tables, tables.complete)


def _mean_cell(line: pd.Series, tables: Tables, rivals: pd.DataFrame | None, note: int | None = None) -> Cell:
    """The main score above base and new, each in bold where it stands out among `rivals`."""
    best = {
        m
        for m in (*tables.metrics, tables.main)
        if rivals is not None and _stands_out(line[m], rivals[m], units.percent)
    }
    halves = tables.metrics if tables.main == "h" else ()
    return Cell(
        units.percent(line[tables.main]),
        line[tables.main],
        details=tuple(f"{'/ ' if i else ''}{units.percent(line[half])}" for i, half in enumerate(halves)),
        bold=tuple(i for i, half in enumerate(halves) if half in best),
        best=tables.main in best,
        note=note,
    )
