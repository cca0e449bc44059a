"""What a run's tests say of single classes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from harness.records import RunRecord, TestRecord
from reports.format.text import shown


@dataclass(slots=True)
class ClassResult:
    """A class in a test; `mistaken` of its images were taken for `other`, its most frequent wrong answer."""

    name: str
    images: int
    accuracy_percent: float | None
    mistaken: int = 0
    other: str = ""


Classes = Mapping[str, list[ClassResult]]
"""Every class of every test that has a confusion matrix, by test."""


def by_class(record: RunRecord) -> Classes:
    """The results of a record's tests class by class; a matrix with classes that the test doesn't have is none."""
    return {test: _results(found) for test, found in record.accuracy.items() if _known(found)}


def _known(found: TestRecord) -> bool:
    return bool(found.confusion) and max(found.confusion)[0] < found.classes


def _results(found: TestRecord) -> list[ClassResult]:
    names = [shown(name, 60) for name in found.class_names]
    names += [str(i) for i in range(len(names), found.classes)]
    images, right, mistaken, other = ([0] * found.classes for _ in range(4))
    for true, predicted, count in found.confusion:
        images[true] += count
        if true == predicted:
            right[true] += count
        elif count > mistaken[true]:
            mistaken[true], other[true] = count, predicted
    return [
        ClassResult(name, of, 100 * correct / of if of else None, wrong, _name_of(names, answer) if wrong else "")
        for name, of, correct, wrong, answer in zip(names, images, right, mistaken, other, strict=False)
    ]


def _name_of(names: Sequence[str], label: int) -> str:
    return names[label] if label < len(names) else str(label)
