"""What a run's tests say of single classes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache

from harness.records import RunRecord, TestRecord
from reports.format.text import shown


@dataclass(slots=True)
class ByClass:
    """A test's results, each class at its place: its images, and how many of them were `mistaken` for `others`, its most frequent
    wrong answer.
    """

    names: Sequence[str]
    images: Sequence[int]
    accuracy_percents: Sequence[float | None]
    mistaken: Sequence[int]
    others: Sequence[str]


Classes = Mapping[str, ByClass]
"""Every class of every test that has a confusion matrix, by test."""


def by_class(record: RunRecord) -> Classes:
    """The results of a record's tests class by class; a matrix with classes that the test doesn't have is none."""
    return {test: results for test, found in record.accuracy.items() if (results := _results(found))}


def known(percents: Sequence[float | None], names: Sequence[str]) -> list[tuple[float, str]]:
    """Accuracy and name of the classes that have images."""
    return [(percent, name) for percent, name in zip(percents, names, strict=True) if percent is not None]


def _results(found: TestRecord) -> ByClass | None:
    if not found.confusion:
        return None
    images, right, mistaken, other = ([0] * found.classes for _ in range(4))
    for true, predicted, count in found.confusion:
        if true >= found.classes:
            return None
        images[true] += count
        if true == predicted:
            right[true] += count
        elif count > mistaken[true]:
            mistaken[true], other[true] = count, predicted
    names = _names(found.class_names, found.classes)
    percents = [100 * correct / of if of else None for correct, of in zip(right, images, strict=True)]
    named = len(names)
    others = [(names[answer] if answer < named else str(answer)) if wrong else ""
              for answer, wrong in zip(other, mistaken, strict=True)]  # fmt: skip
    return ByClass(names[: found.classes], images, percents, mistaken, others)


@lru_cache(maxsize=1024)
def _names(given: tuple[str, ...], classes: int) -> tuple[str, ...]:
    return (*(shown(name, 60) for name in given), *map(str, range(len(given), classes)))
