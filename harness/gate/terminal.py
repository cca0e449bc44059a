"""What the gate prints: verdicts, and what an update of the baseline changes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from rich.table import Column, Table
from rich.text import Text

from harness.cli.terminal import Console
from harness.gate.baseline import Baseline, Expected
from harness.gate.verdict import Outcome, Verdict, worst

_COLOURS: dict[Outcome, str] = {
    "pass": "green",
    "regression": "red",
    "inconclusive": "yellow",
    "unusable": "magenta",
}
_MEANING: dict[Outcome, str] = {
    "pass": "what was compared is as it should be",
    "regression": "a figure is not what it has to be",
    "inconclusive": "times say neither; a larger --budget or a quieter machine may",
    "unusable": "something to compare is missing, so the gate fails",
}


def verdicts(console: Console, found: Sequence[Verdict]) -> None:
    """All that did not pass, and all that was timed; equal exact figures as one line."""
    equal = [v for v in found if v.outcome == "pass" and v.figure != "seconds"]
    shown = [v for v in found if v not in equal]
    if shown:
        console.print(_table(shown))
    for v in shown:
        if v.why:
            console.print(Text(f"{' '.join((v.benchmark, v.figure)).rstrip()}: {v.why}"), soft_wrap=True)
    if equal:
        figures, named = sum(bool(v.figure) for v in equal), {v.benchmark for v in equal}
        console.print(f"Equal to the baseline's: {figures} exact figures, of {len(named)} benchmarks.", highlight=False)
    outcome, counts = worst(found), Counter(v.outcome for v in found)
    text = ", ".join(f"{count} {name}" for name, count in counts.items())
    console.print(Text(f"{outcome}: {_MEANING[outcome]} ({text}).", style=_COLOURS[outcome]))


def _table(found: Sequence[Verdict]) -> Table:
    columns = ("figure", "base", "head", "slowdown", "verdict")
    table = Table(Column("benchmark", overflow="fold"), *columns, box=None, padding=(0, 1, 0, 0))
    for v in found:
        cells = (_short(v.benchmark), v.figure, _value(v, v.base), _value(v, v.head), _slowdown(v))
        table.add_row(*map(Text, cells), Text(v.outcome, style=_COLOURS[v.outcome]))
    return table


def changes(console: Console, old: Baseline | None, new: Baseline) -> None:
    """A line for every figure that an update changes, and for every benchmark that it adds or takes out."""
    before = old.benchmarks if old else {}
    lines: list[str] = []
    for name in sorted({*before, *new.benchmarks}):
        if name not in new.benchmarks:
            lines.append(f"{name}: taken out")
        elif name not in before:
            figures = ", ".join(f"{figure} {_number(value)}" for figure, value in _flat(new.benchmarks[name]).items())
            lines.append(f"{name}: added, with {figures}")
        else:
            lines += _changed(name, _flat(before[name]), _flat(new.benchmarks[name]))
    for line in lines or ["No figure changes."]:
        console.print(Text(line), soft_wrap=True)


def _changed(name: str, before: Mapping[str, Any], after: Mapping[str, Any]) -> list[str]:
    figures = [f for f in dict.fromkeys((*before, *after)) if before.get(f) != after.get(f)]
    return [f"{name}, {f}: {_number(before.get(f, 'none'))} -> {_number(after.get(f, 'none'))}" for f in figures]


def _flat(expected: Expected) -> dict[str, Any]:
    """All figures by name, those of a platform with its name; and whether it is timed."""
    found = {**expected.figures, "timed": "yes" if expected.timed else "no"}
    for platform, figures in expected.per_platform.items():
        found |= {f"{figure} ({platform})": value for figure, value in figures.items()}
    return found


def _short(benchmark: str) -> str:
    """Without the folder."""
    path, separator, test = benchmark.partition("::")
    return path.rpartition("/")[2] + separator + test


def _value(verdict: Verdict, value: Any) -> str:
    if verdict.figure == "seconds" and isinstance(value, float):
        return f"{1000 * value:.4g} ms"
    return "" if value is None else _number(value)


def _number(value: Any) -> str:
    return f"{value:,}" if isinstance(value, int | float) else str(value)


def _slowdown(v: Verdict) -> str:
    if v.slowdown_percent is None:
        return ""
    interval = f" ({v.interval_percent[0]:+.1f} to {v.interval_percent[1]:+.1f})" if v.interval_percent else ""
    return f"{v.slowdown_percent:+.1f} %{interval}"
