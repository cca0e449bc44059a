"""A run's model made ready: built and aimed for whoever trains it; prepared and fed for what looks at single steps."""

from __future__ import annotations

import random
from collections.abc import Sequence

import numpy as np
import torch

from harness.clip import backbone as backbones
from harness.clip.backbone import Backbone
from harness.data.image_set import ImageSet
from harness.errors import MethodError
from harness.meters.memory_tracker import model_tensors
from harness.method import AdaptedModel, Classes
from harness.own_source import source_sha256
from harness.plan import build_method
from harness.records import RunKey
from harness.training.contract import check_model
from harness.training.log import TrainingLog
from harness.training.loop import Stepper
from harness.training.reading import Feed, StagedImages, autocast
from harness.weights import KnownWeights

WARMUP_STEPS = 2


def seed_everything(seed: int) -> None:
    """Python's, NumPy's and torch's global generators start from the seed."""
    random.seed(seed)
    np.random.seed(seed)
    torch.manual_seed(seed)


def backbone_of(
    key: RunKey,
    pretrained: str | None,
    device: torch.device,
    hashed: bool = True,
    known: KnownWeights | None = None,
) -> Backbone:
    """A run's backbone, of the tag or file `pretrained`. Random weights depend on the run's seed alone."""
    seed_everything(key.seed)
    return backbones.load(
        key.backbone,
        pretrained,
        execution=key.execution,
        precision=key.precision,
        device=str(device),
        hashed=hashed,
        known=known,
    )


def build_model(key: RunKey, backbone: Backbone, classes: Classes) -> AdaptedModel:
    """A run's method on a backbone and its device, aimed at these classes. Its own weights depend on the seed alone.

    Raises MethodError for what is no model by the contract, and for a method whose source is not the key's.
    """
    method = build_method(key.method, key.settings)
    if key.source_sha256 not in (None, source_sha256(type(method).__module__)):
        raise MethodError(
            f"the source of '{key.method}' has changed since this run was planned.", "Repeat the command."
        )
    seed_everything(key.seed)
    model: AdaptedModel = method.adapt(backbone)
    check_model(key.method, model, backbone, key.recipe)
    if any(tensor.device != backbone.device for tensor in model_tensors(model)):
        model.to(backbone.device)  # never without need: tensors without contents can't be moved
    model.set_classes(classes)
    return model


def prepare(model: AdaptedModel, images: ImageSet, precision: str) -> StagedImages:
    """Make a model ready for the first step of its first epoch on these images, which stand for those of validation too."""
    source = StagedImages(model.backbone, images, precision, TrainingLog())
    with autocast(precision, model.backbone.device):
        model.prepare(source, source)
        model.begin_epoch(0)
    return source


def first_batch(model: AdaptedModel, labels: Sequence[int], key: RunKey) -> list[int]:
    """The places of the images of a run's first batch, of training images with these labels."""
    return next(iter(model.batches(labels, key.recipe.batch_size, random.Random(key.seed))))


class Steps:
    """Optimiser steps of a run's model on its first batch, outside the training loop: ``steps()`` does one more."""

    def __init__(self, model: AdaptedModel, images: ImageSet, key: RunKey) -> None:
        """`images` are those of `first_batch`."""
        fast = key.execution == "fast"
        feed = Feed(model, prepare(model, images, key.precision), fast)
        self._batch = next(iter(feed.epoch([list(range(len(images)))], 0)))
        self._ready = feed.ready
        self._stepper = Stepper(model, key.recipe, key.precision, fast)
        self._stepper.set_rates(0, 0, 1)
        for _ in range(WARMUP_STEPS):
            self()

    def __call__(self) -> None:
        self._stepper.step(self._batch, self._ready)
