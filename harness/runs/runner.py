"""One planned run to one RunRecord: the only place that opens windows on the meters, and that says what each phase includes.

setup: the backbone's weights, the dataset's lists, the method's model. train: everything from the first image decoded to the last
weight trained, with text features, feature extraction and searches. test: all test splits, decoding included. The exact
tensor peak on a CPU comes from a short repetition of train and test after them, outside every window.
"""

from __future__ import annotations

import gc
import random
import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any

import numpy as np
import torch

from harness.clip import backbone as backbones
from harness.clip.backbone import Backbone
from harness.data.few_shot import classnames, few_shot, held_out, subset
from harness.data.image_set import ImageSet
from harness.errors import AdaptBenchError, ConfigError, TrainingError, located
from harness.meters.environment import describe
from harness.meters.memory_tracker import Ledger, model_tensors
from harness.meters.window import Gpu, Window, peak_rss_bytes, reset_peak_rss
from harness.method import AdaptedModel, Classes
from harness.plan import build_method
from harness.probes import analysis, profile
from harness.records import AnalysisRecord, Phase, ProfileRecord, RunRecord, Status, TestRecord, WindowRecord
from harness.runs import predictions
from harness.runs.events import EpochEnded, Event, PhaseStarted, TestEnded
from harness.runs.job import Job
from harness.suite import Splits, Test
from harness.training.evaluate import Predictions, evaluate
from harness.training.feature_cache import FeatureCache
from harness.training.log import TrainingLog
from harness.training.loop import train
from harness.training.prepared import Steps, first_batch

PROBE_STEPS = 2
"""Steps of the memory pass: in the second, gradients and optimiser state exist."""

Emit = Callable[[Event], None]


@dataclass
class _Findings:
    """What is known so far; a run that fails keeps what it had."""

    windows: dict[Phase, WindowRecord] = field(default_factory=dict)
    missing: dict[str, str] = field(default_factory=dict)
    accuracy: dict[str, TestRecord] = field(default_factory=dict)
    validation: TestRecord | None = None
    analysis: AnalysisRecord | None = None
    profile: ProfileRecord | None = None
    log: TrainingLog | None = None
    facts: dict[str, Any] = field(default_factory=dict)
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))


def execute(job: Job, emit: Emit = lambda event: None) -> RunRecord:
    """Do a run and return its record, whatever happens: errors become the record's status and reason."""
    started = time.perf_counter()
    started_at = datetime.now(UTC).isoformat(timespec="seconds")
    findings = _Findings()
    torch.set_num_threads(job.threads)
    status: Status = "ok"
    reason = None
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", UserWarning)
        try:
            findings.device = _device(job.device)
            if findings.device.index is not None:
                torch.cuda.set_device(findings.device)  # whose streams events and synchronisation mean
            _Run(job, findings, emit).do()
        except Exception as error:
            status, reason = _classify(error)
    log = findings.log
    return RunRecord(
        key=job.run.key,
        recipe_row=job.run.recipe_row,
        status=status,
        reason=reason,
        started_at=started_at,
        total_seconds=time.perf_counter() - started,
        windows=findings.windows,
        accuracy=findings.accuracy,
        validation=findings.validation,
        analysis=findings.analysis,
        profile=findings.profile,
        epoch_losses=tuple(log.epoch_losses) if log else (),
        step_seconds=tuple(round(s, 7) for s in log.step_seconds) if log else (),
        load_seconds=log.load_seconds if log else None,
        extract_seconds=log.extract_seconds if log else None,
        train_images_seen=log.images_seen if log else None,
        environment=describe(str(findings.device), job.threads, Gpu(findings.device).driver()),
        warnings=tuple(dict.fromkeys(str(w.message) for w in caught if issubclass(w.category, UserWarning))),
        missing=findings.missing,
        command=job.command,
        **findings.facts,
    )


def check(job: Job) -> tuple[str, str] | None:
    """What keeps any run of the job's kind from starting, as (what, advice): its device or its backbone; None if nothing does."""
    key = job.run.key
    where, weights = ("meta", "random") if key.simulated else (job.device, job.pretrained)
    try:
        device = _device(where)
        backbones.load(key.backbone, weights, execution=key.execution, precision=key.precision, device=str(device))
    except AdaptBenchError as error:
        return error.what, error.advice
    return None


def _device(name: str) -> torch.device:
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


class _Run:
    """The phases of one run, in order."""

    def __init__(self, job: Job, findings: _Findings, emit: Emit) -> None:
        self.job, self.key, self.device, self.findings, self.emit = job, job.run.key, findings.device, findings, emit
        gpu = Gpu(self.device)
        reset_peak_rss()
        baseline = peak_rss_bytes()
        self._window = lambda: Window(self.device, gpu, baseline)

    def do(self) -> None:
        if self.key.simulated:
            self._simulate()
            return
        self.findings.missing["setup.peak_tensor_bytes"] = "tensors are counted in training and testing only"
        with self._phase("setup"):
            self._seed()
            backbone = self._backbone()
            self._read_data(backbone)
            model = self._model(backbone)
        with self._phase("train"):
            self.findings.log = TrainingLog()
            before = backbone.text.encoded
            self._train(model, self.findings.log, self.key.steps, self._progress)
        self.findings.facts["train_texts_encoded"] = backbone.text.encoded - before
        self._note_parameters(model)
        with self._phase("test"):
            answers = self._test(model, self.key.steps)
        self._note_accuracy(model, answers)
        trained = {name: p.detach().cpu() for name, p in model.named_parameters() if p.requires_grad}
        after = self._snapshot(model) if self.job.run.analyse else None
        del model, backbone
        gc.collect()
        self._repeat(trained)
        if after is not None:
            self._analyse(after)
        if self.job.run.profile or self.job.trace:
            self._profile()

    def _phase(self, name: Phase) -> _Phase:
        self.emit(PhaseStarted(name))
        return _Phase(name, self._window(), self.findings)

    def _seed(self) -> None:
        random.seed(self.key.seed)
        np.random.seed(self.key.seed)
        torch.manual_seed(self.key.seed)

    def _backbone(self) -> Backbone:
        key = self.key
        backbone = backbones.load(
            key.backbone, self.job.pretrained, execution=key.execution, precision=key.precision, device=str(self.device)
        )
        self.findings.facts["weights_sha256"] = backbone.weights_sha256
        return backbone

    def _read_data(self, backbone: Backbone) -> None:
        key = self.key
        dataset = self.job.run.dataset(key.dataset)
        splits = dataset.read(self.job.folders)
        drawn = few_shot(splits, key.shots, key.seed)
        if splits.val == splits.test:
            drawn = replace(drawn, val=held_out(splits, drawn, key.shots, key.seed))
        drawn = subset(drawn, key.classes)
        self._train_classes = Classes(classnames(drawn), dataset.templates)
        self._drawn = drawn
        self._pixels = backbone.pixels
        self._tests = [self._read_test(test, splits) for test in key.tests]
        self.findings.facts |= {
            "train_image_count": len(drawn.train),
            "train_class_count": len(self._train_classes.names),
            "split_rule": splits.rule,
        }

    def _read_test(self, key: str, own: Splits) -> tuple[str, Classes, Splits]:
        """A test split: its key, its classes, and the images of the dataset it names."""
        test = Test.from_key(key)
        dataset = self.job.run.dataset(test.dataset)
        splits = own if test.dataset == self.key.dataset else dataset.read(self.job.folders)
        part = subset(splits, test.classes)
        return key, Classes(classnames(part), dataset.templates), part

    def _images(self, splits: Splits, part: str, **how: Any) -> ImageSet:
        keep = self.key.execution == "fast" and part != "test"
        return ImageSet(getattr(splits, part), splits.open, self._pixels, seed=self.key.seed, keep_decoded=keep, **how)

    def _train_images(self, drawn: Splits) -> ImageSet:
        recipe = self.key.recipe
        return self._images(
            drawn, "train", augmentation=recipe.augmentation, crop_scale_minimum=recipe.crop_scale_minimum
        )

    def _model(self, backbone: Backbone) -> AdaptedModel:
        self._seed()  # so that a method's own weights depend on the seed alone
        model: AdaptedModel = build_method(self.key.method, self.key.settings).adapt(backbone).to(self.device)
        model.set_classes(self._train_classes)
        return model

    def _train(self, model: AdaptedModel, log: TrainingLog, steps: int | None, progress: Any = None) -> None:
        train(
            model,
            self._train_images(self._drawn),
            self._images(self._drawn, "val"),
            self.key.recipe,
            seed=self.key.seed,
            execution=self.key.execution,
            precision=self.key.precision,
            log=log,
            maximum_steps=steps,
            progress=progress or (lambda done, epochs, log: None),
        )

    def _progress(self, done: int, epochs: int, log: TrainingLog) -> None:
        self.emit(EpochEnded(done, epochs, log.epoch_losses[-1], log.images_seen))

    def _test(self, model: AdaptedModel, maximum_batches: int | None) -> dict[str, Predictions]:
        """Predictions by test, the model aimed at each test's classes in turn."""
        answers = {}
        for name, classes, splits in self._tests:
            model.set_classes(classes)
            features = None if maximum_batches else self._shared_features(model, Test.from_key(name).dataset, splits)
            answers[name] = self._predict(model, splits, "test", maximum_batches, features)
        return answers

    def _predict(
        self,
        model: AdaptedModel,
        splits: Splits,
        part: str,
        maximum_batches: int | None = None,
        features: torch.Tensor | None = None,
    ) -> Predictions:
        return evaluate(
            model,
            self._images(splits, part),
            batch_size=self.key.recipe.test_batch_size,
            precision=self.key.precision,
            maximum_batches=maximum_batches,
            features=features,
        )

    def _shared_features(self, model: AdaptedModel, dataset: str, splits: Splits) -> torch.Tensor | None:
        """The test images' features from the cache that all fast runs share; None where the method reads something else."""
        folder = self.job.features
        if model.reads[0].stage != "features" or self.key.execution != "fast" or not folder or splits.stamp is None:
            return None
        cache = FeatureCache(folder, dataset, splits.stamp, model.backbone, self.key.precision)
        found = cache.read(self._images(splits, "test"))
        facts = self.findings.facts
        facts["reused_test_features"] = facts.get("reused_test_features", 0) + found.reused
        facts["reused_test_seconds"] = facts.get("reused_test_seconds", 0.0) + found.reused_seconds
        return found.values

    def _note_accuracy(self, model: AdaptedModel, answers: dict[str, Predictions]) -> None:
        """The accuracies of the tests and of the validation draw; none of a run that is cut short, which says nothing."""
        self.findings.facts["test_images_seen"] = sum(len(found.labels) for found in answers.values())
        if self.key.steps is not None:
            why = f"training was cut after {self.key.steps} steps, and each test after as many batches"
            self.findings.missing |= {"accuracy": why, "validation": why}
            return
        for name, classes, _ in self._tests:
            record = self.findings.accuracy[name] = answers[name].score(classes.names)
            self.emit(TestEnded(name, record.accuracy_percent))
        if self.job.predictions:
            predictions.write(self.job.predictions, {n: (s.test, answers[n]) for n, _, s in self._tests})
        if self._drawn.val:
            model.set_classes(self._train_classes)
            found = self._predict(model, self._drawn, "val")
            self.findings.validation = found.score(self._train_classes.names)
        else:
            self.findings.missing["validation"] = "the dataset has no validation images"

    def _snapshot(self, model: AdaptedModel) -> analysis.Snapshot:
        sampled = replace(self._drawn, train=analysis.sample(self._drawn.train, self.key.seed))
        return analysis.snapshot(model, self._train_classes, self._images(sampled, "train"), self.key.precision)

    def _analyse(self, after: analysis.Snapshot) -> None:
        """Compare the trained model with the one at step 0, and follow the gradient of one step."""
        self.emit(PhaseStarted("analysis"))
        self._seed()
        model = self._model(self._backbone())
        before = self._snapshot(model)
        with analysis.gradient_flow(model) as flow:
            self._train(model, TrainingLog(), 1)
        self.findings.analysis, reasons = analysis.compare(model, before, after, flow)
        self.findings.missing |= {f"analysis.{name}": why for name, why in reasons.items()}

    def _simulate(self) -> None:
        """The run on tensors without contents, in its own execution: no weights, no images, no time measured."""
        self.emit(PhaseStarted("simulation"))
        splits = subset(self.job.run.dataset(self.key.dataset).read(self.job.folders), self.key.classes)
        classes = Classes(classnames(splits), self.job.run.dataset(self.key.dataset).templates)
        found = profile.simulated(self.key, classes)
        self.findings.profile = ProfileRecord(simulated={self.key.execution: found})
        self.findings.facts["train_class_count"] = len(classes.names)
        self.findings.missing |= dict.fromkeys(("windows", "accuracy", "validation"), "simulated")

    def _profile(self) -> None:
        """Look into a training step. What goes wrong here takes nothing from what the run has found."""
        if not self.key.recipe.trains:
            self.findings.missing["profile"] = "the method trains in no steps"
            return
        self.emit(PhaseStarted("profile"))
        try:
            self._seed()
            model = self._model(self._backbone())
            items = self._drawn.train
            places = first_batch(model, [item.label for item in items], self.key)
            first = replace(self._drawn, train=tuple(items[i] for i in places))
            steps = Steps(model, self._train_images(first), self.key)
            if self.job.run.profile:
                self.findings.profile = profile.profile(model, steps, self.key, self._train_classes)
            if self.job.trace:
                profile.trace(steps, self.job.trace, self.device)
        except Exception as error:
            self.findings.missing["profile"] = _classify(error)[1]

    def _note_parameters(self, model: AdaptedModel) -> None:
        sizes = {id(p): (p.numel(), p.requires_grad) for p in model.parameters()}
        self.findings.facts |= {
            "trainable_parameters": sum(count for count, trained in sizes.values() if trained),
            "total_parameters": sum(count for count, _ in sizes.values()),
        }

    def _repeat(self, trained: dict[str, torch.Tensor]) -> None:
        """Build the run's model once more, for what no timed window should hold: how many weights training changed, and on a CPU
        the exact peak of live tensor bytes, from the first steps of train and test under the ledger.
        """
        self.emit(PhaseStarted("memory"))
        self._seed()
        backbone = self._backbone()
        with Ledger(model_tensors(backbone)) as ledger:
            model = self._model(backbone)
            initial = dict(model.named_parameters())
            changed = sum(  # a weight that training made itself, such as a cache key, is a changed one
                int((after != initial[name].detach().cpu()).sum()) if name in initial else after.numel()
                for name, after in trained.items()
            )
            if trained:
                self.findings.facts["changed_weights_percent"] = (
                    100 * changed / sum(t.numel() for t in trained.values())
                )
            trained.clear()
            if self.device.type == "cuda":
                why = "the CUDA allocator's own peak is measured instead"
                self.findings.missing |= {f"{phase}.peak_tensor_bytes": why for phase in ("train", "test")}
                return
            initial.clear()
            self._note_tensor_peak("train", ledger, lambda: self._train(model, TrainingLog(), PROBE_STEPS))
            self._note_tensor_peak("test", ledger, lambda: self._test(model, maximum_batches=1))

    def _note_tensor_peak(self, phase: Phase, ledger: Ledger, work: Callable[[], object]) -> None:
        gc.collect()
        ledger.reset_peak()
        work()
        window = self.findings.windows[phase]
        self.findings.windows[phase] = replace(window, peak_tensor_bytes=ledger.peak_bytes)


class _Phase:
    """A window whose record lands in the findings when it closes, also when the phase fails."""

    def __init__(self, name: Phase, window: Window, findings: _Findings) -> None:
        self._name, self._window, self._findings = name, window, findings

    def __enter__(self) -> None:
        self._window.__enter__()

    def __exit__(self, *exc: Any) -> None:
        self._window.__exit__(*exc)
        record = self._window.record()
        if record is not None:
            self._findings.windows[self._name] = record
        self._findings.missing |= {f"{self._name}.{name}": why for name, why in self._window.missing.items()}


def _classify(error: Exception) -> tuple[Status, str]:
    """The status and reason of a failed run. What a user can put right reads as advice, the rest names where it happened."""
    if isinstance(error, torch.OutOfMemoryError | MemoryError) or "can't allocate memory" in str(error):
        return (
            "out_of_memory",
            f"out of memory: {str(error).splitlines()[0][:300] if str(error) else type(error).__name__}",
        )
    if isinstance(error, TrainingError):
        return "diverged", str(error)
    if isinstance(error, AdaptBenchError):
        return "failed", str(error)
    return "failed", located(error)
