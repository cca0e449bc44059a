"""Every number of a record changed to what no run leaves, and every byte: refused by name, or the report is made."""

import json
from dataclasses import replace

import pytest

from harness.errors import DataError
from harness.records import AnalysisRecord, ProfileRecord, SimulationRecord, from_json, to_json
from reports.pages.page import page

VALUES = ("0", "-1", "1", "0.5", "100", "1000000000", "9223372036854775808", "1e308", "-1e308", "5e-324", "1e999", "NaN", "9" * 400,
          "9" * 5000, "true", "null", '"1"', "[]", "{}")  # fmt: skip
MARK = "@@"


def places(value, path=()):
    """The path of every number in a document."""
    if isinstance(value, dict):
        for name, each in value.items():
            yield from places(each, (*path, name))
    elif isinstance(value, list):
        for number, each in enumerate(value[:3]):  # the others are as these
            yield from places(each, (*path, number))
    elif isinstance(value, int | float) and not isinstance(value, bool):
        yield path


def changed(document, path, value):
    """The document's text with another value at a place, written as it is."""
    copy = json.loads(json.dumps(document))
    place = copy
    for part in path[:-1]:
        place = place[part]
    place[path[-1]] = MARK
    return json.dumps(copy).replace(f'"{MARK}"', value).encode()


@pytest.fixture(scope="module")
def document(record):
    """A record with every kind of figure."""
    tested = {
        name: replace(test, images=10, correct=5, accuracy_percent=50.0, classes=2, class_names=("a", "b"),
                      confusion=((0, 0, 3), (0, 1, 2), (1, 0, 3), (1, 1, 2)))
        for name, test in record().accuracy.items()
    }  # fmt: skip
    looked = AnalysisRecord(
        images=4, image_shift=(0.1, 0.5), image_blocks_with_gradient=1, rank_gradient_after=(0.6, 0.4)
    )
    simulated = {"fast": SimulationRecord(peak_bytes={"train": {"weights": 9}}, step_flops=9, test_batch_flops=9)}
    made = record(accuracy=None, analysis=looked, profile=ProfileRecord(simulated=simulated), settings={"depth": 3})
    return json.loads(to_json(replace(made, accuracy=tested)))


def outcome(data, other):
    """``refused`` by name, or ``reported``; whatever else is raised fails the test."""
    try:
        found = from_json(data, "results/a.json")
    except DataError as error:
        return "refused" if str(error).startswith("results/a.json is ") else str(error)
    assert "<h1" in page([found, other])
    return "reported"


def every(document):
    return [(path, value) for path in places(document) for value in VALUES]


def test_a_number_that_no_run_leaves_costs_no_report(document, record):
    found = {outcome(changed(document, path, value), record("zero_shot")) for path, value in every(document)[::151]}
    assert found == {"refused", "reported"}


def turned(data, place):
    """With one bit of a byte turned, another bit from byte to byte."""
    return data[:place] + bytes([data[place] ^ 1 << place % 8]) + data[place + 1 :]


@pytest.mark.parametrize("step", [97, pytest.param(1, marks=pytest.mark.long)])
def test_a_bit_that_turned_costs_no_report(document, record, step, record_testsuite_property):
    """Where it makes another letter of a text, or another digit, the record is another one that can be: nothing tells it then."""
    data = json.dumps(document).encode()
    found = [outcome(turned(data, place), record("zero_shot")) for place in range(0, len(data), step)]
    for name in ("refused", "reported"):
        record_testsuite_property(f"records {name}, a bit turned", found.count(name))
    assert set(found) == {"refused", "reported"}


@pytest.mark.long
def test_no_number_of_a_record_costs_a_report(document, record, record_testsuite_property):
    found = [outcome(changed(document, path, value), record("zero_shot")) for path, value in every(document)]
    for name in ("refused", "reported"):
        record_testsuite_property(f"records {name}, a number changed", found.count(name))
    assert set(found) == {"refused", "reported"}
    assert len(found) > 1400
