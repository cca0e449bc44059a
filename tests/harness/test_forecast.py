"""What is expected of planned runs, by records and calibrations of this machine alone; and nothing where nothing is known."""

from dataclasses import replace

import pytest

from harness.data.sizes import Count, Sizes
from harness.meters.environment import cpu_threads, describe
from harness.plan import Request, plan
from harness.records import TestRecord, WindowRecord
from harness.runs.calibrations import Calibrations
from harness.runs.forecast import Forecasts
from harness.runs.known import observations
from harness.runs.observation import observed, this_machine
from harness.runs.store import Store

WINDOWS = {
    "setup": WindowRecord(seconds=1.0),
    "train": WindowRecord(seconds=6.0, peak_tensor_bytes=300, peak_rss_bytes=3000),
    "test": WindowRecord(seconds=2.0, peak_tensor_bytes=200, peak_rss_bytes=5000),
}


def planned(**request):
    wanted = {"methods": ["skip_tuning"], "datasets": ["demo-digits"], "seeds": [1, 2], **request}
    return plan(Request(suite="base2new", **wanted), "demo")


@pytest.fixture
def a_run(a_record):
    """`a_run(seconds=10, ...)`: the record of a run here that took so long, 1 s of it outside the phases."""

    def make(seconds=10.0, environment=None, command=None, images=80, classes=5, tested=100, **request):
        record = a_record(**request)
        train = replace(WINDOWS["train"], seconds=seconds - 4)
        return replace(
            record,
            total_seconds=seconds,
            windows={**WINDOWS, "train": train},
            accuracy={
                test: TestRecord(accuracy_percent=50.0, correct=tested // 2, images=tested, classes=classes)
                for test in record.key.tests
            },
            step_seconds=(0.01,) * 100,
            load_seconds=0.5,
            train_image_count=images,
            train_class_count=classes,
            environment=replace(describe("cpu", cpu_threads()), **(environment or {})),
            command=command,
        )

    return make


def expected(runs, *records, folder=None, threads=None, calibrations=()):
    store = Store(folder)
    for record in records:
        store.write(record)
    for each in calibrations:
        Calibrations(folder, this_machine("cpu", threads)).keep(each)
    return Forecasts().remember(observations(runs, store, "cpu", threads)).of(runs)


def test_records_of_the_kind_tell_time_and_memory_whatever_their_seed_and_suite(a_run, tmp_path):
    elsewhere = a_run(14.0, seeds=[7])
    elsewhere = replace(elsewhere, key=replace(elsewhere.key, suite="mine"))
    found = expected(planned(), a_run(10.0, seeds=[5]), a_run(12.0, seeds=[6]), elsewhere, folder=tmp_path)
    assert [each.seconds for each in found] == [12.0, 12.0]
    assert (found[0].peak_tensor_bytes, found[0].peak_rss_bytes) == (300, 5000)
    assert (found[0].source, found[0].count, found[0].why) == ("records", 3, None)


@pytest.mark.parametrize(
    "environment",
    [{"hostname_sha256": "another"}, {"cpu": "another"}, {"gpu": "a GPU"}, {"threads": cpu_threads() + 1}],
    ids=lambda environment: next(iter(environment)),
)
def test_machines_are_never_mixed(environment, a_run, tmp_path):
    (found,) = expected(planned(seeds=[1]), a_run(environment=environment), folder=tmp_path, threads=cpu_threads())
    assert found.seconds is None
    assert found.peak_tensor_bytes is None
    assert found.why.startswith("no run of skip_tuning with these settings")


def test_a_record_of_threads_that_were_asked_for_says_nothing_of_those_chosen(a_run, tmp_path):
    record = a_run(command="adaptbench run base2new --threads 1")
    assert expected(planned(seeds=[1]), record, folder=tmp_path)[0].seconds is None
    assert expected(planned(seeds=[1]), record, folder=tmp_path, threads=cpu_threads())[0].seconds == 10.0


def test_runs_that_choose_their_threads_are_judged_by_those_with_as_many_as_the_latest(a_run, tmp_path, monkeypatch):
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    earlier, later = (
        replace(a_run(seconds, seeds=[seed], environment={"threads": threads}), started_at=f"2026-01-0{seed}T00:00:00")
        for seconds, seed, threads in ((10.0, 8, 64), (30.0, 9, 32))
    )
    (found,) = expected(planned(seeds=[1]), earlier, later, folder=tmp_path)
    assert (found.seconds, found.count) == (30.0, 1)


@pytest.mark.parametrize(
    "change",
    [
        {"status": "failed", "reason": "because."},
        {"windows": {}},
        {"windows": {**WINDOWS, "train": WindowRecord(seconds=6.0, stopped_seconds=3.0)}},
    ],
)
def test_a_run_that_did_not_go_well_says_nothing(change, a_run):
    assert observed(replace(a_run(), **change)) is None


def test_other_settings_are_another_kind(a_run, tmp_path):
    found = expected(planned(seeds=[1], settings={"epochs": "3"}), a_run(), folder=tmp_path)
    assert found[0].source == "similar"
    assert found[0].seconds == 9.25  # half of six epochs: of 1 s of steps and 0.5 s of loading
    found = expected(planned(seeds=[1], settings={"start_layer": "4"}), a_run(), folder=tmp_path)
    assert found[0].seconds is None


def test_a_calibration_counts_where_there_is_no_record(a_run, tmp_path):
    calibration = replace(observed(a_run(20.0)), source="calibration")
    (found,) = expected(planned(seeds=[2]), folder=tmp_path, calibrations=[calibration])
    assert (found.seconds, found.source, found.count) == (20.0, "steps", 1)
    assert expected(planned(seeds=[2]), folder=tmp_path, threads=7)[0].seconds is None, "as chosen, not as asked for"
    (found,) = expected(planned(seeds=[2]), a_run(10.0), folder=tmp_path)
    assert (found.seconds, found.source) == (10.0, "records")


def test_what_a_suite_has_done_itself_comes_first_and_tells_how_slow_the_rest_will_be(a_run, tmp_path):
    runs = planned(methods=["skip_tuning", "coop"], seeds=[1])
    store = Store(tmp_path)
    store.write(a_run(10.0, seeds=[5]))
    store.write(a_run(20.0, methods=["coop"], seeds=[5]))
    forecasts = Forecasts().remember(observations(runs, store, "cpu", None))
    assert [each.seconds for each in forecasts.of(runs)] == [10.0, 20.0]
    forecasts.learn(a_run(15.0, seeds=[9]))
    slower = pytest.approx(20 * (15 + 20) / (10 + 20))
    assert [each.seconds for each in forecasts.of(runs)] == [15.0, slower], "20 s, the longest, count as expected"
    forecasts.learn(replace(a_run(5.0, seeds=[8]), status="failed", reason="because."))
    assert [each.seconds for each in forecasts.of(runs)] == [15.0, slower]


def test_runs_with_other_data_are_scaled_by_what_is_known_of_it(a_run, tmp_path):
    runs = planned(datasets=["demo-letters"], seeds=[1])
    (found,) = expected(runs, a_run(), folder=tmp_path)
    assert (found.seconds, found.why) == (
        None,
        "the runs known here don't tell the size of demo-letters and of its tests",
    )
    sizes = Sizes()
    sizes.trained_on["demo-letters", "base", 16] = Count(160, 5)
    sizes.tested_on |= {"demo-letters/base": Count(200, 5), "demo-letters/new": Count(200, 5)}
    forecasts = Forecasts(sizes).remember(observations(runs, Store(tmp_path), "cpu", None))
    (found,) = forecasts.of(runs)
    # set-up 1 and the rest 1 stay, training 6 and tests 2 double: twice the images at one number of classes
    assert found.seconds == pytest.approx(1 + 1 + 2 * 6 + 2 * 2)
    assert (found.source, found.count) == ("similar", 1)
    assert (found.peak_tensor_bytes, found.why) == (None, "runs with other data tell nothing of memory")


def test_steps_grow_with_classes_as_two_datasets_tell(a_run):
    runs = planned(datasets=["demo-scenes"], seeds=[1])
    sizes = Sizes()
    sizes.trained_on["demo-scenes", "base", 16] = Count(80, 20)
    sizes.tested_on |= {"demo-scenes/base": Count(100, 20), "demo-scenes/new": Count(100, 20)}
    few = a_run(classes=5)
    more = replace(a_run(datasets=["demo-letters"], classes=10), step_seconds=(0.02,) * 100)
    forecasts = Forecasts(sizes).remember([observed(few), observed(more)])
    # of the nearer one's training, 2 s are steps: half as many classes again double them
    assert forecasts.of(runs)[0].seconds == pytest.approx(10.0 + 2.0)


def test_the_first_run_of_some_extracts_test_features_for_the_others(a_run):
    runs = planned(methods=["zero_shot"], seeds=[1, 2, 3])
    taken_over = replace(
        a_run(methods=["zero_shot"], seeds=[9]),
        reused_test_features=200,
        test_images_seen=200,
        reused_test_seconds=3.0,
    )
    calibrated = replace(observed(taken_over), source="calibration")
    found = Forecasts().remember([calibrated]).of(runs)
    assert [each.seconds for each in found] == [13.0, 10.0, 10.0]
    assert [each.seconds for each in Forecasts().remember([observed(taken_over)]).of(runs)] == [10.0] * 3
    first = replace(observed(a_run(20.0, methods=["zero_shot"], seeds=[8])), shares=True, test_seconds=9.0)
    (kind,) = {each.seconds for each in Forecasts().remember([first]).of(runs)}
    assert kind == 1 + 16 + 1, "all of a test is features, where nothing else is known"
    others = replace(observed(taken_over), key=planned(methods=["clip_adapter"], seeds=[1])[0].key)
    (kind,) = {each.seconds for each in Forecasts().remember([first, others]).of(runs)}
    assert kind == 1 + 16 + 1 + 2, "of the others' tests 2 s are left"


def test_the_first_run_of_a_kind_counts_its_peak_and_the_others_are_spared_that(a_run):
    runs = planned(seeds=[1, 2])
    calibrated = replace(observed(a_run(10.0)), source="calibration", counting_seconds=0.5)
    assert [each.seconds for each in Forecasts().remember([calibrated]).of(runs)] == [10.0, 9.5]
    told = [observed(a_run(10.0, seeds=[8])), observed(replace(a_run(9.0, seeds=[9]), peaks_of_seed=8))]
    assert [each.seconds for each in Forecasts().remember(told).of(runs)] == [10.0, 9.0]
    forecasts = Forecasts().remember(told)
    forecasts.learn(a_run(20.0, seeds=[1]))
    forecasts.learn(replace(a_run(19.0, seeds=[3]), peaks_of_seed=1))
    assert forecasts.of(runs[1:])[0].seconds == 19.0


def test_features_of_a_part_of_the_tests_spare_that_part(a_run):
    runs = planned(methods=["zero_shot"], seeds=[1])
    first = replace(a_run(methods=["zero_shot"], seeds=[9]), reused_test_features=50, reused_test_seconds=1.0)
    first = replace(first, test_images_seen=200)
    assert observed(first).spared_seconds is None, "a part tells little of all"
    calibrated = replace(observed(first), source="calibration", spared_seconds=3.0)
    half = replace(first, key=replace(first.key, tests=("demo-digits/base",), seed=8))
    half = replace(half, accuracy={"demo-digits/base": first.accuracy["demo-digits/base"]})
    (found,) = Forecasts().remember([calibrated, observed(half)]).of(runs)
    assert found.seconds == 10.0 + 1.0 - 3.0 / 2


def test_sizes_are_those_of_what_is_drawn(tinyworld):
    splits, sizes = tinyworld.splits(), Sizes()
    sizes.count("tiny", splits, ["all", "base"], [1, 1000])
    classes = {item.label for item in splits.train}
    assert sizes.trained_on["tiny", "all", 1] == Count(len(classes), len(classes))
    assert sizes.trained_on["tiny", "all", 1000] == Count(len(splits.train), len(classes))
    base = {label for label in classes if label < (len(classes) + 1) // 2}
    assert sizes.tested_on["tiny/base"] == Count(sum(item.label in base for item in splits.test), len(base))
