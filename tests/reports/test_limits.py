import html
import re

from reports.findings.limits import limits
from reports.results.section_results import in_numbers
from reports.results.titles import row_styles

GIB = 2**30


def found(records):
    (results,) = in_numbers(records)
    return limits("s1-front", results, row_styles([results]))


def devices(records):
    return [html.unescape(re.sub("<[^>]*>", "", words)) for words in found(records).devices]


def method(record, name, score, seconds, gib, **changes):
    return [record(name, seed=s, base=score, new=score, train_seconds=seconds, peak_bytes=int(gib * GIB), **changes)
            for s in (1, 2)]  # fmt: skip


def test_the_front_has_what_nothing_beats_in_score_time_and_memory_at_once(record):
    runs = [*method(record, "best", 80, 60, 9), *method(record, "small", 70, 90, 1), *method(record, "quick", 70, 30, 4),
            *method(record, "worse", 69, 31, 4), *method(record, "zero_shot", 50, 0, 1)]  # fmt: skip
    assert [[cell.text for cell in cells] for cells in found(runs).front.rows] == [
        ["best", "80.00", "1 min 00 s", "9.00 GiB"],
        ["quick", "70.00", "30.0 s", "4.00 GiB"],
        ["small", "70.00", "1 min 30 s", "1.00 GiB"],
        ["zero_shot", "50.00", "none", "none"],
    ]


def test_usual_devices_say_who_fits_who_is_best_and_who_is_only_just_outside(record):
    runs = [
        *method(record, "best", 80, 60, 9),
        *method(record, "huge", 79, 60, 11),
        *method(record, "small", 70, 90, 1),
    ]
    assert devices(runs) == [
        "8 GiB: 1 of 3 methods fit; best small (H 70.00, 1 min 30 s, 1.00 GiB); only just outside: best.",
        "16, 24 and 80 GiB: all 3 methods fit; best best (H 80.00, 1 min 00 s, 9.00 GiB).",
    ]


def test_what_is_not_complete_or_not_known_is_no_candidate(record):
    runs = [
        *method(record, "a", 80, 60, 9),
        *method(record, "b", 70, 90, 1),
        record("part", base=99, new=99, dataset="shapes"),
    ]
    assert found(runs) is None
    unknown = [record("c", seed=s, base=90, new=90, peak_bytes=None) for s in (1, 2)]
    assert [cells[0].text for cells in found([*runs[:4], *unknown]).front.rows] == ["a", "b"]
