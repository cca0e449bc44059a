"""The command ``adaptbench replay``: a run repeated from its record alone, and what differs."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from harness.cli import options
from harness.cli.progress import Display
from harness.cli.terminal import EXIT_SOME_FAILED, console, errors, say
from harness.errors import ConfigError, DataError
from harness.meters.environment import describe
from harness.records import RunRecord, from_json
from harness.runs.replay import Places, differences, environment_differences, planned, replay
from harness.runs.store import record_bytes
from harness.runs.suite_runner import CACHE, RunOptions

_FILES = "Where files are that the record knows by name and digest"


def replay_(
    record: Annotated[Path, typer.Argument(metavar="RECORD", help="A record that 'adaptbench run' left: a JSON file.")],
    data_root: options.DataRoot = None,
    datasets: Annotated[
        str | None,
        typer.Option(
            help="Your own, comma-separated: folder:PATH.",
            show_default="of that name in the current folder",
            rich_help_panel=_FILES,
        ),
    ] = None,
    class_names: Annotated[
        str | None,
        typer.Option(
            metavar="FILE",
            help="The file of their class names.",
            show_default="of that name in the current folder",
            rich_help_panel=_FILES,
        ),
    ] = None,
    backbone: Annotated[
        str | None,
        typer.Option(help="A backbone that is a folder: local-dir:PATH.", show_default=False, rich_help_panel=_FILES),
    ] = None,
    pretrained: Annotated[
        str | None,
        typer.Option(
            help="The checkpoint file.", show_default="of that name in the current folder", rich_help_panel=_FILES
        ),
    ] = None,
    method: Annotated[
        str | None,
        typer.Option(
            help="FILE.py:NAME of a method of your own.",
            show_default="its module in the current folder",
            rich_help_panel=_FILES,
        ),
    ] = None,
    cache: Annotated[
        Path, typer.Option(help="Folder for generated data.", envvar="ADAPTBENCH_CACHE", show_default=False)
    ] = CACHE,
) -> None:
    """Repeat a run from its record alone, and say what differs: results, software, machine. No file is written."""
    recorded = _read(record)
    where = Places(
        method=options.given("method", method),
        backbone=options.given("backbone", backbone),
        pretrained=options.given("pretrained", pretrained),
        datasets=options.datasets_of(datasets),
        class_names=options.given("class-names", class_names),
    )
    folders = RunOptions(results=record.parent, cache=cache, data_root=data_root).folders
    try:
        run = planned(recorded, where)
    except ConfigError as error:
        raise ConfigError(error.what, "\n".join(filter(None, [error.advice, _unlike_here(recorded)]))) from error
    with Display(console, errors, "usual") as display:
        replayed = replay(recorded, run, folders, display)
    others = environment_differences(recorded.environment, replayed.environment)
    for text in others:
        say(console, f"Not as it was: {text}")
    if found := differences(recorded, replayed):
        for text in found:
            say(console, f"Differs: {text}")
        why = "the machine or software is another" if others else "machine and software are the same"
        say(errors, f"{len(found)} of the results differ from the record; {why}.")
        raise typer.Exit(EXIT_SOME_FAILED)
    say(console, f"Identical: {_alike(recorded)}.")


def _read(path: Path) -> RunRecord:
    try:
        return from_json(record_bytes(path), str(path))
    except FileNotFoundError:
        raise DataError(f"there is no record {path}.", "Records are RESULTS/SUITE/METHOD/*.json.") from None


def _unlike_here(recorded: RunRecord) -> str:
    """What of machine and software isn't as in the record, as far as it shows without a run."""
    of = recorded.environment
    here = describe(of.device, of.threads or 1)
    texts = [] if of.gpu else environment_differences(of, here)
    return f"Besides, not as it was: {'; '.join(texts)}." if texts else ""


def _alike(recorded: RunRecord) -> str:
    tests, epochs = len(recorded.accuracy), len(recorded.epoch_losses)
    if not tests:
        return (
            f"the status {recorded.status}, {recorded.reason}" if recorded.reason else f"the status {recorded.status}"
        )
    losses = f", the losses of {epochs} epoch{'s' * (epochs != 1)}" if epochs else ""
    answers = f"the correct answers of {tests} test{'s' * (tests != 1)} by class"
    return f"{answers}{losses}, counts of images and weights, bytes of tensors"
