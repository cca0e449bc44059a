"""A section in numbers, and what follows from them: which rows are complete, best, tied, or not on their own merit.

Full precision throughout; NaN is "absent", and `reason` says why. Averages are taken where they are complete only: a
dataset counts when every seed of the row finished on it, and a row says how many of the section's datasets it averages.
A column ``<name>_margin`` is half the width of the 95 % interval over seeds, absent for a single seed.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from typing import cast

import numpy as np
import pandas as pd

from harness.records import RunRecord
from harness.visible import visible
from reports.format.text import plural, short
from reports.results import statistics
from reports.results.costs import PeakField, peak_field
from reports.results.frames import ranking, result_frame, run_frame, score_frame, summary_frame, tangent_h, unit_frame
from reports.results.sections import REFERENCE, Row, Section, sections


@dataclass(frozen=True, slots=True)
class Ties:
    """On a unit: from which difference rows are told apart, in points, and which can't be told from the best; NaN: none can."""

    points: float = float("nan")
    rows: tuple[str, ...] = ()


@dataclass(frozen=True)
class SectionResults:
    """A section and its numbers, made once: tables, charts and findings read them.

    runs: one line a finished run, costs. scores: one line a (row, dataset, unit, metric, seed). results: one line a (row,
    dataset, unit, seed) with the score that ranks. units: mean over seeds by (row, unit), with `seeds` finished of `expected`;
    a unit is a dataset, or a test where there is no base and new. summary: one line a row. `metrics` are base and new, source
    and target, or accuracy; `main` is the one to rank by. `peak` is the quantity every peak is.
    """

    section: Section
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

    def coverage(self, label: str) -> str:
        """``2 of 3 datasets`` where a row averages fewer than the section has; else nothing."""
        line = self.line(label)
        if line["complete"] == line["expected"]:
            return ""
        return f"{line['complete']} of {plural(line['expected'], 'dataset' if self.main == 'h' else 'test')}"

    def on(self, label: str, unit: str) -> pd.Series | None:
        """A row's line on a unit; None where no run finished."""
        found = self._lines.get((label, unit))
        return found if found is not None and found["seeds"] else None

    @cached_property
    def _lines(self) -> dict[tuple[str, str], pd.Series]:
        return cast(dict[tuple[str, str], pd.Series], dict(self.units.iterrows()))

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

    def paired_runs(self, metric: str, unit: str | None = None) -> pd.DataFrame:
        """What comparisons pair: a line a row, columns (dataset, seed), whose means are the scores shown (on a unit).

        NaN where a run did not finish. H by its tangent at the row's averages.
        """
        if metric == "h":
            return tangent_h(self.paired_runs("base", unit), self.paired_runs("new", unit))
        runs = self._paired(metric)
        return (runs[unit] if unit in runs else runs[None][:0]).unstack(["dataset", "seed"])

    def _paired(self, metric: str) -> dict[str | None, pd.Series]:
        """A metric's runs by unit; by None those over all units."""
        if metric not in self._paired_of:
            wanted, by = self.scores[self.scores["metric"] == metric], ["row", "dataset", "seed"]
            runs = (wanted.groupby(by)["percent"], wanted.groupby(["unit", *by])["percent"])
            over_all, on_each = (found.mean().where(found.count() == found.size()) for found in runs)
            self._paired_of[metric] = {None: over_all}
            self._paired_of[metric].update(
                (str(unit), found.droplevel("unit")) for unit, found in on_each.groupby(level="unit")
            )
        return self._paired_of[metric]

    @cached_property
    def _paired_of(self) -> dict[str, dict[str | None, pd.Series]]:
        return {}

    @cached_property
    def comparisons(self) -> dict[statistics.Pair, float]:
        """Holm's p of every pair of complete rows, from the runs they have in common: each dataset, each seed."""
        return statistics.comparisons(self._complete_runs(self.main))

    def compared_with(self, label: str, metric: str | None = None) -> dict[statistics.Pair, float]:
        """Holm's p of every complete row against one of them, in a metric or in the one to rank by."""
        return statistics.comparisons(self._complete_runs(metric or self.main), label)

    def tied_with_best(self) -> list[str]:
        """The competing rows that can't be told from the best one, best first."""
        ranked = list(self.competing(self.main).index)
        return statistics.tied(ranked[0], ranked, self.comparisons) if ranked else []

    def untested_with_best(self) -> list[str]:
        """The competing rows that have too few seeds for a comparison with the best one, best first."""
        ranked = list(self.competing(self.main).index)
        return [row for row in ranked[1:] if np.isnan(self.comparisons[frozenset((ranked[0], row))])]

    def rank_groups(self) -> dict[str, tuple[int, ...]]:
        """The groups of each complete row that can be compared: rows that share one can't be told apart."""
        return statistics.rank_groups(list(self.complete.index), self.comparisons)

    def rivals(self, unit: str, metric: str) -> pd.Series:
        """The figures on a unit that are their rows' own, of the rows of which every seed finished there."""
        if (unit, metric) not in self._rivals:
            found = self._by_unit.get(unit, self._nothing)[metric]
            counts_for = self.counts_for(metric, unit)
            borrowed = [row for row in found.index if self.borrowed(row, counts_for, unit)]
            self._rivals[unit, metric] = found.drop(index=borrowed) if borrowed else found
        return self._rivals[unit, metric]

    @cached_property
    def _rivals(self) -> dict[tuple[str, str], pd.Series]:
        return {}

    def ties_on(self, unit: str) -> Ties:
        """What a unit's seeds tell apart, among the rows that have every seed of the best one there."""
        runs = self._comparable_on(unit)
        if len(runs) < 2:
            return Ties()
        points = statistics.least_difference(runs)
        means = self.rivals(unit, self.unit_main).loc[list(runs.index)]
        lower = (means.max() - means).drop(index=means.idxmax())
        near = [str(row) for row in lower.index[lower < points]]
        return Ties(points, tuple(near)) if len(near) < len(lower) and points > 0 else Ties()

    def _comparable_on(self, unit: str) -> pd.DataFrame:
        """(row, seed): what is shown of each seed on a unit, of the rows that have all seeds of the best one there."""
        on_unit = self.rivals(unit, self.unit_main).dropna()
        if on_unit.empty:
            return pd.DataFrame()
        runs = self.paired_runs(self.counts_for(self.unit_main, unit), unit).loc[list(on_unit.index)]
        of_best = runs.loc[str(on_unit.idxmax())].dropna()
        return runs.reindex(columns=of_best.index).dropna()

    def competing(self, metric: str) -> pd.DataFrame:
        """The complete rows whose figure is their own, and not that of the pretrained backbone; in the order of `complete`."""
        return self.complete.drop(index=[row for row in self.complete.index if self.borrowed(row, metric)])

    def borrowed(self, row: str, metric: str, unit: str | None = None) -> bool:
        """Whether an adapted row answered as the pretrained backbone does, in every finished run (on a unit)."""
        return (row, unit, metric) in self._borrowed

    def by_design(self, row: str, metric: str, unit: str | None = None) -> bool:
        """Whether it did so by its records' own word."""
        return self._borrowed.get((row, unit, metric), False)

    @cached_property
    def _borrowed(self) -> dict[tuple[str, str | None, str], bool]:
        """By (row, unit or None for all of them, metric) of what is borrowed: whether the records say so themselves."""
        adapted = self.summary.index[self.summary["method"] != REFERENCE]
        finished = self.scores[self.scores["row"].isin(adapted)].dropna(subset="percent")
        equal = [metric in self.unadapted[row] for row, metric in zip(finished["row"], finished["metric"], strict=True)]
        answers = finished.assign(borrowed=finished["by_design"] | np.array(equal, bool))
        units = answers.groupby(["row", "unit", "metric"])[["borrowed", "by_design"]].all()
        everywhere = answers.groupby(["row", "metric"])[["borrowed", "by_design"]].all()
        found = dict(units["by_design"][units["borrowed"]])
        of_all = dict(everywhere["by_design"][everywhere["borrowed"]])
        found |= {(row, None, metric): said for (row, metric), said in of_all.items()}
        return cast(dict[tuple[str, str | None, str], bool], found)

    @cached_property
    def metric_of(self) -> dict[str, str]:
        """Which metric a unit's figure counts for, where a unit has one figure."""
        return dict(zip(self.scores["unit"], self.scores["metric"], strict=True))

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

    def counts_for(self, metric: str, unit: str) -> str:
        """The metric of the section that a unit's figure counts for."""
        return self.metric_of[unit] if metric == "accuracy" else metric

    def _complete_runs(self, metric: str) -> pd.DataFrame:
        return self.paired_runs(metric).loc[list(self.complete.index)]

    @cached_property
    def _nothing(self) -> pd.DataFrame:
        return self.units.iloc[:0].droplevel("unit")

    @cached_property
    def _by_unit(self) -> dict[str, pd.DataFrame]:
        done = self.units[self.units["seeds"] == self.units["expected"]]
        return {str(unit): found.droplevel("unit") for unit, found in done.groupby(level="unit")}


def in_numbers(records: Iterable[RunRecord]) -> list[SectionResults]:
    """The sections of `records`, each with its numbers."""
    return [section_results(section) for section in sections(records)]


def section_results(section: Section) -> SectionResults:
    """A section with its numbers."""
    peak = peak_field(section.records)
    runs, scores = run_frame(section, peak), score_frame(section)
    metrics, main = ranking(section, scores)
    units = unit_frame(section, scores)
    return SectionResults(
        section=section,
        metrics=metrics,
        main=main,
        peak=peak,
        runs=runs,
        scores=scores,
        results=result_frame(section, scores),
        units=units,
        summary=summary_frame(section, scores, units, runs, metrics),
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
