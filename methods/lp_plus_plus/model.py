"""The arithmetic of LP++; hyper-parameters, recipes and the paper are in `methods.lp_plus_plus`."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import chain

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from harness.clip.backbone import Backbone
from harness.method import Classes, ClassFeatureModel, ImageSource, LinearHead, alike
from methods._deep import full_precision
from methods._text import averaged_features
from methods.lp_plus_plus import LPPlusPlus

Weights = tuple[Tensor, Tensor, Tensor]
"""W (C, E), b (C,) and alpha (C,)."""


class LPPlusPlusModel(ClassFeatureModel):
    """A probe W, b and a blending alpha over the classes it was fitted on; zero-shot CLIP for others."""

    keeps = ("_trained_names",)

    def __init__(self, backbone: Backbone, method: LPPlusPlus) -> None:
        super().__init__(backbone)
        self._method = method
        self._trained_names: tuple[str, ...] = ()

    def set_classes(self, classes: Classes) -> None:
        self._classes = classes
        self.forget_constants()
        if not self._trained_names:
            count, where = len(classes.names), full_precision(self.backbone)
            self.weight = nn.Parameter(torch.zeros(count, self.backbone.embed_width, **where))
            self.bias = nn.Parameter(torch.zeros(count, **where))
            self.alpha = nn.Parameter(torch.zeros(count, **where))

    @property
    def answers_zero_shot(self) -> bool:
        return not set(self._classes.names) & set(self._trained_names)

    def classifier(self) -> Tensor:
        templates = self._classes.templates_of(self._method.template_list)
        return self.constant("text", lambda: averaged_features(self.backbone, self._classes, templates))

    def prepare(self, train: ImageSource, val: ImageSource) -> None:
        with torch.no_grad(), torch.autocast(self.backbone.device.type, enabled=False):
            text = _full(self.classifier())
            images = F.normalize(_full(train.read("features", 0)), dim=-1)
            val_images = F.normalize(_full(val.read("features")), dim=-1) if len(val.labels) else None
            best, kept = -1, None
            for weights in descend(images, train.labels, text, self._start(images, train.labels, text), self._method):
                if val_images is None:
                    kept = weights
                    continue
                scores = blended(val_images, text, weights)
                correct = int((scores.argmax(dim=-1) == val.labels).sum())
                if correct >= best:
                    best, kept = correct, weights
            assert kept is not None
            for parameter, value in zip((self.weight, self.bias, self.alpha), kept, strict=True):
                parameter.copy_(value)
        self._trained_names = self._classes.names

    def _start(self, images: Tensor, labels: Tensor, text: Tensor) -> Weights:
        """W: sums of each class's features; b: as PyTorch starts it; alpha: from the mean agreement of images with their text."""
        members = F.one_hot(labels, len(text)).to(images.dtype)
        weight = members.T @ images
        bound = images.shape[1] ** -0.5
        bias = torch.empty(len(text), dtype=images.dtype, device=images.device).uniform_(-bound, bound)
        agreement = ((weight * text).sum(dim=-1) / members.sum(dim=0).clamp(min=1)).mean()
        return weight, bias, self._method.alpha_start * agreement.expand(len(text)).clone()

    def class_logits(self, images: Tensor, classifier: Tensor) -> Tensor:
        images, text = F.normalize(_full(images), dim=-1), _full(classifier)
        return blended(images, text, self._weights_here())

    def linear_head(self) -> LinearHead:
        weight, bias, alpha = self._weights_here()
        return LinearHead(weight + alpha[:, None] * _full(self.classifier()), torch.ones_like(bias[0]), bias)

    def _weights_here(self) -> Weights:
        """For the classes aimed at: zeros and the logit scale, which is zero-shot, where there was no training."""
        if self._classes.names == self._trained_names:
            return self.weight, self.bias, self.alpha
        rows = [len(self.alpha) if row is None else row for row in self._classes.rows_in(self._trained_names)]
        scale = self.backbone.logit_scale.to(self.alpha.dtype).reshape(1)
        return (
            torch.cat([self.weight, torch.zeros_like(self.weight[:1])])[rows],
            torch.cat([self.bias, torch.zeros_like(self.bias[:1])])[rows],
            torch.cat([self.alpha, scale])[rows],
        )


def _full(x: Tensor) -> Tensor:
    return x.to(torch.promote_types(x.dtype, torch.float32))


def blended(images: Tensor, text: Tensor, weights: Weights) -> Tensor:
    """(B, C) from normalised images (B, E) and text features (C, E)."""
    weight, bias, alpha = weights
    return images @ weight.T + bias + alpha * (images @ text.T)


def step_sizes(images: Tensor, text: Tensor) -> tuple[float, float]:
    """Of W and b, and of alpha: inverse bounds on the curvature of the loss."""
    count = len(images)
    largest = float(torch.linalg.eigvalsh(images.T @ images)[-1])
    return 4 * count / largest, count / (4 * float((images @ text.T).square().sum(dim=0).max()))


def descend(images: Tensor, labels: Tensor, text: Tensor, start: Weights, method: LPPlusPlus) -> Iterator[Weights]:
    """The weights after each step of full-batch gradient descent on the mean cross-entropy."""
    rate, alpha_rate = step_sizes(images, text)
    weight, bias, alpha = start
    similarity, truth = images @ text.T, F.one_hot(labels, len(text)).to(images.dtype)
    velocity, bias_velocity = torch.zeros_like(weight), torch.zeros_like(bias)
    alpha_gradient = torch.zeros_like(alpha)
    starts = range(1, method.steps + 1, method.alpha_period)
    periods = [range(start, min(start + method.alpha_period, method.steps + 1)) for start in starts]
    for step in chain.from_iterable(alike(periods)):
        error = (blended(images, text, (weight, bias, alpha)).softmax(dim=-1) - truth) / len(images)
        velocity = method.momentum * velocity + error.T @ images
        bias_velocity = method.momentum * bias_velocity + error.sum(dim=0)
        gradient = (error * similarity).sum(dim=0)
        alpha_gradient = alpha_gradient + gradient if method.as_released else gradient
        weight, bias = weight - rate * velocity, bias - rate * bias_velocity
        if step % method.alpha_period == 0:
            alpha = alpha - alpha_rate * alpha_gradient
        yield weight, bias, alpha
