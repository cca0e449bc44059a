"""What the loss and the tests read of images: stages of the frozen tower, in bulk or live, and the batches for a step."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext

import torch
from torch import Tensor

from harness.clip.backbone import Backbone
from harness.clip.image_tower import ImageTower, Stage
from harness.data.image_set import ImageSet
from harness.meters.gpu import calls_of
from harness.meters.memory_tracker import in_host_memory, phase
from harness.method import AdaptedModel, Batch, Read
from harness.training.log import TrainingLog

EXTRACTION_BATCH_SIZE = 128
"""Images per forward pass when the reference extracts features (the Skip Tuning authors' figure)."""


def autocast(precision: str, device: torch.device) -> AbstractContextManager[object]:
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
        return in_parts(tower.encode, pixels, tower)
    return in_parts(lambda part: tower.blocks(tower.embed(part), 0, int(stage)), pixels, tower)


def extraction_batch_size(backbone: Backbone) -> int:
    """Images per forward pass when features are extracted in the backbone's execution."""
    return backbone.image.at_once if backbone.image.fast else EXTRACTION_BATCH_SIZE


def in_parts(run: Callable[[Tensor], Tensor], images: Tensor, tower: ImageTower) -> Tensor:
    """``run(images)`` (B, ...); when fast, as many images at a time as the tower runs at once."""
    parts = images.split(tower.at_once) if tower.fast else (images,)
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
            for _, pixels in self.images.in_order(extraction_batch_size(self._backbone), epoch, view, device):
                part = advance(self._backbone, pixels, stage)
                if whole_tower and isinstance(stage, int):
                    tower = self._backbone.image
                    tower.head(tower.blocks(part, stage, tower.depth))
                part = part.to(home)
                parts.append(in_host_memory(part) if in_host else part)
        calls_of(device).synchronise()
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
        device = self._model.backbone.device
        live_views = sorted({read.view for read in self._model.reads if read not in self._bulk})
        streams = [self._source.images.batches(lists, epoch, view, device) for view in live_views]
        for indices, *pixels in zip(lists, *streams, strict=True):
            yield self._batch(indices, {view: p[1] for view, p in zip(live_views, pixels, strict=True)})

    def _extract(self, epoch: int) -> None:
        """What is read in bulk; after that, if fast, the frozen parts that no step runs leave the device."""
        model = self._model
        for read in model.reads:
            if read not in self._bulk and in_bulk(model, read, self._fast):
                model.backbone.reload()
                self._bulk[read] = self._source.read(read.stage, epoch, read.view, whole_tower=not self._fast)
        if self._fast:
            stages = [read.stage if read in self._bulk else "pixels" for read in model.reads]
            model.backbone.offload(min(stages, key=_height), model.text_start)

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
                    inputs.append(pixels[read.view])
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
