"""The two processes of the timed gate: each runs pytest with `turns`, and works when it is asked to. No torch here."""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from multiprocessing.connection import wait
from pathlib import Path
from typing import Any

from harness.gate import pytest_worker
from harness.gate.measure import pytest_environment

_PLUGIN = "adaptbench_gate_turns"
_LAST_LINES = 12
_END_SECONDS = 10.0


@dataclass(frozen=True, kw_only=True)
class Side:
    """Where one of the two sides runs. folder: pytest's root, which test names are relative to."""

    name: str
    python: Path
    folder: Path
    environment: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Turn:
    """Of each round, seconds of a call: wall time, and what of it was waiting for a core that others had.

    alone: no other thread worked, and there was no child process, so those others were none of the benchmark's own.
    """

    rounds: list[tuple[float, float]]
    alone: bool


@dataclass(frozen=True)
class Failure:
    """A test that timed nothing, and why."""

    why: str


def file_of(test: str) -> str:
    """Of pytest's name of a test, the file it lies in."""
    return test.partition("::")[0]


class ProcessError(Exception):
    """A process died, hung, or is none of ours. The message names the side and ends with the process's last lines."""


class TimedProcess:
    """pytest on one side. Use as a context: leaving it ends the process and what that started.

    Raises ProcessError from any call whose answer takes longer than `patience_seconds`.
    """

    def __init__(self, side: Side, tests: Sequence[str], patience_seconds: float) -> None:
        self.side = side
        self._tests = tests
        self._patience_seconds = patience_seconds
        self._unread = b""
        self._failed = False

    def __enter__(self) -> TimedProcess:
        with contextlib.ExitStack() as stack:
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="adaptbench-gate-")))
            shutil.copyfile(pytest_worker.__file__, folder / f"{_PLUGIN}.py")
            self._server = stack.enter_context(socket.create_server(("127.0.0.1", 0)))
            self._log = stack.enter_context(tempfile.TemporaryFile())
            self._token = secrets.token_hex()
            self._process = self._start(folder)
            stack.callback(self._end)
            stack.callback(self._server.close)  # before its end is waited for: it may wait for an answer
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *exc: Any) -> None:
        self._failed = self._failed or exc[0] is not None
        self._stack.close()

    def absent(self) -> dict[str, str]:
        """Of the tests, those that it hasn't collected, with the reason, empty where there is no such test."""
        self._wait(self._server)
        self._socket = self._stack.enter_context(self._server.accept()[0])
        if self._hear() != {"token": self._token}:
            raise self._error("was pushed aside by another process of this machine")
        heard = self._hear()
        found = set(heard["collected"])
        return {test: heard["broken"].get(file_of(test), "") for test in self._tests if test not in found}

    def run(self, tests: Sequence[str]) -> None:
        """Run these of its tests, in this order; each wants `until_ready`, and `finish` unless it failed."""
        self._tell({"run": list(tests)})

    def until_ready(self, test: str) -> float | Failure:
        """Let it run to the first turn of a test: seconds that a warm call takes there."""
        heard = self._hear()
        if heard["test"] != test:
            raise self._error(f"ran {heard['test']} where {test} was due")
        if "call_seconds" in heard:
            return float(heard["call_seconds"])
        if heard["outcome"] == "passed":
            return Failure("the test never called its `benchmark`")
        return Failure(f"the test {heard['outcome']}: {heard['why']}")

    def turn(self, rounds: int, calls: int) -> Turn:
        """So many rounds of so many calls."""
        self._tell({"rounds": rounds, "calls": calls})
        heard = self._hear()
        return Turn([(wall, waited) for wall, waited in heard["rounds"]], heard["alone"])

    def finish(self) -> dict[str, Any] | Failure:
        """No more turns: let the test come to its end. What pytest-benchmark's JSON says of it, without times."""
        self._tell({})
        heard = self._hear()
        if heard["outcome"] != "passed":
            return Failure(f"the test {heard['outcome']} after its turns: {heard['why']}")
        entry: dict[str, Any] = heard["entry"]
        return entry

    def _start(self, plugin: Path) -> subprocess.Popen[bytes]:
        words = [
            str(self.side.python),
            "-m",
            "pytest",
            "-q",
            "-p",
            _PLUGIN,
            "-p",
            "no:cacheprovider",
            "--benchmark-enable",
            "--benchmark-only",  # which outvotes --benchmark-skip
        ]
        words += ["--continue-on-collection-errors", f"--rootdir={self.side.folder}"]
        environment = {**pytest_environment(), **self.side.environment}
        environment |= {
            pytest_worker.PORT: str(self._server.getsockname()[1]),
            pytest_worker.TOKEN: self._token,
            "PYTHONPATH": os.pathsep.join(filter(None, [str(plugin), environment.get("PYTHONPATH")])),
            "PATH": os.pathsep.join([str(self.side.python.parent), environment.get("PATH", os.defpath)]),
            "PYTEST_TIMEOUT": "0",  # pytest-timeout's, if there: a turn may be long in coming
        }
        return subprocess.Popen(
            [*words, *dict.fromkeys(map(file_of, self._tests))],
            cwd=self.side.folder,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=self._log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )

    def _end(self) -> None:
        """A little time to finish; then it is killed, with all that it started."""
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(0 if self._failed else _END_SECONDS)
        if self._process.poll() is None:
            if hasattr(os, "killpg"):
                os.killpg(self._process.pid, signal.SIGKILL)
            self._process.kill()
            self._process.wait()

    def _tell(self, message: Mapping[str, Any]) -> None:
        try:
            self._socket.sendall(json.dumps(message).encode() + b"\n")
        except OSError as error:
            raise self._error("is gone") from error

    def _hear(self) -> dict[str, Any]:
        while b"\n" not in self._unread:
            self._wait(self._socket)
            received = b""
            with contextlib.suppress(ConnectionError):
                received = self._socket.recv(1 << 16)
            if not received:
                raise self._error("ended too early")
            self._unread += received
        line, _, self._unread = self._unread.partition(b"\n")
        message: dict[str, Any] = json.loads(line)
        return message

    def _wait(self, source: socket.socket) -> None:
        """Until there is something to read; the process is looked at too: what it forked may hold its socket open."""
        until = time.monotonic() + self._patience_seconds
        while not wait([source], timeout=0.2):
            if self._process.poll() is not None and not wait([source], timeout=0):
                raise self._error("ended too early")
            if time.monotonic() > until:
                raise self._error(f"said nothing for {self._patience_seconds:g} s and was stopped")

    def _error(self, what: str) -> ProcessError:
        self._failed = True
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(1)
        code = self._process.poll()
        self._log.seek(0)
        lines = self._log.read().decode(errors="replace").strip().splitlines()[-_LAST_LINES:]
        ended = "" if code is None else f" (exit code {code})"
        return ProcessError("\n".join([f"the {self.side.name}'s pytest {what}{ended}. Its last lines:", *lines]))
