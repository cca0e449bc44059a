"""The time that a suite still takes, by a clock of the test's own."""

from dataclasses import replace

import pytest

from harness.plan import Request, plan
from harness.records import WindowRecord
from harness.runs.forecast import Forecasts
from harness.runs.observation import observed
from harness.runs.time_left import Left, TimeLeft

METHODS = {"zero_shot": 2.0, "coop": 12.0, "clip_adapter": 4.0}
DATASETS = {"demo-digits": 1.0, "demo-scenes": 2.0}
START_SECONDS = 0.25


@pytest.fixture
def suite(a_record):
    """A suite of two datasets, three methods and two seeds, and how long each run takes: `(runs, record of a run)`."""
    request = {"methods": [*METHODS], "datasets": [*DATASETS], "seeds": [1, 2]}
    runs = plan(Request(suite="base2new", **request), "demo")

    def recorded(run, slower=1.0):
        seconds = METHODS[run.key.method] * DATASETS[run.key.dataset] * slower
        windows = {
            "setup": WindowRecord(seconds=seconds / 4),
            "train": WindowRecord(seconds=seconds / 2),
            "test": WindowRecord(seconds=0),
        }
        return replace(a_record(), key=run.key, total_seconds=seconds, windows=windows)

    return runs, recorded


def followed(runs, recorded, forecasts, slower=1.0, at_once=1):
    """(seconds said, runs not known, true seconds) at the start, at three moments of each run, and at the end of a suite."""
    now = 0.0
    time_left = TimeLeft(runs, forecasts, clock=lambda: now)
    took = [recorded(run, slower).total_seconds + START_SECONDS for run in runs]
    ends, free = [], [0.0] * at_once
    for seconds in took:
        start = free.pop(free.index(min(free)))
        free.append(start + seconds)
        ends.append((start, start + seconds))
    moments = sorted({*(start for start, _ in ends), *(end for _, end in ends)} | {start + 0.5 for start, _ in ends})
    begun, over, said = set(), set(), []
    for moment in moments:
        now = moment
        for number, (_, end) in enumerate(ends):
            if end <= moment and number not in over:
                over.add(number)
                record = recorded(runs[number], slower)
                forecasts.learn(record)
                time_left.ended(number, record)
        for number, (start, end) in enumerate(ends):
            if start <= moment < end and number not in begun:
                begun.add(number)
                time_left.started(number, runs[number])
        said.append((*time_left.left(), max(free) - moment))
    return said


def before(runs, recorded):
    """What runs of another seed have told."""
    return [replace(observed(recorded(run)), key=replace(run.key, seed=9)) for run in runs]


def test_it_is_not_known_while_nothing_is_and_right_once_each_kind_has_told(suite):
    runs, recorded = suite
    said = followed(runs, recorded, Forecasts())
    assert said[0][:2] == (0.0, len(runs))
    known = [(seconds, truth) for seconds, unknown, truth in said if not unknown]
    assert known[-1] == (0.0, 0.0)
    assert all(seconds == pytest.approx(truth, abs=2 * START_SECONDS) for seconds, truth in known)
    assert all(seconds <= truth for seconds, unknown, truth in said if unknown)


@pytest.mark.parametrize("at_once", [1, 2])
@pytest.mark.parametrize("slower", [1.0, 2.0])
def test_by_runs_before_it_counts_down_and_comes_true_also_where_this_suite_is_slower(suite, slower, at_once):
    runs, recorded = suite
    said = followed(runs, recorded, Forecasts().remember(before(runs, recorded)), slower, at_once)
    assert not any(unknown for _, unknown, _ in said)
    middle = said[len(said) // 2 :]
    assert all(seconds == pytest.approx(truth, rel=0.25, abs=2 * START_SECONDS) for seconds, _, truth in middle)
    if slower == 1.0:
        seconds = [seconds for seconds, _, _ in said[5 * at_once :]]
        assert seconds == sorted(seconds, reverse=True)


def test_two_at_a_time_end_when_the_later_one_does(suite):
    runs, recorded = suite
    coop = [run for run in runs if run.key.method == "coop" and run.key.dataset == "demo-digits"]
    time_left = TimeLeft(coop, Forecasts().remember(before(coop, recorded)), clock=lambda: 0.0)
    assert time_left.left() == Left(24.0, 0)
    time_left.started(1, coop[0])
    time_left.started(2, coop[1])
    assert time_left.left() == Left(12.0, 0)
    time_left.dropped(2)
    assert time_left.left() == Left(12.0, 0)


def test_runs_of_others_are_none_of_ours(suite):
    runs, recorded = suite
    time_left = TimeLeft(runs, Forecasts().remember(before(runs, recorded)), clock=lambda: 0.0)
    (all_of_it, _) = time_left.left()
    time_left.done_elsewhere(runs[2])
    assert time_left.left() == Left(all_of_it - recorded(runs[2]).total_seconds, 0)


def test_a_run_that_nothing_is_known_of_is_judged_by_the_part_of_its_training_that_is_over(suite):
    runs, _ = suite
    now = 0.0
    time_left = TimeLeft(runs[:1], Forecasts(), clock=lambda: now)
    time_left.started(1, runs[0])
    now = 10.0
    assert time_left.left() == Left(0.0, 1)
    time_left.trained(1, 0.25)
    assert time_left.left() == Left(30.0, 0)


def test_a_run_past_what_was_expected_is_judged_so_too(suite):
    runs, recorded = suite
    now = 0.0
    time_left = TimeLeft(runs[2:3], Forecasts().remember(before(runs, recorded)), clock=lambda: now)
    time_left.started(1, runs[2])
    time_left.trained(1, 0.25)
    now = 11.0
    assert time_left.left() == Left(1.0, 0)
    now = 20.0
    assert time_left.left() == Left(60.0, 0)
