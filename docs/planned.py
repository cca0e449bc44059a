"""Planned against measured, for docs/planning.md: `python docs/planned.py FOLDER` runs what FOLDER lacks, and writes the tables.

Demo suites, two seeds, a command for each: each kind of run is calibrated in a folder of its own, then all runs are done in
others. What the calibration planned of the first seed, and its records of the second, stands beside what the runs took.
On a machine that others use,
``--processor-time`` has all of it in seconds of processor time, which say the same of runs of one thread.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from harness import plugins
from harness.data.sizes import Sizes
from harness.meters.environment import cpu_model
from harness.plan import PlannedRun, Request
from harness.records import RunRecord
from harness.runs.forecast import Forecast, Forecasts
from harness.runs.known import observations
from harness.runs.observation import Observation, observed
from harness.runs.store import Store
from harness.runs.suite_runner import RunOptions, check_data, planned
from harness.runs.time_left import TimeLeft

PAGE = Path(__file__).with_name("planning.md")
BEGIN = "## Planned against measured\n"
SUITES = {"base2new": (), "cross-dataset": (), "domain-generalization": (), "few-shot": (1, 8)}
"""And the shots of each, where they are not the suite's own. Domain generalization has the runs of cross-dataset."""
SEEDS = (1, 2)
NEAR = 0.25
MOMENTS = (0.25, 0.5, 0.75)
_WALL = "Seconds are those of a clock on the wall, on a machine that did nothing else"
_PROCESSOR = "Seconds are of processor time, as others used the machine"
_HEAD = """
Written by `python docs/planned.py FOLDER`, on {cpu}, a thread a run. {seconds}. A figure is near where it lies within {near} of
what the run took or held: planned by a calibration in a fresh folder (steps) for seed 1, and by records of seed 1 for seed 2.

| suite | by | runs | time near | in sum: planned | took | tensors near | resident near |
|---|---|---|---|---|---|---|---|"""
_TIME_LEFT = """
### The time left, said and true

By the same `python docs/planned.py FOLDER`: what a suite says is left, once a quarter, half and three quarters of its time are
over, and what then was left, by the same arithmetic as in the display, told of each record when its run ends. *Alone*: with nothing
known before, both seeds; *steps*: the first seed, after a calibration; *records*: the second, after the first. The last column
counts the moments that were looked at from the middle on, four in each run. Alone, a suite that does one kind of run after another
doesn't know how long it takes before it has done a run of each, and says so.

| suite | knew before | at 25 %: said, true | at 50 % | at 75 % | near from the middle on |
|---|---|---|---|---|---|"""
_EACH = """
### Each run

By the same `python docs/planned.py FOLDER`: time in seconds; memory in MiB, of tensors, and resident (all). Planned by steps (for
seed 1), by records (of seed 1, for seed 2), and measured; what is not near is bold."""
_COLUMNS = """\
| method | dataset | shots | seed | time: steps | records | took | tensors: steps | records | held | all: steps | records | held |
|---|---|---|---|---|---|---|---|---|---|---|---|---|"""
SHIM = "import time\ntime.perf_counter = time.process_time\n"


@dataclass(frozen=True)
class Measured:
    """A suite's runs with their records, and what a fresh folder planned of each after calibration."""

    suite: str
    runs: list[PlannedRun]
    records: list[RunRecord]
    calibrated: list[dict[str, Any]]
    calibrations: list[Observation]


def main() -> None:
    """Run what is missing, and write the tables into the page."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--processor-time", action="store_true")
    given = parser.parse_args()
    given.folder.mkdir(parents=True, exist_ok=True)
    environment = dict(os.environ)
    if given.processor_time:
        (given.folder / "shim").mkdir(exist_ok=True)
        (given.folder / "shim" / "sitecustomize.py").write_text(SHIM)
        path = [str(given.folder / "shim"), environment.get("PYTHONPATH", "")]
        environment["PYTHONPATH"] = os.pathsep.join(filter(None, path))
    measured = [_measured(suite, given.folder, environment) for suite in SUITES]
    head, _, _ = PAGE.read_text(encoding="utf-8").partition(BEGIN)
    PAGE.write_text(head + BEGIN + "\n".join([*_page(measured, given.processor_time), ""]), encoding="utf-8")


def _measured(suite: str, folder: Path, environment: dict[str, str]) -> Measured:
    words = [suite, "--device", "cpu"]
    words += ["--shots", ",".join(map(str, SUITES[suite]))] if SUITES[suite] else []
    plan = folder / f"{suite}.json"
    if not plan.exists():
        words_of_plan = ["plan", *words, "--seeds", SEEDS[0], "--json", "--results", folder / "calibrated"]
        answer = _command(*words_of_plan, env=environment)
        if any(row["expected"]["seconds"] is None for row in json.loads(answer)):
            answer = _command(*words_of_plan, "--calibrate", env=environment)
        plan.write_text(answer)
    results = folder / (plugins.load("suite", suite).shares_runs_of or suite)
    for seed in SEEDS:
        _command("run", *words, "--seeds", seed, "--results", results, env=environment)
    request = Request(suite=suite, seeds=SEEDS, shots=SUITES[suite])
    runs = planned(request, RunOptions(results=results, device="cpu"), print).runs
    records = [Store(results).find(run.key) for run in runs]
    found = [record for record in records if record is not None]
    if len(found) < len(runs):
        raise SystemExit(f"{len(runs) - len(found)} runs of {suite} have no record")
    calibrations = list(observations(runs, Store(folder / "calibrated"), "cpu", None))
    return Measured(suite, runs, found, [row["expected"] for row in json.loads(plan.read_text())], calibrations)


def _command(*words: object, env: dict[str, str]) -> str:
    return subprocess.run(
        [sys.executable, "-m", "harness", *map(str, words)], env=env, stdout=subprocess.PIPE, text=True, check=True
    ).stdout


def _page(measured: Sequence[Measured], processor_time: bool) -> Iterator[str]:
    yield _HEAD.format(cpu=cpu_model(), seconds=_PROCESSOR if processor_time else _WALL, near=f"{NEAR:.0%}")
    for each in measured:
        yield _summary(each, "steps", _rows(each, _by_calibration(each), SEEDS[0]))
        yield _summary(each, "records", _rows(each, _by_first_seed(each), SEEDS[1]))
    yield _TIME_LEFT
    for each in measured:
        yield from _times_left(each)
    yield _EACH
    for each in measured:
        yield f"\n**{each.suite}**\n\n{_COLUMNS}"
        yield from _details(each)


def _of_forecast(row: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in row.items() if name != "command"}


Row = tuple[Forecast, RunRecord]


def _rows(measured: Measured, forecasts: Sequence[Forecast], seed: int) -> list[Row]:
    pairs = zip(forecasts, measured.records, strict=True)
    return [(forecast, record) for forecast, record in pairs if record.key.seed == seed]


def _by_calibration(measured: Measured) -> list[Forecast]:
    """Of the first seed's runs; of the others nothing is asked."""
    said = iter(measured.calibrated)
    first = (record.key.seed == SEEDS[0] for record in measured.records)
    return [Forecast(**_of_forecast(next(said))) if each else Forecast() for each in first]


def _observed(record: RunRecord) -> Observation:
    found = observed(record)
    if found is None:
        raise SystemExit(f"{record.key.method} on {record.key.dataset} is {record.status}: {record.reason}")
    return found


def _by_first_seed(measured: Measured) -> list[Forecast]:
    first = [_observed(record) for record in measured.records if record.key.seed == SEEDS[0]]
    later = iter(Forecasts().remember(first).of([run for run in measured.runs if run.key.seed != SEEDS[0]]))
    return [Forecast() if run.key.seed == SEEDS[0] else next(later) for run in measured.runs]


def _near(said: float | None, true: float | None) -> bool:
    return said is not None and true is not None and abs(said - true) <= NEAR * true


def _peaks(record: RunRecord) -> tuple[int | None, int | None]:
    found = _observed(record)
    return found.peak_tensor_bytes, found.peak_rss_bytes


def _summary(measured: Measured, by: str, rows: Sequence[Row]) -> str:
    count = len(rows)
    near = sum(_near(forecast.seconds, record.total_seconds) for forecast, record in rows)
    tensors = sum(_near(forecast.peak_tensor_bytes, _peaks(record)[0]) for forecast, record in rows)
    resident = sum(_near(forecast.peak_rss_bytes, _peaks(record)[1]) for forecast, record in rows)
    said = sum(forecast.seconds or 0.0 for forecast, _ in rows)
    took = sum(record.total_seconds for _, record in rows)
    shares = (f"{each} of {count} ({each / count:.0%})" for each in (near, tensors, resident))
    time, *memory = shares
    return f"| {measured.suite} | {by} | {count} | {time} | {said:.0f} s | {took:.0f} s | {' | '.join(memory)} |"


def _details(measured: Measured) -> Iterator[str]:
    calibrated = _by_calibration(measured)
    by_seed = _by_first_seed(measured)
    for steps, records, record in zip(calibrated, by_seed, measured.records, strict=True):
        key, (tensors, resident) = record.key, _peaks(record)
        cells = [key.method, key.dataset, str(key.shots), str(key.seed)]
        cells += _cells(steps.seconds, records.seconds, record.total_seconds, 1.0, "{:.1f}")
        cells += _cells(steps.peak_tensor_bytes, records.peak_tensor_bytes, tensors, 1 << 20, "{:.0f}")
        cells += _cells(steps.peak_rss_bytes, records.peak_rss_bytes, resident, 1 << 20, "{:.0f}")
        yield f"| {' | '.join(cells)} |"


def _cells(steps: float | None, records: float | None, true: float | None, unit: float, form: str) -> list[str]:
    def cell(value: float | None) -> str:
        text = "" if value is None else form.format(value / unit)
        return text if value is None or _near(value, true) else f"**{text}**"

    return [cell(steps), cell(records), cell(true)]


def _times_left(measured: Measured) -> Iterator[str]:
    pairs = sorted(zip(measured.runs, measured.records, strict=True), key=lambda pair: pair[1].key.seed)
    first = [_observed(record) for _, record in pairs if record.key.seed == SEEDS[0]]
    earlier = [(run, record) for run, record in pairs if record.key.seed == SEEDS[0]]
    later = [(run, record) for run, record in pairs if record.key.seed != SEEDS[0]]
    for before, known, told in (
        ("alone", [], pairs),
        ("steps", measured.calibrations, earlier),
        ("records", first, later),
    ):
        said = _followed(told, known)
        cells = [_left(*_at(said, moment)) for moment in MOMENTS]
        middle = [(left, unknown, true) for left, unknown, true in said if 0 < true <= said[0][2] / 2]
        near = sum(not unknown and _near(left, true) for left, unknown, true in middle)
        yield f"| {measured.suite} | {before} | {' | '.join(cells)} | {near} of {len(middle)} moments |"


def _left(seconds: float, unknown: int, true: float) -> str:
    said = "not known" if unknown and seconds < 1 else f"{'over ' * bool(unknown)}{seconds:.0f} s"
    return f"{said}, {true:.0f} s"


Said = tuple[float, int, float]
"""Seconds said to be left, by the runs that are known; how many are not; and the seconds that were left."""


def _at(said: Sequence[Said], part: float) -> Said:
    """At the moment when so much of the suite's time is over."""
    wanted = said[0][2] * (1 - part)
    return min(said, key=lambda each: abs(each[2] - wanted))


def _followed(told: Sequence[tuple[PlannedRun, RunRecord]], known: Sequence[Observation]) -> list[Said]:
    """What the time left is said to be while runs begin and end as their records say, four times in each run."""
    now, sizes = 0.0, Sizes()
    check_data([run for run, _ in told], RunOptions(results=Path()).folders, lambda text: None, sizes)
    forecasts = Forecasts(sizes).remember(known)
    left = TimeLeft([run for run, _ in told], forecasts, clock=lambda: now)
    end = sum(record.total_seconds for _, record in told)
    said: list[Said] = []
    for number, (run, record) in enumerate(told):
        left.started(number, run)
        for _ in range(4):
            said.append((*left.left(), end - now))
            now += record.total_seconds / 4
        forecasts.learn(record)
        left.ended(number, record)
    return said


if __name__ == "__main__":
    main()
