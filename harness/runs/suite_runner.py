"""A suite from request to records: plan, skip what is done, do the rest, write each record the moment it exists."""

from __future__ import annotations

import os
import re
import tempfile
import time
import warnings
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path
from typing import Literal, NamedTuple, NoReturn, Protocol

from harness.data import checks
from harness.data.few_shot import classnames
from harness.data.sizes import Sizes
from harness.errors import AdaptBenchError, ConfigError, DataError
from harness.files import Version, cache_folder
from harness.meters.environment import cpu_threads
from harness.plan import PlannedRun, Request, default_group, doubts, plan
from harness.records import NewerRecordError, RunKey, RunRecord, key_json, to_json
from harness.runs.claims import LEASE_SECONDS, Claims, sweep
from harness.runs.devices import are_timed, devices_of, require_device_for, slots
from harness.runs.events import Event
from harness.runs.forecast import Forecasts
from harness.runs.identity import identified, meanings, require_meanings
from harness.runs.job import Job, KnownPeaks, Place, may_optimize, repeat_command
from harness.runs.known import observations
from harness.runs.predictions import require_parquet
from harness.runs.signals import signals_wait
from harness.runs.store import Store
from harness.runs.todo import Todo
from harness.runs.worker_process import Isolation, end_if_importing
from harness.suite import ClassSubset, Folders, Test, prompt
from harness.weights import KnownWeights

CACHE = cache_folder()
SHORT_BYTES = 75
"""A prompt of so many has 77 tokens at most, with start and end."""
_POLL_SECONDS = 1.0
"""How often a process with nothing to do looks whether others have left it a run."""
_LOOK_SECONDS = 10.0
"""How often a process looks who else is at work on its machine."""
NEIGHBOURS = ".running"
"""In the cache folder: where the processes of a machine hear of each other."""


def require_device(name: str) -> None:
    """Raises ConfigError for what names no device, here or elsewhere."""
    if not re.fullmatch(r"auto|cpu|cuda(:[0-9]+)?", name):
        raise ConfigError(f"--device {name} is not a device.", "Use auto, cpu, cuda or cuda:N.")


def require_temporary_folder() -> None:
    """Raises ConfigError where nothing temporary can be kept: runs are told by sockets there."""
    try:
        tempfile.gettempdir()
    except FileNotFoundError as error:
        raise ConfigError(
            "no folder takes temporary files: neither that of TMPDIR, nor /tmp, nor the current one.",
            "Free some space in one of them, or name another: TMPDIR=FOLDER.",
        ) from error


def require_threads(threads: int | None) -> None:
    """Raises ConfigError for more threads than this host has processors; the host that submits workers may have fewer."""
    processors = os.cpu_count() or 1
    if threads is not None and threads > processors:
        raise ConfigError(
            f"--threads {threads}: this machine has {processors} processors.", f"Use {processors} or fewer."
        )


@dataclass(frozen=True, kw_only=True)
class RunOptions:
    """Where and how a suite's runs are done; nothing of it is part of what a run is (`Request` is).

    `results` is the folder of the records, `cache` that of generated data, `data_root` that of downloaded datasets. `device` is
    auto, cpu, cuda or cuda:N. A run that takes longer than `time_limit_seconds` counts as hung. `predictions`, a `trace` and
    the trained model (`save`) are kept beside the record where asked for. `retry_failed` does failed runs again, `again` all; where
    `replacing` is given, these versions of records alone. `jobs` runs are under way at a time,
    with `threads` each, by default what serves the backbone best, and no more than an equal share of the cores; "auto" jobs are
    as many as then have a core, one on GPUs and of runs that are about time, which share a device only with `share_device`,
    also with other processes of the machine that have the same `cache`.
    No more runs than `run_limit` are begun, and none that would hardly end within `work_seconds`, if it took as long as the longest
    so far. Who else does runs of these results counts as dead after `lease_seconds` of silence. Of a worker, `ordered` is what the
    request's names stood for where it was ordered (`harness.runs.identity.meanings`), and `only` the one record that it leaves.
    Raises ConfigError for what is no device.
    """

    results: Path
    cache: Path = CACHE
    data_root: Path | None = None
    device: str = "auto"
    time_limit_seconds: float | None = None
    predictions: bool = False
    trace: bool = False
    save: bool = False
    retry_failed: bool = False
    again: bool = False
    replacing: Mapping[str, Version] | None = None
    jobs: int | Literal["auto"] = 1
    threads: int | None = None
    share_device: bool = False
    work_seconds: float | None = None
    run_limit: int | None = None
    lease_seconds: float = LEASE_SECONDS
    ordered: Mapping[str, str] | None = None
    only: str | None = None

    def __post_init__(self) -> None:
        require_device(self.device)

    @property
    def folders(self) -> Folders:
        """The folders of the data, absolute: a run's process may work elsewhere. ``$NAME`` is what this host's environment has."""
        return Folders(data_root=_here(self.data_root) if self.data_root else None, cache=_here(self.cache))


class Progress(Protocol):
    """What shows a suite's progress: `harness.cli.progress` has one for terminals and one for logs."""

    def planned(self, runs: Sequence[PlannedRun], todo: Sequence[PlannedRun], forecasts: Forecasts) -> None: ...
    def note(self, text: str) -> None: ...
    def started(self, number: int, run: PlannedRun) -> None: ...
    def event(self, number: int, event: Event) -> None: ...
    def ended(self, number: int, record: RunRecord) -> None: ...
    def dropped(self, number: int) -> None: ...
    def done_elsewhere(self, run: PlannedRun) -> None: ...


@dataclass
class Outcome:
    """What a suite came to, in runs: planned, done before or by others, done here. What they came to stands in their records."""

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


class Planned(NamedTuple):
    """The runs of a suite, those that are to do, the records of these that are to be written anew, and what it came to so far."""

    runs: list[PlannedRun]
    todo: list[PlannedRun]
    replaced: dict[str, Version]
    outcome: Outcome


def planned(request: Request, options: RunOptions, note: Callable[[str], object]) -> Planned:
    """Plan a suite beside the records there are. Raises ConfigError for what can't be planned; writes nothing."""
    runs = plan(request, default_group(options.data_root))
    if options.ordered is not None:
        require_meanings(options.ordered, meanings(request, runs))
    store = Store(options.results)
    runs = identified(runs, store, options.device, note)
    if options.only is not None:
        runs = [run for run in runs if store.name(run.key) == options.only]
        if not runs:
            raise DataError(
                f"no run of the order has the record {options.only} here.", "Have one version on all hosts."
            )
    return Planned(runs, *pending(runs, store, options, note))


def run_suite(request: Request, options: RunOptions, progress: Progress) -> Outcome:
    """Do the runs of a suite that have no record yet: what the command, a notebook and a cluster's worker call.

    Several processes may do so at once, on whatever machines share the results: each run is done by one of them.

    Raises ConfigError or DataError before the first run if none could start, and `Interrupted` on Ctrl-C between them.
    """
    end_if_importing()
    require_temporary_folder()
    require_threads(options.threads)
    if options.predictions:
        require_parquet()
    if options.save and request.simulated:
        raise ConfigError(
            "--save keeps what training changed, and --simulate trains nothing.", "Leave one of them out."
        )
    store = Store(options.results)
    store.check_writable()
    runs, todo, replaced, outcome = planned(request, options, progress.note)
    store.require_access((store.name(run.key) for run in todo), os.R_OK | os.W_OK)
    forecasts = Forecasts(sizes := Sizes())
    progress.planned(runs, todo, forecasts)
    note = cache(progress.note)  # each text once
    for text in (text for run in todo for text in doubts(run.key)):
        note(text)
    # Begun here, the process that runs are forked from imports torch while data are checked.
    isolation = Isolation(options.time_limit_seconds, compiler=any(map(may_optimize, todo))) if todo else None
    prompts = check_data(todo, options.folders, note, sizes)
    store.plan(store.name(run.key) for run in runs)
    neighbours = options.folders.cache / NEIGHBOURS
    try:
        with ExitStack() as at_the_end:
            at_the_end.callback(sweep, neighbours, store.folder)
            at_the_end.callback(store.sweep)
            if isolation is None:
                return outcome
            claims = at_the_end.enter_context(Claims(store.claims_folder, options.lease_seconds, neighbours))
            at_the_end.enter_context(isolation)
            forecasts.remember(observations(todo, store, options.device, options.threads))
            place = isolation.check(replace(job_of(todo[0], store, options, threads=1, gpu=None), prompts=prompts))
            jobs = _jobs_of(todo, place, options)
            threads = options.threads or max(1, min(place.threads, cpu_threads() // jobs))
            left = Todo(seed_by_seed(todo), replaced, store, claims)
            free = slots(todo, place.gpus, jobs, options.share_device)
            require_device_for(todo, devices_of(free, place.gpus), claims, options.share_device)
            session = _Session(
                left, free, threads, place.weights, isolation, options, progress, forecasts, note, outcome
            )
            session.run()
    except KeyboardInterrupt:
        raise Interrupted(outcome) from None
    return outcome


@dataclass
class _InHand:
    """A run under way: its number, the slot it took, and the most runs that were under way at once, itself included."""

    number: int
    slot: str | None
    concurrent: int = 1


@dataclass
class _Session:
    """The runs to do, as many at a time as there are slots, each of so many threads.

    A slot is the UUID of a GPU, or None for whatever device there is. `weights` are what the check before found them to be.
    """

    todo: Todo
    slots: list[str | None]
    threads: int
    weights: KnownWeights | None
    isolation: Isolation
    options: RunOptions
    progress: Progress
    forecasts: Forecasts
    note: Callable[[str], object]
    outcome: Outcome
    in_hand: dict[str, _InHand] = field(default_factory=dict)
    peaks: dict[str, KnownPeaks] = field(default_factory=dict)
    started: int = 0
    began: float = field(default_factory=time.monotonic)
    longest_seconds: float = 0.0
    look_again_at: float = 0.0
    looked_at: float = 0.0
    has_waited: bool = False

    def run(self) -> None:
        """Do runs until all have a record; for those that other processes have in hand it waits."""
        while True:
            self._start_runs()
            if not self.todo or not (self.in_hand or self._may_begin_another()):
                return
            idle_seconds = max(0.0, self.look_again_at - time.monotonic()) if self._is_idle() else _LOOK_SECONDS
            if not self.in_hand:
                self._say_that_it_waits()
                time.sleep(idle_seconds)
                continue
            if time.monotonic() - self.looked_at > _LOOK_SECONDS:
                self._look_around()
            for name, told in self.isolation.wait(idle_seconds):
                if isinstance(told, RunRecord):
                    self._end(name, told)
                else:
                    self.progress.event(self.in_hand[name].number, told)

    def _is_idle(self) -> bool:
        """Whether it could do a run more, if others left it one."""
        return bool(self.slots) and len(self.todo) > len(self.in_hand) and self._may_begin_another()

    def _may_begin_another(self) -> bool:
        run_limit = self.options.run_limit
        return self._has_time() and (run_limit is None or self.started < run_limit)

    def _has_time(self) -> bool:
        """Whether the next run would end in time: by what is expected of it, else as the longest so far."""
        work_seconds = self.options.work_seconds
        if work_seconds is None or (run := self.todo.next_but(self.in_hand)) is None:
            return True
        (expected,) = self.forecasts.of([run])
        seconds = self.longest_seconds if expected.seconds is None else expected.seconds
        return time.monotonic() - self.began + seconds < work_seconds

    def _start_runs(self) -> None:
        while self._is_idle() and time.monotonic() >= self.look_again_at:
            with signals_wait():
                taken, done = self.todo.take()
                self._note_done(done)
            if taken is None:
                self.look_again_at = time.monotonic() + _POLL_SECONDS
                return
            name, run = taken
            self.started += 1
            slot = self.slots.pop(0)
            self.in_hand[name] = _InHand(self.started, slot)
            self.progress.started(self.started, run)
            job = job_of(run, self.todo.store, self.options, self.threads, slot)
            peaks = self.peaks.get(_but_for_seed(run.key))
            self.isolation.start(name, replace(job, known_peaks=peaks, known_weights=self.weights))
            self._look_around()

    def _end(self, name: str, record: RunRecord) -> None:
        with signals_wait():
            self._look_around()
            run = self.in_hand.pop(name)
            self.slots.append(run.slot)
            self.look_again_at = 0.0
            self.longest_seconds = max(self.longest_seconds, record.total_seconds)
            if self.todo.claims.are_gone:
                _keep_elsewhere(record, self.todo.store, "the folder was removed while the suite ran")
            if is_ours := self.todo.is_ours(name):
                record = replace(record, environment=replace(record.environment, concurrent_runs=run.concurrent))
                _write(record, self.todo.store)
                self.todo.finish(name)
                self.outcome.ok += record.status == "ok"
                self.outcome.failed += record.status != "ok"
            else:
                self.todo.claims.give_back(name)
        if not is_ours:
            self.progress.note(
                f"{name} was taken over while this process was suspended: what it found here is dropped."
            )
            self.progress.dropped(run.number)
            return
        self._keep_peaks(record)
        self.forecasts.learn(record)
        self.progress.ended(run.number, record)
        for text in record.warnings:
            self.note(text)

    def _keep_peaks(self, record: RunRecord) -> None:
        """For runs that differ in their seed alone."""
        peaks = {phase: window.peak_tensor_bytes for phase, window in record.windows.items()}
        counted = {phase: peak for phase, peak in peaks.items() if peak is not None}
        if record.status == "ok" and record.peaks_of_seed is None and counted:
            self.peaks.setdefault(_but_for_seed(record.key), KnownPeaks(record.key.seed, counted))

    def _look_around(self) -> None:
        """Note for every run in hand how many are under way on this machine."""
        self.looked_at = time.monotonic()
        here = self.todo.claims.runs_here()
        for run in self.in_hand.values():
            run.concurrent = max(run.concurrent, here)

    def _say_that_it_waits(self) -> None:
        if not self.has_waited:
            self.has_waited = True
            self.progress.note(f"Waiting for {len(self.todo)} runs that other processes have in hand.")

    def _note_done(self, done: Mapping[str, PlannedRun]) -> None:
        for name, run in done.items():
            self.outcome.skipped += 1
            self.outcome.earlier_failures += self.todo.store.glance(name).status != "ok"
            self.progress.done_elsewhere(run)


def seed_by_seed(runs: Sequence[PlannedRun]) -> list[PlannedRun]:
    """All runs of one seed before those of the next: there is a whole table after the first, and what seeds share is known."""
    seeds = list(dict.fromkeys(run.key.seed for run in runs))
    return sorted(runs, key=lambda run: seeds.index(run.key.seed))


def _but_for_seed(key: RunKey) -> str:
    return key_json(replace(key, seed=1))


def _jobs_of(runs: Sequence[PlannedRun], place: Place, options: RunOptions) -> int:
    """Runs at a time. "auto" ones on a CPU are as many as have the threads that serve each best, unless they are about time."""
    if options.jobs != "auto":
        return options.jobs
    if place.gpus or are_timed(runs):
        return 1
    return max(1, cpu_threads() // (options.threads or place.threads))


def _write(record: RunRecord, store: Store) -> None:
    """Raises DataError where the results folder can't take the record; what the run found is kept elsewhere then."""
    try:
        store.write(record)
    except OSError as error:
        _keep_elsewhere(record, store, str(error.strerror))


def _keep_elsewhere(record: RunRecord, store: Store, why: str) -> NoReturn:
    """Keep the record of a finished run below the temporary folder, and raise DataError, which says where."""
    path = store.path(record.key)
    try:
        refuge = Store(Path(tempfile.gettempdir()) / "adaptbench-unsaved")
        kept = refuge.write(record)
    except OSError as error:
        raise DataError(
            f"the record of a finished run can't be written, neither to {path} ({why}) nor elsewhere ({error.strerror}).",
            f"Free some space, put it there yourself, and repeat the command. The record:\n{to_json(record).decode()}",
        ) from error
    raise DataError(
        f"the record of a finished run can't be written to {path}: {why}. It is kept in {kept}.",
        f"Have the folder there, with some space, move the record to {path}, and repeat the command: it goes on from there.",
    )


def pending(
    runs: Sequence[PlannedRun], store: Store, options: RunOptions, note: Callable[[str], object]
) -> tuple[list[PlannedRun], dict[str, Version], Outcome]:
    """The runs without a usable record, and the versions of the records among them that are to be written anew.

    Finished runs are done again if predictions, a trace, a profile or the model are wanted and missing; all, or failed ones,
    on request.
    Records are looked at, not read whole.
    """
    todo, outcome = [], Outcome(planned=len(runs))
    replaced: dict[str, Version] = {}
    store.require_access((store.name(run.key) for run in runs), os.R_OK)
    present = store.names()
    for run in runs:
        name, status = store.name(run.key), None
        version = store.version(name) if name in present else None
        if version is not None:
            try:
                status = store.glance(name).status
            except NewerRecordError:
                raise
            except AdaptBenchError as error:
                note(f"{error.what} It will be run again.")
        lacking = status == "ok" and not _has_all(run, store, options)
        asked = options.again or (options.retry_failed and status != "ok")
        if options.replacing is not None:
            asked = asked and options.replacing.get(name) == version
        if status is None or lacking or asked:
            todo.append(run)
            replaced |= {name: version} if version is not None else {}
        else:
            outcome.skipped += 1
            outcome.earlier_failures += status != "ok"
    return todo, replaced, outcome


def _has_all(run: PlannedRun, store: Store, options: RunOptions) -> bool:
    """Whether a finished run has the predictions, the trace, the profile and the model it should have, or the reason why not."""
    if options.predictions and not store.predictions_path(run.key).exists():
        return False
    if options.trace and not store.trace_path(run.key).exists():
        return False
    lacks_model = options.save and not store.saved_path(run.key).exists()
    record = store.find(run.key) if run.profile or lacks_model else None
    if record is None:
        return True
    if lacks_model and "saved_bytes" not in record.missing:
        return False
    return not run.profile or bool(record.profile or "profile" in record.missing)


def check_data(
    runs: Sequence[PlannedRun], folders: Folders, note: Callable[[str], object], sizes: Sizes | None = None
) -> tuple[str, ...]:
    """Read every dataset the runs name, before the first one starts, and note their `sizes`.

    Raises DataError; generates what can be generated.

    What is doubtful of one is noted, once; the records of its runs say it too. Returns the prompts that may have more tokens than a
    text tower reads.
    """
    long: list[str] = []
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
        if sizes is not None:
            sizes.count(name, splits, parts[name], shots[name])
        said = [str(warning.message) for warning in caught if issubclass(warning.category, UserWarning)]
        said += checks.leaks(dataset, splits)
        said += [text for count in sorted(shots[name]) for text in checks.doubts(dataset, splits, count)]
        for text in dict.fromkeys(said):
            note(text)
        prompts = [prompt(dataset.template("clip"), each) for each in classnames(splits)]
        long += [text for text in prompts if len(text.encode()) > SHORT_BYTES]
    return tuple(dict.fromkeys(long))


def job_of(run: PlannedRun, store: Store, options: RunOptions, threads: int, gpu: str | None) -> Job:
    """What a run's process is given."""
    return Job(
        run=run,
        pretrained=absolute(run.pretrained),
        folders=options.folders,
        device=run.key.device if options.device == "auto" and run.key.device else options.device,
        threads=threads,
        command=repeat_command(run, run.pretrained, options.device, options.threads),
        predictions=store.predictions_path(run.key).absolute() if options.predictions else None,
        trace=store.trace_path(run.key).absolute() if options.trace else None,
        saved=store.saved_path(run.key).absolute() if options.save else None,
        features=store.features_folder.absolute(),
        gpu=gpu,
    )


def _here(folder: Path) -> Path:
    return Path(os.path.expandvars(folder)).resolve()


def absolute(pretrained: str | None) -> str | None:
    """A checkpoint file by its whole path, a tag as it is."""
    return str(Path(pretrained).absolute()) if pretrained and Path(pretrained).is_file() else pretrained
