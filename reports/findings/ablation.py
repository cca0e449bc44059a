"""A method run with other settings than its usual ones, one at a time: what each of them buys, and what it costs."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import pandas as pd
from markupsafe import Markup

from harness.visible import visible
from reports.charts.curves import curves
from reports.charts.section_charts import Chart, axis, point
from reports.findings.finding import Overview, strong
from reports.format import units
from reports.format.cells import Cell, Column, Table
from reports.format.styles import Style
from reports.format.text import listed, short
from reports.results import quantities
from reports.results.quantity import Quantity
from reports.results.scores import SCORE_WORDS, TITLES
from reports.results.section_results import SectionResults
from reports.results.sections import Row, canonical, grouped, plain, usual_settings
from reports.results.statistics import in_words

FEWEST = 3
"""Rows of one method from which there is something to compare."""


@dataclass(frozen=True, slots=True)
class Variant:
    """A row, and the settings in which it differs from the usual one."""

    row: Row
    changed: Mapping[str, Any]

    @property
    def words(self) -> str:
        """``depth = 4, skip = false``."""
        return short(visible(", ".join(f"{name} = {plain(value)}" for name, value in self.changed.items())), 120)


def ablations(name: str, title: str, results: SectionResults, styles: dict[str, Style]) -> Iterator[Overview]:
    """One for each method of the section that was run with at least three settings, the usual ones among them.

    Runs that were cut off have no score that a setting could change.
    """
    scored = results.complete[results.main].dropna().index
    for i, (method, rows) in enumerate(grouped(results.section.rows, lambda r: r.method).items()):
        finished = [row for row in rows if row.label in scored]
        variants = _variants(finished)
        usual = next((v.row for v in variants if not v.changed), None)
        if usual is not None and len(variants) >= FEWEST:
            costs = quantities.shown_in("ablation", results.section.costs_only, results.summary)
            table = _table(f"{name}-{i}", usual, variants, results, costs)
            yield Overview(
                f"{name}-{i}",
                f"{short(visible(method), 60)}, one setting at a time" + (f": {title}" if title else ""),
                Markup(" ").join(_answers(usual, variants, results, costs)),
                "Each line differs from the usual settings in what it names, and in nothing else.",
                (table,),
                tuple(_charts(f"{name}-{i}", usual, variants, results, styles)),
            )


def _variants(rows: Sequence[Row]) -> list[Variant]:
    """The usual row first, then by setting and value."""
    settings = [row.records[0].key.settings for row in rows]
    usual = usual_settings(settings) if rows else {}
    found = [
        Variant(row, {k: own.get(k) for k, value in usual.items() if canonical(own.get(k)) != value})
        for row, own in zip(rows, settings, strict=True)
    ]
    return sorted(found, key=lambda v: (len(v.changed), list(v.changed), [_sortable(x) for x in v.changed.values()]))


def _table(
    name: str, usual: Row, variants: Sequence[Variant], results: SectionResults, costs: Sequence[Quantity]
) -> Table:
    columns = [Column("Setting", numeric=False), Column(TITLES[results.main], "%"), Column("Difference", "points"),
               Column("Sure?", "paired test", numeric=False)]  # fmt: skip
    columns += [Column(cost.title, unit) for cost in costs for unit in (cost.unit, "times usual")]
    table = Table(f"{name}-settings", "What each setting changes", columns)
    as_usual, sure = results.line(usual.label), results.compared_with(usual.label)
    for variant in variants:
        line = results.line(variant.row.label)
        own = [Cell(units.percent(line[results.main]), line[results.main])]
        if variant.row is usual:
            own += [table.absent("This is what the others differ from.")] * 2
        else:
            difference = line[results.main] - as_usual[results.main]
            p = sure[frozenset((usual.label, variant.row.label))]
            own += [Cell(units.points(difference), difference), Cell(in_words(p))]
        for cost in costs:
            own += _cost(table, line[cost.name], as_usual[cost.name], cost)
        table.rows.append([Cell(variant.words or "as usual"), *own])
    changed = dict.fromkeys(name for variant in variants for name in variant.changed)
    own_settings = usual.records[0].key.settings
    table.legend = f"As usual: {Variant(usual, {name: own_settings.get(name) for name in changed}).words}."
    return table


def _cost(table: Table, value: float, usual: float, cost: Quantity) -> list[Cell]:
    if pd.isna(value):
        return [table.absent("Not recorded.")] * 2
    ratio = value / usual if pd.notna(usual) and usual else None
    return [
        Cell(cost.text(value), value),
        table.absent("Not recorded.") if ratio is None else Cell(f"{ratio:.2f}", ratio),
    ]


def _answers(
    usual: Row, variants: Sequence[Variant], results: SectionResults, costs: Sequence[Quantity]
) -> Iterator[Markup]:
    """What each switch buys and saves, then how far each number moves the score."""
    as_usual, score = results.line(usual.label), SCORE_WORDS[results.main]
    sure = results.compared_with(usual.label)
    single = [v for v in variants if len(v.changed) == 1]
    for variant in (v for v in single if isinstance(_value(v), bool)):
        line = results.line(variant.row.label)
        p = sure[frozenset((usual.label, variant.row.label))]
        records = (*usual.records, *variant.row.records)
        shared = any(r.environment.in_company or any(w.contended for w in r.windows.values()) for r in records)
        ratios = {cost.takes: line[cost.name] / as_usual[cost.name] for cost in costs
                  if cost.takes and pd.notna(line[cost.name]) and as_usual[cost.name]}  # fmt: skip
        takes = [f"{words.format(', on a shared processor,' if shared else '')} {ratio:.2f} times the usual"
                 for words, ratio in ratios.items() if pd.notna(ratio)]  # fmt: skip
        yield Markup("With {}, {} changes by <b>{}</b> points ({}){}.").format(
            strong(variant.words), score, units.points(line[results.main] - as_usual[results.main]), in_words(p),
            "".join(f"; {words}" for words in takes))  # fmt: skip
    moved = [
        f"{short(visible(name), 60)} by {max(scores) - min(scores):.2f}"
        for name, scores in _grids(usual, single, results)
    ]
    if moved:
        yield Markup("Over the values tried, {} changes with {} points.").format(score, listed(moved))


def _grids(usual: Row, single: Sequence[Variant], results: SectionResults) -> Iterator[tuple[str, list[float]]]:
    for name, along in grouped([v for v in single if _is_number(_value(v))], lambda v: next(iter(v.changed))).items():
        yield name, [results.line(row.label)[results.main] for row in (usual, *(v.row for v in along))]


def _charts(
    name: str, usual: Row, variants: Sequence[Variant], results: SectionResults, styles: dict[str, Style]
) -> Iterator[Chart]:
    """A curve for each number of which at least three values were run, the usual one among them."""
    single = [v for v in variants if len(v.changed) == 1 and _is_number(_value(v))]
    for i, (setting, along) in enumerate(grouped(single, lambda v: next(iter(v.changed))).items()):
        own: Any = usual.records[0].key.settings.get(setting)
        if len(along) + 1 < FEWEST or not _is_number(own):
            continue
        values = {usual.label: float(own), **{v.row.label: float(_value(v)) for v in along}}
        shown, words = short(visible(usual.method), 60), short(visible(setting), 60)
        line = [replace(point(results.line(row), styles, results.main, results.main), x=v, x_margin=None, label=shown,
                        style=replace(styles[usual.label], key="")) for row, v in values.items()]  # fmt: skip
        svg = curves(f"{name}-setting{i}", {shown: line}, words, axis(results.main))
        band = " The band is the 95 % interval over seeds." if any(p.y_margin for p in line) else ""
        yield Chart(svg, f"{shown} over {words}", f"Higher is better; usually {plain(own)}.{band}")


def _value(variant: Variant) -> Any:
    return next(iter(variant.changed.values()))


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _sortable(value: Any) -> tuple[bool, float, str]:
    return (True, float(value), "") if _is_number(value) else (False, 0.0, canonical(value))
