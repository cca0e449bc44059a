"""``adaptbench trends``: reads a store of recorded gates and writes its page."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Annotated

import typer

from harness.cli.terminal import echo
from harness.errors import ConfigError
from harness.files import write_atomically
from harness.gate import history
from harness.git import run_git
from reports.format.text import plural

MOST_COMMITS = 200
"""Listed between two gates, the newest."""


def trends(
    store: Annotated[
        Path, typer.Argument(metavar="STORE", help="The folder that `adaptbench gate --record` writes to.")
    ],
    output: Annotated[Path, typer.Option("--output", "-o", metavar="FILE", help="The page to write.")] = Path(
        "trends.html"
    ),
) -> None:
    """Render recorded gates into one offline page: figures over commits, and where they changed.

    The commits between come from the git repository that the command is run in.
    """
    from reports.trends.page import trends_page  # here, so that other commands don't wait for matplotlib

    gates, errors = history.read(store)
    for error in errors:
        echo(f"Warning: {error!s}", err=True)
    if not gates:
        raise ConfigError(f"there is no recorded gate in {store}.", f"Record one: adaptbench gate --record {store}")
    try:
        output.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(output, trends_page(gates, errors, commits_between).encode())
    except OSError as error:
        raise ConfigError(f"{output} can't be written: {error.strerror}.", "Name another file: -o FILE.") from error
    echo(f"Trends of {plural(len(gates), 'gate')}: {output}")


def commits_between(before: str, after: str) -> list[tuple[str, str]] | None:
    """(commit, subject) of the commits after `before` up to `after`, newest first; None where git here does not know them."""
    asked = ("log", f"--max-count={MOST_COMMITS}", "--format=%H%x00%s", f"{before}..{after}", "--")
    try:
        answer = run_git(Path(), *asked, timeout_seconds=30)
        answer.check_returncode()
    except (OSError, subprocess.SubprocessError):
        return None
    lines = (line.partition("\0") for line in answer.stdout.split("\n") if line)
    return [(commit, subject) for commit, _, subject in lines]
