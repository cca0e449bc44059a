"""The generated datasets: the same world as the corpus in other looks, from seeds and exemplars of their own.

Heavy: import it inside functions, `datasets` describes these sets without it.
"""

from __future__ import annotations

import hashlib
import zlib
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from suites.demo import glyphs, picked, scenes
from suites.demo.bank import make_bank, stream
from suites.demo.look import COLOURS, TEXTURES, Look
from suites.demo.objects import OBJECTS
from suites.demo.store import Pictures

if TYPE_CHECKING:
    from collections.abc import Callable

    from suites.demo.render import Canvas

    Put = Callable[[Canvas, int, str, np.random.Generator], None]
SHOTS, VAL, TEST = 32, 8, 60
"""Images per class for training, validation and testing."""
DRAWING = ("generated", "bank", "drawings", "glyphs", "look", "objects", "picked", "render", "scenes", "textures")
"""The modules whose code decides what is drawn."""
SHAPES = tuple(sorted(OBJECTS))[::2]
"""Every second object of the world, by name."""


@dataclass(frozen=True, kw_only=True)
class Generated:
    """How one dataset is drawn: `put(canvas, i, classname, rng)` places the content of picture i."""

    classes: tuple[str, ...]
    put: Put
    keys: Callable[[str], tuple[str, ...]]
    """The bank keys that a class needs."""
    look: Look
    wobble: float = 0.04
    counts: tuple[int, int, int] = (SHOTS, VAL, TEST)
    picked_from: int = 1
    """Pictures drawn for each one that is kept: those that mislead a simple classifier most (`picked`)."""


def _contrasting(canvas: Canvas, i: int, rng: np.random.Generator, at_least: int = 150) -> str:
    """A colour of the ink of picture i that stands out from its paper."""
    paper = COLOURS[str(canvas.paper[i])]
    options = [n for n, c in COLOURS.items() if sum(abs(a - b) for a, b in zip(c, paper, strict=True)) >= at_least]
    return str(canvas.ink[i]) if canvas.ink[i] in options else options[int(rng.integers(len(options)))]


def _thing(key: str, reach: float, sizes: tuple[float, float], tilt: float, lean: float) -> Put:
    """One thing within `reach` of the middle, turned by about `lean`; ``{}`` in its key is the class."""

    def put(canvas: Canvas, i: int, name: str, rng: np.random.Generator) -> None:
        x, y = rng.uniform(-reach, reach, size=2)
        ink = _contrasting(canvas, i, rng)
        canvas.place(i, key.format(name), x, y, rng.uniform(*sizes), rng.normal(lean, tilt), ink)

    return put


_shape = _thing("object {}", 0.18, (0.65, 0.95), 0.12, lean=0.5)
_letter = _thing("upper {}", 0.12, (0.65, 1.0), 0.12, lean=0.3)


def _shape_beside_another(canvas: Canvas, i: int, name: str, rng: np.random.Generator) -> None:
    """A shape, and in a corner a small one of another class."""
    others = [n for n in SHAPES if n != name]
    key, (x, y) = f"object {others[int(rng.integers(len(others)))]}", rng.choice([-0.72, 0.72], size=2)
    canvas.place(i, key, x, y, rng.uniform(0.2, 0.3), rng.normal(scale=0.3), _contrasting(canvas, i, rng))
    _shape(canvas, i, name, rng)


def _house_number(canvas: Canvas, i: int, name: str, rng: np.random.Generator) -> None:
    """A digit in the middle, parts of its neighbours at the sides."""
    ink = _contrasting(canvas, i, rng)
    size, angle, y = rng.uniform(0.7, 0.95), rng.normal(scale=0.08), rng.uniform(-0.1, 0.1)
    for x in (-1, 1):
        if rng.random() < 0.5:
            canvas.place(i, f"printed {rng.integers(10)}", x * rng.uniform(1.15, 1.3), y, size, angle, ink)
    canvas.place(i, f"printed {name}", 0, y, size, angle, ink)


def _texture(canvas: Canvas, i: int, name: str, rng: np.random.Generator) -> None:
    canvas.background[i], canvas.texture[0, i] = 2, TEXTURES.index(name)
    canvas.other[i] = _contrasting(canvas, i, rng)


def _scene(canvas: Canvas, i: int, name: str, rng: np.random.Generator) -> None:
    canvas.show_scene(i, name)


def _object_keys(name: str) -> tuple[str, ...]:
    return (f"object {name}",)


_SHAPES_LOOK = Look(
    fills=(0.1, 0.2, 0.1, 0.5, 0.1),
    backgrounds=(0.2, 0.3, 0.2, 0.2, 0.1),
    background_contrast=(0.2, 0.5),
    noise=(0.02, 0.06),
    blur=(0.2, 1.0),
    contrast=(0.6, 1.0),
)
_SKETCH_LOOK = Look(
    fills=(0, 1, 0, 0, 0), backgrounds=(1, 0, 0, 0, 0), paper=1.0, line=(1.0, 2.0), colour_jitter=10, noise=(0.0, 0.1)
)
_RENDITION_LOOK = Look(
    fills=(0, 0, 0.2, 0.5, 0.3),
    backgrounds=(0, 0.2, 0.5, 0.3, 0),
    colour_jitter=60,
    inverted=0.5,
    contrast=(0.6, 1.4),
    noise=(0, 0.05),
)


_TEST_ONLY = (0, 0, 50)
_ALL_SHAPES = Generated(classes=SHAPES, put=_shape, keys=_object_keys, look=_SHAPES_LOOK)
GENERATED: dict[str, Generated] = {
    "demo-shapes": _ALL_SHAPES,
    "demo-shapes-v2": replace(_ALL_SHAPES, counts=_TEST_ONLY),
    "demo-shapes-sketch": replace(_ALL_SHAPES, look=_SKETCH_LOOK, counts=_TEST_ONLY),
    "demo-shapes-a": replace(_ALL_SHAPES, put=_shape_beside_another, counts=_TEST_ONLY, picked_from=2),
    "demo-shapes-r": replace(_ALL_SHAPES, look=_RENDITION_LOOK, counts=_TEST_ONLY, wobble=0.06),
    "demo-letters": Generated(
        classes=tuple(c for c in glyphs.LETTERS),
        put=_letter,
        keys=lambda name: (f"upper {name}",),
        look=Look(
            fills=(0.1, 0.4, 0.1, 0.3, 0.1),
            backgrounds=(0.1, 0.2, 0.3, 0.3, 0.1),
            noise=(0.02, 0.06),
            contrast=(0.5, 1.0),
        ),
    ),
    "demo-numbers": Generated(
        classes=tuple(glyphs.DIGITS),
        put=_house_number,
        keys=lambda name: (f"printed {name}",),
        look=Look(
            fills=(0.4, 0.1, 0.2, 0.1, 0.2), backgrounds=(0.2, 0.4, 0.2, 0.2, 0), blur=(0.5, 1.4), contrast=(0.45, 0.9)
        ),
    ),
    "demo-textures": Generated(
        classes=tuple(sorted(TEXTURES)),
        put=_texture,
        keys=lambda name: (),
        look=Look(noise=(0.02, 0.06), blur=(0.2, 0.9), contrast=(0.5, 0.9), paper=0.05, turned=0.9, periods=(1.7, 2.8)),
    ),
    "demo-scenes": Generated(
        classes=tuple(sorted(scenes.SCENES)),
        put=_scene,
        keys=lambda name: (f"scene {name}",),
        look=Look(noise=(0.05, 0.13), blur=(0.6, 1.6), contrast=(0.4, 0.8), grey=0.5, inverted=0.0),
    ),
}


def fingerprint(name: str) -> str:
    """Changes with the recipe of a dataset and with the code that draws, so that an old file isn't taken for the new set."""
    g = GENERATED[name]
    digest = hashlib.sha256(repr((name, g.classes, g.look, g.wobble, g.counts, g.picked_from)).encode())
    for module in DRAWING:
        digest.update(Path(__file__).with_name(f"{module}.py").read_bytes())
    return digest.hexdigest()[:10]


def generate(name: str) -> Pictures:
    """A dataset, drawn anew. Raises KeyError for a name that isn't in `GENERATED`."""
    drawn = _draw(name)
    if GENERATED[name].picked_from == 1:
        return drawn
    return picked.hardest(drawn, _draw("demo-shapes"), GENERATED[name].counts[2])


def _draw(name: str) -> Pictures:
    """Pictures part by part and class by class. Their seeds and exemplars belong to the dataset domains alone."""
    from suites.demo.render import Canvas  # with torch, which the fingerprint alone doesn't need

    g, number = GENERATED[name], zlib.crc32(name.encode())
    keys = tuple(dict.fromkeys(key for c in g.classes for key in g.keys(c)))
    exemplars = make_bank("dataset bank", keys, g.wobble, edition=(number,))
    counts = [n * g.picked_from for n in g.counts]
    parts = np.repeat(np.arange(3), [n * len(g.classes) for n in counts])
    labels = np.concatenate([np.repeat(np.arange(len(g.classes)), n) for n in counts])
    images = []
    for chunk, first in enumerate(range(0, len(labels), 256)):
        rng = stream("dataset", number, chunk)
        rows = labels[first : first + 256]
        canvas = Canvas(len(rows), g.look, exemplars, rng)
        for i, label in enumerate(rows):
            g.put(canvas, i, g.classes[label], rng)
        images.append(canvas.compose().permute(0, 2, 3, 1).numpy())
    return Pictures(np.ascontiguousarray(np.concatenate(images)), labels, parts)
