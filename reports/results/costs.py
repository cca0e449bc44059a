"""What a finished run cost: figures of one record, and why one is absent."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Sequence
from statistics import median
from typing import Literal

from harness.records import Phase, RunRecord, SimulationRecord, WindowRecord
from reports.format.text import visible
from reports.results.sections import Row

PeakField = Literal["peak_allocated_bytes", "peak_tensor_bytes", "simulated"]
Maybe = float | None

STEADY = 0.05
"""A run has warmed up once a step differs from the one before by less than this share of it."""
WARM_UP_STEPS = 10
"""Warm-up takes no more steps than these, and no more than half of a run's."""

TRAINING = ("prepare", "extract", "train", "finish")
"""The phases of a simulation that make up the train window of a run."""

COSTS: dict[str, str] = {
    "train_seconds": "sum",
    "load_seconds": "sum",
    "extract_seconds": "sum",
    "setup_seconds": "sum",
    "test_seconds": "sum",
    "train_images_seen": "sum",
    "train_texts_encoded": "sum",
    "train_energy_joules": "sum",
    "epoch_seconds": "mean",
    "step_seconds": "mean",
    "step_flops": "mean",
    "utilisation_percent": "mean",
    "batch_size": "max",
    "train_peak_bytes": "max",
    "run_peak_bytes": "max",
    "trainable_parameters": "max",
}
"""The cost columns (and the batch that a step takes), and how one seed's datasets become that seed's figure."""


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
    return _window(record, "train", lambda w: w.seconds) if adapts(record) else None


def images_per_second(record: RunRecord) -> Maybe:
    """Training images consumed / seconds of the train window, which includes feature extraction."""
    seconds = train_seconds(record)
    return record.train_images_seen / seconds if record.train_images_seen and seconds else None


def step_seconds(record: RunRecord) -> Maybe:
    """The median optimiser step after warm-up."""
    steps = record.step_seconds[_warm_up(record.step_seconds) :]
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
    seconds = _window(record, "test", lambda w: w.seconds)
    return None if seconds is None else seconds + (record.reused_test_seconds or 0)


def utilisation_percent(record: RunRecord) -> Maybe:
    """FLOPs of a training step / the median step's time, of the peak of a matrix product in the same process.

    None where that would be above 100: the machine was busier while the product was measured than in the steps.
    """
    share = _of_the_product(record)
    return None if share is None or share > 100 else share


def _of_the_product(record: RunRecord) -> Maybe:
    flops, seconds = step_flops(record), step_seconds(record)
    peak = record.profile and record.profile.gemm_flops_per_second
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
    return simulated_peak_bytes(record) if peak == "simulated" else _window(record, "train", lambda w: getattr(w, peak))


def run_peak_bytes(record: RunRecord, peak: PeakField) -> Maybe:
    """The highest peak of all phases; None where training's or testing's is. On a CPU, set-up has none."""
    if peak == "simulated":
        return simulated_peak_bytes(record, None)
    peaks = {phase: getattr(window, peak) for phase, window in record.windows.items()}
    if peaks.get("train") is None or peaks.get("test") is None:
        return None
    return max(value for value in peaks.values() if value is not None)


def costs(record: RunRecord, peak: PeakField) -> dict[str, Maybe]:
    """What a finished run cost, by column of `COSTS`."""
    adapted = adapts(record)
    return {
        "train_seconds": train_seconds(record),
        "load_seconds": record.load_seconds if adapted else None,
        "extract_seconds": record.extract_seconds if adapted else None,
        "setup_seconds": _window(record, "setup", lambda w: w.seconds),
        "test_seconds": test_seconds(record),
        "train_images_seen": record.train_images_seen or None if adapted else None,
        "train_texts_encoded": record.train_texts_encoded or None if adapted else None,
        "train_energy_joules": _window(record, "train", lambda w: w.energy_joules) if adapted else None,
        "epoch_seconds": epoch_seconds(record),
        "step_seconds": step_seconds(record),
        "step_flops": step_flops(record),
        "utilisation_percent": utilisation_percent(record),
        "batch_size": record.key.recipe.batch_size if record.key.recipe.trains else None,
        "train_peak_bytes": train_peak_bytes(record, peak) if adapted else None,
        "run_peak_bytes": run_peak_bytes(record, peak),
        "trainable_parameters": record.trainable_parameters,
    }


def reason(row: Row, column: str, peak: PeakField) -> str:
    """Why a cost of a row is absent, in the records' own words where they have any."""
    if peak == "simulated":
        notes = {found.note for r in row.records if (found := simulation(r)) and found.note}
        known_by_simulation = column in ("train_peak_bytes", "run_peak_bytes")
        if known_by_simulation and notes:
            return visible(f"Not known: {'; '.join(sorted(notes))}.")
        if not known_by_simulation or any(adapts(r) for r in row.records):
            return "Only simulated: nothing was computed or timed."
    of_training = column not in ("setup_seconds", "test_seconds", "run_peak_bytes", "trainable_parameters")
    if of_training and not any(adapts(r) for r in row.records):
        return "This method trains nothing."
    finished = [r for r in row.records if r.status == "ok"]
    if not finished:
        return "No run finished."
    if column in ("images_per_second", "epoch_seconds", "step_seconds") and not any(
        r.key.recipe.trains for r in finished
    ):
        return "Fitted in one go to extracted features: no optimiser step, no batch of images."
    if column == "utilisation_percent" and any((_of_the_product(r) or 0) > 100 for r in finished):
        return "The machine was busier while its matrix product was measured than in the training steps."
    fields = {
        "train_peak_bytes": f"train.{peak}",
        "images_per_second": "train_images_seen",
        "train_energy_joules": "train.energy_joules",
    }
    prefix = fields.get(column, column)
    suffix = f".{peak}" if column == "run_peak_bytes" else None
    said = {v for r in finished for k, v in r.missing.items() if k == prefix or (suffix and k.endswith(suffix))}
    return visible("; ".join(sorted(said))) or "Not recorded."


def _window(record: RunRecord, phase: Phase, read: Callable[[WindowRecord], Maybe]) -> Maybe:
    return read(record.windows[phase]) if phase in record.windows else None
