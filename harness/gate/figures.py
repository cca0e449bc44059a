"""What a method's training step and its evaluation step take, counted: equal to the byte from run to run."""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from typing import Literal

import torch

from harness import plugins
from harness.clip.backbone import Backbone, load
from harness.errors import ConfigError, did_you_mean
from harness.meters.flops import FlopCount
from harness.meters.memory_tracker import Ledger, SavedBytes, model_tensors
from harness.method import AdaptedModel, Classes
from harness.plan import Request, plan
from harness.probes.simulate import BlankImages, class_names
from harness.records import Precision, RunKey
from harness.suite import Execution
from harness.training.evaluate import evaluate
from harness.training.loop import train
from harness.training.prepared import Steps, build_model, first_batch

Part = Literal["train", "evaluate"]
CLASSES, SHOTS = 10, 4


@dataclass(frozen=True, kw_only=True)
class Figures:
    """Of one step. flops: 2 a multiply-add. peak_tensor_bytes: the most that lived at once, weights and optimiser state included.

    allocated_bytes: of all tensors that the step makes, also of those freed before the peak. saved_activation_bytes: what autograd
    kept for the backward pass, each storage once, weights apart.
    """

    flops: int
    peak_tensor_bytes: int
    allocated_bytes: int
    saved_activation_bytes: int
    trainable_parameters: int


@dataclass(frozen=True)
class Work:
    """A model, a step of it that can be done again and again, and the number of images in that."""

    model: AdaptedModel
    step: Callable[[], object]
    images: int


def run_key(method: str, backbone: str, execution: Execution, settings: Mapping[str, str]) -> RunKey:
    """A run of this method by its recipe in the cost suite."""
    request = Request(
        suite="cost", methods=[method], shots=[SHOTS], backbone=backbone, executions=[execution], settings=settings
    )
    return plan(request, "published")[0].key


def work(key: RunKey, part: Part) -> Work:
    """A step made ready, on random images of ten classes. Raises ConfigError for a part that the method doesn't have."""
    return _ready(key, part, _backbone(key))


def count(key: RunKey, part: Part) -> tuple[Work, Figures]:
    """The same, and what the step takes once gradients and optimiser state exist."""
    backbone = _backbone(key)
    with Ledger(model_tensors(backbone)) as ledger:
        ready = _ready(key, part, backbone)
        ready.step()
        with _no_collection():
            ledger.reset_peak()
            before = ledger.allocated_bytes
            ready.step()
        peak_bytes, allocated_bytes = ledger.peak_bytes, ledger.allocated_bytes - before
    with FlopCount(lambda: "step") as flops, SavedBytes(model_tensors(ready.model)) as saved:
        ready.step()
    return ready, Figures(
        flops=flops.by_phase["step"],
        peak_tensor_bytes=peak_bytes,
        allocated_bytes=allocated_bytes,
        saved_activation_bytes=saved.total_bytes,
        trainable_parameters=sum(p.numel() for p in ready.model.parameters() if p.requires_grad),
    )


def _backbone(key: RunKey) -> Backbone:
    return _loaded(key.backbone, key.precision).copied(key.execution)


@cache
def _loaded(name: str, precision: Precision) -> Backbone:
    """A registered backbone with its own weights, or one with random weights: no figure depends on their values."""
    return load(name, None if name in plugins.names("backbone") else "random", precision=precision)


def _ready(key: RunKey, part: Part, backbone: Backbone) -> Work:
    if part not in _PARTS:
        raise ConfigError(f"a method has no part '{part}'.", did_you_mean(part, _PARTS))
    classes = Classes(class_names(CLASSES), {"clip": "a photo of a {}."})
    return _PARTS[part](build_model(key, backbone, classes), key)


def _training(model: AdaptedModel, key: RunKey) -> Work:
    if not key.recipe.trains:
        raise ConfigError(f"'{key.method}' trains in no steps.", 'Measure its evaluation alone: part="evaluate".')
    images = _images(model, SHOTS, key.recipe.augmentation)
    batch = images.some(first_batch(model, images.labels.tolist(), key))
    return Work(model, Steps(model, batch, key), len(batch))


def _evaluation(model: AdaptedModel, key: RunKey) -> Work:
    """A test of one batch, class features included, after a step of training."""
    recipe = key.recipe
    train(
        model,
        _images(model, SHOTS, recipe.augmentation),
        _images(model, SHOTS),
        recipe,
        seed=key.seed,
        execution=key.execution,
        precision=key.precision,
        maximum_steps=1,
    )
    size = recipe.test_batch_size
    test = _images(model, -(-size // CLASSES)).first(size)
    return Work(model, lambda: evaluate(model, test, batch_size=size, precision=key.precision), size)


_PARTS: Mapping[str, Callable[[AdaptedModel, RunKey], Work]] = {"train": _training, "evaluate": _evaluation}


def _images(model: AdaptedModel, per_class: int, augmentation: str = "none") -> BlankImages:
    """Random images, drawn once: reading them takes nothing."""
    side = model.backbone.pixels.size
    pixels = torch.randn(per_class * CLASSES, 3, side, side, generator=torch.Generator().manual_seed(1))
    return BlankImages(per_class, CLASSES, augmentation, lambda count: pixels[:count])


@contextmanager
def _no_collection() -> Iterator[None]:
    """What only the garbage collector would free lives on in here, so that no peak depends on when it runs."""
    gc.collect()
    gc.disable()
    try:
        yield
    finally:
        gc.enable()
