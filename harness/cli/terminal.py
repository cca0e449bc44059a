"""What all commands share of the terminal: its two streams, and the exit codes."""

import errno
import io
import os
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager

import rich.console
import typer
from rich.console import ConsoleOptions, RenderableType
from rich.segment import Segment
from rich.text import Text

from harness.errors import ConfigError
from harness.visible import block

EXIT_SOME_FAILED, EXIT_USAGE, EXIT_INTERRUPTED = 1, 2, 130
_TAKES_NO_MORE = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO)


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


@contextmanager
def output_that_may_fail() -> Iterator[None]:
    """Raise ConfigError where what is printed goes to a file that takes no more, as on a full disk; the rest of it is dropped."""
    try:
        yield
    except OSError as error:
        if error.errno not in _TAKES_NO_MORE or error.filename is not None:  # a file's own has its name
            raise
        nowhere = os.open(os.devnull, os.O_WRONLY)
        for stream in (sys.stdout, sys.stderr):
            try:
                stream.flush()
            except OSError:
                os.dup2(nowhere, stream.fileno())
        raise ConfigError(
            f"what this command prints can't be written: {error.strerror}.",
            "Make room there, or send it elsewhere, and repeat the command: runs that were recorded are not done again.",
        ) from error


def echo(text: str, *, err: bool = False, end: str = "\n") -> None:
    """Write a text as it is: for files' content, and for what other programs read."""
    typer.echo(block(text) + end, err=err, nl=False)


def say(where: Console, text: str | Text) -> None:
    """Print a text as it is: wrapped at words on a terminal, one line in a log."""
    where.print(text, markup=False, emoji=False, highlight=False, soft_wrap=not where.is_terminal)


@contextmanager
def working() -> Iterator[Callable[[str], object]]:
    """A line of a terminal that says what is being done, for as long as it takes; none in a log."""
    where = console if console.is_terminal else errors
    if not where.is_terminal or where.is_dumb_terminal:
        yield lambda text: None
        return
    with where.status("") as status:
        yield lambda text: status.update(Text(text))
