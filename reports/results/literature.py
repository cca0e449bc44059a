"""The literature's tables as data, and its memory estimate by its formula."""

from __future__ import annotations

import csv
from collections.abc import Mapping
from functools import cache
from importlib import resources
from typing import Any

from harness import plugins
from harness.published_estimate import published_estimate_bytes
from harness.recipe import relevant_fields, resolve
from harness.suite import Setting

SOURCE = "Skip Tuning (Wu et al., CVPR 2025, arXiv:2412.11509)"
SHOTS = 16
AVERAGE = "average"
MEANS = {"cross-dataset": ("cross_dataset", 10, "average_of_10_datasets"),
         "domain-generalization": ("domain_generalization", 4, "average_of_4_variants")}  # fmt: skip
SETTINGS: Mapping[str, Setting] = {
    "base2new": "base-to-new",
    "cross-dataset": "transfer",
    "domain-generalization": "transfer",
}
COSTS_OF = {"cost": "base2new"}
"""The suite of costs alone runs the recipes behind these published columns."""
CLASSES = {
    "base2new": {
        "imagenet": 500, "caltech101": 50, "oxford_pets": 19, "stanford_cars": 98, "oxford_flowers": 51, "food101": 51,
        "fgvc_aircraft": 50, "sun397": 199, "dtd": 24, "eurosat": 5, "ucf101": 51,
    },
    "cross-dataset": {"imagenet": 1000},
}  # fmt: skip
"""Classes trained on, for each dataset of a published suite."""

Line = dict[str, str]


@cache
def lines(name: str) -> tuple[Line, ...]:
    """The lines of ``published/<name>.csv``."""
    text = resources.files("reports").joinpath("published", f"{name}.csv").read_text(encoding="utf-8")
    return tuple(csv.DictReader(text.splitlines()))


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


def published_recipes(suite: str, method: str) -> tuple[Line, ...]:
    """For each kind of published figures of a method, which recipe gave them: lines of ``published/recipes.csv``.

    Domain generalisation is answered by the models of cross-dataset transfer.
    """
    of_accuracies = "cross-dataset" if suite == "domain-generalization" else suite
    of_costs = COSTS_OF.get(suite, suite)
    return tuple(
        line
        for line in lines("recipes")
        if line["method"] == method and line["suite"] == (of_costs if line["figures"] == "cost" else of_accuracies)
    )


def published_fields(suite: str, method: str, dataset: str, recipes: str) -> dict[str, Any]:
    """Every field of the recipe that gave a figure on a dataset: a method's row of these `recipes`."""
    card = plugins.load("method", method)
    setting = SETTINGS[COSTS_OF.get(suite, suite)]
    recipe = resolve(card.recipes, setting, dataset, "published", SHOTS, recipes)[1]
    return relevant_fields(card, recipe.for_shots(SHOTS))


@cache
def formula_bytes(suite: str, method: str) -> float | None:
    """The published estimate by its formula: mean over the suite's class counts; None where the method's card has no formula."""
    suite = COSTS_OF.get(suite, suite)
    if published_cost(suite, method) is None or method not in plugins.names("method"):
        return None
    card = plugins.load("method", method)
    found = []
    for dataset, classes in CLASSES[suite].items():
        recipe = resolve(card.recipes, SETTINGS[suite], dataset, "published", SHOTS, "cost")[1]
        forward = getattr(card(**recipe.settings), "published_forward", None)
        if forward is None:
            return None
        found.append(published_estimate_bytes(forward, classes, recipe.batch_size))
    return sum(found) / len(found)
