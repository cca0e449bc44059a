"""``adaptbench report``: reads folders of records, writes a page. The only module of reports that touches files."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Annotated

import typer

from harness.errors import AdaptBenchError, ConfigError, DataError
from harness.records import RunRecord, from_json
from harness.store import write_atomically
from reports.text import Problem, block, plural

MANY = 500
"""Runs from which one page would be too much of one."""


def report(
    results: Annotated[
        list[Path], typer.Argument(metavar="RESULTS", help="Folders of run records (JSON), searched deeply.")
    ],
    output: Annotated[
        Path, typer.Option("--output", "-o", metavar="SITE", help="The folder to write index.html to.")
    ] = Path("site"),
    pages: Annotated[
        bool | None,
        typer.Option(
            "--pages/--one-page", help=f"A page each suite, method, dataset and run; by default from {MANY} runs on."
        ),
    ] = None,
) -> None:
    """Render run records into an offline HTML page, or a site of pages: accuracy, cost, failures and provenance."""
    from reports.terminal import print_headlines  # here, so that other commands don't wait for pandas and matplotlib

    records, problems = read(results)
    for problem in problems:
        typer.echo(f"Warning: {block(problem.what)}", err=True)
    if not records:
        raise _nothing(results, problems)
    path = write(output, _rendered(records, problems, len(records) >= MANY if pages is None else pages))
    print_headlines(records)
    typer.echo(f"Report on {plural(len(records), 'run')}: {path}")


def read(folders: Sequence[Path]) -> tuple[list[RunRecord], list[Problem]]:
    """All records below `folders`, each file once, and the files that are none. Raises ConfigError for a missing folder."""
    records, problems = [], []
    for path in _files(folders):
        try:
            records.append(from_json(path.read_bytes(), str(path)))
        except DataError as error:
            problems.append(Problem(str(path), str(error)))
        except OSError as error:
            problems.append(Problem(str(path), f"{path} can't be read: {error.strerror}."))
    return records, problems


def write(folder: Path, files: Iterable[tuple[str, str]]) -> Path:
    """Writes each (path, text) below `folder`, ``index.html`` whole or not at all, and returns its path.

    Raises ConfigError where that is impossible.
    """
    target = folder / "index.html"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for name, text in files:
            path = folder / name
            if path == target:
                write_atomically(path, text.encode())
            else:
                path.parent.mkdir(exist_ok=True)
                path.write_bytes(text.encode())
    except OSError as error:
        raise ConfigError(
            f"the report can't be written to {folder}: {error.strerror}.", "Name another folder: -o SITE."
        ) from error
    return target


def _rendered(records: list[RunRecord], problems: list[Problem], pages: bool) -> Iterable[tuple[str, str]]:
    if pages:
        from reports.site import site

        return site(records, problems)
    from reports.page import page

    return [("index.html", page(records, problems))]


def _files(folders: Sequence[Path]) -> list[Path]:
    for folder in folders:
        if not folder.is_dir():
            raise ConfigError(
                f"there is no results folder {folder}.", "Name the folder that `adaptbench run` wrote to (--results)."
            )
    found = {path.resolve(): path for folder in folders for path in sorted(folder.glob("**/*.json")) if path.is_file()}
    return list(found.values())


def _nothing(results: Sequence[Path], problems: Sequence[Problem]) -> ConfigError:
    where = ", ".join(str(folder) for folder in results)
    if problems:
        return ConfigError(
            f"none of the {plural(len(problems), 'JSON file')} in {where} is a readable run record.",
            "The warnings above say what is wrong with each.",
        )
    return ConfigError(
        f"there are no results in {where}.", "Make some: adaptbench run base2new, then repeat this command."
    )


def main() -> None:
    """``python -m reports``: the same command; exit code 2 where the user can put something right."""
    try:
        typer.run(report)
    except AdaptBenchError as error:
        typer.echo(f"Error: {block(str(error))}", err=True)
        raise SystemExit(2) from None


if __name__ == "__main__":
    main()
