"""Images that are one by the content of their files, found by their sizes first: most are never opened. Standard library only."""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Callable, Hashable, Iterable, Sequence
from typing import Protocol, cast

from harness.suite import Splits

START_BYTES = 4096
"""Files of one size are compared by so many bytes first."""


class Contents(Protocol):
    """A `Splits.open` that knows the files behind its images."""

    def size(self, image: str) -> int: ...
    def content(self, image: str, most_bytes: int | None = None) -> bytes: ...


def duplicates(splits: Splits) -> list[list[str]]:
    """Groups of images of all lists whose files are equal, in the order of the lists; none where the files aren't known."""
    if not hasattr(splits.open, "content"):
        return []
    files = cast(Contents, splits.open)
    images = dict.fromkeys(item.image for part in (splits.train, splits.val, splits.test) for item in part)
    alike = [
        group
        for same_size in _alike(images, files.size)
        for same_start in _alike(same_size, lambda image: _digest(files.content(image, START_BYTES)))
        for group in _alike(same_start, lambda image: _digest(files.content(image)))
    ]
    place = {image: number for number, image in enumerate(images)}
    return sorted(alike, key=lambda group: place[group[0]])


def in_train_and_test(splits: Splits, groups: Iterable[Sequence[str]]) -> list[tuple[str, str]]:
    """(training image, test image) for every test image whose content is trained on; `groups` are the `duplicates`."""
    trained, tested = ({item.image for item in part} for part in (splits.train, splits.test))
    return [
        (known[0], image)
        for group in groups
        if (known := [image for image in group if image in trained])
        for image in group
        if image in tested
    ]


def _alike(images: Iterable[str], fact: Callable[[str], Hashable]) -> list[list[str]]:
    groups: defaultdict[Hashable, list[str]] = defaultdict(list)
    for image in images:
        groups[fact(image)].append(image)
    return [group for group in groups.values() if len(group) > 1]


def _digest(content: bytes) -> bytes:
    return hashlib.sha256(content).digest()
