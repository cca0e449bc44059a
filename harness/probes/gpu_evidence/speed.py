"""Times in turns: fast against reference, a step from a CUDA graph against one that is launched, meters on against off."""

from __future__ import annotations

import time
from collections.abc import Callable

import torch

from harness.clip.backbone import load
from harness.meters.gpu import Gpu, calls_of
from harness.meters.window import Window
from harness.method import AdaptedModel, Batch
from harness.probes.gpu_evidence.evidence import Figures, Setting
from harness.probes.gpu_evidence.graphs import GraphedBackward
from harness.probes.gpu_evidence.memory import blank_images, classes_of
from harness.probes.speedup import Part, Speedup, measure
from harness.training.loop import StepClock, Stepper
from harness.training.prepared import build_model, prepare
from harness.training.reading import Feed

WARMUP = 3


def executions(setting: Setting, method: str, part: Part, classes: int) -> Figures:
    """Reference and fast in pairs, by events of the device."""
    key = setting.run(method).key
    return figures(
        measure(key, classes_of(classes), part, setting.pairs, device=torch.device(setting.device)), "reference", "fast"
    )


def figures(found: Speedup, slow: str, fast: str) -> Figures:
    """Median milliseconds of both, and the median of the pairs' ratios with its 95 % interval."""
    low, high = found.interval
    return {
        f"{slow}_ms": 1000 * sorted(found.reference_seconds)[len(found.reference_seconds) // 2],
        f"{fast}_ms": 1000 * sorted(found.fast_seconds)[len(found.fast_seconds) // 2],
        "ratio": found.median,
        "interval": f"{low:.3f} to {high:.3f}",
    }


def in_turns(first: Callable[[], object], second: Callable[[], object], pairs: int, device: torch.device) -> Speedup:
    """Two works one after the other, in alternating order, the device waited for at each edge."""
    calls = calls_of(device)
    works, seconds = (first, second), ([], [])  # type: tuple[Callable[[], object], ...], tuple[list[float], list[float]]
    for pair in range(-1, pairs):
        for which in (0, 1) if pair % 2 == 0 else (1, 0):
            calls.synchronise()
            started = time.perf_counter()
            works[which]()
            calls.synchronise()
            if pair >= 0:  # the first is a warm-up
                seconds[which].append(time.perf_counter() - started)
    return Speedup(reference_seconds=tuple(seconds[0]), fast_seconds=tuple(seconds[1]))


def seconds_of(device: torch.device, work: Callable[[], object]) -> float:
    """Of the second time, when everything is warm."""
    calls = calls_of(device)
    for _ in range(2):
        calls.synchronise()
        started = time.perf_counter()
        work()
        calls.synchronise()
    return time.perf_counter() - started


def stepped(setting: Setting, method: str) -> tuple[AdaptedModel, Stepper, Batch, Feed]:
    """A model after some steps on the one batch of its first epoch."""
    key = setting.run(method).key
    device, count = torch.device(setting.device), setting.class_counts[0]
    backbone = load(key.backbone, "random", device=setting.device)
    model = build_model(key, backbone, classes_of(count))
    feed = Feed(model, prepare(model, blank_images(key, count, backbone.pixels.size, device), key.precision), fast=True)
    batch = next(iter(feed.epoch([list(range(min(count, key.recipe.batch_size)))], 0)))
    stepper = Stepper(model, key.recipe, key.precision, fast=True)
    stepper.set_rates(0, 0, 1)
    for _ in range(WARMUP):
        stepper.step(batch, feed.ready)
    return model, stepper, batch, feed


def meters(setting: Setting, method: str, steps: int) -> Figures:
    """Some steps in a window with a clock at each, against the same steps with neither."""
    _, stepper, batch, feed = stepped(setting, method)
    device = torch.device(setting.device)
    gpu = Gpu(device)

    def bare() -> None:
        for _ in range(steps):
            stepper.step(batch, feed.ready)

    def metered() -> None:
        with Window(device, gpu):
            clock = StepClock(device)
            for _ in range(steps):
                clock.start()
                stepper.step(batch, feed.ready)
                clock.stop()
            clock.seconds()

    return figures(in_turns(metered, bare, setting.pairs, device), "metered", "bare")


def graphs(setting: Setting, method: str) -> Figures:
    """Forward and backward of a step, launched operator by operator, and from a CUDA graph; a CPU has the former only."""
    model, _, batch, _ = stepped(setting, method)
    device = torch.device(setting.device)
    scaler = torch.amp.GradScaler(device.type, enabled=False)

    def launched() -> None:
        model.zero_grad(set_to_none=True)
        model.backward(batch, scaler)

    if device.type == "cpu":
        found = in_turns(launched, launched, setting.pairs, device)
        return {"launched_ms": figures(found, "launched", "again")["launched_ms"]}
    graphed = GraphedBackward(model, batch)
    return figures(in_turns(launched, lambda: graphed(batch), setting.pairs, device), "launched", "graph")
