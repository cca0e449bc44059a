"""From a suite, methods, datasets and seeds to an ordered list of runs; pure, printable, without torch."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter, ValidationError

from harness import plugins
from harness.errors import ConfigError, did_you_mean
from harness.recipe import Recipe, resolve
from harness.records import Execution, Precision, RunKey
from harness.suite import Dataset, Suite, Task


@dataclass(frozen=True, kw_only=True)
class Request:
    """What the command line asks for. Empty sequences mean the suite's own choice."""

    suite: str
    methods: Sequence[str] = ()
    datasets: Sequence[str] = ()
    seeds: Sequence[int] = ()
    shots: Sequence[int] = ()
    backbone: str = "demo-clip"
    pretrained: str | None = None
    precision: Precision = "fp32"
    execution: Execution = "fast"
    settings: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class PlannedRun:
    """One run to do: its key, the row of the recipe table it was resolved from, and the ``--set`` that concern it."""

    key: RunKey
    recipe_row: str
    overrides: Mapping[str, str] = field(default_factory=dict)


def plan(request: Request, default_group: str) -> list[PlannedRun]:
    """The runs of a request, datasets outermost and seeds innermost, so that a table fills row by row.

    `default_group` is the group of datasets to take when none is named ("demo" or "published"). Raises ConfigError.
    """
    suite: Suite = plugins.load("suite", request.suite)
    tasks = _tasks(suite, request.datasets or (default_group,))
    methods = {name: plugins.load("method", name) for name in _method_names(suite, request.methods)}
    _check_settings_are_known(request.settings, methods)
    weights = _weights_label(request.pretrained)
    runs = []
    for task in tasks:
        dataset: Dataset = plugins.load("dataset", task.dataset)
        for shots in request.shots or suite.shots:
            for name, method in methods.items():
                row, recipe = resolve(method.recipes, suite.name, dataset.name, dataset.group, shots)
                overrides = _overrides(method, name, recipe, request.settings)
                settings, recipe = _apply(method, name, recipe, overrides)
                recipe = recipe.for_shots(shots)
                for seed in request.seeds or suite.seeds:
                    key = RunKey(
                        suite=suite.name,
                        dataset=task.dataset,
                        classes=task.classes,
                        tests=tuple(test.key for test in task.tests),
                        shots=shots,
                        seed=seed,
                        method=name,
                        settings=settings,
                        recipe=recipe,
                        backbone=request.backbone,
                        pretrained=weights,
                        precision=request.precision,
                        execution=request.execution,
                    )
                    runs.append(PlannedRun(key=key, recipe_row=row, overrides=overrides))
    return runs


def build_method(name: str, settings: Mapping[str, Any]) -> Any:
    """The method object of a run key."""
    return plugins.load("method", name)(**settings)


def _tasks(suite: Suite, names: Sequence[str]) -> list[Task]:
    """Tasks for dataset names and group names, in the order given, each once."""
    tasks: list[Task] = []
    groups = {*suite.groups, *suite.tasks}
    for name in names:
        if name in groups:
            tasks += suite.group_tasks(name)
            continue
        named = [task for group in groups for task in suite.tasks.get(group, ()) if task.dataset == name]
        if not named and suite.each is not None:
            if name not in plugins.names("dataset") and ":" not in name:
                raise ConfigError(
                    f"no dataset or group '{name}' for the suite '{suite.name}'.",
                    did_you_mean(name, [*plugins.names("dataset"), *groups]),
                )
            named = [suite.each.on(name)]
        if not named:
            known = sorted({task.dataset for group in groups for task in suite.tasks.get(group, ())} | groups)
            raise ConfigError(f"the suite '{suite.name}' has no task on '{name}'.", did_you_mean(name, known))
        tasks += named
    return list(dict.fromkeys(tasks))


def _method_names(suite: Suite, names: Sequence[str]) -> list[str]:
    if list(names) == ["all"]:
        return plugins.names("method")
    return list(dict.fromkeys(names or suite.methods or plugins.names("method")))


def _check_settings_are_known(settings: Mapping[str, str], methods: Mapping[str, Any]) -> None:
    recipe_fields = {f.name for f in fields(Recipe)}
    for name in settings:
        owner, _, field_name = name.rpartition(".")
        if owner and owner not in methods:
            raise ConfigError(f"--set {name}: no selected method '{owner}'.", did_you_mean(owner, methods))
        candidates = [methods[owner]] if owner else list(methods.values())
        known = recipe_fields.union(*({f.name for f in fields(m)} for m in candidates))
        if field_name not in known:
            raise ConfigError(
                f"--set {name}: no selected method or recipe has this setting.", did_you_mean(field_name, known)
            )


def _overrides(method: Any, name: str, recipe: Recipe, settings: Mapping[str, str]) -> dict[str, str]:
    """The settings that concern a method: those that name it, and unnamed ones it has a field for.

    An unnamed length of training is none of a method that doesn't train.
    """
    known = {f.name for f in (*fields(method), *fields(Recipe))}
    if not recipe.trains:
        known -= {"epochs", "iterations"}
    owners = {key: key.rpartition(".")[0] for key in settings}
    return {key: text for key, text in settings.items() if owners[key] == name or (not owners[key] and key in known)}


def _apply(method: Any, name: str, recipe: Recipe, overrides: Mapping[str, str]) -> tuple[dict[str, Any], Recipe]:
    """The method's fields and the recipe, after the recipe row's settings and then ``--set``, read as their fields' types."""
    method_values: dict[str, Any] = {**asdict(method()), **recipe.settings}
    recipe_values: dict[str, Any] = {**asdict(recipe), "settings": {}}
    for key, text in overrides.items():
        field_name = key.rpartition(".")[2]
        (method_values if field_name in method_values else recipe_values)[field_name] = _value(text)
    try:
        checked = TypeAdapter(method).validate_python(method_values)
        recipe = TypeAdapter(Recipe).validate_python(recipe_values)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        where = ".".join(str(part) for part in first["loc"])
        raise ConfigError(
            f"--set {where}={first['input']}: {first['msg']}.", f"It is a setting of '{name}' or of its recipe."
        ) from error
    if recipe.trains and recipe.learning_rate is None:
        raise ConfigError(
            f"the recipe of '{name}' trains without a learning rate.", f"Give it one: --set {name}.learning_rate=0.002"
        )
    return asdict(checked), recipe


def _value(text: str) -> Any:
    """``none``, a JSON object or list, or the text itself, which is read as its field's type."""
    if text == "none":
        return None
    if text[:1] in "{[":
        with suppress(json.JSONDecodeError):
            return json.loads(text)
    return text


def _weights_label(pretrained: str | None) -> str | None:
    """What a key says of the weights: a tag as it is; a file by its name and the start of its SHA-256, never by its folder."""
    if pretrained is None or not Path(pretrained).is_file():
        return pretrained
    with open(pretrained, "rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    return f"{Path(pretrained).name}@{digest[:12]}"
