"""From a suite, methods, datasets and seeds to an ordered list of runs; pure, printable, without torch."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, field, fields, replace
from difflib import get_close_matches
from importlib.util import find_spec
from itertools import product
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from harness import plugins, weights
from harness.data.class_names import ClassNames, read_class_names
from harness.errors import ConfigError, did_you_mean
from harness.own_source import source_sha256
from harness.protocol import adapter, check_method
from harness.recipe import LENGTHS, Recipe, resolve, without_effect
from harness.run_key import Precision, RunKey, key_json
from harness.settings import Chosen, Conflicts, is_template
from harness.suite import RECIPES, Dataset, Execution, Suite, Task


@dataclass(frozen=True, kw_only=True)
class Request:
    """What the command line asks for. Empty sequences and None mean the suite's own choice."""

    suite: str
    methods: Sequence[str] = ()
    recipes: str | None = None
    datasets: Sequence[str] = ()
    seeds: Sequence[int] = ()
    shots: Sequence[int] = ()
    backbone: str | None = None
    pretrained: str | None = None
    precision: Precision = "fp32"
    executions: Sequence[Execution] = ()
    steps: int | None = None
    template: str | None = None
    class_names: str | None = None
    simulated: bool = False
    profile: bool = False
    settings: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class PlannedRun:
    """One run to do: its key, the row of the recipe table it was resolved from, and the settings that concern it.

    `sources` leads from the names of datasets in the key to what the command line called them, where that is not the same:
    ``folder:birds@4f21...`` is read from ``folder:/where/birds``. `class_names` is the file of those datasets' class names, and
    `pretrained` the tag or path behind the key's.
    `analyse` and `profile` are the suite's.
    """

    key: RunKey
    recipe_row: str
    overrides: Mapping[str, str] = field(default_factory=dict)
    sources: Mapping[str, str] = field(default_factory=dict)
    class_names: str | None = None
    pretrained: str | None = None
    analyse: bool = False
    profile: bool = False

    def dataset(self, name: str) -> Dataset:
        """A dataset of the key, with the template that the key asks for. Raises ConfigError if a source has changed."""
        found: Dataset = plugins.load("dataset", self.sources.get(name, name))
        if name in self.sources and self.class_names is not None:
            found = read_class_names(self.class_names).of(found)
        if name in self.sources and found.name != name:
            raise ConfigError(f"'{name}' has changed: it is '{found.name}' now.", "Repeat the command to plan anew.")
        return found if self.key.template is None else replace(found, templates={"clip": self.key.template})


def default_group(data_root: Path | None) -> str:
    """The group of datasets that a request means if it names none: the demo world needs no folder of downloaded ones."""
    return "published" if data_root else "demo"


def plan(request: Request, group: str) -> list[PlannedRun]:
    """The runs of a request, datasets outermost and seeds innermost, so that a table fills row by row; each run once.

    `group` is the group of datasets to take when none is named ("demo" or "published"). Raises ConfigError.
    """
    suite: Suite = plugins.load("suite", request.suite)
    class_names = read_class_names(request.class_names) if request.class_names is not None else None
    named = {_name_of(spec, class_names): spec for spec in map(plugins.named, request.datasets)}
    sources = {name: spec for name, spec in named.items() if name != spec}
    tasks = _named_tasks(_tasks(suite, list(named) or [group], sources), sources, class_names)
    if class_names is not None and not sources:
        raise ConfigError(
            f"--class-names {class_names.file} has no effect: no dataset of your own is named.",
            "Leave it out, or name one: --datasets folder:PATH",
        )
    methods = {name: _method(name) for name in _method_names(suite, request.methods)}
    sources_sha256 = {name: source_sha256(method.__module__) for name, method in methods.items()}
    _check_settings_are_known(request.settings, methods)
    _check_template(request.template)
    choice = request.recipes or suite.recipes
    if choice not in RECIPES:
        raise ConfigError(f"no recipes '{choice}'.", did_you_mean(choice, RECIPES))
    backbone = request.backbone or suite.backbone
    pretrained = request.pretrained or (suite.pretrained if backbone == suite.backbone else None)
    backbone, pretrained, label = weights.of_backbone(backbone, pretrained)
    datasets = {task.dataset: plugins.load("dataset", sources.get(task.dataset, task.dataset)) for task in tasks}
    runs: dict[str, PlannedRun] = {}
    lists = _template_lists(request.template, datasets.values())
    used: set[str] = set()
    for task, shots, name in product(tasks, request.shots or suite.shots, methods):
        dataset = datasets[task.dataset]
        given = _Given(request.settings, lists, request.template)
        for configured in _configurations(suite, choice, dataset, shots, name, methods[name], given):
            used |= configured.overrides.keys()
            for execution, seed in product(request.executions or suite.executions, request.seeds or suite.seeds):
                key = RunKey(
                    suite=suite.shares_runs_of or suite.name,
                    dataset=task.dataset,
                    classes=task.classes,
                    tests=tuple(test.key for test in task.tests),
                    shots=shots,
                    seed=seed,
                    method=name,
                    settings=configured.settings,
                    recipe=configured.recipe,
                    backbone=backbone,
                    pretrained=label,
                    precision=request.precision,
                    execution=execution,
                    steps=request.steps or suite.steps,
                    template=request.template,
                    simulated=request.simulated,
                    source_sha256=sources_sha256[name],
                )
                run = PlannedRun(
                    key=key,
                    recipe_row=configured.row,
                    overrides=configured.overrides,
                    sources=sources,
                    class_names=request.class_names,
                    pretrained=pretrained,
                    analyse=suite.analyse,
                    profile=suite.profile or request.profile,
                )
                runs.setdefault(key_json(key), run)
    for setting in request.settings.keys() - used:
        raise ConfigError(
            f"--set {setting}={request.settings[setting]} has no effect: the selected methods train in no steps, or are "
            "set by name.",
            "Leave it out, or select a method that trains in steps (adaptbench list methods).",
        )
    return list(runs.values())


@dataclass(frozen=True)
class _Configuration:
    """A method's fields and recipe, the row it was resolved from, and the settings that went in."""

    row: str
    overrides: Mapping[str, str]
    settings: Mapping[str, Any]
    recipe: Recipe


@dataclass(frozen=True)
class _Given:
    """What the command line says to all methods: its settings, the lists of templates that there are, and a template of its own."""

    settings: Mapping[str, str]
    template_lists: Collection[str]
    template: str | None


def _configurations(
    suite: Suite, choice: str, dataset: Dataset, shots: int, name: str, method: Any, given: _Given
) -> Iterator[_Configuration]:
    """One for every variant that the suite has of a method. A setting of the user's that they vary takes their place."""
    row, recipe = resolve(method.recipes, suite.setting, dataset.name, dataset.group, shots, choice)
    variants = suite.variants.get(name, ({},))
    if {key.rpartition(".")[2] for key in given.settings} & set().union(*variants):
        variants = ({},)
    for variant in variants:
        chosen = {f"{name}.{key}": text for key, text in variant.items()}
        settings = {**chosen, **_overrides(method, name, recipe, given.settings)}
        values, resolved = _apply(method, name, recipe, settings, given)
        yield _Configuration(row, settings, values, resolved.for_shots(shots))


def doubts(key: RunKey) -> list[str]:
    """What is to be said of a run's settings that can be used."""
    recipe = key.recipe
    if not recipe.only_warms_up:
        return []
    return [
        f"{key.method}: all {recipe.epochs} epochs are warm-up, at {recipe.warmup_learning_rate:g} instead of "
        f"{recipe.learning_rate:g}: train longer, or without it (--set warmup_epochs=0)."
    ]


def _method(name: str) -> Any:
    method = plugins.load("method", name)
    check_method(name, method)
    return method


def build_method(name: str, settings: Mapping[str, Any]) -> Any:
    """The method object of a run key."""
    return plugins.load("method", name)(**settings)


def _name_of(spec: str, class_names: ClassNames | None) -> str:
    """What a key calls a dataset of the command line: as it is there, or by the name that its source and its class names give it.

    Raises ConfigError for what looks like a source that is misspelt or left out.
    """
    source, colon, _ = spec.partition(":")
    sources = plugins.names("source")
    if colon and source not in sources and get_close_matches(source, sources) and find_spec(source) is None:
        raise ConfigError(f"no source '{source}' (in '{spec}').", did_you_mean(source, sources))
    path = Path(spec).expanduser()
    if not colon and spec not in plugins.names("dataset") and (path.is_dir() or path.suffix == ".csv"):
        kind = "folder" if path.is_dir() else "csv"
        raise ConfigError(
            f"no dataset '{spec}'.",
            f"For the {'folder' if kind == 'folder' else 'file'} of that name: --datasets {kind}:{spec}",
        )
    if not plugins.is_source(spec):
        return spec
    found: Dataset = plugins.load("dataset", spec)
    return found.name if class_names is None else class_names.of(found).name


def _named_tasks(tasks: Sequence[Task], sources: dict[str, str], class_names: ClassNames | None) -> list[Task]:
    """The tasks, with datasets that a suite has from a source (``folder:/a/b``) by their names; `sources` learns them."""

    def name(dataset: str) -> str:
        if dataset in sources or not plugins.is_source(dataset):
            return dataset
        found = _name_of(dataset, class_names)
        sources[found] = dataset
        return found

    return [
        replace(task, dataset=name(task.dataset), tests=tuple(replace(t, dataset=name(t.dataset)) for t in task.tests))
        for task in tasks
    ]


def _tasks(suite: Suite, names: Sequence[str], sources: Mapping[str, str]) -> list[Task]:
    """Tasks for dataset names and group names, in the order given, each once."""
    tasks: list[Task] = []
    groups = {*suite.groups, *suite.tasks}
    for name in names:
        if name in groups:
            tasks += suite.group_tasks(name)
            continue
        named = [task for group in groups for task in suite.tasks.get(group, ()) if task.dataset == name]
        if not named and suite.each is not None:
            if name not in plugins.names("dataset") and name not in sources and ":" not in name:
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
    chosen = [each for name in names for each in (plugins.names("method") if name == "all" else [plugins.named(name)])]
    return list(dict.fromkeys(chosen or suite.methods or plugins.names("method")))


def _check_template(template: str | None) -> None:
    if template is not None and not is_template(template):
        raise ConfigError(
            f"--template '{template}' doesn't say once where the class name goes.",
            "Mark the place by {}, with no other braces, as in: --template 'a photo of a {}.'",
        )


def _template_lists(template: str | None, datasets: Iterable[Dataset]) -> set[str]:
    """The lists that a method may name: those of the datasets, a numbered one by its name; "clip" alone beside a template."""
    if template is not None:
        return {"clip"}
    return {name.rstrip("0123456789").rstrip() for dataset in datasets for name in dataset.templates}


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
    """The settings that concern a method: those that name it, and unnamed ones it has a field for, unless a named one says it.

    How to train is nothing to a method that doesn't; and one whose length is given by name is not asked for another.
    """
    known = {f.name for f in (*fields(method), *fields(Recipe))}
    named = {key.rpartition(".")[2]: text for key, text in settings.items() if key.rpartition(".")[0] == name}
    known -= named.keys()
    if any(named.get(length, "null") != "null" for length in LENGTHS):
        known -= LENGTHS
    if not recipe.trains:
        known -= without_effect(recipe).keys() | conflicts_of(method(), recipe).keys()
    owners = {key: key.rpartition(".")[0] for key in settings}
    return {key: text for key, text in settings.items() if owners[key] == name or (not owners[key] and key in known)}


def conflicts_of(method: Any, recipe: Recipe) -> Conflicts:
    """The fields of a method, or of the recipe for it, that it says contradict others: none where it says nothing."""
    return method.conflicts(recipe) if hasattr(method, "conflicts") else {}


def _apply(
    method: Any, name: str, recipe: Recipe, overrides: Mapping[str, str], given: _Given
) -> tuple[dict[str, Any], Recipe]:
    """The method's fields and the recipe, after the recipe row's settings and then ``--set``, read as their fields' types."""
    method_values: dict[str, Any] = {**asdict(method()), **recipe.settings}
    recipe_values: dict[str, Any] = {**asdict(recipe), "settings": {}}
    texts = {key.rpartition(".")[2]: (key, text) for key, text in overrides.items()}
    for field_name, (_, text) in texts.items():
        (method_values if field_name in method_values else recipe_values)[field_name] = _value(text)
    try:
        checked = adapter(method).validate_python(method_values, context=Chosen(texts.keys(), given.template_lists))
        resolved: Recipe = adapter(Recipe).validate_python(recipe_values)
    except ValidationError as error:
        raise _wrong_value(method, name, recipe, texts, error) from error
    if resolved.trains and resolved.learning_rate is None:
        raise ConfigError(
            f"the recipe of '{name}' trains without a learning rate.", f"Give it one: --set {name}.learning_rate=0.002"
        )
    _check_conflicts(name, recipe, checked, resolved, texts)
    own = method_values.get("template")
    if given.template is not None and own and own != given.template:
        raise ConfigError(
            f"--template '{given.template}' has no effect on '{name}', which has a template of its own, '{own}'.",
            f"Set that one: --set {name}.template=, which takes --template, or --set {name}.template='{given.template}'.",
        )
    return asdict(checked), resolved


def _check_conflicts(
    name: str, recipe: Recipe, method: Any, resolved: Recipe, texts: Mapping[str, tuple[str, str]]
) -> None:
    """Raise ConfigError for a setting that has no effect beside the others, or contradicts them.

    `recipe` is the row's, `resolved` with the settings in it; `texts` are theirs by field, as (key, text).
    """
    conflicts = {**without_effect(resolved), **conflicts_of(method, resolved)}
    if resolved.learning_rate is not None and resolved.minimum_learning_rate > resolved.learning_rate:
        why = f"learning_rate={resolved.learning_rate:g} would rise to minimum_learning_rate={resolved.minimum_learning_rate:g}"
        conflicts |= dict.fromkeys(("learning_rate", "minimum_learning_rate"), why)
    ends_training = LENGTHS if recipe.trains and not resolved.trains else frozenset()
    for field_name, (key, text) in texts.items():
        if field_name in conflicts and text != "null" and field_name not in ends_training:
            raise ConfigError(
                f"--set {key}={text} does not go with the other settings of '{name}': {conflicts[field_name]}.",
                f"Leave it out, or change the other setting; for other methods alone: --set METHOD.{field_name}={text}",
            )


_SHOWN = 200
"""Characters of a wrong value."""


def _wrong_value(
    method: Any, name: str, recipe: Recipe, texts: Mapping[str, tuple[str, str]], error: ValidationError
) -> ConfigError:
    """What a field's type says of a value, and the value that the recipe has."""
    first = error.errors(include_url=False)[0]
    where = str(first["loc"][0]) if first["loc"] else name
    key, text = texts.get(where, (where, first["input"]))
    right = first["msg"].removeprefix("Value error, ")
    usual = {**asdict(recipe), **asdict(method()), **recipe.settings}.get(where)
    return ConfigError(
        f"--set {key}={str(text)[:_SHOWN]}{'…' * (len(str(text)) > _SHOWN)}: {right}.",
        f"It is a setting of '{name}' or of its recipe, which has {where}={usual}.",
    )


def _value(text: str) -> Any:
    """``null``, a JSON object or list, or the text itself, which is read as its field's type."""
    if text == "null":
        return None
    if text[:1] in "{[":
        with suppress(ValueError, RecursionError):  # of what is no JSON, has 5,000 digits or no end
            return json.loads(text)
    return text
