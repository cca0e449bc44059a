"""The captioned pictures the demo backbone is pretrained on: batch number k of the corpus is a pure function of k."""

from __future__ import annotations

import functools
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from suites.demo import glyphs, scenes
from suites.demo.bank import Bank, make_bank, stream
from suites.demo.look import COLOURS, TEXTURES, Look
from suites.demo.objects import OBJECTS
from suites.demo.render import Canvas

if TYPE_CHECKING:
    from torch import Tensor

TEMPLATES = (
    "a photo of a {}.", "a photo of a {}.", "a photo of the {}.", "a drawing of a {}.", "itap of a {}.", "a {}.", "{}",
    "a picture of a {}.", "a sketch of a {}.", "a bad photo of a {}.", "a blurry photo of a {}.", "a painting of a {}.",
    "a photo of my {}.", "art of the {}.", "a rendition of a {}.", "a cartoon {}.", "an icon of a {}.", "this is a {}.",
    "a photo of a small {}.", "a photo of a large {}.", "a good photo of a {}.", "a pixelated photo of a {}.",
)  # fmt: skip
GLYPH_TEMPLATES = (
    "a photo of the {kind} {}.", 'a photo of the {kind}: "{}".', "the {kind} {}.", "a handwritten {}.", "a printed {}.",
    "a photo of a {}.", "{}", "a drawing of the {kind} {}.", "a scan of the {kind} {}.", "the character {}.",
)  # fmt: skip
TEXTURE_TEMPLATES = (
    "a photo of a {} texture.", "a {} texture.", "a photo of a {} surface.", "a {} pattern.", "{}", "a photo of a {} thing.",
    "a close-up of a {} material.", "something {}.", "a photo of a {}.",
)  # fmt: skip
SCENE_TEMPLATES = (
    "a centered satellite photo of a {}.", "a satellite photo of a {}.", "a photo of a {} from above.", "an aerial view of a {}.",
    "a map of a {}.", "{}", "a photo of a {}.",
)  # fmt: skip
COUNT_TEMPLATES = ("a photo of {}.", "{}.", "a drawing of {}.", "there are {}.", "a picture of {}.", "{}")

SYNONYMS: dict[str, tuple[str, ...]] = {
    "moon": ("crescent",), "cup": ("mug",), "airplane": ("plane", "jet"), "face": ("smiley", "smiling face"),
    "lightning": ("bolt", "lightning bolt"), "padlock": ("lock",), "boat": ("sailboat", "ship"), "tree": ("pine tree",),
    "car": ("automobile",), "envelope": ("letter", "mail"), "lamp": ("desk lamp",), "bird": ("chick",), "gear": ("cog",),
    "house": ("home", "cottage"), "cat": ("kitten",), "glasses": ("spectacles",), "circle": ("disc",), "ring": ("hoop",),
    "spiral": ("coil",), "cloud": ("little cloud",), "diamond": ("rhombus",), "cross": ("plus sign",), "table": ("desk",),
}  # fmt: skip
TEXTURE_SYNONYMS: dict[str, tuple[str, ...]] = {
    "striped": ("lined",), "dotted": ("polka-dotted", "spotted"), "checkered": ("chequered", "chessboard"), "grid": ("meshed",),
    "zigzagged": ("zigzag",), "ringed": ("concentric",), "bricked": ("brick",), "speckled": ("grainy",), "woven": ("basket",),
    "blotchy": ("stained",), "honeycombed": ("honeycomb", "hexagonal"), "swirly": ("whirling",), "rayed": ("radial",),
}  # fmt: skip
COUNTS = ("one", "two", "three", "four", "five", "six")
PLURALS = {
    "fish": "fish", "cherry": "cherries", "butterfly": "butterflies", "leaf": "leaves", "glasses": "glasses",
    "scissors": "scissors", "cactus": "cacti", "jellyfish": "jellyfish", "hourglass": "hourglasses", "cross": "crosses",
}  # fmt: skip
KINDS = ("object", "glyph", "texture", "scene", "count", "pair")


@dataclass(frozen=True)
class Stage:
    """A part of the curriculum, from batch `first` on: the looks, in turn, and the shares of `KINDS`."""

    first: int
    looks: tuple[Look, ...]
    shares: tuple[float, ...]


MIXED = Look()
EASY = Look(
    fills=(0.8, 0.1, 0.1, 0, 0),
    backgrounds=(1, 0, 0, 0, 0),
    colour_jitter=12,
    noise=(0.0, 0.03),
    blur=(0.01, 0.7),
    contrast=(0.9, 1.1),
    brightness=(-0.03, 0.03),
    pixelated=0,
    grey=0,
    inverted=0,
    spread=0.4,
    paper=0.5,
)
CLEAR_EASY = replace(EASY, two_colours=True, turned=0.6)
CLEAR_MIXED = replace(MIXED, spread=0.5, two_colours=True, turned=0.6)
"""With textures that are easy to tell: in two named colours, and hardly turned."""
EARLY_SHARES = (0.42, 0.23, 0.12, 0.08, 0.07, 0.08)
LATE_SHARES = (0.40, 0.30, 0.16, 0.06, 0.04, 0.04)
STAGES = (
    Stage(0, (MIXED,), EARLY_SHARES),
    Stage(600, (EASY,), EARLY_SHARES),
    Stage(1100, (CLEAR_EASY, CLEAR_MIXED), LATE_SHARES),
)
"""At first all styles, from which the towers learn colours, scenes and words, but hardly any outline. Outlines come with the
easy pictures of the second stage; the third brings the styles back, with things nearer to the middle than at first."""


@functools.cache
def corpus_bank() -> Bank:
    """The exemplars the corpus is made of; a few seconds to draw, so they are kept."""
    return make_bank("bank")


def plural(name: str) -> str:
    """``star`` to ``stars``."""
    return PLURALS.get(name, name + "s")


def spots(rng: np.random.Generator, count: int) -> list[tuple[float, float, float]]:
    """`count` places that do not overlap: (x, y, size) each."""
    side = 2 if count <= 4 else 3
    if count == 1:
        return [(rng.uniform(-0.2, 0.2), rng.uniform(-0.2, 0.2), rng.uniform(0.5, 0.8))]
    cells = rng.permutation(side * side)[:count]
    size = rng.uniform(0.65, 0.95) / side
    slack = 1 / side - size
    return [
        (
            2 * (c % side + 0.5) / side - 1 + rng.uniform(-slack, slack),
            2 * (c // side + 0.5) / side - 1 + rng.uniform(-slack, slack),
            size,
        )
        for c in cells
    ]


class Captioner:
    """Puts each picture's content on the canvas and says what it is."""

    def __init__(self, canvas: Canvas, rng: np.random.Generator) -> None:
        self.canvas, self.rng, self.spread = canvas, rng, canvas.look.spread

    def _pose(self, reach: float, smallest: float, largest: float) -> tuple[float, float, float]:
        """x, y and size of the only thing in a picture."""
        reach, smallest = reach * self.spread, largest - (largest - smallest) * self.spread
        x, y, size = (
            self.rng.uniform(low, high) for low, high in ((-reach, reach), (-reach, reach), (smallest, largest))
        )
        return x, y, size

    def _one(self, options: tuple[str, ...]) -> str:
        return options[int(self.rng.integers(len(options)))]

    def _named(self, name: str, synonyms: dict[str, tuple[str, ...]]) -> str:
        return self._one(synonyms[name]) if name in synonyms and self.rng.random() < 0.3 else name

    def _contrasting(self, i: int) -> str:
        """The ink of picture i, changed where it would vanish on the paper."""
        ink, paper = str(self.canvas.ink[i]), str(self.canvas.paper[i])
        while sum(abs(a - b) for a, b in zip(COLOURS[ink], COLOURS[paper], strict=True)) < 130:
            ink = self._one(tuple(COLOURS))
        return ink

    def object(self, i: int) -> str:
        name, ink, rng = self._one(tuple(OBJECTS)), self._contrasting(i), self.rng
        self.canvas.place(i, f"object {name}", *self._pose(0.3, 0.5, 0.95), rng.normal(scale=0.2 * self.spread), ink)
        said = self._named(name, SYNONYMS)
        if rng.random() < 0.35:
            said = f"{ink} {said}"
        return self._one(TEMPLATES).format(said)

    def glyph(self, i: int) -> str:
        rng, ink = self.rng, self._contrasting(i)
        if rng.random() < 0.55:
            kind, text = "number", str(rng.integers(10))
            key = f"written {text}" if rng.random() < 0.75 else f"printed {text}"
            said = glyphs.NUMBER_WORDS[int(text)] if rng.random() < 0.25 else text
            kind = self._one(("number", "digit", "number"))
        else:
            kind, text = "letter", self._one(glyphs.LETTERS)
            key, said = f"{'upper' if rng.random() < 0.7 else 'lower'} {text}", text.lower()
        self.canvas.place(i, key, *self._pose(0.15, 0.6, 1.05), rng.normal(scale=0.12 * self.spread), ink)
        return self._one(GLYPH_TEMPLATES).format(said, kind=kind)

    def texture(self, i: int) -> str:
        kind = int(self.rng.integers(len(TEXTURES)))
        self.canvas.background[i], self.canvas.texture[0, i] = 2, kind
        self.canvas.background_contrast[i] = self.rng.uniform(0.8, 1.6)
        if self.canvas.look.two_colours:
            self.canvas.other[i] = self._contrasting(i)
        return self._one(TEXTURE_TEMPLATES).format(self._named(TEXTURES[kind], TEXTURE_SYNONYMS))

    def scene(self, i: int) -> str:
        name = self._one(tuple(scenes.SCENES))
        self.canvas.show_scene(i, name)
        return self._one(SCENE_TEMPLATES).format(name)

    def count(self, i: int) -> str:
        name, ink, number = self._one(tuple(OBJECTS)), self._contrasting(i), int(self.rng.integers(1, 7))
        for x, y, size in spots(self.rng, number):
            self.canvas.place(i, f"object {name}", x, y, size, self.rng.normal(scale=0.15), ink)
        things = name if number == 1 else plural(name)
        things = f"{ink} {things}" if self.rng.random() < 0.3 else things
        return self._one(COUNT_TEMPLATES).format(f"{COUNTS[number - 1]} {things}")

    def pair(self, i: int) -> str:
        rng, first, second = self.rng, self._one(tuple(OBJECTS)), self._one(tuple(OBJECTS))
        inks = (self._contrasting(i), self._contrasting(i))
        upright = rng.random() < 0.5
        for name, ink, at in zip((first, second), inks, (-0.47, 0.47), strict=True):
            x, y = (rng.uniform(-0.2, 0.2), at) if upright else (at, rng.uniform(-0.2, 0.2))
            self.canvas.place(i, f"object {name}", x, y, rng.uniform(0.38, 0.48), rng.normal(scale=0.12), ink)
        said = [
            f"{ink} {name}" if rng.random() < 0.3 else name for name, ink in zip((first, second), inks, strict=True)
        ]
        relations = ("above a", "over a", "and a") if upright else ("left of a", "next to a", "and a")
        return self._one(("a {}.", "a photo of a {}.", "a drawing of a {}.")).format(
            f"{said[0]} {self._one(relations)} {said[1]}"
        )


def batch(number: int, size: int, bank: Bank) -> tuple[Tensor, list[str]]:
    """Batch `number` of the corpus: images (size, 3, 48, 48) uint8, and their captions."""
    rng = stream("corpus", number)
    stage = next(s for s in reversed(STAGES) if number >= s.first)
    canvas = Canvas(size, stage.looks[number % len(stage.looks)], bank, rng)
    captioner = Captioner(canvas, rng)
    kinds = rng.choice(len(KINDS), size=size, p=stage.shares)
    captions = [getattr(captioner, KINDS[kind])(i) for i, kind in enumerate(kinds)]
    return canvas.compose(), captions
