"""How much data runs have: images, and the classes that these are told apart by. Standard library only."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field

from harness.data.few_shot import classnames, subset
from harness.run_key import RunKey
from harness.suite import ClassSubset, Splits


@dataclass(frozen=True)
class Count:
    """Images, and the classes that they are told apart by."""

    images: int
    classes: int


@dataclass
class Sizes:
    """Of datasets: for training by (dataset, part, shots), for a test by its key."""

    trained_on: dict[tuple[str, ClassSubset, int], Count] = field(default_factory=dict)
    tested_on: dict[str, Count] = field(default_factory=dict)

    def count(self, dataset: str, splits: Splits, parts: Iterable[ClassSubset], shots: Iterable[int]) -> None:
        """Note what the parts of a dataset come to, for each number of shots."""
        for part in parts:
            of_part = subset(splits, part)
            classes = len(classnames(of_part))
            self.tested_on[dataset if part == "all" else f"{dataset}/{part}"] = Count(len(of_part.test), classes)
            images_of = Counter(item.label for item in of_part.train)
            for count in shots:
                drawn = sum(min(count, images) for images in images_of.values())
                self.trained_on[dataset, part, count] = Count(drawn, classes)

    def of(self, key: RunKey) -> tuple[Count, int] | None:
        """What a run trains on, and how many images it tests; None where either isn't known."""
        trained_on = self.trained_on.get((key.dataset, key.classes, key.shots))
        tested_on = [self.tested_on.get(test) for test in key.tests]
        if trained_on is None or None in tested_on:
            return None
        return trained_on, sum(each.images for each in tested_on if each is not None)
