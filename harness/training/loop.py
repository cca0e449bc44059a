"""The training loop: reads, optimiser, schedule, mixed precision. Every method goes through it, in either execution."""

from __future__ import annotations

import math
import random
import time
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field

import torch
from torch import Tensor

from harness.clip.backbone import Backbone
from harness.data.image_set import ImageSet
from harness.errors import TrainingError
from harness.meters.memory_tracker import in_host_memory, phase
from harness.method import AdaptedModel, Batch, Read, Stage
from harness.recipe import Recipe
from harness.training.schedule import learning_rate

EXTRACTION_BATCH_SIZE = 128
"""Images per forward pass when the reference extracts features (the Skip Tuning authors' figure)."""

IMAGES_AT_ONCE = 32
"""How many images the fast execution runs at once where no gradient is needed, in extraction and in a test's batch: more of them
would only raise the peak, above that of training."""


@dataclass
class TrainingLog:
    """What training left behind. Step times are of ready batches, in seconds; the loss of an epoch is the mean over its steps.

    load_seconds: waiting for the steps' batches (decoding, augmentation, copies). extract_seconds: features in bulk, with
    the decoding of their images. No second counts twice.
    """

    step_seconds: list[float] = field(default_factory=list)
    epoch_losses: list[float] = field(default_factory=list)
    load_seconds: float = 0.0
    extract_seconds: float = 0.0
    images_seen: int = 0


Progress = Callable[[int, int, TrainingLog], None]
"""Called after each epoch with (epochs done, epochs in all, log)."""


def autocast(precision: str, device: torch.device) -> AbstractContextManager:
    """The autocast region of a precision: bf16 and fp16 cast inside it; fp32 and fp16-pure have none."""
    if precision in ("bf16", "fp16"):
        return torch.autocast(device.type, torch.bfloat16 if precision == "bf16" else torch.float16)
    return nullcontext()


def advance(backbone: Backbone, pixels: Tensor, stage: Stage) -> Tensor:
    """Pixels (B, 3, S, S) through the frozen image tower up to a stage."""
    tower = backbone.image
    if stage == "pixels":
        return pixels
    if stage == "features":
        return in_parts(tower.encode, pixels, tower.fast)
    return in_parts(lambda part: tower.blocks(tower.embed(part), 0, int(stage)), pixels, tower.fast)


def extraction_batch_size(backbone: Backbone) -> int:
    """Images per forward pass when features are extracted in the backbone's execution."""
    return IMAGES_AT_ONCE if backbone.image.fast else EXTRACTION_BATCH_SIZE


def in_parts(run: Callable[[Tensor], Tensor], images: Tensor, fast: bool) -> Tensor:
    """``run(images)`` (B, ...), a few images at a time if `fast`."""
    parts = images.split(IMAGES_AT_ONCE) if fast else (images,)
    return run(images) if len(parts) == 1 else torch.cat([run(part) for part in parts])


class StagedImages:
    """An image set that can be read at any stage of a backbone's image tower: a method's view of images."""

    def __init__(self, backbone: Backbone, images: ImageSet, precision: str, log: TrainingLog) -> None:
        self.images = images
        self.labels = images.labels.to(backbone.device)
        self._backbone = backbone
        self._precision = precision
        self._log = log

    def read(self, stage: Stage, epoch: int | None = None, view: int = 0, *, whole_tower: bool = False) -> Tensor:
        """All images at a stage (N, ...), in order. Final features stay on the device; block outputs go to host memory.

        `whole_tower` runs the remaining blocks too and drops their output, as the Skip Tuning authors' extraction does.
        """
        started = time.perf_counter()
        device = self._backbone.device
        in_host = stage != "features"
        home = torch.device("cpu") if in_host else device
        parts = []
        with phase("extract"), torch.no_grad(), autocast(self._precision, device):
            for _, pixels in self.images.in_order(extraction_batch_size(self._backbone), epoch, view):
                part = advance(self._backbone, pixels.to(device), stage)
                if whole_tower and isinstance(stage, int):
                    tower = self._backbone.image
                    tower.head(tower.blocks(part, stage, tower.depth))
                part = part.to(home)
                parts.append(in_host_memory(part) if in_host else part)
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        self._log.extract_seconds += time.perf_counter() - started
        with phase("extract", birth="host" if in_host else "inputs"):
            return torch.cat(parts)


def _height(stage: Stage) -> float:
    return {"pixels": -1.0, "features": math.inf}.get(stage, stage)  # type: ignore[arg-type]


def in_bulk(model: AdaptedModel, read: Read, fast: bool) -> bool:
    """Whether a read is extracted for all images at once, rather than from each batch's pixels."""
    return model.caches_images or (fast and read.stage == "features")


class Feed:
    """Batches for a model's loss: from features extracted in bulk where that is exact, else live from pixels.

    In bulk: reads of methods that cache by themselves, and, when fast, final features (the tower below them is frozen). Without
    augmentation an extraction holds for all epochs; the reference repeats it every epoch.
    """

    def __init__(self, model: AdaptedModel, source: StagedImages, fast: bool) -> None:
        self._model = model
        self._source = source
        self._fast = fast
        self._bulk: dict[Read, Tensor] = {}
        self._constant = source.images.augmentation == "none"

    def epoch(self, lists: Sequence[list[int]], epoch: int) -> Iterator[Batch]:
        if not (self._fast and self._constant):
            self._bulk.clear()
        self._extract(epoch)
        live_views = sorted({read.view for read in self._model.reads if read not in self._bulk})
        streams = [self._source.images.batches(lists, epoch, view) for view in live_views]
        for indices, *pixels in zip(lists, *streams, strict=True):
            yield self._batch(indices, {view: p[1] for view, p in zip(live_views, pixels, strict=True)})

    def _extract(self, epoch: int) -> None:
        """What is read in bulk; after that, if fast, the frozen parts that no step runs leave the device."""
        model = self._model
        for read in model.reads:
            if read not in self._bulk and in_bulk(model, read, self._fast):
                model.backbone.fetch()
                self._bulk[read] = self._source.read(read.stage, epoch, read.view, whole_tower=not self._fast)
        if self._fast:
            stages = [read.stage if read in self._bulk else "pixels" for read in model.reads]
            model.backbone.park(min(stages, key=_height), model.text_start)

    @property
    def ready(self) -> Collection[Read]:
        """The reads that come from bulk; the others are pixels, which a step advances: that is the method's arithmetic."""
        return self._bulk

    def _batch(self, indices: list[int], pixels: dict[int, Tensor]) -> Batch:
        backbone = self._model.backbone
        device = backbone.device
        inputs = []
        with torch.no_grad():
            for read in self._model.reads:
                bulk = self._bulk.get(read)
                if bulk is not None:
                    inputs.append(bulk[torch.as_tensor(indices, device=bulk.device)].to(device))
                else:
                    inputs.append(pixels[read.view].to(device))
        return Batch(tuple(inputs), self._source.labels[torch.as_tensor(indices, device=device)])


def advance_live(model: AdaptedModel, batch: Batch, ready: Collection[Read]) -> Batch:
    """A batch whose reads that are not `ready` still are pixels, with those advanced to their stages."""
    if all(read in ready for read in model.reads):
        return batch
    with torch.no_grad():
        inputs = tuple(
            value if read in ready else advance(model.backbone, value, read.stage)
            for read, value in zip(model.reads, batch.inputs, strict=True)
        )
    return Batch(inputs, batch.labels)


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
            self._scaler.step(self._optimizer)
            self._scaler.update()
            if not self._dropped:
                self._optimizer.zero_grad(set_to_none=True)
        return loss

    def close(self) -> None:
        """Leave nothing behind on the model."""
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
    stepper.close()
    model.backbone.fetch()


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
    """Raw step times of an epoch, in seconds: a monotonic clock on CPUs, pairs of events on CUDA (read after the epoch)."""

    def __init__(self, device: torch.device) -> None:
        self._cuda = device.type == "cuda"
        self._edges: list = []

    def _edge(self) -> None:
        if self._cuda:
            event = torch.cuda.Event(enable_timing=True)
            event.record()
            self._edges.append(event)
        else:
            self._edges.append(time.perf_counter())

    start = stop = _edge

    def seconds(self) -> list[float]:
        starts, stops = self._edges[::2], self._edges[1::2]
        if self._cuda:
            torch.cuda.synchronize()
            return [a.elapsed_time(b) / 1000 for a, b in zip(starts, stops, strict=True)]
        return [b - a for a, b in zip(starts, stops, strict=True)]
