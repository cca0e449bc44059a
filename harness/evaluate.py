"""Top-1 accuracy of a model on a test split, over all of its images."""

from __future__ import annotations

import torch

from harness.data import ImageSet
from harness.method import AdaptedModel
from harness.records import TestRecord
from harness.train import advance, autocast


@torch.no_grad()
def evaluate(
    model: AdaptedModel,
    images: ImageSet,
    classes: int,
    *,
    batch_size: int,
    precision: str,
    maximum_batches: int | None = None,
) -> TestRecord:
    """Accuracy on `images`, whose labels index the classes the model was last aimed at.

    Class features are computed once when fast, for every batch in the reference, as published code does.
    """
    device = model.backbone.device
    stage = model.reads[0].stage
    fast = model.backbone.text.fast
    correct = torch.zeros((), dtype=torch.long, device=device)
    seen = 0
    classifier = None
    with autocast(precision, device):
        for number, (indices, pixels) in enumerate(images.in_order(batch_size, epoch=None)):
            if number == maximum_batches:
                break
            if number == 0 or not fast:
                classifier = model.classifier()
            logits = model.logits(advance(model.backbone, pixels.to(device), stage), classifier)
            labels = images.labels[list(indices)].to(device)
            correct += (logits.argmax(dim=-1) == labels).sum()
            seen += len(indices)
    hits = int(correct)
    return TestRecord(accuracy_percent=100 * hits / seen, correct=hits, images=seen, classes=classes)
