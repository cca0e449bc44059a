"""What suites and methods say of themselves. Runs that several suites share are trained once and read by each of them."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from functools import cache

from harness import plugins
from harness.cli.list import about
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
    for asking in _suites():
        if asking.targets and (asking.shares_runs_of or asking.name) == suite:
            targets = frozenset(target for group in asking.targets.values() for target in group)
            found.append(Question(asking.name, targets))
    return tuple(found)


def asked(suite: str) -> str:
    """What a suite asks, in its own words; empty for one that isn't installed here."""
    return next((asking.question for asking in _suites() if asking.name == suite), "")


@cache
def described(method: str) -> str:
    """One line on a method, in its own words; empty for one that isn't installed here."""
    with suppress(Exception):
        return about(plugins.load("method", method))
    return ""


@cache
def _suites() -> tuple[Suite, ...]:
    found = []
    for name in plugins.names("suite"):
        with suppress(Exception):  # whatever a plug-in's import raises, it is no reason to have no report
            found.append(plugins.load("suite", name))
    return tuple(found)
