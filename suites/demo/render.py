"""The renderer: objects, glyphs, textures and scenes to 48-pixel pictures in many styles, a batch at a time.

A `Look` says how pictures of a kind tend to be made; `Canvas` draws one look's choices
for a batch, takes the objects to place, and composes everything with a few tensor operations: thousands of pictures a
second on two cores. All chance comes from the generator that is passed in.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from suites.demo import textures
from suites.demo.bank import Bank
from suites.demo.look import BACKGROUNDS, COLOURS, FILLS, TAU, TEXTURES, Look

PIXELS = 48
"""Side of a picture."""


@dataclass
class _Placed:
    image: list[int] = field(default_factory=list)
    slot: list[int] = field(default_factory=list)
    mask: list[int] = field(default_factory=list)
    pose: list[tuple[float, float, float, float]] = field(default_factory=list)
    """x, y of the centre and half the side, in units of half the picture; angle in radians."""
    colour: list[np.ndarray] = field(default_factory=list)


class Canvas:
    """`count` pictures of a look: choices are drawn at once, then changed and added to by the caller, then composed."""

    def __init__(self, count: int, look: Look, bank: Bank, rng: np.random.Generator) -> None:
        self.count, self.look, self.bank, self.rng = count, look, bank, rng
        self.fill = rng.choice(len(FILLS), size=count, p=np.array(look.fills) / sum(look.fills))
        self.background = rng.choice(len(BACKGROUNDS), size=count, p=np.array(look.backgrounds) / sum(look.backgrounds))
        self.background_contrast = rng.uniform(*look.background_contrast, size=count)
        self.texture = rng.integers(len(TEXTURES), size=(2, count))  # of the background, of the objects
        names = list(COLOURS)
        self.ink = np.array([names[i] for i in rng.integers(len(names), size=count)])
        self.paper = np.array([names[i] for i in rng.integers(len(names), size=count)])
        sketched = rng.random(count) < look.paper
        dark = rng.random(count) < 0.5
        self.paper[sketched] = np.where(dark, "white", "black")[sketched]
        self.ink[sketched] = np.where(dark, "black", "white")[sketched]
        self.background[sketched] = 0
        self.other: dict[int, str] = {}
        """The second colour of a background, where it is a named one."""
        self.scene = np.full(count, -1)
        self.line = rng.uniform(*look.line, size=count)
        self._placed = _Placed()

    def shade(self, name: str) -> np.ndarray:
        """A named colour, jittered: (3,) in 0..1."""
        return np.clip(np.array(COLOURS[name]) + self.rng.normal(scale=self.look.colour_jitter, size=3), 0, 255) / 255

    def place(self, image: int, key: str, x: float, y: float, size: float, angle: float, colour: str) -> None:
        """Put a random exemplar of `key` on a picture, over what is there. A size of 1 fills the picture."""
        rows, p = self.bank.rows[key], self._placed
        p.slot.append(p.slot[-1] + 1 if p.image and p.image[-1] == image else 0)
        p.image.append(image)
        p.mask.append(int(rows[self.rng.integers(len(rows))]))
        p.pose.append((x, y, size, angle))
        p.colour.append(self.shade(colour))

    def show_scene(self, image: int, name: str) -> None:
        rows = self.bank.rows[f"scene {name}"]
        self.scene[image] = rows[self.rng.integers(len(rows))]

    def _uniform(self, low: float, high: float) -> Tensor:
        return torch.from_numpy(self.rng.uniform(low, high, size=(self.count, 1, 1, 1))).float()

    def _chance(self, probability: float) -> Tensor:
        return torch.from_numpy(self.rng.random((self.count, 1, 1, 1)) < probability)

    def _ground(self) -> Tensor:
        """Backgrounds: (count, 3, PIXELS, PIXELS) in 0..1."""
        paper = np.stack([self.shade(name) for name in self.paper])
        other = np.clip(paper + self.background_contrast[:, None] * self.rng.uniform(-1, 1, size=(self.count, 3)), 0, 1)
        for i, name in self.other.items():
            other[i] = self.shade(name)
        a, b = (torch.from_numpy(c).float()[:, :, None, None] for c in (paper, other))
        axis = torch.linspace(-1, 1, PIXELS)
        y, x = torch.meshgrid(axis, axis, indexing="ij")
        angle = self._uniform(0, TAU)[:, 0]
        ramp = torch.cos(angle) * x + torch.sin(angle) * y
        generator = torch.Generator().manual_seed(int(self.rng.integers(2**62)))
        mix = torch.stack(
            [
                torch.zeros(self.count, PIXELS, PIXELS),
                (ramp + 1) / 2,
                textures.fields(self.texture[0], self.rng, PIXELS, self.look.periods, self.look.turned),
                textures.smooth_noise(5, generator, self.count, PIXELS) * 0.5 + 0.5,
                (ramp > self._uniform(-0.5, 0.5)[:, 0]).float(),
            ]
        )[torch.from_numpy(self.background), torch.arange(self.count)].clamp(0, 1)[:, None]
        ground = a * (1 - mix) + b * mix
        if (rows := np.flatnonzero(self.scene >= 0)).size:
            pictures = self.bank.scenes[torch.from_numpy(self.scene[rows])].float() / 255
            zoom = torch.from_numpy(self.rng.uniform(0.75, 1.0, size=(len(rows), 1, 1))).float()
            theta = torch.cat([torch.eye(2).expand(len(rows), 2, 2) * zoom, torch.zeros(len(rows), 2, 1)], dim=2)
            grid = F.affine_grid(theta, [len(rows), 3, PIXELS, PIXELS], align_corners=False)
            tint = torch.from_numpy(self.rng.uniform(0.8, 1.2, size=(len(rows), 3, 1, 1))).float()
            ground[rows] = (F.grid_sample(pictures, grid, align_corners=False, padding_mode="border") * tint).clamp(
                0, 1
            )
        return ground

    def _warped(self) -> Tensor:
        """The masks of all placed objects at their places: (objects, 2, PIXELS, PIXELS) in 0..1."""
        x, y, size, angle = torch.tensor(self._placed.pose).float().T
        c, s = torch.cos(angle) / size, torch.sin(angle) / size
        theta = torch.stack([c, s, -(c * x + s * y), -s, c, s * x - c * y], dim=1).reshape(-1, 2, 3)
        grid = F.affine_grid(theta, [len(x), 2, PIXELS, PIXELS], align_corners=False)
        masks = self.bank.masks[torch.tensor(self._placed.mask)].float() / 255
        return F.grid_sample(masks, grid, align_corners=False)

    def _over(self, ground: Tensor) -> Tensor:
        """Objects over the ground, slot by slot."""
        if not self._placed.image:
            return ground
        image, slot = torch.tensor(self._placed.image), torch.tensor(self._placed.slot)
        colour = torch.from_numpy(np.stack(self._placed.colour)).float()[:, :, None, None]
        warped = self._warped()
        body, detail = warped[:, :1], warped[:, 1:]
        wide, thin = F.max_pool2d(body, 3, 1, 1), -F.max_pool2d(-body, 3, 1, 1)
        width = torch.from_numpy(self.line).float()[image, None, None, None]
        edge = torch.where(
            width < 1.6, body - thin, torch.where(width < 2.5, wide - thin, F.max_pool2d(wide, 3, 1, 1) - thin)
        )
        fill = torch.from_numpy(self.fill)[image, None, None, None]
        light = colour.mean(1, keepdim=True) > 0.4
        accent = torch.where(light, colour * 0.3, colour * 0.4 + 0.6)
        pattern = textures.fields(self.texture[1], self.rng, PIXELS, periods=(4, 9))[image, None]
        axis = torch.linspace(-1, 1, PIXELS)
        angle = self._uniform(0, TAU)[image]
        ramp = torch.cos(angle) * axis + torch.sin(angle) * axis[:, None]
        paint = torch.where(fill == FILLS.index("textured"), colour * (1 - 0.55 * pattern) + 0.25 * pattern, colour)
        paint = torch.where(fill == FILLS.index("shaded"), (colour * (1 + 0.5 * ramp)).clamp(0, 1), paint)
        lines = torch.maximum(edge.clamp(0, 1), detail)
        outlined = fill == FILLS.index("outline")
        alpha = torch.where(outlined, lines, torch.maximum(body, detail))
        marks = torch.where(fill == FILLS.index("both"), lines, detail)
        paint = torch.where(outlined, colour, paint * (1 - marks) + accent * marks)
        alpha = torch.where(fill == FILLS.index("both"), torch.maximum(alpha, edge.clamp(0, 1)), alpha)
        for k in range(int(slot.max()) + 1):
            here = torch.nonzero(slot == k)[:, 0]
            rows = image[here]
            ground[rows] = ground[rows] * (1 - alpha[here]) + paint[here] * alpha[here]
        return ground

    def _finish(self, picture: Tensor) -> Tensor:
        """What a camera, a scanner or a printer adds: low resolution, blur, contrast, grey, noise."""
        look = self.look
        coarse = F.interpolate(F.avg_pool2d(picture, 3), size=(PIXELS, PIXELS), mode="nearest")
        picture = torch.where(self._chance(look.pixelated), coarse, picture)
        taps = torch.arange(-3.0, 4.0)
        kernel = torch.exp(-(taps**2) / (2 * self._uniform(*look.blur)[:, 0] ** 2))
        kernel = (kernel / kernel.sum(-1, keepdim=True)).repeat_interleave(3, dim=0)
        flat = F.pad(picture.reshape(1, -1, PIXELS, PIXELS), (3, 3, 3, 3), mode="replicate")
        flat = F.conv2d(flat, kernel[:, :, None, :], groups=3 * self.count)
        picture = F.conv2d(flat, kernel[:, :, :, None], groups=3 * self.count).reshape(picture.shape)
        picture = 0.5 + (picture - 0.5) * self._uniform(*look.contrast) + self._uniform(*look.brightness)
        picture = torch.where(self._chance(look.grey), picture.mean(1, keepdim=True).expand_as(picture), picture)
        picture = torch.where(self._chance(look.inverted), 1 - picture, picture)
        generator = torch.Generator().manual_seed(int(self.rng.integers(2**62)))
        return picture + self._uniform(*look.noise) * torch.randn(picture.shape, generator=generator)

    def compose(self) -> Tensor:
        """The pictures: (count, 3, PIXELS, PIXELS) uint8."""
        return (self._finish(self._over(self._ground())).clamp(0, 1) * 255).round().to(torch.uint8)
