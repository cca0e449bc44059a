"""What a finished run cost, where it is derived from more than one figure."""

import warnings
from dataclasses import replace

import pytest
from sklearn.metrics import balanced_accuracy_score, f1_score

from harness.recipe import Recipe
from harness.records import ProfileRecord, SimulationRecord
from reports.results.costs import adapts, epoch_seconds, step_seconds, utilisation_percent
from reports.results.costs import test_seconds as seconds_of_testing
from reports.results.macro import macro_accuracy_percent, macro_f1_percent
from reports.results.quantities import QUANTITIES, TRAIN, TRAIN_PEAK, figures
from reports.results.sections import Row


def test_testing_includes_what_reused_features_had_taken(record):
    alone = record()
    spared = replace(alone, reused_test_features=500, reused_test_seconds=3.5)
    assert seconds_of_testing(spared) == pytest.approx(seconds_of_testing(alone) + 3.5)
    assert seconds_of_testing(replace(alone, windows={})) is None


def test_utilisation_is_flops_over_time_over_the_measured_peak(record):
    simulated = {"fast": SimulationRecord(peak_bytes={}, step_flops=6 * 10**9, test_batch_flops=1)}
    profile = ProfileRecord(simulated=simulated, gemm_flops_per_second=40e9)
    found = record(step_seconds=(0.3,) * 4, profile=profile)
    assert utilisation_percent(found) == pytest.approx(50)
    assert utilisation_percent(replace(found, profile=None)) is None
    slowed = replace(found, profile=replace(profile, gemm_flops_per_second=19e9))  # the step itself made 20
    assert utilisation_percent(slowed) is None
    (utilisation,) = (q for q in QUANTITIES if q.name == "utilisation_percent")
    assert "busier" in utilisation.reason(Row("coop", "coop", (slowed,)), "peak_tensor_bytes")
    assert utilisation_percent(replace(found, profile=replace(profile, gemm_flops_per_second=None))) is None


@pytest.mark.parametrize(
    ("steps", "expected"),
    [
        ((), None),
        ((9,), 9),
        ((9, 1), 1),
        ((9, 1, 2, 2, 2), 2),  # no more than half
        ((9, 1, 1.04, 3, 4, 5), 4),
        (tuple(2.0**-k for k in range(23)), 2.0**-16),  # no more than ten
    ],
)
def test_a_step_is_the_median_once_two_in_a_row_were_alike(record, steps, expected):
    assert step_seconds(record(step_seconds=steps)) == expected


@pytest.mark.parametrize(
    ("execution", "augmentation", "steps", "expected"),
    [
        ("reference", "none", None, 10 * 2.1 + 6 / 2),
        ("fast", "random-resized-crop-flip", 4, 10 * 2.1 + 6),
        ("fast", "none", 4, 10 * 2.1 + 6 / 50),  # extracted once for all 50 epochs
    ],
)
def test_an_epoch_is_steps_for_every_image_with_loading_and_extraction(
    record, execution, augmentation, steps, expected
):
    """40 images at batch 4. Of the runs cut off there is one epoch, of the other two."""
    found = record(
        execution=execution,
        recipe=Recipe(epochs=50, batch_size=4, learning_rate=1e-3, augmentation=augmentation),
        step_seconds=(2.0,) * (steps or 20),
        load_seconds=0.1 * (steps or 20),
        extract_seconds=6.0,
        train_image_count=40,
        train_images_seen=4 * (steps or 20),
        epoch_losses=(0.5,) * (1 if steps else 2),
    )
    found = replace(found, key=replace(found.key, steps=steps))
    assert epoch_seconds(found) == pytest.approx(expected)


def test_an_epoch_of_nothing_trained_is_null(record):
    assert epoch_seconds(record("zero_shot")) is None


@pytest.fixture
def simulated(record):
    """`simulated(note)`: a method without steps that extracts features, simulated."""

    def make(note=None):
        peaks = {"extract": {"inputs": 5 * 2**20}, "evaluate": {"inputs": 2**20}}
        found = SimulationRecord(peak_bytes=peaks, step_flops=None, test_batch_flops=1, note=note)
        nothing = dict.fromkeys(("extract_seconds", "train_images_seen", "trainable_parameters"))
        real = record("zero_shot", windows={}, accuracy={}, profile=ProfileRecord(simulated={"fast": found}), **nothing)
        return replace(real, key=replace(real.key, simulated=True, method="tip_adapter"))

    return make


def test_the_simulated_peak_of_a_method_without_steps_is_that_of_its_extraction(simulated):
    assert adapts(simulated())
    assert TRAIN_PEAK.of(simulated(), "simulated") == 5 * 2**20


def test_what_was_simulated_in_part_has_no_peak_and_says_why(simulated):
    partial = simulated("training is simulated up to where it reads values")
    assert TRAIN_PEAK.of(partial, "simulated") is None
    why = TRAIN_PEAK.reason(Row("tip_adapter", "tip_adapter", (partial,)), "simulated")
    assert why == "Not known: training is simulated up to where it reads values."


def test_macro_figures_are_scikit_learns(record):
    confusion = ((0, 0, 3), (0, 1, 1), (1, 1, 2), (2, 0, 5), (2, 2, 1), (1, 3, 4))  # nothing is of class 3
    true, answered = zip(*((t, a) for t, a, count in confusion for _ in range(count)), strict=True)
    found = record()
    tests = [replace(each, confusion=confusion, classes=9) for each in found.accuracy.values()]
    found = replace(found, accuracy=dict(zip(found.accuracy, tests, strict=True)))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # of the class that no image has
        balanced = balanced_accuracy_score(true, answered)
    assert macro_accuracy_percent(found) == pytest.approx(100 * balanced)
    assert macro_f1_percent(found) == pytest.approx(100 * f1_score(true, answered, average="macro"))
    tests[0] = replace(tests[0], confusion=())
    unknown = replace(found, accuracy=dict(zip(found.accuracy, tests, strict=True)))
    assert macro_accuracy_percent(unknown) is None
    assert macro_f1_percent(unknown) is None


def test_the_time_of_a_phase_in_which_the_process_was_stopped_is_left_out(record):
    """Whatever depends on it too; what doesn't, and other phases, stay."""
    whole = record()
    windows = {**whole.windows, "train": replace(whole.windows["train"], stopped_seconds=15.0)}
    found = replace(whole, windows=windows)
    row = Row("coop", "coop", (found,))
    before, after = (figures(each, "peak_tensor_bytes") for each in (whole, found))
    gone = {name for name, value in after.items() if value is None and before[name] is not None}
    assert {"train_seconds", "step_seconds", "epoch_seconds", "load_seconds", "images_per_second"} <= gone
    assert not gone & {"test_seconds", "setup_seconds", "train_peak_bytes", "trainable_parameters"}
    assert "stopped for 15 s" in TRAIN.reason(row, "peak_tensor_bytes")
    windows = {**whole.windows, "test": replace(whole.windows["test"], stopped_seconds=2.0)}
    after = figures(replace(whole, windows=windows), "peak_tensor_bytes")
    assert {name for name, value in after.items() if value is None and before[name] is not None} == {"test_seconds"}
