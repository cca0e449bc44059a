"""The columns a table may show: what they are called, how they are worded, and which end of them is good."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from reports.format import units
from reports.format.cells import Column
from reports.results.costs import PeakField
from reports.results.sections import REFERENCE

PEAK_NAMES: dict[PeakField, str] = {
    "peak_allocated_bytes": "CUDA allocator",
    "peak_tensor_bytes": "live tensors",
    "simulated": "simulated",
}
PEAK_HELP: dict[PeakField, str] = {
    "peak_allocated_bytes": "the most bytes PyTorch's CUDA allocator had handed out at once",
    "peak_tensor_bytes": "the exact most bytes of tensors alive at once, counted on the CPU in a pass of its own",
    "simulated": "the most bytes of tensors alive at once on a device, simulated without computing anything",
}
TITLES = {"base": "Base", "new": "New", "h": "H", "accuracy": "Accuracy", "source": "Source", "target": "Targets"}
SCORE_WORDS = {"h": "H", "accuracy": "average accuracy", "target": "average accuracy on targets"}
SCORE_HELP = {
    "base": "top-1 on the classes trained on: mean over seeds, then over datasets",
    "new": "top-1 on the classes not trained on: mean over seeds, then over datasets",
    "h": "harmonic mean of the two averages beside it (not the mean of the datasets' H)",
    "accuracy": "top-1: mean over seeds, then over tests",
    "source": "top-1 on the dataset trained on: mean over seeds",
    "target": "top-1 on the datasets not trained on: mean over seeds, then over those datasets",
}
INTERVAL_HELP = (
    "t interval for the mean over seeds (of the seeds' own averages or totals). It speaks of other seeds on these datasets, "
    "not of other datasets; a single seed has none"
)
GROUP_HELP = (
    "rows that share a letter can't be told apart: paired comparison over datasets and seeds (the mean of the datasets' mean "
    "differences against its standard error, Welch and Satterthwaite's degrees of freedom; H by its tangent at each row's "
    "averages; an exact sign test where nothing differs from seed to seed), Holm's correction for all pairs, 5 %"
)


BORROWED = (
    "{}: the method has nothing to say of these classes and answers as the pretrained backbone does. The figure is no merit of "
    "its training, and never counts as best."
)


@dataclass(frozen=True, slots=True)
class Cost:
    """A cost column: its heading, how its numbers are worded, and which end of it is good (1 high, -1 low, 0 neither)."""

    column: Column
    text: Callable[[float], str]
    better: Literal[-1, 0, 1]


def cost_columns(peak: PeakField) -> dict[str, Cost]:
    """Every cost a table may show, by its column in the summary."""
    quantity, meaning = PEAK_NAMES[peak], PEAK_HELP[peak]
    whole_train = "the whole train window (decoding images, text features, feature extraction, every step)"
    built = "the backbone's weights, the dataset's lists and the method's model"
    summed = "summed over the datasets of a seed, mean over seeds"
    worst = f"{meaning} in the train window; the highest of a seed's datasets, mean over seeds"
    words: dict[str, tuple[str, str, str, Callable[[float], str], Literal[-1, 0, 1]]] = {
        "train_seconds": ("Train time", "all datasets", f"{whole_train}, {summed}", units.duration, -1),
        "images_per_second": (
            "Throughput", "train images/s", f"images consumed / seconds of {whole_train}", units.rate, 1),
        "train_peak_bytes": ("Peak memory", f"{quantity}, training", worst, units.size, -1),
        "trainable_parameters": (
            "Trainable", "parameters", "distinct trained numbers; the largest of the datasets where they differ",
            units.count, 0),
        "texts_per_second": (
            "Class texts", "a second", f"texts through the text tower, a class's anew in every step / seconds of {whole_train}",
            units.rate, 1),
        "load_seconds": (
            "Loading", "part of train time", f"waiting for the steps' batches: decoding, augmentation, copies; {summed}",
            units.duration, 0),
        "extract_seconds": (
            "Extraction", "part of train time", f"computing the features to train on, {summed}", units.duration, 0),
        "epoch_seconds": (
            "Epoch", "each image once",
            "as many median steps as see every training image once, loading their batches, and extracting what they read; "
            "mean over datasets and seeds", units.duration, -1),
        "step_seconds": (
            "Step", "median",
            "the median optimiser step, from where two in a row are alike (5 %) or after ten or half of them; mean over datasets "
            "and seeds", units.duration, -1),
        "step_flops": (
            "FLOPs", "a step", "2 a multiply-add, forward and backward of one training step, in the execution that ran",
            units.flops, -1),
        "utilisation_percent": (
            "Utilisation", "of the machine's peak",
            "FLOPs of a step / the median step / the peak of a matrix product measured in the same process", units.whole_percent,
            1),
        "run_peak_bytes": (
            "Peak, any phase", quantity, f"{meaning} in the worst phase (set-up counts on a GPU only)", units.size, -1),
        "setup_seconds": ("Set-up", "all datasets", f"{built}, {summed}", units.duration, 0),
        "test_seconds": ("Test", "all datasets", f"all tests, decoding included, {summed}", units.duration, 0),
        "train_energy_joules": (
            "Energy", "training", f"of the whole device, by NVML's counter, in the train window, {summed}",
            units.energy, -1),
    }  # fmt: skip
    return {
        name: Cost(Column(title, unit, explained), word, better)
        for name, (title, unit, explained, word, better) in words.items()
    }


def score_column(score: str, gains: bool) -> Column:
    """The heading of a score; `gains`: its cells show the difference to the reference."""
    gain = f"; the signed number is the difference to {REFERENCE}, in points" if gains else ""
    return Column(TITLES[score], "%", SCORE_HELP[score] + gain)
