"""The demo group: datasets that are generated, scikit-learn's digits, and Fashion-MNIST where its files are at hand.

Importing this is light; pictures are drawn on first use and then kept in the cache folder.
"""

from __future__ import annotations

from functools import partial

from harness.suite import Dataset, Folders, Splits

_THING = ("a drawing of a {}.", "a photo of a small {}.", "a picture of a {}.", "this is a {}.", "a bad photo of a {}.")
_GLYPH = (
    "the {kind} {{}}.",
    'a photo of the {kind}: "{{}}".',
    "a printed {{}}.",
    "a scan of the {kind} {{}}.",
    "the character {{}}.",
)
_TEXTURE = (
    "a {} pattern.",
    "a photo of a {} surface.",
    "a close-up of a {} material.",
    "something {}.",
    "a {} texture.",
)
_SCENE = (
    "an aerial view of a {}.",
    "a map of a {}.",
    "a satellite photo of a {}.",
    "a photo of a {} from above.",
    "a photo of a {}.",
)


def _templates(clip: str, descriptions: tuple[str, ...]) -> dict[str, str]:
    """The zero-shot prompt, and sentences about a class in the words of the demo backbone's captions."""
    return {"clip": clip, **{f"description {i}": each for i, each in enumerate(descriptions, start=1)}}


def _glyph(kind: str) -> tuple[str, ...]:
    return tuple(each.format(kind=kind) for each in _GLYPH)


def _generated(folders: Folders, name: str) -> Splits:
    from suites.demo import generated, store

    path = folders.cache / "demo" / f"{name}-{generated.fingerprint(name)}.npz"
    pictures = store.cached(path, partial(generated.generate, name))
    return store.splits(pictures, generated.GENERATED[name].classes)


def _digits(folders: Folders) -> Splits:
    from suites.demo import real, store

    path = folders.cache / "demo" / "demo-digits-1.npz"  # kept, so that a run needn't import scikit-learn
    return store.splits(store.cached(path, real.digits), real.DIGIT_NAMES)


def _fashion(folders: Folders) -> Splits:
    from suites.demo import real, store

    return store.splits(real.fashion_mnist(folders.data_root), real.FASHION_NAMES)


def _drawn(name: str, title: str, template: str, descriptions: tuple[str, ...] = _THING) -> Dataset:
    templates = _templates(template, descriptions)
    return Dataset(name=name, title=title, group="demo", templates=templates, read=partial(_generated, name=name))


SHAPES = _drawn("demo-shapes", "Shapes and objects, textured and noisy", "a photo of a {}.")
SHAPES_V2 = _drawn("demo-shapes-v2", "The shapes, drawn anew", "a photo of a {}.")
SHAPES_SKETCH = _drawn("demo-shapes-sketch", "The shapes as sketches", "a photo of a {}.")
SHAPES_A = _drawn("demo-shapes-a", "The shapes beside others, adversarially picked", "a photo of a {}.")
SHAPES_R = _drawn("demo-shapes-r", "The shapes in wild colours", "a photo of a {}.")
LETTERS = _drawn("demo-letters", "Capital letters on busy grounds", "a photo of the letter {}.", _glyph("letter"))
NUMBERS = _drawn("demo-numbers", "House numbers: the middle digit", "a photo of the number {}.", _glyph("number"))
TEXTURES = _drawn("demo-textures", "Textures", "a photo of a {} texture.", _TEXTURE)
SCENES = _drawn("demo-scenes", "Land seen from above", "a centered satellite photo of a {}.", _SCENE)
DIGITS = Dataset(
    name="demo-digits",
    title="Scanned handwritten digits (scikit-learn)",
    group="demo",
    templates=_templates("a photo of the number {}.", _glyph("number")),
    read=_digits,
)
FASHION = Dataset(
    name="demo-fashion",
    title="Fashion-MNIST (Debian's package)",
    group="demo",
    templates=_templates("a photo of a {}.", _THING),
    read=_fashion,
)

DATASETS = (
    SHAPES, SHAPES_V2, SHAPES_SKETCH, SHAPES_A, SHAPES_R, LETTERS, NUMBERS, TEXTURES, SCENES, DIGITS, FASHION,
)  # fmt: skip
