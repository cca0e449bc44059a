"""A section's charts: accuracy against time, memory and energy, and the base-new plane."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import pandas as pd
from markupsafe import Markup

from reports.charts import drawing
from reports.charts.drawing import Point
from reports.format import units
from reports.format.styles import Style
from reports.format.text import listed, short, uncapitalised
from reports.results import quantities
from reports.results.costs import adapts
from reports.results.quantity import PEAK_NAMES
from reports.results.scores import SCORE_WORDS
from reports.results.section_results import SectionResults

BARS = "Bars are 95 % intervals over seeds."


@dataclass(frozen=True, slots=True)
class Chart:
    """An inline SVG and what it says to those who read rather than look."""

    svg: str
    title: str
    caption: str | Markup


def section_charts(name: str, results: SectionResults, styles: dict[str, Style]) -> list[Chart]:
    """Every chart that at least two points can be drawn for; none where accuracies mean nothing."""
    if results.section.costs_only:
        return []
    return [*_against_costs(name, results, styles), *_plane(name, results, styles)]


def unmetered(results: SectionResults) -> str:
    """Why there is no energy to draw, in the records' words; empty where a row has one, or where none trained anything."""
    trained = [row for row in results.section.rows if any(r.status == "ok" and adapts(r) for r in row.records)]
    if results.section.condition.simulated or not trained:
        return ""
    unknown = [(q, own) for q, own in quantities.drawn() if q.optional and results.summary[q.name].isna().all()]
    reasons = {own.title: {q.reason(row, results.peak).rstrip(".") for row in trained} for q, own in unknown}
    return " ".join(f"{title} is not known: {short('; '.join(sorted(said)), 200)}." for title, said in reasons.items())


def axis(score: str) -> str:
    """The label of an axis of scores."""
    words = SCORE_WORDS[score]
    return f"{words[0].upper()}{words[1:]}, %"


def point(row: pd.Series, styles: dict[str, Style], cost: str, score: str) -> Point:
    """A row of a summary, as a point with its intervals."""
    x_margin, y_margin = (None if pd.isna(m) else float(m) for m in (row[f"{cost}_margin"], row[f"{score}_margin"]))
    return Point(str(row.name), styles[str(row.name)], row[cost], row[score], x_margin, y_margin)


def _points(rows: pd.DataFrame, styles: dict[str, Style], x: str, y: str) -> list[Point]:
    """A point a row; where all are of one method, they are named by their settings alone."""
    points = [point(row, styles, x, y) for _, row in rows.iterrows()]
    if rows["method"].nunique() > 1:
        return points
    return [replace(p, label=p.label.partition(" (")[2].removesuffix(")") or p.label) for p in points]


def _against_costs(name: str, results: SectionResults, styles: dict[str, Style]) -> Iterator[Chart]:
    complete, score = results.complete, axis(results.main)
    untrained = {row.label for row in results.section.rows if not any(adapts(record) for record in row.records)}
    free = [
        Point(str(label), styles[str(label)], 0, y) for label, y in complete[results.main].items() if label in untrained
    ]
    for cost, x_axis in quantities.drawn():
        title = x_axis.title.format(PEAK_NAMES[results.peak])
        known = complete[complete[cost.name].notna()]
        points = [
            replace(p, says=f"{p.label}: {score[:-3]} {units.percent(p.y)} %, {uncapitalised(title)} {cost.text(p.x)}")
            for p in _points(known, styles, cost.name, results.main)
        ]
        if len(points) > 1:
            bars = f" {BARS}" if any(p.y_margin for p in points) else ""
            svg = drawing.against_cost(f"{name}-{cost.name}", points, title, x_axis.units, score, free)
            yield Chart(svg, f"{score[:-3]} against {uncapitalised(title)}",
                        Markup("Up and left is better. {}{}").format(_front(points, free), bars))  # fmt: skip


def _front(points: list[Point], free: list[Point]) -> Markup:
    """Which points nothing beats in both. What trains nothing costs nothing: the best of that is on every front.

    The script replaces the names where a method is hidden.
    """
    front = Markup('<span class="front">{}</span>').format(
        listed([p.label for p in drawing.pareto(points, free)]) or "none"
    )
    if not free:
        return Markup("Ringed, on the Pareto front: {}.").format(front)
    best = max(free, key=lambda p: p.y)
    with_it = Markup('<span data-row="{}"> with {}, which trains nothing</span>').format(best.style.key, best.label)
    return Markup("Ringed, on the Pareto front{}: {}.").format(with_it, front)


def _plane(name: str, results: SectionResults, styles: dict[str, Style]) -> Iterator[Chart]:
    if results.main == "h" and len(results.complete) > 1:
        points = [
            replace(p, says=f"{p.label}: base {units.percent(p.x)} %, new {units.percent(p.y)} %")
            for p in _points(results.complete, styles, "base", "new")
        ]
        svg = drawing.base_against_new(f"{name}-plane", points)
        bars = f" {BARS}" if any(p.y_margin for p in points) else ""
        yield Chart(svg, "Base against new classes", f"Up and right is better. H is equal along each curve.{bars}")
