"""Where a benchmark's figures changed: exact figures at once, times by a change-point search that knows their noise."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import pandas as pd

from harness.gate.history import Gate

SECONDS = "seconds"
"""The figure that stands for a benchmark's times."""

RUNS = 10
"""Fewer runs of a benchmark are not searched."""

SHORTEST = 3
"""Runs that a level must last: fewer may be a machine that was busy."""

PENALTY = 25.0
"""What a change must explain: by so many variances of the noise the squared distances to the levels fall.

Chosen by the simulation in docs/gate.md, "History" (docs/change_points.py).
"""

FARTHEST, NEIGHBOURS = 3.0, 7
"""In standard deviations, how far from the median of a run and its neighbours it is taken to lie at most."""

QUIETEST = 0.002
"""The least standard deviation, relative, that times are taken to have."""


@dataclass(frozen=True, slots=True)
class Run:
    """A figure in one gate; `spread` are the quartiles of times."""

    gate: Gate
    value: float
    spread: tuple[float, float] | None = None


@dataclass(frozen=True, slots=True)
class Series:
    """A figure of a benchmark on one machine, in the order of the commits. exact: without noise."""

    benchmark: str
    figure: str
    exact: bool
    runs: tuple[Run, ...]


@dataclass(frozen=True, slots=True)
class Change:
    """A figure went from one level to another between two runs that follow each other."""

    series: Series
    before: float
    after: float
    last: Run
    first: Run

    @property
    def percent(self) -> float | None:
        """Of the level before; None where that was zero."""
        return 100 * (self.after / self.before - 1) if self.before else None


def series(gates: Sequence[Gate]) -> list[Series]:
    """The figures of all benchmarks of gates of one machine, by name, times first."""
    runs: dict[tuple[str, str], list[Run]] = {}
    exact = set()
    for gate in gates:
        for name, measured in gate.benchmarks.items():
            exact |= {(name, figure) for figure in measured.exact}
            if times := measured.times:
                quartiles = (times.q1_seconds, times.q3_seconds)
                runs.setdefault((name, SECONDS), []).append(Run(gate, times.median_seconds, quartiles))
            for figure, value in measured.figures.items():
                runs.setdefault((name, figure), []).append(Run(gate, value))
    order = sorted(runs, key=lambda key: (key[0], key[1] != SECONDS, key[1]))
    return [Series(*key, key in exact, tuple(runs[key])) for key in order]


def changes(found: Series) -> list[Change]:
    """Where a figure changed for good. Runs with uncommitted changes are left out: no commit would explain them.

    Raises ImportError for times without ruptures.
    """
    runs = [run for run in found.runs if not run.gate.dirty]
    if found.exact:
        return [Change(found, a.value, b.value, a, b) for a, b in pairwise(runs) if a.value != b.value]
    if found.figure != SECONDS:
        return []  # what else is noisy follows from the times, or is nothing we know
    starts = level_starts(np.array([run.value for run in runs]))
    levels = [float(np.median([run.value for run in runs[i:j]])) for i, j in pairwise([0, *starts, len(runs)])]
    return [Change(found, levels[i], levels[i + 1], runs[at - 1], runs[at]) for i, at in enumerate(starts)]


def level_starts(seconds: np.ndarray) -> list[int]:
    """(runs) to the indices at which another level begins: PELT on the squared distances to the means of logarithms (ruptures).

    The noise's standard deviation is that of a normal distribution with the same median step from run to run. Outliers are
    pulled in (Hampel's filter) first.
    """
    if len(seconds) < RUNS:
        return []
    import ruptures

    logs = np.log(seconds)
    noise = max(float(np.median(np.abs(np.diff(logs)))) / (0.6745 * 2**0.5), QUIETEST)
    middle = pd.Series(logs).rolling(NEIGHBOURS, center=True, min_periods=1).median().to_numpy()
    near = np.clip(logs, middle - FARTHEST * noise, middle + FARTHEST * noise) / noise
    search = ruptures.KernelCPD(kernel="linear", min_size=SHORTEST).fit(near[:, None])
    return [int(i) for i in search.predict(pen=PENALTY)[:-1]]
