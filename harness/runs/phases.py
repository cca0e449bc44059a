"""The three phases of a run, without their windows: setup makes what is prepared; train and test take it.

A pass that looks into a run after its windows repeats what it needs of them.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch

from harness.clip.backbone import Backbone
from harness.data.image_set import ImageSet
from harness.errors import ConfigError
from harness.method import AdaptedModel, Classes
from harness.runs.findings import Facts
from harness.runs.job import Job
from harness.runs.run_data import RunData, TestSplit, read_data
from harness.training.contract import check_aim
from harness.training.evaluate import Predictions, evaluate
from harness.training.log import TrainingLog
from harness.training.loop import Progress, train
from harness.training.prepared import backbone_of, build_model
from harness.training.reading import advance, autocast


@dataclass(frozen=True)
class Prepared:
    """A run ready for its first step: its data, and its model, aimed at the training classes."""

    data: RunData
    model: AdaptedModel


def device_of(name: str) -> torch.device:
    """The device to run on. Raises ConfigError for a CUDA device that isn't there."""
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    device = torch.device(name)
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        raise ConfigError(
            f"there is no device '{name}' here: torch sees {torch.cuda.device_count()} CUDA devices.",
            "Use --device auto or cpu; with a GPU in the machine, check its driver with nvidia-smi.",
        )
    return device


def load_backbone(job: Job, device: torch.device, hashed: bool = False) -> Backbone:
    """The run's backbone."""
    return backbone_of(job.run.key, job.pretrained, device, hashed, job.known_weights)


def setup(job: Job, device: torch.device, facts: Facts) -> Prepared:
    """Load the backbone, read the data, build the model; `facts` get what is known of each as soon as it is."""
    key = job.run.key
    backbone = load_backbone(job, device, hashed=True)
    facts.weights_sha256 = backbone.weights_sha256
    data = read_data(job, backbone.pixels)
    facts.train_image_count, facts.train_class_count = len(data.drawn.train), len(data.classes.names)
    facts.split_rule = data.split_rule
    return Prepared(data, build_model(key, backbone, data.classes))


def train_model(
    prepared: Prepared,
    log: TrainingLog,
    maximum_steps: int | None,
    progress: Progress = lambda done, epochs, log: None,
) -> None:
    """Train by the run's recipe, for so many steps at most."""
    key, data = prepared.data.key, prepared.data
    train(
        prepared.model,
        data.train_images(),
        data.plain_images(data.drawn.val),
        key.recipe,
        seed=key.seed,
        execution=key.execution,
        precision=key.precision,
        log=log,
        maximum_steps=maximum_steps,
        progress=progress,
    )


def predict_tests(
    prepared: Prepared,
    maximum_batches: int | None,
    features_of: Callable[[TestSplit], torch.Tensor | None] = lambda split: None,
) -> dict[str, Predictions]:
    """Predictions by test, the model aimed at each test's classes in turn; `features_of` may know a test's image features."""
    return {
        split.test.key: predict_test(prepared, split, maximum_batches, features_of) for split in prepared.data.tests
    }


def predict_test(
    prepared: Prepared,
    split: TestSplit,
    maximum_batches: int | None,
    features_of: Callable[[TestSplit], torch.Tensor | None] = lambda split: None,
) -> Predictions:
    """Predictions on one test, the model aimed at its classes."""
    prepared.model.set_classes(split.classes)
    images = prepared.data.test_images(split)
    return _predict(prepared, images, split.classes, maximum_batches, features_of(split))


def predict_validation(prepared: Prepared) -> Predictions:
    """Predictions on the validation draw."""
    data = prepared.data
    prepared.model.set_classes(data.classes)
    return _predict(prepared, data.plain_images(data.drawn.val), data.classes)


def follows_classes(prepared: Prepared) -> None:
    """Aim the model at two classes, and at the same in the other order. Raises MethodError where it doesn't follow."""
    data, model = prepared.data, prepared.model
    places = data.drawn.train[:2]
    (pixels,) = (pixels for _, pixels in data.plain_images(places).in_order(len(places), epoch=None))
    with torch.no_grad(), autocast(data.key.precision, model.backbone.device):
        read = advance(model.backbone, pixels.to(model.backbone.device), model.reads[0].stage)
        check_aim(model, read, data.classes)


def _predict(
    prepared: Prepared,
    images: ImageSet,
    classes: Classes,
    maximum_batches: int | None = None,
    features: torch.Tensor | None = None,
) -> Predictions:
    key = prepared.data.key
    return evaluate(
        prepared.model,
        images,
        batch_size=key.recipe.test_batch_size,
        precision=key.precision,
        maximum_batches=maximum_batches,
        features=features,
        classes=len(classes.names),
    )
