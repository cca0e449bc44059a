"""What is known of a run so far, and the record that it makes: a run that fails keeps what it had."""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from typing import Any

import torch

from harness.errors import AdaptBenchError, TrainingError, is_users, located
from harness.meters.environment import describe
from harness.meters.gpu import Gpu
from harness.records import AnalysisRecord, Phase, ProfileRecord, RunRecord, Status, TestRecord, WindowRecord
from harness.runs.job import Job
from harness.training.log import TrainingLog


@dataclass
class Facts:
    """What phases note one by one, under the names of the record's fields."""

    weights_sha256: str | None = None
    split_rule: str | None = None
    train_image_count: int | None = None
    train_class_count: int | None = None
    train_texts_encoded: int | None = None
    trainable_parameters: int | None = None
    total_parameters: int | None = None
    changed_weights_percent: float | None = None
    peaks_of_seed: int | None = None
    test_images_seen: int | None = None
    reused_test_features: int | None = None
    reused_test_seconds: float | None = None
    validation: TestRecord | None = None
    analysis: AnalysisRecord | None = None
    profile: ProfileRecord | None = None
    saved_bytes: int | None = None


@dataclass
class Findings:
    """What is known of a run, filled in by one phase after the other."""

    device: torch.device = field(default_factory=lambda: torch.device("cpu"))
    facts: Facts = field(default_factory=Facts)
    windows: dict[Phase, WindowRecord] = field(default_factory=dict)
    accuracy: dict[str, TestRecord] = field(default_factory=dict)
    missing: dict[str, str] = field(default_factory=dict)
    log: TrainingLog | None = None

    def record(self, job: Job, **outcome: Any) -> RunRecord:
        """The record of the run; `outcome` are the fields that say how and when it ended."""
        log = self.log
        return RunRecord(
            key=job.run.key,
            recipe_row=job.run.recipe_row,
            command=job.command,
            windows=self.windows,
            accuracy=self.accuracy,
            missing=self.missing,
            epoch_losses=tuple(log.epoch_losses) if log else (),
            step_seconds=tuple(round(s, 7) for s in log.step_seconds) if log else (),
            load_seconds=log.load_seconds if log else None,
            extract_seconds=log.extract_seconds if log else None,
            train_images_seen=log.images_seen if log else None,
            environment=describe(str(self.device), job.threads, Gpu(self.device).driver()),
            **{fact.name: getattr(self.facts, fact.name) for fact in fields(Facts)},
            **outcome,
        )


def status_of(error: BaseException) -> tuple[Status, str]:
    """The status and reason of a failed run. What a user can put right reads as advice, the rest names where it happened."""
    if isinstance(error, torch.OutOfMemoryError | MemoryError) or "can't allocate memory" in str(error):
        said = str(error).splitlines()[0][:300] if str(error) else type(error).__name__
        return "out_of_memory", f"out of memory: {said}"
    if isinstance(error, TrainingError):
        return "diverged", str(error)
    if isinstance(error, AdaptBenchError):
        return "failed", str(error)
    if "can't start new thread" in str(error):
        return "failed", (
            f"{located(error)}: the machine lets this process have no more threads.\n"
            "Have fewer --jobs, or a higher limit: ulimit -u, or the limit of processes of the container."
        )
    if not is_users(error):
        return "failed", located(error)
    return "failed", f"{located(error)}.\nMend it there and repeat the command; the record has the whole traceback."
