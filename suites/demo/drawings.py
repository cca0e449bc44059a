"""A tiny drawing language and its rasteriser.

A program is a list of steps, ``;`` between them. Coordinates run from -1 to 1, x to the right and y down:

    P x,y x,y ...        a filled polygon
    E x,y rx,ry          a filled ellipse
    L w x,y x,y ...      a line of width w with round ends

A step adds to the silhouette; prefixed by ``-`` it cuts out of it, prefixed by ``d`` it goes to the layer of inner detail.
A drawing is never the same twice: points are jittered and bent, so that a bank holds many exemplars of an object.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from PIL import Image, ImageDraw

if TYPE_CHECKING:
    from collections.abc import Sequence

SIDE = 64
"""Pixels of a mask's side."""
_SUPER = 3  # drawn three times as large, then averaged: anti-aliasing


class Pen:
    """Two layers, silhouette and detail, and the random bend of one exemplar."""

    def __init__(self, rng: np.random.Generator, wobble: float) -> None:
        side = SIDE * _SUPER
        self.layers = [Image.new("L", (side, side)) for _ in range(2)]
        self._draw = [ImageDraw.Draw(layer) for layer in self.layers]
        self._rng = rng
        self._wobble = wobble
        self._scale = 1 + wobble * rng.uniform(-2.5, 2.5, size=2)
        self._shear = wobble * rng.uniform(-3, 3)
        self._bend = wobble * rng.uniform(-1.6, 1.6, size=2)
        self._phase = rng.uniform(0, 2 * np.pi, size=2)
        self._weight = float(np.exp(8 * wobble * rng.uniform(-1, 1)))

    def _place(self, points: np.ndarray) -> list[tuple[float, float]]:
        """Points of the program, (n, 2) in -1..1, to pixels of this exemplar."""
        x, y = (points * self._scale).T
        x = x + self._shear * y + self._bend[0] * np.sin(3 * y + self._phase[0])
        y = y + self._bend[1] * np.sin(3 * x + self._phase[1])
        bent = np.clip(np.stack([x, y], axis=1), -1, 1)
        return [tuple(p) for p in (bent * 0.92 + 1) / 2 * SIDE * _SUPER]

    def polygon(self, points: np.ndarray, layer: int, ink: int, jitter: bool = True) -> None:
        if jitter:
            points = points + self._rng.normal(scale=self._wobble * 0.6, size=points.shape)
        self._draw[layer].polygon(self._place(points), fill=ink)

    def ellipse(self, centre: np.ndarray, radii: np.ndarray, layer: int, ink: int) -> None:
        angle = np.linspace(0, 2 * np.pi, 30, endpoint=False)
        radii = radii * (1 + self._rng.normal(scale=self._wobble, size=2))
        self.polygon(centre + radii * np.stack([np.cos(angle), np.sin(angle)], axis=1), layer, ink, jitter=False)

    def line(self, width: float, points: np.ndarray, layer: int, ink: int, curved: bool = False) -> None:
        points = points + self._rng.normal(scale=self._wobble * 0.6, size=points.shape)
        path = self._place(smooth(points) if curved else points)
        pixels = max(2.0, width * self._weight * SIDE * _SUPER / 2)
        self._draw[layer].line(path, fill=ink, width=round(pixels), joint="curve")
        for x, y in path if curved else path[:: max(1, len(path) - 1)]:
            r = pixels / 2
            self._draw[layer].ellipse((x - r, y - r, x + r, y + r), fill=ink)

    def masks(self) -> np.ndarray:
        """(2, SIDE, SIDE) uint8: silhouette and detail."""
        return np.stack([np.asarray(layer.resize((SIDE, SIDE), Image.Resampling.BOX)) for layer in self.layers])


def smooth(points: np.ndarray) -> np.ndarray:
    """Two rounds of Chaikin's corner cutting, ends kept: a polyline to a curve."""
    for _ in range(2):
        a, b = points[:-1], points[1:]
        cut = np.stack([0.75 * a + 0.25 * b, 0.25 * a + 0.75 * b], axis=1).reshape(-1, 2)
        points = np.concatenate([points[:1], cut, points[-1:]])
    return points


def _points(words: Sequence[str]) -> np.ndarray:
    return np.array([[float(v) for v in word.split(",")] for word in words])


def draw(program: str, rng: np.random.Generator, wobble: float = 0.03, curved: bool = False) -> np.ndarray:
    """One exemplar of a program: (2, SIDE, SIDE) uint8. `curved` rounds the corners of lines, for handwriting."""
    pen = Pen(rng, wobble)
    for step in program.split(";"):
        word, *rest = step.split()
        layer, ink = int(word[0] == "d"), 0 if word[0] == "-" else 255
        if word[-1] == "P":
            pen.polygon(_points(rest), layer, ink)
        elif word[-1] == "E":
            centre, radii = _points(rest)
            pen.ellipse(centre, radii, layer, ink)
        else:
            pen.line(float(rest[0]), _points(rest[1:]), layer, ink, curved)
    return pen.masks()
