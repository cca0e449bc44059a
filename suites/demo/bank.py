"""Exemplars, drawn once and used again in many pictures; and the streams of random numbers everything comes from."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from suites.demo import drawings, glyphs, scenes
from suites.demo.objects import OBJECTS

if TYPE_CHECKING:
    from torch import Tensor

_DOMAINS = {"bank": 1, "corpus": 2, "weights": 3, "dataset bank": 4, "dataset": 5}
_ENTROPY = 20260101


def stream(domain: str, *numbers: int) -> np.random.Generator:
    """A generator of one domain. Streams of two domains never meet: the domain is part of the spawn key."""
    return np.random.default_rng(np.random.SeedSequence(_ENTROPY, spawn_key=(_DOMAINS[domain], *numbers)))


@dataclass
class Bank:
    """Masks (N, 2, 64, 64) uint8 and scenes (K, 3, 64, 64) uint8, with the rows of each key."""

    masks: Tensor
    scenes: Tensor
    rows: dict[str, np.ndarray]


def bank_keys() -> tuple[str, ...]:
    """Everything that can be drawn, in a fixed order."""
    return (
        *(f"object {name}" for name in OBJECTS),
        *(f"{how} {digit}" for digit in glyphs.DIGITS for how in ("printed", "written")),
        *(f"{case} {letter}" for letter in glyphs.LETTERS for case in ("upper", "lower")),
        *(f"scene {name}" for name in scenes.SCENES),
    )


def _exemplar(key: str, number: int, rng: np.random.Generator, wobble: float) -> np.ndarray:
    kind, name = key.split(" ", 1)
    if kind == "object":
        programs = OBJECTS[name]
        return drawings.draw(programs[number % len(programs)], rng, wobble)
    if kind == "scene":
        return scenes.scene(name, rng)
    if kind == "written":
        return glyphs.written(name, rng)
    return glyphs.printed(name.lower() if kind == "lower" else name, rng)


_EXEMPLARS = {"object": 24, "printed": 24, "written": 96, "upper": 24, "lower": 24, "scene": 48}


def make_bank(
    domain: str, keys: tuple[str, ...] | None = None, wobble: float = 0.03, edition: tuple[int, ...] = ()
) -> Bank:
    """Draw the exemplars of `keys`, of everything by default. Each key has a stream of its own, in each edition."""
    import torch

    stacks: dict[bool, list[np.ndarray]] = {True: [], False: []}  # scenes, masks
    rows: dict[str, np.ndarray] = {}
    for number, key in enumerate(bank_keys()):
        if keys is not None and key not in keys:
            continue
        kind, rng = key.split(" ")[0], stream(domain, *edition, number)
        stack = stacks[kind == "scene"]
        rows[key] = np.arange(len(stack), len(stack) + _EXEMPLARS[kind])
        stack.extend(_exemplar(key, i, rng, wobble) for i in range(_EXEMPLARS[kind]))
    empty = {
        True: np.empty((0, 3, drawings.SIDE, drawings.SIDE), np.uint8),
        False: np.empty((0, 2, drawings.SIDE, drawings.SIDE), np.uint8),
    }
    pictures, masks = (torch.from_numpy(np.stack(stacks[s]) if stacks[s] else empty[s]) for s in (True, False))
    return Bank(masks, pictures, rows)
