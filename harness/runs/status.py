"""Where the suites of a results folder stand, read from its plans, records and heartbeats alone: at any time, on any host."""

from __future__ import annotations

import os
import statistics
from collections import defaultdict
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from harness.errors import ConfigError, DataError
from harness.processes import has_ended
from harness.runs.claims import Worker, workers
from harness.runs.store import Glance, Store


@dataclass(frozen=True)
class Running:
    """A run in hand: the name of its record, the host, the number that a scheduler gave the job, and its seconds so far.

    `silent_seconds` are those since its process was last heard of, by the clock of whoever reads this.
    """

    run: str
    host: str
    job: str | None
    seconds: float
    silent_seconds: float


@dataclass(frozen=True)
class SuiteStatus:
    """A suite's runs by what became of them. `left` runs are in nobody's hands. `seconds_left` is None while nothing tells."""

    suite: str
    planned: int
    ok: int
    failed: int
    running: tuple[Running, ...]
    left: int
    seconds_left: float | None


def status(folder: Path) -> list[SuiteStatus]:
    """Of every suite that was ever planned there; what several plans have in common counts once.

    Raises ConfigError where nothing was planned, and where records can't be read.
    """
    store = Store(folder)
    planned: defaultdict[str, list[str]] = defaultdict(list)
    for name in store.planned():
        planned[name.partition("/")[0]].append(name)
    if not planned:
        raise ConfigError(
            f"no suite was run with --results {folder}.", "Name the folder that 'adaptbench run' was given."
        )
    store.require_access((name for names in planned.values() for name in names), os.R_OK)
    running = {each.run: each for each in _running(store)}
    present = store.names()
    return [_of_suite(suite, names, store, present, running) for suite, names in sorted(planned.items())]


def _running(store: Store) -> Iterable[Running]:
    for owner, (worker, silent_seconds) in workers(store.claims_folder).items():
        if not has_ended(owner):
            yield from _runs_of(worker, silent_seconds)


def _runs_of(worker: Worker, silent_seconds: float) -> Iterable[Running]:
    for run, seconds in worker.runs.items():
        yield Running(run, worker.host, worker.job, seconds, silent_seconds)


def _of_suite(
    suite: str, names: list[str], store: Store, present: set[str], running: Mapping[str, Running]
) -> SuiteStatus:
    in_hand = {name: running[name] for name in names if name in running}
    done: dict[str, Glance] = {}
    for name in names:
        if name in present and name not in in_hand:
            with suppress(DataError, FileNotFoundError):  # such a run is left to do
                done[name] = store.glance(name)
    ok = sum(each.status == "ok" for each in done.values())
    return SuiteStatus(
        suite=suite,
        planned=len(names),
        ok=ok,
        failed=len(done) - ok,
        running=tuple(in_hand.values()),
        left=len(names) - len(done) - len(in_hand),
        seconds_left=_seconds_left(names, done, in_hand),
    )


def _seconds_left(names: list[str], done: Mapping[str, Glance], in_hand: Mapping[str, Running]) -> float | None:
    """By how long finished runs of the same method took, else of any; None where nobody is at work, or none has finished."""
    if not in_hand or not done:
        return None
    seconds: defaultdict[str, list[float]] = defaultdict(list)
    for name, each in done.items():
        seconds[_method(name)].append(each.total_seconds)
    means = {method: statistics.fmean(values) for method, values in seconds.items()}
    mean = statistics.fmean(each.total_seconds for each in done.values())
    work = 0.0
    for name in names:
        if name not in done:
            so_far = in_hand[name].seconds if name in in_hand else 0.0
            work += max(0.0, means.get(_method(name), mean) - so_far)
    return work / len(in_hand)


def _method(name: str) -> str:
    return name.split("/")[1]
