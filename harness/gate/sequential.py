"""When enough pairs were measured: a test of the median slow-down that may look after every pair. No torch here.

Of each pair only the sign counts: was head slower than base by more than the threshold? A gambler bets on "yes" at every rate
from a half to one, with equal stakes; while the median slow-down is no greater than the threshold, her wealth passes
1 / `ERROR_RATE` with a chance of `ERROR_RATE` at most, however often one looks (Ville's inequality). Another bets on "no". The
slow-downs that neither rules out are an interval for the median that holds at all times at once (Howard and Ramdas,
arXiv:1906.09712, give such intervals for any quantile). No shape of the noise is assumed.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from functools import cache
from math import log
from typing import Literal

from scipy.special import betainc, betaln

Judgement = Literal["pass", "regression"]

ERROR_RATE = 0.01
"""Of each side: the interval misses the median in 2 % of launches at most."""

REGRESSION_LAUNCHES = 3
"""A regression takes so many. Two were too few once in 74 decisions on equal code: head lay 6 % slower, then 11 %."""


def interval(ratios: Sequence[float]) -> tuple[float, float] | None:
    """Where the median of the ratios' law lies; None while there are too few to say (fewer than 9)."""
    needed = signs_needed(len(ratios))
    if needed > len(ratios):
        return None
    ordered = sorted(ratios)
    return ordered[-needed], ordered[needed - 1]


def judge(ratios: Sequence[float], threshold_percent: float) -> Judgement | None:
    """What the ratios head / base of one launch say; None: not decided yet."""
    limit = 1 + threshold_percent / 100
    bounds = interval(ratios)
    if bounds is None or bounds[0] <= limit <= bounds[1]:
        return None
    return "regression" if bounds[0] > limit else "pass"


def settle(judgements: Sequence[Judgement | None]) -> Judgement | None:
    """What the launches say together; None: launch once more.

    Where things lie in memory can make a process slow for all its life: a regression takes `REGRESSION_LAUNCHES`, and more
    than passed. A pass takes one, or where a regression was seen one more than those.
    """
    regressions, passes = judgements.count("regression"), judgements.count("pass")
    if passes > regressions:
        return "pass"
    return "regression" if regressions > passes and regressions >= REGRESSION_LAUNCHES else None


@cache
def signs_needed(pairs: int) -> int:
    """How many of so many pairs have to lie on one side of a value to rule it out as the median; `pairs` + 1: all aren't enough."""
    return bisect_left(range(pairs + 1), -log(ERROR_RATE), key=lambda above: _log_wealth(above, pairs))


def _log_wealth(above: int, pairs: int) -> float:
    """Log of the integral over rates p in [1/2, 1] of 2 (2p)^above (2 - 2p)^(pairs - above)."""
    a, b = above + 1, pairs - above + 1
    tail = betainc(b, a, 0.5)
    return float((pairs + 1) * log(2) + betaln(a, b) + log(tail)) if tail else -float("inf")
