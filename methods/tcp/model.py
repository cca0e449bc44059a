"""The arithmetic of TCP; hyper-parameters, recipes and the paper are in `methods.tcp`."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn
from torch.nn import functional as F

from harness.clip.backbone import Backbone
from harness.method import Batch, Classes
from methods._text import ContextModel, feature_distance
from methods.tcp import TCP


class TCPModel(ContextModel):
    """CoOp in the lower text blocks; from `class_aware_block` on, prompts that a meta-net makes of a class's reference feature."""

    def __init__(self, backbone: Backbone, method: TCP) -> None:
        super().__init__(backbone, method.context_init, method.context_length)
        self._method = method
        width = backbone.embed_width
        where: dict[str, Any] = {"device": backbone.device, "dtype": backbone.dtype}
        self.down = nn.Linear(width, max(1, width // method.reduction), **where)
        self.up = nn.Linear(self.down.out_features, self.length * backbone.text.width, **where)

    def prompts(self, classes: Classes) -> list[str]:
        """The template's words; where fewer stand before the name than the context has rows, X as in the authors' lists."""
        before, name, after = classes.template(self._method.template_list).partition("{}")
        if self.backbone.text.token_count(before) < self.length:
            before = "X " * self.length
        return self.backbone.prompts(before + name + after, classes.names)

    def prepare(self, train: object, val: object) -> None:
        self._reference_features()

    def _reference_features(self) -> Tensor:
        return self.reference_features(self._method.reference_list)

    def class_prompts(self) -> Tensor:
        """What the meta-net makes of the reference features: (C, n, D)."""
        hidden = self.down(self._reference_features())
        return self.up(hidden * (1.702 * hidden).sigmoid()).unflatten(-1, (self.length, -1))

    def text_features(self, context: Tensor) -> Tensor:
        text = self.backbone.text
        class_aware = {self._method.class_aware_block: self.class_prompts()}
        return text.head(text.blocks(self.embedded(context), 0, text.depth, class_aware))

    def loss(self, batch: Batch) -> Tensor:
        features = F.normalize(self.text_features(self.context), dim=-1)
        distance = feature_distance(features, self._reference_features())
        return F.cross_entropy(self.logits(batch.images, features), batch.labels) + self._method.weight * distance
