"""What runs are expected to take on this machine, as `adaptbench plan` and ``run --dry-run`` show it. No torch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from functools import partial
from typing import Any

from harness.cli import tables
from harness.cli.plan import calibrating_command
from harness.cli.progress import duration
from harness.cli.terminal import console, errors, say, working
from harness.plan import PlannedRun
from harness.runs.calibrator import calibrate, kinds_without_record
from harness.runs.forecast import Forecast, Forecasts
from harness.runs.identity import identified
from harness.runs.known import observations
from harness.runs.store import Store
from harness.runs.suite_runner import RunOptions, require_threads


def expected(runs: Sequence[PlannedRun], options: RunOptions, *, calibrated: bool) -> list[Forecast]:
    """What is expected of each run; `calibrated`: once a few steps of each kind of which there is no record have been done."""
    require_threads(options.threads)
    store = Store(options.results)
    runs = identified(runs, store, options.device, lambda text: None)
    if calibrated:
        _calibrate(runs, options)
    return Forecasts().remember(observations(runs, store, options.device, options.threads)).of(runs)


def _calibrate(runs: Sequence[PlannedRun], options: RunOptions) -> None:
    kinds = kinds_without_record(runs, options)
    if not kinds:
        say(errors, "Nothing is to be calibrated: there are records of each kind of run.")
        return
    failed = 0
    with working() as say_that:
        done = calibrate(kinds, options, partial(say, errors))
        for number, run in enumerate(kinds, start=1):
            say_that(f"a few steps of {run.key.method} on {run.key.dataset}, {number} of {len(kinds)}")
            _, why = next(done)
            if why is not None:
                failed += 1
                say(errors, f"{run.key.method} on {run.key.dataset} can't be calibrated: {why}")
    of_each = "a kind" if len(kinds) == 1 else f"each of {len(kinds)} kinds"
    but = f", but for {failed} that failed" if failed else ""
    say(errors, f"Calibrated: a few steps, at least two, of {of_each} of run without a record{but}.")


def as_json(forecast: Forecast) -> dict[str, Any]:
    """A forecast for other programs; where something is null, `why`, and the command that finds it out."""
    command = calibrating_command() if forecast.why else None
    return {**asdict(forecast), "command": command}


def show(runs: Sequence[PlannedRun], forecasts: Sequence[Forecast]) -> None:
    """Print what is expected of runs: a row a run in a log; in a terminal, those alike but for the seed in one."""
    keys = [run.key for run in runs]
    varied = {name for name in ("shots", "execution") if len({getattr(key, name) for key in keys}) > 1}
    columns = ["method", "dataset", *sorted(varied, reverse=True), "seeds" if console.is_terminal else "seed"]
    grouped: dict[tuple[str, ...], list[str]] = {}
    for key, forecast in zip(keys, forecasts, strict=True):
        names = [key.method, key.dataset, *(str(getattr(key, name)) for name in sorted(varied, reverse=True))]
        row = (*names, *_cells(forecast), "" if console.is_terminal else str(key.seed))
        grouped.setdefault(row, []).append(str(key.seed))
    rows = [(*row[: len(columns) - 1], ",".join(seeds), *row[len(columns) - 1 : -1]) for row, seeds in grouped.items()]
    figures = ("time", "tensors", "resident")
    title = "Expected of each run on this machine"
    tables.show(console, (*columns, *figures, "from"), rows, title, right=figures)
    _explain(runs, forecasts)


def _cells(forecast: Forecast) -> tuple[str, ...]:
    bytes_ = (forecast.peak_tensor_bytes, forecast.peak_rss_bytes)
    source = forecast.source or "-"
    return _time(forecast.seconds), *map(_size, bytes_), source


def _time(seconds: float | None) -> str:
    return "-" if seconds is None else f"{seconds:.1f} s" if seconds < 60 else duration(seconds)


def _size(size_bytes: int | None) -> str:
    return "-" if size_bytes is None else f"{size_bytes / (1 << 20):,.0f} MiB"


def _explain(runs: Sequence[PlannedRun], forecasts: Sequence[Forecast]) -> None:
    sources = {forecast.source for forecast in forecasts}
    words = {
        "records": "records: by runs of the same kind (all but suite and seed alike), recorded here on this machine.",
        "steps": "steps: by a few steps of that kind (--calibrate).",
        "similar": "similar: by runs of the method with other data, scaled; of memory they tell nothing.",
    }
    say(
        console,
        "time: of one run. tensors: the most bytes in live tensors, counted on a CPU, the allocator's on a GPU. resident: the "
        "most that the process holds in memory. -: not known. "
        + " ".join(words[each] for each in words if each in sources),
    )
    whys: dict[str, int] = {}
    for forecast in forecasts:
        if forecast.seconds is None and forecast.why:
            whys[forecast.why] = whys.get(forecast.why, 0) + 1
    for why, count in whys.items():
        say(console, f"Not known, {count} run{'s' * (count != 1)}: {why}.")
    if any(forecast.why for forecast in forecasts):
        say(console, f"To know by a few steps of each kind: {calibrating_command()}")


def in_sum(forecasts: Sequence[Forecast]) -> str:
    """``: about 3 min 2 s one after another; at most 118 MiB of tensors`` of what is known; empty where nothing is."""
    known = [forecast.seconds for forecast in forecasts if forecast.seconds is not None]
    if not known:
        return ""
    unknown = len(forecasts) - len(known)
    text = f": {f'{unknown} not known, the others ' if unknown else ''}about {duration(sum(known))} one after another"
    tensors = [each.peak_tensor_bytes for each in forecasts if each.peak_tensor_bytes is not None]
    resident = [each.peak_rss_bytes for each in forecasts if each.peak_rss_bytes is not None]
    text += f"; at most {_size(max(tensors))} of tensors" if tensors else ""
    return text + (f", {_size(max(resident))} resident" if resident else "")


def within(forecasts: Sequence[Forecast], limit: int | None, work_seconds: float | None) -> list[Forecast]:
    """Of runs in order, those that would be begun: so many at most, and none that would end later than that."""
    now, so_far = list(forecasts[:limit]), 0.0
    for place, forecast in enumerate(now):
        so_far += forecast.seconds or 0.0
        if work_seconds is not None and so_far > work_seconds:
            return now[:place]
    return now
