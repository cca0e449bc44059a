"""Every figure of a run, in the order of the tables: the only place that lists them.

A figure added here is shown wherever it says it is, exported, and sent to trackers. What takes more arithmetic than a line stands
in a function beside the table, or in `costs` where others need it too.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import lru_cache

import pandas as pd

from harness.errors import ConfigError
from harness.records import RunRecord
from reports.format import units
from reports.results import costs, macro
from reports.results.costs import Maybe, PeakField, of_window
from reports.results.quantity import Axis, ByMeter, Over, Place, Quantity, Ratio, concerns

TRAIN_WINDOW = "the whole train window (decoding images, text features, feature extraction, every step)"
SUMMED = "summed over the datasets of a seed, mean over seeds"

TRAIN = Quantity(
    name="train_seconds",
    read=costs.train_seconds,
    over="sum",
    title="Train time",
    unit="all datasets",
    help=f"{TRAIN_WINDOW}, {SUMMED}",
    text=units.duration,
    better=-1,
    best_of="whole",  # so many steps after whatever comes before them: no figure to be best in
    shown={"headline": "whole", "details": "all", "seeds": "whole", "ablation": "all", "executions": "whole", "compare": "all",
           "terminal": "whole"},
    axis=Axis("Training time", units.TIME_UNITS),
    noun="training time",
    takes="training{} takes",
)  # fmt: skip
IMAGES = Quantity(
    name="train_images_seen",
    read=lambda record: record.train_images_seen or None,
    over="sum",
    title="Images",
    unit="seen in training",
    help=f"one for each time that an image is in a step's batch, {SUMMED}",
    text=units.count,
    timed=False,
)
TEXTS = Quantity(
    name="train_texts_encoded",
    read=lambda record: record.train_texts_encoded or None,
    over="sum",
    title="Class texts",
    unit="encoded in training",
    help=f"texts through the text tower, a class's anew in every step, {SUMMED}",
    text=units.count,
    timed=False,
)
STEP = Quantity(
    name="step_seconds",
    read=costs.step_seconds,
    over="mean",
    title="Step",
    unit="median",
    help="the median optimiser step, from where two in a row are alike (5 %) or after ten or half of them; mean over datasets and "
    "seeds",
    text=units.duration,
    better=-1,
    part="steps",
    shown={"headline": "cut off", "details": "all", "executions": "all", "compare": "all", "terminal": "cut off"},
)
BATCH = Quantity(
    name="batch_size",
    read=lambda record: record.key.recipe.batch_size if record.key.recipe.trains else None,
    over="max",
    title="Batch",
    unit="images",
    help="images in a step; the largest of the datasets where they differ",
    text=units.count,
    part="steps",
    timed=False,
)
TRAIN_PEAK = Quantity(
    name="train_peak_bytes",
    read=ByMeter(costs.train_peak_bytes),
    over="max",
    title="Peak memory",
    unit="training",
    short="Peak",
    help="{} in the train window; the highest of a seed's datasets, mean over seeds",
    text=units.size,
    better=-1,
    missing="train.{peak}",
    timed=False,
    shown={
        "headline": "all",
        "details": "all",
        "ablation": "all",
        "executions": "all",
        "compare": "all",
        "terminal": "all",
    },
    axis=Axis("Peak memory in training ({})", units.MEMORY_UNITS),
    noun="peak memory",
    takes="its peak is",
    least="trains with the smallest peak of memory",
)

QUANTITIES: tuple[Quantity, ...] = (
    Quantity(
        name="macro_accuracy_percent",
        read=macro.macro_accuracy_percent,
        over="mean",
        title="Macro accuracy",
        unit="%",
        help="the mean accuracy of classes, each counting the same; mean over tests, datasets and seeds",
        text=units.percent,
        better=1,
        part="run",
        optional=True,
        timed=False,
        shown={"details": "whole"},
    ),
    Quantity(
        name="macro_f1_percent",
        read=macro.macro_f1_percent,
        over="mean",
        title="Macro F1",
        unit="%",
        help="the mean F1 of classes, each counting the same; mean over tests, datasets and seeds",
        text=units.percent,
        better=1,
        part="run",
        optional=True,
        timed=False,
        shown={"details": "whole"},
    ),
    TRAIN,
    Quantity(
        name="images_per_second",
        read=Ratio(IMAGES, TRAIN),
        over="ratio",
        title="Throughput",
        unit="train images/s",
        help=f"images consumed / seconds of {TRAIN_WINDOW}",
        text=units.rate,
        better=1,
        part="steps",
        shown={"headline": "whole"},
    ),
    Quantity(
        name="texts_per_second",
        read=Ratio(TEXTS, TRAIN),
        over="ratio",
        title="Class texts",
        unit="a second",
        help=f"texts through the text tower, a class's anew in every step / seconds of {TRAIN_WINDOW}",
        text=units.rate,
        better=1,
        optional=True,
        shown={"details": "all"},
    ),
    Quantity(
        name="load_seconds",
        read=lambda record: record.load_seconds,
        over="sum",
        title="Loading",
        unit="part of train time",
        help=f"waiting for the steps' batches: decoding, augmentation, copies; {SUMMED}",
        text=units.duration,
        optional=True,
        shown={"details": "all"},
    ),
    Quantity(
        name="extract_seconds",
        read=lambda record: record.extract_seconds,
        over="sum",
        title="Extraction",
        unit="part of train time",
        help=f"computing the features to train on, {SUMMED}",
        text=units.duration,
        shown={"details": "all"},
    ),
    Quantity(
        name="epoch_seconds",
        read=costs.epoch_seconds,
        over="mean",
        title="Epoch",
        unit="each image once",
        help="as many median steps as see every training image once, loading their batches, and extracting what they read; mean "
        "over datasets and seeds",
        text=units.duration,
        better=-1,
        part="steps",
        shown={"headline": "cut off", "details": "all", "executions": "cut off", "terminal": "cut off"},
        noun="epoch time (extraction included)",
        least="has the quickest epoch, extraction included",
    ),
    STEP,
    Quantity(
        name="step_flops",
        read=costs.step_flops,
        over="mean",
        title="FLOPs",
        unit="a step",
        help="2 a multiply-add, forward and backward of one training step, in the execution that ran",
        text=units.flops,
        better=-1,
        optional=True,
        timed=False,
        shown={"headline": "cut off", "details": "all"},
    ),
    Quantity(
        name="utilisation_percent",
        read=costs.utilisation_percent,
        over="mean",
        title="Utilisation",
        unit="of the machine's peak",
        help="FLOPs of a step / the median step / the peak of a matrix product measured in the same process",
        text=units.whole_percent,
        better=1,
        why=costs.machine_was_busier,
        optional=True,
        shown={"headline": "cut off", "details": "all"},
    ),
    BATCH,
    TRAIN_PEAK,
    Quantity(
        name="run_peak_bytes",
        read=ByMeter(costs.run_peak_bytes),
        over="max",
        title="Peak, any phase",
        help="{} in the worst phase (set-up counts on a GPU only)",
        text=units.size,
        better=-1,
        part="run",
        missing="*.{peak}",
        timed=False,
        shown={"details": "all"},
    ),
    Quantity(
        name="setup_seconds",
        phase="setup",
        read=lambda record: of_window(record, "setup", lambda w: w.seconds),
        over="sum",
        title="Set-up",
        unit="all datasets",
        help=f"the backbone's weights, the dataset's lists and the method's model, {SUMMED}",
        text=units.duration,
        part="run",
        shown={"details": "all"},
    ),
    Quantity(
        name="test_seconds",
        phase="test",
        read=costs.test_seconds,
        over="sum",
        title="Test",
        unit="all datasets",
        help=f"all tests, decoding included, {SUMMED}",
        text=units.duration,
        part="run",
        shown={"details": "all"},
    ),
    IMAGES,
    TEXTS,
    Quantity(
        name="train_energy_joules",
        read=lambda record: of_window(record, "train", lambda w: w.energy_joules),
        over="sum",
        title="Energy",
        unit="training",
        help=f"of the whole device, by NVML's counter, in the train window, {SUMMED}",
        text=units.energy,
        better=-1,
        missing="train.energy_joules",
        optional=True,
        shown={"headline": "all"},
        axis=Axis("Energy of training", units.ENERGY_UNITS),
    ),
    Quantity(
        name="trainable_parameters",
        read=lambda record: record.trainable_parameters,
        over="max",
        title="Trainable",
        unit="parameters",
        help="distinct trained numbers; the largest of the datasets where they differ",
        text=units.count,
        part="run",
        timed=False,
        shown={"headline": "all"},
    ),
)

_EXPORTED_FIRST: tuple[Over, ...] = ("sum", "mean", "max", "ratio")


def shown_in(place: Place, cut_off: bool, *summaries: pd.DataFrame) -> list[Quantity]:
    """The figures of a place, in the order of the table; optional ones where a row of a summary has them.

    cut_off: of runs whose training was cut off or only simulated.
    """
    shown = [q for q in QUANTITIES if place in q.shown and concerns(q.shown[place], cut_off)]
    return [q for q in shown if not q.optional or any(summary[q.name].notna().any() for summary in summaries)]


@contextmanager
def including(own: Mapping[str, object]) -> Iterator[None]:
    """Have figures of one's own, by what they were asked for as, among `QUANTITIES` for as long as this is entered, after ours.

    Raises ConfigError for what is no `Quantity`, and for one with another's name.
    """
    global QUANTITIES
    before = QUANTITIES
    try:
        for asked, each in own.items():
            if not isinstance(each, Quantity):
                raise ConfigError(
                    f"'{asked}' is an object of the class {type(each).__name__}, and no figure.",
                    "Name a Quantity of reports.results.quantity; docs/own-method.md has an example.",
                )
            if each.name in {quantity.name for quantity in QUANTITIES}:
                raise ConfigError(f"there is a figure '{each.name}' already ('{asked}').", "Give yours another name=.")
            QUANTITIES = (*QUANTITIES, each)
        yield
    finally:
        QUANTITIES = before


def drawn() -> list[tuple[Quantity, Axis]]:
    """The figures that accuracy is drawn against."""
    return [(q, q.axis) for q in QUANTITIES if q.axis]


def ranking_costs() -> list[Quantity]:
    """The figures by which methods are ranked where only costs count, the first one first."""
    return [q for q in QUANTITIES if q.least]


def figures(record: RunRecord, peak: PeakField) -> dict[str, Maybe]:
    """Every figure of a run by its name: totals first, then means, highest ones and ratios."""
    adapted = costs.adapts(record)
    return {q.name: q.of(record, peak, adapted) for q in _in_order(QUANTITIES)}


@lru_cache(maxsize=4)
def _in_order(quantities: tuple[Quantity, ...]) -> list[Quantity]:
    return sorted(quantities, key=lambda q: _EXPORTED_FIRST.index(q.over))
