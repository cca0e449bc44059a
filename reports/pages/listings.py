"""The pages of a method and of a dataset: a figure for each run, leading to the run."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import pandas as pd

from harness.records import RunRecord
from harness.visible import visible
from reports.format import units
from reports.format.cells import Cell, Column, Table
from reports.format.styles import Style
from reports.format.text import short
from reports.html.html_document import render
from reports.pages.page import labelled
from reports.results.costs import simulated_peak_bytes, step_seconds
from reports.results.quantities import STEP, TRAIN, TRAIN_PEAK
from reports.results.quantity import Quantity
from reports.results.questions import described
from reports.results.scores import INTERVAL_HELP, TITLES
from reports.results.section_results import SectionResults
from reports.results.sections import Row, Section
from reports.results.statistics import margin
from reports.results.titles import section_titles

Page = tuple[str, str]
"""A path below the site's folder, and the text of the file."""
Place = tuple[str, str, str]
"""What kind of thing has a page, its name, and the page's path."""


@dataclass(frozen=True, slots=True)
class Places:
    """Paths: of suites by name, in their order, of methods by row label, of datasets by name, of runs by the record's identity."""

    suites: dict[str, str]
    methods: dict[str, str]
    datasets: dict[str, str]
    runs: dict[int, str]

    def above(self, suite: str, row: Row, record: RunRecord) -> list[Place]:
        """Where a run belongs."""
        dataset = record.key.dataset
        return [
            ("Suite", suite, self.suites[suite]),
            ("method", row.method, self.methods[row.label]),
            ("dataset", dataset, self.datasets[dataset]),
        ]


def listings(found: Sequence[SectionResults], styles: dict[str, Style], places: Places) -> Iterator[Page]:
    """A page a method and a page a dataset."""
    titles = section_titles([results.section for results in found])
    lines = [_Lines(title, results, places) for title, results in zip(titles, found, strict=True)]
    for method, path in dict.fromkeys(
        (r.method, places.methods[r.label]) for results in found for r in results.section.rows
    ):
        rows = [(line, row) for line in lines for row in line.section.rows if row.method == method]
        shown = [line.of_row(f"t{i}", row) for i, (line, row) in enumerate(rows)]
        yield path, _listing("method", method, shown, [], described(method))
    for dataset, path in places.datasets.items():
        there = [line for line in lines if dataset in line.section.datasets]
        shown = [line.of_dataset(f"t{i}", dataset, styles) for i, line in enumerate(there)]
        methods = labelled({row.label for line in there for row in line.section.rows}, styles)
        yield path, _listing("dataset", dataset, shown, methods, "")


def _listing(
    kind: str, name: str, tables: Sequence[Table], methods: Sequence[tuple[str, Style]], description: str
) -> str:
    """`methods`: those that the reader may hide. `description`: may name a paper by its number on arXiv."""
    title = short(visible(name), 60)
    paper = re.search(r"arXiv:(\d{4}\.\d{4,5})", description)
    return render("listing.html.j2", root="../", kind=kind, title=title, tables=tables, methods=methods,
                  description=visible(description), paper=paper[1] if paper else "")  # fmt: skip


@dataclass(frozen=True)
class _Lines:
    """Lines of runs of a section: scores and costs of a row on a dataset, and each seed's figure, which leads to its run."""

    title: str
    results: SectionResults
    places: Places

    @property
    def section(self) -> Section:
        return self.results.section

    def of_row(self, name: str, row: Row) -> Table:
        """A line a dataset."""
        table = self._table(name, "Dataset", f"{row.label}: {self.title}")
        for dataset in sorted({r.key.dataset for r in row.records}):
            first = Cell(short(visible(dataset), 60), href=f"../{self.places.datasets[dataset]}")
            table.rows.append([first, *self._figures(table, row, dataset)])
        return table

    def of_dataset(self, name: str, dataset: str, styles: dict[str, Style]) -> Table:
        """A line a row, best first."""
        table = self._table(name, "Method", self.title)
        for row in self.section.rows:
            first = Cell(row.label, style=styles[row.label], href=f"../{self.places.methods[row.label]}")
            table.rows.append([first, *self._figures(table, row, dataset)])
        sign = 1 if self.section.costs_only else -1
        table.rows.sort(key=lambda cells: float("inf") if cells[1].value is None else sign * cells[1].value)
        return table

    @property
    def _figure(self) -> tuple[str, Callable[[float], str]]:
        """What is shown of a run, and how it is worded."""
        if self.section.condition.simulated:
            return "Simulated peak", TRAIN_PEAK.text
        if self.section.costs_only:
            return STEP.title, STEP.text
        return f"{TITLES[self.results.main]}, %", units.percent

    def _table(self, name: str, first: str, caption: str) -> Table:
        seeds = [Column(f"Seed {seed}") for seed in self.section.seeds]
        means = [Column(TITLES[half], "%") for half in self._halves]
        costs = [replace(q.column(self.results.peak), unit="mean") for q in self._costs]
        columns = [Column(first, numeric=False), Column(self._figure[0], "mean"), *means, *costs, *seeds]
        table = Table(name, caption, columns, features=("filter",))
        if not self.section.costs_only and len(self.section.seeds) > 1:
            table.legend = f"Ranges are 95 % intervals: {INTERVAL_HELP}."
        return table

    @property
    def _halves(self) -> tuple[str, ...]:
        """What the figure is the harmonic mean of."""
        return self.results.metrics if self.results.main == "h" and not self.section.costs_only else ()

    @property
    def _costs(self) -> list[Quantity]:
        """What training to its end took, beside what is shown of a run."""
        return [] if self.section.costs_only else [TRAIN, TRAIN_PEAK]

    @cached_property
    def _cost_on(self) -> dict[tuple[str, str], dict[str, float]]:
        """By row and dataset: the mean cost of its seeds."""
        names = [cost.name for cost in self._costs]
        means = self.results.runs.groupby(["row", "dataset"])[names].mean()
        return {pair: dict(zip(names, line, strict=True)) for pair, *line in means.itertuples(name=None)}

    def _figures(self, table: Table, row: Row, dataset: str) -> list[Cell]:
        if (row.label, dataset) not in self._cells:
            self._cells[row.label, dataset] = self._scores(row, dataset), self._seeds(row, dataset)
        scores, seeds = self._cells[row.label, dataset]
        if not scores:
            scores = [table.absent("Not every seed finished.")] * (1 + len(self._halves))
        costs = [self._cost(table, row, dataset, cost) for cost in self._costs]
        return [*scores, *costs, *(seeds.get(seed) or table.absent("Not run.") for seed in self.section.seeds)]

    @cached_property
    def _cells(self) -> dict[tuple[str, str], tuple[list[Cell], dict[int, Cell]]]:
        """By row and dataset: the cells of its scores and those of its seeds, which stand on the pages of both."""
        return {}

    @cached_property
    def _own(self) -> dict[tuple[str, str], dict[int, RunRecord]]:
        """By row and dataset: the runs by their seed."""
        found: defaultdict[tuple[str, str], dict[int, RunRecord]] = defaultdict(dict)
        for row in self.section.rows:
            for record in row.records:
                found[row.label, record.key.dataset][record.key.seed] = record
        return found

    def _scores(self, row: Row, dataset: str) -> list[Cell]:
        """The mean with its interval, and what it is the harmonic mean of; nothing where a seed did not finish."""
        own = self._own[row.label, dataset]
        mean, text = self._mean(row, own, dataset), self._figure[1]
        if pd.isna(mean):
            return []
        line = self.results.on(row.label, dataset) if self._halves else None
        halves = [] if line is None else [Cell(units.percent(line[h]), line[h]) for h in self._halves]
        return [Cell(text(mean), mean, self._interval(own, row, mean)), *halves]

    def _seeds(self, row: Row, dataset: str) -> dict[int, Cell]:
        return {seed: self._run(record, row) for seed, record in self._own[row.label, dataset].items()}

    def _interval(self, own: dict[int, RunRecord], row: Row, mean: float) -> tuple[str, ...]:
        """Of the seeds' scores; nothing where there is one, or where they are all the same."""
        scores = [] if self.section.costs_only else [self._of(record, row) for record in own.values()]
        half = float(margin([score for score in scores if score is not None])) if len(scores) > 1 else 0.0
        return (units.percent_range(mean, half),) if half >= 0.005 else ()

    def _cost(self, table: Table, row: Row, dataset: str, cost: Quantity) -> Cell:
        value = self._cost_on.get((row.label, dataset), {}).get(cost.name)
        if value is None or pd.isna(value):
            return table.absent(cost.reason(row, self.results.peak))
        return Cell(cost.text(value), value)

    def _mean(self, row: Row, own: dict[int, RunRecord], dataset: str) -> float:
        if not self.section.costs_only:
            return self.results.mean_on(row, dataset)
        return float(
            pd.Series([self._of(own[s], row) if s in own else None for s in row.seeds], dtype=float).mean(skipna=False)
        )

    def _of(self, record: RunRecord, row: Row) -> float | None:
        if record.status != "ok":
            return None
        if self.section.costs_only:
            return simulated_peak_bytes(record) if record.key.simulated else step_seconds(record)
        return self.results.by_run.get((row.label, record.key.dataset, record.key.seed))

    def _run(self, record: RunRecord, row: Row) -> Cell:
        figure, href = self._of(record, row), f"../{self.places.runs[id(record)]}"
        if figure is None or pd.isna(figure):
            return Cell("no figure" if record.status == "ok" else record.status.replace("_", " "), href=href)
        return Cell(self._figure[1](figure), figure, href=href)
