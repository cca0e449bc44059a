"""A record as a run leaves it, without a run."""

import pytest

from harness.meters.environment import describe
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
