"""The command ``adaptbench``: list, plan, run, status; further sub-commands (report, gate, ...) come from entry points."""

from __future__ import annotations

import platform
import sys
from importlib.metadata import version
from typing import Annotated

import typer
from rich.text import Text

from harness import plugins
from harness.cli.list import list_
from harness.cli.options import Command
from harness.cli.plan import plan_
from harness.cli.predict import export_model_, predict_
from harness.cli.progress import say
from harness.cli.run import run_
from harness.cli.status import status_
from harness.cli.terminal import EXIT_INTERRUPTED, EXIT_USAGE, errors, print_whatever_comes
from harness.cli.worker import worker_
from harness.errors import AdaptBenchError

_EPILOG = "Exit codes: 0 all well, 1 some run failed, 2 bad usage, 130 interrupted (finished records are kept)."


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"adaptbench {version('adaptbench')}, torch {version('torch')}, Python {platform.python_version()}")
        raise typer.Exit


def _options(
    _version: Annotated[
        bool,
        typer.Option("--version", help="Print the version and exit.", is_eager=True, callback=_print_version),
    ] = False,
) -> None:
    """Options of the command itself."""


def command_line() -> typer.Typer:
    """A new one each time: Typer keeps whatever was added to one."""
    app = typer.Typer(
        name="adaptbench",
        help="Benchmark methods that adapt CLIP-like models: accuracy, memory, throughput and time, side by side.",
        epilog=_EPILOG,
        no_args_is_help=True,
        add_completion=False,
        pretty_exceptions_enable=False,
        context_settings={"help_option_names": ["-h", "--help"]},
    )
    app.callback()(_options)
    app.command("list", cls=Command)(list_)
    app.command("plan", cls=Command)(plan_)
    app.command("run", epilog=_EPILOG, cls=Command)(run_)
    app.command("status", cls=Command)(status_)
    app.command("predict", cls=Command)(predict_)
    app.command("export-model", cls=Command)(export_model_)
    app.command("worker", hidden=True, cls=Command)(worker_)
    for name in plugins.names("command"):
        try:
            command = plugins.load("command", name)
        except AdaptBenchError as error:  # a plug-in's: the other commands have no part in it
            say(errors, f"Warning: {error.what}")
            continue
        if isinstance(command, typer.Typer):
            app.add_typer(command, name=name)
        else:
            app.command(name, cls=Command)(command)
    return app


def main() -> None:
    """Entry point: every error a user can put right is one message and exit code 2."""
    print_whatever_comes()
    try:
        command_line()()
    except AdaptBenchError as error:
        say(errors, Text.assemble(("Error:", "bold red"), " ", error.what))
        if error.advice:
            say(errors, error.advice)
        sys.exit(EXIT_USAGE)
    except KeyboardInterrupt:
        sys.exit(EXIT_INTERRUPTED)


if __name__ == "__main__":
    main()
