"""In what a section's protocol differs from the published one, found from its records."""

from __future__ import annotations

from collections.abc import Iterator

from reports.format.cells import Cell, Column, Table
from reports.format.styles import Style
from reports.format.text import listed, short, visible
from reports.results.literature import COSTS_OF, MEANS, SHOTS, Line, lines
from reports.results.sections import Row, Section

BACKBONE, WEIGHTS = "ViT-B-16-quickgelu", "openai"
SEEDS, PRECISION = (1, 2, 3), "fp16-pure"
LARGE = ("imagenet", "sun397", "food101")
"""Datasets on which the authors train some methods for fewer epochs."""


def protocol_table(name: str, section: Section, styles: dict[str, Style]) -> Table:
    """A line a difference: those of all rows first."""
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
        ("Backbone", "CLIP ViT-B/16 with QuickGELU", c.backbone, c.backbone == BACKBONE),
        ("Weights", "OpenAI's", c.weights, c.weights == WEIGHTS),
        ("Trained on", *_trained_on(section)),
        ("Shots", str(SHOTS), str(c.shots), c.shots == SHOTS),
        ("Seeds", ", ".join(map(str, SEEDS)), ", ".join(map(str, seeds)), seeds == SEEDS),
        ("Precision", "pure fp16 (no fp32 copy of the weights)", c.precision, c.precision == PRECISION),
        ("Execution", "the authors' arithmetic", f"{c.execution} (equal up to rounding)", c.execution == "reference"),
        ("Prompt templates", "the authors', by dataset", c.template, not c.template),
        ("Length of training", "to its end", f"cut off after {c.steps} steps", not c.steps),
        ("Figures", "of runs", "simulated", not c.simulated),
    ]
    return ((aspect, theirs, ours) for aspect, theirs, ours, alike in compared if not alike)


def _trained_on(section: Section) -> tuple[str, str, bool]:
    """Theirs, ours, and whether ours are among theirs."""
    transfer = section.condition.suite in MEANS
    theirs = {"imagenet"} if transfer else {line["dataset"] for line in lines("base2new")}
    ours = listed([short(visible(d), 40) for d in section.datasets])
    return "ImageNet" if transfer else "ImageNet and ten others", ours, set(section.datasets) <= theirs


def recipe_differences(row: Row) -> Iterator[tuple[str, str, str]]:
    """Epochs and batch size of a row against the released configuration of its suite."""
    suite = row.records[0].key.suite
    suite = COSTS_OF.get(suite, suite)
    known = next((p for p in lines("protocol") if (p["suite"], p["method"]) == (suite, row.method)), None)
    if known is None:
        return
    odd_epochs = {(_epochs(known, r.key.dataset), r.key.recipe.epochs) for r in row.records}
    if differing := [(published, here) for published, here in odd_epochs if published != here]:
        theirs, ours = (listed([str(epochs) for epochs in sorted(set(side))]) for side in zip(*differing, strict=True))
        yield "Epochs", theirs, ours
    sizes = sorted({r.key.recipe.batch_size for r in row.records} - {int(known["batch_size"])})
    if sizes:
        yield "Batch size", known["batch_size"], listed([str(size) for size in sizes])


def _epochs(known: Line, dataset: str) -> int:
    return int(known["epochs_on_large" if dataset in LARGE else "epochs"])
