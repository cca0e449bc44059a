"""Whole runs on the device, and the tests that need one."""

from __future__ import annotations

import io
import multiprocessing
from contextlib import redirect_stderr, redirect_stdout
from typing import Any

import torch

from harness.files import cache_folder
from harness.meters.environment import cpu_threads
from harness.meters.gpu import Gpu
from harness.meters.window import MINIMUM_ENERGY_WINDOW_SECONDS, Window
from harness.plan import PlannedRun
from harness.plugins import ROOT
from harness.probes.gpu_evidence.evidence import Figures, Setting
from harness.probes.gpu_evidence.speed import seconds_of, stepped
from harness.records import RunRecord
from harness.runs.job import Job
from harness.runs.runner import execute
from harness.suite import Folders

ENERGY_WINDOWS = 5


class _Outcomes:
    """Counts how tests end, as a plug-in of pytest."""

    def __init__(self) -> None:
        self.counts = {"passed": 0, "failed": 0, "skipped": 0}
        self.failed: list[str] = []

    def pytest_runtest_logreport(self, report: Any) -> None:
        if report.when == "call" or report.outcome != "passed":
            self.counts[report.outcome] += 1
            if report.outcome == "failed":
                self.failed.append(report.nodeid.rpartition("/")[2])


def marked_tests(setting: Setting) -> Figures:
    """The tests marked `gpu`, which a rehearsal skips, by pytest alone: the files without such tests may need more to be read."""
    import pytest

    files = [path for path in sorted((ROOT / "tests").rglob("test_*.py")) if "mark.gpu" in path.read_text("utf-8")]
    outcomes, said = _Outcomes(), io.StringIO()
    words = ["-m", "gpu", "-q", "--rootdir", ROOT, "-p", "no:cacheprovider"]
    words += ["-o", "addopts=--import-mode=importlib", "-W", "ignore::pytest.PytestAssertRewriteWarning", *files]
    with redirect_stdout(said), redirect_stderr(said):
        code = pytest.main([*map(str, words)], plugins=[outcomes])
    if code not in (pytest.ExitCode.OK, pytest.ExitCode.TESTS_FAILED):
        raise RuntimeError(f"pytest ended with {code!r}: {' '.join(said.getvalue().split())[-300:]}")
    return {**outcomes.counts, "which": ", ".join(outcomes.failed)}


def energy(setting: Setting, method: str) -> Figures:
    """Equal windows of steps, each a little longer than the counter needs."""
    _, stepper, batch, feed = stepped(setting, method)
    device = torch.device(setting.device)

    def steps(count: int) -> None:
        for _ in range(count):
            stepper.step(batch, feed.ready)

    warm = 1 if setting.is_rehearsal else 5
    wanted = 0.0 if setting.is_rehearsal else 1.05 * MINIMUM_ENERGY_WINDOW_SECONDS
    count = max(1, int(wanted / (seconds_of(device, lambda: steps(warm)) / warm)))
    gpu, taken, reason = Gpu(device), [], None
    for _ in range(ENERGY_WINDOWS):
        with Window(device, gpu) as window:
            steps(count)
        record = window.record()
        assert record is not None
        taken.append(record.energy_joules)
        reason = window.missing.get("energy_joules", reason)
    told = [joules for joules in taken if joules is not None]
    if len(told) < ENERGY_WINDOWS:
        return {"joules": None, "spread_percent": None, "reason": reason}
    mean = sum(told) / len(told)
    return {"joules": mean, "spread_percent": 100 * (max(told) - min(told)) / mean, "reason": None}


def _execute(run: PlannedRun, device: str) -> RunRecord:
    job = Job(
        run=run,
        pretrained=None,
        folders=Folders(None, cache_folder()),
        device=device,
        threads=cpu_threads(),
        command="",
    )
    record = execute(job)
    if record.status != "ok":
        raise RuntimeError(f"on {device}: {record.reason}")
    return record


def accuracy(setting: Setting, method: str) -> Figures:
    """Base-to-new on the scanned digits, one shot, on the device and on the CPU."""
    digits: dict[str, Any] = {"datasets": ["demo-digits"], "backbone": "demo-clip", "pretrained": None}
    run = setting.run(method, **({} if setting.is_rehearsal else digits))
    there, here = (_execute(run, device) for device in (setting.device, "cpu"))
    told: dict[str, Any] = {}
    for test, cpu in here.accuracy.items():
        name = test.rpartition("/")[2]
        told |= {name: there.accuracy[test].accuracy_percent, f"{name}_cpu": cpu.accuracy_percent}
    told["apart_points"] = max(abs(told[name] - told[f"{name}_cpu"]) for name in ("base", "new"))
    return {**told, "seconds": there.total_seconds, "seconds_cpu": here.total_seconds}


def two_at_once(setting: Setting, method: str) -> Figures:
    """In how many windows each of two runs on the device says that it was not alone."""
    steps = 2 if setting.is_rehearsal else 200
    run = setting.run(method, steps=steps)
    context = multiprocessing.get_context("fork")
    answers = context.SimpleQueue()
    both = [context.Process(target=_flagged, args=(run, setting.device, answers)) for _ in range(2)]
    for process in both:
        process.start()
    told = [answers.get() for _ in both]
    for process in both:
        process.join()
    return {"first": told[0], "second": told[1]}


def _flagged(run: PlannedRun, device: str, answers: Any) -> None:
    try:
        windows = _execute(run, device).windows
        answers.put(f"{sum(bool(w.contended) for w in windows.values())} of {len(windows)} windows")
    except Exception as error:
        answers.put(f"failed: {error}")
