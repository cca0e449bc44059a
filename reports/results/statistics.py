"""How sure a mean is, and which methods can't be told apart.

Intervals are 95 % t intervals over seeds: exact at three seeds where the seeds' figures are normal, and absent for one seed.
They speak of other seeds on the same datasets, not of other datasets.

Methods are compared in pairs, dataset by dataset and seed by seed, so that what a draw of images does to both cancels. A
dataset is a stratum: the mean of the datasets' mean differences over its standard error, with Welch and Satterthwaite's degrees
of freedom (as a paired t test, to which it comes down for a single dataset). Holm's step-down corrects for the number of pairs.

What is tested is what is shown: H of averages enters by its tangent there (`frames.tangent_h`, the delta method), since the mean
of the runs' own H is another number. Differences that don't scatter over seeds have no standard error. They take an exact sign test
over all pairs instead, where two seeds of one dataset give p = 0.5 and three give 0.25, however large the difference.

On a single dataset three seeds of two methods decide hardly anything. There all methods are taken to scatter alike, and their
scatter is pooled: `least_difference` is Tukey's, from which a difference between any two of them counts.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cache
from itertools import combinations

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from harness.absent import hollow

with hollow(np, "f2py"):  # SciPy takes all that NumPy has; this is for Fortran, and takes as long to import as the rest
    from scipy.special import bdtr, gammaincinv, ndtr, stdtr, stdtrit

CONFIDENCE = 0.95
SIGNIFICANCE = 1 - CONFIDENCE
ROUNDING = 1e-9
"""Differences below this, in points, are those of floating-point numbers."""

Pair = frozenset[str]


def margin(values: ArrayLike) -> NDArray[np.float64]:
    """Half the width of the t interval for the mean along the last axis; NaN where there are fewer than two values."""
    found = np.asarray(values, float)
    n = found.shape[-1]
    if n < 2:
        return np.full(found.shape[:-1], np.nan)
    return stdtrit(n - 1, (1 + CONFIDENCE) / 2) * found.std(-1, ddof=1) / np.sqrt(n)


def p_value(differences: ArrayLike) -> float:
    """That a mean difference so large is chance. (datasets, seeds), NaN where a pair is missing.

    NaN where some dataset has fewer than two pairs. An exact sign test where the seeds of every dataset differ alike.
    """
    return float(p_values(differences))


def p_values(differences: ArrayLike) -> NDArray[np.float64]:
    """`p_value` of many: (..., datasets, seeds) to (...)."""
    found = np.asarray(differences, float)
    counts = (~np.isnan(found)).sum(-1)
    enough = (counts > 1).all(-1) & (counts.shape[-1] > 0)
    p = np.full(enough.shape, np.nan)
    if enough.any():
        p[enough] = _paired_test(found[enough])
    return p


def paired_interval(differences: ArrayLike) -> tuple[float, float]:
    """Low and high end of the 95 % interval of the mean difference that `p_value` tests; NaN where it has no p."""
    found = np.asarray(differences, float)
    if np.isnan(p_value(found)):
        return float("nan"), float("nan")
    mean, error, freedom = (float(part) for part in _paired(found))
    half = float(stdtrit(freedom, (1 + CONFIDENCE) / 2)) * error if error >= ROUNDING else 0.0
    return mean - half, mean + half


def _paired_test(differences: NDArray[np.float64]) -> NDArray[np.float64]:
    mean, error, freedom = _paired(differences)
    with np.errstate(divide="ignore", invalid="ignore"):
        p = 2 * stdtr(freedom, -np.abs(mean) / error)
    return np.where(error < ROUNDING, _sign_test(differences), p)


def _paired(differences: NDArray[np.float64]) -> tuple[NDArray[np.float64], ...]:
    """(..., datasets, seeds) to the mean, its standard error and the degrees of freedom, each (...)."""
    counts = (~np.isnan(differences)).sum(-1)
    mean = np.nanmean(differences, -1).mean(-1)
    parts = np.nanvar(differences, -1, ddof=1) / counts / counts.shape[-1] ** 2
    with np.errstate(divide="ignore", invalid="ignore"):
        freedom = parts.sum(-1) ** 2 / (parts**2 / (counts - 1)).sum(-1)
    return mean, np.sqrt(parts.sum(-1)), freedom


def _sign_test(differences: NDArray[np.float64]) -> NDArray[np.float64]:
    """The two-sided p of so many pairs of one sign, where either is as likely; equal pairs don't count."""
    above, below = ((sign * differences > ROUNDING).sum((-1, -2)) for sign in (1, -1))
    return np.minimum(1.0, 2 * bdtr(np.minimum(above, below), above + below, 0.5))


def least_difference(figures: ArrayLike) -> float:
    """From which difference two rows' means are told apart, in the figures' unit: (rows, seeds), without gaps.

    Of equal rows no two are so far apart in 95 of 100 cases (Tukey's honestly significant difference). The scatter is what is left
    of the figures without each row's and each seed's mean, pooled over the rows that scatter at all. Where one doesn't (it learns
    nothing), what the others' seeds have in common is scatter too. NaN where nothing scatters, or with less than two rows or seeds.
    """
    values = np.asarray(figures, float)
    rows, seeds = values.shape
    noisy = values[values.std(-1) > ROUNDING] if seeds > 1 else values[:0]
    if rows < 2 or not len(noisy):
        return float("nan")
    own = noisy - noisy.mean(-1, keepdims=True)
    left = own - own.mean(0) if len(noisy) > 1 else own
    freedom = max(len(noisy) - 1, 1) * (seeds - 1)
    variance = 2 * (left**2).sum() / freedom
    if len(noisy) < rows:
        variance = max(variance, (own**2).sum() / len(noisy) / (seeds - 1))
    return _tukey(rows, freedom) * float(np.sqrt(variance / seeds)) if variance > ROUNDING**2 else float("nan")


@cache
def _tukey(rows: int, freedom: int) -> float:
    """The 95 % point of the range of so many means, over the standard error of a difference: the studentized range / sqrt(2)."""
    normal, weights = np.polynomial.hermite_e.hermegauss(64)
    ranks = (np.arange(512) + 0.5) / 512
    spread = np.sqrt(2 * gammaincinv(freedom / 2, ranks) / freedom)[:, None]
    low, high = 0.0, 100.0
    for _ in range(40):
        middle = (low + high) / 2
        inside = (ndtr(normal + np.sqrt(2) * middle * spread) - ndtr(normal)) ** (rows - 1)
        sure = rows * (inside @ weights).mean() / weights.sum() > CONFIDENCE
        low, high = (low, middle) if sure else (middle, high)
    return high


def holm(p_values: Mapping[Pair, float]) -> dict[Pair, float]:
    """The p values adjusted for their number; NaN ones neither count nor change."""
    adjusted, highest = dict(p_values), 0.0
    ordered = sorted((p, sorted(pair)) for pair, p in p_values.items() if not np.isnan(p))
    for i, (p, pair) in enumerate(ordered):
        highest = max(highest, min(1.0, (len(ordered) - i) * p))
        adjusted[frozenset(pair)] = highest
    return adjusted


def comparisons(cells: pd.DataFrame, with_row: str | None = None) -> dict[Pair, float]:
    """Holm's p of all pairs of rows, or of the pairs with one row. `cells`: a line a row, columns (dataset, seed)."""
    shape = (len(cells), cells.columns.unique(0).size, cells.columns.unique(1).size)
    full = cells.reindex(columns=pd.MultiIndex.from_product([cells.columns.unique(0), cells.columns.unique(1)]))
    rows, values = list(cells.index), full.to_numpy(float).reshape(shape)
    pairs = [
        pair for pair in combinations(range(len(rows)), 2) if with_row is None or with_row in [rows[i] for i in pair]
    ]
    first, second = np.array(pairs, int).reshape(-1, 2).T
    found = p_values(values[first] - values[second])
    return holm({frozenset((rows[a], rows[b])): float(p) for (a, b), p in zip(pairs, found, strict=True)})


def in_words(p: float) -> str:
    """What a paired comparison says."""
    if np.isnan(p):
        return "one seed only"
    return f"different, {p_words(p)}" if p <= SIGNIFICANCE else f"no difference found, {p_words(p)}"


def p_words(p: float) -> str:
    """``p < 0.001`` or ``p = 0.024``."""
    return "p < 0.001" if p < 0.001 else f"p = {p:.3f}"


def tied(with_row: str, rows: Sequence[str], adjusted: Mapping[Pair, float]) -> list[str]:
    """The rows that can't be told from `with_row`; those that couldn't be compared are not among them."""
    return [r for r in rows if r != with_row and adjusted[frozenset((with_row, r))] > SIGNIFICANCE]


def rank_groups(ranked: Sequence[str], adjusted: Mapping[Pair, float]) -> dict[str, tuple[int, ...]]:
    """Rows share a group where they can't be told apart; the first group is the best row's. Empty without a comparison.

    Of rows that could not be compared, those are left out that lack the most comparisons: it is they that have too few seeds.
    """
    ranked = _compared(ranked, adjusted)
    if len(ranked) < 2:
        return {}
    ties = {row: set(tied(row, ranked, adjusted)) for row in ranked}
    place = {row: i for i, row in enumerate(ranked)}
    groups = sorted(sorted(place[r] for r in clique) for clique in _cliques(set(), set(ranked), set(), ties))
    return {row: tuple(g for g, group in enumerate(groups) if place[row] in group) for row in ranked}


def _compared(ranked: Sequence[str], adjusted: Mapping[Pair, float]) -> list[str]:
    """The rows that remain when none lacks a comparison with another."""
    lacking = {
        row: {r for r in ranked if r != row and np.isnan(adjusted[frozenset((row, r))])} for row in reversed(ranked)
    }
    while any(lacking.values()):
        worst = max(lacking, key=lambda row: len(lacking[row]))
        for row in lacking.pop(worst):
            lacking[row].remove(worst)
    return [row for row in ranked if row in lacking]


def _cliques(inside: set[str], candidates: set[str], done: set[str], ties: Mapping[str, set[str]]) -> list[set[str]]:
    """The largest sets of rows that are all tied with one another (Bron and Kerbosch)."""
    if not candidates and not done:
        return [inside]
    pivot = max(candidates | done, key=lambda row: (len(ties[row] & candidates), row))
    found = []
    for row in sorted(candidates - ties[pivot]):
        found += _cliques(inside | {row}, candidates & ties[row], done & ties[row], ties)
        candidates, done = candidates - {row}, done | {row}
    return found
