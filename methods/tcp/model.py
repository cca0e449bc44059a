"""The arithmetic of TCP; hyper-parameters, recipes and the paper are in `methods.tcp`."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from harness.clip.backbone import Backbone
from harness.method import Batch, Classes
from methods._text import ContextModel, feature_distance, hidden_width
from methods.tcp import TCP


class TCPModel(ContextModel):
    """CoOp in the lower text blocks; from `class_aware_block` on, prompts that a meta-net makes of a class's reference feature."""

    keeps = ("_trained_names", "_for_new")

    def __init__(self, backbone: Backbone, method: TCP) -> None:
        super().__init__(backbone, method.context_init, method.context_length)
        self._method = method
        width = backbone.embed_width
        hidden = hidden_width(width, method.reduction)
        where: dict[str, Any] = {"device": backbone.device, "dtype": backbone.dtype}
        self.down = nn.Linear(width, hidden, **where)
        self.up = nn.Linear(self.down.out_features, self.length * backbone.text.width, **where)
        self._trained_names: frozenset[str] = frozenset()
        self._for_new: list[Tensor] = []
        self._shows_new = False

    def prompts(self, classes: Classes) -> list[str]:
        """The template's words; where fewer stand before the name than the context has rows, X as in the authors' lists."""
        before, name, after = classes.template(self._method.template_list).partition("{}")
        if self.backbone.text.token_count(before) < self.length:
            before = "X " * self.length
        return self.backbone.prompts(before + name + after, classes.names)

    def prepare(self, train: object, val: object) -> None:
        self._reference_features()
        self._trained_names = frozenset(self._classes.names)

    def end_epoch(self, epoch: int, epochs: int) -> None:
        if epoch + 1 == self._method.new_classes_epoch:
            self._for_new = [parameter.detach().clone() for parameter in self._trained()]

    def set_classes(self, classes: Classes) -> None:
        """Aim at these classes, with the weights of `new_classes_epoch` if training has passed it and none of them was trained."""
        super().set_classes(classes)
        new = bool(self._for_new) and not self._trained_names & set(classes.names)
        if new != self._shows_new:
            self._swap()

    def _trained(self) -> list[nn.Parameter]:
        return [self.context, *self.down.parameters(), *self.up.parameters()]

    @torch.no_grad()
    def _swap(self) -> None:
        """Exchange the last epoch's weights and those for new classes."""
        for parameter, kept in zip(self._trained(), self._for_new, strict=True):
            other = kept.clone()
            kept.copy_(parameter)
            parameter.copy_(other)
        self._shows_new = not self._shows_new

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
