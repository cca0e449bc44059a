import math

import pytest

from reports.format import units


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0, "0 B"),
        (999, "999 B"),
        (1000, "0.98 KiB"),
        (1024, "1.00 KiB"),
        (3 * 2**30, "3.00 GiB"),
        (2**30 - 1, "1.00 GiB"),
        (300 * 2**20, "300 MiB"),
        (10**18, "888 PiB"),
        (10**21, "888178 PiB"),
    ],
)
def test_size(value, text):
    assert units.size(value) == text


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0, "0 s"),
        (0.00035, "0.35 ms"),
        (0.035, "35.0 ms"),
        (0.9996, "1.00 s"),
        (12.345, "12.3 s"),
        (59.96, "1 min 00 s"),
        (75.4, "1 min 15 s"),
        (3599.7, "1 h 00 min"),
        (7500, "2 h 05 min"),
        (172_799, "2 d 00 h"),
        (273_600, "3 d 04 h"),
        (1e9, "11574 d 02 h"),
    ],
)
def test_duration(value, text):
    assert units.duration(value) == text


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0, "0"),
        (2048, "2,048"),
        (9999, "9,999"),
        (12_345, "12.3 k"),
        (999_960, "1.0 M"),
        (123_456_789, "123.5 M"),
        (5e15, "5,000.0 T"),
    ],
)
def test_count(value, text):
    assert units.count(value) == text


def test_rates_percents_points_and_ratios():
    assert [units.rate(v) for v in (0, 0.42, 12.34, 123.4, 1234.5)] == ["0.00", "0.42", "12.3", "123", "1,234"]
    assert units.percent(81.236) == "81.24"
    assert [units.points(v) for v in (3.2, -0.15, 0.001, -0.001)] == ["+3.20", "−0.15", "±0", "±0"]
    assert [units.times(v) for v in (1.0, 3.66, 9.96, 15.2)] == ["1.0 times", "3.7 times", "10 times", "15 times"]


@pytest.mark.parametrize("word", [units.size, units.duration, units.count, units.rate, units.percent, units.times])
def test_what_is_no_number_is_refused(word):
    for absent in (None, True):
        with pytest.raises(TypeError):
            word(absent)
    for wrong in (math.nan, math.inf, -1):
        with pytest.raises(ValueError, match="no number"):
            word(wrong)
