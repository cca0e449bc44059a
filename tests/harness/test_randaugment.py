"""Each operation against a formula of its own, the draw against its distribution."""

import random
from collections import Counter

import numpy as np
import pytest
from PIL import Image, ImageEnhance

from harness.data import randaugment
from harness.data.randaugment import OPERATIONS, rand_augment

SIDE = 48
STRENGTH = {function: low + (high - low) / 3 for function, low, high in OPERATIONS}


class Signs:
    """Stands for the generator: `random()` and `uniform()` give what they are told to."""

    def __init__(self, *values):
        self.values = list(values)

    def random(self):
        return self.values.pop(0)

    def uniform(self, low, high):
        return low + (high - low) * self.values.pop(0)


def picture(seed=0):
    return np.random.default_rng(seed).integers(40, 200, (SIDE, SIDE, 3), dtype=np.uint8)


def applied(function, array, *draws):
    return np.asarray(function(Image.fromarray(array), STRENGTH[function], Signs(*draws)))


def moved(array, source):
    """What stands at `source(x, y)`, both real, in the pixel whose corner is at or before it; black from outside."""
    result = np.zeros_like(array)
    for y in range(SIDE):
        for x in range(SIDE):
            u, v = (int(np.floor(place)) for place in source(x + 0.5, y + 0.5))
            if 0 <= u < SIDE and 0 <= v < SIDE:
                result[y, x] = array[v, u]
    return result


def test_there_are_sixteen_at_a_third_of_their_ranges():
    values = {function.__name__: round(value, 3) for function, value in STRENGTH.items()}
    assert len(values) == 16
    assert values == {
        "auto_contrast": 0.333, "equalize": 0.333, "invert": 0.333, "rotate": 10.0, "posterize": 5.333, "solarize": 85.333,
        "solarize_add": 36.667, "colour": 0.7, "contrast": 0.7, "brightness": 0.7, "sharpness": 0.7, "shear_x": 0.1,
        "shear_y": 0.1, "cutout": 13.333, "translate_x": 33.333, "translate_y": 33.333,
    }  # fmt: skip


@pytest.mark.parametrize(("draw", "sign"), [(0.2, 1), (0.5, 1), (0.9, -1)])
def test_geometric_operations_move_pixels_whole_and_bring_in_black(draw, sign):
    array = picture()
    for function, source in {
        randaugment.shear_x: lambda x, y: (x + sign * 0.1 * y, y),
        randaugment.shear_y: lambda x, y: (x, y + sign * 0.1 * x),
        randaugment.translate_x: lambda x, y: (x + sign * 100 / 3, y),
        randaugment.translate_y: lambda x, y: (x, y + sign * 100 / 3),
    }.items():
        assert np.array_equal(applied(function, array, draw), moved(array, source)), function.__name__
    angle, middle = np.radians(sign * 10), SIDE / 2

    def turned(x, y):  # counter-clockwise on a screen, where y points down
        x, y = x - middle, y - middle
        return (np.cos(angle) * x - np.sin(angle) * y + middle, np.sin(angle) * x + np.cos(angle) * y + middle)

    differing = applied(randaugment.rotate, array, draw) != moved(array, turned)
    assert differing.any(axis=-1).mean() < 0.01  # at corners of pixels, rounding decides


def test_operations_on_values():
    array = picture()
    high, low = array.max(axis=(0, 1)).astype(float), array.min(axis=(0, 1)).astype(float)
    stretched = (array - low) * 255 / (high - low)
    assert np.abs(applied(randaugment.auto_contrast, array) - stretched).max() <= 1
    assert np.array_equal(applied(randaugment.invert, array), 255 - array)
    assert np.array_equal(applied(randaugment.posterize, array), array // 8 * 8)
    assert np.array_equal(applied(randaugment.solarize, array), np.where(array <= 85, array, 255 - array))
    brighter = np.minimum(array.astype(int) + 36, 255)
    assert np.array_equal(applied(randaugment.solarize_add, array), np.where(brighter < 128, brighter, 255 - brighter))


def test_equalize_makes_histograms_flat():
    array = (picture() // 3 + 80).astype(np.uint8)
    ranks = np.sort(applied(randaugment.equalize, array)[..., 1].ravel()) / 255
    assert np.abs(ranks - np.linspace(0, 1, ranks.size)).max() < 0.13
    assert np.abs(np.sort(array[..., 1].ravel()) / 255 - np.linspace(0, 1, ranks.size)).max() > 0.25


def test_enhancements_are_seven_tenths_of_the_way_from_their_extreme():
    array = picture().astype(float)
    grey = (array @ [0.299, 0.587, 0.114])[..., None]
    smooth = np.asarray(ImageEnhance.Sharpness(Image.fromarray(picture())).enhance(0)).astype(float)
    for function, extreme in {
        randaugment.colour: grey,
        randaugment.contrast: grey.mean(),
        randaugment.brightness: 0.0,
        randaugment.sharpness: smooth,
    }.items():
        assert np.abs(applied(function, picture()) - (0.7 * array + 0.3 * extreme)).max() <= 1.5, function.__name__
    assert np.abs(smooth - array).mean() > 5


def test_a_cutout_is_a_grey_square_that_never_leaves_the_picture():
    array = picture()
    for draws, corners in {
        (0.5, 0.5): ((17, 17), (30, 30)),  # centres are uniform in 1..48
        (0.0, 1.0): ((0, 41), (13, 47)),
        (1.0, 0.0): ((41, 0), (47, 13)),
    }.items():
        cut = (applied(randaugment.cutout, array, *draws) == (125, 123, 114)).all(axis=-1)
        rows, columns = np.nonzero(cut)
        assert ((columns.min(), rows.min()), (columns.max(), rows.max())) == corners
        assert cut.sum() == (np.ptp(rows) + 1) * (np.ptp(columns) + 1)


def test_two_are_drawn_uniformly_with_replacement(monkeypatch):
    drawn = []

    def noting(function):
        return lambda image, value, rng: drawn.append(function) or image

    noted = tuple((noting(function), low, high) for function, low, high in OPERATIONS)
    monkeypatch.setattr(randaugment, "OPERATIONS", noted)
    image, rng = Image.fromarray(picture()), random.Random(1)
    for _ in range(4000):
        rand_augment(image, rng)
    assert len(drawn) == 8000
    assert min(Counter(drawn).values()) > 420
    assert max(Counter(drawn).values()) < 580
    repeated = sum(first is second for first, second in zip(drawn[::2], drawn[1::2], strict=True))
    assert 190 < repeated < 310


def test_every_operation_keeps_size_and_mode():
    for function, value in STRENGTH.items():
        image = function(Image.fromarray(picture()[:, :30]), value, random.Random(3))
        assert (image.size, image.mode) == ((30, SIDE), "RGB"), function.__name__
