"""Images of one colour each, as a dataset. No torch here."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from harness.suite import Item, Splits

if TYPE_CHECKING:
    from PIL.Image import Image

COLOURS: Mapping[str, tuple[int, int, int]] = {
    "red": (210, 30, 30),
    "green": (30, 200, 40),
    "blue": (30, 40, 220),
    "yellow": (220, 210, 40),
    "purple": (140, 30, 170),
}
IMAGES_PER_CLASS = {"train": 6, "val": 2, "test": 7}


def colours() -> Splits:
    """Five classes of flat-colour images of 41 x 37 pixels, each image a little brighter than the one before it."""
    train, val, test = (
        tuple(
            Item(f"{part}/{name}/{number}", label, name)
            for label, name in enumerate(COLOURS)
            for number in range(count)
        )
        for part, count in IMAGES_PER_CLASS.items()
    )
    return Splits(train=train, val=val, test=test, open=open_colour)


def open_colour(key: str) -> Image:
    """The image of a key of `colours`."""
    from PIL import Image

    part, name, number = key.split("/")
    shift = 3 * int(number) + 7 * list(IMAGES_PER_CLASS).index(part)
    red, green, blue = (min(255, value + shift) for value in COLOURS[name])
    return Image.new("RGB", (41, 37), (red, green, blue))
