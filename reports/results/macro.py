"""What a run's tests come to where every class counts the same, however many images it has: from their confusion."""

from __future__ import annotations

from operator import add
from statistics import fmean

from harness.records import RunRecord, TestRecord
from reports.results.costs import Maybe


def macro_accuracy_percent(record: RunRecord) -> Maybe:
    """The mean accuracy of the classes that have images, averaged over the run's tests; None where one lacks its confusion."""
    return _over_tests(record)[0]


def macro_f1_percent(record: RunRecord) -> Maybe:
    """The mean F1 of the classes that have images or were answered (scikit-learn's macro average), averaged over the tests."""
    return _over_tests(record)[1]


_latest: tuple[RunRecord | None, tuple[Maybe, Maybe]] = (None, (None, None))


def _over_tests(record: RunRecord) -> tuple[Maybe, Maybe]:
    """Accuracy and F1: both are asked of a record, one after the other, and counted once."""
    global _latest
    if _latest[0] is not record:
        _latest = record, _counted(record)
    return _latest[1]


def _counted(record: RunRecord) -> tuple[Maybe, Maybe]:
    tests = record.accuracy.values()
    if not tests or not all(any(count for _, _, count in test.confusion) for test in tests):
        return None, None
    accuracies, f1s = zip(*map(_of_classes, tests), strict=True)
    return fmean(accuracies), fmean(f1s)


def _of_classes(test: TestRecord) -> tuple[float, float]:
    """The mean accuracy and the mean F1 of a test's classes."""
    try:
        true, answered, right = _counts(test, test.classes)
    except IndexError:  # of classes that the test doesn't have, as no file's are
        true, answered, right = _counts(test, 1 + max(max(pair) for *pair, _ in test.confusion))
    accuracies = [hits / images for hits, images in zip(right, true, strict=True) if images]
    f1s = [2 * hits / both for hits, both in zip(right, map(add, true, answered), strict=True) if both]
    return 100 * fmean(accuracies), 100 * fmean(f1s)


def _counts(test: TestRecord, classes: int) -> tuple[list[int], list[int], list[int]]:
    """Images by class: how many there are, how many were answered as it, and how many of them rightly."""
    true, answered, right = ([0] * classes for _ in range(3))
    for of, predicted, count in test.confusion:
        true[of] += count
        answered[predicted] += count
        if of == predicted:
            right[of] += count
    return true, answered, right
