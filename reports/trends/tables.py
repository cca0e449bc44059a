"""The tables of the trends page: the latest gate, every gate, the runs of a benchmark; and the words for figures in them."""

from __future__ import annotations

from collections.abc import Sequence

from harness.gate.history import Gate, Measured, last_passed
from harness.visible import block, visible
from reports.format import units
from reports.format.cells import Cell, Column, Table
from reports.format.text import short
from reports.trends.change_points import SECONDS, Change, Series

MOST_RUNS = 100
"""Rows of a benchmark's own table, the latest runs."""


def latest_table(name: str, gates: Sequence[Gate]) -> Table:
    """The latest gate beside the last one before it that passed."""
    gate, passed = gates[-1], last_passed(gates[:-1])
    figures = sorted({figure for g in gates for m in g.benchmarks.values() for figure in m.figures})
    against = f"{commit(passed)}, {day(passed)}" if passed else "no earlier gate passed"
    table = Table(name, f"The latest gate, {commit(gate)}, beside the last that passed: {against}",
                  [Column("Benchmark", numeric=False), Column("Time", "median, quartiles"), Column("Since", against),
                   *(Column(name_of(figure)) for figure in figures)])  # fmt: skip
    for benchmark in benchmarks(gates):
        measured = gate.benchmarks.get(benchmark)
        before = passed.benchmarks.get(benchmark) if passed else None
        if measured is None:
            cells = [table.absent("Not in the latest gate.")] * (2 + len(figures))
        else:
            cells = [_time(table, measured), _since(table, before, measured)]
            cells += [_recorded(table, figure, measured.figures.get(figure)) for figure in figures]
        table.rows.append([Cell(name_of(benchmark)), *cells])
    table.features = ("filter",) if len(table.rows) > 8 else ()
    table.legend = "Times: one run beside one run, each with its noise. Whether a level changed is said above."
    return table


def gate_table(name: str, gates: Sequence[Gate]) -> Table:
    """Every gate, the latest first, and why it did not pass."""
    titles = ("Recorded", "Commit", "Branch", "Outcome", "Why")
    table = Table(name, "The gates", [Column(title, numeric=False) for title in titles])
    for gate in reversed(gates):
        why = block("\n".join(f"{v.benchmark} {v.figure}: {v.why}" for v in gate.verdicts if v.outcome != "pass"))
        tags = ("uncommitted changes",) if gate.dirty else ()
        table.rows.append([Cell(f"{gate.recorded_at:%Y-%m-%d %H:%M}"), Cell(commit(gate), tags=tags),
                           Cell(name_of(gate.branch or "none")), Cell(gate.outcome), Cell(why, long=len(why) > 120)])  # fmt: skip
    return table


def run_table(name: str, benchmark: str, own: Sequence[Series]) -> Table:
    """A benchmark's latest runs, the latest first: what its picture shows, and the exact figures."""
    gates = {id(run.gate): run.gate for one in own for run in one.runs}
    values = [{id(run.gate): run.value for run in one.runs} for one in own]
    table = Table(name, name_of(benchmark), [Column("Commit", numeric=False), Column("Day", numeric=False),
                                             *(Column(figure_name(s.figure)) for s in own)])  # fmt: skip
    latest_first = sorted(gates.items(), key=lambda item: item[1].order, reverse=True)
    for key, gate in latest_first[:MOST_RUNS]:
        cells = [_recorded(table, s.figure, found.get(key)) for s, found in zip(own, values, strict=True)]
        table.rows.append([Cell(commit(gate)), Cell(day(gate)), *cells])
    return table


def change_table(name: str, together: Sequence[Change]) -> Table:
    """What changed between the same two gates, the greatest change first."""
    table = Table(name, "What changed", [Column("Benchmark", numeric=False), Column("Figure", numeric=False),
                                         Column("Before"), Column("After"), Column("Change")])  # fmt: skip
    for c in sorted(together, key=lambda c: -abs(c.percent or 0)):
        change = (
            table.absent("It was zero before.") if c.percent is None else Cell(signed_percent(c.percent), c.percent)
        )
        names = [Cell(name_of(c.series.benchmark)), Cell(figure_name(c.series.figure))]
        table.rows.append([*names, *(_recorded(table, c.series.figure, v) for v in (c.before, c.after)), change])
    return table


def benchmarks(gates: Sequence[Gate]) -> list[str]:
    """The names of all benchmarks of the gates."""
    return sorted({name for gate in gates for name in gate.benchmarks})


def name_of(text: str) -> str:
    """A name from a store, safe to show."""
    return short(visible(text), 120)


def figure_name(figure: str) -> str:
    """A figure's name as a heading."""
    return "time" if figure == SECONDS else name_of(figure)


def commit(gate: Gate) -> str:
    """A gate's commit, in short."""
    return gate.commit[:9] if gate.commit else "no commit"


def day(gate: Gate) -> str:
    """The day of a gate's commit, or of the gate outside a repository."""
    return f"{gate.order[0]:%Y-%m-%d}"


def signed_percent(value: float) -> str:
    """A change: ``+12.5 %``, ``−0.004 %``."""
    return (f"{value:+.3g} %" if abs(value) < 1000 else f"{value:+,.0f} %").replace("-", "−")


def _time(table: Table, measured: Measured) -> Cell:
    times = measured.times
    if times is None:
        return table.absent("Not timed.")
    quartiles = f"{units.duration(times.q1_seconds)} – {units.duration(times.q3_seconds)}"
    return Cell(units.duration(times.median_seconds), times.median_seconds, (quartiles,))


def _since(table: Table, before: Measured | None, now: Measured) -> Cell:
    if before is None or before.times is None or now.times is None:
        return table.absent("Nothing to compare with.")
    percent = 100 * (now.times.median_seconds / before.times.median_seconds - 1)
    return Cell(signed_percent(percent), percent)


def _recorded(table: Table, figure: str, value: float | None) -> Cell:
    """A figure in its unit, and in full below it where the unit rounds."""
    if value is None:
        return table.absent("Not recorded.")
    text, whole = _in_unit(figure, value), f"{value:,}"
    return Cell(text, value, (whole,) if isinstance(value, int) and whole != text else ())


def _in_unit(figure: str, value: float) -> str:
    if value < 0:
        return f"{value:,}"
    if figure.endswith(SECONDS):
        return units.duration(value)
    if figure.endswith("_bytes"):
        return units.size(value)
    if figure.endswith("_percent"):
        return units.percent(value)
    return units.count(value) if isinstance(value, int) else units.rate(value)
