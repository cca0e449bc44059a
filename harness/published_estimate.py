"""The "memory" of published cost tables: a layer summary's estimate of one forward pass, in closed form. No torch here.

The Skip Tuning repository, the source of those columns, prints what torchinfo 1.8.0 calls the estimated total size: bytes of the
input, plus twice the output of every executed leaf module that has parameters, plus the parameters of those modules. Attention
has a child and so is no leaf: neither its weights nor anything it computes counts, nor do gradients, optimiser states and
teachers outside the module; frozen layers count as trained ones do. Figures are of half precision, as published.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

_HALF, _FULL = 2, 4
_WITH_GRADIENT = 2
"""The summary doubles every output, "for gradients"."""


@dataclass(frozen=True, kw_only=True)
class Towers:
    """The sizes of a CLIP with two transformers; those of ViT-B/16 unless said otherwise."""

    text_width: int = 512
    text_depth: int = 12
    text_tokens: int = 77
    vocabulary: int = 49408
    image_width: int = 768
    image_depth: int = 12
    image_side: int = 224
    patch_side: int = 16

    @property
    def patches(self) -> int:
        return (self.image_side // self.patch_side) ** 2


@dataclass(frozen=True, kw_only=True)
class Forward:
    """What the summary's forward pass of a method executes.

    The uppermost `text_blocks` and `image_blocks` (None: all), with the image `stem` below them and with `image_prompts` more
    tokens; a `frozen_image_tower` beside it, without prompts; every text once, or once an image (`texts_per_image`), of the
    classes that are kept; the token embedding, and a module that puts prompts together, if their outputs count. `views` of each
    image are its input; `module_bytes` says what modules of the method's own add, for a number of classes and a batch size.
    """

    text_blocks: int | None = None
    image_blocks: int | None = None
    stem: bool = True
    image_prompts: int = 0
    frozen_image_tower: bool = False
    texts_per_image: bool = False
    kept_classes: Callable[[int], float] | None = None
    token_embedding: bool = False
    prompt_module: bool = False
    views: int = 1
    module_bytes: Callable[[int, int], int] = lambda classes, batch_size: 0


def published_estimate_bytes(forward: Forward, classes: int, batch_size: int, towers: Towers | None = None) -> float:
    """The estimate's bytes; a fraction only where the kept classes are an expected number."""
    towers = towers or Towers()
    return (
        _text_bytes(forward, towers, classes, batch_size)
        + _image_bytes(forward, towers, batch_size)
        + (_image_bytes(Forward(), towers, batch_size) if forward.frozen_image_tower else 0)
        + _input_bytes(forward, towers, batch_size)
        + forward.module_bytes(classes, batch_size)
    )


def linear_bytes(inputs: int, outputs: int, *, rows: int, bias: bool = True, element: int = _HALF) -> int:
    """What a linear layer adds: its parameters, and twice its output for so many rows."""
    return element * (inputs * outputs + bias * outputs + _WITH_GRADIENT * rows * outputs)


def _block_bytes(width: int) -> int:
    """Parameters of a block's leaf modules: two norms in full precision, the two layers of the MLP in half."""
    return _FULL * 4 * width + _HALF * (8 * width**2 + 5 * width)


def _block_output_bytes(width: int) -> int:
    """Outputs for one token: two norms and an MLP layer of the width, one of four times the width."""
    return _WITH_GRADIENT * _HALF * 7 * width


def _text_bytes(forward: Forward, towers: Towers, classes: int, batch_size: int) -> float:
    width, tokens = towers.text_width, towers.text_tokens
    blocks = towers.text_depth if forward.text_blocks is None else forward.text_blocks
    half_row = _WITH_GRADIENT * _HALF * width
    of_a_text = tokens * (blocks * _block_output_bytes(width) + half_row * (1 + forward.prompt_module))
    parameters = blocks * _block_bytes(width) + _FULL * 2 * width
    if forward.token_embedding:
        of_a_text += tokens * _WITH_GRADIENT * _FULL * width
        parameters += _FULL * towers.vocabulary * width
    texts = forward.kept_classes(classes) if forward.kept_classes else classes
    return of_a_text * texts * (batch_size if forward.texts_per_image else 1) + parameters


def _image_bytes(forward: Forward, towers: Towers, batch_size: int) -> int:
    width, tokens = towers.image_width, 1 + towers.patches + forward.image_prompts
    blocks = towers.image_depth if forward.image_blocks is None else forward.image_blocks
    half_row = _WITH_GRADIENT * _HALF * width
    of_an_image = blocks * tokens * _block_output_bytes(width) + half_row
    parameters = blocks * _block_bytes(width) + _FULL * 2 * width
    if forward.stem:
        of_an_image += half_row * (towers.patches + tokens)
        parameters += _HALF * width * 3 * towers.patch_side**2 + _FULL * 2 * width
    return of_an_image * batch_size + parameters


def _input_bytes(forward: Forward, towers: Towers, batch_size: int) -> int:
    """Images, or tokens where the stem is left out, as the summary sees them in full precision, and their labels."""
    numbers = 3 * towers.image_side**2 if forward.stem else (1 + towers.patches) * towers.image_width
    return batch_size * (_FULL * numbers * forward.views + 8)
