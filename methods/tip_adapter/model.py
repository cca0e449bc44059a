"""The arithmetic of Tip-Adapter and Tip-Adapter-F; hyper-parameters, recipes and the paper are in `methods.tip_adapter`."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from harness.clip.backbone import Backbone
from harness.method import Batch, Classes, ClassFeatureModel, ImageSource, Read, alike, cosine_logits
from methods._batches import all_in_batches
from methods._text import averaged_features
from methods.tip_adapter import TipAdapter

_SCALE = 100.0
_ALPHA_STEPS, _BETA_STEPS, _SMALLEST = 20, 200, 0.1


class TipAdapterModel(ClassFeatureModel):
    """Keys (N, E) and their labels beside the zero-shot classifier; N training images."""

    keys: Tensor | None
    keeps = ("keys", "_key_labels", "_trained_names", "alpha", "beta")

    def __init__(self, backbone: Backbone, method: TipAdapter) -> None:
        super().__init__(backbone)
        self._method = method
        self.alpha, self.beta = method.alpha, method.beta
        self.keys = None
        self._trained_names: tuple[str, ...] = ()
        self._scale = torch.tensor(_SCALE, device=backbone.device)

    def set_classes(self, classes: Classes) -> None:
        self._classes = classes
        self.forget_constants()
        if self.keys is not None:
            self._values = self._one_hot()

    @property
    def answers_zero_shot(self) -> bool:
        return self.keys is None or not set(self._classes.names) & set(self._trained_names)

    def classifier(self) -> Tensor:
        return self.constant("text", self._text_classifier)

    def _text_classifier(self) -> Tensor:
        """W^T (C, E)."""
        templates = self._method.templates or self._classes.templates_of(self._method.template_list)
        return averaged_features(self.backbone, self._classes, templates)

    @torch.no_grad()
    def prepare(self, train: ImageSource, val: ImageSource) -> None:
        self.alpha, self.beta = self._method.alpha, self._method.beta
        views = sum(train.read("features", epoch) for epoch in range(self._method.views))
        self._fill(F.normalize(torch.as_tensor(views) / self._method.views, dim=-1))
        self._key_labels, self._trained_names = train.labels, self._classes.names
        self._values = self._one_hot()
        self._val_labels = val.labels
        self._val = val.read("features") if len(val.labels) else None

    def _fill(self, keys: Tensor) -> None:
        self.keys = keys

    def _one_hot(self) -> Tensor:
        """V (N, C): which cached image is of which class aimed at. A class that is not in the cache has a column of zeros."""
        names, trained = self._classes.names, self._trained_names
        if names == trained:
            return F.one_hot(self._key_labels, len(names)).to(self.backbone.dtype)
        same = torch.tensor([[name == other for other in names] for name in trained], device=self._key_labels.device)
        return same[self._key_labels].to(self.backbone.dtype)

    def finish(self, train: ImageSource, val: ImageSource) -> None:
        self.search()
        self._val = None

    @torch.no_grad()
    def search(self) -> None:
        """Set alpha and beta to the first pair of the grid with the highest accuracy on the validation images, if there are any."""
        if self._val is None:
            return
        plain = cosine_logits(self._scale, self._val, self.classifier())
        method, best = self._method, -1
        for i in alike(range(_BETA_STEPS)):
            beta = _SMALLEST + i * (method.beta_maximum - _SMALLEST) / _BETA_STEPS
            cached = self._cache_logits(self._val, beta)
            for j in alike(range(_ALPHA_STEPS)):
                alpha = _SMALLEST + j * (method.alpha_maximum - _SMALLEST) / _ALPHA_STEPS
                correct = int(((plain + alpha * cached).argmax(dim=-1) == self._val_labels).sum())
                if correct > best:
                    best, self.alpha, self.beta = correct, alpha, beta

    def _cache_logits(self, images: Tensor, beta: float) -> Tensor:
        """exp(-beta (1 - f^ keys)) V: (B, C)."""
        assert self.keys is not None
        values = self._values
        affinity = F.normalize(images, dim=-1) @ self.keys.to(images.dtype).T
        return torch.exp(-beta * (1 - affinity)).to(values.dtype) @ values

    def class_logits(self, images: Tensor, classifier: Tensor) -> Tensor:
        plain = cosine_logits(self._scale, images, classifier)
        return plain if self.keys is None else plain + self.alpha * self._cache_logits(images, self.beta)


class TipAdapterFModel(TipAdapterModel):
    """The keys are trained. They are made when the training images are seen, so that before there is nothing to train.

    Steps read a second view of each image, since the cache is made of the first ones of as many epochs.
    """

    reads = (Read("features", view=1),)
    keys: nn.Parameter | None
    text_start = "features"

    def _fill(self, keys: Tensor) -> None:
        self.keys = nn.Parameter(keys.to(self.backbone.dtype))
        self._best: tuple[int, Tensor] | None = None
        self._text = self.classifier()

    def batches(self, labels: Sequence[int], batch_size: int, rng: random.Random) -> Iterator[list[int]]:
        return all_in_batches(labels, batch_size, rng)

    def loss(self, batch: Batch) -> Tensor:
        return F.cross_entropy(self.class_logits(batch.images, self._text), batch.labels)

    @torch.no_grad()
    def end_epoch(self, epoch: int, epochs: int) -> None:
        if self._val is None:
            return
        assert self.keys is not None
        correct = int((self.class_logits(self._val, self._text).argmax(dim=-1) == self._val_labels).sum())
        if self._best is None or correct > self._best[0]:
            self._best = correct, self.keys.detach().clone()

    @torch.no_grad()
    def finish(self, train: ImageSource, val: ImageSource) -> None:
        assert self.keys is not None
        if self._best is not None:
            self.keys.copy_(self._best[1])
            self._best = None
        super().finish(train, val)
