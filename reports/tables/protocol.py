"""In what a section's protocol differs from the published one, found from its records."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import fields
from functools import cache
from types import NoneType
from typing import Any

from harness import plugins
from harness.recipe import effective_fields
from harness.run_key import RunKey
from harness.visible import visible
from reports.format.cells import Cell, Column, Table
from reports.format.styles import Style
from reports.format.text import listed, short
from reports.results.literature import MEANS, SHOTS, lines, published_fields, published_recipes
from reports.results.sections import Row, Section

BACKBONE, WEIGHTS = "ViT-B-16-quickgelu", "openai"
SEEDS, PRECISION = (1, 2, 3), "fp16-pure"
UNKNOWN = "unknown"
NO_RESULT = ("test_batch_size", "sequences_per_pass")
"""Fields that bound memory and change no result."""


def protocol_table(name: str, section: Section, styles: dict[str, Style]) -> Table:
    """A line a difference: those of all rows first."""
    heads = ("Method", "Figures", "Aspect", "Published", "Here")
    columns = [Column(head, numeric=False) for head in heads]
    table = Table(name, "Protocol differences, found from the records", columns)
    for aspect, theirs, ours in _common_differences(section):
        table.rows.append([Cell("all"), Cell("all"), Cell(aspect), Cell(theirs), Cell(short(visible(ours), 120))])
    for row in section.rows:
        for figures, aspect, theirs, ours in recipe_differences(row):
            cells = (Cell(figures), Cell(aspect), Cell(theirs), Cell(ours))
            table.rows.append([Cell(row.label, style=styles[row.label]), *cells])
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


def recipe_differences(row: Row) -> Iterator[tuple[str, str, str, str]]:
    """(figures, field, published, here) wherever a row's recipe differs from that of its published figures.

    A difference from the recipes of several kinds of figures is told once; of a figure whose recipe is unknown, that it is.
    """
    suite = row.records[0].key.suite
    keys = [record.key for record in row.records]
    unlike = list({(key.dataset, repr(key.recipe), repr(key.settings)): key for key in keys}.values())  # of seeds, one
    told: dict[tuple[str, str, str], list[str]] = {}
    for line in published_recipes(suite, row.method):
        if line["recipes"] == UNKNOWN:
            told[f"Recipe of the published {line['figures']}", f"unknown: {line['source']}", "–"] = [line["figures"]]
            continue
        for name, theirs, ours in _differing(unlike, suite, line["recipes"]):
            title = name.replace("_", " ").capitalize()
            told.setdefault((title, _values(theirs), _values(ours)), []).append(line["figures"])
    for (name, theirs_text, ours_text), figures in told.items():
        yield ", ".join(figures), name, theirs_text, ours_text


def _differing(keys: Sequence[RunKey], suite: str, recipes: str) -> Iterator[tuple[str, list[Any], list[Any]]]:
    """(field, published values, values here) of every field in which some run differs, over the runs that do."""
    found: dict[str, tuple[list[Any], list[Any]]] = {}
    for key in keys:
        theirs = published_fields(suite, key.method, key.dataset, recipes)
        ours = effective_fields(key.recipe) | dict(key.settings)
        for name in theirs.keys() | ours.keys():
            if name in NO_RESULT or (name not in ours and name in _own_fields(key.method)):
                continue  # the run is of a version of the method without this field
            pair = theirs.get(name), ours.get(name)
            if _plain(pair[0]) != _plain(pair[1]):
                published, here = found.setdefault(name, ([], []))
                published.append(pair[0])
                here.append(pair[1])
    return ((name, *values) for name, values in sorted(found.items()))


@cache
def _own_fields(method: str) -> set[str]:
    return {field.name for field in fields(plugins.load("method", method))}


def _plain(value: Any) -> Any:
    """As JSON has it, since records were read from it."""
    if type(value) in (str, int, float, bool, NoneType):
        return value
    return json.loads(json.dumps(value))


def _values(values: list[Any]) -> str:
    """Each once, in order: numbers by size."""
    once = {json.dumps(value): value for value in values}.values()
    numbers = all(isinstance(value, int | float) for value in once)
    return short(visible(listed([_text(value) for value in (sorted(once) if numbers else once)])), 120)


def _text(value: Any) -> str:
    if value is None or value == {}:
        return "none"
    if isinstance(value, Mapping):
        return ", ".join(f"{name} {_text(each)}" for name, each in value.items())
    return f"{value:g}" if isinstance(value, float) else str(value) or "empty"
