"""What the timed gate does on two noisy cores, measured: python docs/gate_experiment.py

Writes docs/gate-experiment.md. Every decision is a line of the raw file as soon as it is made; started again with that file, the
experiment goes on where it was. A hog keeps each core busy in random bursts. What runs is the part of the gate that launches, times
and decides; both sides are one folder and one Python, told apart by an environment variable, so there is no checkout of a base.
"""

import argparse
import json
import os
import random
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import pairwise
from pathlib import Path

import pandas as pd
from pytest_benchmark.utils import PercentageRegressionCheck
from scipy.stats import binomtest

from harness.gate.timed import compare
from harness.gate.worker_client import Side
from harness.meters.environment import cpu_model

THRESHOLD_PERCENT = 5.0
BUDGET_SECONDS = 180.0
STATISTICS = ("mean", "median", "min")

WORKLOADS = '''
"""A call is a hundred equal units of work, or ten steps: a planted slow-down is more of them, exactly."""
import os

import pytest

PLANTED_PERCENT = int(os.environ.get("PLANTED_PERCENT", "0"))
UNITS = 100 + PLANTED_PERCENT


def test_python(benchmark):
    def work():
        for unit in range(UNITS):
            sorted(str(number) for number in range(unit, unit + 60))

    benchmark(work)


def test_numpy(benchmark):
    import numpy

    values = numpy.random.default_rng(0).random(4000)

    def work():
        for _ in range(UNITS):
            numpy.sort(values)

    benchmark(work)


def test_json(benchmark):
    import json

    record = {f"figure {number}": [number / 7] * 8 for number in range(40)}

    def work():
        for _ in range(UNITS // 2):
            json.loads(json.dumps(record))

    benchmark(work)


def test_zlib(benchmark):
    import zlib

    text = bytes(number * number % 251 for number in range(6000))

    def work():
        for _ in range(UNITS):
            zlib.compress(text)

    benchmark(work)


@pytest.mark.parametrize("copy", range(4))
@pytest.mark.parametrize("method", ["clip_adapter", "coop"])
def test_torch(benchmark, method, copy):
    from harness.gate import figures

    step = figures.work(figures.run_key(method, "demo-clip", "fast", {}), "train").step

    def work():
        for _ in range(UNITS // 10):
            step()

    benchmark(work)
'''
QUICK = ("test_python", "test_numpy", "test_json", "test_zlib")
TORCH = tuple(
    f"test_torch[{name}-{copy}]" for name, copies in (("clip_adapter", 4), ("coop", 2)) for copy in range(copies)
)

HOG = """
import os, random, sys, time
core, drawn = int(sys.argv[1]), random.Random(int(sys.argv[1]))
if hasattr(os, "sched_setaffinity"):
    os.sched_setaffinity(0, {core})
block = bytearray(1 << 23)
while os.getppid() == int(sys.argv[2]):
    until, copies = time.perf_counter() + drawn.expovariate(2), drawn.random() < 0.5
    while time.perf_counter() < until:
        block[:] = bytes(block) if copies else block
        sum(range(10000))
    time.sleep(drawn.expovariate(2))
"""


@dataclass(frozen=True)
class Series:
    """So many gates of these workloads, head being slower by so much; both processes are launched anew for each."""

    planted_percent: int
    workloads: tuple[str, ...]
    gates: int

    def __str__(self) -> str:
        return f"{self.planted_percent} % planted in {', '.join(dict.fromkeys(map(_workload, self.workloads)))}"

    def gate(self, folder: Path) -> Iterator[dict[str, object]]:
        names = [f"test_workloads.py::{name}" for name in self.workloads]
        python = Path(sys.executable)
        planted = {"PLANTED_PERCENT": str(self.planted_percent)}
        started = time.monotonic()
        comparisons = compare(
            Side(name="base", python=python, folder=folder),
            Side(name="head", python=python, folder=folder, environment=planted),
            names,
            thresholds_percent=dict.fromkeys(names, THRESHOLD_PERCENT),
            budget_seconds=BUDGET_SECONDS,
            say=lambda line: None,
        )
        gate_seconds = time.monotonic() - started
        for comparison in comparisons:
            verdict = comparison.verdict
            yield {
                "planted_percent": self.planted_percent,
                "workload": _workload(verdict.benchmark),
                "outcome": verdict.outcome,
                "slowdown_percent": verdict.slowdown_percent,
                "interval_percent": verdict.interval_percent,
                "turn_seconds": comparison.spent_seconds,
                "gate_seconds_a_benchmark": gate_seconds / len(names),
                "launches": len(comparison.launches),
                "pairs": comparison.launches,
                "why": verdict.why,
            }


@dataclass(frozen=True)
class Stored:
    """So many runs of pytest-benchmark, no code changed between them: each is compared with the one before, as CI does."""

    gates: int
    workloads = QUICK

    def __str__(self) -> str:
        return "a stored baseline"

    def gate(self, folder: Path) -> Iterator[dict[str, object]]:
        report = folder / "report.json"
        tests = [f"test_workloads.py::{name}" for name in self.workloads]
        subprocess.run(
            [sys.executable, "-m", "pytest", "-q", f"--benchmark-json={report}", *tests],
            cwd=folder,
            check=True,
            stdout=subprocess.DEVNULL,
        )
        for entry in json.loads(report.read_text())["benchmarks"]:
            yield {"workload": _workload(entry["name"]), **{name: entry["stats"][name] for name in STATISTICS}}


def plan(scale: float) -> dict[str, Series | Stored]:
    """What the whole experiment consists of; `scale` shrinks it for a try."""

    def some(gates: int) -> int:
        return max(1, round(scale * gates))

    return {
        "unchanged": Series(0, QUICK, some(44)),
        "unchanged-torch": Series(0, TORCH, some(4)),
        "planted-20": Series(20, QUICK, some(14)),
        "planted-20-torch": Series(20, TORCH, some(1)),
        "planted-10": Series(10, QUICK, some(14)),
        "planted-10-torch": Series(10, TORCH, some(1)),
        "stored": Stored(some(24)),
    }


def run(raw: Path, series: dict[str, Series | Stored]) -> None:
    """All gates that the raw file doesn't hold yet, in random order, so that no series gets the quiet minutes."""
    done = [row["gate"] for row in _read(raw)]
    left = [f"{name}/{number}" for name, each in series.items() for number in range(each.gates)]
    left = [gate for gate in left if gate not in done]
    random.Random(0).shuffle(left)
    started = time.monotonic()
    with tempfile.TemporaryDirectory() as folder, hogs():
        (Path(folder) / "test_workloads.py").write_text(WORKLOADS)
        for number, gate in enumerate(left, 1):
            rows = [{"gate": gate, **row} for row in series[gate.partition("/")[0]].gate(Path(folder))]
            with raw.open("a") as file:
                file.write("".join(json.dumps(row) + "\n" for row in rows))
            outcomes = " ".join(str(row.get("outcome", "timed")) for row in rows)
            print(f"[{number}/{len(left)}] {time.monotonic() - started:.0f} s  {gate}: {outcomes}", flush=True)


@contextmanager
def hogs() -> Iterator[None]:
    """A process a core, busy half of the time."""
    started = [
        subprocess.Popen([sys.executable, "-c", HOG, str(core), str(os.getpid())])
        for core in sorted(os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else range(os.cpu_count() or 1))
    ]
    try:
        yield
    finally:
        for process in started:
            process.kill()
            process.wait()


def page(rows: list[dict[str, object]]) -> str:
    """The page of the docs."""
    decided = pd.DataFrame([row for row in rows if "outcome" in row])
    stored = pd.DataFrame([row for row in rows if "mean" in row])
    parts = [INTRODUCTION.format(cpu=cpu_model(), cores=os.cpu_count(), date=f"{datetime.now(UTC):%Y-%m-%d}")]
    parts += ["## The timed gate\n", _independence(decided), _gate_table(decided), _not_run(rows)]
    parts += ["## A stored baseline\n", STORED, _stored_table(stored)]
    return "\n".join(parts)


INTRODUCTION = """# The timed gate, measured

Written by `python docs/gate_experiment.py` on {date}: {cpu}, {cores} cores, beside one process a core that is busy in random
bursts, half of the time. Threshold 5 %, budget 180 s of turns a benchmark. A planted slow-down is 10 % or 20 % more of the
same work. Each gate launches both processes anew, as often as it needs to. `python` (strings and lists), `numpy` (sorting),
`json` (writing and reading) and `zlib` (packing) are gated together, and so are four copies of `clip_adapter` and two of `coop`
(ten training steps each, on the demo backbone). Base and head are the same folder and the same Python, told apart by an environment
variable: checking out a base and making its environment are no part of this. Intervals are exact binomial ones of 95 %.
"""
INDEPENDENCE = """The {decisions} decisions on equal code were made by {gates} gates. Decisions of one gate share its launches and
what is particular to them, so they are not as independent as the intervals in the table take them to be: where a row has fewer
gates than decisions, its interval is too narrow. Gates are independent, and so many of them raised a false alarm:
{rate}.
"""
STORED = """pytest-benchmark as it comes, the same machine and the same hog, no code changed: each run is compared with the one
before by `--benchmark-compare-fail=<statistic>:5%`. Every failure is a false one.
"""


def _independence(decided: pd.DataFrame) -> str:
    """How many gates the decisions on equal code came from, and how many of those had a false alarm."""
    equal = decided[decided["planted_percent"] == 0] if len(decided) else decided
    if not len(equal):
        return ""
    alarms = equal["outcome"].eq("regression").groupby(equal["gate"]).any()
    return INDEPENDENCE.format(decisions=len(equal), gates=len(alarms), rate=_rate(int(alarms.sum()), len(alarms)))


def _not_run(rows: list[dict[str, object]]) -> str:
    """What the plan has and the raw file doesn't; nothing where it has all."""
    done = Counter(str(gate).partition("/")[0] for gate in {row["gate"] for row in rows})
    short = [
        f"{each} ({done[name]} of {each.gates} gates)" for name, each in plan(1.0).items() if done[name] < each.gates
    ]
    return f"Planned, and not or not all run: {'; '.join(short)}.\n" if short else ""


def _gate_table(decided: pd.DataFrame) -> str:
    lines = [
        "| planted | workload | gates | decisions | pass | regression | inconclusive | found slower (95 % interval) | "
        "seconds of turns: median, 95th percentile | with launches: mean |",
        "|---|---|---|---|---|---|---|---|---|---|",
    ]
    for planted, all_rows in decided.groupby("planted_percent") if len(decided) else ():
        groups = [*all_rows.groupby("workload"), ("all", all_rows)]
        for workload, rows in groups:
            counts = rows["outcome"].value_counts()
            seconds = rows["turn_seconds"]
            found = _rate(int(counts.get("regression", 0)), len(rows))
            numbers = " | ".join(str(counts.get(each, 0)) for each in ("pass", "regression", "inconclusive"))
            lines.append(
                f"| {planted} % | {workload} | {rows['gate'].nunique()} | {len(rows)} | {numbers} | {found} | "
                f"{seconds.median():.1f}, {seconds.quantile(0.95):.1f} | {rows['gate_seconds_a_benchmark'].mean():.1f} |"
            )
    unusable = (decided["outcome"] == "unusable").sum() if len(decided) else 0
    return "\n".join([*lines, *([f"\n{unusable} decisions were unusable."] if unusable else []), ""])


def _stored_table(stored: pd.DataFrame) -> str:
    lines = ["| fails on | workload | comparisons | false failures (95 % interval) |", "|---|---|---|---|"]
    for statistic in STATISTICS:
        check = PercentageRegressionCheck(statistic, 5.0)
        for workload, rows in stored.groupby("workload") if len(stored) else ():
            runs = rows.to_dict("records")
            failed = [bool(check.fails(now, before)) for before, now in pairwise(runs)]
            if failed:
                lines.append(f"| {statistic}:5% | {workload} | {len(failed)} | {_rate(sum(failed), len(failed))} |")
    return "\n".join([*lines, ""])


def _rate(count: int, of: int) -> str:
    bounds = binomtest(count, of).proportion_ci(0.95, "exact")
    return f"{count} = {100 * count / of:.1f} % ({100 * bounds.low:.1f} to {100 * bounds.high:.1f})"


def _workload(test: str) -> str:
    name, _, parameters = test.rpartition("test_")[2].rstrip("]").partition("[")
    return parameters.rpartition("-")[0] or name


def _read(raw: Path) -> list[dict[str, object]]:
    return [json.loads(line) for line in raw.read_text().splitlines()] if raw.exists() else []


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--raw", type=Path, default=Path("gate-experiment.jsonl"), help="every decision, a line each")
    parser.add_argument("--scale", type=float, default=1.0, help="0.02: a try of a minute or two")
    parser.add_argument("--page", type=Path, default=Path(__file__).parent / "gate-experiment.md")
    options = parser.parse_args()
    try:
        run(options.raw, plan(options.scale))
    finally:
        options.page.write_text(page(_read(options.raw)))


if __name__ == "__main__":
    main()
