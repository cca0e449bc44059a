"""A few steps stand for a run: the peaks are the run's own to the byte, its parts are there, and all of its steps are counted."""

from dataclasses import replace
from types import SimpleNamespace

import pytest

from harness.runs.calibration import calibrate
from harness.runs.observation import observed
from harness.runs.runner import execute


@pytest.fixture
def steps_taken(monkeypatch):
    """The steps of each training from here on, in order; the budget is without end."""
    from harness.runs import calibration

    taken, train = [], calibration.train

    def noting(*args, log, **how):
        train(*args, log=log, **how)
        taken.append(len(log.step_seconds))

    monkeypatch.setattr(calibration, "train", noting)
    monkeypatch.setattr(calibration, "BUDGET_SECONDS", 1e9)
    return taken


@pytest.mark.parametrize("method", ["coop", "zero_shot"])
def test_a_calibration_has_the_peaks_the_steps_and_the_data_of_the_run(method, job, steps_taken):
    run = job(method, settings={"coop.epochs": "2"} if method == "coop" else {})
    calibrated, recorded = calibrate(run), observed(execute(run))
    assert calibrated.key == recorded.key
    for figure in ("peak_tensor_bytes", "steps", "trained_on", "tested_on", "shares"):
        assert getattr(calibrated, figure) == getattr(recorded, figure), figure
    parts = ("setup_seconds", "test_seconds", "other_seconds")
    assert all(getattr(calibrated, part) > 0 for part in parts)
    assert calibrated.train_seconds >= calibrated.steps * calibrated.step_seconds


@pytest.mark.parametrize(("budget_seconds", "done"), [(1e-9, [2, 2]), (1e9, [2, 6])])
def test_the_budget_says_how_many_steps_and_at_least_two_are_done(job, steps_taken, monkeypatch, budget_seconds, done):
    monkeypatch.setattr("harness.runs.calibration.BUDGET_SECONDS", budget_seconds)
    monkeypatch.setattr("harness.runs.calibration.simulate", lambda *_: SimpleNamespace(peak_bytes=1, host_bytes=1))
    found = calibrate(job("coop", settings={"coop.epochs": "6", "coop.warmup_epochs": "0"}))
    assert (found.steps, steps_taken) == (6, done)


def test_training_images_beyond_the_budget_go_unread_and_their_peak_is_simulated(job, steps_taken, monkeypatch):
    monkeypatch.setattr("harness.runs.calibration.BUDGET_SECONDS", 1e-9)
    simulated = []
    monkeypatch.setattr(
        "harness.runs.calibration.simulate",
        lambda key, classes: simulated.append(key) or SimpleNamespace(peak_bytes=100, host_bytes=10),
    )
    run = job("coop", settings={"coop.batch_size": "2"})
    found = calibrate(run)
    assert found.trained_on.images > 2
    assert simulated == [found.key]
    assert found.peak_tensor_bytes == 110


def test_a_run_that_is_cut_is_calibrated_as_such(job):
    run = job("coop")
    cut = replace(run, run=replace(run.run, key=replace(run.run.key, steps=2)))
    found = calibrate(cut)
    assert (found.steps, found.shares) == (2, False)
