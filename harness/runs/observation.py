"""What is known of how long a run took and how much memory it held, on which machine: from its record, or from a calibration.

No torch. A machine's figures say nothing of another's: `Machine` tells them apart.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from statistics import median
from typing import Literal

from harness.data.sizes import Count
from harness.meters.environment import cpu_model, cpu_threads, host_sha256, said_threads
from harness.records import Environment, RunKey, RunRecord, key_json

_SEVERAL_GPUS = "GPUs that are not told apart"


@dataclass(frozen=True)
class Machine:
    """A host and what computes on it. `gpu` is None on a CPU; `threads` None where a run chooses them by its backbone."""

    host_sha256: str
    cpu: str | None
    gpu: str | None
    threads: int | None

    def has(self, environment: Environment, command: str | None) -> bool:
        """Whether a record is of this machine: its host, processor, GPU, and the threads that a run would have."""
        if (environment.hostname_sha256, environment.cpu, environment.gpu) != (self.host_sha256, self.cpu, self.gpu):
            return False
        if self.threads is not None:
            return environment.threads == self.threads
        chosen = "--threads" not in (command or "")
        return chosen and (said_threads() is None or environment.threads == cpu_threads())


def this_machine(kind: Literal["cpu", "cuda"], threads: int | None = None) -> Machine:
    """What runs on this kind of device compute with here; `threads` are those asked for."""
    return Machine(host_sha256(), cpu_model(), _gpu() if kind == "cuda" else None, threads)


def _gpu() -> str:
    """The name that all GPUs of this host have, by NVML: torch, which knows the one in use, is not at hand."""
    import pynvml

    names = set()
    with suppress(pynvml.NVMLError):
        pynvml.nvmlInit()
        for number in range(pynvml.nvmlDeviceGetCount()):
            names.add(str(pynvml.nvmlDeviceGetName(pynvml.nvmlDeviceGetHandleByIndex(number))))
        pynvml.nvmlShutdown()
    return names.pop() if len(names) == 1 else _SEVERAL_GPUS


@dataclass(frozen=True, kw_only=True)
class Observation:
    """One run, or a calibration that stands for it, by its parts; seconds are those of the whole run's parts.

    `test_seconds` includes extracting test features; `spared_seconds` are those of it that other runs' features spare where all
    are there, None where that isn't known, and `shares` says whether a run like this one takes over such features at all.
    `other_seconds` are those outside the phases: counting memory, validation, a profile. `step_seconds` is the usual step's.
    Bytes are the peaks of training and testing: tensors by exact count on a CPU and by the allocator on a GPU, and the process's
    resident set. `counted`: it counted its peak of tensors itself, as the first of a command's runs that differ in seed alone
    does; `counting_seconds` are what the others are spared, as far as a calibration has told. `started_at` is UTC, ISO 8601;
    `threads` are those of the run.
    """

    key: RunKey
    source: Literal["record", "calibration"]
    started_at: str
    threads: int | None
    setup_seconds: float
    train_seconds: float
    test_seconds: float
    other_seconds: float
    shares: bool = False
    counted: bool = True
    counting_seconds: float = 0.0
    spared_seconds: float | None = None
    steps: int = 0
    step_seconds: float = 0.0
    load_seconds: float = 0.0
    peak_tensor_bytes: int | None = None
    peak_rss_bytes: int | None = None
    trained_on: Count | None = None
    tested_on: Mapping[str, Count] = field(default_factory=dict)

    def seconds(self, spared_share: float, counting: bool = True) -> float:
        """Of the whole run, where so large a share of its test features is there, 0 to 1; `counting`: if it counts its peak."""
        spared_seconds = (self.spared_seconds or 0.0) * spared_share if self.shares else 0.0
        parts = self.setup_seconds + self.train_seconds + self.test_seconds + self.other_seconds
        return max(0.0, parts - spared_seconds - (0.0 if counting else self.counting_seconds))


def kind_of(key: RunKey) -> str:
    """A text that runs have in common which take the same time on a `Machine`: they differ in suite and seed alone."""
    return key_json(replace(key, suite="any", seed=1, device=None))


def observed(record: RunRecord) -> Observation | None:
    """What a record tells; None of a run that did not end well, had no windows, or was stopped meanwhile."""
    windows = record.windows
    if record.status != "ok" or not {"setup", "train", "test"} <= windows.keys():
        return None
    if any(window.stopped_seconds for window in windows.values()):
        return None
    setup, train, test = (windows[name].seconds for name in ("setup", "train", "test"))
    reused_seconds = record.reused_test_seconds or 0.0
    took_all_over = record.reused_test_features == record.test_images_seen is not None
    return Observation(
        key=record.key,
        source="record",
        started_at=record.started_at,
        threads=record.environment.threads,
        setup_seconds=setup,
        train_seconds=train,
        test_seconds=test + reused_seconds,
        other_seconds=max(0.0, record.total_seconds - setup - train - test),
        shares=record.reused_test_features is not None,
        counted=record.peaks_of_seed is None,
        spared_seconds=reused_seconds if took_all_over else None,
        steps=len(record.step_seconds),
        step_seconds=median(record.step_seconds) if record.step_seconds else 0.0,
        load_seconds=record.load_seconds or 0.0,
        peak_tensor_bytes=_peak(record, "peak_allocated_bytes" if record.environment.gpu else "peak_tensor_bytes"),
        peak_rss_bytes=_peak(record, "peak_rss_bytes"),
        trained_on=_count(record.train_image_count, record.train_class_count),
        tested_on={name: Count(test.images, test.classes) for name, test in record.accuracy.items()},
    )


def _peak(record: RunRecord, name: str) -> int | None:
    found = [getattr(record.windows[phase], name) for phase in ("train", "test")]
    return None if None in found else max(found)


def _count(images: int | None, classes: int | None) -> Count | None:
    return None if images is None or classes is None else Count(images, classes)
