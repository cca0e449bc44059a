"""Each run in a process of its own, so that no peak and no warm cache leaks into the next.

A fork server imports torch once and never touches CUDA: a run starts in a fraction of a second. Where there is no fork (Windows,
and macOS by default), processes are spawned.
"""

from __future__ import annotations

import logging
import multiprocessing
import os
import signal
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime
from multiprocessing import resource_tracker
from multiprocessing.connection import Connection, wait
from typing import Any

from harness.errors import ConfigError
from harness.meters.environment import describe
from harness.records import RunRecord, Status, from_json, to_json
from harness.runs.events import Event
from harness.runs.job import Job

_STOP_GRACE_SECONDS = 5.0
_LONGEST_SOCKET_NAME = 103
"""In bytes, on the system that allows the fewest (macOS)."""


class Isolation:
    """Runs jobs one after the other, each in a fresh process. Use as a context; leaving it ends a run in hand."""

    def __init__(self, time_limit_seconds: float | None = None) -> None:
        os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # read when the child imports torch
        os.environ.setdefault("KINETO_LOG_LEVEL", "6")  # as is this: a trace's own chatter would cross the display
        method = _start_method()
        self._context: Any = multiprocessing.get_context(method)
        if method == "forkserver":
            self._context.set_forkserver_preload(["harness.runs.forkserver_preload"])
        self._time_limit_seconds = time_limit_seconds
        self._process: Any = None

    def __enter__(self) -> Isolation:
        return self

    def __exit__(self, *exc: Any) -> None:
        self._stop()

    def check(self, job: Job) -> None:
        """Raises ConfigError if no run like this one could start: before a suite, rather than once in each of its runs."""
        receiver = self._start(_check, job)
        try:
            problem = receiver.recv()
        except EOFError:
            problem = None  # a crash: the runs will say more
        finally:
            receiver.close()
            self._stop()
        if problem is not None:
            raise ConfigError(*problem)

    def run(self, job: Job, on_event: Callable[[Event], None]) -> RunRecord:
        """Do a job; a crash or a hang of its process becomes a record too."""
        started_at = datetime.now(UTC).isoformat(timespec="seconds")
        start = time.monotonic()
        receiver = self._start(_execute, job)
        try:
            record = self._listen(receiver, start, on_event)
        finally:
            receiver.close()
            timed_out = self._process.is_alive() and self._over(start)
            self._stop()
        if record is not None:
            return record
        return RunRecord(
            key=job.run.key,
            recipe_row=job.run.recipe_row,
            status="timeout" if timed_out else _status_of_exit(self._process.exitcode),
            reason=(
                f"the run did not end within the limit of {self._time_limit_seconds:g} s (--time-limit)."
                if timed_out
                else _reason_of_exit(self._process.exitcode)
            ),
            started_at=started_at,
            total_seconds=time.monotonic() - start,
            environment=describe(job.device, job.threads),
            missing={"windows": "the process ended before it could report"},
            command=job.command,
        )

    def _start(self, work: Callable[[Job, Connection], None], job: Job) -> Connection:
        with _ctrl_c_waits():
            receiver, sender = self._context.Pipe(duplex=False)
            self._process = self._context.Process(target=_child, args=(work, job, sender), daemon=True)
            self._process.start()
            sender.close()
        return receiver

    def _listen(self, receiver: Connection, start: float, on_event: Callable[[Event], None]) -> RunRecord | None:
        while True:
            left = None if self._time_limit_seconds is None else self._time_limit_seconds - (time.monotonic() - start)
            if left is not None and left <= 0:
                return None
            if not wait([receiver], timeout=left):
                return None
            try:
                message = receiver.recv()
            except EOFError:
                self._process.join(_STOP_GRACE_SECONDS)
                return None
            if isinstance(message, bytes):
                return from_json(message, "a run's process")
            on_event(message)

    def _over(self, start: float) -> bool:
        return self._time_limit_seconds is not None and time.monotonic() - start >= self._time_limit_seconds

    def _stop(self) -> None:
        if self._process is not None and self._process.is_alive():
            self._process.join(0.5)
            if self._process.is_alive():
                self._process.kill()
            self._process.join(_STOP_GRACE_SECONDS)


def _start_method() -> str:
    """forkserver, where there is one and the temporary folder's path leaves room for the name of its socket; else spawn."""
    socket = os.path.join(tempfile.gettempdir(), "pymp-12345678", "listener-12345678")
    roomy = len(os.fsencode(socket)) <= _LONGEST_SOCKET_NAME
    return "forkserver" if roomy and "forkserver" in multiprocessing.get_all_start_methods() else "spawn"


@contextmanager
def _ctrl_c_waits() -> Iterator[None]:
    """Ctrl-C is heard once the block ends, and never by processes that it starts.

    Within the block it could leave a process without its orders, or get lost in a finalizer, where Python drops exceptions.
    """
    if threading.current_thread() is not threading.main_thread():
        yield  # Python raises it in the main thread alone
        return
    heard = []
    with ExitStack() as restored:
        restored.callback(signal.signal, signal.SIGINT, signal.signal(signal.SIGINT, lambda *_: heard.append(True)))
        if hasattr(signal, "pthread_sigmask"):
            resource_tracker.ensure_running()  # its start would end the blocking
            mask = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})  # children inherit it
            restored.callback(signal.pthread_sigmask, signal.SIG_SETMASK, mask)
        yield
    if heard:
        signal.raise_signal(signal.SIGINT)


def _child(work: Callable[[Job, Connection], None], job: Job, sender: Connection) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's to handle
    logging.getLogger().setLevel(logging.CRITICAL)  # what open_clip logs as errors, it raises too
    _die_with_parent()
    try:
        work(job, sender)
    except BrokenPipeError:
        os._exit(1)


def _execute(job: Job, sender: Connection) -> None:
    from harness.runs.runner import execute

    sender.send(to_json(execute(job, sender.send)))


def _check(job: Job, sender: Connection) -> None:
    from harness.runs.runner import check

    sender.send(check(job))


def _die_with_parent() -> None:
    """End this process when the suite's ends, even by SIGKILL: an orphan would go on using the machine."""
    parent = multiprocessing.parent_process()
    if parent is None:
        return

    def watch() -> None:
        wait([parent.sentinel])
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


def _status_of_exit(code: int | None) -> Status:
    return "out_of_memory" if code == -signal.SIGKILL else "failed"


def _reason_of_exit(code: int | None) -> str:
    if code is not None and code < 0:
        name = signal.Signals(-code).name
        hint = " (most likely by the kernel, out of memory)" if -code == signal.SIGKILL else ""
        return f"the run's process was killed by {name}{hint}."
    return f"the run's process ended with exit code {code} before it could report; its output is above."
