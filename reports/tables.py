"""Records to pandas tables: what was measured, and the means, intervals and harmonic means that follow from it.

Full precision throughout; NaN is "absent", and `reason` says why. Averages are taken where they are complete only: a
dataset counts when every seed of the row finished on it, and a row says how many of the section's datasets it averages.
A column ``<name>_margin`` is half the width of the 95 % interval over seeds, absent for a single seed.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import cast

import numpy as np
import pandas as pd

from harness.records import RunRecord
from reports import statistics
from reports.costs import COSTS, PeakField, costs, peak_field
from reports.groups import REFERENCE, Row, Section
from reports.text import short, visible


@dataclass(frozen=True)
class Tables:
    """A section in numbers.

    runs: one line a finished run, costs. scores: one line a (row, dataset, unit, metric, seed). results: one line a (row,
    dataset, unit, seed) with the score that ranks. units: mean over seeds by (row, unit), with `seeds` finished of `expected`;
    a unit is a dataset, or a test where there is no base and new. summary: one line a row. `metrics` are base and new, source
    and target, or accuracy; `main` is the one to rank by. `peak` is the quantity every peak is.
    """

    metrics: tuple[str, ...]
    main: str
    peak: PeakField
    runs: pd.DataFrame
    scores: pd.DataFrame
    results: pd.DataFrame
    units: pd.DataFrame
    summary: pd.DataFrame

    @cached_property
    def complete(self) -> pd.DataFrame:
        """The summary's rows that average every dataset, best first."""
        done = self.summary[self.summary["complete"] == self.summary["expected"]]
        return done.rename_axis("row").sort_values([self.main, "row"], ascending=[False, True])

    @property
    def unit_main(self) -> str:
        """The score of a unit that ranks."""
        return "h" if self.main == "h" else "accuracy"

    def line(self, label: str) -> pd.Series:
        """A row's line of the summary."""
        return cast(pd.Series, self.summary.loc[label])

    def on(self, label: str, unit: str) -> pd.Series | None:
        """A row's line on a unit; None where no run finished."""
        if (label, unit) not in self.units.index:
            return None
        found = cast(pd.Series, self.units.loc[(label, unit), :])
        return found if found["seeds"] else None

    @cached_property
    def by_run(self) -> dict[tuple[str, str, int], float]:
        """The score that ranks, by (row, dataset, seed); NaN where the run did not finish."""
        runs = self.results[self.results["counts"]].groupby(["row", "dataset", "seed"])["percent"]
        found = runs.mean().where(runs.count() == runs.size())
        return cast(dict[tuple[str, str, int], float], found.to_dict())

    def mean_on(self, row: Row, dataset: str) -> float:
        """A row's score on what it was trained on; H of the means where there is H. NaN unless every seed finished."""
        if self.main == "h":
            line = self.on(row.label, dataset)
            return float("nan") if line is None or line["seeds"] < line["expected"] else float(line["h"])
        return float(np.mean([self.by_run.get((row.label, dataset, seed), np.nan) for seed in row.seeds]))

    @cached_property
    def comparisons(self) -> dict[statistics.Pair, float]:
        """Holm's p of every pair of complete rows, from the runs they have in common: each dataset, each seed."""
        by_run = pd.Series(self.by_run).rename_axis(["row", "dataset", "seed"]).unstack(["dataset", "seed"])
        return statistics.comparisons(by_run.loc[list(self.complete.index)])

    def tied_with_best(self) -> list[str]:
        """The complete rows that can't be told from the best one, best first."""
        ranked = list(self.complete.index)
        return statistics.tied(ranked[0], ranked, self.comparisons) if ranked else []

    def rank_groups(self) -> dict[str, tuple[int, ...]]:
        """The groups of each complete row: rows that share one can't be told apart."""
        return statistics.rank_groups(list(self.complete.index), self.comparisons)

    def finished_on(self, unit: str) -> pd.DataFrame:
        """The lines of the rows of which every seed finished on a unit."""
        return self._by_unit[unit]

    def tied_on(self, unit: str) -> list[str]:
        """The rows that can't be told from the best one on a unit, among those of which every seed finished."""
        if unit not in self._by_unit:
            return []
        on_unit = self._by_unit[unit]
        best = str(on_unit[self.unit_main].idxmax())
        cells = self.results[(self.results["unit"] == unit) & self.results["row"].isin(on_unit.index)]
        wide = cells.pivot(index="row", columns=["dataset", "seed"], values="percent")
        return statistics.tied(best, list(on_unit.index), statistics.comparisons(wide, best))

    @cached_property
    def by_design(self) -> set[tuple[str, str]]:
        """(row, metric): the records say that the method answered as the pretrained backbone in every run that finished."""
        finished = self.scores.dropna(subset="percent").groupby(["row", "metric"])["by_design"].all()
        return {(str(row), str(metric)) for row, metric in finished.index[finished]}

    @cached_property
    def unadapted(self) -> dict[str, set[str]]:
        """By row: the metrics on which it gave the reference's accuracy in every single run; nothing it learned reaches there."""
        found: dict[str, set[str]] = {str(row): set() for row in self.summary.index}
        references = self.summary.index[self.summary["method"] == REFERENCE]
        for metric in {"new", "target"} & set(self.metrics) if len(references) == 1 else ():
            of_metric = self.scores[self.scores["metric"] == metric]
            wide = of_metric.pivot(index=["dataset", "unit", "seed"], columns="row", values="percent")
            for row in wide.columns.difference(references) if references[0] in wide else ():
                both = wide[[references[0], row]].dropna()
                if len(both) and (both[row] == both[references[0]]).all():
                    found[str(row)].add(metric)
        return found

    @cached_property
    def _by_unit(self) -> dict[str, pd.DataFrame]:
        done = self.units[self.units["seeds"] == self.units["expected"]]
        return {str(unit): found.droplevel("unit") for unit, found in done.groupby(level="unit")}


def harmonic_mean(base_percent: float, new_percent: float) -> float:
    """H = 2bn / (b + n), 0 when both are 0. An average row takes H of the means, not the mean of the H's, as CoCoOp has."""
    total = base_percent + new_percent
    return 2 * base_percent * new_percent / total if total else 0.0


def tables(section: Section) -> Tables:
    """All tables of a section."""
    peak = peak_field(section.records)
    runs, scores = _runs(section, peak), _scores(section)
    metrics, main = _metrics(section, scores)
    units = _units(section, scores)
    return Tables(
        metrics=metrics,
        main=main,
        peak=peak,
        runs=runs,
        scores=scores,
        results=_results(section, scores),
        units=units,
        summary=_summary(section, scores, units, runs, metrics),
    )


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


def _metrics(section: Section, scores: pd.DataFrame) -> tuple[tuple[str, ...], str]:
    """The columns of scores, and the one to rank by: H, the targets of a transfer, or plain accuracy."""
    if section.paired:
        return ("base", "new"), "h"
    if section.transfers:
        return tuple(m for m in ("source", "target") if m in set(scores["metric"])), "target"
    return ("accuracy",), "accuracy"


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
    """One line a test that some record promised; NaN where the run didn't finish."""
    lines = []
    for row in section.rows:
        for record in row.records:
            for test in section.tests(record):
                unit, metric = _unit(section, record, test)
                found = record.accuracy.get(test) if record.status == "ok" else None
                percent = found.accuracy_percent if found else np.nan
                by_design = bool(found and found.answers_zero_shot)
                lines.append((row.label, record.key.dataset, unit, metric, record.key.seed, percent, by_design))
    return pd.DataFrame(lines, columns=["row", "dataset", "unit", "metric", "seed", "percent", "by_design"])


def _unit(section: Section, record: RunRecord, test: str) -> tuple[str, str]:
    """The line of a test and the column that averages it: the dataset and its half, or the test's key and its role."""
    dataset = record.key.dataset
    if section.paired:
        return dataset, test.removeprefix(f"{dataset}/")
    unit = f"{dataset} to {test}" if section.transfers and len(section.datasets) > 1 else test
    if section.transfers:
        return unit, "source" if test.partition("/")[0] == dataset else "target"
    return unit, "accuracy"


def _results(section: Section, scores: pd.DataFrame) -> pd.DataFrame:
    """The score that ranks, for each run and unit; `counts` says whether the row's average is over it."""
    if not section.paired:
        return scores.assign(counts=scores["metric"] != "source").drop(columns=["metric", "by_design"])
    wide = scores.pivot(index=["row", "dataset", "unit", "seed"], columns="metric", values="percent")
    h = [harmonic_mean(b, n) for b, n in zip(wide["base"], wide["new"], strict=True)]
    return pd.Series(h, wide.index, name="percent").reset_index().assign(counts=True)


def _units(section: Section, scores: pd.DataFrame) -> pd.DataFrame:
    metrics = ["base", "new"] if section.paired else ["accuracy"]
    columns = scores["metric"] if section.paired else pd.Series("accuracy", scores.index, name="metric")
    grouped = scores.groupby([scores["row"], scores["unit"], columns])["percent"]
    means = grouped.mean().unstack("metric").reindex(columns=metrics)
    means["seeds"] = grouped.count().unstack("metric").reindex(columns=metrics).fillna(0).min(axis=1)
    expected = {row.label: len(row.seeds) for row in section.rows}
    means["expected"] = [expected[label] for label in means.index.get_level_values("row")]
    if section.paired:
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
    """Means and margins of a (seed x metric) table; with base and new, H of the mean base and the mean new."""
    line = dict(by_seed.mean())
    if "base" in by_seed:
        by_seed = by_seed.assign(h=[harmonic_mean(b, n) for b, n in zip(by_seed["base"], by_seed["new"], strict=True)])
        line["h"] = harmonic_mean(line["base"], line["new"])
    return line | _margins(by_seed)


def _costs_over_seeds(runs: pd.DataFrame) -> dict[str, float]:
    """A row's costs: over the datasets of a seed as `COSTS` says, then the mean (and margin) over seeds."""
    seeds = runs.groupby("seed")
    by_seed = pd.DataFrame({name: seeds[name].agg(_whole(how)) for name, how in COSTS.items()}, dtype=float)
    by_seed["images_per_second"] = by_seed["train_images_seen"] / by_seed["train_seconds"].where(lambda s: s > 0)
    return dict(by_seed.mean(skipna=False)) | _margins(by_seed)


def _margins(by_seed: pd.DataFrame) -> dict[str, float]:
    found = statistics.margin(by_seed.to_numpy(float).T)
    return {f"{name}_margin": float(value) for name, value in zip(by_seed.columns, found, strict=True)}


def _whole(how: str) -> Callable[[pd.Series], float]:
    """A sum, mean or maximum that is absent where one of its parts is."""
    return lambda column: getattr(column, how)(skipna=False)


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
