"""Speed-up: how much faster the fast execution is than the reference, measured in turns in one process.

Times on a shared machine mean little alone. Here each pair is one reference and one fast run, right after each other and in
alternating order; what counts is the median of the pairs' ratios and its bootstrap interval.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
import torch

from harness.clip.backbone import Backbone, load
from harness.data.image_set import CPU
from harness.errors import ConfigError
from harness.meters.environment import best_threads
from harness.meters.gpu import calls_of
from harness.method import AdaptedModel, Batch, Classes, Read
from harness.probes.simulate import BlankImages
from harness.records import RunKey
from harness.suite import EXECUTIONS, Execution
from harness.training.loop import Stepper, train
from harness.training.prepared import build_model, prepare
from harness.training.reading import advance, autocast, in_bulk

Part = Literal["text", "step", "live-step", "epoch"]
"""text: class features, forward and backward. step: an optimiser step on a ready batch. live-step: one on pixels, whatever
could be cached. epoch: all that training does in an epoch, extraction included."""

WARMUP = 2
RESAMPLES = 2000


@dataclass(frozen=True, kw_only=True)
class Speedup:
    """Raw seconds of each pair, reference and fast."""

    reference_seconds: tuple[float, ...]
    fast_seconds: tuple[float, ...]

    @property
    def ratios(self) -> np.ndarray:
        return np.array(self.reference_seconds) / np.array(self.fast_seconds)

    @property
    def median(self) -> float:
        return float(np.median(self.ratios))

    @property
    def interval(self) -> tuple[float, float]:
        """The 95 % bootstrap interval of the median ratio."""
        return bootstrap_interval(self.ratios)


def bootstrap_interval(ratios: np.ndarray) -> tuple[float, float]:
    """The 95 % bootstrap interval of the median of ratios (N,)."""
    drawn = np.random.default_rng(0).choice(ratios, (RESAMPLES, len(ratios)))
    low, high = np.percentile(np.median(drawn, axis=1), [2.5, 97.5])
    return float(low), float(high)


def measure(
    key: RunKey,
    classes: Classes,
    part: Part,
    pairs: int,
    tell: Callable[[int], None] = lambda pair: None,
    threads: int | None = None,
    device: torch.device = CPU,
) -> Speedup:
    """`pairs` pairs for a run's method, recipe, backbone and precision, on random weights and pixels.

    An epoch is one of `key.shots` images per class. `tell` is called with the number of each pair, from 1 on.
    Without `threads` there are as many as a run has. On a GPU its own events tell the times.

    Raises ConfigError for a part that the method doesn't have.
    """
    if not key.recipe.trains:
        raise ConfigError(
            f"'{key.method}' trains in no steps.", "'adaptbench list methods' tells which train something."
        )
    weights = load(key.backbone, "random", precision=key.precision, device=str(device))
    torch.set_num_threads(threads or best_threads(weights.largest_layer))
    workloads = [workload(weights, key, classes, part, execution) for execution in EXECUTIONS]
    for work in workloads:
        for _ in range(WARMUP):
            work()
    calls = calls_of(device)
    seconds: tuple[list[float], list[float]] = ([], [])
    for pair in range(pairs):
        tell(pair + 1)
        for which in (0, 1) if pair % 2 == 0 else (1, 0):
            start = calls.mark()
            workloads[which]()
            end = calls.mark()
            calls.synchronise()
            seconds[which].append(calls.seconds(start, end))
    return Speedup(reference_seconds=tuple(seconds[0]), fast_seconds=tuple(seconds[1]))


def workload(
    weights: Backbone, key: RunKey, classes: Classes, part: Part, execution: Execution
) -> Callable[[], object]:
    """The work of an execution, on weights that both share."""
    backbone = weights.running(execution)
    size, fast = backbone.pixels.size, execution == "fast"
    model = build_model(key, backbone, classes)
    images = BlankImages(
        key.shots,
        len(classes.names),
        key.recipe.augmentation,
        lambda count: torch.randn(count, 3, size, size, device=backbone.device),
    )
    how: dict[str, Any] = {"seed": key.seed, "execution": execution, "precision": key.precision}
    if part == "epoch":
        recipe = replace(key.recipe, epochs=1, iterations=None)
        return lambda: train(model, images, images.first(0), recipe, **how)
    prepare(model, images, key.precision)
    ready = [r for r in model.reads if part == "text" or (part == "step" and in_bulk(model, r, fast))]
    batch = _batch(model, 1 if part == "text" else key.recipe.batch_size, ready)
    if part == "text":
        return lambda: _text_pass(model, batch, key.precision)
    stepper = Stepper(model, key.recipe, key.precision, fast)
    stepper.set_rates(0, 0, 1)
    model.drop_gradients = None  # both executions step the same weights: neither may leave the other its gradients
    return lambda: stepper.step(batch, ready)


def _batch(model: AdaptedModel, count: int, ready: Collection[Read]) -> Batch:
    """Images of the first class, as pixels where a read is not `ready`."""
    backbone = model.backbone
    pixels = torch.randn(count, 3, backbone.pixels.size, backbone.pixels.size, device=backbone.device)
    with torch.no_grad():
        inputs = tuple(advance(backbone, pixels, read.stage) if read in ready else pixels for read in model.reads)
    return Batch(inputs, torch.zeros(count, dtype=torch.long, device=backbone.device))


def _text_pass(model: AdaptedModel, batch: Batch, precision: str) -> None:
    """Class features and their gradient; where those depend on the image, the loss of one image."""
    with autocast(precision, model.backbone.device):
        features = model.classifier()
        if features is None:
            features = model.loss(batch)
    if not features.requires_grad:
        raise ConfigError("this method trains nothing of the text.", "Measure its step instead: --part step.")
    features.backward(torch.ones_like(features))
    model.zero_grad(set_to_none=True)
