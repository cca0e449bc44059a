"""Each run in a process of its own, so that no peak and no warm cache leaks into the next.

A fork server imports torch once and never touches CUDA: a run starts in a fraction of a second. Where there is no fork (Windows,
and macOS by default), processes are spawned.
"""

from __future__ import annotations

import importlib
import logging
import multiprocessing
import multiprocessing.util
import os
import secrets
import signal
import tempfile
import threading
import time
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from multiprocessing import resource_tracker
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import Any

import psutil

from harness.errors import AdaptBenchError, ConfigError
from harness.meters.environment import cgroup_memory_bytes, describe, wait_briefly
from harness.processes import is_gone
from harness.records import RunRecord, Status, from_json, to_json
from harness.runs.death_with_parent import PARENT, READY, end_with
from harness.runs.events import Event
from harness.runs.job import Job, Place
from harness.runs.observation import Observation
from harness.runs.signals import ENDING, signals_wait

_forkserver: Any = getattr(
    importlib.import_module("multiprocessing.forkserver"), "_forkserver", None
)  # none in Windows
_STARTING = threading.Lock()
"""Held while a fork server is started: what it is told stands in the environment, which all threads share."""
_STOP_GRACE_SECONDS = 5.0
EXIT_UNGUARDED = 97
"""Of a run's process that begins a suite itself, before it has its orders."""
_EXIT_LOST = 255
"""What multiprocessing says of a process whose fork server is gone."""
_MOST_BEGINNINGS = 3
"""Of a run whose fork server was killed: what kills it each time may be the run's own memory."""
_MARK = "ADAPTBENCH_RUN_PROCESS"
"""The variable by which what a run starts is known as its own, also once the run is dead."""
SAFE_PATH = ("PYTHONSAFEPATH", "for AdaptBench's fork server")
"""The variable by which Python looks for no modules in the current folder, and what it says where it is ours."""
_READY_SECONDS = 0.02
"""How often a fork server that is starting is looked at."""
_LOOK_SECONDS = 1.0
"""How often runs that have a time limit are looked at."""
_EXEC_SECONDS = 0.2
"""More than it takes to begin a program once the old one is gone, which is 22 ms on a busy machine."""
_LONGEST_SOCKET_NAME = 103
"""In bytes, on the system that allows the fewest (macOS)."""


@dataclass
class _RunProcess:
    """A run under way: its process, the end of the pipe that it tells things by, and when it began.

    `mark` is in the environment of whatever it starts. `fork_server` is the number of the process that it came from, if it did from
    one. `memory_kills` are those that the kernel had counted by then.
    """

    job: Job
    process: Any
    receiver: Connection
    started_at: str
    start: float
    mark: str = ""
    fork_server: int | None = None
    memory_kills: int | None = field(default_factory=lambda: _memory_kills())
    suspended_seconds: float = 0.0
    beginnings: int = 1

    @property
    def by_kernel(self) -> bool:
        """Whether the kernel may have killed it for want of memory."""
        return self.memory_kills is None or self.memory_kills != _memory_kills()

    def receive(self) -> Event | RunRecord | None:
        """What it tells next; None if it ended without a word."""
        try:
            message = self.receiver.recv()
        except EOFError:
            self.process.join(_STOP_GRACE_SECONDS)
            return None
        return from_json(message, "a run's process") if isinstance(message, bytes) else message

    def stop(self) -> None:
        self.receiver.close()
        if self.process.is_alive():
            self.process.join(0.5)
            if self.process.is_alive():
                with suppress(psutil.Error):
                    _end_left_behind(psutil.Process(self.process.pid))
                self.process.kill()
            self.process.join(_STOP_GRACE_SECONDS)


class Isolation:
    """Runs jobs, each in a fresh process, as many at a time as are started. Use as a context; leaving it ends the runs in hand."""

    def __init__(self, time_limit_seconds: float | None = None, *, compiler: bool = True) -> None:
        """compiler: whether runs import torch's (`harness.runs.job.may_optimize`), which is imported for all of them then."""
        wait_briefly()  # read when the child imports torch
        os.environ.setdefault("KINETO_LOG_LEVEL", "6")  # as is this: a trace's own chatter would cross the display
        self._context = processes(compiler)
        self._time_limit_seconds = time_limit_seconds
        self._runs: dict[str, _RunProcess] = {}
        self._looked = time.monotonic()

    def __enter__(self) -> Isolation:
        return self

    def __exit__(self, *exc: Any) -> None:
        for run in self._runs.values():
            run.stop()

    def check(self, job: Job) -> Place:
        """Where runs like this one compute.

        Raises ConfigError if no run like it could start: before a suite, rather than once in each of its runs.
        """
        run = self._start(_check, job)
        found: Place | tuple[str, str] = _answer(run) or Place()  # a crash: the runs will say more
        if run.process.exitcode == EXIT_UNGUARDED:
            raise ConfigError(
                "this script runs its suite whenever it is imported, and a run's process imports it.",
                'Put the call below: if __name__ == "__main__":',
            )
        if isinstance(found, tuple):
            raise ConfigError(*found)
        return found

    def calibrate(self, job: Job) -> Observation | str:
        """What a few steps tell of a job's whole run, or why they don't."""
        run = self._start(_calibrate, job)
        found: Observation | str | None = _answer(run)
        _end_marked(run.mark)
        return found or _reason_of_exit(run.process.exitcode, run.by_kernel)

    def start(self, name: str, job: Job) -> None:
        """Begin a job; `wait` tells of it by this name."""
        self._runs[name] = self._start(_execute, job)

    def wait(self, seconds: float | None = None) -> list[tuple[str, Event | RunRecord]]:
        """What the runs tell next, each by its name; a record is the last of a run, and a crash or a hang becomes one too.

        Waits until there is something, or for so many seconds at most.
        """
        limits = [left for run in self._runs.values() if (left := self._left(run)) is not None]
        limits += [] if seconds is None else [seconds]
        limits += [] if self._time_limit_seconds is None else [_LOOK_SECONDS]
        ready = wait([run.receiver for run in self._runs.values()], timeout=max(0.0, min(limits)) if limits else None)
        self._look()
        told: list[tuple[str, Event | RunRecord]] = []
        for name, run in list(self._runs.items()):
            left = self._left(run)
            late = left is not None and left <= 0
            if run.receiver not in ready and not late:
                continue
            message = run.receive() if run.receiver in ready else None
            if message is None or isinstance(message, RunRecord):
                timed_out = late and run.process.is_alive()
                run.stop()
                del self._runs[name]
                if message is None and not timed_out and self._begins_again(name, run):
                    continue
                message = self._told_all(run, message or self._without_record(run, timed_out))
            told.append((name, message))
        return told

    def _begins_again(self, name: str, run: _RunProcess) -> bool:
        """Whether a run that its fork server took along when it was killed, through no fault of the run's, is under way anew."""
        if run.fork_server is None or not is_gone(run.fork_server) or run.beginnings == _MOST_BEGINNINGS:
            return False
        _end_marked(run.mark)
        self._runs[name] = again = self._start(_execute, run.job)
        again.beginnings = run.beginnings + 1
        return True

    @staticmethod
    def _told_all(run: _RunProcess, record: RunRecord) -> RunRecord:
        """A run's record, with what its process could not know."""
        if run.beginnings == 1:
            return record
        text = f"the process that runs are forked from was killed {run.beginnings - 1} times: this run was begun again."
        return replace(record, warnings=(*record.warnings, text.replace("1 times", "once")))

    def _left(self, run: _RunProcess) -> float | None:
        """Seconds until the run counts as hung."""
        limit = self._time_limit_seconds
        return None if limit is None else limit - (time.monotonic() - run.start - run.suspended_seconds)

    def _look(self) -> None:
        """Note for how long the runs were stopped (Ctrl-Z, a suspended job), with this process or alone: that is none of theirs."""
        now = time.monotonic()
        gap_seconds, self._looked = now - self._looked, now
        for run in self._runs.values():
            own_seconds = min(gap_seconds, now - run.start)
            if own_seconds > 2 * _LOOK_SECONDS and self._time_limit_seconds is not None:
                run.suspended_seconds += own_seconds - _LOOK_SECONDS
            elif _is_stopped(run.process.pid):
                run.suspended_seconds += own_seconds

    def _without_record(self, run: _RunProcess, timed_out: bool) -> RunRecord:
        job, code = run.job, run.process.exitcode
        by_kernel = run.by_kernel
        left = _end_marked(run.mark)
        return RunRecord(
            key=job.run.key,
            recipe_row=job.run.recipe_row,
            status="timeout" if timed_out else _status_of_exit(code, by_kernel),
            reason=(
                f"the run did not end within the limit of {self._time_limit_seconds:g} s (--time-limit)."
                if timed_out
                else _reason_of_exit(code, by_kernel)
            ),
            warnings=(_left_behind(job, left),) if left else (),
            started_at=run.started_at,
            total_seconds=time.monotonic() - run.start,
            environment=describe(job.device, job.threads),
            missing={"windows": "the process ended before it could report"},
            command=job.command,
        )

    def _start(self, work: Callable[[Job, Connection], None], job: Job) -> _RunProcess:
        started_at = datetime.now(UTC).isoformat(timespec="seconds")
        start = time.monotonic()
        fork_server = None
        if self._context.get_start_method() == "forkserver":
            fork_server = _listening_fork_server()
        mark = secrets.token_hex(8)
        with _signals_wait():
            receiver, sender = self._context.Pipe(duplex=False)
            environment = {**_environment(), _MARK: mark}
            process = self._context.Process(target=_child, args=(work, job, sender, environment), daemon=True)
            process.start()
            sender.close()
        return _RunProcess(job, process, receiver, started_at, start, mark, fork_server)


def _answer(run: _RunProcess) -> Any:
    """The one thing that a process tells; None if it ended without a word."""
    try:
        return run.receiver.recv()
    except EOFError:
        run.process.join(_STOP_GRACE_SECONDS)
        return None
    finally:
        run.stop()


def end_if_importing() -> None:
    """End a run's process that is importing the user's script, where that begins a suite as the script itself does."""
    if getattr(multiprocessing.current_process(), "_inheriting", False):
        os._exit(EXIT_UNGUARDED)


def processes(compiler: bool = True) -> Any:
    """What makes processes that begin with torch, open_clip and the engine imported, where there is a fork server."""
    method = _start_method()
    context: Any = multiprocessing.get_context(method)
    if method == "forkserver":
        context.set_forkserver_preload(
            [
                "harness.runs.forkserver_leash",
                *["torch._dynamo"] * compiler,
                "harness.runs.forkserver_preload",
                "harness.runs.forkserver_ready",
            ]
        )
        _begin_fork_server()
    return context


def _begin_fork_server() -> None:
    """Have one run."""
    with _STARTING, _signals_wait(), _no_harness_of_the_folder(), _told():
        earlier = _fork_server()._forkserver_pid
        _fork_server().ensure_running()
        if _fork_server()._forkserver_pid == earlier:  # perhaps not of our making: it won't say that it listens
            _ready().touch()


@contextmanager
def _no_harness_of_the_folder() -> Iterator[None]:
    """A process that Python starts meanwhile looks for modules as the command does: not in the current folder first."""
    name, ours = SAFE_PATH
    if os.environ.setdefault(name, ours) != ours:
        yield
        return
    try:
        yield
    finally:
        del os.environ[name]


@contextmanager
def _told() -> Iterator[None]:
    """A fork server that is started meanwhile ends with this process, unless a mere thread starts it, which may end before.

    It makes a file once it listens.
    """
    told = {READY: str(_ready())}
    if threading.current_thread() is threading.main_thread():
        told[PARENT] = str(os.getpid())
    os.environ.update(told)
    try:
        yield
    finally:
        for name in told:
            del os.environ[name]


def _ready() -> Path:
    return Path(multiprocessing.util.get_temp_dir()) / READY


def _fork_server() -> Any:
    return importlib.import_module("multiprocessing.forkserver")._forkserver  # not to be had in Windows


def _listening_fork_server() -> int | None:
    """The number of the fork server, a new one where that was killed, once it listens, or has ended.

    It imports for seconds, in which Ctrl-C is heard here, and isn't while a process starts.
    """
    if (pid := _fork_server()._forkserver_pid) and is_gone(pid):
        _ready().unlink(missing_ok=True)
        _begin_fork_server()
    while (pid := _fork_server()._forkserver_pid) and not _ready().exists():
        if os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT):
            _ready().touch()  # the next one is started with a process, and won't say it
        time.sleep(_READY_SECONDS)
    return pid


def _start_method() -> str:
    """forkserver, where there is one and the temporary folder's path leaves room for the name of its socket; else spawn."""
    socket = os.path.join(tempfile.gettempdir(), "pymp-12345678", "listener-12345678")
    roomy = len(os.fsencode(socket)) <= _LONGEST_SOCKET_NAME
    return "forkserver" if roomy and "forkserver" in multiprocessing.get_all_start_methods() else "spawn"


@contextmanager
def _signals_wait() -> Iterator[None]:
    """Ctrl-C, and what asks a process to end, is heard once the block ends, and never by processes that it starts.

    Within the block it could leave a process without its orders, or get lost in a finalizer, where Python drops exceptions.
    """
    with signals_wait(), ExitStack() as restored:
        if threading.current_thread() is threading.main_thread() and hasattr(signal, "pthread_sigmask"):
            resource_tracker.ensure_running()  # its start would end the blocking
            mask = signal.pthread_sigmask(signal.SIG_BLOCK, ENDING)  # children inherit it
            restored.callback(signal.pthread_sigmask, signal.SIG_SETMASK, mask)
        yield


def _environment() -> dict[str, str]:
    """What a run's process is to have of this one's environment: the fork server's is that of its start, perhaps long ago."""
    with _STARTING:
        return dict(os.environ)


def _child(
    work: Callable[[Job, Connection], None], job: Job, sender: Connection, environment: Mapping[str, str]
) -> None:
    os.environ.clear()
    os.environ.update(environment)
    for ending in ENDING:  # the parent's to handle, also where a scheduler tells every process of a job
        signal.signal(ending, signal.SIG_IGN)
    logging.getLogger().setLevel(logging.CRITICAL)  # what open_clip logs as errors, it raises too
    end_with(os.getppid())
    _die_with_parent()
    if job.gpu:
        os.environ["CUDA_VISIBLE_DEVICES"] = job.gpu  # read when CUDA starts, in this process
    try:
        work(job, sender)
    except BrokenPipeError:
        os._exit(1)


def _execute(job: Job, sender: Connection) -> None:
    from harness.runs.runner import execute

    record = execute(job, sender.send)
    if left := _end_left_behind(psutil.Process()):
        record = replace(record, warnings=(*record.warnings, _left_behind(job, left)))
    sender.send(to_json(record))


def _left_behind(job: Job, names: list[str]) -> str:
    return (
        f"{job.run.key.method} left {len(names)} process{'es' * (len(names) != 1)} running ({', '.join(sorted(set(names)))}): "
        f"{'they were' if len(names) != 1 else 'it was'} ended. Have a method end what it starts."
    )


def _end_left_behind(process: psutil.Process) -> list[str]:
    """End whatever a run's process has started and not ended; the names of these programs."""
    names = []
    with suppress(psutil.Error):
        for child in process.children(recursive=True):
            with suppress(psutil.Error):
                names += [child.name()] * (child.status() != psutil.STATUS_ZOMBIE)
                child.kill()
    return names


def _end_marked(mark: str) -> list[str]:
    """End whatever a run has started that is dead by now; the names of these programs."""
    names = []
    for number in psutil.pids():  # psutil's iterator may have kept an earlier process of the same number
        with suppress(psutil.Error, OSError):
            process = psutil.Process(number)
            if _environment_of(process).get(_MARK) == mark:
                names.append(process.name())
                process.kill()
    return names


def _environment_of(process: psutil.Process) -> dict[str, str]:
    """While one program takes the place of another in a process, that has neither environment nor arguments: it is waited for."""
    environment = process.environ()
    end = time.monotonic() + _EXEC_SECONDS
    while not environment and time.monotonic() < end and process.exe() and not process.cmdline():
        time.sleep(0.001)
    return environment or process.environ()


def _check(job: Job, sender: Connection) -> None:
    from harness.runs.runner import check

    try:
        sender.send(check(job))
    except AdaptBenchError as error:
        sender.send((error.what, error.advice))


def _calibrate(job: Job, sender: Connection) -> None:
    from harness.runs.calibration import calibrate
    from harness.runs.findings import status_of

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the run says it again
        try:
            sender.send(calibrate(job))
        except Exception as error:  # whatever somebody's method does
            sender.send(status_of(error)[1])


def _die_with_parent() -> None:
    """End this process when the suite's ends, even by SIGKILL: an orphan would go on using the machine."""
    parent = multiprocessing.parent_process()
    if parent is None:
        return

    def watch() -> None:
        wait([parent.sentinel])
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


def _is_stopped(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() == psutil.STATUS_STOPPED
    except psutil.Error:  # it has ended
        return False


def _memory_kills() -> int | None:
    """How many processes the kernel has killed for want of memory, in all cgroups; None where it doesn't tell."""
    with suppress(OSError, ValueError):
        for line in Path("/proc/vmstat").read_text().splitlines():
            if line.startswith("oom_kill "):
                return int(line.split()[1])
    return None


def _status_of_exit(code: int | None, by_kernel: bool) -> Status:
    return "out_of_memory" if code == -signal.SIGKILL and by_kernel else "failed"


def _reason_of_exit(code: int | None, by_kernel: bool) -> str:
    """by_kernel: whether the kernel may have killed it for want of memory."""
    if code is not None and code < 0:
        said = f"the run's process was killed by {signal.Signals(-code).name}"
        if -code != signal.SIGKILL:
            return f"{said}."
        if not by_kernel:
            return (
                f"{said}, and the kernel counted no kill for want of memory meanwhile: another program or a person did it "
                "(kill -9, a scheduler, a daemon that watches memory)."
            )
        limit = cgroup_memory_bytes()
        has = f"; this container may use {limit / (1 << 30):.1f} GiB" if limit else ""
        return f"{said} (most likely by the kernel, out of memory{has})."
    lost = ", or the fork server that it came from was killed" if code == _EXIT_LOST else ""
    return f"the run's process ended with exit code {code} before it could report{lost}; its output is above."
