"""What two or more methods share."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from harness.clip.backbone import Backbone
from harness.clip.text_batches import TextState, Tokens
from harness.errors import ConfigError
from harness.method import AdaptedModel, Classes, ClassFeatureModel

INITIALISATION_STD = 0.02
"""Of context vectors that don't start from words: CLIP's own for token embeddings."""


def hidden_width(width: int, reduction: int) -> int:
    """Of a bottleneck between two layers: `width` / `reduction`. Raises ConfigError where nothing is left of it."""
    if reduction > width:
        raise ConfigError(
            f"reduction={reduction} leaves nothing of {width} features.", f"Set a reduction from 1 to {width}."
        )
    return width // reduction


def class_tokens(backbone: Backbone, classes: Classes, template_list: str) -> Tokens:
    """The tokenised prompts of a template list, one a class."""
    return backbone.text.tokenize(backbone.prompts(classes.template(template_list), classes.names))


def class_features(backbone: Backbone, classes: Classes, template_list: str) -> Tensor:
    """Normalised features (C, E) of the prompts of a template list."""
    return F.normalize(backbone.text.encode(class_tokens(backbone, classes, template_list)), dim=-1)


def averaged_features(backbone: Backbone, classes: Classes, templates: Sequence[str]) -> Tensor:
    """Class features (C, E): the normalised features of several templates' prompts, averaged and normalised again."""
    total = torch.zeros((), device=backbone.device)
    for template in templates:
        tokens = backbone.text.tokenize(backbone.prompts(template, classes.names))
        total = total + F.normalize(backbone.text.encode(tokens), dim=-1)
    return F.normalize(total, dim=-1)


def feature_distance(features: Tensor, reference: Tensor) -> Tensor:
    """1 - mean_k cos(t_k, t0_k) of class features (C, E), normalised or not: a scalar."""
    return 1 - F.cosine_similarity(features, reference.to(features.dtype), dim=-1).mean()


class ContextPrompts(AdaptedModel):
    """Learned context vectors (n, D) before each class name: what CoOp and CoCoOp share.

    Prompts are [SOT][context][class name]["."][EOT]; gradients run through the whole frozen text tower into the context.
    """

    def __init__(self, backbone: Backbone, words: str, length: int) -> None:
        """`words` to start from give the length; without words, `length` random vectors."""
        super().__init__(backbone)
        words = words.replace("_", " ")
        self.length = len(words.split()) if words else length
        self._placeholder = words or " ".join(["X"] * self.length)
        shape = (self.length, backbone.text.width)
        start = torch.empty(shape, dtype=backbone.dtype, device=backbone.device).normal_(std=INITIALISATION_STD)
        if words:
            start = backbone.text.word_embeddings(words)[: self.length].clone()
        self.context = nn.Parameter(start)
        self._reference: Tensor | None = None

    def set_classes(self, classes: Classes) -> None:
        text = self.backbone.text
        self._classes = classes
        self._tokens = text.tokenize(self.prompts(classes))
        with torch.no_grad():
            self._frozen = text.look_up(self._tokens)
        self._reference = None
        self.forget_constants()

    def prompts(self, classes: Classes) -> list[str]:
        """One prompt a class, with placeholders where the context goes."""
        return [f"{self._placeholder} {name}." for name in classes.readable]

    @torch.no_grad()
    def reference_features(self, template_list: str) -> Tensor:
        """Normalised features (C, E) of hand-written prompts, encoded once for a list of classes, as the authors do."""
        if self._reference is None:
            self._reference = class_features(self.backbone, self._classes, template_list)
        return self._reference

    def embedded(self, context: Tensor) -> TextState:
        """The prompts with a context (n, D) or (*, C or 1, n, D) in place, ready for block 0."""
        return self.backbone.text.add_positions(self._frozen.with_rows(context))

    def text_features(self, context: Tensor) -> Tensor:
        """Class features (*, C, E) with a context, not normalised."""
        text = self.backbone.text
        return text.head(text.blocks(self.embedded(context), 0, text.depth))


class ContextModel(ContextPrompts, ClassFeatureModel):
    """The context is the same for all images: the core of CoOp and of what builds on it."""

    def classifier(self) -> Tensor:
        return F.normalize(self.text_features(self.context), dim=-1)
