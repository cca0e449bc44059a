"""Whether a process was stopped: by Ctrl-Z or a scheduler, or with the whole machine, by a laptop's lid.

No clock of a process stops with it, so a thread wakes four times a second. Where it slept in while the process used no processor
either, nothing of it ran: a computation that keeps Python's lock, or a busy machine, uses some.
"""

from __future__ import annotations

import threading
import time
from typing import Any

BEAT_SECONDS = 0.25
SHORTEST_STOP_SECONDS = 1.0
IDLE_SHARE = 0.1
"""A process that used less of a gap in processor time did nothing in it."""


class Heartbeat:
    """``with Heartbeat() as heartbeat: ...``, then `heartbeat.stopped_seconds`."""

    def __init__(self) -> None:
        self.stopped_seconds = 0.0
        self._leaving = threading.Event()
        self._beating = threading.Lock()
        self._thread = threading.Thread(target=self._keep_beating, daemon=True)

    def __enter__(self) -> Heartbeat:
        self._last = now(), time.process_time()
        self._thread.start()
        return self

    def __exit__(self, *exc: Any) -> None:
        self._beat()  # the thread may not have woken yet
        self._leaving.set()
        self._thread.join()

    def _keep_beating(self) -> None:
        while not self._leaving.wait(BEAT_SECONDS):
            self._beat()

    def _beat(self) -> None:
        with self._beating:
            (last, used), self._last = self._last, (now(), time.process_time())
            gap_seconds = self._last[0] - last - BEAT_SECONDS
            if gap_seconds > SHORTEST_STOP_SECONDS and self._last[1] - used < IDLE_SHARE * gap_seconds:
                self.stopped_seconds += gap_seconds


def now() -> float:
    """Seconds of a clock that goes on while the machine sleeps, where there is one (Linux)."""
    boot = getattr(time, "CLOCK_BOOTTIME", None)
    return time.monotonic() if boot is None else time.clock_gettime(boot)
