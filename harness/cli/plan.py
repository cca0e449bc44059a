"""The command ``adaptbench plan``: the runs of a suite, as a table or as JSON."""

from __future__ import annotations

import json
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer
from pydantic import TypeAdapter

from harness.cli import options, tables
from harness.cli.terminal import console, echo, say
from harness.plan import PlannedRun, Request, default_group, plan
from harness.run_key import RunKey

_EXPECTED = ("seconds", "peak_tensor_bytes", "peak_rss_bytes", "source")


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
    results: options.Results = Path("results"),
    device: options.Device = "auto",
    threads: options.Threads = "auto",
    cache: options.Cache = None,
    calibrate: Annotated[
        bool,
        typer.Option(
            "--calibrate",
            help="First run a few steps, at least two, of each kind of run that has no record here, to know time and memory.",
        ),
    ] = False,
    as_json: Annotated[
        bool, typer.Option("--json", help="Every run with its resolved recipe and what is expected of it, as JSON.")
    ] = False,
) -> None:
    """Print the runs of a suite, with recipes resolved, and what time and memory they take here as far as that is known."""
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
    forecasts = None
    if calibrate or results.is_dir():
        from harness.cli import expected
        from harness.runs.suite_runner import CACHE, RunOptions

        how = RunOptions(
            results=results,
            cache=CACHE if cache is None else cache,
            data_root=data_root,
            device=device,
            threads=options.threads_of(threads),
        )
        forecasts = expected.expected(runs, how, calibrated=calibrate)
    if as_json:
        adapter = TypeAdapter(RunKey)
        unknown = {**dict.fromkeys(_EXPECTED), "count": 0, "why": f"there is no folder {results}"}
        unknown["command"] = calibrating_command()
        figures = [unknown] * len(runs) if forecasts is None else [expected.as_json(each) for each in forecasts]
        rows = [
            {"recipe_row": run.recipe_row, **adapter.dump_python(run.key, mode="json"), "expected": of_run}
            for run, of_run in zip(runs, figures, strict=True)
        ]
        echo(json.dumps(rows, indent=1))
        return
    show(runs)
    count = f"{len(runs)} run{'s' * (len(runs) != 1)}"
    if forecasts is None:
        say(
            console,
            f"Not known: what time and memory they take here, as there is no folder {results}. To know: {calibrating_command()}",
        )
    else:
        expected.show(runs, forecasts)
    say(console, f"{count}{expected.in_sum(forecasts) if forecasts else ''}.")


def calibrating_command() -> str:
    """The present command, made to calibrate."""
    words = [word for word in sys.argv[1:] if word not in ("--json", "--dry-run", "--calibrate")]
    words = ["plan", *words[1:]] if words[:1] == ["run"] else words
    return shlex.join(["adaptbench", *words, "--calibrate"])


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
