"""The literature's figures beside ours, never mixed with them, and in what the two protocols differ."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import pandas as pd

from reports.format import units
from reports.format.cells import Cell, Column, Table
from reports.format.styles import Style
from reports.format.text import plural
from reports.results.costs import simulated_peak_bytes
from reports.results.literature import AVERAGE, MEANS, SOURCE, Line, formula_bytes, lines, published_cost
from reports.results.quantities import TRAIN, TRAIN_PEAK
from reports.results.quantity import PEAK_NAMES
from reports.results.scores import TITLES
from reports.results.section_results import SectionResults
from reports.results.sections import Row, Section
from reports.tables.protocol import protocol_table
from reports.tables.provenance import manner

MEGABYTE = 1e6


@dataclass(frozen=True, slots=True)
class Published:
    """A section beside the literature; a table is None where the two have nothing in common."""

    title: str
    accuracy: Table | None
    costs: Table | None
    protocol: Table


def beside_published(
    found: Sequence[SectionResults], titles: Sequence[str], styles: dict[str, Style]
) -> list[Published]:
    """One for each section of a suite with published figures and a method that has some."""
    shown = []
    for i, (results, title) in enumerate(zip(found, titles, strict=True), 1):
        accuracy = _accuracies(f"p{i}-accuracy", results, styles)
        costs = _costs(f"p{i}-cost", results, styles)
        if accuracy.rows or costs.rows:
            shown.append(Published(title, accuracy if accuracy.rows else None, costs if costs.rows else None,
                                   protocol_table(f"p{i}-protocol", results.section, styles)))  # fmt: skip
    return shown


def _accuracies(name: str, results: SectionResults, styles: dict[str, Style]) -> Table:
    columns = [Column("Method", numeric=False), Column("Dataset", numeric=False), Column("Score", numeric=False),
               Column("Measured", "%, mean over seeds"), Column("Published", "%"), Column("Difference", "points")]  # fmt: skip
    table = Table(name, f"Measured accuracy beside that of {SOURCE}", columns, features=("filter",))
    table.legend = (
        "As the paper prints them: most rivals' accuracies are those of their own papers, while times and memory are of the Skip "
        "Tuning authors' configurations. Which recipe gave which figure, and in what it differs from the runs here, is said below."
    )
    for row in results.section.rows:
        for dataset, score, measured, published in _pairs(results, row):
            if pd.isna(measured):
                continue
            table.rows.append([
                Cell(row.label, style=styles[row.label]), Cell(dataset), Cell(score),
                Cell(units.percent(measured), measured), Cell(units.percent(published), published),
                Cell(units.points(measured - published), measured - published),
            ])  # fmt: skip
    return table


def _pairs(results: SectionResults, row: Row) -> Iterator[tuple[str, str, float, float]]:
    """(dataset, score, measured, published) wherever both are there and complete; runs that were cut off measured NaN."""
    suite = results.section.condition.suite
    if suite == "base2new" and results.section.paired:
        for title, line in _halves(row.method):
            found = _measured(results, row, line.get("dataset", AVERAGE))
            for score, field in (("base", "base_accuracy"), ("new", "new_accuracy"), ("h", "harmonic_mean")):
                if found is not None:
                    yield title, TITLES[score], found[score], float(line[f"{field}_percent"])
    elif suite in MEANS:
        file, count, mean = MEANS[suite]
        own = {line["target"]: float(line["accuracy_percent"]) for line in lines(file) if line["method"] == row.method}
        summary = results.line(row.label)
        whole = summary["complete"] == summary["expected"] == count + 1
        if own and whole and results.section.datasets == ("imagenet",):
            yield "imagenet", "Source", summary["source"], own["imagenet"]
            yield f"mean of {count}", "Targets", summary["target"], own[mean]


def _halves(method: str) -> Iterator[tuple[str, Line]]:
    """The published base and new accuracies of a method: by dataset, and averages that its authors ran themselves."""
    yield from ((line["dataset"], line) for line in lines("base2new") if line["method"] == method)
    own = {"full_finetuning": "full_finetuning", "coop": "prompt_tuning"}.get(method)
    yield from (("average, the authors' own run", line) for line in lines("full_finetuning") if line["method"] == own)


def _measured(results: SectionResults, row: Row, dataset: str) -> pd.Series | None:
    """A row's finished line on a dataset; its averages if it is for all of the published datasets that there are any."""
    if dataset != AVERAGE:
        found = results.on(row.label, dataset)
        return found if found is not None and found["seeds"] == found["expected"] else None
    every = {line["dataset"] for line in lines("base2new")} - {AVERAGE}
    return (
        results.line(row.label)
        if set(results.section.datasets) == every and row.label in results.complete.index
        else None
    )


def _costs(name: str, results: SectionResults, styles: dict[str, Style]) -> Table:
    """Time and memory as published, beside ours; no difference is taken: machines and recipes are not the same."""
    meter = "nothing" if results.peak == "simulated" else PEAK_NAMES[results.peak]
    columns = [
        Column("Method", numeric=False),
        Column(TRAIN.title, "published, a dataset"),
        Column(TRAIN.title, "measured, a dataset"),
        Column("Memory", "published estimate, MB"),
        Column("Memory", "that estimate by its formula, MB"),
        Column(TRAIN_PEAK.title, "simulated, MB"),
        Column(TRAIN_PEAK.title, f"measured, {meter}, MB"),
    ]
    table = Table(name, "Cost, re-measured", columns)
    for row in results.section.rows:
        published = published_cost(results.section.condition.suite, row.method)
        line = results.line(row.label)
        if published and not (pd.isna(line[TRAIN.name]) and pd.isna(line[TRAIN_PEAK.name])):
            seconds, megabytes = published
            finished = [r for r in row.records if r.status == "ok"]
            part = [f"{len(finished)} of {plural(len(row.records), 'run')}"] if len(finished) < len(row.records) else []
            measured = [] if results.peak == "simulated" else [TRAIN_PEAK.of(r, results.peak) for r in finished]
            table.rows.append([
                Cell(row.label, details=(manner(row.records), *part), style=styles[row.label]),
                Cell(TRAIN.text(seconds), seconds),
                _seconds(table, _mean([TRAIN.of(r, results.peak) for r in finished]), results.section),
                Cell(f"{megabytes:,.0f}", megabytes),
                _megabytes(table, formula_bytes(results.section.condition.suite, row.method), "The method's card doesn't say."),
                _megabytes(table, _mean([simulated_peak_bytes(r) for r in finished]),
                           "No run simulated its training, as those of the suite cost do."),
                _megabytes(table, _mean(measured), "Not measured."),
            ])  # fmt: skip
    table.legend = (
        "The published memory is no measurement: it is torchinfo's size of one forward pass (inputs, twice every leaf layer's "
        "output, parameters), without attention, gradients or optimiser state; its formula is evaluated for ViT-B/16 with the "
        "published class counts and batch sizes. Times are of other machines; where recipes differ, the protocols below say so."
    )
    return table


def _seconds(table: Table, value: float | None, section: Section) -> Cell:
    if section.costs_only:
        return table.absent("Training was cut off after a few steps.")
    return table.absent("Not recorded.") if value is None else Cell(TRAIN.text(value), value)


def _mean(found: Sequence[float | None]) -> float | None:
    """The mean over finished runs, as the published column is a mean over datasets; None where one has no figure."""
    known = [value for value in found if value is not None]
    return sum(known) / len(known) if known and len(known) == len(found) else None


def _megabytes(table: Table, value: float | None, why: str) -> Cell:
    return table.absent(why) if value is None else Cell(f"{value / MEGABYTE:,.0f}", value)
