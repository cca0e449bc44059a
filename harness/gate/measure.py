"""Run the benchmarks in a pytest of their own, and hear of each that was collected what became of it. No torch here."""

from __future__ import annotations

import json
import math
import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from harness.errors import DataError
from harness.gate.verdict import Verdict
from harness.plugins import ROOT

ONE_THREAD = {"OMP_NUM_THREADS": "1", "OMP_WAIT_POLICY": "PASSIVE"}  # who waits for a turn must not spin
_TIMES = ("--benchmark-min-rounds=3", "--benchmark-max-time=0.05", "--benchmark-warmup=off", "--benchmark-quiet")
_WHAT = {
    "skipped": ("was skipped", "A gate is passed by measuring: make it run here, or delete it and use --update."),
    "failed": ("failed", "Make it pass first: run it alone by pytest --benchmark-enable."),
    "disabled": (
        "ran, but was disabled: nothing was measured",
        "Look for what sets benchmark.disabled, in the test or in a conftest.py.",
    ),
    "unused": (
        "ran, but never called its fixture: nothing was measured",
        "Call it in the test: benchmark(function), or method_benchmark(METHOD).",
    ),
    "rejected": ("was deselected by -k", "Remove that from pytest's addopts; to gate a part, use --only."),
    "deselected": (
        "was deselected",
        "Look for -m or --deselect in addopts, or a conftest.py; to gate a part, use --only.",
    ),
}


@dataclass(frozen=True, kw_only=True)
class Measured:
    """A session of benchmarks: pytest-benchmark's report, what is amiss, and who was left out on request.

    root: the folder that node ids are relative to. collected: node ids of all benchmarks there are.
    """

    root: Path
    report: Mapping[str, Any]
    collected: tuple[str, ...]
    left_out: frozenset[str]
    amiss: tuple[Verdict, ...]

    @property
    def benchmarks(self) -> dict[str, Mapping[str, Any]]:
        """The report's entries, by node id."""
        return {entry["fullname"]: entry for entry in self.report["benchmarks"]}


def pytest_environment() -> dict[str, str]:
    """This process's environment for a pytest in one thread that is nobody's worker, also where this is one of pytest-xdist's."""
    own = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST_XDIST")}
    return own | ONE_THREAD


def measure(tests: Path, only: str | None = None) -> Measured:
    """Run the benchmarks of `tests` in one thread; `only` is an expression as pytest's -k has them.

    Raises DataError if pytest couldn't say what became of them.
    """
    if find_spec("pytest_benchmark") is None:
        raise DataError("pytest-benchmark isn't installed here.", "Install it: pip install pytest-benchmark")
    _require_no_other_harness(Path.cwd())
    with tempfile.TemporaryDirectory(prefix="adaptbench-gate-") as folder:
        outcomes, report = Path(folder, "outcomes.json"), Path(folder, "report.json")
        command = [
            *(sys.executable, "-m", "pytest", str(tests), "-q", "-p", "harness.gate.outcomes"),
            *("--benchmark-enable", "--benchmark-only", *_TIMES),
            *(f"--gate-outcomes={outcomes}", f"--benchmark-json={report}", f"--benchmark-storage=file://{folder}"),
            *(("-k", only) if only else ()),
        ]
        done = subprocess.run(command, env=pytest_environment(), capture_output=True, text=True)
        found = json.loads(outcomes.read_text()) if outcomes.exists() else None
        entries = json.loads(report.read_text()) if report.exists() else {"benchmarks": []}
    if found is None:
        raise _ended(done, tests)
    if found["xdist"]:
        raise DataError(
            "the tests run under pytest-xdist (-n or --dist, in addopts or PYTEST_ADDOPTS), which switches benchmarks off.",
            "Take it out of addopts, or outvote it: PYTEST_ADDOPTS=-n0 adaptbench gate",
        )
    heard = _heard(found, entries, only)
    if not heard.amiss and heard.left_out == set(heard.collected):
        what = f"--only '{only}' picks none of the benchmarks" if heard.collected else "there is no benchmark"
        raise DataError(f"{what} in {tests}.", "A benchmark is a test that takes method_benchmark or benchmark.")
    if not heard.amiss and done.returncode:
        raise _ended(done, tests)
    return heard


def _require_no_other_harness(folder: Path) -> None:
    """pytest looks for modules in the current folder first. Raises DataError where it would find another `harness` than ours."""
    for found in (folder / "harness", folder / "harness.py"):
        if (
            (found.suffix or (found / "__init__.py").is_file())
            and found.exists()
            and found.resolve() != ROOT / "harness"
        ):
            raise DataError(
                f"AdaptBench's own package is called 'harness', and in the pytest of this folder {found} stands in for it.",
                "Give that one another name, or give the command from a folder without one.",
            )


def _ended(done: subprocess.CompletedProcess[str], tests: Path) -> DataError:
    lines = [line for line in (done.stdout + done.stderr).splitlines() if line.strip()]
    return DataError(
        f"pytest ended with exit code {done.returncode}: {' / '.join(lines[-3:])}",
        f"Run it by hand to see all it says: pytest --benchmark-enable --benchmark-only {tests}",
    )


def _heard(found: Mapping[str, Any], report: Mapping[str, Any], only: str | None) -> Measured:
    benchmarks: Mapping[str, Sequence[str]] = found["benchmarks"]
    left_out = {name for name, (outcome, _) in benchmarks.items() if only and outcome == "rejected"}
    entries = {entry["fullname"]: entry for entry in report["benchmarks"]}
    amiss = [_unusable(where, f"It can't be collected: {why}") for where, why in found["errors"]]
    for name, (outcome, why) in benchmarks.items():
        if name in left_out:
            continue
        if outcome != "passed" or name not in entries:
            amiss.append(_unmeasured(name, outcome if outcome != "passed" else "disabled", why))
        elif lacking := _not_numbers(entries[name]["extra_info"]):
            amiss.append(_unusable(name, f"It names figures that are no numbers: {', '.join(lacking)}. Measure them."))
    return Measured(
        root=Path(found["root"]),
        report=report,
        collected=tuple(benchmarks),
        left_out=frozenset(left_out),
        amiss=tuple(amiss),
    )


def _unmeasured(name: str, outcome: str, why: str) -> Verdict:
    what, advice = _WHAT[outcome]
    reason = f": {why.rstrip('.')}" if why else ""
    return _unusable(name, f"It {what}{reason}. {advice}")


def _not_numbers(extra: Mapping[str, Any]) -> list[str]:
    named = [*extra.get("exact", ()), *extra.get("exact_per_platform", ())]
    return [name for name in named if not isinstance(extra.get(name), int | float) or not math.isfinite(extra[name])]


def _unusable(name: str, why: str) -> Verdict:
    return Verdict(benchmark=name, figure="", outcome="unusable", why=why)
