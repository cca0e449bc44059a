"""What a method costs at any size, found by simulating its own code on tensors without contents.

Simulated are, on one device: everything before the first step (class features, extraction), two training steps, and one batch of
a test, through the training loop and the contract that a run uses. Not simulated are decoding, the host's memory other than
the feature cache, the allocator's fragmentation, and the CUDA context.
"""

from __future__ import annotations

import traceback
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from copy import copy
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch._subclasses.fake_tensor import DataDependentOutputException, DynamicOutputShapeException
from torch.optim.optimizer import register_optimizer_step_pre_hook
from torch.utils._python_dispatch import _disable_current_modes

from harness.clip.backbone import Backbone
from harness.clip.image_tower import FEWEST_AT_ONCE, Stage
from harness.clip.library import open_clip
from harness.data.image_set import CPU, ImageSet
from harness.errors import AdaptBenchError, ConfigError, located
from harness.meters.flops import FlopCount
from harness.meters.memory_tracker import Ledger, Peak, model_tensors, phase
from harness.method import SIMULATED, Classes
from harness.probes.fake_tensors import Control, Simulation
from harness.probes.repeated_blocks import BlockCosts, counted_once
from harness.probes.uncompiled import uncompiled
from harness.records import RunKey
from harness.training.evaluate import evaluate
from harness.training.loop import train
from harness.training.prepared import build_model
from harness.training.reading import StagedImages, extraction_batch_size

STEPS = 2
"""In the second step, gradients and optimiser state exist."""

Draw = Callable[[int], Tensor]
"""Pixels (count, 3, S, S) of so many images."""


@dataclass(frozen=True, kw_only=True)
class Estimate:
    """Peaks of live tensor bytes on the device by phase; FLOPs of a training step and of a test batch, 2 a multiply-add.

    `host_bytes` is what the harness keeps in host memory at most. `step_flops` is None for methods without steps. `note` says
    where a method reads values, so that its training could be simulated up to there only.
    """

    peaks: dict[str, Peak]
    host_bytes: int
    step_flops: int | None
    test_batch_flops: int
    trainable_parameters: int
    note: str | None

    @property
    def peak_bytes(self) -> int:
        return max(peak.total_bytes for peak in self.peaks.values())


class BlankImages(ImageSet):
    """Labelled images that nobody decodes: what training and testing need of an `ImageSet`."""

    def __init__(self, per_class: int, classes: int, augmentation: str, draw: Draw) -> None:
        self.labels = torch.arange(classes).repeat_interleave(per_class)
        self.augmentation = augmentation
        self._draw = draw

    def __len__(self) -> int:
        return len(self.labels)

    def first(self, count: int) -> BlankImages:
        """The first `count` of these images."""
        return self.some(range(count))

    def some(self, indices: Iterable[int]) -> BlankImages:
        """These images alone."""
        fewer = copy(self)
        fewer.labels = self.labels[list(indices)]
        return fewer

    def batches(
        self,
        indices: Iterable[Sequence[int]],
        epoch: int | None = 0,
        view: int = 0,
        device: torch.device = CPU,
    ) -> Iterator[tuple[Sequence[int], Tensor]]:
        return ((batch, self._draw(len(batch))) for batch in indices)


class SampledImages(StagedImages):
    """Runs only the first and the last full batch of an extraction; the others cost what the last does, beside their results."""

    images: BlankImages

    def read(self, stage: Stage, epoch: int | None = None, view: int = 0, *, whole_tower: bool = False) -> Tensor:
        size = extraction_batch_size(self._backbone)
        full = len(self.labels) // size
        if full < 2:
            return super().read(stage, epoch, view, whole_tower=whole_tower)
        batch = copy(self)
        with _disable_current_modes():  # nothing reads the labels of this batch: they cost nothing
            batch.images = self.images.first(size)
        read = partial(super(SampledImages, batch).read, stage, epoch, view, whole_tower=whole_tower)
        part = read()
        with phase("extract", "inputs" if stage == "features" else "host"):
            earlier = part.new_empty(len(part) * (full - 1), *part.shape[1:])
            del part
            last = read()
            rest = last.new_empty(len(self.labels) - len(earlier) - len(last), *last.shape[1:])
            return last.new_empty(len(earlier) + len(last) + len(rest), *last.shape[1:])


def class_names(count: int) -> tuple[str, ...]:
    """ImageNet's first names, numbered anew after a thousand: names of ordinary length."""
    names = open_clip.IMAGENET_CLASSNAMES
    return tuple(names[i % len(names)] + (f" {i // len(names)}" if i >= len(names) else "") for i in range(count))


def simulate(key: RunKey, classes: Classes, images_at_once: int = FEWEST_AT_ONCE) -> Estimate:
    """The cost of a run's method, recipe, backbone, precision and execution with these classes, on no data and no weights.

    `images_at_once` is what the fast execution extracts at a time: a GPU of much memory takes more.

    Raises ConfigError for a method that can't be simulated.
    """
    with uncompiled(), _on_hollow(key) as hollow:
        simulation, backbone = hollow.simulation, hollow.backbone
        backbone.image.at_once = images_at_once
        size = backbone.pixels.size
        try:
            with simulation.fakes, counted_once(backbone, hollow.costs):
                return count(key, classes, backbone, lambda images: simulation.empty(images, 3, size, size), Control())
        except AdaptBenchError:
            raise
        except Exception as error:  # whatever somebody's method does
            raise ConfigError(
                f"'{key.method}' can't be simulated: {located(error)}.",
                "Mend the method if a run of it fails too; else run it instead.",
            ) from error


@dataclass(frozen=True)
class _Hollow:
    """A backbone without weights, on the tensors of a simulation, and what its blocks were found to cost."""

    simulation: Simulation
    backbone: Backbone
    costs: BlockCosts = field(default_factory=dict)

    def state(self) -> list[Any]:
        """What the backbone consists of, thing by thing: another list where a method has put something in, or taken it out."""
        modules = [vars(module) for module in self.backbone.modules()]
        inside = [value for own in modules for value in own.values() if isinstance(value, dict)]
        towers = [vars(tower) | _OF_EACH_RUN for tower in (self.backbone.text, self.backbone.image)]
        things = [id(value) for own in (*modules, *inside, *towers) for value in own.values()]
        return [*things, *((parameter.shape, parameter.dtype) for parameter in self.backbone.parameters())]


_OF_EACH_RUN = {"encoded": 0, "at_once": 0}
"""What towers count or are told, in each run anew."""
_LAST: dict[tuple[str, str, str], _Hollow] = {}
"""What was simulated last, by its backbone's name, execution and precision."""


@contextmanager
def _on_hollow(key: RunKey) -> Iterator[_Hollow]:
    """What a key's method is simulated on: what the method before was, if that has left the backbone as it was."""
    name = key.backbone, key.execution, key.precision
    hollow = _LAST.pop(name, None)
    _LAST.clear()
    if hollow is None:
        simulation = Simulation()
        hollow = _Hollow(simulation, simulation.backbone(name[0], execution=name[1], precision=name[2]))
    before = hollow.state()
    simulated = SIMULATED.set(True)
    try:
        yield hollow
    finally:
        SIMULATED.reset(simulated)
        for parameter in hollow.backbone.parameters():
            parameter.grad = None
            parameter.requires_grad_(False)
        if hollow.state() == before:
            _LAST[name] = hollow


def simulate_classes(key: RunKey, number: int) -> Estimate:
    """The same with so many classes whose names have ordinary lengths, in the prompt "a photo of a {}."."""
    return simulate(key, Classes(class_names(number), {"clip": "a photo of a {}."}))


def count(
    key: RunKey, classes: Classes, backbone: Backbone, draw: Draw, control: AbstractContextManager[object]
) -> Estimate:
    """The estimate of a run on a backbone whose tensors may be real or fake; `control` is entered above what counts."""
    recipe, number = key.recipe, len(classes.names)
    images = partial(BlankImages, classes=number, draw=draw)
    ledger = Ledger(model_tensors(backbone), host_apart=True)
    flops = FlopCount(lambda: ledger.phase)
    step_edges: list[int] = []
    note = None
    with (
        ledger,
        flops,
        _steps_as_on_cuda(flops, step_edges),
        control,
    ):
        model = build_model(key, backbone, classes)
        ledger.watch(model.parameters())
        ledger.move(model.buffers(), "buffers")
        try:
            train(
                model,
                images(key.shots, augmentation=recipe.augmentation),
                images(min(key.shots, 4), augmentation="none"),
                recipe,
                seed=key.seed,
                execution=key.execution,
                precision=key.precision,
                maximum_steps=STEPS,
                source_of=SampledImages,
            )
        except RuntimeError as error:
            if not _reads_values(error):
                raise
            frame = traceback.extract_tb(error.__traceback__)[-1]
            note = f"training is simulated up to where it reads values ({Path(frame.filename).name}, in {frame.name})"
        with phase("evaluate"):
            model.set_classes(classes)
            test = images(-(-recipe.test_batch_size // number), augmentation="none")
            evaluate(model, test, batch_size=recipe.test_batch_size, precision=key.precision, maximum_batches=1)
        return Estimate(
            peaks=ledger.peaks,
            host_bytes=ledger.host_peak_bytes,
            step_flops=step_edges[1] - step_edges[0] if len(step_edges) == STEPS else None,
            test_batch_flops=flops.by_phase["evaluate"],
            trainable_parameters=sum(p.numel() for p in model.parameters() if p.requires_grad),
            note=note,
        )


def _reads_values(error: RuntimeError) -> bool:
    """Whether a tensor without contents was asked for them: by NumPy, or by an operator whose result's shape depends on them."""
    asked = isinstance(error, DataDependentOutputException | DynamicOutputShapeException)
    return asked or "not supported for tensor subclasses" in str(error)


@contextmanager
def _steps_as_on_cuda(flops: FlopCount, edges: list[int]) -> Iterator[None]:
    """Optimisers that aren't fused take all tensors at once, as is CUDA's default; `edges` gets the FLOPs until each step."""

    def before(optimizer: torch.optim.Optimizer, args: Any, kwargs: Any) -> None:
        for group in optimizer.param_groups:
            group["foreach"] = not group.get("fused")
        edges.append(flops.by_phase["train"])

    hook = register_optimizer_step_pre_hook(before)
    try:
        yield
    finally:
        hook.remove()
