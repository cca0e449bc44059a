"""The exact gate: every figure of every benchmark is what the baseline says, or the gate says why not. No torch here."""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Mapping
from typing import Any

from harness.errors import DataError
from harness.gate.baseline import Baseline, Expected, Platform, figures_of, is_timed, project_name
from harness.gate.measure import Measured
from harness.gate.verdict import Verdict

UPDATE = "adaptbench gate --update"
_TIMED = {
    False: f'This run takes it out of the timed gate (extra_info["timed"]), the baseline has it there. If that is meant: {UPDATE}',
    True: f'The baseline keeps it out of the timed gate (extra_info["timed"]), this run does not. If that is meant: {UPDATE}',
}


def compare(baseline: Baseline, measured: Measured, here: Platform) -> list[Verdict]:
    """A verdict for every figure, and one for every benchmark that can't be compared. Raises DataError for a foreign baseline."""
    _check_project(baseline, measured)
    amiss = {verdict.benchmark for verdict in measured.amiss}
    verdicts = list(measured.amiss)
    for name, entry in measured.benchmarks.items():
        if name in amiss:
            continue
        if name in baseline.benchmarks:
            verdicts += _figures(name, entry, baseline, here)
        else:
            verdicts.append(_unusable(name, f"It is new: the baseline doesn't have it. To add it: {UPDATE}"))
    return verdicts + [
        _missing(name, baseline, measured) for name in baseline.benchmarks if name not in measured.collected
    ]


def _check_project(baseline: Baseline, measured: Measured) -> None:
    project = project_name(measured.root)
    if baseline.project != project:
        raise DataError(
            f"the baseline is of the project '{baseline.project}'; this is '{project}'.",
            f"Take the file of this project; if the project has a new name: {UPDATE}",
        )


def _missing(name: str, baseline: Baseline, measured: Measured) -> Verdict:
    new = [other for other in measured.collected if other not in baseline.benchmarks]
    close = difflib.get_close_matches(name, new, n=1)
    what = f"It is in the baseline and no longer in the tests; perhaps it is '{close[0]}' now." if close else ""
    what = what or "It is in the baseline and no longer in the tests."
    return _unusable(name, f"{what} Bring it back; or, if that is meant: {UPDATE}")


def _figures(name: str, entry: Mapping[str, Any], baseline: Baseline, here: Platform) -> Iterator[Verdict]:
    expected: Expected = baseline.benchmarks[name]
    fixed, rounded = figures_of(entry, "exact"), figures_of(entry, "exact_per_platform")
    if is_timed(entry) != expected.timed:
        yield _unusable(name, _TIMED[is_timed(entry)])
    foreign = (
        "" if baseline.software == here.software else f"the baseline is of {baseline.software}, this is {here.software}"
    )
    yield from _each(name, expected.figures, fixed, foreign)
    if rounded and here.name not in expected.per_platform:
        known = "; ".join(expected.per_platform) or "none"
        yield _unusable(name, f"Its answers depend on the platform, and the baseline has none for {here.name}. It has: {known}. "
                        f"To add this one: {UPDATE}")  # fmt: skip
    elif rounded or expected.per_platform:
        yield from _each(name, expected.per_platform.get(here.name, {}), rounded, "")
    if not fixed and not rounded and not expected.figures and not expected.per_platform:
        yield Verdict(benchmark=name, figure="", outcome="pass")


def _each(name: str, base: Mapping[str, Any], head: Mapping[str, Any], foreign: str) -> Iterator[Verdict]:
    for figure in dict.fromkeys((*base, *head)):
        before, after = base.get(figure), head.get(figure)
        values: dict[str, Any] = {"figure": figure, "base": before, "head": after}
        if before is None or after is None:
            where = "the baseline" if before is None else "this run"
            yield _unusable(name, f"It is missing in {where}. If that is meant: {UPDATE}", **values)
        elif before == after:
            yield Verdict(benchmark=name, outcome="pass", **values)
        elif foreign:
            yield _unusable(name, f"It differs, but {foreign}. Install what that is of; or: {UPDATE}", **values)
        else:
            why = f"It differs{_change(before, after)}. If that is meant, for better or worse: {UPDATE}"
            yield Verdict(benchmark=name, outcome="regression", why=why, **values)


def _change(before: float, after: float) -> str:
    return f" by {100 * (after / before - 1):+.2g} %" if before else ""


def _unusable(name: str, why: str, figure: str = "", **values: Any) -> Verdict:
    return Verdict(benchmark=name, figure=figure, outcome="unusable", why=why, **values)
