"""The numbers of a page, against numbers worked out by hand."""

import math
from dataclasses import replace

import pytest

from harness.recipe import Recipe
from harness.records import WindowRecord
from reports.results.frames import harmonic_mean
from reports.results.quantities import QUANTITIES
from reports.results.section_results import gaps, section_results
from reports.results.sections import sections

MIB = 2**20


def reason(row, name, peak):
    return {q.name: q for q in QUANTITIES}[name].reason(row, peak)


def of(records):
    (section,) = sections(records)
    return section, section_results(section)


@pytest.fixture
def two_by_two(record):
    """Two datasets, two seeds. digits: base 80, 90; new 40, 60. shapes: base 60, 70; new 60, 60."""
    percents = {("digits", 1): (80, 40), ("digits", 2): (90, 60), ("shapes", 1): (60, 60), ("shapes", 2): (70, 60)}
    seconds = {("digits", 1): 10.0, ("digits", 2): 12.0, ("shapes", 1): 30.0, ("shapes", 2): 32.0}
    return [
        record(
            "coop", d, s, base=b, new=n, train_seconds=seconds[d, s], peak_bytes=(100 if d == "digits" else 200) * MIB
        )
        for (d, s), (b, n) in percents.items()
    ]


def test_h_of_a_dataset_is_that_of_its_seed_means(two_by_two):
    _, found = of(two_by_two)
    assert found.on("coop", "digits")["base"] == 85
    assert found.on("coop", "digits")["h"] == pytest.approx(2 * 85 * 50 / 135)  # not the mean of 53.33 and 72


def test_h_of_the_average_row_is_that_of_the_means(two_by_two):
    _, found = of(two_by_two)
    line = found.line("coop")
    assert (line["base"], line["new"]) == (75, 55)
    assert line["h"] == pytest.approx(2 * 75 * 55 / 130)  # 63.4615
    mean_of_h = (2 * 85 * 50 / 135 + 2 * 65 * 60 / 125) / 2  # 62.6815
    assert line["h"] != pytest.approx(mean_of_h)


T = 12.7062
"""Student's t at 97.5 % with one degree of freedom."""


def test_intervals_are_those_of_the_seeds_averages(two_by_two):
    _, found = of(two_by_two)
    line = found.line("coop")
    assert line["base_margin"] == pytest.approx(T * 5, rel=1e-4)  # seeds average 70 and 80
    assert line["new_margin"] == pytest.approx(T * 5, rel=1e-4)  # 50 and 60
    assert line["h_margin"] == pytest.approx(T * (2 * 80 * 60 / 140 - 2 * 70 * 50 / 120) / 2, rel=1e-4)


def test_costs_over_datasets_and_seeds(two_by_two):
    _, found = of(two_by_two)
    line = found.line("coop")
    assert line["train_seconds"] == 42  # 40 and 44
    assert line["train_seconds_margin"] == pytest.approx(T * 2, rel=1e-4)
    assert line["images_per_second"] == pytest.approx((3200 / 40 + 3200 / 44) / 2)
    assert line["train_peak_bytes"] == 200 * MIB
    assert line["extract_seconds"] == 3


def test_median_step_leaves_out_the_warm_up(record):
    _, found = of([record(step_seconds=(9.0, 5.0, 0.3, 0.299, *[0.1] * 4, *[0.2] * 4))])
    assert found.line("coop")["step_seconds"] == pytest.approx(0.15)


def test_peak_is_the_allocators_on_a_gpu_and_that_of_live_tensors_on_a_cpu(record, gpu):
    assert of([record()])[1].peak == "peak_tensor_bytes"
    assert of([record(environment=gpu)])[1].peak == "peak_allocated_bytes"


def test_peak_of_a_run_is_the_highest_of_its_phases(record):
    windows = {
        p: WindowRecord(seconds=1, peak_tensor_bytes=b * MIB) for p, b in (("setup", 5), ("train", 2), ("test", 3))
    }
    line = of([record(windows=windows)])[1].line("coop")
    assert (line["train_peak_bytes"], line["run_peak_bytes"]) == (2 * MIB, 5 * MIB)
    unmetered = {**windows, "setup": WindowRecord(seconds=1)}
    assert of([record(windows=unmetered)])[1].line("coop")["run_peak_bytes"] == 3 * MIB
    unknown = {**windows, "test": WindowRecord(seconds=1)}
    assert math.isnan(of([record(windows=unknown)])[1].line("coop")["run_peak_bytes"])


def test_one_seed_has_no_interval(record):
    line = of([record()])[1].line("coop")
    assert all(math.isnan(line[name]) for name in line.index if name.endswith("_margin"))
    assert not math.isnan(line["h"])


def test_a_failed_run_takes_its_dataset_out_of_the_average(two_by_two):
    two_by_two[-1] = replace(two_by_two[-1], status="out_of_memory", reason="too big", accuracy={}, windows={})
    section, found = of(two_by_two)
    line = found.line("coop")
    assert (line["complete"], line["expected"]) == (1, 2)
    assert (line["base"], line["new"]) == (85, 50)  # digits alone
    assert line["train_seconds"] == 11
    assert found.on("coop", "shapes")["seeds"] == 1
    assert found.complete.empty
    assert gaps(section, section.rows[0]) == ["shapes: seed 2 out of memory"]


def test_a_run_that_is_not_there_counts_as_a_gap(two_by_two, record):
    section, found = of([*two_by_two[:3], record("zero_shot"), record("zero_shot", seed=2)])
    assert found.complete.empty
    assert [gaps(section, row) for row in section.rows] == [["shapes: seed 2 not run"], ["shapes: not run"]]


def test_a_method_of_which_nothing_finished_has_no_figures(record):
    section, found = of([record(status="failed", accuracy={}, windows={})])
    assert found.line("coop")[["base", "h", "train_seconds"]].isna().all()
    assert found.on("coop", "digits") is None
    assert reason(section.rows[0], "train_seconds", found.peak) == "No run finished."


def test_differences_are_to_a_complete_reference_only(two_by_two, record):
    reference = [record("zero_shot", d, s, base=50, new=50) for d in ("digits", "shapes") for s in (1, 2)]
    line = of([*two_by_two, *reference])[1].line("coop")
    assert (line["base_gain"], line["new_gain"]) == (25, 5)
    assert math.isnan(of([*two_by_two, *reference[:3]])[1].line("coop")["base_gain"])


def test_nulls_are_absent_with_the_records_reason(record):
    null = record(peak_bytes=None, parameters=None, missing={"train.peak_tensor_bytes": "no meter here"})
    section, found = of([null])
    assert math.isnan(found.line("coop")["train_peak_bytes"])
    assert reason(section.rows[0], "train_peak_bytes", found.peak) == "no meter here"
    assert reason(section.rows[0], "trainable_parameters", found.peak) == "Not recorded."


def test_one_null_makes_its_whole_figure_absent(two_by_two):
    two_by_two[0] = replace(two_by_two[0], train_images_seen=None)
    assert math.isnan(of(two_by_two)[1].line("coop")["images_per_second"])


def test_a_method_that_trains_nothing_has_no_training_cost(record):
    section, found = of([record("zero_shot")])
    line = found.line("zero_shot")
    assert line[["train_seconds", "train_peak_bytes", "images_per_second"]].isna().all()
    assert line["trainable_parameters"] == 0
    assert reason(section.rows[0], "train_seconds", found.peak) == "This method trains nothing."


def test_what_is_fitted_in_one_go_has_training_costs(record):
    """A linear probe takes no step and reads no batch, but extracts features and fits a classifier."""
    fitted = record("probe", recipe=Recipe(), train_seconds=5.0, extract_seconds=0.5, trainable_parameters=645,
                    train_images_seen=0)  # fmt: skip
    fitted = replace(fitted, windows={**fitted.windows, "train": WindowRecord(seconds=5.0, peak_tensor_bytes=MIB)})
    section, found = of([fitted])
    line = found.line("probe")
    assert (line["train_seconds"], line["extract_seconds"], line["train_peak_bytes"]) == (5.0, 0.5, MIB)
    assert math.isnan(line["images_per_second"])
    assert "no optimiser step" in reason(section.rows[0], "images_per_second", found.peak)


def test_a_method_that_is_the_reference_on_new_classes_is_found_out(record):
    runs = [record("zero_shot", d, s, base=50, new=40 + s) for d in ("digits", "shapes") for s in (1, 2)]
    runs += [record("probe", d, s, base=80, new=40 + s) for d in ("digits", "shapes") for s in (1, 2)]
    runs += [record("coop", d, s, base=80, new=40 + s * (d == "digits")) for d in ("digits", "shapes") for s in (1, 2)]
    assert of(runs)[1].unadapted == {"zero_shot": set(), "probe": {"new"}, "coop": set()}


def test_a_transfer_averages_its_targets_and_keeps_its_source_apart(record):
    runs = [
        record(m, suite="transfer", dataset="source", seed=s, accuracy={"source": 90.0, "a": 40 + s + better, "b": 80})
        for m, better in (("coop", 0), ("maple", 9))
        for s in (1, 3)
    ]
    _, found = of(runs)
    assert (found.metrics, found.main) == (("source", "target"), "target")
    line = found.line("coop")
    assert (line["source"], line["target"]) == (90, 61)
    assert line["target_margin"] == pytest.approx(T * 0.5, rel=1e-4)
    assert found.on("coop", "a")["accuracy"] == 42
    assert found.complete.index[0] == "maple"
    assert found.comparisons == {frozenset(("coop", "maple")): 0.5}  # 4.5 points in either seed: twice the same sign


def test_all_classes_of_one_dataset_are_plain_accuracy(record):
    _, found = of([record(dataset="a", seed=s, accuracy={"a": 40.0 + s}) for s in (1, 3)])
    assert (found.metrics, found.main, found.line("coop")["accuracy"]) == (("accuracy",), "accuracy", 42)


def test_rows_are_compared_over_datasets_and_seeds(record):
    steady = {1: 0.0, 2: 0.1, 3: -0.1}
    runs = [record("low", d, s, base=50 + s, new=50 + s) for d in ("digits", "shapes") for s in (1, 2, 3)]
    runs += [record("high", d, s, base=55 + s + steady[s], new=55 + s) for d in ("digits", "shapes") for s in (1, 2, 3)]
    runs += [
        record("alike", d, s, base=55 + s, new=55 + s - steady[s]) for d in ("digits", "shapes") for s in (1, 2, 3)
    ]
    _, found = of(runs)
    assert found.tied_with_best() in (["alike"], ["high"])
    assert found.rank_groups() == {"alike": (0,), "high": (0,), "low": (1,)}
    assert found.ties_on("digits").rows in (("alike",), ("high",))


def test_a_row_of_one_seed_takes_no_group_from_the_others(record):
    runs = [record(m, seed=s, base=v, new=v) for m, level, w in (("coop", 80, 1.0), ("adapter", 60, 1.1), ("lora", 80.1, -1.0))
            for s in (1, 2, 3) for v in [level + w * (s - 2)]]  # fmt: skip
    _, found = of([*runs, record("late", seed=1, base=90, new=50)])
    assert found.rank_groups() == {"lora": (0,), "coop": (0,), "adapter": (1,)}


@pytest.fixture
def equal_h(record):
    """Base and new average 77.5 and 62.5 in both rows, so H is 69.20 in both; the mean of the datasets' H is 64.82 in one."""
    levels = {
        "uneven": {"digits": (95, 45), "shapes": (60, 80)},
        "even": {"digits": (77.5, 62.5), "shapes": (77.5, 62.5)},
    }
    return [
        record(row, d, s, base=b + (s - 2) * (1 + (row == "even") / 5), new=n + (s - 2))
        for row, datasets in levels.items() for d, (b, n) in datasets.items() for s in (1, 2, 3)
    ]  # fmt: skip


def test_the_runs_that_are_compared_average_to_the_score_that_is_shown(equal_h, two_by_two):
    for runs in (equal_h, two_by_two):
        _, found = of(runs)
        for label in found.complete.index:
            assert found.paired_runs("h").loc[label].mean() == pytest.approx(found.line(label)["h"], abs=1e-9)
            for unit in ("digits", "shapes"):
                shown = found.on(label, unit)["h"]
                assert found.paired_runs("h", unit).loc[label].mean() == pytest.approx(shown, abs=1e-9)


def test_rows_of_one_h_are_tied_however_their_datasets_share_it_out(equal_h):
    _, found = of(equal_h)
    assert found.comparisons[frozenset(("uneven", "even"))] > 0.9
    assert found.compared_with("even", "base")[frozenset(("uneven", "even"))] > 0.9
    assert len(found.tied_with_best()) == 1


def test_on_one_dataset_rows_are_compared_that_have_every_seed_of_the_best(record):
    scores = {"best": (80, 81, 82), "near": (79, 81.5, 82), "far": (60, 61.2, 62)}
    runs = [record(m, seed=s, base=v, new=v) for m, values in scores.items() for s, v in enumerate(values, 1)]
    found = of([*runs, record("late", seed=1, base=80, new=80)])[1].ties_on("digits")
    assert found.rows == ("near",)
    assert 1 < found.points < 10


def test_a_harmonic_mean_of_nothing_has_a_tangent(record):
    _, found = of([record(seed=s, base=0.0, new=0.0) for s in (1, 2)])
    assert (found.paired_runs("h") == 0).all(axis=None)


def test_harmonic_mean():
    assert harmonic_mean(0, 0) == 0
    assert harmonic_mean(100, 0) == 0
    assert harmonic_mean(60, 60) == 60
