"""Records to one self-contained HTML page, as text: no file, no clock, no network."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cache

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from harness.records import RunRecord
from reports import charts, provenance, views
from reports.cells import Table
from reports.charts import Style
from reports.groups import REFERENCE, Section, sections
from reports.tables import tables
from reports.text import Problem, block, listed, plural, short, visible
from reports.verdict import verdict


@dataclass(frozen=True, slots=True)
class Part:
    """A section as the template shows it."""

    name: str
    title: str
    conditions: list[tuple[str, str]]
    verdict: Markup
    cautions: list[str]
    headline: Table
    charts: list[views.Chart]
    units: Table
    costs: Table
    recipes: Table
    recipe_texts: list[tuple[str, str]]


def page(records: Sequence[RunRecord], problems: Sequence[Problem] = ()) -> str:
    """The report on `records`. Equal sets of records give equal pages, whatever their order."""
    found = sections(records)
    styles = _styles(found)
    parts = [_part(f"s{i}", section, found, styles) for i, section in enumerate(found, 1)]
    kept = [r for section in found for r in section.records]
    return _environment().get_template("page.html.j2").render(
        title=_title(found),
        parts=parts,
        differing=listed([name.lower() for name in _differing(found)]),
        facts=_facts(found),
        span=_span(kept),
        styles=styles,
        failures=provenance.failure_table(found),
        machines=provenance.machine_table(kept),
        commands=provenance.commands(kept),
        warnings=provenance.warnings(found),
        problems=[Problem(visible(p.source), block(p.what)) for p in sorted(problems, key=lambda p: (p.source, p.what))],
        **_inlined(),
    )  # fmt: skip


def _part(name: str, section: Section, others: Sequence[Section], styles: dict[str, Style]) -> Part:
    found = tables(section)
    return Part(
        name=name,
        title=_section_title(section, others),
        conditions=_conditions(section),
        verdict=verdict(found, len(section.datasets)),
        cautions=provenance.cautions(section),
        headline=views.headline(f"{name}-headline", section, found, styles),
        charts=views.section_charts(name, found, styles),
        units=views.unit_table(f"{name}-datasets", section, found, styles),
        costs=views.cost_table(f"{name}-costs", section, found, styles),
        recipes=provenance.recipe_table(f"{name}-recipes", section, styles),
        recipe_texts=provenance.recipe_texts(section),
    )


def _styles(found: Sequence[Section]) -> dict[str, Style]:
    rows = [row for section in found for row in section.rows]
    return charts.styles([r.label for r in rows], frozenset(r.label for r in rows if r.method == REFERENCE))


def _conditions(section: Section) -> list[tuple[str, str]]:
    c = section.condition
    words = [
        ("Suite", c.suite),
        ("Shots", str(c.shots)),
        ("Backbone", f"{c.backbone}, {c.weights}"),
        ("Machine", c.machine),
        ("Device", c.device),
        ("Precision", c.precision),
        ("Execution", c.execution),
    ]
    return [(name, short(visible(text), 120)) for name, text in words]


def _section_title(section: Section, others: Sequence[Section]) -> str:
    """The suite, and whatever else tells this section from the others."""
    mine = dict(_conditions(section))
    differing = _differing(others)
    return ", ".join([mine["Suite"], *(text for name, text in mine.items() if name in differing and name != "Suite")])


def _differing(found: Sequence[Section]) -> list[str]:
    """The names of the conditions in which the sections are not all alike."""
    columns = zip(*map(_conditions, found), strict=True)
    return [column[0][0] for column in columns if len(set(column)) > 1]


def _title(found: Sequence[Section]) -> str:
    suites = list(dict.fromkeys(short(visible(s.condition.suite), 60) for s in found))
    backbones = list(dict.fromkeys(short(visible(s.condition.backbone), 60) for s in found))
    return f"{listed(suites)} on {listed(backbones)}" if found else "No results"


def _facts(found: Sequence[Section]) -> list[tuple[str, str]]:
    records = [r for section in found for r in section.records]
    finished = sum(r.status == "ok" for r in records)
    counted = [
        ("Method", len({r.key.method for r in records})),
        ("Dataset", len({r.key.dataset for r in records})),
        ("Seed", len({r.key.seed for r in records})),
        ("Machine", len({r.environment.machine for r in records})),
    ]
    runs = str(finished) if finished == len(records) else f"{finished} of {len(records)}"
    return [*((noun if n == 1 else f"{noun}s", str(n)) for noun, n in counted), ("Runs finished", runs)]


def _span(records: Iterable[RunRecord]) -> str:
    days = sorted({visible(r.started_at[:10]) for r in records})
    return " to ".join(dict.fromkeys([days[0], days[-1]])) if days else ""


@cache
def _environment() -> Environment:
    environment = Environment(
        loader=PackageLoader("reports"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["plural"] = plural
    return environment


def _inlined() -> dict[str, Markup | str]:
    """The style and the script, as they stand in the page, and a policy that allows these and nothing else."""
    loader = _environment()
    style, script = (loader.loader.get_source(loader, name)[0] for name in ("page.css", "page.js"))  # type: ignore[union-attr]
    policy = (
        f"default-src 'none'; style-src '{_digest(style)}'; script-src '{_digest(script)}'; img-src data:; "
        "base-uri 'none'; form-action 'none'"
    )
    return {"style": Markup(style), "script": Markup(script), "policy": policy}


def _digest(text: str) -> str:
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
