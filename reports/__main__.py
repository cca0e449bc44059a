"""``adaptbench report``, ``compare`` and ``export``: the only module of reports that reads folders and writes files."""

from __future__ import annotations

import gc
import os
from collections.abc import Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from harness import plugins
from harness.cli.options import names, site_of
from harness.cli.terminal import echo, print_whatever_comes
from harness.errors import AdaptBenchError, ConfigError, DataError, did_you_mean, located
from harness.files import sweep, write_atomically
from harness.records import RunRecord, from_json
from harness.runs.store import Store, record_bytes
from reports.format.text import Problem, plural

if TYPE_CHECKING:
    from reports.findings.comparison import Comparison
    from reports.format.cells import Table
    from reports.results.section_results import SectionResults

_Quantities = Annotated[
    str | None,
    typer.Option(
        help="Figures of your own beside the others, comma-separated: FILE.py:attribute, or by entry point.",
        show_default=False,
    ),
]
MANY = 500
"""Runs from which one page would be too much of one."""


def report(
    results: Annotated[
        list[Path], typer.Argument(metavar="RESULTS", help="Folders of run records (JSON), searched deeply.")
    ],
    output: Annotated[
        Path,
        typer.Option(
            "--output",
            "-o",
            metavar="SITE",
            help="The folder to write index.html to; a name in .html is the page itself.",
        ),
    ] = Path("site"),
    pages: Annotated[
        bool | None,
        typer.Option(
            "--pages/--one-page", help=f"A page each suite, method, dataset and run; by default from {MANY} runs on."
        ),
    ] = None,
    quantities: _Quantities = None,
) -> None:
    """Render run records into an offline HTML page, or a site of pages: accuracy, cost, failures and provenance."""
    with _without_collecting():
        for module in report.imports:  # type: ignore[attr-defined]
            import_module(module)
    from reports.terminal import print_headlines

    with _with_own(quantities):
        path, found, runs = rendered(results, output, pages)
        print_headlines(found)
    echo(f"Report on {plural(runs, 'run')}: {path}")


def rendered(
    results: Sequence[Path], output: Path, pages: bool | None = None
) -> tuple[Path, Sequence[SectionResults], int]:
    """The page or site of the records in folders, written to `output`: its path, what it shows in numbers, and of how many runs.

    Raises ConfigError where there are no records, or nothing can be written.
    """
    from reports.results.section_results import in_numbers  # here: other commands don't wait for pandas

    site_of(output)
    if pages and output.suffix == ".html":
        raise ConfigError(f"{output} is one page, and --pages makes many.", "Name a folder: -o SITE.")
    records, problems = _read_and_warn(results)
    many = len(records) >= MANY and output.suffix != ".html" if pages is None else pages
    gc.freeze()
    try:
        found = in_numbers(records)
        path = write(output, _rendered(found, problems, many))
    except AdaptBenchError:
        raise
    except Exception:  # of a record that no rule foresaw: it is to cost the others nothing
        records, unfit = _without_unfit(records)
        if not unfit or not records:
            raise
        _warn(unfit)
        found = in_numbers(records)
        path = write(output, _rendered(found, [*problems, *unfit], many))
    finally:
        gc.unfreeze()
    return path, found, len(records)


report.imports = ("reports.terminal", "reports.pages.page")  # type: ignore[attr-defined]
"""What a report takes a second to import, for a command that has to wait before it makes one."""


def compare(
    before: Annotated[Path, typer.Argument(metavar="A", help="A folder of run records.")],
    after: Annotated[Path, typer.Argument(metavar="B", help="Another one.")],
    output: Annotated[
        Path | None,
        typer.Option(
            "--output", "-o", metavar="SITE", help="Also write index.html to this folder, or the page NAME.html."
        ),
    ] = None,
) -> None:
    """Two result sets side by side: before and after, two machines, two commits."""
    from reports.terminal import print_comparison

    print_comparison(*compared(before, after, output))
    if output:
        echo(f"Comparison: {page_path(output)}")


def compared(before: Path, after: Path, output: Path | None = None) -> tuple[list[Comparison], list[str], Table]:
    """The sections of two folders of records that compare, what only one of them has, and what the two are; as a page too where
    `output` is given.

    Raises ConfigError for a folder without records, two that share any, and a page that can't be written.
    """
    from reports.findings.comparison import compare as comparisons
    from reports.findings.comparison import sides
    from reports.pages.compare import compare_page

    if output:
        site_of(output)
    if before.resolve() == after.resolve():
        raise ConfigError(
            f"{before} and {after} are the same folder: nothing would differ.",
            "Name two: adaptbench compare before after",
        )
    shared = {Path(path).resolve() for path in _files([before])} & {Path(path).resolve() for path in _files([after])}
    if shared:
        raise ConfigError(
            f"{before} and {after} hold the same records, such as {min(shared).name}: nothing would differ.",
            "Name two folders of which neither holds the other: adaptbench compare before after",
        )
    (a, _), (b, _) = (_read_and_warn([folder]) for folder in (before, after))
    folders = before.as_posix(), after.as_posix()
    if output:
        write(output, [("index.html", compare_page(a, b, folders))])
    return *comparisons(a, b), sides(a, b, folders)


def export(
    results: Annotated[
        list[Path], typer.Argument(metavar="RESULTS", help="Folders of run records (JSON), searched deeply.")
    ],
    output: Annotated[
        Path, typer.Option("--output", "-o", metavar="FILE", help="The file to write; a folder for a tracker.")
    ],
    format: Annotated[
        str | None,
        typer.Option(
            metavar="FORMAT",
            help="csv, parquet, jsonl, markdown, latex, tensorboard, wandb or mlflow; else by FILE's name. One of your own: "
            "FILE.py:function.",
        ),
    ] = None,
    quantities: _Quantities = None,
) -> None:
    """Run records for other programs: a table of runs, JSON lines, tables for a paper, or an experiment tracker."""
    from reports.export.records import FORMATS
    from reports.export.trackers import TRACKERS

    name = format or SUFFIXES.get(output.suffix, output.suffix[1:])
    own = {name: plugins.load("exporter", name)} if ":" in name or name in plugins.names("exporter") else {}
    formats = {**FORMATS, **own}
    if name not in (*formats, *TRACKERS):
        raise ConfigError(
            f"no format '{name}'." if name else f"{output} does not say which format it is to have.",
            f"Add --format. {did_you_mean(name, (*FORMATS, *TRACKERS))}",
        )
    said = SUFFIXES.get(output.suffix, output.suffix[1:])
    if said != name and not own and said in (*FORMATS, *TRACKERS):
        raise ConfigError(
            f"--format {name} into {output}, whose name says {said}.",
            f"Leave --format out, or rename: -o {output.stem}",
        )
    records, _ = _read_and_warn(results)
    try:
        if name in TRACKERS:
            with _with_own(quantities):
                TRACKERS[name](records, output)
        else:
            with _with_own(quantities):
                content = formats[name](records)
            output.parent.mkdir(parents=True, exist_ok=True)
            write_atomically(output, _bytes(name, content))
    except OSError as error:
        raise ConfigError(f"{output} can't be written: {error.strerror}.", "Name another file: -o FILE.") from error
    echo(f"{plural(len(records), 'run')} as {name}: {output}")


def _bytes(name: str, content: object) -> bytes:
    """What a format made of records. Raises ConfigError where one of the user's own made something else."""
    if not isinstance(content, bytes):
        raise ConfigError(
            f"'{name}' returns {type(content).__name__}, and no bytes.", "Return bytes: text.encode() of a text."
        )
    return content


def _with_own(quantities: str | None) -> AbstractContextManager[None]:
    """The user's own figures among the others."""
    from reports.results.quantities import including

    asked = names("quantities", quantities)
    return including({name: plugins.load("quantity", name) for name in asked})


SUFFIXES = {".md": "markdown", ".tex": "latex"}


def read(folders: Sequence[Path]) -> tuple[list[RunRecord], list[Problem]]:
    """All records below `folders`, each file once, and the files that are none. Raises ConfigError for a missing folder."""
    records, problems = [], []
    with _without_collecting():
        for path in _files(folders):
            try:
                records.append(from_json(record_bytes(path), path))
            except DataError as error:
                problems.append(Problem(path, str(error)))
            except OSError as error:
                problems.append(Problem(path, f"{path} can't be read: {error.strerror}."))
    return records, problems


@contextmanager
def _without_collecting() -> Iterator[None]:
    """Records and modules hold no circle of references that may go: looking for one takes a quarter of the time to read thousands.

    Afterwards they count as looked at, as all that was there before.
    """
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        if enabled:
            gc.enable()
        gc.unfreeze()


def page_path(output: Path) -> Path:
    """The first page of a report that goes to `output`."""
    return output if output.suffix == ".html" else output / "index.html"


def write(output: Path, files: Iterable[tuple[str, str | bytes]]) -> Path:
    """Writes each (path, text or its UTF-8) below the folder `output`, whole or not at all, and returns the path of ``index.html``.

    Where `output` ends in .html it is that file. Raises ConfigError where it can't be written.
    """
    target = page_path(output)
    folder = target.parent
    try:
        folder.mkdir(parents=True, exist_ok=True)
        sweep(folder)
        made = {""}
        for name, content in files:
            inside, first = name.rpartition("/")[0], name == "index.html"
            if inside not in made:
                _make_folder(folder / inside)
                sweep(folder / inside)
                made.add(inside)
            path = target if first else os.path.join(folder, name)
            data = content.encode() if isinstance(content, str) else content
            write_atomically(path, data, sync=first)  # thousands of pages need not wait for the disk
    except OSError as error:
        raise ConfigError(
            f"the report can't be written to {output}: {error.strerror}.", "Name another place: -o SITE."
        ) from error
    return target


def _make_folder(folder: Path) -> None:
    if folder.is_symlink():
        raise ConfigError(
            f"{folder} is a link, and what it leads to is not written.", "Take it away, or name another place."
        )
    folder.mkdir(exist_ok=True)


def _read_and_warn(results: Sequence[Path]) -> tuple[list[RunRecord], list[Problem]]:
    """All records, with a warning for each file that is none. Raises ConfigError where there is no record."""
    records, problems = read(results)
    _warn(problems)
    if not records:
        raise nothing(results, problems)
    return records, problems


def _warn(problems: Sequence[Problem]) -> None:
    for problem in problems:
        echo(f"Warning: {problem.what}", err=True)


def _without_unfit(records: Sequence[RunRecord]) -> tuple[list[RunRecord], list[Problem]]:
    """The records of which a page can be made, and a problem for each other one."""
    from reports.pages.page import page

    fit, unfit = [], []
    for record in records:
        try:
            page([record])
        except Exception as error:
            name = Store(Path()).name(record.key)
            unfit.append(Problem(name, f"{name} can't be shown, and is left out: {located(error)}."))
        else:
            fit.append(record)
    return fit, unfit


def _rendered(
    found: Sequence[SectionResults], problems: Sequence[Problem], pages: bool
) -> Iterable[tuple[str, str | bytes]]:
    if pages:
        from reports.pages.site import site_of

        return site_of(found, problems)
    from reports.pages.page import page_of

    return [("index.html", page_of(found, problems))]


def _files(folders: Sequence[Path]) -> list[str]:
    for folder in folders:
        if not folder.is_dir():
            raise ConfigError(
                f"there is no results folder {folder}.", "Name the folder that `adaptbench run` wrote to (--results)."
            )
    found: dict[str, str] = {}
    for folder in folders:
        for path, is_link, resolved in _json_files(str(folder), os.path.realpath(folder)):
            if not (is_link and resolved in found):
                found[resolved] = path.removeprefix(f"{os.curdir}{os.sep}")
    return list(found.values())


def _json_files(folder: str, resolved: str) -> Iterator[tuple[str, bool, str]]:
    """The JSON files below a folder, by name: path, whether it is a link, and where it is. Listing folders tells all of it.

    A folder that can't be listed is among them, as what can't be read: records may be in it.
    """
    try:
        with os.scandir(folder) as entries:
            inside = sorted(entries, key=lambda entry: entry.name)
    except PermissionError:
        yield folder, False, resolved
        return
    for entry in inside:
        if entry.is_dir(follow_symlinks=False):
            yield from _json_files(entry.path, f"{resolved}/{entry.name}")
        elif entry.name.endswith(".json") and entry.is_symlink():
            if os.path.isfile(entry.path):
                yield entry.path, True, os.path.realpath(entry.path)
        elif entry.name.endswith(".json") and entry.is_file():
            yield entry.path, False, f"{resolved}/{entry.name}"


def nothing(results: Sequence[Path], problems: Sequence[Problem]) -> ConfigError:
    """That folders have no record, for whatever reason."""
    where = ", ".join(str(folder) for folder in results)
    if problems:
        return ConfigError(
            f"no readable run record is in {where}.", "The warnings above say what is wrong with what is there."
        )
    return ConfigError(
        f"there are no results in {where}.", "Make some: adaptbench run base2new, then repeat this command."
    )


def main() -> None:
    """``python -m reports``: the same command; exit code 2 where the user can put something right."""
    print_whatever_comes()
    try:
        typer.run(report)
    except AdaptBenchError as error:
        echo(f"Error: {error!s}", err=True)
        raise SystemExit(2) from None


if __name__ == "__main__":
    main()
