"""What a few steps, and a few batches of each test, tell of a whole run: its seconds by part, and its peaks.

The parts are those of `harness.runs.runner`, done by the same functions. What doesn't grow with the length of training is done as
it is in a run: set-up, and what looks into a run after its phases. Only the memory pass is left out where it would read more
training images than a calibration does itself: then the peak is simulated.
"""

from __future__ import annotations

import gc
import importlib
import math
import random
import time
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from functools import partial
from statistics import fmean

import torch
from torch import Tensor

from harness import weights
from harness.clip.image_tower import Stage
from harness.data.sizes import Count
from harness.meters.gpu import calls_of
from harness.meters.window import peak_rss_bytes, reset_peak_rss
from harness.probes.simulate import simulate
from harness.records import Phase, WindowRecord
from harness.runs.findings import Findings
from harness.runs.job import Job, KnownPeaks, may_optimize
from harness.runs.observation import Observation
from harness.runs.passes import MemoryPass, passes
from harness.runs.phases import (
    Prepared,
    device_of,
    follows_classes,
    load_backbone,
    predict_test,
    predict_validation,
    setup,
)
from harness.runs.run_data import TestSplit
from harness.training.contract import frozen_digests
from harness.training.log import TrainingLog
from harness.training.loop import train
from harness.training.prepared import build_model, first_batch
from harness.training.reading import StagedImages, autocast

BUDGET_SECONDS = 1.0
"""Of training, where two steps take less."""
FEWEST_STEPS = 2
_PHASES: tuple[Phase, ...] = ("train", "test")
_BATCHES = 4
"""Of a run's first test, by which its seconds per image are known."""


def calibrate(job: Job) -> Observation:
    """What a run would be, by the few steps done here. Raises whatever the run would."""
    started_at = datetime.now(UTC).isoformat(timespec="seconds")
    torch.set_num_threads(job.threads)
    key = job.run.key
    weights.remember(key.backbone, job.pretrained)
    findings = Findings(device=device_of(job.device))
    calls = calls_of(findings.device)
    calls.make_current()
    clock = _Clock(calls.synchronise)
    if may_optimize(job.run):
        importlib.import_module("torch._dynamo")
    reset_peak_rss()
    baseline_bytes = peak_rss_bytes() or 0
    start = time.perf_counter()
    prepared = setup(job, findings.device, findings.facts)
    setup_seconds = time.perf_counter() - start
    digest_seconds = clock.seconds(partial(frozen_digests, prepared.model))
    data, cold = prepared.data, None
    if key.recipe.trains:
        labels = [item.label for item in data.drawn.train]
        cold = _trained(prepared, first_batch(prepared.model, labels, key), FEWEST_STEPS, clock)
        del prepared
        gc.collect()
        prepared = Prepared(data, build_model(key, load_backbone(job, findings.device), data.classes))
    reset_peak_rss()
    calls.reset_peaks()
    training = _train(prepared, cold, clock)
    tests = _test(prepared, clock)
    allocated_bytes, rss_bytes = calls.peaks().allocated_bytes, peak_rss_bytes()
    other_seconds = 2 * digest_seconds + clock.seconds(partial(_answer_more, prepared, training.whole))
    findings.windows |= {name: WindowRecord(seconds=0.0) for name in _PHASES}
    chosen = [each for each in passes(job, findings) if training.whole or not isinstance(each, MemoryPass)]
    for each in chosen:
        each.keep(prepared)
    shapes_are_random = prepared.model.random_shapes
    del prepared
    gc.collect()
    counting_seconds = 0.0
    for each in chosen:
        seconds = clock.seconds(partial(each.look, job, data, findings))
        other_seconds += seconds
        if isinstance(each, MemoryPass) and not shapes_are_random and findings.device.type == "cpu":
            spared = replace(job, known_peaks=KnownPeaks(key.seed, {}))
            counting_seconds = max(0.0, seconds - clock.seconds(partial(each.look, spared, data, findings)))
    peaks = [window.peak_tensor_bytes for window in findings.windows.values()]
    tensor_bytes = max((peak for peak in peaks if peak is not None), default=None)
    if tensor_bytes is None and allocated_bytes is None:
        found = simulate(key, data.classes)
        tensor_bytes = found.peak_bytes + found.host_bytes
    return Observation(
        key=key,
        source="calibration",
        started_at=started_at,
        threads=job.threads,
        setup_seconds=setup_seconds,
        train_seconds=training.seconds,
        test_seconds=tests.seconds,
        other_seconds=other_seconds,
        counting_seconds=counting_seconds,
        shares=tests.shares,
        spared_seconds=tests.spared_seconds if tests.shares else None,
        steps=training.steps,
        step_seconds=training.step_seconds,
        load_seconds=training.load_seconds,
        peak_tensor_bytes=tensor_bytes if allocated_bytes is None else allocated_bytes,
        peak_rss_bytes=None if rss_bytes is None else max(0, rss_bytes - baseline_bytes),
        trained_on=Count(len(data.drawn.train), len(data.classes.names)),
        tested_on={split.test.key: Count(len(split.splits.test), len(split.classes.names)) for split in data.tests},
    )


@dataclass(frozen=True)
class _Clock:
    """Seconds, the device synchronised at both edges."""

    synchronise: Callable[[], None]

    def seconds(self, work: Callable[[], object]) -> float:
        self.synchronise()
        start = time.perf_counter()
        work()
        self.synchronise()
        return time.perf_counter() - start


@dataclass(frozen=True)
class _Training:
    """All of a training: seconds, steps and their usual length, waiting for batches. `whole`: all its images were read."""

    seconds: float
    steps: int
    step_seconds: float
    load_seconds: float
    whole: bool


@dataclass
class _Part:
    """A training that was cut: what it read in bulk apart from each epoch's, and per epoch."""

    images: int
    seconds: float = 0.0
    log: TrainingLog = field(default_factory=TrainingLog)
    once_seconds: float = 0.0
    epoch_seconds: dict[int | None, float] = field(default_factory=dict)

    @property
    def rest_seconds(self) -> float:
        """Neither steps nor images: texts, a search."""
        log = self.log
        return max(0.0, self.seconds - sum(log.step_seconds) - log.load_seconds - log.extract_seconds)


def _train(prepared: Prepared, cold: _Part | None, clock: _Clock) -> _Training:
    """All of a training, by a part of it; `cold` is one of two steps, which tells how much can be done in the budget."""
    data, recipe, model = prepared.data, prepared.data.key.recipe, prepared.model
    count = len(data.drawn.train)
    if cold is None:
        part = _trained(prepared, range(count), None, clock)
        return _Training(part.seconds, 0, 0.0, part.log.load_seconds, whole=True)
    labels = [item.label for item in data.drawn.train]
    per_epoch = len(list(model.batches(labels, recipe.batch_size, random.Random(data.key.seed))))
    steps = recipe.iterations or recipe.epochs * per_epoch
    steps = min(steps, data.key.steps or steps)
    epochs = steps / per_epoch
    image_seconds = (cold.log.load_seconds + sum(cold.epoch_seconds.values())) / cold.log.images_seen
    images = min(count, max(cold.images, int(2 * BUDGET_SECONDS / max(image_seconds, 1e-9))))
    step_seconds = image_seconds * count / per_epoch + cold.log.step_seconds[-1]
    fitting = min(steps, max(FEWEST_STEPS, int(BUDGET_SECONDS / step_seconds)))
    warm = _trained(prepared, [place * count // images for place in range(images)], fitting, clock)
    step_seconds = fmean(warm.log.step_seconds)
    repeats = data.key.execution == "reference" or recipe.augmentation != "none"
    extractions = math.ceil(epochs) if repeats else 1
    extract_seconds = warm.once_seconds + extractions * _mean(warm.epoch_seconds.values())
    load_seconds = warm.log.load_seconds / warm.log.images_seen * count * epochs
    first_seconds = max(0.0, cold.log.step_seconds[0] - step_seconds)
    seconds = cold.rest_seconds + first_seconds + steps * step_seconds + load_seconds + extract_seconds * count / images
    return _Training(seconds, steps, step_seconds, load_seconds, whole=images == count)


def _trained(prepared: Prepared, places: Sequence[int], steps: int | None, clock: _Clock) -> _Part:
    """Train on the images at some places, for so many steps."""
    data, part = prepared.data, _Part(len(places))

    class Noted(StagedImages):
        def read(
            self, stage: Stage, epoch: int | None = None, view: int = 0, *, whole_tower: bool | None = None
        ) -> Tensor:
            """Only the feed of an epoch says whether the whole tower is to run."""
            before = part.log.extract_seconds
            found = super().read(stage, epoch, view, whole_tower=bool(whole_tower))
            seconds = part.log.extract_seconds - before
            if whole_tower is None:
                part.once_seconds += seconds
            else:
                part.epoch_seconds[epoch] = part.epoch_seconds.get(epoch, 0.0) + seconds
            return found

    val = data.drawn.val[:: max(1, len(data.drawn.train) // max(1, len(places)))]

    def work() -> None:
        train(
            prepared.model,
            data.train_images(places),
            data.plain_images(val),
            data.key.recipe,
            seed=data.key.seed,
            execution=data.key.execution,
            precision=data.key.precision,
            log=part.log,
            maximum_steps=steps,
            source_of=Noted,
        )

    part.seconds = clock.seconds(work)
    return part


def _mean(values: Collection[float]) -> float:
    return fmean(values) if values else 0.0


@dataclass(frozen=True)
class _Tests:
    """All tests: seconds, whether other runs' features can be taken over, and the seconds of these."""

    seconds: float
    shares: bool
    spared_seconds: float


def _test(prepared: Prepared, clock: _Clock) -> _Tests:
    """All tests: what their classes take, and an image, by the first test."""
    key, data = prepared.data.key, prepared.data
    class_seconds, images = 0.0, 0
    image_seconds: float | None = None
    for split in data.tests:
        count = len(split.splits.test)
        count = count if key.steps is None else min(count, key.steps * key.recipe.test_batch_size)
        images += count
        aimed_seconds = clock.seconds(partial(_aim, prepared, split))
        class_seconds += aimed_seconds
        if image_seconds is None:
            image_seconds = _image_seconds(prepared, split, count, aimed_seconds, clock)
    stamped = all(split.splits.stamp for split in data.tests)
    shares = prepared.model.reads[0].stage == "features" and key.execution == "fast" and key.steps is None and stamped
    spared_seconds = images * (image_seconds or 0.0)
    return _Tests(class_seconds + spared_seconds, shares, spared_seconds)


def _image_seconds(prepared: Prepared, split: TestSplit, images: int, aimed_seconds: float, clock: _Clock) -> float:
    """Of an image of a test. Images are decoded ahead: of a part of a test, only what some more batches take tells."""
    batch = prepared.data.key.recipe.test_batch_size
    first_seconds = clock.seconds(partial(predict_test, prepared, split, 1))
    if images <= batch:
        return max(0.0, first_seconds - aimed_seconds) / images
    first_seconds = clock.seconds(partial(predict_test, prepared, split, 1))
    seconds = clock.seconds(partial(predict_test, prepared, split, _BATCHES))
    if images <= _BATCHES * batch:
        return max(0.0, seconds - aimed_seconds) / images
    return max(0.0, seconds - first_seconds) / ((_BATCHES - 1) * batch)


@torch.no_grad()
def _aim(prepared: Prepared, split: TestSplit) -> None:
    """What a test takes whose image features are there already, but for the logits of these."""
    model = prepared.model
    with autocast(prepared.data.key.precision, model.backbone.device):
        model.set_classes(split.classes)
        model.classifier()


def _answer_more(prepared: Prepared, whole: bool) -> None:
    """What a run asks of its model outside the phases; the validation images where all training images were read too."""
    if prepared.data.key.steps is not None:
        return
    if prepared.data.drawn.val and whole:
        predict_validation(prepared)
    follows_classes(prepared)
