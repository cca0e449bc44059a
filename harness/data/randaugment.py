"""RandAugment as the class of that name in Dassl has it, which CoPrompt trains with: two of sixteen operations, at one strength.

Each operation has a range, and is applied at its minimum + 10/30 of the range; nothing but the choice of operations, the sign
of geometric ones and the place of the cutout is random. Lengths are in pixels, whatever the image's size. What a geometric
operation brings into the picture is black, and pixels are moved without interpolation.

Cubuk et al., "RandAugment", NeurIPS 2020 (arXiv:1909.13719), with the operations and ranges of Dassl 0.6.
"""

from __future__ import annotations

import random
from collections.abc import Callable

import numpy as np
from PIL import Image, ImageDraw, ImageEnhance, ImageOps

OPERATIONS_PER_IMAGE = 2
_STRENGTH = 10 / 30
_CUTOUT_COLOUR = (125, 123, 114)
_SOLARIZE_ADD_THRESHOLD = 128

Operation = Callable[[Image.Image, float, random.Random], Image.Image]


def rand_augment(image: Image.Image, rng: random.Random) -> Image.Image:
    """An RGB image after two operations, drawn uniformly and with replacement."""
    for operation, low, high in rng.choices(OPERATIONS, k=OPERATIONS_PER_IMAGE):
        image = operation(image, low + _STRENGTH * (high - low), rng)
    return image


def _signed(value: float, rng: random.Random) -> float:
    return -value if rng.random() > 0.5 else value


def _affine(image: Image.Image, xx: float, xy: float, x: float, yx: float, yy: float, y: float) -> Image.Image:
    """Each pixel is that of the place (xx X + xy Y + x, yx X + yy Y + y) in `image`."""
    return image.transform(image.size, Image.Transform.AFFINE, (xx, xy, x, yx, yy, y))


def shear_x(image: Image.Image, slope: float, rng: random.Random) -> Image.Image:
    """Rows are shifted by `slope` times their height."""
    return _affine(image, 1, _signed(slope, rng), 0, 0, 1, 0)


def shear_y(image: Image.Image, slope: float, rng: random.Random) -> Image.Image:
    """Columns are shifted by `slope` times their place."""
    return _affine(image, 1, 0, 0, _signed(slope, rng), 1, 0)


def translate_x(image: Image.Image, pixels: float, rng: random.Random) -> Image.Image:
    """To the left or right."""
    return _affine(image, 1, 0, _signed(pixels, rng), 0, 1, 0)


def translate_y(image: Image.Image, pixels: float, rng: random.Random) -> Image.Image:
    """Up or down."""
    return _affine(image, 1, 0, 0, 0, 1, _signed(pixels, rng))


def rotate(image: Image.Image, degrees: float, rng: random.Random) -> Image.Image:
    """About the centre."""
    return image.rotate(_signed(degrees, rng))


def auto_contrast(image: Image.Image, _: float, rng: random.Random) -> Image.Image:
    """Each channel is stretched to 0..255."""
    return ImageOps.autocontrast(image)


def equalize(image: Image.Image, _: float, rng: random.Random) -> Image.Image:
    """Each channel's histogram is made flat."""
    return ImageOps.equalize(image)


def invert(image: Image.Image, _: float, rng: random.Random) -> Image.Image:
    """255 - value."""
    return ImageOps.invert(image)


def posterize(image: Image.Image, bits: float, rng: random.Random) -> Image.Image:
    """Only the leading bits of each value are kept, as many as `bits` has whole."""
    return ImageOps.posterize(image, int(bits))


def solarize(image: Image.Image, threshold: float, rng: random.Random) -> Image.Image:
    """Values of `threshold` and more are inverted."""
    return image.point([value if value < threshold else 255 - value for value in range(256)] * 3)


def solarize_add(image: Image.Image, addition: float, rng: random.Random) -> Image.Image:
    """Brighter by `addition`, then solarized in the middle. (The released code stops here under NumPy 1.24 and later.)"""
    brighter = Image.fromarray(np.clip(np.asarray(image) + addition, 0, 255).astype(np.uint8))
    return solarize(brighter, _SOLARIZE_ADD_THRESHOLD, rng)


def colour(image: Image.Image, factor: float, rng: random.Random) -> Image.Image:
    """0 is grey, 1 the image."""
    return ImageEnhance.Color(image).enhance(factor)


def contrast(image: Image.Image, factor: float, rng: random.Random) -> Image.Image:
    """0 is the mean grey, 1 the image."""
    return ImageEnhance.Contrast(image).enhance(factor)


def brightness(image: Image.Image, factor: float, rng: random.Random) -> Image.Image:
    """0 is black, 1 the image."""
    return ImageEnhance.Brightness(image).enhance(factor)


def sharpness(image: Image.Image, factor: float, rng: random.Random) -> Image.Image:
    """0 is smooth, 1 the image."""
    return ImageEnhance.Sharpness(image).enhance(factor)


def cutout(image: Image.Image, side: float, rng: random.Random) -> Image.Image:
    """A grey square; its nominal centre is uniform in the image, and what would lie left of or above it is moved in."""
    width, height = image.size
    left, top = (int(max(0.0, rng.uniform(1, length) - side / 2)) for length in (width, height))
    image = image.copy()
    box = (left, top, min(width, left + side), min(height, top + side))
    ImageDraw.Draw(image).rectangle(box, fill=_CUTOUT_COLOUR)
    return image


OPERATIONS: tuple[tuple[Operation, float, float], ...] = (
    (auto_contrast, 0, 1),
    (equalize, 0, 1),
    (invert, 0, 1),
    (rotate, 0, 30),
    (posterize, 4, 8),
    (solarize, 0, 256),
    (solarize_add, 0, 110),
    (colour, 0.1, 1.9),
    (contrast, 0.1, 1.9),
    (brightness, 0.1, 1.9),
    (sharpness, 0.1, 1.9),
    (shear_x, 0, 0.3),
    (shear_y, 0, 0.3),
    (cutout, 0, 40),
    (translate_x, 0, 100),
    (translate_y, 0, 100),
)
