"""Learned prompts at the input of both towers and of their first blocks: what MaPLe, PromptSRC and CoPrompt share."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from harness.clip.backbone import Backbone
from harness.errors import ConfigError
from harness.method import Classes, ClassFeatureModel, Read

_INITIALISATION_STD = 0.02


def full_precision(backbone: Backbone) -> dict[str, Any]:
    """Where weights go that the authors keep in float32 when the backbone is half."""
    return {"device": backbone.device, "dtype": torch.promote_types(backbone.dtype, torch.float32)}


class DeepPromptModel(ClassFeatureModel):
    """Prompts [SOT][n learned][rest of the words][class name]["."][EOT]; n tokens after the image's; both anew in the first blocks.

    A subclass says what the prompts are: `text_prompts` and `image_prompts` are one tensor a depth, (n, D) and (n, W). The
    first goes in at the embeddings, number i replaces the rows that came out of block i - 1. Gradients run through both
    frozen towers, to block 0.
    """

    def __init__(self, backbone: Backbone, words: str, length: int, depth: int) -> None:
        super().__init__(backbone)
        deepest = min(backbone.text.depth, backbone.image.depth) if backbone.image.staged else backbone.text.depth
        if not 1 <= depth <= deepest:
            raise ConfigError(
                f"prompt_depth={depth} is outside 1..{deepest}, the blocks of this backbone.",
                f"The published depths are 9 of 12 blocks and 3 in transfer suites: --set prompt_depth={min(9, deepest)}.",
            )
        self.reads: tuple[Read, ...] = (Read(0),)
        self.depth = depth
        self.length = length
        words = words.replace("_", " ")
        known = len(words.split())
        self._placeholder = words if length <= known else " ".join(["X"] * length)
        if length <= known:
            start = backbone.text.word_embeddings(words)[:length].clone()
        else:
            start = self.random_prompts(backbone.text.width).to(backbone.dtype)
        self.context = nn.Parameter(start)

    def random_prompts(self, width: int) -> Tensor:
        """n vectors of N(0, 0.02^2): (n, width), in float32 also where the backbone is half."""
        return torch.empty(self.length, width, **full_precision(self.backbone)).normal_(std=_INITIALISATION_STD)

    def deep_text_prompts(self) -> nn.ParameterList:
        """Fresh prompts (n, D) for text blocks 1..J-1."""
        width = self.backbone.text.width
        return nn.ParameterList([nn.Parameter(self.random_prompts(width)) for _ in range(1, self.depth)])

    def set_classes(self, classes: Classes) -> None:
        self._classes = classes
        text = self.backbone.text
        self._tokens = text.tokenize([f"{self._placeholder} {name}." for name in classes.readable])
        with torch.no_grad():
            self._frozen = text.look_up(self._tokens)
        self.forget_constants()

    def text_prompts(self) -> Sequence[Tensor]:
        """One (n, D) a depth."""
        raise NotImplementedError

    def image_prompts(self) -> Sequence[Tensor]:
        """One (n, W) a depth."""
        raise NotImplementedError

    def text_features(self) -> Tensor:
        """(C, E), not normalised."""
        text = self.backbone.text
        first, *deep = self.text_prompts()
        state = text.add_positions(self._frozen.with_rows(first))
        return text.head(text.blocks(state, 0, text.depth, self._replacements(deep)))

    def image_features(self, images: Tensor) -> Tensor:
        """(B, E), not normalised, from image tokens after ln_pre (B, N, W); the input prompts pass through ln_pre too."""
        tower = self.backbone.image
        first, *deep = self.image_prompts()
        x = tower.append(images, first)
        return tower.head(tower.blocks(x, 0, tower.depth, self._replacements(deep)))

    def _replacements(self, deep: Sequence[Tensor]) -> dict[int, Tensor]:
        return dict(enumerate(deep, start=1)) if self.length else {}

    def classifier(self) -> Tensor:
        return F.normalize(self.text_features(), dim=-1)


class CoupledPromptModel(DeepPromptModel):
    """Image prompts are linear functions of the text prompts (MaPLe), one map a depth.

    The maps of depths 1..J-1 start as clones of one; they and their prompts stay in float32 where the backbone is half.
    """

    def __init__(self, backbone: Backbone, words: str, length: int, depth: int) -> None:
        super().__init__(backbone, words, length, depth)
        widths = backbone.text.width, backbone.image.width
        self.projection = nn.Linear(*widths, device=backbone.device, dtype=backbone.dtype)
        self.deep_text = self.deep_text_prompts()
        deep_map = nn.Linear(*widths, **full_precision(backbone))
        self.deep_maps = nn.ModuleList([nn.Linear(*widths, **full_precision(backbone)) for _ in range(1, depth)])
        for each in self.deep_maps:
            each.load_state_dict(deep_map.state_dict())

    def text_prompts(self) -> Sequence[Tensor]:
        return [self.context, *self.deep_text]

    def image_prompts(self) -> Sequence[Tensor]:
        deep = (each(prompt) for each, prompt in zip(self.deep_maps, self.deep_text, strict=True))
        return [self.projection(self.context), *deep]
