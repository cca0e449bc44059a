"""What the gate says of one figure of one benchmark, and the exit code of all it says. No torch here."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Literal

Outcome = Literal["pass", "regression", "inconclusive", "unusable"]

EXIT_CODES: dict[Outcome, int] = {"pass": 0, "unusable": 2, "regression": 3, "inconclusive": 4}
_WORST_FIRST: tuple[Outcome, ...] = ("unusable", "regression", "inconclusive", "pass")


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """One line of the gate's table.

    benchmark: pytest's name of it ("tests/benchmarks/test_methods.py::test_step[coop]"). figure: what was compared ("flops",
    "peak_tensor_bytes", ..., "seconds"); empty where the benchmark as a whole is the matter. base, head: the two values, null
    where there is none; of times the medians. slowdown_percent with its interval: timed figures only. why: a sentence with the next
    step, empty for a pass.
    """

    benchmark: str
    figure: str
    outcome: Outcome
    base: Any = None
    head: Any = None
    slowdown_percent: float | None = None
    interval_percent: tuple[float, float] | None = None
    pairs: int | None = None
    why: str = ""


def worst(verdicts: Iterable[Verdict]) -> Outcome:
    """What the gate says in all: unusable before regression before inconclusive. No verdict at all is unusable."""
    outcomes = {verdict.outcome for verdict in verdicts} or {"unusable"}
    return next(outcome for outcome in _WORST_FIRST if outcome in outcomes)


def exit_code(verdicts: Iterable[Verdict]) -> int:
    """That of the worst verdict."""
    return EXIT_CODES[worst(verdicts)]
