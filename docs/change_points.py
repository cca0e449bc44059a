"""How often changes of times are found that are there, and that are not: the table in gate.md. Minutes on one core.

Noise of recorded times, near 3 %: normal; with heavy tails (Student's t, 3 degrees of freedom); normal, with one run in fourteen
slow by an exponential third; skewed (exponential); and carried over from run to run (autocorrelation 0.3).
"""

from __future__ import annotations

import sys

import numpy as np

from reports.trends.change_points import level_starts

CHANGE = 1.15


def noise(kind: str, runs: int, chance: np.random.Generator) -> np.ndarray:
    """(runs): logarithms of times around one level."""
    normal = chance.normal(0, 0.03, runs)
    match kind:
        case "heavy tails":
            return 0.03 * chance.standard_t(3, runs)
        case "outliers":
            return 0.67 * normal + (chance.random(runs) < 1 / 14) * chance.exponential(0.3, runs)
        case "skewed":
            return 0.03 * chance.exponential(1.5, runs)
        case "carried over":
            for i in range(1, runs):
                normal[i] += 0.3 * normal[i - 1]
    return normal


def shares_percent(kind: str, runs: int, trials: int) -> tuple[float, float, float]:
    """Of stores without a change, those with one found; of stores 15 % slower in their last third, and in their last four runs,
    those with it found and placed within a run."""
    chance = np.random.default_rng(7)
    found = np.zeros(3)
    for _ in range(trials):
        logs = noise(kind, runs, chance)
        found[0] += bool(level_starts(np.exp(logs)))
        for column, at in ((1, 2 * runs // 3), (2, runs - 4)):
            starts = level_starts(np.exp(logs) * np.where(np.arange(runs) < at, 1, CHANGE))
            found[column] += any(abs(start - at) <= 1 for start in starts)
    false, third, last = 100 * found / trials
    return false, third, last


def main() -> None:
    """Print the table; the argument is the number of stores for each of its cells."""
    trials = int(sys.argv[1]) if len(sys.argv) > 1 else 2000
    print("| noise | runs | false | found: last third | found: last four runs |\n|---|---:|---:|---:|---:|")
    for kind in ("normal", "heavy tails", "outliers", "skewed", "carried over"):
        for runs in (15, 30, 100):
            print(
                f"| {kind} | {runs} | " + " | ".join(f"{s:.1f} %" for s in shares_percent(kind, runs, trials)) + " |",
                flush=True,
            )


if __name__ == "__main__":
    main()
