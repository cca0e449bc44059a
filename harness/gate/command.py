"""``adaptbench gate``: exact figures against the committed baseline, then times against a base commit. No torch here."""

from __future__ import annotations

import json
import shlex
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated

import typer

from harness.cli.options import given
from harness.cli.terminal import Console
from harness.errors import ConfigError, DataError
from harness.files import write_atomically
from harness.gate import baseline, terminal, thresholds
from harness.gate.exact import compare
from harness.gate.measure import Measured, measure
from harness.gate.verdict import Verdict, exit_code, worst

console = Console(width=None if sys.stdout.isatty() else 160)  # a log has room for whole names


def gate(
    tests: Annotated[Path, typer.Argument(help="Where the benchmarks are; their baseline.json lies there.")] = Path(
        "tests/benchmarks"
    ),
    base: Annotated[
        str | None, typer.Option(metavar="REF", help="Also time head against this commit.", show_default=False)
    ] = None,
    threshold: Annotated[
        list[str] | None,
        typer.Option(
            metavar="[NAME=]PERCENT",
            help="How much slower than the base is a regression, as 5%; NAME=10% for one benchmark. Repeatable.",
        ),
    ] = None,
    budget: Annotated[
        float, typer.Option(help="Seconds of timing a benchmark before it is inconclusive.", min=1)
    ] = 180,
    install: Annotated[
        str, typer.Option(metavar="WORDS", help="What pip installs into the base's environment, in its checkout.")
    ] = "-e .[dev]",
    times: Annotated[
        Path | None,
        typer.Option(metavar="FOLDER", help="Write raw seconds there: base.json and head.json.", show_default=False),
    ] = None,
    update: Annotated[
        bool, typer.Option("--update", help="Make this run's exact figures the baseline, and show what that changes.")
    ] = False,
    only: Annotated[
        str | None,
        typer.Option(metavar="EXPRESSION", help="Gate some benchmarks, picked as by pytest -k.", show_default=False),
    ] = None,
    record: Annotated[
        Path | None, typer.Option(metavar="STORE", help="Keep this gate in a history.", show_default=False)
    ] = None,
    summary: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Write the verdicts as Markdown.", show_default=False)
    ] = None,
    json_file: Annotated[
        Path | None, typer.Option("--json", metavar="FILE", help="Write the verdicts as JSON.", show_default=False)
    ] = None,
) -> None:
    """Gate performance: exact figures against a committed baseline; with --base also times, in turns with that commit.

    Exit codes: 0 pass, 2 unusable, 3 regression, 4 inconclusive.
    """
    limits = thresholds.parsed(threshold or ())
    for option, text in (("base", base), ("only", only)):
        given(option, text)  # of an unset variable in CI: a gate that compares nothing must not pass
    if not tests.exists():
        raise ConfigError(f"there are no tests {tests}.", "Name the folder of the benchmarks: adaptbench gate TESTS")
    if update:
        if base or only or record:
            raise ConfigError(
                "--update takes the whole run for the baseline.", "Leave out --base, --only and --record."
            )
        raise typer.Exit(_update(tests))
    found = _exact(tests, only or "")
    verdicts = found.verdicts
    if base and found.measured and worst(verdicts) == "pass":
        verdicts = [*verdicts, *_timed(found.measured, base, limits, budget, install, times)]
    terminal.verdicts(console, verdicts)
    if not base:
        _say("Only exact figures were compared. Times need a commit to compare with: --base REF")
    elif worst(found.verdicts) != "pass":
        _say("Times were not measured: the exact figures come first.")
    _leave(verdicts, base, found.measured, record, summary, json_file)
    raise typer.Exit(exit_code(verdicts))


@dataclass(frozen=True)
class _Exact:
    verdicts: list[Verdict]
    measured: Measured | None


def _baseline_file(tests: Path) -> Path:
    return (tests if tests.is_dir() else tests.parent) / baseline.FILE


def _measure(tests: Path, only: str) -> Measured:
    with console.status("Measuring"):
        return measure(tests, only)


def _exact(tests: Path, only: str) -> _Exact:
    """The exact gate. Without a baseline nothing is measured."""
    path, measured = _baseline_file(tests), None
    try:
        expected = baseline.read(path)
        measured = _measure(tests, only)
        return _Exact(compare(expected, measured, baseline.this_platform()), measured)
    except DataError as error:
        why = f"{_sentence(error)} {error.advice}"
        return _Exact([Verdict(benchmark=str(path), figure="", outcome="unusable", why=why)], measured)


def _timed(
    measured: Measured, base: str, limits: dict[str, float], budget_seconds: float, install: str, times: Path | None
) -> list[Verdict]:
    from harness.gate.timed import timed_gate

    timed = [name for name, entry in measured.benchmarks.items() if baseline.is_timed(entry)]
    return timed_gate(
        timed,
        root=measured.root,
        base=base,
        thresholds_percent=thresholds.for_each(limits, timed),
        budget_seconds=budget_seconds,
        say=_say,
        install=shlex.split(install),
        raw=times,
    )


def _update(tests: Path) -> int:
    """Make this run the baseline, unless a benchmark of it is unusable."""
    path = _baseline_file(tests)
    try:
        measured = _measure(tests, "")
    except DataError as error:
        raise ConfigError(f"the baseline stays as it is: {error.what}", error.advice) from error
    if measured.amiss:
        terminal.verdicts(console, measured.amiss)
        _say(f"{path} stays as it is: put these right first.")
        return exit_code(measured.amiss)
    try:
        old = baseline.read(path)
    except DataError as error:
        old = None
        _say(f"{_sentence(error)} This run makes a new one.")
    new = baseline.updated(old, measured.report, baseline.project_name(measured.root), baseline.this_platform())
    terminal.changes(console, old, baseline.parsed(new))
    baseline.write(path, new)
    _say(f"{path} is written. Look at what changed, and commit it with the reason.")
    return 0


def _leave(
    verdicts: Sequence[Verdict],
    base: str | None,
    measured: Measured | None,
    record: Path | None,
    summary: Path | None,
    json_file: Path | None,
) -> None:
    """Write what the command line asks for."""
    if json_file:
        found = {"exit_code": exit_code(verdicts), "base": base, "verdicts": [asdict(v) for v in verdicts]}
        _write("--json", json_file, json.dumps(found, indent=1) + "\n")
    if summary:
        from harness.gate.markdown import markdown

        _write("--summary", summary, markdown(verdicts, base=base))
    if record and measured:
        from harness.gate.history import append

        _say(f"Recorded: {append(record, measured.report, verdicts)}")
    elif record:
        _say("Nothing was measured, so nothing is recorded.")


def _write(option: str, path: Path, text: str) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(path, text.encode())
    except OSError as error:
        raise ConfigError(f"{path} can't be written: {error.strerror}.", f"Name another: {option} FILE.") from error


def _sentence(error: DataError) -> str:
    return error.what[:1].upper() + error.what[1:]


def _say(text: str) -> None:
    console.print(text, highlight=False, markup=False, soft_wrap=True)
