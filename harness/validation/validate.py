"""A method's contract test: every check in turn, and each failure in words with the line to change."""

from __future__ import annotations

import importlib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from harness import plugins
from harness.errors import AdaptBenchError, ConfigError, located, users_frame
from harness.validation.checks import CHECKS, RESTS_ON, BrokenError, Trial, UncheckedError
from harness.validation.source import Place, Source
from harness.validation.watch import Watch

IMPORTED = "it can be imported"
ALONE = "it leaves the rest of the process as it is"


@dataclass(frozen=True)
class Failure:
    """A check that failed: what was wrong, what would be right, and the line to change."""

    check: str
    what: str
    advice: str
    place: Place


@dataclass
class Verdict:
    """What was found of a method: the checks that passed, those that failed, and those that couldn't be made, each with why."""

    name: str
    passed: list[str] = field(default_factory=list)
    failures: list[Failure] = field(default_factory=list)
    unchecked: dict[str, str] = field(default_factory=dict)

    def __str__(self) -> str:
        """The failures, each by its line, what was wrong and what would be right."""
        return "\n".join(f"{each.place}: {each.what} {each.advice}" for each in self.failures) or "no failures"


def validate(spec: str) -> Verdict:
    """Check a method by registered name, ``module:attribute`` or ``FILE.py:attribute``.

    Raises ConfigError where there is no such file, or no method of that name.
    """
    verdict = Verdict(spec)
    source = _source(spec)
    with Watch(spec, source) as watch:
        kind = _load(spec, source, verdict)
    if kind is not None:
        trial = Trial(spec, kind, source)
        for name, check in CHECKS.items():
            if {failure.check for failure in verdict.failures} & {*RESTS_ON.get(name, ())}:
                continue
            with watch:
                _check(name, lambda check=check: check(trial), source, verdict, kind)
            if verdict.failures and name == next(iter(CHECKS)):  # without sound settings nothing is made
                break
    alone = [Failure(ALONE, error.what, error.advice, place) for place, error in watch.found.items()]
    verdict.failures = alone + verdict.failures
    if kind is not None and not watch.found:
        verdict.passed.append(ALONE)
    done = {*verdict.passed, *(failure.check for failure in verdict.failures)}
    for name in (IMPORTED, *CHECKS, ALONE):
        if name not in done:
            verdict.unchecked.setdefault(name, "it rests on what failed")
    return verdict


def _source(spec: str) -> Source:
    """The source of a method that may not be importable."""
    file, _, _ = spec.rpartition(":")
    if file.endswith(".py"):
        plugins.named(spec)  # refuses what is no file, or has a name that another module has
        return Source(Path(file).stem, Path(file))
    module = plugins.load("method", spec).__module__
    return Source(module, Path(importlib.import_module(module).__file__ or ""))


def _load(spec: str, source: Source, verdict: Verdict) -> Any:
    try:
        kind = plugins.load("method", spec)
    except ConfigError as error:
        cause = error.__cause__
        line = cause.lineno if isinstance(cause, SyntaxError) and cause.filename in source.files else None
        place = (
            Place(Path(cause.filename), line) if line and isinstance(cause, SyntaxError) and cause.filename else None
        )
        verdict.failures.append(Failure(IMPORTED, error.what, error.advice, place or _place(error, source, "")))
        return None
    verdict.passed.append(IMPORTED)
    return kind


def _check(name: str, check: Any, source: Source, verdict: Verdict, kind: Any) -> None:
    try:
        check()
    except UncheckedError as error:
        verdict.unchecked[name] = str(error)
    except Exception as error:  # whatever somebody's method does
        what, advice = located(error), "Mend it there."
        if isinstance(error, AdaptBenchError):
            what, advice = error.what, error.advice
        if what not in {failure.what for failure in verdict.failures}:  # else it is what an earlier check found
            place = _place(error, source, getattr(kind, "__name__", ""))
            verdict.failures.append(Failure(name, what, advice, place))
    else:
        verdict.passed.append(name)


def _place(error: BaseException, source: Source, fallback: str) -> Place:
    """The line to change: the check's own, else where the method's code was when it failed, else what the words speak of."""
    if isinstance(error, BrokenError) and error.place is not None:
        return error.place
    for each in (error, error.__cause__):
        frame = users_frame(each) if each is not None else None
        if frame is not None and frame.filename in source.files and frame.lineno:
            return Place(Path(frame.filename), frame.lineno)
    names = error.names if isinstance(error, BrokenError) else ()
    said = error.what if isinstance(error, AdaptBenchError) else str(error)
    return source.place(names, said, fallback)
