"""Records to frames: what was measured, and the means and intervals that follow from it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
from pandas.api.typing import DataFrameGroupBy

from harness.records import RunRecord
from harness.suite import Test
from reports.results import quantities, statistics
from reports.results.costs import PeakField
from reports.results.quantity import Quantity, Ratio
from reports.results.sections import REFERENCE, Row, Section


def harmonic_mean(base_percent: float, new_percent: float) -> float:
    """H = 2bn / (b + n), 0 when both are 0. An average row takes H of the means, not the mean of the H's, as CoCoOp has."""
    total = base_percent + new_percent
    return 2 * base_percent * new_percent / total if total else 0.0


def tangent_h(base: pd.DataFrame, new: pd.DataFrame) -> pd.DataFrame:
    """H of each run (a line a row, a column a run) by the tangent at its row's mean base and mean new.

    The mean of a row is then exactly H of its means, and runs can be compared in pairs (delta method).
    """
    mean_base, mean_new = base.mean(axis=1), new.mean(axis=1)
    squared = ((mean_base + mean_new) ** 2).replace(0, 1)
    return base.mul(2 * mean_new**2 / squared, axis=0) + new.mul(2 * mean_base**2 / squared, axis=0)


def ranking(section: Section, scores: pd.DataFrame) -> tuple[tuple[str, ...], str]:
    """The columns of scores, and the one to rank by: H, the targets of a transfer, or plain accuracy."""
    if section.paired:
        return ("base", "new"), "h"
    if section.transfers:
        return tuple(m for m in ("source", "target") if m in set(scores["metric"])), "target"
    return ("accuracy",), "accuracy"


def run_frame(section: Section, peak: PeakField) -> pd.DataFrame:
    """One line a finished run, with its figures."""
    names = [q.name for q in quantities.QUANTITIES]
    finished = [(row, r) for row in section.rows for r in row.records if r.status == "ok"]
    figures = [{**quantities.figures(r, peak), **_unlike(row)} for row, r in finished]
    columns = {
        "row": [row.label for row, _ in finished],
        "dataset": [r.key.dataset for _, r in finished],
        "seed": [r.key.seed for _, r in finished],
        **{name: np.array([found[name] for found in figures], float) for name in names},
    }
    return pd.DataFrame(columns)


def _unlike(row: Row) -> dict[str, None]:
    """The times of a row that has runs on machines unlike those of the section's times: there are none."""
    return {q.name: None for q in quantities.QUANTITIES if q.timed} if row.untimed else {}


def score_frame(section: Section) -> pd.DataFrame:
    """One line a test that some record promised; NaN where the run has no accuracy. `done`: the run left what was asked of it."""
    lines = []
    for row in section.rows:
        for record in row.records:
            for test in section.tests(record):
                unit, metric = _unit(section, record, test)
                found = record.accuracy.get(test) if record.status == "ok" else None
                percent = found.accuracy_percent if found else np.nan
                done = record.status == "ok" and (found is not None or section.costs_only)
                by_design = bool(found and found.answers_zero_shot)
                lines.append((row.label, record.key.dataset, unit, metric, record.key.seed, percent, done, by_design))
    return pd.DataFrame(lines, columns=["row", "dataset", "unit", "metric", "seed", "percent", "done", "by_design"])


def _unit(section: Section, record: RunRecord, test: str) -> tuple[str, str]:
    """The line of a test and the column that averages it: the dataset and its half, or the test's key and its role."""
    dataset = record.key.dataset
    if section.paired:
        return dataset, test.removeprefix(f"{dataset}/")
    unit = f"{dataset} to {test}" if section.transfers and len(section.datasets) > 1 else test
    if section.transfers:
        return unit, "source" if Test.from_key(test).dataset == dataset else "target"
    return unit, "accuracy"


def result_frame(section: Section, scores: pd.DataFrame) -> pd.DataFrame:
    """The score that ranks, for each run and unit; `counts` says whether the row's average is over it."""
    if not section.paired:
        return scores.assign(counts=scores["metric"] != "source").drop(columns=["metric", "done", "by_design"])
    wide = scores.pivot(index=["row", "dataset", "unit", "seed"], columns="metric", values="percent")
    h = [harmonic_mean(b, n) for b, n in zip(wide["base"], wide["new"], strict=True)]
    return pd.Series(h, wide.index, name="percent").reset_index().assign(counts=True)


def unit_frame(section: Section, scores: pd.DataFrame) -> pd.DataFrame:
    """By (row, unit): means over seeds, the `seeds` that finished and those `expected`."""
    metrics = ["base", "new"] if section.paired else ["accuracy"]
    columns = scores["metric"] if section.paired else pd.Series("accuracy", scores.index, name="metric")
    grouped = scores.groupby([scores["row"], scores["unit"], columns])
    means = grouped["percent"].mean().unstack("metric").reindex(columns=metrics)
    means["seeds"] = grouped["done"].sum().unstack("metric").reindex(columns=metrics).fillna(0).min(axis=1)
    expected = {row.label: len(row.seeds) for row in section.rows}
    means["expected"] = [expected[label] for label in means.index.get_level_values("row")]
    if section.paired:
        means["h"] = [harmonic_mean(b, n) for b, n in zip(means["base"], means["new"], strict=True)]
    return means


def summary_frame(
    section: Section, scores: pd.DataFrame, units: pd.DataFrame, runs: pd.DataFrame, metrics: tuple[str, ...]
) -> pd.DataFrame:
    """One line a row: scores and costs with their margins, and the differences to the reference."""
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
        line.update(
            _costs_over_seeds(runs[(runs["row"] == row.label) & runs["dataset"].isin(kept["dataset"].unique())])
        )
        lines[row.label] = line
    return _with_differences(pd.DataFrame.from_dict(lines, orient="index"))


def _averages(by_seed: pd.DataFrame) -> dict[str, float]:
    """Means and margins of a (seed x metric) table; with base and new, H of the mean base and the mean new."""
    line = dict(by_seed.mean())
    if "base" in by_seed:
        by_seed = by_seed.assign(h=[harmonic_mean(b, n) for b, n in zip(by_seed["base"], by_seed["new"], strict=True)])
        line["h"] = harmonic_mean(line["base"], line["new"])
    return line | _margins(by_seed)


def _costs_over_seeds(runs: pd.DataFrame) -> dict[str, float]:
    """A row's figures: over the datasets of a seed, then the mean (and margin) over seeds."""
    seeds = runs.groupby("seed")
    by_seed = pd.DataFrame({q.name: over_datasets(seeds, q) for q in quantities.QUANTITIES}, dtype=float)
    return dict(by_seed.mean(skipna=False)) | _margins(by_seed)


def over_datasets(runs: DataFrameGroupBy[Any, Any], quantity: Quantity) -> pd.Series:
    """One number a group of runs, NaN where one of them has none; `runs` is grouped by seed, or by row and seed."""
    if isinstance(quantity.read, Ratio):
        per = over_datasets(runs, quantity.read.per)
        return over_datasets(runs, quantity.read.of) / per.where(per > 0)
    return runs[quantity.name].agg(_whole(quantity.over)).astype(float)


def _margins(by_seed: pd.DataFrame) -> dict[str, float]:
    found = statistics.margin(by_seed.to_numpy(float).T)
    return {f"{name}_margin": float(value) for name, value in zip(by_seed.columns, found, strict=True)}


def _whole(how: str) -> Callable[[pd.Series], float]:
    """A sum, mean or maximum that is absent where one of its parts is."""
    return lambda column: getattr(column.to_numpy(), how)()


def _with_differences(summary: pd.DataFrame) -> pd.DataFrame:
    """Adds ``<metric>_gain``: a complete row's mean minus the complete reference row's, in points."""
    complete = summary["complete"] == summary["expected"]
    reference = summary[(summary["method"] == REFERENCE) & complete]
    for metric in ("base", "new", "h", "accuracy", "source", "target"):
        if metric in summary:
            gain = summary[metric] - reference[metric].iloc[0] if len(reference) == 1 else np.nan
            summary[f"{metric}_gain"] = pd.Series(gain, summary.index).where(
                complete & (summary["method"] != REFERENCE)
            )
    return summary
