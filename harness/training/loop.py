"""The training loop: optimiser, schedule, mixed precision. Every method goes through it, in either execution."""

from __future__ import annotations

import math
import random
import time
from collections.abc import Callable, Collection, Iterator
from typing import Any

import torch
from torch import Tensor

from harness.data.image_set import ImageSet
from harness.errors import TrainingError
from harness.meters.gpu import calls_of
from harness.meters.memory_tracker import phase
from harness.method import AdaptedModel, Batch, Read
from harness.recipe import Recipe
from harness.training.contract import Waiting, check_batches
from harness.training.log import TrainingLog
from harness.training.reading import Feed, StagedImages, advance_live, autocast
from harness.training.schedule import learning_rate

Progress = Callable[[int, int, TrainingLog], None]
"""Called after each epoch with (epochs done, epochs in all, log)."""


def build_optimizer(model: AdaptedModel, recipe: Recipe, fused: bool) -> torch.optim.Optimizer:
    """The recipe's optimiser over the model's parameter groups; `fused` is one kernel a step, bitwise the same for SGD."""
    assert recipe.learning_rate is not None
    groups = [
        {"params": parameters, "lr": recipe.learning_rates.get(name, recipe.learning_rate)}
        for name, parameters in model.parameter_groups().items()
    ]
    if recipe.optimizer == "sgd":
        return torch.optim.SGD(groups, momentum=recipe.momentum, weight_decay=recipe.weight_decay, fused=fused)
    kind = torch.optim.Adam if recipe.optimizer == "adam" else torch.optim.AdamW
    return kind(groups, eps=recipe.epsilon, weight_decay=recipe.weight_decay, fused=fused)


class Stepper:
    """The optimiser steps of a model: live reads, forward, backward, update."""

    def __init__(self, model: AdaptedModel, recipe: Recipe, precision: str, fast: bool) -> None:
        self._model, self._recipe, self._precision = model, recipe, precision
        device = model.backbone.device
        self._waiting = Waiting(model, recipe)
        # torch 2.15's fused SGD on a CPU takes the step that a gradient scaler wants skipped, and the weights become NaN
        self._optimizer = build_optimizer(model, recipe, fused=fast and precision in ("fp32", "bf16"))
        self._base_rates = [group["lr"] for group in self._optimizer.param_groups]
        self._scaler = torch.amp.GradScaler(device.type, enabled=precision == "fp16")
        self._dropped = False
        model.drop_gradients = None if fast else self._drop_gradients

    def _drop_gradients(self) -> None:
        self._optimizer.zero_grad(set_to_none=True)
        self._dropped = True

    def set_rates(self, epoch: int, iteration: int, iterations: int) -> None:
        """The schedule's learning rates for the coming step."""
        for group, base in zip(self._optimizer.param_groups, self._base_rates, strict=True):
            group["lr"] = learning_rate(self._recipe, base, epoch, iteration, iterations)

    def step(self, batch: Batch, ready: Collection[Read]) -> Tensor:
        """One step on a batch, of which the reads that are not `ready` still are pixels: its loss, detached."""
        with phase("train"):
            with autocast(self._precision, self._model.backbone.device):
                loss = self._model.backward(advance_live(self._model, batch, ready), self._scaler)
            self._waiting.after_backward(loss)
            self._scaler.step(self._optimizer)
            self._scaler.update()
            if not self._dropped:
                self._optimizer.zero_grad(set_to_none=True)
        return loss

    def close(self, cut: bool) -> None:
        """Leave nothing behind on the model. Raises MethodError where a weight was never trained; `cut`: training ended early."""
        self._waiting.check(cut)
        self._optimizer.zero_grad(set_to_none=True)
        self._model.drop_gradients = None


def train(
    model: AdaptedModel,
    train_images: ImageSet,
    val_images: ImageSet,
    recipe: Recipe,
    *,
    seed: int,
    execution: str,
    precision: str,
    log: TrainingLog | None = None,
    progress: Progress = lambda done, epochs, log: None,
    maximum_steps: int | None = None,
    source_of: type[StagedImages] = StagedImages,
) -> TrainingLog:
    """Train `model` as its recipe says and return what happened. Raises TrainingError when the loss is not finite.

    A `log` that is passed in is filled as training goes, and so keeps what was done before an error.

    `maximum_steps` ends training after that many steps (the memory pass, cost suites). Everything a user pays for happens in here:
    decoding, extraction, text features, steps. `source_of` lets a simulation leave out batches that cost what others did.
    """
    fast = execution == "fast"
    device = model.backbone.device
    log = log or TrainingLog()
    source = source_of(model.backbone, train_images, precision, log)
    val_source = source_of(model.backbone, val_images, precision, log)
    with phase("prepare"), autocast(precision, device):
        model.prepare(source, val_source)
    if recipe.trains:
        with phase("prepare"):
            _train_epochs(model, source, recipe, seed, fast, precision, progress, maximum_steps, log)
    with phase("finish"), autocast(precision, device):
        model.finish(source, val_source)
    return log


def _train_epochs(
    model: AdaptedModel,
    source: StagedImages,
    recipe: Recipe,
    seed: int,
    fast: bool,
    precision: str,
    progress: Progress,
    maximum_steps: int | None,
    log: TrainingLog,
) -> None:
    device = model.backbone.device
    stepper = Stepper(model, recipe, precision, fast)
    rng = random.Random(seed)
    feed = Feed(model, source, fast)
    labels = source.images.labels.tolist()
    epoch, iteration = 0, 0
    while True:
        lists = list(model.batches(labels, recipe.batch_size, rng))
        if epoch == 0:
            check_batches(model, lists, len(labels))
        epochs = recipe.epochs if recipe.iterations is None else math.ceil(recipe.iterations / max(1, len(lists)))
        if epoch >= epochs:
            break
        iterations = recipe.iterations or epochs * len(lists)
        lists = lists[: min(iterations, maximum_steps or iterations) - iteration]
        with autocast(precision, device):
            model.begin_epoch(epoch)
        losses = []
        clock = StepClock(device)
        for raw in _loaded(feed.epoch(lists, epoch), log):
            stepper.set_rates(epoch, iteration, iterations)
            clock.start()
            losses.append(stepper.step(raw, feed.ready))
            clock.stop()
            log.images_seen += len(raw.labels)
            iteration += 1
        log.step_seconds += clock.seconds()
        log.epoch_losses.append(_mean_loss(losses, epoch))
        model.end_epoch(epoch, epochs)
        epoch += 1
        progress(epoch, epochs, log)
        if iteration == maximum_steps:
            break
    stepper.close(cut=iteration == maximum_steps)
    model.backbone.reload()


def _loaded(batches: Iterator[Batch], log: TrainingLog) -> Iterator[Batch]:
    """The same batches; `log` gets the time that they take, but for that of extraction."""
    while True:
        started, extracted = time.perf_counter(), log.extract_seconds
        batch = next(batches, None)
        log.load_seconds += time.perf_counter() - started - (log.extract_seconds - extracted)
        if batch is None:
            return
        yield batch


def _mean_loss(losses: list[Tensor], epoch: int) -> float:
    if not losses:
        raise TrainingError(
            f"epoch {epoch + 1} has no batch to train on.", "Raise --shots, or lower batch_size by --set batch_size=N."
        )
    values = torch.stack(losses).double()
    if not bool(torch.isfinite(values).all()):
        step = int((~torch.isfinite(values)).nonzero()[0])
        raise TrainingError(
            f"the loss is not finite from step {step + 1} of epoch {epoch + 1} on.",
            "Lower the learning rate by --set learning_rate=..., or use --precision fp32.",
        )
    return float(values.mean())


class StepClock:
    """Raw step times of an epoch, in seconds: a monotonic clock on CPUs, pairs of events on CUDA, read after the epoch."""

    def __init__(self, device: torch.device) -> None:
        self._calls = calls_of(device)
        self._edges: list[Any] = []

    def _edge(self) -> None:
        self._edges.append(self._calls.mark())

    start = stop = _edge

    def seconds(self) -> list[float]:
        self._calls.synchronise()
        return [self._calls.seconds(a, b) for a, b in zip(self._edges[::2], self._edges[1::2], strict=True)]
