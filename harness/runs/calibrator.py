"""Calibrate the kinds of run of a plan that have no record here: each in a process of its own, as a run has. No torch."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace

from harness.meters.environment import cpu_threads
from harness.plan import PlannedRun
from harness.runs.calibrations import Calibrations
from harness.runs.identity import kind_of as device_kind
from harness.runs.job import may_optimize
from harness.runs.known import observations
from harness.runs.observation import kind_of, this_machine
from harness.runs.store import Store
from harness.runs.suite_runner import RunOptions, check_data, job_of
from harness.runs.worker_process import Isolation


def kinds_without_record(runs: Sequence[PlannedRun], options: RunOptions) -> list[PlannedRun]:
    """Of each kind of run that no record tells of, the first."""
    known = observations(runs, Store(options.results), options.device, options.threads)
    recorded = {kind_of(each.key) for each in known if each.source == "record"}
    kinds = {kind_of(run.key): run for run in reversed(runs) if not run.key.simulated}
    return [run for kind, run in reversed(kinds.items()) if kind not in recorded]


def calibrate(
    runs: Sequence[PlannedRun], options: RunOptions, note: Callable[[str], object]
) -> Iterator[tuple[PlannedRun, str | None]]:
    """Calibrate each of these runs and keep what it told; gives each, once it is over, with the reason if it couldn't be."""
    store = Store(options.results)
    store.check_writable()
    prompts = check_data(runs, options.folders, note)
    calibrations = Calibrations(options.results, this_machine(device_kind(options.device), options.threads))
    with Isolation(compiler=any(map(may_optimize, runs))) as isolation:
        first = job_of(runs[0], store, options, threads=1, gpu=None)
        place = isolation.check(replace(first, prompts=prompts))
        threads = options.threads or min(place.threads, cpu_threads())
        for run in runs:
            found = isolation.calibrate(job_of(run, store, options, threads, gpu=None))
            if isinstance(found, str):
                yield run, found
            else:
                calibrations.keep(found)
                yield run, None
