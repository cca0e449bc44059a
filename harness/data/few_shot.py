"""The k-shot draw and the base and new halves: the published protocol, image for image. Standard library only."""

from __future__ import annotations

import random
from collections.abc import Iterable, Sequence
from dataclasses import replace

from harness.errors import ConfigError, DataError
from harness.suite import ClassSubset, Item, Splits

VAL_SHOTS = 4
"""The most validation images per class that a draw has."""


def few_shot(splits: Splits, shots: int, seed: int) -> Splits:
    """`shots` training images and at most `VAL_SHOTS` validation images per class; the test list stays whole.

    Draws what CoOp's and Dassl's loaders draw after seeding Python's global generator (their `split_fewshot` files):
    one generator, training before validation, classes in the order in which the list first names them, all images of a
    class that has fewer. A validation list that is the test list (ImageNet) stays whole as well. The draw is over all
    classes, so `subset` comes after it, and a base half trains on the very images that the full set trains on.

    Raises ConfigError for `shots` or `seed` below 1, and DataError where there is nothing to draw from.
    """
    if shots < 1:
        raise ConfigError(f"{shots} shots are no training set.", "Shots are images per class: 1 or more; 16 is usual.")
    if seed < 1:
        raise ConfigError(
            f"{seed} is no seed for a draw.", "Seeds start at 1, and the published draws are those of 1, 2 and 3."
        )
    if not splits.train:
        raise DataError("there are no training images to draw from.", "A dataset for tests only can't be trained on.")
    generator = random.Random(seed)
    train = _draw(splits.train, shots, generator)
    val = splits.val if splits.val == splits.test else _draw(splits.val, min(shots, VAL_SHOTS), generator)
    return replace(splits, train=train, val=val)


def held_out(splits: Splits, drawn: Splits, shots: int, seed: int) -> tuple[Item, ...]:
    """At most `VAL_SHOTS` training images per class that `drawn` leaves over.

    They are to validate on where the validation list is the test list (ImageNet): a search there would be on test images.
    """
    taken = {item.image for item in drawn.train}
    left = [item for item in splits.train if item.image not in taken]
    return _draw(left, min(shots, VAL_SHOTS), random.Random(seed))


def subset(splits: Splits, classes: ClassSubset) -> Splits:
    """The images of a part of the classes, labels renumbered from 0 in ascending order.

    Base is the first ceil(n / 2) of the n distinct labels of the train list (of the test list if that is empty), new is
    the rest.

    Raises DataError if there are fewer than 2 classes to halve, or if a validation or test image is of a class that the
    train list lacks, or if a label has two class names.
    """
    _names_by_label([*splits.train, *splits.val, *splits.test])
    known = {item.label for item in splits.train or splits.test}
    labels = sorted(known)
    for item in (*splits.val, *splits.test):
        if item.label not in known:
            raise DataError(
                f"'{item.image}' is of the class '{item.classname}' (label {item.label}), which has no training image.",
                "Every class needs training images; complete the train list, or take the class out of the other two.",
            )
    if classes != "all" and len(labels) < 2:
        raise DataError(
            f"{len(labels)} class can't be halved into base and new.", "Take all classes, or a dataset of 2 or more."
        )
    base = (len(labels) + 1) // 2
    kept = {"all": labels, "base": labels[:base], "new": labels[base:]}[classes]
    renumbered = {label: number for number, label in enumerate(kept)}

    def keep(items: Sequence[Item]) -> tuple[Item, ...]:
        return tuple(
            item if renumbered[item.label] == item.label else replace(item, label=renumbered[item.label])
            for item in items
            if item.label in renumbered
        )

    return replace(splits, train=keep(splits.train), val=keep(splits.val), test=keep(splits.test))


def classnames(source: Splits | Iterable[Item]) -> tuple[str, ...]:
    """The class names, by ascending label; those of `Splits` from its train list, or its test list if that is empty.

    Two labels may share a name (ImageNet has two such pairs). Raises DataError if a label has two names.
    """
    items = (source.train or source.test) if isinstance(source, Splits) else source
    names = _names_by_label(items)
    return tuple(names[label] for label in sorted(names))


def _draw(items: Sequence[Item], shots: int, generator: random.Random) -> tuple[Item, ...]:
    by_label: dict[int, list[Item]] = {}
    for item in items:
        by_label.setdefault(item.label, []).append(item)
    drawn: list[Item] = []
    for group in by_label.values():
        drawn += generator.sample(group, shots) if len(group) >= shots else group
    return tuple(drawn)


def _names_by_label(items: Iterable[Item]) -> dict[int, str]:
    names: dict[int, str] = {}
    for item in items:
        name = names.setdefault(item.label, item.classname)
        if name != item.classname:
            raise DataError(
                f"label {item.label} has two class names, '{name}' and '{item.classname}' (of '{item.image}').",
                "Give every class one label and one name in all three lists of the dataset.",
            )
    return names
