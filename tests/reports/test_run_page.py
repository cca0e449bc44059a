"""A run in full, from whatever its record holds."""

import re
from dataclasses import replace

import pytest

from harness.records import AnalysisRecord, BlockRecord, ProfileRecord, SimulationRecord, TestRecord, WindowRecord
from reports.charts.sparklines import POINTS
from reports.format.cells import ABSENT
from reports.html.markup import cell
from reports.pages import run_html
from reports.pages.run_html import class_tables
from reports.pages.run_page import run_view
from reports.results.classes import by_class


def texts(table):
    return [[cell if isinstance(cell, str) else ABSENT for cell in row] for row in table.rows]


def test_phases_share_one_time_line(record):
    view = run_view("r", "coop", record())
    assert [(phase, took) for phase, took, _ in view.phases] == [
        ("setup", "500 ms"),
        ("train", "10.0 s"),
        ("test", "2.00 s"),
    ]
    assert 'x="4.00"' in view.phases[1][2]
    assert 'width="80.00"' in view.phases[1][2]


def test_curves_of_loss_rate_and_speed(record):
    losses = tuple(2 - i / 100 for i in range(20))
    view = run_view("r", "coop", record(epoch_losses=losses, step_seconds=(0.1,) * 999 + (0.2,)))
    words = {trace.title: trace.words for trace in view.traces}
    assert words["Loss by epoch"] == "from 2.000 to 1.810 in 20 epochs"
    assert words["Learning rate by epoch"].startswith("from 0.002 to")
    assert words["Images a second, step by step"] == "from 8.00 to 16.0 images/s in 1,000 steps"  # 1,600 seen
    assert all(trace.svg.count(",") <= POINTS for trace in view.traces)


def test_a_loss_that_is_not_known_is_said(record):
    view = run_view("r", "coop", record(epoch_losses=(3.0, None, 2.0, 1.0), step_seconds=()))
    assert view.traces[0].words == "from 3.000 to 1.000 in 4 epochs, 1 of them unknown"
    assert view.traces[0].y == ("1.000", "3.000")


def test_accuracy_by_class_names_the_lowest(record):
    test = TestRecord(accuracy_percent=62.5, correct=5, images=8, classes=3, class_names=("cat", "dog", "<b>"),
                      confusion=((0, 0, 1), (0, 1, 3), (1, 1, 4)))  # fmt: skip
    view = run_view("r", "coop", replace(record(), accuracy={"digits": test}))
    assert texts(view.tests) == [["digits", "62.50", "5 of 8", "3", "cat: 25 %, dog: 100 %"]]
    assert view.traces[-1].words == "from 25 to 100 %, the middle one 100 %"


def test_a_line_a_class_says_what_it_is_taken_for(record):
    test = TestRecord(accuracy_percent=50, correct=4, images=8, classes=3, class_names=("cat", "dog", "<b>"),
                      confusion=((0, 0, 1), (0, 1, 3), (0, 2, 1), (1, 1, 3)))  # fmt: skip
    ((caption, table),) = class_tables(by_class(replace(record(), accuracy={"digits": test})))
    assert caption == "Classes of digits"
    assert [re.findall("<bdi.*?>(.*?)</bdi>", line) for line in table.split("<tr>")[2:]] == [
        ["cat", "20.0", "5", "dog (3)"],
        ["dog", "100.0", "3", "no other"],
        ["&lt;b&gt;", "–", "0", "no other"],
    ]
    assert '<li id="classes1-n1">No image.</li>' in table
    assert by_class(record()) == {}


def test_a_confusion_of_classes_that_are_not_there_is_no_result_by_class(record):
    test = TestRecord(accuracy_percent=50, correct=1, images=2, classes=2, class_names=(), confusion=((5, 0, 1),))
    view = run_view("r", "coop", replace(record(), accuracy={"digits": test}))
    assert view.tests.notes == ["The record holds no result by class."]


def test_a_failed_run_with_nothing_measured_is_shown(record):
    view = run_view(
        "r", "coop", record(status="failed", reason="boom", accuracy={}, windows={}, step_seconds=(), epoch_losses=())
    )
    assert (view.summary, view.reason, view.phases, view.traces) == ("failed", "boom", [], [])
    assert not view.windows.rows


def test_what_no_meter_took_is_absent_with_its_reason(record):
    windows = {"train": WindowRecord(seconds=1, energy_joules=5.0), "test": WindowRecord(seconds=1)}
    view = run_view("r", "coop", record(windows=windows, missing={"test.energy_joules": "window too short"}))
    assert texts(view.windows) == [["Time", "1.00 s", "1.00 s"], ["Energy", "5.00 J", "–"]]
    assert view.windows.notes == ["window too short"]


def test_a_clock_that_was_held_down_is_told(record):
    def legend(*reasons):
        return run_view(
            "r", "coop", record(windows={"train": WindowRecord(seconds=1, throttle_reasons=reasons)})
        ).windows.legend

    assert legend("power cap", "power brake") == "The GPU's clock was held down (train: power cap, power brake)."
    assert legend() == ""


@pytest.fixture
def profiled(record):
    blocks = (BlockRecord(tower="image", block=0, forward_seconds=0.001, backward_seconds=None, saved_bytes=0),
              BlockRecord(tower="image", block=1, forward_seconds=0.001, backward_seconds=0.002, saved_bytes=2**20))  # fmt: skip
    peaks = {"train": {"parameters": 2**20, "activations": 2**21}, "test": {"parameters": 2**20}}
    simulated = {"fast": SimulationRecord(peak_bytes=peaks, step_flops=1, test_batch_flops=1), "reference": None}
    analysis = AnalysisRecord(images=4, image_shift=(0.1, 0.5), image_blocks_with_gradient=1)
    return record(profile=ProfileRecord(blocks=blocks, simulated=simulated), analysis=analysis)


def test_a_profile_shows_blocks_and_categories(profiled):
    view = run_view("r", "coop", profiled)
    assert texts(view.blocks) == [["image 0", "1.00 ms", "–", "0 B"], ["image 1", "1.00 ms", "2.00 ms", "1.00 MiB"]]
    assert texts(view.categories) == [["fast, train", "1.00 MiB", "2.00 MiB"], ["fast, test", "1.00 MiB", "–"]]
    assert (
        view.traces[-1].words
        == "shift of each block over that of the last, 0.20 in the first; 1 of 2 blocks receive a gradient"
    )


@pytest.mark.parametrize("name", ["a", "0 (0", "<b> & 00", *("0" * length for length in range(18, 42))])
def test_a_name_becomes_html_once_for_all_numbers_behind_it(name, monkeypatch):
    made = []
    monkeypatch.setattr(run_html, "cell", lambda *args, **named: (made.append(args), cell(*args, **named))[1])
    run_html._taken_for.cache_clear()
    run_html._around.cache_clear()
    numbers = [*range(1, 100), 1000, 20_000, 25_000]
    found = [run_html._taken_for(name, number) for number in numbers]
    assert len(made) == 4, "numbers of one digit, of two, and 1,000 and 20,000"
    assert found == [f"{cell(f'{name} ({number:,})', numeric=False)}\n</tr>" for number in numbers]
