"""Random images of any number of classes, drawn when they are opened: to measure cost without a download."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

from harness.errors import ConfigError
from harness.suite import Dataset, Folders, Item, Splits

if TYPE_CHECKING:
    from PIL.Image import Image

TRAIN = 16
"""Training images per class."""
MOST_TESTS = 32
"""Test images, one a class: a third of a published batch, so that a CPU takes seconds for them."""
SIDE = 256
"""Pixels; the test transform has to shrink them, as it has to with photographs."""


def random_images(classes: str) -> Dataset:
    """So many classes of noise, by ImageNet's names; on the command line ``random:1000``.

    Raises ConfigError for what is no number from 2 on.
    """
    if not classes.isdecimal() or int(classes) < 2:
        raise ConfigError(
            f"random:{classes} has no number of classes from 2 on.", "For example: --datasets random:1000"
        )
    return Dataset(
        name=f"random:{int(classes)}",
        title=f"Random images of {int(classes)} classes",
        group="random",
        templates={"clip": "a photo of a {}."},
        read=partial(_read, int(classes)),
    )


def _read(classes: int, folders: Folders) -> Splits:
    from harness.probes.simulate import class_names  # imports torch

    names = class_names(classes)

    def items(part: str, count: int) -> tuple[Item, ...]:
        return tuple(Item(f"{part}/{c}/{i}", c, name) for c, name in enumerate(names) for i in range(count))

    return Splits(train=items("train", TRAIN), val=(), test=items("test", 1)[:MOST_TESTS], open=_open)


def _open(key: str) -> Image:
    import numpy as np
    from PIL import Image

    seed = int.from_bytes(hashlib.sha256(key.encode()).digest()[:8], "big")
    return Image.fromarray(np.random.default_rng(seed).integers(0, 256, (SIDE, SIDE, 3), np.uint8))


RANDOM_IMAGES = replace(random_images("50"), name="random-images")
