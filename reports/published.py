"""The literature's figures beside ours, never mixed with them, and in what the two protocols differ."""

from __future__ import annotations

import csv
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from importlib import resources

import pandas as pd

from harness import plugins
from harness.published_estimate import published_estimate_bytes
from harness.recipe import resolve
from reports import units
from reports.cells import Cell, Column, Table
from reports.charts import Style
from reports.costs import PeakField
from reports.families import Found
from reports.groups import Row, Section
from reports.quantities import PEAK_NAMES
from reports.tables import Tables
from reports.text import listed, short, visible

SOURCE = "Skip Tuning (Wu et al., CVPR 2025, arXiv:2412.11509)"
BACKBONES = ("ViT-B-16-quickgelu", "ViT-B-16")
SHOTS, SEEDS, PRECISION, WEIGHTS = 16, (1, 2, 3), "fp16-pure", "openai"
LARGE = ("imagenet", "sun397", "food101")
MEANS = {"cross-dataset": ("cross_dataset", 10, "average_of_10_datasets"),
         "domain-generalization": ("domain_generalization", 4, "average_of_4_variants")}  # fmt: skip
COSTS_OF = {"cost": "base2new"}
"""The suite of costs alone runs the recipes behind these published columns."""
CLASSES = {"base2new": (500, 50, 19, 98, 51, 51, 50, 199, 24, 5, 51), "cross-dataset": (1000,)}
"""Classes trained on, for each dataset of a published suite."""
MEGABYTE = 1e6

Line = dict[str, str]


@dataclass(frozen=True, slots=True)
class Published:
    """A section beside the literature; a table is None where the two have nothing in common."""

    title: str
    accuracy: Table | None
    costs: Table | None
    protocol: Table


def beside_published(found: Sequence[Found], styles: dict[str, Style]) -> list[Published]:
    """One for each section of a suite with published figures and a method that has some."""
    shown = []
    for i, (section, numbers) in enumerate(found, 1):
        accuracy = _accuracies(f"p{i}-accuracy", section, numbers, styles)
        costs = _costs(f"p{i}-cost", section, numbers, styles)
        if accuracy.rows or costs.rows:
            title = f"{short(visible(section.condition.suite), 60)}, {section.condition.shots} shots"
            shown.append(Published(title, accuracy if accuracy.rows else None, costs if costs.rows else None,
                                   _protocol(f"p{i}-protocol", section, styles)))  # fmt: skip
    return shown


@cache
def lines(name: str) -> tuple[Line, ...]:
    """The lines of ``published/<name>.csv``."""
    text = resources.files("reports").joinpath("published", f"{name}.csv").read_text(encoding="utf-8")
    return tuple(csv.DictReader(text.splitlines()))


def _accuracies(name: str, section: Section, numbers: Tables, styles: dict[str, Style]) -> Table:
    columns = [Column("Method", numeric=False), Column("Dataset", numeric=False), Column("Score", numeric=False),
               Column("Measured", "%, mean over seeds"), Column("Published", "%"), Column("Difference", "points")]  # fmt: skip
    table = Table(name, f"Measured accuracy beside that of {SOURCE}", columns, features=("filter",))
    for row in section.rows:
        for dataset, score, measured, published in _pairs(section, numbers, row):
            table.rows.append([
                Cell(row.label, style=styles[row.label]), Cell(dataset), Cell(score),
                Cell(units.percent(measured), measured), Cell(units.percent(published), published),
                Cell(units.points(measured - published), measured - published),
            ])  # fmt: skip
    return table


def _pairs(section: Section, numbers: Tables, row: Row) -> Iterator[tuple[str, str, float, float]]:
    """(dataset, score, measured, published) wherever both are there and complete."""
    suite = section.condition.suite
    if suite == "base2new" and section.paired:
        for line in lines("base2new"):
            found = numbers.on(row.label, line["dataset"]) if line["method"] == row.method else None
            if found is not None and found["seeds"] == found["expected"]:
                for score, field in (("base", "base_accuracy"), ("new", "new_accuracy"), ("h", "harmonic_mean")):
                    yield line["dataset"], score.capitalize(), found[score], float(line[f"{field}_percent"])
    elif suite in MEANS:
        file, count, mean = MEANS[suite]
        own = {line["target"]: float(line["accuracy_percent"]) for line in lines(file) if line["method"] == row.method}
        summary = numbers.line(row.label)
        whole = summary["complete"] == summary["expected"] == count + 1
        if own and whole and section.datasets == ("imagenet",):
            yield "imagenet", "Source", summary["source"], own["imagenet"]
            yield f"mean of {count}", "Targets", summary["target"], own[mean]


def _costs(name: str, section: Section, numbers: Tables, styles: dict[str, Style]) -> Table:
    """Time and memory as published, beside ours; no difference is taken: machines and recipes are not the same."""
    columns = [
        Column("Method", numeric=False),
        Column("Train time", "published, a dataset"),
        Column("Train time", "measured, a dataset"),
        Column("Memory", "published estimate, MB"),
        Column("Memory", "that estimate by its formula, MB"),
        Column("Peak memory", "simulated, MB"),
        Column("Peak memory", f"measured, {PEAK_NAMES[numbers.peak]}, MB"),
    ]
    table = Table(name, "Cost, re-measured", columns)
    for row in section.rows:
        published = published_cost(section.condition.suite, row.method)
        line = numbers.line(row.label)
        if published and not (pd.isna(line["train_seconds"]) and pd.isna(line["train_peak_bytes"])):
            seconds, megabytes = published
            datasets = max(len({r.key.dataset for r in row.records if r.status == "ok"}), 1)
            table.rows.append([
                Cell(row.label, style=styles[row.label]),
                Cell(units.duration(seconds), seconds),
                _seconds(table, line["train_seconds"] / datasets, section),
                Cell(f"{megabytes:,.0f}", megabytes),
                _megabytes(table, formula_bytes(section.condition.suite, row.method), "The method's card doesn't say."),
                _megabytes(table, _simulated_bytes(row), "No run simulated its training step, as those of the suite cost do."),
                _megabytes(table, _peak_bytes(row, numbers.peak), "Not recorded."),
            ])  # fmt: skip
    table.legend = (
        "The published memory is no measurement: it is torchinfo's size of one forward pass (inputs, twice every leaf layer's "
        "output, parameters), without attention, gradients or optimiser state; its formula is evaluated for ViT-B/16 with the "
        "published class counts and batch sizes. Times are of other machines and other epochs: see the protocols below."
    )
    return table


def published_cost(suite: str, method: str) -> tuple[float, float] | None:
    """Seconds and estimated megabytes of training on a dataset; full fine-tuning's were printed as sums over eleven."""
    suite = COSTS_OF.get(suite, suite)
    for line in lines("cost"):
        if (line["suite"].replace("_", "-"), line["method"]) == (suite, method):
            return float(line["train_seconds"]), float(line["memory_estimate_megabytes"])
    for line in lines("full_finetuning"):
        if (suite, method) == ("base2new", line["method"]):
            return float(line["train_seconds"]) / 11, float(line["memory_megabytes"]) / 11
    return None


def _seconds(table: Table, value: float, section: Section) -> Cell:
    if section.costs_only:
        return table.absent("Training was cut off after a few steps.")
    return table.absent("Not recorded.") if pd.isna(value) else Cell(units.duration(value), value)


@cache
def formula_bytes(suite: str, method: str) -> float | None:
    """The published estimate by its formula: mean over the suite's class counts; None where the method's card has no formula."""
    suite = COSTS_OF.get(suite, suite)
    known = next((p for p in lines("protocol") if (p["suite"], p["method"]) == (suite, method)), None)
    if known is None or method not in plugins.names("method"):
        return None
    card = plugins.load("method", method)
    settings = resolve(card.recipes, suite, "", "published", SHOTS)[1].settings
    forward = getattr(card(**settings), "published_forward", None)
    if forward is None:
        return None
    found = [published_estimate_bytes(forward, classes, int(known["batch_size"])) for classes in CLASSES[suite]]
    return sum(found) / len(found)


def _simulated_bytes(row: Row) -> float | None:
    """Mean over the runs that simulated their own execution: the worst phase's peak on the device."""
    simulated = [r.profile.simulated.get(r.key.execution) for r in row.records if r.profile is not None]
    peaks = [
        max(sum(size for category, size in phase.items() if category != "host") for phase in found.peak_bytes.values())
        for found in simulated
        if found is not None and found.peak_bytes
    ]
    return sum(peaks) / len(peaks) if peaks else None


def _peak_bytes(row: Row, peak: PeakField) -> float | None:
    """The mean over datasets and seeds of the train window's peak, as the published column is a mean over datasets."""
    found = [getattr(r.windows["train"], peak) for r in row.records if r.status == "ok" and "train" in r.windows]
    return None if not found or None in found else sum(found) / len(found)


def _megabytes(table: Table, value: float | None, why: str) -> Cell:
    return table.absent(why) if value is None else Cell(f"{value / MEGABYTE:,.0f}", value)


def _protocol(name: str, section: Section, styles: dict[str, Style]) -> Table:
    columns = [Column("Method", numeric=False), Column("Aspect", numeric=False), Column("Published", numeric=False),
               Column("Here", numeric=False)]  # fmt: skip
    table = Table(name, "Protocol differences, found from the records", columns)
    for aspect, theirs, ours in _common_differences(section):
        table.rows.append([Cell("all"), Cell(aspect), Cell(theirs), Cell(short(visible(ours), 120))])
    for row in section.rows:
        for aspect, theirs, ours in recipe_differences(row):
            table.rows.append([Cell(row.label, style=styles[row.label]), Cell(aspect), Cell(theirs), Cell(ours)])
    return table


def _common_differences(section: Section) -> Iterator[tuple[str, str, str]]:
    c = section.condition
    seeds = tuple(sorted({r.key.seed for r in section.records}))
    compared = [
        ("Backbone", "CLIP ViT-B/16", c.backbone, c.backbone in BACKBONES),
        ("Weights", "OpenAI's", c.weights, c.weights == WEIGHTS),
        (
            "Datasets",
            "ImageNet and ten others",
            listed([short(visible(d), 40) for d in section.datasets]),
            _known(section),
        ),
        ("Shots", str(SHOTS), str(c.shots), c.shots == SHOTS),
        ("Seeds", ", ".join(map(str, SEEDS)), ", ".join(map(str, seeds)), seeds == SEEDS),
        ("Precision", "pure fp16 (no fp32 copy of the weights)", c.precision, c.precision == PRECISION),
        ("Execution", "the authors' arithmetic", f"{c.execution} (equal up to rounding)", c.execution == "reference"),
        ("Prompt templates", "the authors', by dataset", c.template, not c.template),
        ("Length of training", "to its end", f"cut off after {c.steps} steps", not c.steps),
    ]
    return ((aspect, theirs, ours) for aspect, theirs, ours, alike in compared if not alike)


def _known(section: Section) -> bool:
    return set(section.datasets) <= {line["dataset"] for line in lines("base2new")}


def recipe_differences(row: Row) -> Iterator[tuple[str, str, str]]:
    """Epochs and batch size of a row against the released configuration of its suite."""
    suite = row.records[0].key.suite
    known = next((p for p in lines("protocol") if (p["suite"], p["method"]) == (suite, row.method)), None)
    if known is None:
        return
    odd_epochs = {(_epochs(known, r.key.dataset), r.key.recipe.epochs) for r in row.records}
    if differing := sorted((theirs, ours) for theirs, ours in odd_epochs if theirs != ours):
        yield "Epochs", listed([str(t) for t, _ in differing]), listed([str(o) for _, o in differing])
    sizes = sorted({r.key.recipe.batch_size for r in row.records} - {int(known["batch_size"])})
    if sizes:
        yield "Batch size", known["batch_size"], listed([str(size) for size in sizes])


def _epochs(known: Line, dataset: str) -> int:
    return int(known["epochs_on_large" if dataset in LARGE else "epochs"])
