"""What all commands share of the terminal: its two streams, and the exit codes."""

from rich.console import Console

EXIT_SOME_FAILED, EXIT_USAGE, EXIT_INTERRUPTED = 1, 2, 130

console = Console()
errors = Console(stderr=True)
