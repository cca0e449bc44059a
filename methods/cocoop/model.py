"""The arithmetic of CoCoOp; hyper-parameters, recipes and the paper are in `methods.cocoop`."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from harness.clip.backbone import Backbone
from harness.method import Batch, Classes
from methods._text import ContextPrompts, hidden_width
from methods.cocoop import CoCoOp


class CoCoOpModel(ContextPrompts):
    """CoOp with a context of its own for each image; there are no class features without an image."""

    def __init__(self, backbone: Backbone, method: CoCoOp) -> None:
        super().__init__(backbone, method.context_init, method.context_length)
        self._method = method
        width = backbone.embed_width
        hidden = hidden_width(width, method.reduction)
        where: dict[str, Any] = {"device": backbone.device, "dtype": backbone.dtype}
        self.down = nn.Linear(width, hidden, **where)
        self.up = nn.Linear(self.down.out_features, backbone.text.width, **where)
        self._first_logits: Tensor | None = None

    def set_classes(self, classes: Classes) -> None:
        super().set_classes(classes)
        self._first_logits = None
        self._images_per_pass = max(1, self._method.sequences_per_pass // len(classes.names))

    def classifier(self) -> None:
        return None

    def contexts(self, images: Tensor) -> Tensor:
        """A context for each of B images from their normalised features (B, E): (B, n, D)."""
        return self.context + self.up(F.relu(self.down(images)))[:, None]

    def _conditional_logits(self, images: Tensor) -> Tensor:
        """(B, C) from features (B, E); row b depends on image b alone."""
        images = F.normalize(images, dim=-1)
        texts = F.normalize(self.text_features(self.contexts(images)[:, None]), dim=-1)
        images = self.backbone.logit_scale.to(texts.dtype) * images.to(texts.dtype)
        return (texts @ images[..., None]).squeeze(-1)

    def loss(self, batch: Batch) -> Tensor:
        return F.cross_entropy(self._conditional_logits(batch.images), batch.labels)

    def backward(self, batch: Batch, scaler: torch.amp.GradScaler) -> Tensor:
        """Gradients of the mean over the batch, gathered from as many images at a time as fit."""
        parts = zip(batch.images.split(self._images_per_pass), batch.labels.split(self._images_per_pass), strict=True)
        losses: list[Tensor] = []
        for images, labels in parts:
            loss = self.loss(Batch((images,), labels)) * (len(labels) / len(batch.labels))
            if not losses:
                self.end_forward()
            scaler.scale(loss).backward()
            losses.append(loss.detach())
        return torch.stack(losses).sum()

    def logits(self, images: Tensor, classifier: Tensor | None) -> Tensor:
        if self._first_logits is not None:
            return self._first_logits[: len(images)]
        logits = torch.cat([self._conditional_logits(part) for part in images.split(self._images_per_pass)])
        if self._method.as_released:
            self._first_logits = logits
        return logits
