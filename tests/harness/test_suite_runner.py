"""A suite by one call, without the command: what a notebook does."""

from pathlib import Path

import pytest

from harness.errors import ConfigError, DataError
from harness.plan import Request, plan
from harness.records import from_json
from harness.runs.store import Store
from harness.runs.suite_runner import Interrupted, Outcome, RunOptions, pending, run_suite

REQUEST = Request(
    suite="tiny",
    methods=["zero_shot", "tinyworld:Diverges"],
    datasets=["tiny-colours"],
    shots=[2],
    seeds=[1],
    backbone="tiny-clip",
)


class Heard:
    """A progress that writes down what it is told; Ctrl-C comes after `interrupt_after` runs."""

    def __init__(self, interrupt_after=None):
        self.told, self._interrupt_after = [], interrupt_after

    def planned(self, runs, todo):
        self.told.append(("planned", len(runs), len(todo)))

    def note(self, text):
        self.told.append(("note", text))

    def started(self, number, run):
        self.told.append(("started", number, run.key.method))

    def event(self, event):
        pass

    def ended(self, record):
        self.told.append(("ended", record.key.method, record.status))
        if self._interrupt_after == len([what for what, *_ in self.told if what == "ended"]):
            raise KeyboardInterrupt


def test_one_call_plans_runs_and_records(tinyworld, tmp_path):
    options = RunOptions(results=tmp_path / "results", cache=tmp_path / "cache", device="cpu")
    first, second, third = Heard(interrupt_after=1), Heard(), Heard()
    with pytest.raises(Interrupted) as interrupted:
        run_suite(REQUEST, options, first)
    assert interrupted.value.outcome == Outcome(planned=2, ok=1)
    outcome = run_suite(REQUEST, options, second)
    assert outcome == Outcome(planned=2, skipped=1, failed=1)
    assert (outcome.recorded, outcome.not_ok) == (2, 1)
    assert first.told == [("planned", 2, 2), ("started", 1, "zero_shot"), ("ended", "zero_shot", "ok")]
    assert second.told == [
        ("planned", 2, 1),
        ("started", 1, "tinyworld:Diverges"),
        ("ended", "tinyworld:Diverges", "diverged"),
    ]
    assert run_suite(REQUEST, options, third) == Outcome(planned=2, skipped=2, earlier_failures=1)
    assert third.told == [("planned", 2, 0)]
    assert len(list(Store(options.results).folder.rglob("*.json"))) == 2


@pytest.mark.parametrize("device", ["gpu", "cuda:", "cuda:one", "cuda:0 ", "CPU", ""])
def test_what_is_no_device_is_refused_before_anything_is_read(tmp_path, device):
    with pytest.raises(ConfigError, match="is not a device"):
        RunOptions(results=tmp_path, device=device)


class Full(Store):
    """A results folder on a disk that is full once runs have begun."""

    def write(self, record):
        if self.folder.name == "results":
            raise OSError(28, "No space left on device")
        return super().write(record)


def test_a_record_that_finds_no_place_is_kept_elsewhere(tinyworld, tmp_path, monkeypatch):
    options = RunOptions(results=tmp_path / "results", cache=tmp_path / "cache", device="cpu")
    with monkeypatch.context() as full_disk:
        full_disk.setattr("harness.runs.suite_runner.Store", Full)
        full_disk.setattr("tempfile.tempdir", str(tmp_path))
        with pytest.raises(DataError, match=r"No space left on device\. It is kept in") as full:
            run_suite(REQUEST, options, Heard())
    (kept,) = (tmp_path / "adaptbench-unsaved").rglob("*.json")
    assert str(kept) in full.value.what
    to = Path(full.value.advice.split("move it to ")[1].split(", and repeat")[0])
    to.parent.mkdir(parents=True)
    kept.rename(to)
    assert from_json(to.read_bytes(), "here").status == "ok"
    todo, _ = pending(plan(REQUEST, "demo"), Store(options.results), options, print)
    assert [run.key.method for run in todo] == ["tinyworld:Diverges"]


def test_a_disk_that_is_nearly_full_is_said_before(tinyworld, tmp_path, monkeypatch):
    monkeypatch.setattr("harness.runs.store.LEAST_FREE_BYTES", 1 << 60)
    with pytest.raises(ConfigError, match="MiB left, too little"):
        run_suite(REQUEST, RunOptions(results=tmp_path, device="cpu"), Heard())
