"""A large collection as a site: an overview, and a page for each suite, method, dataset and run. Text only; nothing is written.

Style and script are two files that all pages share, so that ten thousand pages stay small.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import pandas as pd

from harness.records import RunRecord
from reports import units
from reports.cells import Cell, Column, Table
from reports.charts import Style
from reports.document import render, source
from reports.families import Found
from reports.groups import Row, Section, sections
from reports.page import frame, row_styles, section_titles
from reports.runs import run_view
from reports.tables import Tables, tables
from reports.text import Problem, short, visible

Page = tuple[str, str]
"""A path below the site's folder, and the text of the file."""


@dataclass(frozen=True, slots=True)
class Places:
    """Paths: of suites by section, of methods by row label, of datasets by name, of runs by the record's identity."""

    suites: list[tuple[str, str]]
    methods: dict[str, str]
    datasets: dict[str, str]
    runs: dict[int, str]


def site(records: Sequence[RunRecord], problems: Sequence[Problem] = ()) -> Iterator[Page]:
    """Every file of the site; ``index.html`` comes last, when all it leads to is there."""
    found = [(section, tables(section)) for section in sections(records)]
    styles = row_styles(found)
    places = _places(found)
    yield from (("page.css", source("page.css")), ("page.js", source("page.js")))
    for section, _ in found:
        for row in section.rows if not section.again else ():
            for record in row.records:
                path = places.runs[id(record)]
                view = run_view("run", row.label, record)
                yield path, render("run.html.j2", root="../", title=view.title, run=view)
    yield from _listings(found, styles, places)
    shown = frame(found, styles, problems)
    for part, (title, path) in zip(shown["parts"], places.suites, strict=True):
        linked = replace(part, headline=_linked(part.headline, places.methods, "../"))
        yield path, render("suite.html.j2", root="../", title=title, part=linked)
    shown["parts"] = [replace(p, headline=_linked(p.headline, places.methods, "")) for p in shown["parts"]]
    yield "index.html", render("index.html.j2", root="", **shown, places=places)


def _places(found: Sequence[Found]) -> Places:
    every = [section for section, _ in found]
    titles = section_titles(every)
    rows = [row for section in every if not section.again for row in section.rows]
    methods = _paths("methods", {row.method for row in rows})
    records = [record for row in rows for record in row.records]
    return Places(
        suites=list(zip(titles, [f"suites/{i}-{_slug(t)}.html" for i, t in enumerate(titles, 1)], strict=True)),
        methods={row.label: methods[row.method] for row in rows},
        datasets=_paths("datasets", {r.key.dataset for r in records}),
        runs={id(record): f"runs/{i}.html" for i, record in enumerate(records, 1)},
    )


def _paths(folder: str, names: set[str]) -> dict[str, str]:
    return {name: f"{folder}/{i}-{_slug(name)}.html" for i, name in enumerate(sorted(names), 1)}


def _slug(name: str) -> str:
    return re.sub(r"[^A-Za-z0-9]+", "-", name).strip("-")[:40] or "unnamed"


def _linked(table: Table, paths: Mapping[str, str], root: str) -> Table:
    return replace(table, rows=[[replace(row[0], href=root + paths[row[0].text]), *row[1:]] for row in table.rows])


def _listings(found: Sequence[Found], styles: dict[str, Style], places: Places) -> Iterator[Page]:
    """A page a method and a page a dataset: the score of every run, leading to the run."""
    titles = section_titles([section for section, _ in found])
    lines = [_Lines(title, section, numbers, places) for title, (section, numbers) in zip(titles, found, strict=True)]
    for method, path in dict.fromkeys((r.method, places.methods[r.label]) for s, _ in found for r in s.rows):
        rows = [(line, row) for line in lines for row in line.section.rows if row.method == method]
        shown = [line.of_row(f"t{i}", row) for i, (line, row) in enumerate(rows)]
        yield path, render("listing.html.j2", root="../", title=short(visible(method), 60), tables=shown)
    for dataset, path in places.datasets.items():
        there = [line for line in lines if dataset in line.section.datasets]
        shown = [line.of_dataset(f"t{i}", dataset, styles) for i, line in enumerate(there)]
        yield path, render("listing.html.j2", root="../", title=short(visible(dataset), 60), tables=shown)


@dataclass(frozen=True, slots=True)
class _Lines:
    """Lines of runs of a section: the mean of a row on a dataset, and each seed's score, which leads to its run."""

    title: str
    section: Section
    numbers: Tables
    places: Places

    def of_row(self, name: str, row: Row) -> Table:
        """A line a dataset."""
        table = self._table(name, "Dataset", f"{row.label}: {self.title}")
        for dataset in sorted({r.key.dataset for r in row.records}):
            first = Cell(short(visible(dataset), 60), href=f"../{self.places.datasets[dataset]}")
            table.rows.append([first, *self._scores(table, row, dataset)])
        return table

    def of_dataset(self, name: str, dataset: str, styles: dict[str, Style]) -> Table:
        """A line a row, best first."""
        table = self._table(name, "Method", self.title)
        for row in self.section.rows:
            first = Cell(row.label, style=styles[row.label], href=f"../{self.places.methods[row.label]}")
            table.rows.append([first, *self._scores(table, row, dataset)])
        table.rows.sort(key=lambda cells: -(cells[1].value or 0))
        return table

    def _table(self, name: str, first: str, caption: str) -> Table:
        seeds = [Column(f"Seed {seed}") for seed in self.section.seeds]
        score = {"h": "H", "target": "Targets"}.get(self.numbers.main, "Accuracy")
        return Table(name, caption, [Column(first, numeric=False), Column(score, "mean, %"), *seeds])

    def _scores(self, table: Table, row: Row, dataset: str) -> list[Cell]:
        own = {r.key.seed: r for r in row.records if r.key.dataset == dataset}
        mean = self.numbers.mean_on(row, dataset)
        first = table.absent("Not every seed finished.") if pd.isna(mean) else Cell(units.percent(mean), mean)
        return [first, *(self._run(table, own.get(seed), row) for seed in self.section.seeds)]

    def _run(self, table: Table, record: RunRecord | None, row: Row) -> Cell:
        if record is None:
            return table.absent("Not run.")
        score = self.numbers.by_run.get((row.label, record.key.dataset, record.key.seed))
        href = f"../{self.places.runs[id(record)]}"
        if score is None or pd.isna(score):
            return Cell(record.status.replace("_", " "), href=href)
        return Cell(units.percent(score), score, href=href)
