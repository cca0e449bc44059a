"""Adversarial picking, as ImageNet-A was made: of many pictures, those on which a simple classifier errs most.

The classifier is a nearest neighbour in grey pixels: it has nothing to do with any backbone that is measured.
"""

from __future__ import annotations

import numpy as np

from suites.demo.store import Pictures

_CELL = 3
"""Pixels are averaged over squares of this side."""


def hardest(drawn: Pictures, known: Pictures, kept: int) -> Pictures:
    """The `kept` pictures of each class of `drawn` that lie furthest from their class, measured against `known`.

    A picture's margin is its correlation with the most similar picture of its own class minus that with the most similar one of
    another; the least margins are kept, in the order they were drawn.
    """
    correlation = _features(drawn.images) @ _features(known.images).T
    own = drawn.labels[:, None] == known.labels
    margin = np.where(own, correlation, -1).max(axis=1) - np.where(own, -1, correlation).max(axis=1)
    rows = [np.flatnonzero(drawn.labels == label) for label in np.unique(drawn.labels)]
    least = np.concatenate([np.sort(row[np.argsort(margin[row], kind="stable")[:kept]]) for row in rows])
    return Pictures(drawn.images[least], drawn.labels[least], drawn.parts[least])


def _features(images: np.ndarray) -> np.ndarray:
    """Grey pictures, coarse, without mean and of length 1: (n, side, side, 3) to (n, (side / _CELL)**2)."""
    n, side = images.shape[0], images.shape[1] // _CELL
    grey = images.mean(axis=3, dtype=np.float32).reshape(n, side, _CELL, side, _CELL).mean(axis=(2, 4)).reshape(n, -1)
    grey -= grey.mean(axis=1, keepdims=True)
    return grey / np.linalg.norm(grey, axis=1, keepdims=True)
