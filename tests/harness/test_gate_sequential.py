"""The test that may look after every pair: how often it errs, and how soon it sees."""

from math import inf

import numpy as np
import pytest
from scipy.integrate import quad

from harness.gate.sequential import ERROR_RATE, _log_wealth, interval, judge, settle, signs_needed

PAIRS = 400


def first_rejections(above_rate, runs=4000):
    """By run, the pair at which "the median is no greater" is rejected, and the one at which "no less" is; inf: never."""
    above = (np.random.default_rng(7).random((runs, PAIRS)) < above_rate).cumsum(axis=1)
    pairs = np.arange(1, PAIRS + 1)
    needed = np.array([signs_needed(n) for n in pairs])
    rejected = (above >= needed, pairs - above >= needed)
    return [np.where(each.any(axis=1), each.argmax(axis=1) + 1, inf) for each in rejected]


def test_at_the_boundary_each_side_errs_no_more_often_than_stated():
    """4000 gates, each looked at after every one of 400 pairs: 3 standard errors of a rate of 1 % are 0.5 %."""
    slower, faster = first_rejections(0.5)
    assert np.isfinite(slower).mean() < ERROR_RATE + 0.005
    assert np.isfinite(faster).mean() < ERROR_RATE + 0.005
    assert np.isfinite(slower).mean() > ERROR_RATE / 5  # and spends what it is allowed: else it would be slow


@pytest.mark.parametrize(("above_rate", "pairs"), [(0.95, 20), (0.8, 60), (0.65, 300)])
def test_what_is_clear_is_found_soon(above_rate, pairs):
    slower, faster = first_rejections(above_rate)
    assert (slower <= pairs).mean() > 0.95
    assert (faster < slower).mean() < ERROR_RATE


@pytest.mark.parametrize("noise", ["normal", "standard_cauchy", "exponential"])
def test_the_interval_holds_at_all_times_at_once(noise):
    """Whatever the shape of the noise, tails without a mean included; one gate misses if it misses after any pair."""
    draw = getattr(np.random.default_rng(3), noise)
    median = np.log(2) if noise == "exponential" else 0.0
    missed = 0
    for _ in range(100):
        ratios = np.exp(0.1 * np.clip(draw(size=120) - median, -50, 50)).tolist()
        bounds = [interval(ratios[:pairs]) for pairs in range(1, 121)]
        missed += any(not low <= 1 <= high for low, high in filter(None, bounds))
    assert missed <= 7  # 2 % of 100, and 3 standard errors more


@pytest.mark.parametrize(("above", "pairs"), [(0, 0), (3, 9), (9, 9), (30, 40)])
def test_wealth_is_the_mean_over_bets(above, pairs):
    mean, _ = quad(lambda p: 2 * (2 * p) ** above * (2 - 2 * p) ** (pairs - above), 0.5, 1)
    assert np.exp(_log_wealth(above, pairs)) == pytest.approx(mean)


def test_nine_pairs_are_the_fewest():
    assert interval([1.2] * 8) is None
    assert judge([1.2] * 8, 5) is None
    assert interval([1.2] * 9) == (1.2, 1.2)
    assert judge([1.2] * 9, 5) == "regression"
    assert judge([1.0] * 9, 5) == "pass"


def test_one_pair_against_the_others_needs_more_of_them():
    assert judge([0.5] + [1.2] * 9, 5) is None
    assert judge([0.5] + [1.2] * 20, 5) == "regression"


def test_a_slowdown_at_the_threshold_is_never_decided():
    assert judge([1.05] * 500, 5) is None


R, P = "regression", "pass"


@pytest.mark.parametrize(
    ("launches", "settled"),
    [
        ([], None), ([None], None), ([P], P), ([R], None), ([R, R], None), ([R, R, R], R), ([R, P], None), ([R, P, P], P),
        ([R, P, R], None), ([R, P, R, R], R), ([R, P, R, P, P], P), ([None, P], P), ([None, R, R], None), ([None, R, R, R], R),
    ],
)  # fmt: skip
def test_a_regression_takes_three_launches(launches, settled):
    assert settle(launches) == settled
