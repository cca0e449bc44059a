"""What all commands share of the terminal: its two streams, and the exit codes."""

import io
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.text import Text

EXIT_SOME_FAILED, EXIT_USAGE, EXIT_INTERRUPTED = 1, 2, 130

console = Console()
errors = Console(stderr=True)


def print_whatever_comes() -> None:
    """Let both streams escape what their encoding lacks: no name of a class or a folder ends a suite."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


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
