"""What looks into a run once its windows are closed, each a pass of its own: exact memory, analysis, profile, the saved model.

A pass keeps what it needs of the trained model before that goes, and then builds the run's model anew.
"""

from __future__ import annotations

import gc
import warnings
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import replace
from typing import Protocol

import torch

from harness.errors import MethodError
from harness.meters.memory_tracker import Ledger, model_tensors
from harness.method import AdaptedModel, Classes
from harness.probes import analysis, profile
from harness.records import Phase
from harness.runs import events
from harness.runs.findings import Findings, status_of
from harness.runs.job import Job
from harness.runs.phases import Prepared, load_backbone, predict_tests, train_model
from harness.runs.run_data import RunData
from harness.saved import saved_file
from harness.saved.model import rebuilt
from harness.saved.saved_file import Header
from harness.saved.state import NotedTemplates, state_of
from harness.training.evaluate import over_batches
from harness.training.log import TrainingLog
from harness.training.prepared import Steps, build_model, first_batch

_SAMPLE = 8
"""How many images at least, if there are as many, have to be answered alike by a saved model."""
PROBE_STEPS = 2
"""Steps of the memory pass: in the second, gradients and optimiser state exist."""


class Pass(Protocol):
    """One look into a run, outside every window."""

    phase: events.Phase

    def keep(self, trained: Prepared) -> None:
        """Note what is needed of the trained run, without holding its model."""

    def look(self, job: Job, data: RunData, findings: Findings) -> None:
        """Find out; `findings` get the result, or the reason for its lack."""


def passes(job: Job, findings: Findings) -> list[Pass]:
    """The passes of a run, in order."""
    chosen: list[Pass] = [MemoryPass()]
    if job.run.analyse:
        chosen.append(AnalysisPass())
    if (job.run.profile or job.trace) and not job.run.key.recipe.trains:
        findings.missing["profile"] = "the method trains in no steps"
    elif job.run.profile or job.trace:
        chosen.append(ProfilePass())
    if job.saved:
        chosen.append(SavePass())
    return chosen


class MemoryPass:
    """How many weights training changed; and on a CPU the exact peak of live tensor bytes, in the first steps of train and test.

    Peaks are taken from a run with another seed where there is one, and chance decides no shape.
    """

    phase: events.Phase = "memory"

    def keep(self, trained: Prepared) -> None:
        self._shapes_are_random = trained.model.random_shapes
        self._trained = {
            name: weight.detach().cpu() for name, weight in trained.model.named_parameters() if weight.requires_grad
        }

    def look(self, job: Job, data: RunData, findings: Findings) -> None:
        if self._shapes_are_random:
            job = replace(job, known_peaks=None)
        counts = findings.device.type == "cpu" and job.known_peaks is None
        backbone = load_backbone(job, findings.device)
        with Ledger(model_tensors(backbone)) if counts else nullcontext() as ledger:
            again = Prepared(data, build_model(data.key, backbone, data.classes))
            findings.facts.changed_weights_percent = self._changed_percent(again.model)
            self._trained.clear()
            if ledger is not None:
                _count_peak("train", ledger, findings, lambda: train_model(again, TrainingLog(), PROBE_STEPS))
                _count_peak("test", ledger, findings, lambda: predict_tests(again, maximum_batches=1))
        if findings.device.type == "cuda":
            why = "the CUDA allocator's own peak is measured instead"
            findings.missing |= {f"{phase}.peak_tensor_bytes": why for phase in ("train", "test")}
        elif job.known_peaks is not None:
            findings.facts.peaks_of_seed = job.known_peaks.seed
            for phase, peak_bytes in job.known_peaks.peak_bytes.items():
                _note_peak(phase, peak_bytes, findings)

    def _changed_percent(self, untrained: AdaptedModel) -> float | None:
        """Of the weights that were trained. One that training made itself, such as a cache key, is a changed one."""
        initial = dict(untrained.named_parameters())
        changed = sum(
            int((after != initial[name].detach().cpu()).sum()) if name in initial else after.numel()
            for name, after in self._trained.items()
        )
        trained = sum(after.numel() for after in self._trained.values())
        return 100 * changed / trained if trained else None


def _count_peak(phase: Phase, ledger: Ledger, findings: Findings, work: Callable[[], object]) -> None:
    gc.collect()
    ledger.reset_peak()
    work()
    _note_peak(phase, ledger.peak_bytes, findings)


def _note_peak(phase: Phase, peak_bytes: int, findings: Findings) -> None:
    findings.windows[phase] = replace(findings.windows[phase], peak_tensor_bytes=peak_bytes)


class AnalysisPass:
    """Compare the trained model with the one at step 0, and follow the gradient of one step."""

    phase: events.Phase = "analysis"

    def keep(self, trained: Prepared) -> None:
        self._after = _snapshot(trained)

    def look(self, job: Job, data: RunData, findings: Findings) -> None:
        again = Prepared(data, build_model(data.key, load_backbone(job, findings.device), data.classes))
        before = _snapshot(again)
        with analysis.gradient_flow(again.model) as flow:
            train_model(again, TrainingLog(), 1)
        findings.facts.analysis, reasons = analysis.compare(again.model, before, self._after, flow)
        findings.missing |= {f"analysis.{name}": why for name, why in reasons.items()}


def _snapshot(prepared: Prepared) -> analysis.Snapshot:
    data = prepared.data
    images = data.plain_images(analysis.sample(data.drawn.train, data.key.seed))
    return analysis.snapshot(prepared.model, data.classes, images, data.key.precision)


class ProfilePass:
    """Look into a training step. What goes wrong here takes nothing from what the run has found."""

    phase: events.Phase = "profile"

    def keep(self, trained: Prepared) -> None:
        """The weights do not matter."""

    def look(self, job: Job, data: RunData, findings: Findings) -> None:
        try:
            model = build_model(data.key, load_backbone(job, findings.device), data.classes)
            places = first_batch(model, [item.label for item in data.drawn.train], data.key)
            steps = Steps(model, data.train_images(places), data.key)
            if job.run.profile:
                findings.facts.profile, reasons = profile.profile(model, steps, data.key, data.classes)
                findings.missing |= {f"profile.{name}": why for name, why in reasons.items()}
            if job.trace:
                profile.trace(steps, job.trace, findings.device)
        except Exception as error:
            findings.missing["profile"] = status_of(error)[1]


class SavePass:
    """Write what training changed, once a model that was built anew from it gives the answers of the trained one."""

    phase: events.Phase = "saving"

    def __init__(self) -> None:
        self._problem: Exception | None = None

    def keep(self, trained: Prepared) -> None:
        trained.model.set_classes(trained.data.classes)
        try:
            self._tensors, self._values = state_of(trained.model)
            self._answers = _answers(trained, set())
        except Exception as error:
            self._problem = error

    def look(self, job: Job, data: RunData, findings: Findings) -> None:
        """What goes wrong takes nothing from what the run has found."""
        try:
            findings.facts.saved_bytes = self._save(job, data, findings)
        except OSError as error:
            # No reason of the method's: the record has none, so that the same command does this run again.
            self._warn(data, f"{error.strerror or status_of(error)[1]}. The same command does this run again.")
        except Exception as error:
            why = status_of(error)[1]
            findings.missing["saved_bytes"] = why
            self._warn(data, why)

    def _warn(self, data: RunData, why: str) -> None:
        warnings.warn(f"{data.key.method} could not be saved: {why}", UserWarning, stacklevel=3)

    def _save(self, job: Job, data: RunData, findings: Findings) -> int:
        if self._problem:
            raise self._problem
        assert job.saved is not None
        header = Header(
            key=data.key,
            classes=data.classes.names,
            templates=data.classes.templates,
            weights_sha256=findings.facts.weights_sha256,
            kept=self._values,
        )
        read = {"clip"}
        model = rebuilt(header, _noted(data.classes, read), self._tensors, load_backbone(job, findings.device))
        self._check(Prepared(data, model), read)
        templates = {name: text for name, text in data.classes.templates.items() if name in read}
        saved_file.write(job.saved, replace(header, templates=templates), self._tensors)
        return job.saved.stat().st_size

    def _check(self, again: Prepared, read: set[str]) -> None:
        """The same answers: to the bit on a CPU; a GPU may choose another algorithm for the same sums."""
        for ours, theirs in zip(_answers(again, read), self._answers, strict=True):
            if not torch.equal(ours, theirs) and (
                ours.device.type == "cpu" or not torch.allclose(ours, theirs, rtol=1e-3)
            ):
                raise MethodError(
                    f"a new {type(again.model).__name__} with the trained weights doesn't answer as the trained one does.",
                    "Name what else its answers rest on in its class, as keeps = ('attribute', ...).",
                )


@torch.no_grad()
def _answers(prepared: Prepared, read: set[str]) -> list[torch.Tensor]:
    """The logits of some training images for the classes of training and then of each test; `read` learns by which templates."""
    data, model = prepared.data, prepared.model
    items = data.drawn.train[:: max(1, len(data.drawn.train) // _SAMPLE)]
    images = data.plain_images(items)
    found = []
    for classes in (data.classes, *(split.classes for split in data.tests)):
        model.set_classes(_noted(classes, read))
        found += over_batches(
            model, images, lambda scores: scores.cpu(), batch_size=_SAMPLE, precision=data.key.precision
        )
    return found


def _noted(classes: Classes, read: set[str]) -> Classes:
    return Classes(classes.names, NotedTemplates(classes.templates, read))
