"""Land seen from above, drawn by PIL: arrangements rather than objects (in the spirit of satellite pictures)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from PIL import Image, ImageDraw

from suites.demo.drawings import SIDE, smooth

if TYPE_CHECKING:
    from collections.abc import Callable

GREEN, DARK_GREEN, WATER, SAND, ROAD, SOIL = (
    (112, 150, 84), (44, 92, 50), (52, 96, 158), (222, 204, 150), (116, 116, 120), (158, 124, 84),
)  # fmt: skip
ROOFS = ((176, 84, 66), (150, 110, 96), (196, 188, 180), (120, 124, 140))
_BIG = 2 * SIDE


class Ground:
    """A canvas of `_BIG` pixels a side on which places are drawn in units of the side, 0..1."""

    def __init__(self, rng: np.random.Generator) -> None:
        self.rng = rng
        self.image = Image.new("RGB", (_BIG, _BIG))
        self.draw = ImageDraw.Draw(self.image)

    def tone(self, colour: tuple[int, int, int], spread: int = 14) -> tuple[int, int, int]:
        r, g, b = (
            int(np.clip(c + d, 0, 255)) for c, d in zip(colour, self.rng.integers(-spread, spread + 1, 3), strict=True)
        )
        return r, g, b

    def fill(self, colour: tuple[int, int, int]) -> None:
        self.box(0, 0, 1, 1, colour)

    def box(self, x: float, y: float, w: float, h: float, colour: tuple[int, int, int]) -> None:
        self.draw.rectangle([v * _BIG for v in (x, y, x + w, y + h)], fill=self.tone(colour))

    def blob(self, x: float, y: float, r: float, colour: tuple[int, int, int], rough: float = 0.25) -> None:
        angle = np.linspace(0, 2 * np.pi, 9, endpoint=False)
        radii = r * (1 + self.rng.uniform(-rough, rough, size=9))
        ring = np.stack([x + radii * np.cos(angle), y + radii * np.sin(angle)], axis=1)
        self.draw.polygon([tuple(p * _BIG) for p in smooth(np.concatenate([ring, ring[:1]]))], fill=self.tone(colour))

    def band(self, points: np.ndarray, width: float, colour: tuple[int, int, int], curved: bool = False) -> None:
        path = smooth(points) if curved else points
        self.draw.line(
            [tuple(p * _BIG) for p in path], fill=self.tone(colour), width=round(width * _BIG), joint="curve"
        )

    def across(self, bend: float) -> np.ndarray:
        """A path from edge to edge, (5, 2)."""
        t = np.linspace(-0.1, 1.1, 5)
        offset = self.rng.uniform(0.3, 0.7) + self.rng.uniform(-bend, bend, size=5)
        return np.stack([t, offset], axis=1)

    def scatter(self, count: int, margin: float = 0.0) -> np.ndarray:
        return self.rng.uniform(margin, 1 - margin, size=(count, 2))


def _forest(g: Ground) -> None:
    g.fill(DARK_GREEN)
    for x, y in g.scatter(70):
        g.blob(x, y, g.rng.uniform(0.04, 0.09), (52, 104, 56))


def _river(g: Ground) -> None:
    g.fill(GREEN)
    g.band(g.across(0.25), g.rng.uniform(0.12, 0.24), WATER, curved=True)


def _highway(g: Ground) -> None:
    g.fill(GREEN)
    middle, width = g.across(0.03), g.rng.uniform(0.16, 0.26)
    g.band(middle, width, ROAD)
    for x in np.arange(0, 1, 0.14):
        y = np.interp(x, middle[:, 0], middle[:, 1])
        g.box(x, y - 0.012, 0.07, 0.024, (235, 235, 225))


def _village(g: Ground) -> None:
    g.fill(GREEN)
    g.band(g.across(0.1), 0.06, ROAD)
    for x, y in g.scatter(18, 0.03):
        g.box(x, y, g.rng.uniform(0.07, 0.11), g.rng.uniform(0.07, 0.11), ROOFS[int(g.rng.integers(2))])


def _factory(g: Ground) -> None:
    g.fill((150, 148, 142))
    for x, y in ((0.06, 0.06), (0.55, 0.08), (0.08, 0.56), (0.56, 0.55)):
        w, h = g.rng.uniform(0.24, 0.4, size=2)
        g.box(x, y, w, h, ROOFS[2 + int(g.rng.integers(2))])
        g.box(x + w * 0.15, y + h * 0.15, w * 0.12, h * 0.7, (90, 92, 100))


def _lake(g: Ground) -> None:
    g.fill(GREEN)
    x, y = g.rng.uniform(0.4, 0.6, size=2)
    g.blob(x, y, g.rng.uniform(0.28, 0.4), WATER)


def _farmland(g: Ground) -> None:
    rows, columns = g.rng.uniform([0.2, 0.55], [0.45, 0.8], size=(2, 2))
    crops = ((190, 178, 92), (124, 156, 76), SOIL, (90, 132, 66), (212, 196, 130))
    ys, xs = [0, *rows, 1], [0, *columns, 1]
    for i in range(3):
        for j in range(3):
            g.box(xs[j], ys[i], xs[j + 1] - xs[j] - 0.01, ys[i + 1] - ys[i] - 0.01, crops[int(g.rng.integers(5))])


def _desert(g: Ground) -> None:
    g.fill((216, 178, 120))
    for k in range(7):
        g.band(g.across(0.08) + np.array([0, (k - 3) * 0.16]), 0.03, (188, 148, 96), curved=True)


def _beach(g: Ground) -> None:
    g.fill(SAND)
    shore = g.across(0.06)
    outline = [*smooth(shore), np.array([1.1, 1.1]), np.array([-0.1, 1.1])]
    g.band(shore - [0, 0.01], 0.05, (240, 240, 235), curved=True)
    g.draw.polygon([tuple(p * _BIG) for p in outline], fill=g.tone(WATER))


def _island(g: Ground) -> None:
    g.fill(WATER)
    x, y = g.rng.uniform(0.42, 0.58, size=2)
    r = g.rng.uniform(0.24, 0.34)
    g.blob(x, y, r, SAND)
    g.blob(x, y, r * 0.7, GREEN)


def _parking_lot(g: Ground) -> None:
    g.fill((104, 104, 108))
    for y in (0.08, 0.3, 0.58, 0.8):
        for x in np.arange(0.04, 0.96, 0.12):
            if g.rng.random() < 0.75:
                g.box(x, y, 0.07, 0.13, tuple(int(c) for c in g.rng.integers(40, 240, 3)))  # type: ignore[arg-type]


def _airport(g: Ground) -> None:
    g.fill((136, 158, 104))
    for k, y in enumerate(g.rng.uniform([0.2, 0.62], [0.38, 0.8])):
        g.box(0, y, 1, 0.12, (90, 90, 96))
        g.box(0.05, y + 0.045, 0.9, 0.02, (235, 235, 235))
        g.box(0.3 + 0.3 * k, 0.3, 0.06, 0.4, (100, 100, 104))


def _crossroads(g: Ground) -> None:
    g.fill((168, 160, 150) if g.rng.random() < 0.5 else GREEN)
    x, y = g.rng.uniform(0.4, 0.6, size=2)
    g.box(x - 0.08, 0, 0.16, 1, ROAD)
    g.box(0, y - 0.08, 1, 0.16, ROAD)


def _orchard(g: Ground) -> None:
    g.fill((176, 160, 108))
    step = g.rng.uniform(0.14, 0.2)
    for x in np.arange(0.07, 1, step):
        for y in np.arange(0.07, 1, step):
            g.blob(x, y, step * 0.32, DARK_GREEN)


def _stadium(g: Ground) -> None:
    g.fill((170, 168, 164))
    w, h = g.rng.uniform(0.36, 0.44), g.rng.uniform(0.26, 0.34)
    for grow, colour in ((1.0, (196, 96, 70)), (0.75, (70, 150, 70))):
        box = [(0.5 - w * grow) * _BIG, (0.5 - h * grow) * _BIG, (0.5 + w * grow) * _BIG, (0.5 + h * grow) * _BIG]
        g.draw.ellipse(box, fill=g.tone(colour))
    g.box(0.49, 0.5 - h * 0.75, 0.02, h * 1.5, (235, 235, 235))


def _roundabout(g: Ground) -> None:
    g.fill(GREEN)
    g.box(0.42, 0, 0.16, 1, ROAD)
    if g.rng.random() < 0.7:
        g.box(0, 0.42, 1, 0.16, ROAD)
    r = g.rng.uniform(0.24, 0.32)
    g.blob(0.5, 0.5, r, ROAD, rough=0.02)
    g.blob(0.5, 0.5, r * 0.5, GREEN, rough=0.02)


SCENES: dict[str, Callable[[Ground], None]] = {
    "forest": _forest,
    "river": _river,
    "highway": _highway,
    "village": _village,
    "factory": _factory,
    "lake": _lake,
    "farmland": _farmland,
    "desert": _desert,
    "beach": _beach,
    "island": _island,
    "parking lot": _parking_lot,
    "airport": _airport,
    "crossroads": _crossroads,
    "orchard": _orchard,
    "stadium": _stadium,
    "roundabout": _roundabout,
}


def scene(name: str, rng: np.random.Generator) -> np.ndarray:
    """One picture of a scene, turned by a quarter and mirrored at random: (3, SIDE, SIDE) uint8."""
    ground = Ground(rng)
    SCENES[name](ground)
    pixels = np.asarray(ground.image.resize((SIDE, SIDE), Image.Resampling.BOX))
    turned = np.rot90(pixels, int(rng.integers(4)))
    return np.ascontiguousarray((turned[:, ::-1] if rng.random() < 0.5 else turned).transpose(2, 0, 1))
