"""Serves benchmarks in turns: a pytest plugin of the timed processes, loaded by name (-p) and never by itself.

Where pytest-benchmark would calibrate and time, the fixture says how long a call takes and then does as many as the gate asks
for, turn by turn. `harness.gate.worker_client` lends this one file to base and head alike: both are measured by the same code,
and a base needs no gate of its own, only pytest-benchmark. So nothing of AdaptBench is imported here. PYTEST_DONT_REWRITE
"""

from __future__ import annotations

import functools
import json
import os
import socket
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from pytest_benchmark.fixture import BenchmarkFixture, PauseInstrumentation
from pytest_benchmark.stats import Metadata

PORT, TOKEN = "ADAPTBENCH_GATE_PORT", "ADAPTBENCH_GATE_TOKEN"

WARM_UP_SECONDS = 2.0
SHORTEST_ROUND_SECONDS = 0.001
LINES_OF_A_FAILURE = 12

Seconds = tuple[float, float]
"""Wall time, and how much of it this thread waited for a core that others had."""


def pytest_configure(config: pytest.Config) -> None:
    """Connect to the gate, and make pytest-benchmark's fixture answer it."""
    if config.getoption("dist", "no") != "no":
        raise pytest.UsageError("the timed gate runs one test at a time: take pytest-xdist's -n out of addopts.")
    turns = Turns()
    config.pluginmanager.register(turns)

    def raw(fixture: BenchmarkFixture, function: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        runner = fixture._make_runner(function, args, kwargs)
        turns.serve(fixture, lambda calls: clocked(lambda: runner(range(calls))))
        return function(*args, **kwargs)

    def raw_pedantic(
        fixture: BenchmarkFixture,
        target: Callable[..., Any],
        args: Any = (),
        kwargs: Any = None,
        setup: Callable[[], Any] | None = None,
        teardown: Callable[..., Any] | None = None,
        **counts: int,  # of rounds and iterations: the gate's to choose
    ) -> Any:
        def once(work: Callable[[Any, Any], Any]) -> Any:
            given, named = (setup and setup()) or (args, kwargs or {})
            result = work(given, named)
            if teardown:
                teardown(*given, **named)
            return result

        def timed(calls: int) -> Seconds:
            if not (setup or teardown):
                runner = fixture._make_runner(target, args, kwargs or {})
                return clocked(lambda: runner(range(calls)))
            each = [
                once(lambda *given: clocked(lambda: fixture._make_runner(target, *given)(range(1))))
                for _ in range(calls)
            ]
            return sum(wall for wall, _ in each), sum(waited for _, waited in each)

        turns.serve(fixture, timed)
        return once(lambda given, named: target(*given, **named))

    BenchmarkFixture._raw = raw  # type: ignore[assignment, method-assign]
    BenchmarkFixture._raw_pedantic = raw_pedantic  # type: ignore[assignment, method-assign]


class Turns:
    """This process's end of the connection, one JSON object a line."""

    def __init__(self) -> None:
        self._stream = socket.create_connection(("127.0.0.1", int(os.environ[PORT]))).makefile("rw", encoding="utf-8")
        self._tell(token=os.environ[TOKEN])
        self._broken: dict[str, str] = {}
        self._outcome, self._why = "passed", ""
        self._stats: Metadata | None = None

    def pytest_collectreport(self, report: pytest.CollectReport) -> None:
        if report.failed:
            self._broken[report.nodeid] = _last_lines(report.longreprtext)

    @pytest.hookimpl(trylast=True)
    def pytest_collection_modifyitems(self, config: pytest.Config, items: list[pytest.Item]) -> None:
        """Run what the gate picks, in its order, of all that other plugins have left."""
        collected = {item.nodeid: item for item in items}
        self._tell(collected=list(collected), broken=self._broken)
        items[:] = [collected.pop(name) for name in self._hear()["run"]]
        config.hook.pytest_deselected(items=list(collected.values()))

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_protocol(self, item: pytest.Item) -> Iterator[None]:
        self._outcome, self._why, self._stats = "passed", "", None
        result = yield
        entry = self._stats.as_dict(stats=False) if self._stats else None
        self._tell(test=item.nodeid, outcome=self._outcome, why=self._why, entry=entry)
        return result

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.outcome != "passed" and self._outcome == "passed":  # what fails later follows from it
            reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else report.longreprtext
            self._outcome, self._why = report.outcome, _last_lines(reason.removeprefix("Skipped: "))

    def serve(self, fixture: BenchmarkFixture, timed: Callable[[int], Seconds]) -> None:
        """Take turns until the gate has seen enough. `timed(calls)` does so many calls and returns their seconds in sum."""
        with PauseInstrumentation():
            call_seconds = warmed_up(timed)
            self._stats = fixture.stats = Metadata(fixture, iterations=1, options={})
            self._tell(test=fixture.fullname, call_seconds=call_seconds)
            while ask := self._hear():
                others = _other_threads_seconds()
                rounds = [[seconds / ask["calls"] for seconds in timed(ask["calls"])] for _ in range(ask["rounds"])]
                others = _other_threads_seconds() - others
                alone = others < 0.02 * sum(wall for wall, _ in rounds) and not _has_children()
                self._tell(rounds=rounds, alone=alone)
                for wall, _ in rounds:
                    fixture.stats.update(wall)

    def _tell(self, **message: Any) -> None:
        self._stream.write(json.dumps(message, default=repr) + "\n")
        self._stream.flush()

    def _hear(self) -> Any:
        line = self._stream.readline()
        if not line:
            os._exit(1)  # the gate is gone, and nobody would read what pytest has to say
        return json.loads(line)


def clocked(work: Callable[[], object]) -> Seconds:
    """The wait is read within the wall time, so that what is left without it is never too little."""
    started, before = time.perf_counter(), _waited_seconds()
    work()
    waited = _waited_seconds() - before
    return time.perf_counter() - started, waited


def _waited_seconds() -> float:
    """How long this thread was ready to run while others had the cores, by Linux; 0 where the kernel doesn't say."""
    file = _schedstat()
    return 0.0 if file is None else int(os.pread(file, 64, 0).split()[1]) / 1e9


@functools.cache
def _schedstat() -> int | None:
    """Of the thread that asks first, pytest's: reading it takes 3 us."""
    try:
        return os.open("/proc/thread-self/schedstat", os.O_RDONLY)
    except OSError:
        return None


def _other_threads_seconds() -> float:
    return time.process_time() - time.thread_time()


def _has_children() -> bool:
    return any(path.read_bytes() for path in Path("/proc/self/task").glob("*/children"))


def warmed_up(timed: Callable[[int], object]) -> float:
    """Seconds of a call, its set-up included, once two rounds in a row differ by less than 5 % or the time for it is over."""
    calls, before, over = 1, float("inf"), time.perf_counter() + WARM_UP_SECONDS
    while True:
        started = time.perf_counter()
        timed(calls)
        ended = time.perf_counter()
        seconds = (ended - started) / calls
        late = ended > over and before < float("inf")
        if late or abs(seconds - before) < 0.05 * before:
            return min(seconds, before)
        if seconds * calls < SHORTEST_ROUND_SECONDS:
            calls *= 2
        else:
            before = seconds


def _last_lines(text: str) -> str:
    return "\n".join(text.strip().splitlines()[-LINES_OF_A_FAILURE:])
