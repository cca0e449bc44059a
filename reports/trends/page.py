"""Recorded gates to one page: the figures over commits, machine by machine, and where they changed."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from os.path import commonprefix

from harness.errors import DataError
from harness.gate.history import Gate, Machine
from harness.visible import block, visible
from reports.charts.section_charts import Chart
from reports.format import units
from reports.format.cells import Table
from reports.format.text import plural, short
from reports.html.html_document import render
from reports.trends.change_points import RUNS, SECONDS, Change, Series, changes, series
from reports.trends.lines import trend
from reports.trends.tables import (
    MOST_RUNS,
    benchmarks,
    change_table,
    commit,
    day,
    gate_table,
    latest_table,
    name_of,
    run_table,
    signed_percent,
)

Log = Callable[[str, str], Sequence[tuple[str, str]] | None]
"""Two commits to those after the first up to the second, newest first, as (commit, subject); None where they are not known."""

EXTRA = "Times are not searched for change points: that needs ruptures. Install it: pip install ruptures."


@dataclass(frozen=True, slots=True)
class Step:
    """What changed between two commits that were measured one after the other."""

    title: str
    words: str
    table: Table
    commits: list[tuple[str, str]]


@dataclass(frozen=True, slots=True)
class Part:
    """A machine as the template shows it."""

    name: str
    title: str
    conditions: list[tuple[str, str]]
    steps: list[Step]
    latest: Table
    charts: list[Chart]
    gates: Table
    runs: list[Table]


def trends_page(gates: Sequence[Gate], problems: Sequence[DataError], log: Log) -> str:
    """The page on the gates of a store, in their order; `problems` are its files that hold none."""
    place, gates = _without_place(gates)
    by_machine: dict[str, list[Gate]] = {}
    for gate in gates:
        by_machine.setdefault(gate.machine.fingerprint, []).append(gate)
    machines = sorted(by_machine.values(), key=lambda own: own[-1].order, reverse=True)
    parts, searched = [], True
    for i, own in enumerate(machines, 1):
        every = series(own)
        found, complete = _all_changes(every)
        parts.append(_part(f"m{i}", own, every, found, log))
        searched &= complete
    return render(
        "trends.html.j2",
        title=f"Benchmarks over {plural(len(gates), 'recorded gate')}",
        verdict=_verdict(gates, parts),
        place=name_of(place.rstrip(":/")),
        facts=_facts(gates, len(parts)),
        parts=parts,
        most_runs=MOST_RUNS,
        cautions=[] if searched else [EXTRA],
        problems=[block(str(problem)) for problem in problems],
    )


def _without_place(gates: Sequence[Gate]) -> tuple[str, list[Gate]]:
    """What the names of all benchmarks begin with, folder and file, and the gates with the rest of the names."""
    begin = commonprefix(benchmarks(gates))  # noqa: RUF071 (node ids are more than paths)
    found = re.match(r"[^\[]*(?:::|/)", begin)
    place = found[0] if found else ""
    return place, [
        replace(
            gate,
            benchmarks={name.removeprefix(place): measured for name, measured in gate.benchmarks.items()},
            verdicts=tuple(replace(v, benchmark=v.benchmark.removeprefix(place)) for v in gate.verdicts),
        )
        for gate in gates
    ]


def _all_changes(every: Sequence[Series]) -> tuple[list[Change], bool]:
    """The changes of all series, and False where times could not be searched."""
    found: list[Change] = []
    searched = True
    for one in every:
        try:
            found += changes(one)
        except ImportError:
            searched = False
    return found, searched


def _part(name: str, gates: Sequence[Gate], every: Sequence[Series], found: Sequence[Change], log: Log) -> Part:
    timed = [one for one in every if one.figure == SECONDS]
    return Part(
        name=name,
        title=_machine(gates[-1].machine),
        conditions=_conditions(gates[-1].machine, gates),
        steps=_steps(name, found, log),
        latest=latest_table(f"{name}-latest", gates),
        charts=[_chart(f"{name}-{i}", one, [c for c in found if c.series is one]) for i, one in enumerate(timed, 1)],
        gates=gate_table(f"{name}-gates", gates),
        runs=[
            run_table(f"{name}-runs{i}", benchmark, [one for one in every if one.benchmark == benchmark])
            for i, benchmark in enumerate(benchmarks(gates), 1)
        ],
    )


def _steps(name: str, found: Sequence[Change], log: Log) -> list[Step]:
    """Changes between the same two gates together, the latest first."""
    between: dict[tuple[tuple[datetime, datetime], int], list[Change]] = {}
    for change in found:
        between.setdefault((change.first.gate.order, id(change.last.gate)), []).append(change)
    latest_first = sorted(between.items(), key=lambda item: item[0], reverse=True)
    return [_step(f"{name}-step{i}", together, log) for i, (_, together) in enumerate(latest_first, 1)]


def _step(name: str, together: Sequence[Change], log: Log) -> Step:
    a, b = together[0].last.gate, together[0].first.gate
    commits = log(a.commit, b.commit) if a.commit and b.commit and a.commit != b.commit else None
    shown = [(sha[:9], block(subject)) for sha, subject in commits or ()]
    return Step(f"{commit(a)} to {commit(b)}", _between(a, b, commits), change_table(name, together), shown)


def _between(a: Gate, b: Gate, commits: Sequence[tuple[str, str]] | None) -> str:
    days = " to ".join(dict.fromkeys([day(a), day(b)]))
    if a.commit and a.commit == b.commit:
        return f"{days}. The same commit was measured twice: what changed is not in its code."
    if commits is None:
        return f"{days}. The commits between are not known here: run this command in their repository."
    return f"{days}, {plural(len(commits), 'commit')} between."


def _chart(name: str, found: Series, own: Sequence[Change]) -> Chart:
    last = found.runs[-1]
    words = [f"{units.duration(last.value)} at {commit(last.gate)}, the latest of {plural(len(found.runs), 'run')}"]
    words += [f"{signed_percent(c.percent)} at {commit(c.first.gate)}" for c in own if c.percent is not None]
    if len(found.runs) < RUNS:
        words.append(f"change points are searched for from {RUNS} runs on")
    return Chart(trend(name, found, own), name_of(found.benchmark), f"{'; '.join(words)}.")


def _verdict(gates: Sequence[Gate], parts: Sequence[Part]) -> str:
    if not gates:
        return "Nothing to show."
    steps = [step for part in parts for step in part.steps]
    figures = sum(len(step.table.rows) for step in steps)
    changed = (
        f"{plural(figures, 'figure')} changed between {plural(len(steps), 'pair')} of commits"
        if steps
        else "No figure changed"
    )
    latest = max(gates, key=lambda gate: gate.order)
    return f"{changed}. The latest gate, of {commit(latest)}, {_OUTCOMES[latest.outcome]}."


_OUTCOMES = {
    "pass": "passed",
    "regression": "found a regression",
    "inconclusive": "was inconclusive",
    "unusable": "was unusable",
}


def _conditions(machine: Machine, gates: Sequence[Gate]) -> list[tuple[str, str]]:
    words = [
        ("Threads", f"{machine.threads} of {machine.cpu_count or 'unknown'} processors"),
        ("Platform", machine.platform),
        ("Python", machine.python),
        ("PyTorch", machine.torch or "not installed"),
        ("Fingerprint", machine.fingerprint),
        ("Gates", f"{len(gates)}, {' to '.join(dict.fromkeys([day(gates[0]), day(gates[-1])]))}"),
    ]
    return [(name, short(visible(text), 120)) for name, text in words]


def _facts(gates: Sequence[Gate], machines: int) -> list[tuple[str, str]]:
    regressed = sum(gate.outcome == "regression" for gate in gates)
    counted = [("Gate", len(gates)), ("Commit", len({gate.commit for gate in gates if gate.commit})),
               ("Benchmark", len(benchmarks(gates))), ("Machine", machines), ("Regression", regressed)]  # fmt: skip
    return [(noun if n == 1 else f"{noun}s", str(n)) for noun, n in counted]


def _machine(machine: Machine) -> str:
    return name_of(f"{machine.cpu or 'unknown CPU'}, {plural(machine.threads, 'thread')}")
