"""The tables of docs/planning.md: what is near, and what the time left comes to, of records made up here."""

from dataclasses import replace
from types import SimpleNamespace

import pytest

from docs import planned
from harness.meters.environment import cpu_threads, describe
from harness.plan import Request, plan
from harness.records import RunRecord, WindowRecord
from harness.runs.forecast import Forecast
from harness.runs.observation import observed


def a_record(run, seconds):
    train = WindowRecord(seconds=seconds - 2, peak_tensor_bytes=100 << 20, peak_rss_bytes=200 << 20)
    windows = {"setup": WindowRecord(seconds=1.0), "train": train, "test": replace(train, seconds=1.0)}
    return RunRecord(
        key=run.key,
        recipe_row=run.recipe_row,
        status="ok",
        started_at="2026-01-01T00:00:00+00:00",
        total_seconds=seconds,
        windows=windows,
        environment=describe("cpu", cpu_threads()),
    )


@pytest.fixture
def measured(tinyworld):
    """Two methods, two seeds, 10 and 20 s; a calibration has said 12 s of either, and 150 MiB of the second."""
    request = {"methods": ["zero_shot", "coop"], "datasets": ["tiny-colours"], "seeds": planned.SEEDS}
    runs = plan(Request(suite="tiny", **request), "tiny")
    records = [a_record(run, 10.0 if run.key.method == "zero_shot" else 20.0) for run in runs]
    said = {"seconds": 12.0, "peak_rss_bytes": 200 << 20, "source": "steps", "count": 1, "why": None}
    calibrated = [
        {**said, "peak_tensor_bytes": (100 if run.key.method == "zero_shot" else 150) << 20, "command": None}
        for run in runs
        if run.key.seed == planned.SEEDS[0]
    ]
    return planned.Measured("tiny", runs, records, calibrated, [observed(record) for record in records[::2]])


def test_the_page_counts_what_is_near_and_marks_what_is_not(measured):
    page = "\n".join(planned._page([measured], processor_time=True))
    assert "| tiny | steps | 2 | 1 of 2 (50%) | 24 s | 30 s | 1 of 2 (50%) | 2 of 2 (100%) |" in page
    assert "| tiny | records | 2 | 2 of 2 (100%) | 30 s | 30 s | 2 of 2 (100%) | 2 of 2 (100%) |" in page
    assert "| coop | tiny-colours | 4 | 1 | **12.0** |  | 20.0 | **150** |  | 100 | 200 |  | 200 |" in page
    assert "| coop | tiny-colours | 4 | 2 |  | 20.0 | 20.0 |  | 100 | 100 |  | 200 | 200 |" in page
    # a kind whose run has told is known, also of the other seed; alone, the second method isn't before its first run is over
    assert "| tiny | steps | 22 s, 22 s | 15 s, 15 s | 10 s, 10 s | 3 of 3 moments |" in page
    assert "| tiny | alone | over 10 s, 45 s | 30 s, 30 s | 15 s, 15 s | 8 of 8 moments |" in page
    assert "processor time" in page


def test_only_what_folders_lack_is_run_and_calibrated(measured, tmp_path, monkeypatch):
    asked = []

    def command(*words, env):
        asked.append(words)
        known = "--calibrate" in words
        return planned.json.dumps([{"expected": {"seconds": 1.0 if known else None}}])

    monkeypatch.setattr(planned, "_command", command)
    monkeypatch.setattr(planned, "SUITES", {"tinyworld:SUITE": ()})
    monkeypatch.setattr(planned, "planned", lambda request, options, note: SimpleNamespace(runs=measured.runs))
    monkeypatch.setattr(planned.Store, "find", lambda store, key: measured.records[0])
    for _ in range(2):
        found = planned._measured("tinyworld:SUITE", tmp_path, {})
    assert found.calibrated == [{"seconds": 1.0}]
    assert [(words[0], "--calibrate" in words) for words in asked] == [
        ("plan", False),
        ("plan", True),
        *[("run", False)] * 4,
    ]
    assert Forecast(**planned._of_forecast({"seconds": 1.0, "command": "x"})).seconds == 1.0
