"""What a finished run cost, where it takes arithmetic: figures of one record. What else there is to a figure: `quantities`."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Sequence
from functools import lru_cache
from statistics import median
from typing import Literal

from harness.records import Phase, RunRecord, SimulationRecord, WindowRecord

PeakField = Literal["peak_allocated_bytes", "peak_tensor_bytes", "simulated"]
Maybe = float | None

STEADY = 0.05
"""A run has warmed up once a step differs from the one before by less than this share of it."""
WARM_UP_STEPS = 10
"""Warm-up takes no more steps than these, and no more than half of a run's."""

TRAINING = ("prepare", "extract", "train", "finish")
"""The phases of a simulation that make up the train window of a run."""


def peak_field(records: Sequence[RunRecord]) -> PeakField:
    """The allocator's peak where any run has it (CUDA), else the exact peak of live tensors (CPU): never both in a column.

    The simulated one where every record is a simulation.
    """
    if records and all(r.key.simulated for r in records):
        return "simulated"
    windows = (w for r in records for w in r.windows.values())
    return "peak_allocated_bytes" if any(w.peak_allocated_bytes is not None for w in windows) else "peak_tensor_bytes"


def adapts(record: RunRecord) -> bool:
    """Whether there was anything to learn: only then are a train window's figures costs of a method.

    A classifier fitted in one go, or a cache of features, takes no optimiser step and no batch, but extracts features.
    """
    taken = (record.train_images_seen, record.trainable_parameters, record.extract_seconds)
    found = simulation(record) if record.key.simulated else None
    return record.key.recipe.trains or any(taken) or bool(found and "extract" in found.peak_bytes)


def train_seconds(record: RunRecord) -> Maybe:
    """The whole train window: reading images, extracting features and all steps."""
    return of_window(record, "train", lambda w: w.seconds) if adapts(record) else None


def step_seconds(record: RunRecord) -> Maybe:
    """The median optimiser step after warm-up."""
    return _steady(record.step_seconds)


@lru_cache(maxsize=1)
def _steady(steps: tuple[float, ...]) -> Maybe:
    """Several figures of a run ask for it, one after the other."""
    steps = steps[_warm_up(steps) :]
    return median(steps) if steps else None


def _warm_up(steps: Sequence[float]) -> int:
    """How many steps warm-up takes: until two in a row are alike."""
    most = min(WARM_UP_STEPS, len(steps) // 2)
    alike = (i + 1 for i in range(1, most) if abs(steps[i] - steps[i - 1]) < STEADY * steps[i - 1])
    return next(alike, most)


def epoch_seconds(record: RunRecord) -> Maybe:
    """What every image once costs: the steps at their median, loading their batches, and extraction.

    Features that are extracted once for all epochs are shared out over the recipe's, also where training was cut off.
    """
    step, seen, images = step_seconds(record), record.train_images_seen, record.train_image_count
    if not (step and seen and images and record.epoch_losses) or record.extract_seconds is None:
        return None
    taken, recipe = len(record.step_seconds), record.key.recipe
    steps = taken * images / seen
    epochs = len(record.epoch_losses)
    if record.key.steps is not None and record.key.execution == "fast" and recipe.augmentation == "none":
        epochs = recipe.epochs if recipe.iterations is None else math.ceil(recipe.iterations / steps)
    return steps * (step + (record.load_seconds or 0) / taken) + record.extract_seconds / epochs


def test_seconds(record: RunRecord) -> Maybe:
    """The test window, and what it was spared: the seconds that reused image features had taken an earlier run."""
    seconds = of_window(record, "test", lambda w: w.seconds)
    return None if seconds is None else seconds + (record.reused_test_seconds or 0)


def utilisation_percent(record: RunRecord) -> Maybe:
    """FLOPs of a training step / the median step's time, of the peak of a matrix product in the same process.

    None where that would be above 100: the machine was busier while the product was measured than in the steps.
    """
    share = _of_the_product(record)
    return None if share is None or share > 100 else share


def machine_was_busier(record: RunRecord) -> str:
    """Why there is no utilisation where it would be above 100; else nothing."""
    if (_of_the_product(record) or 0) <= 100:
        return ""
    return "The machine was busier while its matrix product was measured than in the training steps."


def _of_the_product(record: RunRecord) -> Maybe:
    flops, peak = step_flops(record), record.profile and record.profile.gemm_flops_per_second
    seconds = step_seconds(record) if flops and peak else None
    return 100 * flops / seconds / peak if flops and seconds and peak else None


def simulation(record: RunRecord) -> SimulationRecord | None:
    """What was simulated of the execution that ran."""
    return record.profile.simulated.get(record.key.execution) if record.profile else None


def step_flops(record: RunRecord) -> Maybe:
    """FLOPs of a training step of the execution that ran."""
    found = simulation(record)
    return found.step_flops if found else None


def simulated_peak_bytes(record: RunRecord, phases: Collection[str] | None = TRAINING) -> Maybe:
    """The highest simulated peak on the device of some phases, or of all (None); None where training was simulated in part."""
    found = simulation(record)
    if found and found.note:
        return None
    peaks = [
        sum(size for category, size in sizes.items() if category != "host")
        for phase, sizes in (found.peak_bytes.items() if found else ())
        if phases is None or phase in phases
    ]
    return max(peaks, default=None)


def train_peak_bytes(record: RunRecord, peak: PeakField) -> Maybe:
    """The peak of the train window, by whatever tells it."""
    return (
        simulated_peak_bytes(record) if peak == "simulated" else of_window(record, "train", lambda w: getattr(w, peak))
    )


def run_peak_bytes(record: RunRecord, peak: PeakField) -> Maybe:
    """The highest peak of all phases; None where training's or testing's is. On a CPU, set-up has none."""
    if peak == "simulated":
        return simulated_peak_bytes(record, None)
    peaks = {phase: getattr(window, peak) for phase, window in record.windows.items()}
    if peaks.get("train") is None or peaks.get("test") is None:
        return None
    return max(value for value in peaks.values() if value is not None)


def of_window(record: RunRecord, phase: Phase, read: Callable[[WindowRecord], Maybe]) -> Maybe:
    """What `read` finds in a phase; None where the run did not reach it."""
    return read(record.windows[phase]) if phase in record.windows else None
