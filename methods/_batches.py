"""Orders of images that several methods train in."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence


def all_in_batches(labels: Sequence[int], batch_size: int, rng: random.Random) -> Iterator[list[int]]:
    """All images in random order; the last batch is as small as it comes."""
    order = list(range(len(labels)))
    rng.shuffle(order)
    return (order[i : i + batch_size] for i in range(0, len(order), batch_size))
