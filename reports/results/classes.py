"""What a run's tests say of single classes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache

from harness.records import RunRecord, TestRecord
from harness.visible import visible
from reports.format.cells import Cell, Column, Table
from reports.format.text import short


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


def class_tables(classes: Classes) -> Iterator[Table]:
    """A table a test: a line a class with its accuracy, and the class that its images are most often taken for."""
    for i, (test, results) in enumerate(classes.items(), 1):
        columns = [Column("Class", numeric=False), Column("Accuracy", "%"), Column("Images"),
                   Column("Most often taken for", numeric=False)]  # fmt: skip
        caption = f"Classes of {short(visible(test), 60)}"
        table = Table(f"classes{i}", caption, columns, features=("filter",), kind="wordy")
        for found in results:
            percent = found.accuracy_percent
            score = table.absent("No image.") if percent is None else Cell(f"{percent:.1f}", percent)
            other = f"{found.other} ({found.mistaken:,})" if found.mistaken else "no other"
            table.rows.append([Cell(found.name), score, Cell(f"{found.images:,}", found.images), Cell(other)])
        yield table


def _known(found: TestRecord) -> bool:
    return bool(found.confusion) and max(true for true, _, _ in found.confusion) < found.classes


def _results(found: TestRecord) -> list[ClassResult]:
    names = [_shown(name) for name in found.class_names]
    names += [str(i) for i in range(len(names), found.classes)]
    results = [
        ClassResult(name, 0, percent) for name, percent in zip(names, found.class_accuracy_percent, strict=False)
    ]
    for true, predicted, count in found.confusion:
        result = results[true]
        result.images += count
        if true != predicted and count > result.mistaken:
            result.mistaken = count
            result.other = names[predicted] if predicted < len(names) else str(predicted)
    return results


@lru_cache(maxsize=10_000)
def _shown(name: str) -> str:
    return short(visible(name), 60)
