"""Digits and letters of the demo world: set in matplotlib's bundled fonts, or written by hand-like strokes.

No scanned digit takes part: strokes are programs as in `drawings`, bent and jittered. Some digits are then binned to
8x8 counts of 4x4 pixels, the way optical scanners of the nineties did it; that makes real scans no surprise later.
"""

from __future__ import annotations

import string
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from suites.demo.drawings import SIDE, draw

DIGITS: dict[str, tuple[str, ...]] = {
    "0": (
        "0,-.85 -.4,-.65 -.52,0 -.4,.65 0,.85 .4,.65 .52,0 .4,-.65 0,-.85",
        "0.2,-.85 -.3,-.6 -.42,.1 -.3,.7 .1,.8 .4,.4 .42,-.3 .15,-.85 -.05,-.8",
    ),
    "1": ("0,-.85 0,.85", "-.35,-.45 .05,-.85 .05,.85", "-.3,-.5 .08,-.85 .0,.8 | -.35,.82 .4,.82", ".15,-.85 -.1,.85"),
    "2": (
        "-.45,-.5 -.25,-.82 .2,-.85 .42,-.5 .3,-.1 -.45,.8 .5,.8",
        "-.4,-.6 -.05,-.85 .38,-.6 .3,-.1 -.1,.5 -.42,.75 -.45,.5 -.15,.5 .2,.75 .5,.7",
    ),
    "3": (
        "-.42,-.65 -.1,-.85 .32,-.72 .35,-.3 -.05,-.05 .42,.2 .4,.65 0,.85 -.45,.68",
        "-.4,-.8 .38,-.8 -.02,-.15 .38,.12 .4,.6 .05,.85 -.42,.7",
    ),
    "4": (
        ".25,.85 .25,-.85 -.5,.3 .55,.3",
        "-.35,-.8 -.42,.1 .45,.1 | .3,-.7 .22,.85",
        "-.1,-.85 -.5,.2 .5,.15 | .2,-.3 .15,.85",
    ),
    "5": (
        ".42,-.82 -.32,-.82 -.38,-.1 .05,-.25 .42,.05 .4,.55 .05,.85 -.42,.7",
        ".4,-.8 -.25,-.8 -.35,-.1 .3,-.05 .4,.4 .15,.8 -.4,.8",
    ),
    "6": (
        ".3,-.85 -.2,-.5 -.45,.15 -.35,.7 .05,.85 .4,.6 .38,.15 .05,0 -.4,.3",
        ".1,-.85 -.3,-.2 -.4,.45 -.1,.83 .3,.7 .38,.3 .1,.1 -.35,.4",
    ),
    "7": (
        "-.48,-.8 .48,-.8 -.1,.85",
        "-.45,-.75 .45,-.8 .1,0 -.05,.85 | -.25,.0 .35,-.02",
        "-.45,-.5 -.42,-.8 .45,-.78 .0,.85",
    ),
    "8": (
        ".3,-.7 -.1,-.85 -.38,-.55 -.1,-.1 .35,.25 .35,.7 0,.85 -.38,.65 -.3,.25 .2,-.15 .4,-.5 .25,-.72",
        "0,-.85 -.35,-.5 0,-.08 .35,-.5 0,-.85 | 0,-.08 -.42,.4 0,.85 .42,.4 0,-.08",
    ),
    "9": (
        ".35,-.55 .05,-.85 -.35,-.65 -.35,-.25 0,-.08 .35,-.35 .38,-.65 .3,.2 .15,.85",
        ".38,-.4 .2,-.8 -.2,-.8 -.38,-.45 -.1,-.1 .3,-.25 .4,-.7 .4,.3 .1,.8 -.35,.75",
    ),
}
"""Strokes of the digits, ``|`` where the pen is lifted."""

_FONTS = (
    "DejaVuSans", "DejaVuSans-Bold", "DejaVuSans-Oblique", "DejaVuSansMono", "DejaVuSansMono-Bold", "DejaVuSerif",
    "DejaVuSerif-Bold", "DejaVuSerif-Italic", "STIXGeneral", "STIXGeneralBol", "STIXGeneralItalic", "STIXGeneralBolIta",
    "cmb10", "cmr10", "cmss10", "cmtt10", "cmmi10",
)  # fmt: skip


def font(number: int, pixels: int) -> ImageFont.FreeTypeFont:
    """One of matplotlib's bundled text fonts, by number modulo how many there are."""
    import matplotlib

    folder = Path(matplotlib.get_data_path(), "fonts", "ttf")
    return ImageFont.truetype(str(folder / f"{_FONTS[number % len(_FONTS)]}.ttf"), pixels)


def printed(text: str, rng: np.random.Generator) -> np.ndarray:
    """A character in a random font: (2, SIDE, SIDE) uint8, the detail layer empty. Upper or lower case by `text`."""
    canvas = Image.new("L", (SIDE * 2, SIDE * 2))
    number = int(rng.integers(len(_FONTS)))
    ImageDraw.Draw(canvas).text((SIDE, SIDE), text, fill=255, anchor="mm", font=font(number, round(SIDE * 1.3)))
    return np.stack([_fitted(canvas, rng), np.zeros((SIDE, SIDE), np.uint8)])


def written(digit: str, rng: np.random.Generator, scanned: float = 0.5) -> np.ndarray:
    """A digit in strokes: (2, SIDE, SIDE) uint8. With probability `scanned` it is binned to 8x8 counts and enlarged."""
    program = DIGITS[digit][int(rng.integers(len(DIGITS[digit])))]
    width = rng.uniform(0.12, 0.42)
    steps = ";".join(f"L {width} {stroke}" for stroke in program.split("|"))
    mask = Image.fromarray(draw(steps, rng, wobble=0.065, curved=True)[0])
    if rng.random() < scanned:
        fitted = Image.fromarray(_fitted(mask, rng, fill=1.0)).resize((32, 32), Image.Resampling.BOX)
        counts = (np.asarray(fitted) > 110).reshape(8, 4, 8, 4).sum(axis=(1, 3))  # 0..16, as in UCI's optical digits
        small = Image.fromarray((counts * 255 / 16).astype(np.uint8))
        how = (Image.Resampling.BICUBIC, Image.Resampling.BILINEAR, Image.Resampling.NEAREST)[int(rng.integers(3))]
        return np.stack([np.asarray(small.resize((SIDE, SIDE), how)), np.zeros((SIDE, SIDE), np.uint8)])
    return np.stack([_fitted(mask, rng), np.zeros((SIDE, SIDE), np.uint8)])


def _fitted(mask: Image.Image, rng: np.random.Generator, fill: float = 0.9) -> np.ndarray:
    """The mask cut to its ink and scaled to the square, its narrow side between 1 and 1.3 times as wide as it was."""
    box = mask.getbbox() or (0, 0, *mask.size)
    ink = mask.crop(box)
    scale = fill * SIDE / max(ink.size)
    widen = rng.uniform(1.0, 1.3)
    width, height = (max(4, min(round(fill * SIDE), round(s * scale * widen))) for s in ink.size)
    square = Image.new("L", (SIDE, SIDE))
    square.paste(ink.resize((width, height), Image.Resampling.BILINEAR), ((SIDE - width) // 2, (SIDE - height) // 2))
    return np.asarray(square)


LETTERS = tuple(string.ascii_uppercase)
NUMBER_WORDS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
