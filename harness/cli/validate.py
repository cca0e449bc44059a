"""The command ``adaptbench validate``: the contract test on a method of one's own."""

from __future__ import annotations

import time
from typing import Annotated

import typer
from rich.text import Text

from harness.cli.terminal import EXIT_SOME_FAILED, console, working


def validate_(
    method: Annotated[
        str, typer.Argument(metavar="METHOD", help="FILE.py:attribute, module:attribute or a registered name.")
    ],
) -> None:
    """Check a method of your own on a tiny CLIP: what a run relies on, each failure with the line to change."""
    started = time.perf_counter()
    with working() as say_that:
        say_that(f"checking {method}")
        from harness.validation.validate import validate

        verdict = validate(method)
    seconds = time.perf_counter() - started
    _say(f"{method}, on a CLIP of small towers with random weights:", style="bold")
    for name in verdict.passed:
        _say(f"  ok  {name}")
    for name, why in verdict.unchecked.items():
        _say(f"   -  {name}: not checked, as {why}", style="dim")
    for failure in verdict.failures:
        _say(f"  NO  {failure.check}", style="red")
        _say(f"      {failure.place}")
        _say(f"      {failure.what}")
        _say(f"      {failure.advice}")
    count = len(verdict.failures)
    if count:
        _say(f"{count} of {count + len(verdict.passed)} checks failed, in {seconds:.0f} s.")
        raise typer.Exit(EXIT_SOME_FAILED)
    _say(f"All {len(verdict.passed)} checks passed, in {seconds:.0f} s. It is ready to run: --methods {method}")


def _say(text: str, style: str = "") -> None:
    console.print(Text(text, style=style), soft_wrap=True)
