"""Which suites' questions a record answers: runs that several suites share are trained once and read by each."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

from harness import plugins
from harness.suite import Suite


@dataclass(frozen=True, slots=True)
class Question:
    """A suite's name, and the datasets that its answer averages."""

    suite: str
    targets: frozenset[str]


@cache
def questions(suite: str) -> tuple[Question, ...]:
    """The questions asked of runs that were stored under `suite`; none where it averages all of its tests."""
    found = []
    for name in plugins.names("suite"):
        try:
            asking: Suite = plugins.load("suite", name)
        except Exception:  # whatever a plug-in's import raises, it is no reason to have no report
            continue
        if asking.targets and (asking.shares_runs_of or asking.name) == suite:
            targets = frozenset(target for group in asking.targets.values() for target in group)
            found.append(Question(asking.name, targets))
    return tuple(found)
