"""Peaks of training on the device against the simulation's, and a run that finds too little memory."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import torch

from harness.clip.backbone import load
from harness.clip.image_tower import FEWEST_AT_ONCE
from harness.meters.gpu import Gpu
from harness.meters.window import Window
from harness.method import Classes
from harness.probes.gpu_evidence.evidence import Figures, Setting
from harness.probes.simulate import STEPS, BlankImages, class_names, simulate
from harness.records import Precision, RunKey, RunRecord
from harness.runs.suite_runner import RunOptions, run_suite
from harness.training.loop import train
from harness.training.prepared import build_model

MIB = 1 << 20
CONTEXT_BYTES = 1 << 30
"""What a process takes of a device beside its tensors, at most: CUDA's context and libraries."""


def classes_of(count: int) -> Classes:
    """So many classes whose names have ordinary lengths."""
    return Classes(class_names(count), {"clip": "a photo of a {}."})


def training_peak(setting: Setting, method: str, precision: Precision) -> Figures:
    """The peak of a training of two steps, by simulation, by CUDA's allocator and by NVML."""
    key = setting.run(method, precision).key
    classes = classes_of(setting.class_counts[0])
    device = torch.device(setting.device)
    backbone = load(key.backbone, "random", execution=key.execution, precision=precision, device=setting.device)
    simulated = _training_bytes(key, classes, backbone.image.at_once)
    images = blank_images(key, len(classes.names), backbone.pixels.size, device)
    with Window(device, Gpu(device)) as window:
        train(
            build_model(key, backbone, classes),
            images,
            images,
            key.recipe,
            seed=key.seed,
            execution=key.execution,
            precision=precision,
            maximum_steps=STEPS,
        )
    record = window.record()
    assert record is not None
    allocated, reserved, process = record.peak_allocated_bytes, record.peak_reserved_bytes, record.peak_process_bytes
    return {
        "simulated_mib": simulated / MIB,
        "allocated_mib": allocated and allocated / MIB,
        "error_percent": allocated and 100 * (simulated / allocated - 1),
        "reserved_mib": reserved and reserved / MIB,
        "process_mib": process and process / MIB,
        "beside_tensors_mib": process and reserved and (process - reserved) / MIB,
    }


def blank_images(key: RunKey, classes: int, size: int, device: torch.device) -> BlankImages:
    """Random pixels on a device."""
    return BlankImages(
        key.shots, classes, key.recipe.augmentation, lambda count: torch.randn(count, 3, size, size, device=device)
    )


def _training_bytes(key: RunKey, classes: Classes, images_at_once: int = FEWEST_AT_ONCE) -> int:
    peaks = simulate(key, classes, images_at_once).peaks
    return max(peak.total_bytes for name, peak in peaks.items() if name != "evaluate")


class Ends:
    """Keeps of a suite's progress the records that its runs ended with."""

    def __init__(self) -> None:
        self.records: list[RunRecord] = []

    def ended(self, number: int, record: RunRecord) -> None:
        self.records.append(record)

    def __getattr__(self, name: str) -> Callable[..., None]:
        return lambda *told: None


def out_of_memory(setting: Setting, heavy: str, light: str) -> Figures:
    """Two runs of a suite, beside which memory is left for the light one only: how each ended."""
    classes = classes_of(setting.class_counts[0])
    needed = {name: _training_bytes(setting.run(name).key, classes) for name in (heavy, light)}
    ends = Ends()
    with tempfile.TemporaryDirectory() as folder, _filled(setting, sum(needed.values()) // 2 + CONTEXT_BYTES):
        run_suite(setting.request(heavy, light, steps=1), RunOptions(results=Path(folder), device=setting.device), ends)
    status = {record.key.method: record.status for record in ends.records}
    return {"heavy": status[heavy], "light": status[light]}


@contextmanager
def _filled(setting: Setting, left_bytes: int) -> Iterator[None]:
    """A GPU of whose memory so much is left."""
    taken = None
    if setting.device != "cpu":
        free, _ = torch.cuda.mem_get_info(setting.device)
        taken = torch.empty(max(0, free - left_bytes), dtype=torch.uint8, device=setting.device)
    yield
    del taken
