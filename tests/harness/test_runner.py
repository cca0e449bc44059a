"""One run to one record, in this process: the order of calls, what is measured, and how failures read."""

import dataclasses
import math
import os
from dataclasses import replace
from multiprocessing import Pipe

import pytest
import torch

from harness import plugins
from harness.clip import backbone as backbones
from harness.records import from_json, to_json
from harness.runs import events, passes
from harness.runs.events import EpochEnded, PhaseStarted
from harness.runs.job import KnownPeaks, may_optimize
from harness.runs.runner import check, execute

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture
def calls(tinyworld):
    import tinyworld_models

    tinyworld_models.CALLS.clear()
    return tinyworld_models.CALLS


@pytest.fixture(scope="module")
def known():
    return {}


@pytest.fixture
def scripted(job, known):
    """The record of a run of `scripted`, and the events that it told; done once."""
    if "scripted" not in known:
        told = []
        known["scripted"] = execute(job("scripted"), told.append), told
    return known["scripted"]


SHORT = {"epochs": "2", "batch_size": "4"}


@pytest.fixture
def coop(job, known):
    """The record of a run of `coop`; done once."""
    if "coop" not in known:
        known["coop"] = execute(job("coop", settings=SHORT))
    return known["coop"]


class TestTheCompiler:
    """It takes as long to import as torch: runs whose fork server has none must not need it."""

    STEPLESS = ("linear_probe", "lp_plus_plus", "tip_adapter", "zero_shot")

    def test_is_needed_where_there_may_be_an_optimiser(self, job):
        assert {name for name in plugins.names("method") if not may_optimize(job(name).run)} == set(self.STEPLESS)
        assert may_optimize(job("tinyworld:Scripted").run)
        assert may_optimize(job("zero_shot", simulated=True).run)
        assert may_optimize(job("zero_shot", profile=True).run)

    @pytest.mark.parametrize("method", STEPLESS)
    def test_is_not_called_where_it_is_not_needed(self, job, method, monkeypatch):
        monkeypatch.setattr(torch.optim.Optimizer, "add_param_group", lambda *a: pytest.fail("there is an optimiser"))
        assert execute(job(method)).status == "ok"


def test_weights_are_hashed_once_in_a_run(job, monkeypatch):
    hashed, real = [], backbones._digest
    monkeypatch.setattr(backbones, "_digest", lambda model: hashed.append(1) or real(model))
    record = execute(job("zero_shot"))
    assert record.windows["test"].peak_tensor_bytes > 0, "the memory pass has loaded them again"
    assert len(hashed) == 1
    assert record.weights_sha256


def test_weights_that_the_check_has_hashed_are_hashed_no_more_unless_their_file_has_changed(job, monkeypatch):
    hashed, real = [], backbones._digest
    place = check(job("zero_shot"))
    monkeypatch.setattr(backbones, "_digest", lambda model: hashed.append(1) or real(model))
    record = execute(replace(job("zero_shot"), known_weights=place.weights))
    assert (record.weights_sha256, hashed) == (place.weights.sha256, [])
    os.utime(place.weights.file)
    assert execute(replace(job("zero_shot"), known_weights=place.weights)).weights_sha256 == place.weights.sha256
    assert hashed == [1]


def test_calls_come_in_the_order_of_the_contract(job, calls):
    base, new = ("red", "green", "blue"), ("yellow", "purple")
    shapes = ((4, 32), (4, 17, 32))
    epochs = [
        entry
        for epoch in (0, 1)
        for entry in [
            ("batches", 12, 4), ("begin_epoch", epoch), *[("backward", shapes, 4)] * 3, ("end_epoch", epoch, 2),
        ]
    ]  # fmt: skip
    run = [
        "adapt", ("set_classes", base), ("prepare", 12, 6), *epochs, ("batches", 12, 4), ("finish", 12, 6),
        ("set_classes", base), "classifier", ("logits", 21),
        ("set_classes", new), "classifier", ("logits", 14),
        ("set_classes", base), "classifier", ("logits", 6),
        ("set_classes", base[:2]), "classifier", ("logits", 2), ("set_classes", base[1::-1]), "classifier", ("logits", 2),
    ]  # fmt: skip
    probe = [
        "adapt", ("set_classes", base), ("prepare", 12, 6),
        ("batches", 12, 4), ("begin_epoch", 0), *[("backward", shapes, 4)] * 2, ("end_epoch", 0, 2), ("finish", 12, 6),
        ("set_classes", base), "classifier", ("logits", 21),
        ("set_classes", new), "classifier", ("logits", 14),
    ]  # fmt: skip
    record = execute(job("scripted"))
    assert record.status == "ok", record.reason
    assert calls[: len(run)] == run
    assert calls[len(run) :] == probe


def test_the_device_is_made_current_first_and_waited_for_at_the_edges_of_windows(job, device_calls):
    assert execute(job("zero_shot")).status == "ok"
    names = [call for call, _ in device_calls]
    assert names == ["make_current", *["synchronise", "reset_peaks", "synchronise", "peaks"] * 3]


def test_a_run_tells_its_progress(scripted):
    _, told = scripted
    assert [event.phase if isinstance(event, PhaseStarted) else type(event) for event in told] == [
        "setup", "train", EpochEnded, EpochEnded, "test", events.TestEnded, events.TestEnded, "memory"
    ]  # fmt: skip
    epoch = told[3]
    assert (epoch.epoch, epoch.epochs, epoch.images) == (2, 2, 24)
    assert math.isfinite(epoch.loss)
    assert [event.test for event in told[5:7]] == ["tiny-colours/base", "tiny-colours/new"]


def test_events_cross_a_pipe(scripted):
    _, told = scripted
    receiver, sender = Pipe(duplex=False)
    with receiver, sender:
        for event in told:
            sender.send(event)
        assert [receiver.recv() for _ in told] == told


def test_a_record_holds_what_was_measured(scripted):
    record, _ = scripted
    assert from_json(to_json(record), "here") == record
    assert (record.trainable_parameters, record.train_image_count, record.train_class_count) == (32, 12, 3)
    assert record.train_images_seen == 24
    assert len(record.epoch_losses) == 2
    assert len(record.step_seconds) == 6
    assert 0 < record.changed_weights_percent <= 100
    assert len(record.weights_sha256) == 64
    assert {key: (test.images, test.classes) for key, test in record.accuracy.items()} == {
        "tiny-colours/base": (21, 3),
        "tiny-colours/new": (14, 2),
    }
    for test in (*record.accuracy.values(), record.validation):
        assert test.accuracy_percent == 100 * test.correct / test.images
        assert sum(count for _, _, count in test.confusion) == test.images
        assert sum(count for true, predicted, count in test.confusion if true == predicted) == test.correct
    assert record.accuracy["tiny-colours/new"].class_names == ("yellow", "purple")
    assert (record.validation.images, record.test_images_seen) == (6, 35)
    assert set(record.windows) == {"setup", "train", "test"}
    assert sum(window.seconds for window in record.windows.values()) <= record.total_seconds
    parts = (sum(record.step_seconds), record.load_seconds, record.extract_seconds)
    assert min(parts) > 0
    assert sum(parts) <= record.windows["train"].seconds
    weights = record.total_parameters * 4
    for phase in ("train", "test"):
        window = record.windows[phase]
        assert weights <= window.peak_tensor_bytes <= weights + (8 << 20)
        assert window.peak_allocated_bytes is None
        assert window.energy_joules is None
        assert record.missing[f"{phase}.energy_joules"] == "no CUDA device"
    assert record.windows["setup"].peak_tensor_bytes is None
    assert record.environment.threads == 1


def test_every_null_of_a_finished_run_has_its_reason(scripted):
    record, _ = scripted
    nulls = {
        f"{phase}.{field.name}"
        for phase, window in record.windows.items()
        for field in dataclasses.fields(window)
        if getattr(window, field.name) is None
    }
    assert nulls <= set(record.missing)
    assert set(record.missing) <= nulls


@pytest.mark.parametrize(
    ("how", "status", "reason"),
    [
        ("diverge", "diverged", r"not finite from step 1 of epoch 2(?s:.*)--set learning_rate"),
        ("out of memory", "out_of_memory", r"^out of memory: CUDA out of memory. Tried to allocate 2.00 GiB.$"),
        ("no host memory", "out_of_memory", r"^out of memory: MemoryError$"),
        ("no tensor memory", "out_of_memory", r"^out of memory: .*(allocate|memory)"),
        ("bug", "failed", r"^ValueError: an odd value \(tinyworld_models.py:\d+, in misbehave\)\.\nMend it there"),
    ],
)
def test_a_failure_becomes_a_row_that_keeps_what_was_known(job, how, status, reason):
    import re

    record = execute(job("tinyworld:Misbehaving", settings={"how": how}))
    assert record.status == status
    assert re.search(reason, record.reason), record.reason
    assert {"setup", "train"} == set(record.windows)
    assert record.accuracy == {}
    assert record.train_image_count == 12
    assert from_json(to_json(record), "here") == record


@pytest.mark.parametrize(
    ("change", "called"),
    [
        (lambda: torch.set_num_threads(2), r"torch.set_num_threads(2)"),
        (lambda: torch.set_default_dtype(torch.float64), "torch.set_default_dtype(torch.float64)"),
        (lambda: torch.set_default_device("meta"), "torch.set_default_device(meta)"),
        (lambda: torch.use_deterministic_algorithms(True), "torch.use_deterministic_algorithms(True)"),
    ],
)
@pytest.mark.parametrize("call", ["prepare", "finish"])
def test_a_method_that_changes_what_torch_shares_fails_by_name(job, tinyworld, monkeypatch, change, called, call):
    import tinyworld_models

    monkeypatch.setattr(tinyworld_models.MisbehavingModel, call, lambda self, train, val: change())
    record = execute(job("tinyworld:Misbehaving"))
    assert record.status == "failed"
    assert record.reason.startswith(f"'tinyworld:Misbehaving' changes what all of torch shares: {called}.")
    assert (torch.get_num_threads(), torch.get_default_dtype()) == (1, torch.float32)
    assert not torch.are_deterministic_algorithms_enabled()


def test_an_error_of_a_dataset_is_a_failed_row(job):
    record = execute(job("scripted", dataset="tinyworld:BROKEN"))
    assert record.status == "failed"
    assert record.reason.startswith("KeyError: 'no such list' (tinyworld.py:")


def test_advice_survives_into_the_row(job):
    record = execute(job("skip_tuning"))  # omega is 6, and this backbone has 2 blocks
    assert record.status == "failed"
    assert "--set start_layer=1" in record.reason


def test_the_same_run_twice_is_bitwise_the_same(job, coop):
    one = coop
    torch.manual_seed(torch.initial_seed() + 1)
    two = execute(job("coop", settings=SHORT))
    assert (one.status, two.status) == ("ok", "ok")
    assert one.epoch_losses == two.epoch_losses
    assert one.accuracy == two.accuracy
    assert one.weights_sha256 == two.weights_sha256
    assert [w.peak_tensor_bytes for w in one.windows.values()] == [w.peak_tensor_bytes for w in two.windows.values()]
    other = execute(job("coop", seed=2, settings=SHORT))
    assert other.epoch_losses != one.epoch_losses
    assert peaks(other) == peaks(one)


def peaks(record):
    return {phase: record.windows[phase].peak_tensor_bytes for phase in ("train", "test")}


def test_peaks_that_a_run_with_another_seed_has_counted_are_not_counted_again(job, monkeypatch):
    monkeypatch.setattr(passes, "train_model", lambda *args: pytest.fail("it trains again"))
    known = KnownPeaks(seed=1, peak_bytes={"train": 1 << 20, "test": 1 << 19})
    record = execute(replace(job("coop", seed=2, settings=SHORT), known_peaks=known))
    assert (record.status, record.peaks_of_seed, peaks(record)) == ("ok", 1, known.peak_bytes)
    assert 0 < record.changed_weights_percent <= 100
    assert from_json(to_json(record), "here") == record


def test_peaks_are_counted_in_every_run_where_chance_decides_shapes(job):
    known = KnownPeaks(seed=1, peak_bytes={"train": 1, "test": 1})
    drawn = {**SHORT, "start_layer": "1"}
    record = execute(replace(job("skip_tuning", seed=2, settings=drawn), known_peaks=known))
    assert record.peaks_of_seed is None
    assert min(peaks(record).values()) > 1000
    whole = {**drawn, "class_skip": "false"}
    assert execute(replace(job("skip_tuning", seed=2, settings=whole), known_peaks=known)).peaks_of_seed == 1


def test_the_memory_pass_takes_the_training_peak_from_two_steps(job):
    """More steps can't raise it: the whole training under the ledger has the same peak."""
    settings = {"epochs": "3", "batch_size": "4"}
    short = execute(job("clip_adapter", settings=settings))
    before = passes.PROBE_STEPS
    try:
        passes.PROBE_STEPS = 3
        longer = execute(job("clip_adapter", settings=settings))
    finally:
        passes.PROBE_STEPS = before
    assert short.windows["train"].peak_tensor_bytes == longer.windows["train"].peak_tensor_bytes


@pytest.mark.parametrize("execution", ["fast", "reference"])
def test_a_run_cut_short_has_costs_and_no_accuracy(job, execution):
    record = execute(job("full_finetuning", dataset="random:5", steps=3, executions=[execution]))
    assert record.status == "ok", record.reason
    assert (len(record.step_seconds), record.train_images_seen, record.test_images_seen) == (3, 12, 5)
    assert (record.accuracy, record.validation) == ({}, None)
    assert "cut after 3 steps" in record.missing["accuracy"]
    assert record.windows["train"].peak_tensor_bytes > 0


@pytest.mark.parametrize(("method", "reads"), [("zero_shot", True), ("coop", False)])
def test_a_template_that_nothing_has_read_is_said(job, method, reads):
    record = execute(job(method, template="a picture of {}.", steps=1))
    assert record.status == "ok", record.reason
    assert (record.warnings == ()) == reads
    assert reads or "coop reads no template with these settings: --template 'a picture of {}.'" in record.warnings[0]


@pytest.mark.parametrize("precision", ["bf16", "fp16"])
def test_autocast_trains_nearly_as_full_precision_does(job, scripted, precision):
    exact, record = scripted[0], execute(job("scripted", precision=precision))
    assert record.status == "ok", record.reason
    assert record.epoch_losses == pytest.approx(exact.epoch_losses, rel=0.05)
    assert record.epoch_losses != exact.epoch_losses


@pytest.mark.parametrize("execution", ["fast", "reference"])
def test_pure_half_precision_trains(job, coop, execution):
    exact = coop
    record = execute(job("coop", precision="fp16-pure", executions=[execution], settings=SHORT))
    assert record.status == "ok", record.reason
    assert record.epoch_losses == pytest.approx(exact.epoch_losses, rel=0.05)
    assert record.weights_sha256 != exact.weights_sha256  # half weights are other weights
