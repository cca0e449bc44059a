"""What a run reads of its datasets: the images that its seed draws, the classes, the test splits; and the images themselves."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import cast

from harness import plan
from harness.clip.backbone import Pixels
from harness.data.checks import doubts
from harness.data.few_shot import classnames, few_shot, held_out, subset
from harness.data.image_set import ImageSet
from harness.method import Classes
from harness.records import RunKey
from harness.runs.job import Job
from harness.suite import Item, Splits, Test


@dataclass(frozen=True)
class TestSplit:
    """The images of a test, and the classes they are to be told apart by."""

    test: Test
    classes: Classes
    splits: Splits


@dataclass(eq=False)
class Templates(Mapping[str, str]):
    """A dataset's prompt templates by list, and whether any of them was read."""

    texts: Mapping[str, str]
    were_read: bool = False

    def __getitem__(self, name: str) -> str:
        self.were_read = True
        return self.texts[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self.texts)

    def __len__(self) -> int:
        return len(self.texts)


@dataclass(frozen=True)
class RunData:
    """The training and validation images drawn for a run, its classes, and its tests. `split_rule` says how the lists were made."""

    key: RunKey
    pixels: Pixels
    drawn: Splits
    classes: Classes
    tests: tuple[TestSplit, ...]
    split_rule: str | None

    def warn_of_unread_template(self) -> None:
        """Warn if the request has a template and nothing has read it: the method makes its texts of class names alone."""
        every = (self.classes, *(split.classes for split in self.tests))
        if self.key.template is not None and not any(cast(Templates, each.templates).were_read for each in every):
            warnings.warn(
                f"{self.key.method} reads no template with these settings: --template '{self.key.template}' had no effect on it.",
                UserWarning,
                stacklevel=2,
            )

    def train_images(self, places: Sequence[int] | None = None) -> ImageSet:
        """The training images in the recipe's augmentation: all of them, or those at these places."""
        recipe, items = self.key.recipe, self.drawn.train
        return ImageSet(
            items if places is None else tuple(items[place] for place in places),
            self.drawn.open,
            self.pixels,
            seed=self.key.seed,
            keep_decoded=self._keep_decoded,
            augmentation=recipe.augmentation,
            crop_scale_minimum=recipe.crop_scale_minimum,
        )

    def plain_images(self, items: Sequence[Item]) -> ImageSet:
        """Images drawn from the dataset that the run trains on, as they are."""
        return ImageSet(items, self.drawn.open, self.pixels, seed=self.key.seed, keep_decoded=self._keep_decoded)

    def test_images(self, split: TestSplit) -> ImageSet:
        """The images of a test."""
        return ImageSet(split.splits.test, split.splits.open, self.pixels, seed=self.key.seed, keep_decoded=False)

    @property
    def _keep_decoded(self) -> bool:
        return self.key.execution == "fast"


def read_data(job: Job, pixels: Pixels) -> RunData:
    """Read the datasets of a run. Raises whatever their readers do: DataError where a user can put it right."""
    key = job.run.key
    dataset = job.run.dataset(key.dataset)
    splits = dataset.read(job.folders)
    for doubt in (*plan.doubts(key), *doubts(dataset, splits, key.shots)):
        warnings.warn(doubt, UserWarning, stacklevel=2)
    drawn = few_shot(splits, key.shots, key.seed)
    if splits.val == splits.test:
        drawn = replace(drawn, val=held_out(splits, drawn, key.shots, key.seed))
    drawn = subset(drawn, key.classes)
    classes = Classes(classnames(drawn), Templates(dataset.templates))
    tests = tuple(_read_test(job, Test.from_key(test), splits) for test in key.tests)
    return RunData(key, pixels, drawn, classes, tests, splits.rule)


def _read_test(job: Job, test: Test, trained_on: Splits) -> TestSplit:
    dataset = job.run.dataset(test.dataset)
    splits = trained_on if test.dataset == job.run.key.dataset else dataset.read(job.folders)
    part = subset(splits, test.classes)
    return TestSplit(test, Classes(classnames(part), Templates(dataset.templates)), part)
