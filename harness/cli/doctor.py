"""The command ``adaptbench doctor``: what this machine can measure, and what figures from it are worth."""

from __future__ import annotations

import json
from dataclasses import asdict
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.padding import Padding
from rich.text import Text

from harness.cli.terminal import console, echo, working
from harness.runs.suite_runner import CACHE

if TYPE_CHECKING:
    from harness.probes.machine import Finding


def doctor(
    results: Annotated[Path, typer.Option(help="Folder that records would go to.")] = Path("results"),
    cache: Annotated[
        Path, typer.Option(help="Folder for generated data.", envvar="ADAPTBENCH_CACHE", show_default=False)
    ] = CACHE,
    as_json: Annotated[bool, typer.Option("--json", help="The same as JSON, to send along with a question.")] = False,
) -> None:
    """Look at this machine: what can be measured here, what figures from it are worth, what is in the way."""
    from harness.probes.machine import look

    warnings = 0
    with working() as say_that:
        say_that("looking at this machine")
        if as_json:
            echo(json.dumps([asdict(finding) for finding in look(results, cache)], indent=1))
            return
        for group, findings in groupby(look(results, cache), key=lambda finding: finding.group):
            console.print(Text(group, style="bold"))
            for finding in findings:
                _print(finding)
                warnings += finding.is_warning
    console.print(f"{warnings} to look at, marked with !" if warnings else "Nothing is in the way.", highlight=False)


def _print(finding: Finding) -> None:
    mark, style = ("!", "yellow") if finding.is_warning else (" ", "")
    _say(Text.assemble((f"{mark} {finding.name}: ", style), finding.found), 1)
    if finding.follows:
        _say(Text(finding.follows, style="dim"), 5)


def _say(text: Text, indent: int) -> None:
    """Wrapped to a terminal, whole on a pipe."""
    if console.is_terminal:
        console.print(Padding(text, (0, 0, 0, indent), expand=False))
    else:
        console.print(Text(" " * indent) + text, soft_wrap=True)
