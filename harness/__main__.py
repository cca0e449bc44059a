"""The command ``adaptbench``: list, plan, run, status; further sub-commands (report, gate, ...) come from entry points."""

from __future__ import annotations

import atexit
import gc
import os
import platform
import sys
from contextlib import suppress
from types import ModuleType
from typing import Annotated, Any

import typer
from rich.text import Text

from harness.cli.commands import EPILOG, Commands
from harness.cli.terminal import (
    EXIT_INTERRUPTED,
    EXIT_USAGE,
    echo,
    errors,
    output_that_may_fail,
    print_whatever_comes,
    say,
)
from harness.errors import AdaptBenchError, ConfigError


def _print_version(wanted: bool) -> None:
    if wanted:
        from importlib.metadata import version

        echo(f"adaptbench {version('adaptbench')}, torch {version('torch')}, Python {platform.python_version()}")
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
        cls=Commands,
        help="Benchmark methods that adapt CLIP-like models: accuracy, memory, throughput and time, side by side.",
        epilog=EPILOG,
        no_args_is_help=True,
        pretty_exceptions_enable=False,
        context_settings={"help_option_names": ["-h", "--help"]},
    )
    app.callback()(_options)
    return app


def _require_current_folder() -> None:
    """Raises ConfigError where that was removed: no path means anything there."""
    try:
        os.getcwd()
    except FileNotFoundError as error:
        raise ConfigError("the current folder was removed.", "Go to another one, and repeat the command.") from error


def _without_pydantics_plugins() -> None:
    """To look for some, pydantic would read once more what is installed. A user who names those to be left out gets the others."""
    if os.environ.setdefault("PYDANTIC_DISABLE_PLUGINS", "__all__") == "__all__":
        loader: Any = ModuleType("pydantic.plugin._loader")
        loader.get_plugins = tuple
        sys.modules[loader.__name__] = loader  # whose import is what takes long


def _leave_all_to_the_system() -> None:
    """At its end Python looks for cycles among all objects, for a fifth of a plan's time. Triton calls leaked what isn't found."""
    if "triton" not in sys.modules:
        gc.freeze()


def main() -> None:
    """Entry point: every error a user can put right is one message and exit code 2."""
    print_whatever_comes()
    gc.set_threshold(200_000, 20, 20)  # imports make some hundred thousand objects, and no garbage
    atexit.register(_leave_all_to_the_system)
    _without_pydantics_plugins()
    try:
        _require_current_folder()
        with output_that_may_fail():
            command_line()(prog_name="adaptbench")  # also as a module: it is what a shell completes
    except AdaptBenchError as error:
        with suppress(OSError):  # where even this can't be written, the exit code says it
            say(errors, Text.assemble(("Error:", "bold red"), " ", error.what))
            if error.advice:
                say(errors, error.advice)
        sys.exit(EXIT_USAGE)
    except KeyboardInterrupt:
        sys.exit(EXIT_INTERRUPTED)


if __name__ == "__main__":
    main()
