"""Records to one self-contained HTML page, as text: no file, no clock, no network."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from markupsafe import Markup

from harness.records import RunRecord
from harness.visible import block, joined, visible
from reports.charts.section_charts import Chart, section_charts, unmetered
from reports.findings.finding import Overview
from reports.findings.limits import Limits, limits
from reports.findings.suite_answers import answer
from reports.findings.suite_findings import overviews
from reports.findings.verdict import verdict
from reports.format.cells import Table
from reports.format.styles import Style
from reports.format.text import Problem, listed, short
from reports.html.html_document import render
from reports.html.packing import AT_ONCE, packed
from reports.pages.run_html import run_details
from reports.pages.run_page import RunView, run_view
from reports.results.questions import asked
from reports.results.section_results import SectionResults, in_numbers
from reports.results.sections import Section, grouped
from reports.results.titles import conditions, differing, row_styles, run_titles, section_titles
from reports.tables import provenance, section_tables
from reports.tables.by_dataset import unit_table
from reports.tables.heatmap import heat_map
from reports.tables.published import beside_published

PACKED_FROM = 100
"""Runs from which a page holds their details packed, and a plain table of them for a browser without scripts."""


@dataclass(frozen=True, slots=True)
class Part:
    """A section as the template shows it."""

    name: str
    title: str
    conditions: list[tuple[str, str]]
    answer: Markup
    verdict: Markup
    limits: Limits | None
    cautions: list[str]
    headline: Table
    charts: list[Chart]
    unmetered: str
    units: Table | None
    heat_map: Table | None
    seeds: Table | None
    costs: Table
    recipes: Table
    recipe_texts: list[tuple[str, str]]


@dataclass(frozen=True, slots=True)
class SuiteView:
    """A suite: what it asks, what its sections answer together, and each of them."""

    name: str
    title: str
    question: str
    methods: list[tuple[str, Style]]
    overviews: list[Overview]
    parts: list[Part]


def page(records: Sequence[RunRecord], problems: Sequence[Problem] = ()) -> str:
    """The report on `records`. Equal sets of records give equal pages, whatever their order."""
    return page_of(in_numbers(records), problems)


def page_of(found: Sequence[SectionResults], problems: Sequence[Problem]) -> str:
    """The same of sections whose numbers are there."""
    styles, titles = row_styles(found), run_titles(found)
    links = {id(record): f"#run{i}" for i, record in enumerate(_runs(found), 1)}
    runs = run_views(found, titles)
    details = packed([joined(run_details(run)) for run in runs]) if len(runs) >= PACKED_FROM else []
    shown = frame(found, styles, titles, links, problems)
    return render("page.html.j2", **shown, runs=runs, run_details=run_details, packed=details, at_once=AT_ONCE)


def frame(
    found: Sequence[SectionResults],
    styles: dict[str, Style],
    run_titles: Mapping[int, str],
    links: Mapping[int, str],
    problems: Sequence[Problem],
) -> dict[str, Any]:
    """All that a report shows, the runs one by one aside; `run_titles`, and `links` to runs, by the record's identity."""
    every = [results.section for results in found]
    titles = section_titles(every)
    once = [section for section in every if not section.again]
    kept = [r for section in once for r in section.records]
    parts = [
        _part(f"s{i}", title, results, styles) for i, (title, results) in enumerate(zip(titles, found, strict=True), 1)
    ]
    return {
        "title": _title(every),
        "parts": parts,
        "suites": _suites(found, titles, parts, styles),
        "published": beside_published(found, titles, styles),
        "differing": listed([name.lower() for name in differing(every)]),
        "facts": _facts(once),
        "span": _span(kept),
        "methods": list(styles.items()),
        "failures": provenance.failure_table(
            [pair for pair in zip(titles, every, strict=True) if not pair[1].again], links
        ),
        "machines": provenance.machine_table(kept),
        "commands": provenance.commands(kept),
        "warnings": provenance.warnings(once, run_titles),
        "problems": [Problem(visible(p.source), block(p.what)) for p in sorted(problems, key=lambda p: (p.source, p.what))],
    }  # fmt: skip


def _suites(
    found: Sequence[SectionResults], titles: Sequence[str], parts: Sequence[Part], styles: dict[str, Style]
) -> list[SuiteView]:
    by_suite = grouped(zip(found, titles, parts, strict=True), lambda one: one[0].section.condition.suite)
    return [
        SuiteView(
            name=f"u{i}",
            title=short(visible(suite), 60),
            question=visible(asked(suite)),
            methods=labelled({row.label for results, _, _ in own for row in results.section.rows}, styles),
            overviews=list(overviews(f"u{i}", [pair for pair, _, _ in own], [title for _, title, _ in own], styles)),
            parts=[part for _, _, part in own],
        )
        for i, (suite, own) in enumerate(by_suite.items(), 1)
    ]


def labelled(labels: Collection[str], styles: dict[str, Style]) -> list[tuple[str, Style]]:
    """The styles of some rows' labels, in the order of them all."""
    return [(label, style) for label, style in styles.items() if label in labels]


def run_views(found: Sequence[SectionResults], titles: Mapping[int, str]) -> list[RunView]:
    """Every run, in the order of the sections, their rows and datasets."""
    return [run_view(f"run{i}", titles[id(record)], record) for i, record in enumerate(_runs(found), 1)]


def _runs(found: Sequence[SectionResults]) -> list[RunRecord]:
    return [r for results in found if not results.section.again for r in results.section.records]


def _part(name: str, title: str, results: SectionResults, styles: dict[str, Style]) -> Part:
    section = results.section
    return Part(
        name=name,
        title=title,
        conditions=[words for words in conditions(section) if words[1]],
        answer=Markup("") if section.costs_only else answer(results),
        verdict=verdict(results),
        limits=limits(f"{name}-front", results, styles),
        cautions=provenance.cautions(section),
        headline=section_tables.headline(f"{name}-headline", results, styles),
        charts=section_charts(name, results, styles),
        unmetered=unmetered(results),
        units=None if section.costs_only else unit_table(f"{name}-datasets", results, styles),
        heat_map=None if section.costs_only else heat_map(f"{name}-map", results, styles),
        seeds=None if section.costs_only else section_tables.seed_table(f"{name}-seeds", results, styles),
        costs=section_tables.cost_table(f"{name}-costs", results, styles),
        recipes=provenance.recipe_table(f"{name}-recipes", section, styles),
        recipe_texts=provenance.recipe_texts(section),
    )


def _title(found: Sequence[Section]) -> str:
    suites = list(dict.fromkeys(short(visible(s.condition.suite), 60) for s in found))
    backbones = list(dict.fromkeys(short(visible(s.condition.backbone), 60) for s in found))
    return f"{listed(suites)} on {listed(backbones)}" if found else "No results"


def _facts(found: Sequence[Section]) -> list[tuple[str, str | Markup]]:
    records = [r for section in found for r in section.records]
    finished = sum(r.status == "ok" for r in records)
    counted = [
        ("Method", len({r.key.method for r in records})),
        ("Dataset", len({r.key.dataset for r in records})),
        ("Seed", len({r.key.seed for r in records})),
        ("Machine", len({r.environment.machine for r in records})),
    ]
    failed = Markup('<a href="#failures-section">{} of {}</a>').format(finished, len(records))
    runs = str(finished) if finished == len(records) else failed
    return [*((noun if n == 1 else f"{noun}s", str(n)) for noun, n in counted), ("Runs finished", runs)]


def _span(records: Iterable[RunRecord]) -> str:
    days = sorted({visible(r.started_at[:10]) for r in records})
    return " to ".join(dict.fromkeys([days[0], days[-1]])) if days else ""
