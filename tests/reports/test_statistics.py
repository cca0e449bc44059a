"""Intervals that cover as often as they say, and comparisons that call chance by its name."""

import math
from itertools import combinations
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from docs.ties import lines
from reports.results.frames import tangent_h
from reports.results.statistics import (
    comparisons,
    holm,
    least_difference,
    margin,
    p_value,
    p_values,
    paired_interval,
    rank_groups,
    tied,
)


@pytest.mark.parametrize("seeds", [2, 3, 5, 10])
def test_intervals_cover_the_mean_in_95_of_100_cases(seeds):
    draws = np.random.default_rng(seeds).normal(70, 2, size=(20_000, seeds))
    covered = np.abs(draws.mean(-1) - 70) <= margin(draws)
    assert 0.94 < covered.mean() < 0.96


@pytest.mark.parametrize("datasets", [1, 2, 3, 11])
@pytest.mark.parametrize("spread", ["alike", "unlike"])
def test_equal_methods_are_told_apart_in_5_of_100_cases_at_three_seeds(datasets, spread):
    """Unlike: one dataset's seeds scatter 25 times as far as another's."""
    scale = np.ones(datasets) if spread == "alike" else np.geomspace(0.2, 5, datasets)
    draws = np.random.default_rng(0).normal(size=(4000, datasets, 3)) * scale[:, None]
    not_rejected = np.mean(p_values(draws) > 0.05)
    assert 0.93 < not_rejected < 0.97


def test_one_dataset_is_the_paired_t_test():
    a, b = np.array([71.0, 73.5, 70.2]), np.array([69.0, 70.0, 69.9])
    test = stats.ttest_rel(a, b)
    assert p_value([a - b]) == pytest.approx(test.pvalue)
    assert paired_interval([a - b]) == pytest.approx(tuple(test.confidence_interval()))


def test_datasets_of_unlike_levels_do_not_blur_a_steady_difference():
    assert p_value([[5.0, 5.1, 4.9], [1.0, 1.1, 0.9]]) < 0.001


def test_holm_by_hand():
    pairs = [frozenset(p) for p in ("ab", "ac", "bc", "ad")]
    adjusted = holm(dict(zip(pairs, (0.04, 0.01, 0.03, math.nan), strict=True)))
    assert [adjusted[p] for p in pairs[:3]] == pytest.approx([0.06, 0.03, 0.06])
    assert math.isnan(adjusted[pairs[3]])


def test_with_many_equal_methods_some_pair_is_told_apart_in_at_most_5_of_100_cases():
    chance = np.random.default_rng(2)
    columns = pd.MultiIndex.from_product([["digits", "shapes"], [1, 2, 3]])
    wrong = 0
    for _ in range(200):
        cells = pd.DataFrame(chance.normal(size=(4, 6)), list("wxyz"), columns)
        wrong += min(comparisons(cells).values()) <= 0.05
    assert wrong / 200 < 0.09


def test_no_interval_and_no_comparison_from_one_seed():
    assert np.isnan(margin([70.0]))
    assert np.isnan(p_value([[3.0]]))
    assert np.isnan(p_value(np.empty((0, 0))))
    assert np.isnan(p_values([[[3.0]], [[np.nan]]])).all()
    assert np.isnan(p_value([[3.0, 2.0, 4.0], [3.0, np.nan, np.nan]]))


@pytest.mark.parametrize("steps", [[2.0], [0.5, 2.0], [2.0, -1.0], [3.0, 0.0, 1.0], [1.0] * 11])
@pytest.mark.parametrize("seeds", [2, 3])
def test_differences_without_any_scatter_take_the_exact_sign_test(steps, seeds):
    signs = [step > 0 for step in steps if step for _ in range(seeds)]
    expected = stats.binomtest(sum(signs), len(signs)).pvalue
    assert p_value([[step] * seeds for step in steps]) == pytest.approx(expected)


def test_a_few_equal_differences_are_no_proof():
    assert p_value([[5.0, 5.0]]) == 0.5
    assert p_value([[5.0, 5.0, 5.0]]) == 0.25
    assert p_value([[0.0, 0.0, 0.0]]) == 1
    assert p_value([[0.3, 0.3, 0.3]] * 11) < 1e-9


@pytest.mark.parametrize("seeds", [2, 3])
def test_coarse_accuracies_of_equal_methods_are_told_apart_no_more_often(seeds):
    """40 test images: one seed's difference is often another's, so that nothing scatters by chance."""
    percent = np.random.default_rng(seeds).binomial(40, 0.7, size=(2, 4000, 1, seeds)) / 0.4
    assert np.mean(p_values(percent[0] - percent[1]) <= 0.05) < 0.05


def test_equal_h_is_told_apart_in_5_of_100_cases_however_base_and_new_make_it_up():
    """Methods whose average base and new are equal, and whose datasets share them out differently; 4000 pairs of them."""
    chance, level = np.random.default_rng(3), {"uneven": ([95, 60], [45, 80]), "even": ([77.5, 77.5], [62.5, 62.5])}
    columns = pd.MultiIndex.from_product([["digits", "shapes"], [1, 2, 3]])
    shares = {
        name: tangent_h(*(pd.DataFrame(np.repeat(means, 3) + 2 * chance.normal(size=(4000, 6)), columns=columns)
                          for means in halves))
        for name, halves in level.items()
    }  # fmt: skip
    differences = (shares["uneven"] - shares["even"]).to_numpy().reshape(4000, 2, 3)
    assert 0.03 < np.mean(p_values(differences) <= 0.05) < 0.07


def test_the_least_difference_is_tukeys():
    figures = np.random.default_rng(0).normal(size=(6, 3))
    left = figures - figures.mean(1, keepdims=True) - figures.mean(0) + figures.mean()
    by_hand = stats.studentized_range.ppf(0.95, 6, 10) * np.sqrt((left**2).sum() / 10 / 3)
    assert least_difference(figures) == pytest.approx(by_hand, rel=1e-3)


def test_a_row_that_does_not_scatter_narrows_no_pool():
    figures = np.random.default_rng(0).normal(size=(5, 3))
    still = least_difference([*figures, [0.0] * 3])
    assert still > least_difference(figures)
    assert np.isnan(least_difference([[1.0, 1.0], [2.0, 2.0]]))
    assert np.isnan(least_difference([[1.0], [2.0]]))
    assert np.isnan(least_difference([[1.0, 2.0]]))


def test_the_rates_of_false_differences_and_false_ties_are_those_of_the_docs():
    page = (Path(__file__).parents[2] / "docs" / "reports.md").read_text()
    for unlike, (false_difference, *_), line in lines():
        assert false_difference <= (17 if unlike else 6)
        assert line in page, line


def ties(ranked, tied_pairs):
    return {frozenset(p): 0.5 if frozenset(p) in map(frozenset, tied_pairs) else 0.001 for p in combinations(ranked, 2)}


def test_rows_share_a_group_where_they_are_tied():
    assert rank_groups("abcd", ties("abcd", ["ab", "bc"])) == {"a": (0,), "b": (0, 1), "c": (1,), "d": (2,)}
    assert rank_groups("abc", ties("abc", ["ac"])) == {"a": (0,), "b": (1,), "c": (0,)}
    assert rank_groups("abc", ties("abc", ["ab", "bc", "ac"])) == dict.fromkeys("abc", (0,))


@pytest.mark.parametrize("seed", range(3))
def test_groups_say_exactly_which_pairs_are_tied(seed):
    ranked = [f"m{i:02d}" for i in range(18)]
    chance = np.random.default_rng(seed)
    adjusted = {frozenset(p): chance.random() * 0.1 for p in combinations(ranked, 2)}
    shown = rank_groups(ranked, adjusted)
    for a, b in combinations(ranked, 2):
        assert bool(set(shown[a]) & set(shown[b])) == (adjusted[frozenset((a, b))] > 0.05)


def test_rows_that_could_not_be_compared_have_no_group_and_no_tie():
    adjusted = {frozenset("ab"): math.nan}
    assert rank_groups("ab", adjusted) == {}
    assert tied("a", "ab", adjusted) == []


def test_a_row_that_could_not_be_compared_keeps_its_group_from_no_other():
    """x and y have a comparison with no row; b and z share too few seeds with one another alone."""
    adjusted = ties("abcxyz", ["ab", "cz", "az"])
    adjusted |= {pair: math.nan for pair in adjusted if pair & {"x", "y"} or pair == frozenset("bz")}
    assert rank_groups("xabcyz", adjusted) == {"a": (0,), "b": (0,), "c": (1,)}
