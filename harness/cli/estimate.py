"""The command ``adaptbench estimate``: what methods cost at any size, simulated in seconds, and whether it fits. No torch here."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.table import Table

from harness import plugins
from harness.cli import completion, options
from harness.cli.tables import Growing
from harness.cli.terminal import Console, console, echo, working
from harness.errors import ConfigError
from harness.meters.environment import cpu_threads
from harness.plan import Request, plan
from harness.published_estimate import published_estimate_bytes
from harness.records import RunKey
from harness.runs.worker_process import processes
from harness.suite import ANY, Dataset, Folders, Splits, Suite, Task

if TYPE_CHECKING:
    from harness.probes.simulate import Estimate

PHASES = ("extract", "prepare", "train", "evaluate")
_TASKS_A_PROCESS = 16
"""Fewer are simulated in one process: to import torch again, and to see anew what another has seen, would take longer."""
_UNITS = {"MB": 10**6, "GB": 10**9, "MIB": 1 << 20, "GIB": 1 << 30}
_VIT_B_16 = ("ViT-B-16", "ViT-B-16-quickgelu")


def _read(folders: Folders) -> Splits:
    raise ConfigError("an estimate has no images.", "Use adaptbench run for a dataset.")


SUITE = Suite(name="estimate", question="What does it cost?", each=Task(dataset=ANY, tests=()))
CLASSES = Dataset(name="classes", title="Classes", group="estimate", templates={"clip": "a photo of a {}."}, read=_read)


@dataclass(frozen=True)
class Row:
    """A method at a number of classes: what was simulated, and the published formula's figure where it has one."""

    key: RunKey
    classes: int
    estimate: Estimate
    published_estimate_bytes: float | None

    def as_json(self) -> dict[str, Any]:
        key = self.key
        return {
            "method": key.method,
            "settings": dict(key.settings),
            "backbone": key.backbone,
            "execution": key.execution,
            "precision": key.precision,
            "batch_size": key.recipe.batch_size,
            "optimizer": key.recipe.optimizer if key.recipe.trains else None,
            "classes": self.classes,
            "shots": key.shots,
            "peak_bytes": self.estimate.peak_bytes,
            **asdict(self.estimate),
            "torchinfo_estimate_bytes": self.published_estimate_bytes,
        }


def estimate(
    methods: Annotated[
        str,
        typer.Argument(
            help="Comma-separated names, module:attribute or FILE.py:attribute; 'all' for every one.",
            autocompletion=completion.methods,
        ),
    ],
    recipes: options.Recipes = None,
    backbone: Annotated[
        str,
        typer.Option(help="Any open_clip model name; its weights are not needed.", autocompletion=completion.backbones),
    ] = _VIT_B_16[1],
    classes: Annotated[str, typer.Option(help="How many classes; comma-separated for several.")] = "100",
    shots: Annotated[int, typer.Option(help="Training images per class, for caches and extraction.", min=1)] = 16,
    batch_size: Annotated[int | None, typer.Option(help="Images per step.", min=1, show_default="the recipe's")] = None,
    optimizer: Annotated[str | None, typer.Option(help="sgd, adam or adamw.", show_default="the recipe's")] = None,
    precision: options.PrecisionName = "fp32",
    execution: Annotated[str, typer.Option(help="fast, reference, or both, comma-separated.")] = "fast",
    settings: options.Settings = None,
    fits: Annotated[
        str | None, typer.Option(help="A GPU's memory, such as 24GiB: say what fits.", show_default=False)
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Everything, as JSON.")] = False,
) -> None:
    """Simulate what methods cost: peak memory by phase and category, FLOPs, trained parameters. No weights, no GPU."""
    limit_bytes = _size_bytes(fits) if fits is not None else None
    counts = options.numbers("classes", classes, least=2)
    chosen = options.settings_of(settings)
    for option, value in (("batch_size", batch_size), ("optimizer", options.given("optimizer", optimizer))):
        if value is not None and option in chosen:
            raise ConfigError(
                f"--{option.replace('_', '-')} {value} and --set {option}={chosen[option]} say the same thing twice.",
                "Leave one of them out.",
            )
        if value is not None:
            chosen[option] = str(value)
    request = Request(
        suite="harness.cli.estimate:SUITE",
        methods=options.names("methods", methods),
        recipes=options.given("recipes", recipes),
        datasets=["harness.cli.estimate:CLASSES"],
        seeds=[1],
        shots=[shots],
        backbone=backbone,
        precision=options.precision_of(precision),
        executions=options.executions_of(execution),
        settings=chosen,
    )
    keys = [run.key for run in plan(request, "")]
    tasks = [(key, number) for key in keys for number in counts]
    rows = []
    table = _table(keys, console)
    with working() as say_that:
        say_that(f"simulating {tasks[0][0].method}, 1 of {len(tasks)}")
        for row in _simulated(tasks):
            rows.append(row)
            if not as_json:
                table.add(_cells(row))
            if len(rows) < len(tasks):
                say_that(f"simulating {tasks[len(rows)][0].method}, {len(rows) + 1} of {len(tasks)}")
    if as_json:
        echo(json.dumps([row.as_json() for row in rows], indent=1))
        return
    _explain(rows, limit_bytes)


def _simulated(tasks: list[tuple[RunKey, int]]) -> Iterator[Row]:
    """Rows in the order of `tasks`, each as soon as it is known; equal tasks are simulated once, many in several processes."""
    unique = {(repr(key), number): key for key, number in tasks}
    keys, numbers = list(unique.values()), [number for _, number in unique]
    workers = min(cpu_threads(), len(unique) // _TASKS_A_PROCESS)
    with ExitStack() as stack:
        if workers > 1:
            pool = stack.enter_context(
                ProcessPoolExecutor(workers, mp_context=processes(compiler=False), initializer=_one_thread)
            )
            found = zip(unique, pool.map(_simulate, keys, numbers), strict=True)
        else:
            found = zip(unique, map(_simulate, keys, numbers), strict=True)
        results: dict[tuple[str, int], Estimate] = {}
        for key, number in tasks:
            while (repr(key), number) not in results:
                results.update([next(found)])
            yield Row(key, number, results[repr(key), number], _published(key, number))


def _simulate(key: RunKey, classes: int) -> Estimate:
    from harness.probes.simulate import simulate_classes

    return simulate_classes(key, classes)


def _one_thread() -> None:
    import torch

    torch.set_num_threads(1)


def _published(key: RunKey, classes: int) -> float | None:
    """The published formula's bytes: of methods whose cards say what it saw, on the backbone it was used with."""
    forward = getattr(plugins.load("method", key.method)(**key.settings), "published_forward", None)
    if forward is None or key.backbone not in _VIT_B_16:
        return None
    return published_estimate_bytes(forward, classes, key.recipe.batch_size)


def _table(keys: Sequence[RunKey], console: Console) -> Growing:
    """The table to be filled, its columns as wide as what is to come."""
    key = keys[0]
    title = f"{key.backbone}, {key.precision}, {key.shots} shots; peak MiB of live tensors on the device, simulated"
    figures = ("run", "torchinfo", "GFLOP/step", "trained")
    columns = ("method", "execution", "classes", "batch", *PHASES, *figures)
    longest = max(len("method"), *(len(each.method) + 1 for each in keys))
    return Growing(console, columns, [longest, 9, 7, 5, *[9] * len(PHASES), 9, 9, 11, 11], title, right=columns[2:])


def _cells(row: Row) -> list[str]:
    found, recipe = row.estimate, row.key.recipe
    phases = [_mib(found.peaks[name].total_bytes) if name in found.peaks else "-" for name in PHASES]
    batch = str(recipe.batch_size) if recipe.trains else "-"
    flops = "-" if found.step_flops is None else f"{found.step_flops / 1e9:,.1f}"
    return [
        row.key.method + ("*" if found.note else ""),
        row.key.execution,
        str(row.classes),
        batch,
        *phases,
        _mib(found.peak_bytes),
        "-" if row.published_estimate_bytes is None else _mib(row.published_estimate_bytes),
        flops,
        f"{found.trainable_parameters:,}",
    ]


def _categories(found: Estimate) -> Table:
    phases = [name for name in PHASES if name in found.peaks]
    table = Table("at the peak of", box=None)
    for name in phases:
        table.add_column(name, justify="right")
    for category in dict.fromkeys(c for name in phases for c in found.peaks[name].category_bytes if c != "host"):
        table.add_row(category, *(_mib(found.peaks[name].category_bytes.get(category, 0)) for name in phases))
    return table


def _explain(rows: Sequence[Row], limit_bytes: int | None) -> None:
    if len(rows) == 1:
        console.print(_categories(rows[0].estimate))
    for row in rows:
        if row.estimate.note:
            console.print(f"* {row.key.method}, {row.classes} classes: {row.estimate.note}.", highlight=False)
    console.print(
        "Counted: weights, inputs, activations, gradients, optimiser state and temporaries. Not counted: the CUDA context and "
        "libraries' workspaces, fragmentation. Feature caches of block outputs lie in host memory. torchinfo: its estimate, by the "
        "published formula.",
        highlight=False,
        style="dim",
    )
    if limit_bytes is not None:
        for row in rows:
            console.print(_verdict(row, limit_bytes), highlight=False)


def _verdict(row: Row, limit_bytes: int) -> str:
    need = row.estimate.peak_bytes
    where = f"{row.key.method}, {row.key.execution}, {row.classes} classes"
    if need > limit_bytes:
        return f"{where}: does not fit; its tensors alone need {_mib(need)} of {_mib(limit_bytes)} MiB."
    return f"{where}: fits; {_mib(limit_bytes - need)} of {_mib(limit_bytes)} MiB stay for the CUDA context and the allocator."


def _mib(size: float) -> str:
    return f"{size / (1 << 20):,.1f}"


def _size_bytes(text: str) -> int:
    match = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([MG]i?B)", text, re.IGNORECASE)
    if match is None:
        raise ConfigError(f"--fits {text} is no size of memory.", "For example: --fits 24GiB")
    return int(float(match[1]) * _UNITS[match[2].upper()])
