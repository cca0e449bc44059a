"""How pictures of a kind tend to be made: what `render` draws by. No torch."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

TAU = 2 * np.pi

COLOURS: dict[str, tuple[int, int, int]] = {
    "red": (214, 40, 40), "green": (46, 150, 60), "blue": (40, 80, 200), "yellow": (240, 208, 40),
    "orange": (240, 130, 30), "purple": (126, 56, 160), "pink": (244, 140, 186), "brown": (122, 76, 40),
    "black": (24, 24, 24), "white": (244, 244, 244), "gray": (136, 136, 136), "turquoise": (50, 190, 190),
}  # fmt: skip
FILLS = ("flat", "outline", "both", "textured", "shaded")
BACKGROUNDS = ("plain", "gradient", "textured", "blotchy", "split")
TEXTURES = (
    "striped", "dotted", "checkered", "grid", "zigzagged", "wavy", "ringed", "rayed", "bricked", "crosshatched",
    "speckled", "blotchy", "scaly", "honeycombed", "plaid", "marbled", "swirly", "woven", "cracked", "triangular",
)  # fmt: skip
"""`suites.demo.textures` has the function of each."""


@dataclass(frozen=True, kw_only=True)
class Look:
    """How pictures tend to be made. Pairs are ranges; `fills` and `backgrounds` are weights in the order of the names."""

    fills: tuple[float, ...] = (0.3, 0.2, 0.2, 0.15, 0.15)
    backgrounds: tuple[float, ...] = (0.45, 0.2, 0.15, 0.1, 0.1)
    background_contrast: tuple[float, float] = (0.1, 0.6)
    colour_jitter: float = 24
    line: tuple[float, float] = (1.0, 3.0)
    noise: tuple[float, float] = (0.0, 0.08)
    blur: tuple[float, float] = (0.01, 1.1)
    contrast: tuple[float, float] = (0.7, 1.1)
    brightness: tuple[float, float] = (-0.12, 0.12)
    pixelated: float = 0.07
    grey: float = 0.1
    inverted: float = 0.1
    spread: float = 1.0
    """How far single things lie from the middle, from their largest size and from upright; 0 is not at all."""
    turned: float = TAU
    """Textures are turned by an angle from 0 to this."""
    periods: tuple[float, float] = (2.5, 6.0)
    """How often the texture of a background repeats across a picture."""
    two_colours: bool = False
    """Whether full-frame textures are in two named colours, and not in a colour and a shift of it."""
    paper: float = 0.15
    """How often a picture is dark on white, or white on black: a sketch's or a scan's colours."""
