"""The command ``adaptbench plan``: the runs of a suite, as a table or as JSON."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Annotated

import typer
from pydantic import TypeAdapter

from harness.cli import options, tables
from harness.cli.terminal import console, echo
from harness.plan import PlannedRun, Request, default_group, plan
from harness.run_key import RunKey


def plan_(
    suite: options.Suite,
    methods: options.Methods = None,
    recipes: options.Recipes = None,
    datasets: options.Datasets = None,
    seeds: options.Seeds = None,
    shots: options.Shots = None,
    backbone: options.BackboneName = None,
    pretrained: options.Pretrained = None,
    data_root: options.DataRoot = None,
    precision: options.PrecisionName = "fp32",
    execution: options.Executions = None,
    steps: options.Steps = None,
    template: options.Template = None,
    class_names: options.ClassNames = None,
    settings: options.Settings = None,
    as_json: Annotated[bool, typer.Option("--json", help="Every run with its resolved recipe, as JSON.")] = False,
) -> None:
    """Print the runs of a suite, with recipes resolved, and run nothing."""
    request = Request(
        suite=suite,
        methods=options.names("methods", methods),
        recipes=options.given("recipes", recipes),
        datasets=options.datasets_of(datasets),
        seeds=options.seeds_of(seeds),
        shots=options.numbers("shots", shots),
        backbone=options.given("backbone", backbone),
        pretrained=options.given("pretrained", pretrained),
        precision=options.precision_of(precision),
        executions=options.executions_of(execution),
        steps=steps,
        template=options.given("template", template),
        class_names=options.given("class-names", class_names),
        settings=options.settings_of(settings),
    )
    runs = plan(request, default_group(data_root))
    if as_json:
        adapter = TypeAdapter(RunKey)
        rows = [{"recipe_row": run.recipe_row, **adapter.dump_python(run.key, mode="json")} for run in runs]
        echo(json.dumps(rows, indent=1))
        return
    show(runs)
    console.print(f"{len(runs)} run{'s' * (len(runs) != 1)}.", highlight=False)


def show(runs: Sequence[PlannedRun]) -> None:
    """Print runs, those that differ in seed or execution alone in one row."""
    columns = ("method", "dataset", "shots", "seeds", "executions", "tests", "recipe row", "recipe", "settings")
    grouped: dict[tuple[str, ...], list[RunKey]] = {}
    for run in runs:
        key = run.key
        row = key.method, key.dataset, str(key.shots), run.recipe_row, _settings_text(key)
        grouped.setdefault(row, []).append(key)
    rows = []
    for (method, dataset, shots, recipe_row, settings), keys in grouped.items():
        seeds = ",".join(dict.fromkeys(str(key.seed) for key in keys))
        executions = ",".join(dict.fromkeys(key.execution for key in keys))
        tests = keys[0].tests if len(keys[0].tests) <= 4 else (*keys[0].tests[:3], f"{len(keys[0].tests) - 3} more")
        recipe = _recipe_text(keys[0])
        rows.append((method, dataset, shots, seeds, executions, ", ".join(tests), recipe_row, recipe, settings))
    tables.show(console, columns, rows)


def _settings_text(key: RunKey) -> str:
    return " ".join(f"{name}={value}" for name, value in key.settings.items() if value != "")


def _recipe_text(key: RunKey) -> str:
    recipe = key.recipe
    if not recipe.trains:
        return "no training"
    count, unit = (recipe.iterations, "iteration") if recipe.iterations else (recipe.epochs, "epoch")
    count, unit = (key.steps, "step") if key.steps else (count, unit)
    batches = f"{count} {unit}{'s' * (count != 1)}, batch {recipe.batch_size}, {recipe.optimizer}"
    if recipe.only_warms_up:
        return f"{batches} {recipe.warmup_learning_rate:g} (all of it warm-up)"
    warm = recipe.warmup_epochs and recipe.warmup_learning_rate
    after = f" after {recipe.warmup_epochs} at {recipe.warmup_learning_rate:g}" if warm and not key.steps else ""
    return f"{batches} {recipe.learning_rate:g}{after}"
