"""The command ``adaptbench status``: where the suites of a results folder stand."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table

from harness.cli.progress import duration
from harness.cli.terminal import console, echo, say
from harness.runs.claims import LEASE_SECONDS
from harness.runs.status import Running, SuiteStatus, status


def status_(
    results: Annotated[Path, typer.Argument(help="Folder that 'adaptbench run' was given as --results.")],
    as_json: Annotated[bool, typer.Option("--json", help="All of it, as JSON.")] = False,
) -> None:
    """Say of each suite in a results folder what is done, running, failed and left, whoever runs it and where."""
    suites = status(results)
    if as_json:
        echo(json.dumps([asdict(suite) for suite in suites], indent=1))
        return
    console.print(_suites(suites))
    for suite in suites:
        for run in suite.running:
            say(console, _line(run))


def _suites(suites: list[SuiteStatus]) -> Table:
    table = Table("suite", box=None, padding=(0, 1))
    for column in ("planned", "ok", "failed", "running", "left", "time left"):
        table.add_column(column, justify="right")
    for suite in suites:
        counts = suite.planned, suite.ok, suite.failed, len(suite.running), suite.left
        seconds = suite.seconds_left
        table.add_row(suite.suite, *map(str, counts), "" if seconds is None else f"about {duration(seconds)}")
    return table


def _line(run: Running) -> str:
    name = run.run.partition("/")[2].rpartition("-")[0]
    where = f"{run.host}{f', job {run.job}' if run.job else ''}"
    silent = f"; silent for {duration(run.silent_seconds)}" if run.silent_seconds > LEASE_SECONDS else ""
    return f"{name}: for {duration(run.seconds)} on {where}{silent}"
