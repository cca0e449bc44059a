"""One planned run to one RunRecord: the only place that opens windows on the meters, and that says what each phase includes.

setup: the backbone's weights, the dataset's lists, the method's model. train: everything from the first image decoded to the last
weight trained, with text features, feature extraction and searches. test: all test splits, decoding included. What else is
looked at comes after them, outside every window (`harness.runs.passes`).
"""

from __future__ import annotations

import gc
import importlib
import signal
import time
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from functools import partial

import torch

from harness import weights
from harness.clip import backbone as backbones
from harness.data.few_shot import classnames, subset
from harness.errors import AdaptBenchError, traceback_text
from harness.meters.environment import best_threads
from harness.meters.gpu import Gpu, calls_of, gpus
from harness.meters.window import Window, peak_rss_bytes, reset_peak_rss
from harness.method import Classes
from harness.probes import profile
from harness.records import Phase, ProfileRecord, RunRecord, Status
from harness.runs import predictions
from harness.runs.events import EpochEnded, Event, PhaseStarted, TestEnded
from harness.runs.findings import Facts, Findings, status_of
from harness.runs.job import Job, Place, may_optimize
from harness.runs.passes import passes
from harness.runs.phases import (
    Prepared,
    device_of,
    follows_classes,
    predict_tests,
    predict_validation,
    setup,
    train_model,
)
from harness.runs.run_data import TestSplit
from harness.runs.torch_state import unchanged_by
from harness.training.contract import check_frozen, frozen_digests
from harness.training.evaluate import Predictions
from harness.training.feature_cache import FeatureCache
from harness.training.log import TrainingLog

Emit = Callable[[Event], None]
_DOING: Mapping[Phase, str] = {"setup": "set-up", "train": "training", "test": "testing"}


def execute(job: Job, emit: Emit = lambda event: None) -> RunRecord:
    """Do a run and return its record, whatever happens: errors become the record's status and reason."""
    started = time.perf_counter()
    started_at = datetime.now(UTC).isoformat(timespec="seconds")
    findings = Findings()
    torch.set_num_threads(job.threads)
    weights.remember(job.run.key.backbone, job.pretrained)
    status: Status = "ok"
    reason = trace = None
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", UserWarning)
        try:
            findings.device = device_of(job.device)
            calls_of(findings.device).make_current()
            (_simulate if job.run.key.simulated else _run)(job, findings, emit)
        except BaseException as error:
            if isinstance(error, KeyboardInterrupt) and signal.getsignal(signal.SIGINT) is not signal.SIG_IGN:
                raise  # the user's; where Ctrl-C is the suite's to hear, it is the method's own
            status, reason = status_of(error)
            trace = None if isinstance(error, AdaptBenchError) else traceback_text(error)
    return findings.record(
        job,
        status=status,
        reason=reason,
        traceback=trace,
        started_at=started_at,
        total_seconds=time.perf_counter() - started,
        warnings=tuple(dict.fromkeys(str(w.message) for w in caught if issubclass(w.category, UserWarning))),
    )


def check(job: Job) -> Place:
    """Where runs of the job's kind compute.

    Raises AdaptBenchError where none could start, for its device, its backbone, or a prompt that the backbone would have to cut.
    """
    key = job.run.key
    weights.remember(key.backbone, job.pretrained)
    where, source = ("meta", "random") if key.simulated else (job.device, job.pretrained)
    device = device_of(where)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the run says it again
        backbone = backbones.load(
            key.backbone, source, execution=key.execution, precision=key.precision, device=str(device)
        )
    if job.prompts:
        backbone.text.tokenize(job.prompts)
    return Place(gpus(device), best_threads(backbone.largest_layer), backbone.known_weights)


def _run(job: Job, findings: Findings, emit: Emit) -> None:
    if may_optimize(job.run):
        importlib.import_module("torch._dynamo")  # else the first optimiser would, in the time of training
    reset_peak_rss()
    baseline_bytes = peak_rss_bytes()
    gpu = Gpu(findings.device)

    @contextmanager
    def phase(name: Phase) -> Iterator[None]:
        """A window whose record lands in the findings when it closes, also when the phase fails."""
        emit(PhaseStarted(name))
        window = Window(findings.device, gpu, baseline_bytes)
        try:
            with unchanged_by(job.run.key.method), window:
                yield
        finally:
            record = window.record()
            if record is not None:
                findings.windows[name] = record
                if record.stopped_seconds:
                    warnings.warn(
                        f"the process was stopped for {record.stopped_seconds:.0f} s in {_DOING[name]}: its times there say "
                        "nothing, and reports leave them out. Do the run again by --again.",
                        stacklevel=2,
                    )
            findings.missing |= {f"{name}.{field}": why for field, why in window.missing.items()}

    facts, steps = findings.facts, job.run.key.steps
    findings.missing["setup.peak_tensor_bytes"] = "tensors are counted in training and testing only"
    with phase("setup"):
        prepared = setup(job, findings.device, facts)
    model = prepared.model
    frozen = frozen_digests(model)
    with phase("train"):
        log = findings.log = TrainingLog()
        before = model.backbone.text.encoded
        train_model(
            prepared,
            log,
            steps,
            lambda done, epochs, log: emit(EpochEnded(done, epochs, log.epoch_losses[-1], log.images_seen)),
        )
    check_frozen(job.run.key.method, frozen, frozen_digests(model))
    facts.train_texts_encoded = model.backbone.text.encoded - before
    parameters = {id(each): each for each in model.parameters()}.values()
    facts.trainable_parameters = sum(each.numel() for each in parameters if each.requires_grad)
    facts.total_parameters = sum(each.numel() for each in parameters)
    with phase("test"):
        answers = predict_tests(prepared, steps, partial(_shared_features, job, prepared, facts))
    prepared.data.warn_of_unread_template()
    _note_accuracy(job, prepared, answers, findings, emit)
    if steps is None:
        follows_classes(prepared)
    data, chosen = prepared.data, passes(job, findings)
    for each in chosen:
        each.keep(prepared)
    del prepared, model, parameters
    gc.collect()
    for each in chosen:
        emit(PhaseStarted(each.phase))
        each.look(job, data, findings)


def _shared_features(job: Job, prepared: Prepared, facts: Facts, split: TestSplit) -> torch.Tensor | None:
    """The test images' features from the cache that all fast runs share; None where the method reads something else, and of a
    run that is cut short.
    """
    model, key, stamp = prepared.model, job.run.key, split.splits.stamp
    whole = key.execution == "fast" and key.steps is None
    if model.reads[0].stage != "features" or not whole or job.features is None or stamp is None:
        return None
    cache = FeatureCache(job.features, split.test.dataset, stamp, model.backbone, key.precision)
    features = cache.read(prepared.data.test_images(split))
    facts.reused_test_features = (facts.reused_test_features or 0) + features.reused
    facts.reused_test_seconds = (facts.reused_test_seconds or 0.0) + features.reused_seconds
    return features.values


def _note_accuracy(
    job: Job, prepared: Prepared, answers: Mapping[str, Predictions], findings: Findings, emit: Emit
) -> None:
    """The accuracies of the tests and of the validation draw; none of a run that is cut short, which says nothing."""
    data, steps = prepared.data, job.run.key.steps
    findings.facts.test_images_seen = sum(len(each.labels) for each in answers.values())
    if steps is not None:
        why = f"training was cut after {steps} steps, and each test after as many batches"
        findings.missing |= {"accuracy": why, "validation": why}
        return
    for split in data.tests:
        test = split.test.key
        record = findings.accuracy[test] = answers[test].score(split.classes.names)
        emit(TestEnded(test, record.accuracy_percent))
    if job.predictions:
        tests = {split.test.key: (split.splits.test, answers[split.test.key]) for split in data.tests}
        try:
            predictions.write(job.predictions, tests)
        except OSError as error:
            warnings.warn(
                f"predictions can't be kept: {error.strerror or error}. The same command does this run again.",
                UserWarning,
                stacklevel=2,
            )
    if data.drawn.val:
        findings.facts.validation = predict_validation(prepared).score(data.classes.names)
    else:
        findings.missing["validation"] = "the dataset has no validation images"


def _simulate(job: Job, findings: Findings, emit: Emit) -> None:
    """The run on tensors without contents, in its own execution: no weights, no images, no time measured."""
    emit(PhaseStarted("simulation"))
    key = job.run.key
    dataset = job.run.dataset(key.dataset)
    classes = Classes(classnames(subset(dataset.read(job.folders), key.classes)), dataset.templates)
    findings.facts.profile = ProfileRecord(simulated={key.execution: profile.simulated(key, classes)})
    findings.facts.train_class_count = len(classes.names)
    findings.missing |= dict.fromkeys(("windows", "accuracy", "validation"), "simulated")
