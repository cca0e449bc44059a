"""A large collection as a site: an overview, and a page for each suite, method, dataset and run. Text only; nothing is written.

Style and script are two files that all pages share, so that ten thousand pages stay small.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

from harness.records import RunRecord
from reports.format.cells import Table
from reports.format.text import Problem
from reports.html.html_document import filled, render, source
from reports.pages.listings import Page, Places, listings
from reports.pages.page import SuiteView, frame
from reports.pages.run_html import RUN_FIELDS, run_fields
from reports.pages.run_page import run_view
from reports.results.section_results import SectionResults, in_numbers
from reports.results.titles import row_styles, run_titles
from reports.tables.provenance import environment_text


def site(records: Sequence[RunRecord], problems: Sequence[Problem] = ()) -> Iterator[Page]:
    """Every file of the site as text; ``index.html`` comes last, when all it leads to is there."""
    for path, content in site_of(in_numbers(records), problems):
        yield path, content if isinstance(content, str) else content.decode()


def site_of(found: Sequence[SectionResults], problems: Sequence[Problem]) -> Iterator[tuple[str, str | bytes]]:
    """The same of sections whose numbers are there; runs in UTF-8."""
    styles = row_styles(found)
    places, titles = _places(found), run_titles(found)
    yield from (("page.css", source("page.css")), ("page.js", source("page.js")))
    page = filled("run.html.j2", root="../", fields=RUN_FIELDS)
    for section in (results.section for results in found):
        for row in section.rows if not section.again else ():
            for record in row.records:
                view, environment = run_view("run", titles[id(record)], record), environment_text(record.environment)
                above = places.above(section.condition.suite, row, record)
                yield places.runs[id(record)], page(run_fields(view, environment, above))
    yield from listings(found, styles, places)
    shown = frame(found, styles, titles, places.runs, problems)
    for suite, path in zip(shown["suites"], places.suites.values(), strict=True):
        yield path, render("suite.html.j2", root="../", title=suite.title, suite=_linked(suite, places.methods, "../"))
    if shown["published"]:
        title = "Beside published figures"
        yield "published.html", render("published.html.j2", root="", title=title, published=shown["published"])
    linked = [_linked(suite, places.methods, "") for suite in shown["suites"]]
    shown["suites"] = list(zip(linked, places.suites.values(), strict=True))
    yield "index.html", render("index.html.j2", root="", **shown, datasets=places.datasets)


def _places(found: Sequence[SectionResults]) -> Places:
    every = [results.section for results in found]
    suites = dict.fromkeys(section.condition.suite for section in every)
    rows = [row for section in every if not section.again for row in section.rows]
    methods = _paths("methods", {row.method for row in rows})
    records = [record for row in rows for record in row.records]
    return Places(
        suites={suite: f"suites/{i}-{_slug(suite)}.html" for i, suite in enumerate(suites, 1)},
        methods={row.label: methods[row.method] for row in rows},
        datasets=_paths("datasets", {r.key.dataset for r in records}),
        runs={id(record): f"runs/{i}.html" for i, record in enumerate(records, 1)},
    )


def _paths(folder: str, names: set[str]) -> dict[str, str]:
    return {name: f"{folder}/{i}-{_slug(name)}.html" for i, name in enumerate(sorted(names), 1)}


def _slug(name: str) -> str:
    return re.sub(r"[^A-Za-z0-9]+", "-", name).strip("-")[:40] or "unnamed"


def _linked(suite: SuiteView, paths: Mapping[str, str], root: str) -> SuiteView:
    """The suite with headlines whose methods lead to their pages."""
    return replace(suite, parts=[replace(p, headline=_leading(p.headline, paths, root)) for p in suite.parts])


def _leading(table: Table, paths: Mapping[str, str], root: str) -> Table:
    return replace(table, rows=[[replace(row[0], href=root + paths[row[0].text]), *row[1:]] for row in table.rows])
