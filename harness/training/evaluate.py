"""Top-1 predictions of a model on a test split, over all of its images, and the accuracy they come to."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TypeVar

import torch
from torch import Tensor

from harness.data.image_set import ImageSet
from harness.errors import TrainingError
from harness.method import AdaptedModel
from harness.records import TestRecord
from harness.training.contract import check_answers
from harness.training.reading import advance, autocast, in_parts

T = TypeVar("T")


@dataclass(frozen=True)
class Predictions:
    """For N images in order, on the CPU: true labels (N,), predicted labels (N,), and the logits (N,) of the latter.

    `answers_zero_shot` if the method had nothing to say of these classes, and answered as the pretrained backbone does.
    """

    labels: Tensor
    predicted: Tensor
    logits: Tensor
    answers_zero_shot: bool = False

    @property
    def correct(self) -> int:
        return int((self.predicted == self.labels).sum())

    def score(self, class_names: Sequence[str]) -> TestRecord:
        """Raises TrainingError where a logit isn't finite, so that no answer can be told."""
        if not bool(self.logits.isfinite().all()):
            raise TrainingError(
                f"the logits of {int((~self.logits.isfinite()).sum())} of {len(self.logits)} test images are not finite.",
                "Lower the learning rate by --set learning_rate=..., or use --precision fp32.",
            )
        pairs = Counter(zip(self.labels.tolist(), self.predicted.tolist(), strict=True))
        return TestRecord(
            accuracy_percent=100 * self.correct / len(self.labels),
            correct=self.correct,
            images=len(self.labels),
            classes=len(class_names),
            class_names=tuple(class_names),
            confusion=tuple((true, predicted, count) for (true, predicted), count in sorted(pairs.items())),
            answers_zero_shot=self.answers_zero_shot,
        )


@torch.no_grad()
def evaluate(
    model: AdaptedModel,
    images: ImageSet,
    *,
    batch_size: int,
    precision: str,
    maximum_batches: int | None = None,
    features: Tensor | None = None,
    classes: int | None = None,
) -> Predictions:
    """Predictions on `images`, whose labels index the classes the model was last aimed at.

    Class features are computed once when fast, for every batch in the reference, as published code does. `features` (N, E) of
    the images stand in for a frozen image tower. Raises MethodError where the logits aren't of so many `classes`.
    """
    found = over_batches(
        model,
        images,
        lambda scores: scores.max(dim=-1),
        batch_size=batch_size,
        precision=precision,
        maximum_batches=maximum_batches,
        features=features,
        classes=classes,
    )
    answers = torch.cat([highest.indices for highest in found]).cpu()
    values = torch.cat([highest.values for highest in found]).float().cpu()
    return Predictions(images.labels[: len(answers)], answers, values, model.answers_zero_shot)


@torch.no_grad()
def over_batches(
    model: AdaptedModel,
    images: ImageSet,
    of: Callable[[Tensor], T],
    *,
    batch_size: int,
    precision: str,
    maximum_batches: int | None = None,
    features: Tensor | None = None,
    classes: int | None = None,
) -> list[T]:
    """What `of` makes of the logits (B, C) of each batch, in order; the rest is as `evaluate` has it."""
    device = model.backbone.device
    stage = model.reads[0].stage
    fast = model.backbone.text.fast
    found: list[T] = []
    classifier = None
    with autocast(precision, device):
        if features is None:
            batches = (pixels for _, pixels in images.in_order(batch_size, epoch=None, device=device))
            inputs = (advance(model.backbone, pixels, stage) for pixels in batches)
        else:
            inputs = (part for part in features.split(batch_size))
        for number, read in enumerate(inputs):
            if number == maximum_batches:
                break
            if number == 0 or not fast:
                classifier = model.classifier()
            runs_tower = stage != "features"
            answer = partial(model.logits, classifier=classifier)
            scores = in_parts(answer, read, model.backbone.image) if runs_tower else answer(read)
            check_answers(model, scores, len(read), classes)
            found.append(of(scores))
    return found
