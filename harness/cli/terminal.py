"""What all commands share of the terminal: its two streams, and the exit codes."""

import io
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager

import rich.console
import typer
from rich.console import ConsoleOptions, RenderableType
from rich.segment import Segment
from rich.text import Text

from harness.visible import block

EXIT_SOME_FAILED, EXIT_USAGE, EXIT_INTERRUPTED = 1, 2, 130


class Console(rich.console.Console):
    """rich's, with every text of what it draws made visible: all that reaches the terminal goes through one or `echo`."""

    def render(self, renderable: RenderableType, options: ConsoleOptions | None = None) -> Iterable[Segment]:
        """As rich's, which calls it for each part of what it draws."""
        if isinstance(renderable, str):
            renderable = block(renderable)
        elif isinstance(renderable, Text) and block(renderable.plain) != renderable.plain:
            renderable = renderable.copy()
            renderable.plain = block(renderable.plain)
        return super().render(renderable, options)


console = Console()
errors = Console(stderr=True)


def print_whatever_comes() -> None:
    """Let both streams escape what their encoding lacks: no name of a class or a folder ends a suite."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def echo(text: str, *, err: bool = False, end: str = "\n") -> None:
    """Write a text as it is: for files' content, and for what other programs read."""
    typer.echo(block(text) + end, err=err, nl=False)


def say(where: Console, text: str | Text) -> None:
    """Print a text as it is: wrapped at words on a terminal, one line in a log."""
    where.print(text, markup=False, highlight=False, soft_wrap=not where.is_terminal)


@contextmanager
def working() -> Iterator[Callable[[str], object]]:
    """A line of a terminal that says what is being done, for as long as it takes; none in a log."""
    where = console if console.is_terminal else errors
    if not where.is_terminal or where.is_dumb_terminal:
        yield lambda text: None
        return
    with where.status("") as status:
        yield lambda text: status.update(Text(text))
