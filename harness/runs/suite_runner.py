"""A suite from plan to records: skip what is done, do the rest one by one, write each record the moment it exists."""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from harness.errors import AdaptBenchError
from harness.meters.environment import cpu_threads
from harness.plan import PlannedRun
from harness.records import RunRecord
from harness.runs.events import Event
from harness.runs.job import Job, repeat_command
from harness.runs.store import Store
from harness.runs.worker_process import Isolation
from harness.suite import Folders, Test


class Progress(Protocol):
    """What shows a suite's progress: `harness.cli.progress` has one for terminals and one for logs."""

    def started(self, number: int, run: PlannedRun) -> None: ...
    def event(self, event: Event) -> None: ...
    def ended(self, record: RunRecord) -> None: ...
    def note(self, text: str) -> None: ...


@dataclass
class Outcome:
    """What a suite came to: records by status, and how many runs were there before."""

    skipped: int = 0
    records: list[RunRecord] = field(default_factory=list)
    earlier_failures: int = 0
    seconds: float = 0.0

    @property
    def failed(self) -> list[RunRecord]:
        return [record for record in self.records if record.status != "ok"]


def pending(
    runs: Sequence[PlannedRun],
    store: Store,
    retry_failed: bool,
    note: Any,
    predictions: bool = False,
    trace: bool = False,
) -> tuple[list[PlannedRun], Outcome]:
    """The runs without a usable record. Finished runs are done again only if `predictions`, a `trace` or a profile are wanted and
    missing, failed ones only on request.
    """
    todo, outcome = [], Outcome()
    for run in runs:
        try:
            record = store.find(run.key)
        except AdaptBenchError as error:
            note(f"{error.what} It will be run again.")
            record = None
        ok = record is not None and record.status == "ok"
        wanted = [store.predictions_path(run.key)] * predictions + [store.trace_path(run.key)] * trace
        lacking = ok and not (all(path.exists() for path in wanted) and _is_profiled(run, record))
        if record is None or lacking or (retry_failed and not ok):
            todo.append(run)
        else:
            outcome.skipped += 1
            outcome.earlier_failures += not ok
    return todo, outcome


def _is_profiled(run: PlannedRun, record: RunRecord | None) -> bool:
    """Whether a finished run has the profile it should have, or the reason why not."""
    return not run.profile or (record is not None and bool(record.profile or "profile" in record.missing))


def check_data(runs: Sequence[PlannedRun], folders: Folders, note: Callable[[str], object]) -> None:
    """Read every dataset the runs name, before the first one starts. Raises DataError; generates what can be generated.

    What is doubtful of one is noted, once; the records of its runs say it too.
    """
    named = {
        name: run for run in runs for name in (run.key.dataset, *(Test.from_key(t).dataset for t in run.key.tests))
    }
    for name in sorted(named):
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always", UserWarning)
            named[name].dataset(name).read(folders)
        for warning in caught:
            if issubclass(warning.category, UserWarning):
                note(str(warning.message))


def run_all(
    runs: Sequence[PlannedRun],
    store: Store,
    folders: Folders,
    progress: Progress,
    outcome: Outcome,
    *,
    device: str,
    time_limit_seconds: float | None,
    predictions: bool = False,
    trace: bool = False,
) -> Outcome:
    """Do the runs in order. Raises ConfigError if none could start; KeyboardInterrupt leaves finished records in place."""
    start = time.monotonic()
    threads = cpu_threads()
    jobs = [
        Job(
            run=run,
            pretrained=_absolute(run.pretrained),
            folders=folders,
            device=device,
            threads=threads,
            command=repeat_command(run, run.pretrained, device),
            predictions=store.predictions_path(run.key).absolute() if predictions else None,
            trace=store.trace_path(run.key).absolute() if trace else None,
            features=store.features_folder.absolute(),
        )
        for run in runs
    ]
    with Isolation(time_limit_seconds) as isolation:
        for number, job in enumerate(jobs, start=1):
            progress.started(number, job.run)
            if number == 1:
                isolation.check(job)
            record = isolation.run(job, progress.event)
            store.write(record)
            outcome.records.append(record)
            progress.ended(record)
    outcome.seconds = time.monotonic() - start
    return outcome


def _absolute(pretrained: str | None) -> str | None:
    return str(Path(pretrained).resolve()) if pretrained and Path(pretrained).is_file() else pretrained
