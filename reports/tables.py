"""Records to pandas tables: what was measured, and the means, spreads and harmonic means that follow from it.

Full precision throughout; NaN is "absent", and `reason` says why. Averages are taken where they are complete only: a
dataset counts when every seed of the row finished on it, and a row says how many of the section's datasets it averages.
Spreads are sample standard deviations (n - 1) of the seeds' own averages, absent for a single seed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import cached_property
from statistics import median
from typing import Literal, cast

import numpy as np
import pandas as pd

from harness.records import RunRecord, WindowRecord
from reports.groups import REFERENCE, Row, Section
from reports.text import short, visible

PeakField = Literal["peak_allocated_bytes", "peak_tensor_bytes"]
Maybe = float | None

WARM_UP_STEPS = 3
"""Steps left out of the median step time, where a run has more than ten."""

COSTS: dict[str, str] = {
    "train_seconds": "sum",
    "extract_seconds": "sum",
    "setup_seconds": "sum",
    "test_seconds": "sum",
    "train_images_seen": "sum",
    "step_seconds": "mean",
    "train_peak_bytes": "max",
    "run_peak_bytes": "max",
    "trainable_parameters": "max",
}
"""The cost columns, and how one seed's datasets become that seed's figure."""


@dataclass(frozen=True)
class Tables:
    """A section in numbers.

    runs: one line a finished run, costs. scores: one line a (row, unit, metric, seed). units: mean over seeds by (row, unit),
    with `seeds` finished of `expected`; a unit is a dataset, or a test where there is no base and new. summary: one line a
    row. `metrics` are base and new, or accuracy; `main` is the one to rank by. `peak` is the quantity every peak is.
    """

    metrics: tuple[str, ...]
    main: str
    peak: PeakField
    runs: pd.DataFrame
    scores: pd.DataFrame
    units: pd.DataFrame
    summary: pd.DataFrame

    @cached_property
    def complete(self) -> pd.DataFrame:
        """The summary's rows that average every dataset, best first."""
        done = self.summary[self.summary["complete"] == self.summary["expected"]]
        return done.rename_axis("row").sort_values([self.main, "row"], ascending=[False, True])

    def line(self, label: str) -> pd.Series:
        """A row's line of the summary."""
        return cast(pd.Series, self.summary.loc[label])

    def on(self, label: str, unit: str) -> pd.Series | None:
        """A row's line on a unit; None where no run finished."""
        if (label, unit) not in self.units.index:
            return None
        found = cast(pd.Series, self.units.loc[(label, unit), :])
        return found if found["seeds"] else None


def harmonic_mean(base_percent: float, new_percent: float) -> float:
    """H = 2bn / (b + n), 0 when both are 0. An average row takes H of the means, not the mean of the H's, as CoCoOp has."""
    total = base_percent + new_percent
    return 2 * base_percent * new_percent / total if total else 0.0


def tables(section: Section) -> Tables:
    """All tables of a section."""
    metrics = ("base", "new") if section.paired else ("accuracy",)
    peak = peak_field(section.records)
    runs = _runs(section, peak)
    scores = _scores(section)
    units = _units(section, scores, metrics)
    return Tables(
        metrics=metrics,
        main="h" if section.paired else "accuracy",
        peak=peak,
        runs=runs,
        scores=scores,
        units=units,
        summary=_summary(section, scores, units, runs, metrics),
    )


def peak_field(records: Iterable[RunRecord]) -> PeakField:
    """The allocator's peak where any run has it (CUDA), else the exact peak of live tensors (CPU): never both in a column."""
    windows = (w for r in records for w in r.windows.values())
    return "peak_allocated_bytes" if any(w.peak_allocated_bytes is not None for w in windows) else "peak_tensor_bytes"


def trains(record: RunRecord) -> bool:
    """Whether there was anything to train: only then are a train window's figures costs of a method."""
    return record.key.recipe.trains or bool(record.train_images_seen)


def train_seconds(record: RunRecord) -> Maybe:
    """The whole train window: reading images, extracting features and all steps."""
    return _window(record, "train", lambda w: w.seconds) if trains(record) else None


def images_per_second(record: RunRecord) -> Maybe:
    """Training images consumed / seconds of the train window, which includes feature extraction."""
    seconds = train_seconds(record)
    return record.train_images_seen / seconds if record.train_images_seen is not None and seconds else None


def step_seconds(record: RunRecord) -> Maybe:
    """The median optimiser step; the first three of more than ten are warm-up."""
    steps = record.step_seconds[WARM_UP_STEPS:] if len(record.step_seconds) > 10 else record.step_seconds
    return median(steps) if steps else None


def run_peak_bytes(record: RunRecord, peak: PeakField) -> Maybe:
    """The highest peak of all phases; None where training's or testing's is. On a CPU, set-up has none."""
    peaks = {phase: getattr(window, peak) for phase, window in record.windows.items()}
    if peaks.get("train") is None or peaks.get("test") is None:
        return None
    return max(value for value in peaks.values() if value is not None)


def costs(record: RunRecord, peak: PeakField) -> dict[str, Maybe]:
    """What a finished run cost, by column of `COSTS`."""
    return {
        "train_seconds": train_seconds(record),
        "extract_seconds": record.extract_seconds if trains(record) else None,
        "setup_seconds": _window(record, "setup", lambda w: w.seconds),
        "test_seconds": _window(record, "test", lambda w: w.seconds),
        "train_images_seen": record.train_images_seen if trains(record) else None,
        "step_seconds": step_seconds(record),
        "train_peak_bytes": _window(record, "train", lambda w: getattr(w, peak)) if trains(record) else None,
        "run_peak_bytes": run_peak_bytes(record, peak),
        "trainable_parameters": record.trainable_parameters,
    }


def reason(row: Row, column: str, peak: PeakField) -> str:
    """Why a cost of a row is absent, in the records' own words where they have any."""
    untrained = not any(trains(r) for r in row.records)
    if untrained and column not in ("setup_seconds", "test_seconds", "run_peak_bytes", "trainable_parameters"):
        return "This method trains nothing."
    finished = [r for r in row.records if r.status == "ok"]
    if not finished:
        return "No run finished."
    fields = {"train_peak_bytes": f"train.{peak}", "images_per_second": "train_images_seen"}
    prefix = fields.get(column, column)
    suffix = f".{peak}" if column == "run_peak_bytes" else None
    said = {v for r in finished for k, v in r.missing.items() if k == prefix or (suffix and k.endswith(suffix))}
    return visible("; ".join(sorted(said))) or "Not recorded."


def gaps(section: Section, row: Row) -> list[str]:
    """What keeps a row from being complete: ``digits: seed 3 out of memory``, ``shapes: not run``."""
    found = []
    for dataset in section.datasets:
        name = short(visible(dataset), 60)
        status = {r.key.seed: r.status for r in row.records if r.key.dataset == dataset}
        if not status:
            found.append(f"{name}: not run")
        for seed in row.seeds if status else ():
            if status.get(seed) != "ok":
                found.append(f"{name}: seed {seed} {status.get(seed, 'not run').replace('_', ' ')}")
    return found


def _window(
    record: RunRecord, phase: Literal["setup", "train", "test"], read: Callable[[WindowRecord], Maybe]
) -> Maybe:
    return read(record.windows[phase]) if phase in record.windows else None


def _runs(section: Section, peak: PeakField) -> pd.DataFrame:
    lines = [
        {"row": row.label, "dataset": r.key.dataset, "seed": r.key.seed, **costs(r, peak)}
        for row in section.rows
        for r in row.records
        if r.status == "ok"
    ]
    frame = pd.DataFrame(lines, columns=["row", "dataset", "seed", *COSTS])
    return frame.astype(dict.fromkeys(COSTS, float))


def _scores(section: Section) -> pd.DataFrame:
    """One line a (row, unit, metric, seed) that some record promised; NaN where the run didn't finish."""
    lines = []
    for row in section.rows:
        for record in row.records:
            for test in record.key.tests:
                unit, metric = _unit(section, record, test)
                found = record.accuracy.get(test) if record.status == "ok" else None
                percent = found.accuracy_percent if found else np.nan
                lines.append((row.label, record.key.dataset, unit, metric, record.key.seed, percent))
    return pd.DataFrame(lines, columns=["row", "dataset", "unit", "metric", "seed", "percent"])


def _unit(section: Section, record: RunRecord, test: str) -> tuple[str, str]:
    """The line and the column of a test: the dataset and its half, or the test's key and "accuracy"."""
    return (record.key.dataset, test.removeprefix(f"{record.key.dataset}/")) if section.paired else (test, "accuracy")


def _units(section: Section, scores: pd.DataFrame, metrics: tuple[str, ...]) -> pd.DataFrame:
    grouped = scores.groupby(["row", "unit", "metric"])["percent"]
    means = grouped.mean().unstack("metric").reindex(columns=list(metrics))
    means["seeds"] = grouped.count().unstack("metric").reindex(columns=list(metrics)).fillna(0).min(axis=1)
    expected = {row.label: len(row.seeds) for row in section.rows}
    means["expected"] = [expected[label] for label in means.index.get_level_values("row")]
    if metrics == ("base", "new"):
        means["h"] = [harmonic_mean(b, n) for b, n in zip(means["base"], means["new"], strict=True)]
    return means


def _summary(
    section: Section, scores: pd.DataFrame, units: pd.DataFrame, runs: pd.DataFrame, metrics: tuple[str, ...]
) -> pd.DataFrame:
    total = scores["unit"].nunique()
    lines = {}
    for row in section.rows:
        own = units.loc[row.label]
        done = own.index[own["seeds"] == own["expected"]]
        line: dict[str, float | str | int] = {
            "method": row.method,
            "complete": len(done),
            "expected": total,
            "seeds": len(row.seeds),
        }
        kept = scores[(scores["row"] == row.label) & scores["unit"].isin(done)]
        by_seed = kept.groupby(["seed", "metric"])["percent"].mean().unstack("metric").reindex(columns=list(metrics))
        line.update(_averages(by_seed))
        line.update(_costs_over_seeds(runs[(runs["row"] == row.label) & runs["dataset"].isin(kept["dataset"])]))
        lines[row.label] = line
    return _with_differences(pd.DataFrame.from_dict(lines, orient="index"))


def _averages(by_seed: pd.DataFrame) -> dict[str, float]:
    """Means and spreads of a (seed x metric) table; with base and new, H of the mean base and the mean new."""
    line = dict(by_seed.mean())
    if "base" in by_seed:
        by_seed = by_seed.assign(h=[harmonic_mean(b, n) for b, n in zip(by_seed["base"], by_seed["new"], strict=True)])
        line["h"] = harmonic_mean(line["base"], line["new"])
    return line | {f"{name}_sd": value for name, value in by_seed.std(ddof=1).items()}


def _costs_over_seeds(runs: pd.DataFrame) -> dict[str, float]:
    """A row's costs: over the datasets of a seed as `COSTS` says, then the mean (and spread) over seeds."""
    seeds = runs.groupby("seed")
    by_seed = pd.DataFrame({name: seeds[name].agg(_whole(how)) for name, how in COSTS.items()}, dtype=float)
    by_seed["images_per_second"] = by_seed["train_images_seen"] / by_seed["train_seconds"].where(lambda s: s > 0)
    means = by_seed.mean(skipna=False)
    spreads = by_seed.std(ddof=1, skipna=False).add_suffix("_sd")
    return dict(pd.concat([means, spreads]))


def _whole(how: str) -> Callable[[pd.Series], float]:
    """A sum, mean or maximum that is absent where one of its parts is."""
    return lambda column: getattr(column, how)(skipna=False)


def _with_differences(summary: pd.DataFrame) -> pd.DataFrame:
    """Adds ``<metric>_gain``: a complete row's mean minus the complete reference row's, in points."""
    complete = summary["complete"] == summary["expected"]
    reference = summary[(summary["method"] == REFERENCE) & complete]
    for metric in ("base", "new", "h", "accuracy"):
        if metric in summary:
            gain = summary[metric] - reference[metric].iloc[0] if len(reference) == 1 else np.nan
            summary[f"{metric}_gain"] = pd.Series(gain, summary.index).where(
                complete & (summary["method"] != REFERENCE)
            )
    return summary
