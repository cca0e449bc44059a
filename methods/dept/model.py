"""The arithmetic of DePT; hyper-parameters, recipes and the paper are in `methods.dept`."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from harness.clip.backbone import Backbone
from harness.method import Batch, Classes
from methods._text import ContextModel, feature_distance
from methods.dept import DePT


class ScaleShift(nn.Module):
    """gamma * x + beta, channel by channel: (*, E) -> (*, E). At least float32, as the authors'."""

    def __init__(self, backbone: Backbone) -> None:
        super().__init__()
        where: dict[str, Any] = {"device": backbone.device, "dtype": torch.promote_types(backbone.dtype, torch.float32)}
        self.scale = nn.Parameter(torch.ones(backbone.embed_width, **where))
        self.shift = nn.Parameter(torch.zeros(backbone.embed_width, **where))

    def forward(self, x: Tensor) -> Tensor:
        return self.scale * x + self.shift


class DePTModel(ContextModel):
    """KgCoOp with a second, linear head over the training classes."""

    def __init__(self, backbone: Backbone, method: DePT) -> None:
        super().__init__(backbone, method.context_init, method.context_length)
        self._method = method
        self.text_scale = ScaleShift(backbone)
        self.image_scale = ScaleShift(backbone)
        self.head: nn.Linear | None = None
        self._trained_names: tuple[str, ...] = ()

    def set_classes(self, classes: Classes) -> None:
        super().set_classes(classes)
        if self.head is None:
            self._trained_names = classes.names
            where: dict[str, Any] = {"device": self.backbone.device, "dtype": self.backbone.dtype}
            self.head = nn.Linear(self.backbone.embed_width, len(classes.names), **where)
            for part in (self.head, self.text_scale, self.image_scale):
                part.requires_grad_(not self._method.as_released)
        rows = [row for row in classes.rows_in(self._trained_names) if row is not None]
        self._rows = rows if len(set(rows)) == len(classes.names) else None

    def parameter_groups(self) -> dict[str, list[nn.Parameter]]:
        groups = {"context": [self.context]}
        head = [p for p in self.parameters() if p.requires_grad and p is not self.context]
        return {**groups, "head": head} if head else groups

    def prepare(self, train: object, val: object) -> None:
        self.reference_features(self._method.template_list)

    def classification_logits(self, rescaled: Tensor) -> Tensor:
        """The linear head (*, C) on rescaled features (*, E)."""
        assert self.head is not None
        return self.head(rescaled.to(self.head.weight.dtype))

    def head_inputs(self, texts: Tensor, images: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        """Rescaled features (2B, E), text features of the labels first, and their labels (2B,)."""
        inputs = torch.cat([self.text_scale(texts[labels]), self.image_scale(images)])
        return inputs, torch.cat([labels, labels])

    def loss(self, batch: Batch) -> Tensor:
        method = self._method
        texts = self.text_features(self.context)
        similarity = super().class_logits(batch.images, F.normalize(texts, dim=-1))
        inputs, labels = self.head_inputs(texts, batch.images, batch.labels)
        return (
            method.similarity_weight * F.cross_entropy(similarity, batch.labels)
            + method.classification_weight * F.cross_entropy(self.classification_logits(inputs), labels)
            + method.weight * feature_distance(texts, self.reference_features(method.template_list))
        )

    def class_logits(self, images: Tensor, classifier: Tensor) -> Tensor:
        similarity = super().class_logits(images, classifier)
        if self._rows is None:
            return similarity
        classification = self.classification_logits(self.image_scale(images))[:, self._rows]
        return self._method.similarity_weight * similarity + self._method.classification_weight * classification
