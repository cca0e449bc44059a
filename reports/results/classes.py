"""What a run's tests say of single classes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import NamedTuple

from harness.records import RunRecord, TestRecord
from reports.format.text import shown


class ClassResult(NamedTuple):
    """A class in a test; `mistaken` of its images were taken for `other`, its most frequent wrong answer."""

    name: str
    images: int
    accuracy_percent: float | None
    mistaken: int
    other: str


Classes = Mapping[str, list[ClassResult]]
"""Every class of every test that has a confusion matrix, by test."""


def by_class(record: RunRecord) -> Classes:
    """The results of a record's tests class by class; a matrix with classes that the test doesn't have is none."""
    return {test: results for test, found in record.accuracy.items() if (results := _results(found))}


def _results(found: TestRecord) -> list[ClassResult]:
    if not found.confusion:
        return []
    names = _names(found.class_names, found.classes)
    images, right, mistaken, other = ([0] * found.classes for _ in range(4))
    for true, predicted, count in found.confusion:
        if true >= found.classes:
            return []
        images[true] += count
        if true == predicted:
            right[true] += count
        elif count > mistaken[true]:
            mistaken[true], other[true] = count, predicted
    percents = [100 * correct / of if of else None for correct, of in zip(right, images, strict=True)]
    others = [_name_of(names, answer) if wrong else "" for answer, wrong in zip(other, mistaken, strict=True)]
    return list(map(ClassResult._make, zip(names, images, percents, mistaken, others, strict=False)))


@lru_cache(maxsize=1024)
def _names(given: tuple[str, ...], classes: int) -> tuple[str, ...]:
    return (*(shown(name, 60) for name in given), *map(str, range(len(given), classes)))


def _name_of(names: Sequence[str], label: int) -> str:
    return names[label] if label < len(names) else str(label)
