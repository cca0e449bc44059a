"""``adaptbench speedup``: what the fast execution gains over the reference, measured here."""

from __future__ import annotations

import json
import logging
from statistics import median
from typing import TYPE_CHECKING, Annotated, Any

import typer

from harness.cli import completion, options
from harness.cli.tables import Growing
from harness.cli.terminal import console, echo, working
from harness.errors import AdaptBenchError
from harness.meters.environment import wait_briefly
from harness.plan import Request, plan
from harness.records import RunKey

if TYPE_CHECKING:
    from harness.probes.speedup import Speedup

_COLUMNS = ("method", "batch", "reference, s", "fast, s", "ratio", "95 % interval")
_PARTS = ("text", "step", "live-step", "epoch")


def speedup(
    methods: Annotated[
        str,
        typer.Argument(
            help="Comma-separated names, module:attribute or FILE.py:attribute.", autocompletion=completion.methods
        ),
    ],
    part: Annotated[
        str,
        typer.Option(
            help="text: class features, forward and backward; step: on a ready batch; live-step: on pixels; "
            "epoch: with extraction.",
            autocompletion=completion.choice(_PARTS),
        ),
    ] = "step",
    pairs: Annotated[int, typer.Option(help="How often both are timed, in turns.", min=3)] = 20,
    classes: Annotated[int, typer.Option(help="How many classes.", min=2)] = 50,
    shots: Annotated[int, typer.Option(help="Images per class in an epoch.", min=1)] = 1,
    backbone: Annotated[
        str,
        typer.Option(help="An open_clip model, with random weights.", autocompletion=completion.backbones),
    ] = "ViT-B-16-quickgelu",
    threads: options.Threads = "auto",
    settings: options.Settings = None,
    as_json: Annotated[bool, typer.Option("--json", help="All raw times, as JSON.")] = False,
) -> None:
    """Time reference and fast execution in turns: the median of the pairs' ratios, with its 95 % interval."""
    options.one_of("part", part, _PARTS)
    request = Request(
        suite="cost",
        methods=options.names("methods", methods),
        shots=[shots],
        backbone=backbone,
        settings=options.settings_of(settings),
    )
    keys = {run.key.method: run.key for run in plan(request, "published")}
    wait_briefly()
    logging.getLogger().setLevel(logging.CRITICAL)  # open_clip warns that random weights are random
    import torch

    from harness.method import Classes
    from harness.probes.simulate import class_names
    from harness.probes.speedup import measure

    named = Classes(class_names(classes), {"clip": "a photo of a {}."})
    found: dict[str, Any] = {}
    longest = max(map(len, [*keys, "method"]))
    table = Growing(console, _COLUMNS, [longest, 5, 12, 9, 6, 15], right=_COLUMNS[1:])
    with working() as say_that:
        for place, (name, key) in enumerate(keys.items(), start=1):

            def tell(pair: int, name: str = name, place: int = place) -> None:
                say_that(f"{name}, {place} of {len(keys)}: pair {pair} of {pairs}")

            try:
                found[name] = measure(key, named, part, pairs, tell, options.threads_of(threads))  # type: ignore[arg-type]
            except AdaptBenchError as error:
                console.print(f"{name}: {error}", highlight=False, markup=False)
                continue
            if not as_json:
                table.add(_cells(name, key, found[name]))
    if as_json:
        raw = {n: {"reference_seconds": s.reference_seconds, "fast_seconds": s.fast_seconds} for n, s in found.items()}
        echo(json.dumps({"part": part, "classes": classes, "backbone": backbone, "methods": raw}, indent=1))
        return
    count = torch.get_num_threads()
    console.print(
        f"{part}, {backbone}, {classes} classes, fp32, {pairs} pairs in turns, {count} thread{'s' * (count != 1)}. "
        "Times are medians; the ratio is the median of the pairs'.",
        highlight=False,
    )


def _cells(name: str, key: RunKey, speed: Speedup) -> list[str]:
    low, high = speed.interval
    times = (f"{median(each):.3g}" for each in (speed.reference_seconds, speed.fast_seconds))
    return [name, str(key.recipe.batch_size), *times, f"{speed.median:.2f}", f"{low:.2f} to {high:.2f}"]
