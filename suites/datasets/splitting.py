"""The train, validation and test lists of a dataset whose source has none, or not all: the same on every machine.

The rules are the two that CoOp made its own splits by. A class's images are taken in the order of the SHA-256 of their paths, so
that neither the file system nor a new image moves the others about.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from harness.errors import DataError
from harness.suite import Item, Splits

if TYPE_CHECKING:
    from PIL.Image import Image

PARTS = ("train", "val", "test")
OTHER_NAMES = {"training": "train", "valid": "val", "validation": "val", "testing": "test"}

WHOLE = (
    "no split in the source: of each class, ordered by SHA-256 of the path, 50 % train, 20 % validation, the rest test"
)
NO_VALIDATION = "no validation list in the source: 20 % of each class's training images, ordered by SHA-256 of the path"
NO_TEST = "no test list in the source: its validation list is the test list"


@dataclass(frozen=True, slots=True)
class Row:
    """An image's key, its class, the part its source puts it in, if any, and the number its source gives the class, if any."""

    image: str
    classname: str
    part: str | None
    label: int | None = None


def part_named(text: str) -> str | None:
    """The part that a folder's or a column's word stands for, None for another word."""
    word = text.lower()
    return word if word in PARTS else OTHER_NAMES.get(word)


def split(rows: Sequence[Row], open_image: Callable[[str], Image]) -> Splits:
    """Labels are the source's, else the ranks of the class names.

    Raises DataError for a class that is too small or has nothing to train on.
    """
    ranks = {name: rank for rank, name in enumerate(sorted({row.classname for row in rows}))}
    by_part: dict[str | None, list[Item]] = {}
    for row in rows:
        label = ranks[row.classname] if row.label is None else row.label
        by_part.setdefault(row.part, []).append(Item(row.image, label, row.classname))
    if None in by_part and len(by_part) > 1:
        raise DataError(
            f"{len(by_part[None])} images are in no part, the others are.", "Give every image a part, or none of them."
        )
    rule = None
    train, val, test = (by_part.get(part, []) for part in PARTS)
    if None in by_part:
        train, val, test, rule = *_by_shares(by_part[None]), WHOLE
    elif not test:
        test, rule = val, NO_TEST
    elif not val:
        train, val, rule = *_validation_of(train), NO_VALIDATION
    if not train or not test:
        raise DataError("there are no images to train on, or none to test on.", "A part may only lack for validation.")
    return Splits(train=tuple(train), val=tuple(val), test=tuple(test), open=open_image, rule=rule)


def _ordered(items: Sequence[Item]) -> list[list[Item]]:
    """Each class's images, in the order of their keys' hashes."""
    classes: dict[int, list[Item]] = {}
    for item in items:
        classes.setdefault(item.label, []).append(item)
    return [
        sorted(classes[label], key=lambda item: hashlib.sha256(item.image.encode(errors="surrogateescape")).digest())
        for label in sorted(classes)
    ]


def _by_shares(items: Sequence[Item]) -> tuple[list[Item], list[Item], list[Item]]:
    train, val, test = [], [], []
    for images in _ordered(items):
        count = len(images)
        if count < 4:
            raise DataError(
                f"the class '{images[0].classname}' has {count} images, too few to divide.",
                "It takes 4 to train, validate and test on; or divide them yourself, into train/ and test/.",
            )
        first, second = round(0.5 * count), round(0.5 * count) + round(0.2 * count)
        train += images[:first]
        val += images[first:second]
        test += images[second:]
    return train, val, test


def _validation_of(items: Sequence[Item]) -> tuple[list[Item], list[Item]]:
    train, val = [], []
    for images in _ordered(items):
        count = round(0.2 * len(images))
        val += images[:count]
        train += images[count:]
    return train, val
