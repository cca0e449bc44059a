"""The arithmetic of the linear probe; hyper-parameters, recipes and the protocol are in `methods.linear_probe`."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from harness.clip.backbone import Backbone
from harness.method import Classes, ClassFeatureModel, ImageSource, LinearHead, cosine_logits
from methods._deep import full_precision
from methods._text import class_features
from methods.linear_probe import LinearProbe

_SWEEP = (1e6, 1e4, 1e2, 1.0, 1e-2, 1e-4, 1e-6)


class LinearProbeModel(ClassFeatureModel):
    """W f + b for classes it was fitted on, zero-shot CLIP for any other list."""

    keeps = ("_trained_names",)

    def __init__(self, backbone: Backbone, method: LinearProbe) -> None:
        super().__init__(backbone)
        self._method = method
        self._trained_names: tuple[str, ...] = ()
        self._rows: list[int] | None = None

    def set_classes(self, classes: Classes) -> None:
        self._classes = classes
        if not self._trained_names:
            where = full_precision(self.backbone)
            self.weight = nn.Parameter(torch.zeros(len(classes.names), self.backbone.embed_width, **where))
            self.bias = nn.Parameter(torch.zeros(len(classes.names), **where))
        self._rows = self._known_rows()
        self.forget_constants()

    def _known_rows(self) -> list[int] | None:
        """The row of each class aimed at; None if one was not trained on."""
        rows = self._classes.rows_in(self._trained_names)
        known = [row for row in rows if row is not None]
        return known if len(known) == len(rows) else None

    def prepare(self, train: ImageSource, val: ImageSource) -> None:
        weight, bias = fit(*_arrays(train), *_arrays(val), self._method)
        with torch.no_grad():
            self.weight.copy_(torch.from_numpy(weight))
            self.bias.copy_(torch.from_numpy(bias))
        self._trained_names = self._classes.names
        self._rows = self._known_rows()

    @property
    def answers_zero_shot(self) -> bool:
        return self._rows is None

    def classifier(self) -> Tensor:
        """The rows of W for these classes (C, E), or their text features."""
        if self._rows is not None:
            return self.weight[self._rows]
        return self.constant("text", lambda: class_features(self.backbone, self._classes, "clip"))

    def class_logits(self, images: Tensor, classifier: Tensor) -> Tensor:
        if self._rows is None:
            return cosine_logits(self.backbone.logit_scale, images, classifier)
        return images.to(classifier.dtype) @ classifier.T + self.bias[self._rows]

    def linear_head(self) -> LinearHead | None:
        if self._rows is None:
            return super().linear_head()
        return LinearHead(self.classifier(), torch.ones_like(self.bias[0]), self.bias[self._rows], normalised=False)


def _arrays(images: ImageSource) -> tuple[np.ndarray, np.ndarray]:
    """Features (N, E) of the test view in float64, and labels (N,)."""
    labels = images.labels.cpu().numpy()
    return images.read("features").double().cpu().numpy() if len(labels) else np.empty((0, 0)), labels


def fit(
    features: np.ndarray, labels: np.ndarray, val_features: np.ndarray, val_labels: np.ndarray, method: LinearProbe
) -> tuple[np.ndarray, np.ndarray]:
    """Weights (C, E) and biases (C,) of the chosen regression, scored on the validation arrays."""
    if len(val_labels) == 0:
        return _rows(_regression(features, labels, 1.0, method))

    def at(strength: float) -> tuple[float, Any]:
        regression = _regression(features, labels, strength, method)
        return float(regression.score(val_features, val_labels)), regression

    scores = [at(strength)[0] for strength in _SWEEP]
    best = _SWEEP[int(np.argmax(scores))]
    low, high = np.log10(best) - 1, np.log10(best) + 1
    chosen = None
    for _ in range(max(1, method.search_steps)):
        (low_score, low_fit), (high_score, high_fit) = at(10**low), at(10**high)
        middle = (low + high) / 2
        if low_score < high_score:
            chosen, low = high_fit, middle
        else:
            chosen, high = low_fit, middle
    return _rows(chosen)


def _regression(features: np.ndarray, labels: np.ndarray, strength: float, method: LinearProbe) -> Any:
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.linear_model import LogisticRegression

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # the weakest regularisation of the sweep often stops early
        return LogisticRegression(C=strength, max_iter=method.maximum_iterations).fit(features, labels)


def _rows(regression: Any) -> tuple[np.ndarray, np.ndarray]:
    """One row a class: of two classes, scikit-learn keeps the difference only."""
    weight, bias = regression.coef_, regression.intercept_
    if len(weight) == 1:
        weight, bias = np.concatenate([-weight, weight]) / 2, np.concatenate([-bias, bias]) / 2
    return weight, bias
