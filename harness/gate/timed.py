"""The timed gate: base and head in two processes that take turns, until a sequential test decides. No torch here.

One launch of the two processes serves every benchmark that is still open. A turn is some rounds of which the quickest counts; a
pair is a turn of each side right after each other, in alternating order. From wall time the kernel's count of the wait for a core
is taken off, and with it most of what other programs do: without, a call of 50 ms beside two hogs varied by 20 %, with it by 2 %.
The budget of a benchmark counts the seconds of its turns: launches, imports and fixtures are shared by all and come on top.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from math import ceil
from pathlib import Path
from statistics import median
from typing import Any

from harness.errors import ConfigError
from harness.gate.raw_times import write_raw_times
from harness.gate.sequential import REGRESSION_LAUNCHES, Judgement, interval, judge, settle, signs_needed
from harness.gate.verdict import Verdict
from harness.gate.worker_client import Failure, ProcessError, Side, TimedProcess, Turn, file_of
from harness.gate.worktree import INSTALL, base_checkout

PATIENCE_SECONDS = 300.0

TURN_SECONDS = 0.05
ROUND_SECONDS = 0.002
FEWEST_PAIRS = next(pairs for pairs in range(1, 100) if signs_needed(pairs) <= pairs)

_ABSENT = {
    "base": "The base has no such benchmark: it is new or renamed, and there is nothing to compare it with. Merge it first, or "
    "name a base that has it.",
    "head": "Head has no such benchmark: it was deleted or renamed. Ask for one that pytest --collect-only lists.",
}

Pair = tuple[float, float]
"""Seconds a call took at base and at head."""


@dataclass
class Comparison:
    """What is known of one benchmark so far: pairs by launch, raw seconds by side, and why it can't be used, if it can't."""

    benchmark: str
    threshold_percent: float
    budget_seconds: float
    launches: list[list[Pair]] = field(default_factory=list)
    raw_seconds: dict[str, list[float]] = field(default_factory=lambda: {"base": [], "head": []})
    entries: dict[str, dict[str, Any]] = field(default_factory=dict)
    spent_seconds: float = 0.0
    unusable: str = ""

    def fail(self, side: str, why: str) -> None:
        """Unusable; what the other side says of it later is no news."""
        lacks = " What the base lacks is installed by --install." if side == "base" else ""
        self.unusable = self.unusable or f"At {side}, {why}\nIt is compared once it passes on both sides.{lacks}"

    def judge(self, launch: Sequence[Pair]) -> Judgement | None:
        return judge(_ratios(launch), self.threshold_percent)

    @property
    def settled(self) -> Judgement | None:
        return settle([self.judge(launch) for launch in self.launches])

    @property
    def open(self) -> bool:
        """Whether another launch is needed, and its fewest pairs can be paid for."""
        if self.unusable or self.settled:
            return False
        pairs = sum(map(len, self.launches))
        fewest_seconds = FEWEST_PAIRS * self.spent_seconds / pairs if pairs else 0.0
        return self.spent_seconds + fewest_seconds <= self.budget_seconds

    @property
    def progress(self) -> str:
        if self.unusable:
            return "unusable"
        pairs = [pair for launch in self.launches for pair in launch]
        slowdown_percent = _percent(median(_ratios(pairs)))
        return f"{slowdown_percent:+.1f} % after {len(pairs)} pairs, {self.spent_seconds:.1f} s"

    @property
    def verdict(self) -> Verdict:
        if self.unusable:
            return Verdict(benchmark=self.benchmark, figure="seconds", outcome="unusable", why=self.unusable)
        pairs = [pair for launch in self.launches for pair in launch]
        ratios, bounds = _ratios(pairs), interval(_ratios(pairs))
        return Verdict(
            benchmark=self.benchmark,
            figure="seconds",
            outcome=self.settled or "inconclusive",
            base=median(base for base, _ in pairs),
            head=median(head for _, head in pairs),
            slowdown_percent=_percent(median(ratios)),
            interval_percent=(_percent(bounds[0]), _percent(bounds[1])) if bounds else None,
            pairs=len(pairs),
            why=self._why(),
        )

    def _why(self) -> str:
        limit = f"{self.threshold_percent:g} %"
        if self.settled == "pass":
            return ""
        if self.settled == "regression":
            return (
                f"Slower than the base by more than {limit}, in {len(self.launches)} launches of both. Look at what has "
                "changed, or, if the time is well spent, give this benchmark a greater threshold until it is merged."
            )
        return (
            f"{self.spent_seconds:.0f} s of turns can't tell whether the slow-down is above {limit}. Measure again on a "
            f"quieter machine, or with a budget above {self.budget_seconds:g} s; if it lies near {limit}, change the threshold."
        )


def timed_gate(
    benchmarks: Sequence[str],
    *,
    root: Path,
    base: str,
    thresholds_percent: Mapping[str, float],
    budget_seconds: float,
    say: Callable[[str], None],
    install: Sequence[str] = INSTALL,
    raw: Path | None = None,
) -> list[Verdict]:
    """One verdict for each of head's `benchmarks` (pytest's names) against commit `base`, checked out with its own environment.

    root: the folder that head's names are relative to. thresholds_percent: by benchmark. budget_seconds: of turns, for each.
    install: pip's words for the base's environment. raw: a folder for base.json and head.json in pytest-benchmark's format.
    Raises ConfigError where there is no such commit, or no environment.
    """
    if not benchmarks:
        raise ConfigError("there is no benchmark to time.", "Name a folder whose tests use the `benchmark` fixture.")
    if budget_seconds <= 0:
        raise ConfigError(
            f"a budget of {budget_seconds:g} s leaves no time to measure.", "Three minutes are a good start: 180"
        )
    head = Side(name="head", python=Path(sys.executable), folder=root.resolve())
    with base_checkout(head.folder, base, say=say, install=install) as base_side:
        comparisons = compare(
            base_side,
            head,
            benchmarks,
            thresholds_percent=thresholds_percent,
            budget_seconds=budget_seconds,
            say=say,
        )
        if raw is not None:
            for side in (base_side, head):
                timed = [(c.entries[side.name], c.raw_seconds[side.name]) for c in comparisons if len(c.entries) == 2]
                write_raw_times(raw / f"{side.name}.json", side.folder, timed)
    return [comparison.verdict for comparison in comparisons]


def compare(
    base: Side,
    head: Side,
    benchmarks: Sequence[str],
    *,
    thresholds_percent: Mapping[str, float],
    budget_seconds: float,
    say: Callable[[str], None],
    patience_seconds: float = PATIENCE_SECONDS,
) -> list[Comparison]:
    """The timed gate on two sides that are ready to run. patience_seconds: how long a process may keep silent."""
    comparisons = [Comparison(name, thresholds_percent[name], budget_seconds) for name in benchmarks]
    launch = 0
    while waiting := [comparison for comparison in comparisons if comparison.open]:
        launch += 1
        say(f"Launch {launch}: base and head take turns in {len(waiting)} of {len(comparisons)} benchmarks")
        _launch(base, head, waiting, patience_seconds, say)
    return comparisons


def _launch(
    base: Side, head: Side, waiting: Sequence[Comparison], patience_seconds: float, say: Callable[[str], None]
) -> None:
    """Run both sides once. Where a process fails, the benchmark in hand is unusable; the others wait for the next launch."""
    in_hand = [comparison for comparison in waiting if not _without_file(comparison, base, head)]
    if not in_hand:
        return
    names = [comparison.benchmark for comparison in in_hand]
    try:
        with (
            TimedProcess(base, names, patience_seconds) as first,
            TimedProcess(head, names, patience_seconds) as second,
        ):
            absent = {process.side.name: process.absent() for process in (first, second)}
            common = [comparison for comparison in in_hand if not _uncollected(comparison, absent)]
            for process in (first, second):
                process.run([comparison.benchmark for comparison in common])
            for comparison in common:
                in_hand = [comparison]
                _play(first, second, comparison)
                say(f"{comparison.benchmark}: {comparison.progress}")
            in_hand = []
    except ProcessError as error:
        for comparison in in_hand:
            comparison.unusable = f"{error}\nRun `pytest {comparison.benchmark}` by itself on that side."


def _without_file(comparison: Comparison, base: Side, head: Side) -> bool:
    for side in (base, head):
        if not (side.folder / file_of(comparison.benchmark)).exists():
            comparison.unusable = _ABSENT[side.name]
    return bool(comparison.unusable)


def _uncollected(comparison: Comparison, absent: Mapping[str, Mapping[str, str]]) -> bool:
    for side, reasons in absent.items():
        reason = reasons.get(comparison.benchmark)
        if reason is not None:
            comparison.unusable = f"{side}'s file can't be collected:\n{reason}" if reason else _ABSENT[side]
    return bool(comparison.unusable)


def _play(first: TimedProcess, second: TimedProcess, comparison: Comparison) -> None:
    """Bring both processes to a benchmark, let them take turns, and let both come to the end of their tests."""
    ready = [(process, process.until_ready(comparison.benchmark)) for process in (first, second)]
    failed = [(process, each) for process, each in ready if isinstance(each, Failure)]
    if not failed:
        _take_turns(first, second, comparison, max(each for _, each in ready if isinstance(each, float)))
    for process, each in failed:
        comparison.fail(process.side.name, each.why)
    for process in (process for process, each in ready if isinstance(each, float)):
        ended = process.finish()
        if isinstance(ended, Failure):
            comparison.fail(process.side.name, ended.why)
        else:
            comparison.entries[process.side.name] = ended


def _take_turns(first: TimedProcess, second: TimedProcess, comparison: Comparison, call_seconds: float) -> None:
    """Pairs until they decide, or this launch has used its share of the budget."""
    calls = ceil(ROUND_SECONDS / call_seconds)
    rounds = max(1, round(TURN_SECONDS / (calls * call_seconds)))
    pairs: list[Pair] = []
    comparison.launches.append(pairs)
    started = time.monotonic()
    limit = min(comparison.budget_seconds / REGRESSION_LAUNCHES, comparison.budget_seconds - comparison.spent_seconds)
    while comparison.judge(pairs) is None and time.monotonic() - started < limit:
        order = (first, second) if len(pairs) % 2 == 0 else (second, first)
        turns = {process.side.name: process.turn(rounds, calls) for process in order}
        pairs.append(_pair(turns["base"], turns["head"]))
        for side, turn in turns.items():
            comparison.raw_seconds[side] += [wall for wall, _ in turn.rounds]
    comparison.spent_seconds += time.monotonic() - started


def _pair(base: Turn, head: Turn) -> Pair:
    """The quickest round of each side, by wall time; less the wait for a core, where both sides work in one thread."""
    alone = base.alone and head.alone
    quickest = [min(wall - waited * alone for wall, waited in turn.rounds) for turn in (base, head)]
    return quickest[0], quickest[1]


def _ratios(pairs: Sequence[Pair]) -> list[float]:
    return [head / base for base, head in pairs]


def _percent(ratio: float) -> float:
    return 100 * (ratio - 1)
