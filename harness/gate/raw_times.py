"""Raw seconds of both sides in pytest-benchmark's own JSON, for `pytest-benchmark compare` and whatever else reads it. No torch."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest_benchmark
from pytest_benchmark.stats import Stats
from pytest_benchmark.utils import get_commit_info

from harness.gate.outcomes import pytest_benchmark_generate_machine_info as machine_info


def write_raw_times(file: Path, folder: Path, benchmarks: Sequence[tuple[Mapping[str, Any], Sequence[float]]]) -> None:
    """One side's file. folder: its checkout. benchmarks: pytest-benchmark's entry of each, and the seconds of its rounds."""
    with contextlib.chdir(folder):
        commit = get_commit_info()
    report = {
        "machine_info": machine_info(),
        "commit_info": commit,
        "benchmarks": [{**entry, "stats": _stats(seconds)} for entry, seconds in benchmarks],
        "datetime": datetime.now(UTC).isoformat(),
        "version": pytest_benchmark.__version__,
    }
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps(report, indent=1))


def _stats(seconds: Sequence[float]) -> dict[str, Any]:
    stats = Stats()
    for each in seconds:
        stats.update(each)
    return {**stats.as_dict(), "data": list(seconds), "iterations": 1}
