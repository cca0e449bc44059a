"""What all commands share of the terminal: its two streams, and the exit codes."""

import io
import sys

from rich.console import Console

EXIT_SOME_FAILED, EXIT_USAGE, EXIT_INTERRUPTED = 1, 2, 130

console = Console()
errors = Console(stderr=True)


def print_whatever_comes() -> None:
    """Let both streams escape what their encoding lacks: no name of a class or a folder ends a suite."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
