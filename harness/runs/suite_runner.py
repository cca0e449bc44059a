"""A suite from request to records: plan, skip what is done, do the rest one by one, write each record the moment it exists."""

from __future__ import annotations

import re
import tempfile
import warnings
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import platformdirs

from harness.data import checks
from harness.errors import AdaptBenchError, ConfigError, DataError
from harness.meters.environment import cpu_threads
from harness.plan import PlannedRun, Request, default_group, doubts, plan
from harness.records import RunRecord, to_json
from harness.runs.events import Event
from harness.runs.job import Job, repeat_command
from harness.runs.predictions import require_parquet
from harness.runs.store import Store
from harness.runs.worker_process import Isolation
from harness.suite import ClassSubset, Folders, Test

CACHE = platformdirs.user_cache_path("adaptbench")


@dataclass(frozen=True, kw_only=True)
class RunOptions:
    """Where and how a suite's runs are done; nothing of it is part of what a run is (`Request` is).

    `results` is the folder of the records, `cache` that of generated data, `data_root` that of downloaded datasets. `device` is
    auto, cpu, cuda or cuda:N. A run that takes longer than `time_limit_seconds` counts as hung. `predictions` and a `trace` are
    kept beside the record where asked for. `retry_failed` does failed runs again. Raises ConfigError for what is no device.
    """

    results: Path
    cache: Path = CACHE
    data_root: Path | None = None
    device: str = "auto"
    time_limit_seconds: float | None = None
    predictions: bool = False
    trace: bool = False
    retry_failed: bool = False

    def __post_init__(self) -> None:
        if not re.fullmatch(r"auto|cpu|cuda(:[0-9]+)?", self.device):
            raise ConfigError(f"--device {self.device} is not a device.", "Use auto, cpu, cuda or cuda:N.")

    @property
    def folders(self) -> Folders:
        """The folders of the data, absolute: a run's process may work elsewhere."""
        return Folders(data_root=self.data_root.resolve() if self.data_root else None, cache=self.cache.resolve())


class Progress(Protocol):
    """What shows a suite's progress: `harness.cli.progress` has one for terminals and one for logs."""

    def planned(self, runs: Sequence[PlannedRun], todo: Sequence[PlannedRun]) -> None: ...
    def note(self, text: str) -> None: ...
    def started(self, number: int, run: PlannedRun) -> None: ...
    def event(self, event: Event) -> None: ...
    def ended(self, record: RunRecord) -> None: ...


@dataclass
class Outcome:
    """What a suite came to, in runs: planned, done before, and done now. What they came to stands in their records."""

    planned: int
    skipped: int = 0
    earlier_failures: int = 0
    ok: int = 0
    failed: int = 0

    @property
    def recorded(self) -> int:
        """Runs that have a record, whatever it says."""
        return self.skipped + self.ok + self.failed

    @property
    def not_ok(self) -> int:
        """Runs whose record says that they failed, now or before."""
        return self.earlier_failures + self.failed


class Interrupted(KeyboardInterrupt):
    """Ctrl-C during a suite: what it came to so far. Finished records are in place; the same call goes on from there."""

    def __init__(self, outcome: Outcome) -> None:
        super().__init__()
        self.outcome = outcome


def run_suite(request: Request, options: RunOptions, progress: Progress) -> Outcome:
    """Do the runs of a suite that have no record yet, in order: what the command, a notebook and a cluster's worker call.

    Raises ConfigError or DataError before the first run if none could start, and `Interrupted` on Ctrl-C between them.
    """
    if options.predictions:
        require_parquet()
    runs = plan(request, default_group(options.data_root))
    store = Store(options.results)
    store.check_writable()
    todo, outcome = pending(runs, store, options, progress.note)
    progress.planned(runs, todo)
    for text in dict.fromkeys(text for run in todo for text in doubts(run.key)):
        progress.note(text)
    check_data(todo, options.folders, progress.note)
    try:
        with Isolation(options.time_limit_seconds) as isolation:
            for number, job in enumerate(_jobs(todo, store, options), start=1):
                progress.started(number, job.run)
                if number == 1:
                    isolation.check(job)
                record = isolation.run(job, progress.event)
                _write(record, store)
                outcome.ok += record.status == "ok"
                outcome.failed += record.status != "ok"
                progress.ended(record)
    except KeyboardInterrupt:
        raise Interrupted(outcome) from None
    return outcome


def _write(record: RunRecord, store: Store) -> None:
    """Raises DataError where the results folder can't take the record; what the run found is kept elsewhere then."""
    try:
        store.write(record)
    except OSError as error:
        refuge = Store(Path(tempfile.gettempdir()) / "adaptbench-unsaved")
        path = store.path(record.key)
        try:
            kept = refuge.write(record)
        except OSError:
            raise DataError(
                f"the record of a finished run can't be written, neither to {path} ({error.strerror}) nor below {refuge.folder}.",
                f"Free some space, put it there yourself, and repeat the command. The record:\n{to_json(record).decode()}",
            ) from error
        raise DataError(
            f"the record of a finished run can't be written to {path}: {error.strerror}. It is kept in {kept}.",
            f"Free some space, move it to {path}, and repeat the command: it goes on from there.",
        ) from error


def pending(
    runs: Sequence[PlannedRun], store: Store, options: RunOptions, note: Callable[[str], object]
) -> tuple[list[PlannedRun], Outcome]:
    """The runs without a usable record. Finished runs are done again only if predictions, a trace or a profile are wanted and
    missing, failed ones only on request.
    """
    todo, outcome = [], Outcome(planned=len(runs))
    for run in runs:
        try:
            record = store.find(run.key)
        except AdaptBenchError as error:
            note(f"{error.what} It will be run again.")
            record = None
        ok = record is not None and record.status == "ok"
        wanted = [store.predictions_path(run.key)] * options.predictions + [store.trace_path(run.key)] * options.trace
        lacking = ok and not (all(path.exists() for path in wanted) and _is_profiled(run, record))
        if record is None or lacking or (options.retry_failed and not ok):
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
    parts: defaultdict[str, set[ClassSubset]] = defaultdict(set)
    shots: defaultdict[str, set[int]] = defaultdict(set)
    source = {}
    for run in runs:
        for part in (Test(run.key.dataset, run.key.classes), *map(Test.from_key, run.key.tests)):
            parts[part.dataset].add(part.classes)
            source[part.dataset] = run
        shots[run.key.dataset].add(run.key.shots)
    for name in sorted(parts):
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always", UserWarning)
            dataset = source[name].dataset(name)
            splits = dataset.read(folders)
        checks.require_classes(dataset, splits, parts[name])
        said = [str(warning.message) for warning in caught if issubclass(warning.category, UserWarning)]
        said += [text for count in sorted(shots[name]) for text in checks.doubts(dataset, splits, count)]
        for text in dict.fromkeys(said):
            note(text)


def _jobs(runs: Sequence[PlannedRun], store: Store, options: RunOptions) -> Iterator[Job]:
    threads = cpu_threads()
    for run in runs:
        yield Job(
            run=run,
            pretrained=_absolute(run.pretrained),
            folders=options.folders,
            device=options.device,
            threads=threads,
            command=repeat_command(run, run.pretrained, options.device),
            predictions=store.predictions_path(run.key).absolute() if options.predictions else None,
            trace=store.trace_path(run.key).absolute() if options.trace else None,
            features=store.features_folder.absolute(),
        )


def _absolute(pretrained: str | None) -> str | None:
    return str(Path(pretrained).resolve()) if pretrained and Path(pretrained).is_file() else pretrained
