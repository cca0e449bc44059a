"""A record as a run leaves it, without a run; and a device that notes what is asked of it."""

import pytest
import torch

from harness.meters.environment import describe
from harness.meters.gpu import Peaks
from harness.plan import Request, plan
from harness.records import RunRecord, TestRecord, WindowRecord


@pytest.fixture(scope="session")
def a_record():
    """`a_record(seed=..., status=...)`: a record of a planned run of Skip Tuning on the demo digits."""

    def make(status="ok", **request):
        wanted = {"methods": ["skip_tuning"], "datasets": ["demo-digits"], "seeds": [1], **request}
        run = plan(Request(suite="base2new", **wanted), "demo")[0]
        return RunRecord(
            key=run.key,
            recipe_row=run.recipe_row,
            status=status,
            reason=None if status == "ok" else "because.",
            started_at="2026-01-01T00:00:00+00:00",
            total_seconds=12.5,
            windows={
                "setup": WindowRecord(seconds=1.5),
                "train": WindowRecord(seconds=10.25, peak_tensor_bytes=1 << 28, peak_rss_bytes=1 << 29),
                "test": WindowRecord(seconds=0.5),
            },
            accuracy={"demo-digits/base": TestRecord(accuracy_percent=100 / 3, correct=1, images=3, classes=2)},
            epoch_losses=(1.25, 1 / 3),
            step_seconds=(0.1, 0.2),
            environment=describe("cpu", 2),
            missing={"train.energy_joules": "no CUDA device"},
        )

    return make


@pytest.fixture
def record(a_record):
    return a_record()


class NotingCalls:
    """The calls of a device, each noted with the device; a mark is its number, a second each."""

    def __init__(self, device, noted):
        self.device, self.noted = device, noted

    def _note(self, name):
        self.noted.append((name, str(self.device)))

    def make_current(self):
        self._note("make_current")

    def synchronise(self):
        self._note("synchronise")

    def reset_peaks(self):
        self._note("reset_peaks")

    def peaks(self):
        self._note("peaks")
        return Peaks(1000, 2000)

    def memory_bytes(self):
        return 16 << 30

    def mark(self):
        self._note("mark")
        return len(self.noted)

    def seconds(self, start, end):
        return float(end - start)


@pytest.fixture
def device_calls(monkeypatch):
    """All that the meters ask of any device from here on, as (call, device)."""
    noted = []
    monkeypatch.setattr("harness.meters.gpu.CudaCalls", lambda device: NotingCalls(device, noted))
    monkeypatch.setattr("harness.meters.gpu.CpuCalls", lambda: NotingCalls(torch.device("cpu"), noted))
    return noted
