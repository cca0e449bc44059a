"""What asks a process to end, while it does what must not be left half done."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

ENDING = tuple(getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name))
"""What asks a process to end: Ctrl-C, a scheduler, a terminal that is closed."""


@contextmanager
def signals_wait() -> Iterator[None]:
    """Ctrl-C, and what asks a process to end, is heard once the block ends; in other threads than the main one it never is."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    heard: list[int] = []
    with ExitStack() as restored:
        for ending in ENDING:
            earlier = signal.signal(ending, lambda number, _: heard.append(number))
            restored.callback(signal.signal, ending, earlier)
        yield
    for number in dict.fromkeys(heard):
        signal.raise_signal(number)
