"""Where the figures come from: failures, machines, recipes, commands, and what to be careful about."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from functools import lru_cache
from typing import Any

from pydantic import TypeAdapter

from harness.recipe import Recipe
from harness.records import Environment, RunKey, RunRecord
from harness.visible import block, visible
from reports.format import units
from reports.format.cells import Cell, Column, Table
from reports.format.styles import Style
from reports.format.text import few, listed, plural, short, shown
from reports.results.machines import TIMED_BY, timing
from reports.results.sections import Section, canonical, grouped, plain, recipe_json

_ENVIRONMENT = TypeAdapter(Environment)
LONG = 160
"""Characters from which a text is folded away."""


def failure_table(sections: Iterable[tuple[str, Section]], links: Mapping[int, str]) -> Table:
    """A line a run that did not finish, under the title of its section. `links` lead to runs, by the record's identity."""
    columns = ["Method", "Suite", "Dataset", "Seed", "Status", "Reason"]
    table = Table("failures", "Runs that did not finish", [Column(c, numeric=c == "Seed") for c in columns])
    for title, section in sections:
        for row in section.rows:
            table.rows.extend(_failure(table, row.label, title, r, links) for r in row.records if r.status != "ok")
    return table


def machine_table(records: Iterable[RunRecord]) -> Table:
    """A column an environment (its load aside), a line a fact."""
    by_environment = grouped(
        records, lambda r: _ENVIRONMENT.dump_json(r.environment, exclude={"load_average", "concurrent_runs"})
    )
    environments = [(found[0].environment, len(found)) for found in by_environment.values()]
    columns = [Column("Fact", numeric=False), *(Column(plural(n, "run"), numeric=False) for _, n in environments)]
    table = Table("machines", "Machines and software", columns)
    facts = [_facts(environment) for environment, _ in environments]
    unknown = []
    for name in dict.fromkeys(name for fact in facts for name in fact):
        if any(fact.get(name) for fact in facts):
            table.rows.append([Cell(short(visible(name), 60)), *(_fact(table, fact.get(name)) for fact in facts)])
        else:
            unknown.append(name)
    if unknown:
        table.note(f"In no record: {listed([short(visible(name), 60) for name in unknown])}.")
    return table


def environment_text(environment: Environment) -> str:
    """Every known fact of an environment, a line each."""
    own = {"Load average": environment.load_average, "Runs at once": environment.concurrent_runs}
    lines = [f"{name}: {shown(str(fact), 200)}" for name, fact in own.items() if fact is not None]
    return "\n".join([*_lines(tuple(_facts(environment).items())), *lines])


@lru_cache(maxsize=1024)
def _lines(facts: tuple[tuple[str, str | None], ...]) -> list[str]:
    """What the runs of a machine have in common."""
    return [f"{visible(name)}: {shown(fact, 200)}" for name, fact in facts if fact is not None]


def recipe_table(name: str, section: Section, styles: dict[str, Style]) -> Table:
    """A line a row and recipe: what was run."""
    columns = ["Method", "Settings", "Datasets", "Seeds", "Recipe row", "Length", "Batch", "Rate", "Optimiser", "Schedule",
               "Augmentation", "Weights"]  # fmt: skip
    table = Table(name, "Recipes and settings", [Column(c, numeric=c == "Batch") for c in columns])
    for row in section.rows:
        for found in _by_recipe(row.records):
            table.rows.append([Cell(row.label, style=styles[row.label]), *_recipe_cells(table, found)])
    return table


def recipe_texts(section: Section) -> list[tuple[str, str]]:
    """Every field of every recipe, as JSON under the names of its row and datasets."""
    return [
        (f"{row.label}, {_names({r.key.dataset for r in found})}", block(_pretty(asdict(found[0].key.recipe))))
        for row in section.rows
        for found in _by_recipe(row.records)
    ]


def manner(records: Iterable[RunRecord], execution: bool = True) -> str:
    """How a row's costs came about: execution, precision, length of training, batch, augmentation; "or" where runs differ."""
    ways = [_manner(r.key) for r in records]
    aspects = [" or ".join(dict.fromkeys(aspect)) for aspect in zip(*ways, strict=True)]
    return ", ".join(aspect for aspect in aspects[not execution :] if aspect)


def _manner(key: RunKey) -> tuple[str, ...]:
    recipe = key.recipe
    if not recipe.trains:
        return key.execution, key.precision, "no training steps", "", ""
    length = f"{plural(key.steps, 'step')} of {_length(recipe)}" if key.steps else _length(recipe)
    augmentation = "no augmentation" if recipe.augmentation == "none" else recipe.augmentation.replace("-", " ")
    return key.execution, key.precision, length, f"batch {recipe.batch_size}", augmentation


def commands(records: Iterable[RunRecord]) -> list[str]:
    """The distinct commands that led to the records."""
    return sorted({block(r.command) for r in records if r.command})


def warnings(sections: Iterable[Section], titles: Mapping[int, str]) -> list[tuple[str, str]]:
    """Each warning of a record once, with the runs it came from; `titles` by the record's identity."""
    said = [(text, titles[id(r)]) for section in sections for r in section.records for text in r.warnings]
    by_text = grouped(said, lambda pair: pair[0])
    return [(block(text), _first([run for _, run in pairs])) for text, pairs in by_text.items()]


def cautions(section: Section) -> list[str]:
    """What makes a section's figures less alike, or less sure, than they look."""
    unlike = {fact: few(values) for fact, values in origins(section.records).items() if len(values) > 1}
    machines = [f"{fact} ({shown})" for fact, shown in unlike.items() if fact in TIMED_BY]
    others = [f"{fact} ({shown})" for fact, shown in unlike.items() if fact not in TIMED_BY]
    found = []
    if machines:
        found.append(
            f"The machines differ in {listed(machines)}. Accuracies are averaged over them; times and energy are shown of one kind "
            "of machine, and of rows whose runs were all on it."
        )
    if others:
        found.append(f"The runs are not all of one origin: {listed(others)}; see the provenance below.")
    return found + doubts(section)


def doubts(section: Section) -> list[str]:
    """What makes a section's figures less sure, whatever they are compared with."""
    records = section.records
    found = []
    if section.condition.contents:
        found.append(
            f"{short(visible(section.condition.contents), 200)}: other records are on the same folder, changed (or on another of "
            "that name, or with other class names). Each of its states has sections of its own, and none is averaged with another."
        )
    if dirty := sum(bool(r.environment.dirty) for r in records):
        found.append(f"{dirty} of {plural(len(records), 'run')} started from a working tree with uncommitted changes.")
    if contended := sum(any(w.contended for w in r.windows.values()) for r in records):
        found.append(
            f"{contended} of {plural(len(records), 'run')} shared the processor with others: their times are too long."
        )
    if held := sum(any(w.throttle_reasons for w in r.windows.values()) for r in records):
        found.append(
            f"The GPU's clock was held down by heat or power in {held} of {plural(len(records), 'run')}: they may have taken too "
            "long."
        )
    if beside := sum(r.environment.in_company for r in records):
        most = max(r.environment.concurrent_runs or 1 for r in records)
        found.append(
            f"{beside} of {plural(len(records), 'run')} were under way beside others of theirs (up to {most} at once on a "
            "machine): they may have taken longer than alone."
        )
    if section.repeats:
        found.append(
            f"{plural(section.repeats, 'older repeat')} of the same runs left out; the newest finished one counts."
        )
    return found


def origins(records: Iterable[RunRecord]) -> dict[str, set[str]]:
    """By fact that figures may depend on (weights, commit, machine, software): its values in the finished runs."""
    every = [
        {"Weights": r.weights_sha256 and r.weights_sha256[:12]}
        | _facts(r.environment)
        | {"Commit": r.environment.commit and r.environment.commit[:12]}
        for r in records
        if r.status == "ok"
    ]
    facts = {tuple(found.items()): found for found in every}.values()
    names = dict.fromkeys(name for found in facts for name in found if name not in ("Device", "Host (hash)"))
    return {short(visible(name), 60): {found.get(name) or "unknown" for found in facts} for name in names}


def _failure(table: Table, label: str, title: str, record: RunRecord, links: Mapping[int, str]) -> list[Cell]:
    reason = block(record.reason or "")
    return [
        Cell(label, href=links[id(record)]),
        Cell(title),
        Cell(short(visible(record.key.dataset), 60)),
        Cell(str(record.key.seed), record.key.seed),
        Cell(record.status.replace("_", " ")),
        Cell(reason, long=len(reason) > LONG) if reason else table.absent("The record gives no reason."),
    ]


def _facts(e: Environment) -> dict[str, str | None]:
    commit = f"{e.commit[:12]}{' + uncommitted changes' if e.dirty else ''}" if e.commit else None
    timed = timing(e)
    facts: dict[str, str | None] = {
        "Commit": commit,
        "Device": e.device,
        "GPU": e.gpu,
        **{fact: timed[fact] for fact in ("GPU memory", "Driver", "CUDA")},
        "cuDNN": e.cudnn,
        "TF32": timed["TF32"],
        "Allocator": e.allocator,
        "CPU": e.cpu,
        "CPU cores": None if e.cpu_count is None else str(e.cpu_count),
        "Threads": timed["Threads"],
        "OMP_WAIT_POLICY": e.omp_wait_policy,
        "Memory": None if e.memory_bytes is None else units.size(e.memory_bytes),
        "Platform": e.platform,
        "Host (hash)": e.hostname_sha256[:12],
        "Python": e.python,
    }
    return facts | dict(sorted(e.versions.items()))


def _fact(table: Table, text: str | None) -> Cell:
    return Cell(short(visible(text), 200)) if text else table.absent("Not in these records.")


def _by_recipe(records: Iterable[RunRecord]) -> list[list[RunRecord]]:
    return list(
        grouped(records, lambda r: (r.recipe_row, canonical(r.key.settings), recipe_json(r.key.recipe))).values()
    )


def _recipe_cells(table: Table, records: Sequence[RunRecord]) -> list[Cell]:
    key = records[0].key
    weights = sorted({r.weights_sha256[:12] for r in records if r.weights_sha256})
    settings = ", ".join(f"{k}={plain(v)}" for k, v in sorted(key.settings.items()))
    return [
        Cell(short(visible(settings), 200)) if settings else table.absent("The method has no settings."),
        Cell(_names({r.key.dataset for r in records})),
        Cell(", ".join(str(s) for s in sorted({r.key.seed for r in records}))),
        Cell(short(visible(records[0].recipe_row), 60)),
        *_training_cells(table, key.recipe),
        Cell(listed(weights)) if weights else table.absent("No run got as far as loading the weights."),
    ]


def _length(recipe: Recipe) -> str:
    return plural(recipe.iterations, "iteration") if recipe.iterations else plural(recipe.epochs, "epoch")


def _training_cells(table: Table, recipe: Recipe) -> list[Cell]:
    if not recipe.trains:
        return [table.absent("The recipe trains nothing.")] * 6
    rates = {"": recipe.learning_rate} if recipe.learning_rate else {}
    rate = ", ".join(f"{k} {v:g}".strip() for k, v in {**rates, **recipe.learning_rates}.items())
    warmup = f", {plural(recipe.warmup_epochs, 'epoch')} of warm-up" if recipe.warmup_epochs else ""
    return [
        Cell(_length(recipe)),
        Cell(str(recipe.batch_size), recipe.batch_size),
        Cell(visible(rate)) if rate else table.absent("The recipe names no learning rate."),
        Cell(recipe.optimizer),
        Cell(f"{recipe.schedule}{warmup}"),
        Cell(recipe.augmentation),
    ]


def _names(names: set[str]) -> str:
    shown = [short(visible(name), 60) for name in sorted(names)]
    return ", ".join(shown)


def _first(runs: list[str]) -> str:
    more = f" and {len(runs) - 3} more" if len(runs) > 3 else ""
    return f"{'; '.join(runs[:3])}{more}"


def _pretty(value: Any) -> str:
    return json.dumps(value, indent=1, sort_keys=True, default=str, ensure_ascii=False)
