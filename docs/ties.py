"""How often a tie on a dataset is wrong: the table in reports.md, `python -m docs.ties`. Half a minute on one core."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from reports.results.statistics import least_difference

DATASETS = 1000
WORSE = (1, 2, 4)
"""Standard deviations of a seed by which one method is worse than all others."""


def rates_percent(methods: int, seeds: int, unlike: bool) -> list[int]:
    """Of `DATASETS`: those with a false difference where all are equal, then those with a false tie where one is so much worse.

    Seeds have a part in common. unlike: the noisiest method scatters four times as far as the quietest.
    """
    chance = np.random.default_rng(1)
    scatter = np.geomspace(0.5, 2, methods) if unlike else np.ones(methods)
    wrong = np.zeros(1 + len(WORSE))
    for _ in range(DATASETS):
        figures = chance.normal(size=(methods, seeds)) * chance.permutation(scatter)[:, None] + chance.normal(
            size=seeds
        )
        apart, means = least_difference(figures), figures.mean(-1)
        wrong += [np.ptp(means) > apart, *(max(means[1:]) - means[0] + worse <= apart for worse in WORSE)]
    return [round(100 * count / DATASETS) for count in wrong]


def lines() -> Iterator[tuple[bool, list[int], str]]:
    """Of each case: whether the methods scatter unlike, its rates in percent, and its line of the table."""
    for unlike in (False, True):
        for methods in (2, 6, 18):
            for seeds in (2, 3, 5, 10):
                rates = rates_percent(methods, seeds, unlike)
                shown = " | ".join(f"{rate} %" for rate in rates)
                yield unlike, rates, f"| {'unlike' if unlike else 'alike'} | {methods} | {seeds} | {shown} |"


if __name__ == "__main__":
    print(
        "| scatter | methods | seeds | false difference | false tie at 1 | at 2 | at 4 |\n|---|---:|---:|---:|---:|---:|---:|"
    )
    for *_, line in lines():
        print(line, flush=True)
