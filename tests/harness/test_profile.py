"""A training step from inside: every block that runs, what it keeps, whether a gradient comes; simulated beside it."""

import gzip
import json
from dataclasses import replace

import pytest

from harness.errors import ConfigError
from harness.probes import profile
from harness.records import from_json, to_json
from harness.runs.runner import execute

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture
def profile_a_run(job, monkeypatch, tmp_path):
    """`profile_a_run(method, execution)`: the record of a real run whose step is profiled and traced, and its trace."""
    monkeypatch.setattr("harness.meters.flops.GEMM_SIZE", 256)

    def run(method, execution):
        settings = {"epochs": "1", "batch_size": "4", "augmentation": "none"}
        planned, trace = job(method, settings=settings, executions=[execution]), tmp_path / "new" / "run.trace.json.gz"
        record = execute(replace(planned, run=replace(planned.run, profile=True), trace=trace))
        assert record.status == "ok", record.reason
        return record, json.loads(gzip.decompress(trace.read_bytes()))

    return run


@pytest.fixture(scope="module")
def known():
    return {}


@pytest.fixture
def profiled(profile_a_run, known):
    """The same, done once."""

    def run(method, execution="fast"):
        if (method, execution) not in known:
            known[method, execution] = profile_a_run(method, execution)
        return known[method, execution]

    return run


def blocks_of(record):
    return {(b.tower, b.block): b for b in record.profile.blocks}


def test_full_finetuning_runs_and_differentiates_every_block(profiled):
    record, _ = profiled("full_finetuning")
    blocks = blocks_of(record)
    assert set(blocks) == {(tower, i) for tower in ("image", "text") for i in (0, 1)}
    assert all(b.forward_seconds > 0 and b.backward_seconds > 0 and b.saved_bytes > 0 for b in blocks.values())
    assert sum(b.saved_bytes for b in blocks.values()) < record.windows["train"].peak_tensor_bytes
    step = sum(b.forward_seconds + b.backward_seconds for b in blocks.values())
    assert step < 20 * max(record.step_seconds)
    assert from_json(to_json(record), "itself") == record


def test_only_blocks_with_a_gradient_have_a_backward_time(profiled):
    blocks = blocks_of(profiled("coop", "reference")[0])
    assert {key for key, b in blocks.items() if b.backward_seconds is not None} == {("text", 0), ("text", 1)}
    assert {key for key, b in blocks.items() if b.saved_bytes} == {("text", 0), ("text", 1)}
    assert ("image", 0) in blocks  # it runs, live and without a gradient
    assert {tower for tower, _ in blocks_of(profiled("coop")[0])} == {"text"}  # from features


def test_the_fast_execution_keeps_less_in_every_block(profiled):
    fast, reference = (blocks_of(profiled("full_finetuning", e)[0]) for e in ("fast", "reference"))
    assert all(fast[key].saved_bytes < reference[key].saved_bytes for key in reference)


def test_both_executions_are_simulated_beside_it(profiled):
    simulated = profiled("full_finetuning")[0].profile.simulated
    assert simulated["fast"].step_flops < simulated["reference"].step_flops
    total = {e: sum(s.peak_bytes["train"].values()) for e, s in simulated.items()}
    assert total["fast"] < total["reference"]


def test_an_execution_that_cannot_be_simulated_says_why(profile_a_run, monkeypatch):
    def simulate(key, classes):
        if key.execution == "fast":
            raise ConfigError("no such fast path", "Mend it.")
        return real(key, classes)

    real = profile.simulate
    monkeypatch.setattr(profile, "simulate", simulate)
    record, _ = profile_a_run("coop", "fast")
    assert record.profile.simulated["fast"] is None
    assert record.profile.simulated["reference"].test_batch_flops > 0
    assert record.missing["profile.simulated.fast"] == "no such fast path"


def test_a_method_without_steps_has_no_profile_and_says_why(job):
    planned = job("zero_shot")
    record = execute(replace(planned, run=replace(planned.run, profile=True)))
    assert (record.status, record.profile) == ("ok", None)
    assert record.missing["profile"] == "the method trains in no steps"


def test_a_trace_is_one_that_perfetto_reads(profiled):
    _, trace = profiled("coop")
    assert any("addmm" in event["name"] for event in trace["traceEvents"])


def test_a_simulated_run_measures_nothing_and_is_a_run_of_its_own(job):
    real, simulated = job("coop"), job("coop", simulated=True)
    assert real.run.key != simulated.run.key
    record = execute(simulated)
    assert (record.status, record.windows, record.accuracy) == ("ok", {}, {})
    assert record.profile.simulated["fast"].step_flops > 0
    assert record.missing["windows"] == "simulated"
    assert record.train_class_count == 3


def test_a_bug_in_a_method_is_a_failed_simulation_that_names_the_place(job, monkeypatch):
    monkeypatch.setattr("methods.coop.model.CoOpModel.loss", lambda self, batch: batch.inputs[0] @ batch.inputs[0])
    record = execute(job("coop", simulated=True))
    assert record.status == "failed"
    assert "'coop' can't be simulated: RuntimeError" in record.reason
    assert record.profile is None


def test_what_only_starts_to_be_simulated_says_so(job):
    (found,) = execute(job("linear_probe", simulated=True)).profile.simulated.values()
    assert "reads values" in found.note
