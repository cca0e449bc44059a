"""What the sections of a suite show together, or one of them shows beyond its scores: the answer to the suite's question."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from markupsafe import Markup

from reports.charts.section_charts import Chart
from reports.format.cells import Table
from reports.format.text import listed
from reports.results.section_results import SectionResults

NAMED = 4
"""So many methods of one kind are named at most."""


@dataclass(frozen=True, slots=True)
class Overview:
    """`answer` is HTML, escaped; `explained` says in plain words what the tables and charts hold. `name` starts every id."""

    name: str
    title: str
    answer: Markup
    explained: str
    tables: tuple[Table, ...]
    charts: tuple[Chart, ...] = ()


def strong(name: str) -> Markup:
    """A name in an answer."""
    return Markup("<strong>{}</strong>").format(name)


def several(names: Sequence[str]) -> Markup:
    """Names in an answer, not too many."""
    return Markup(listed([str(strong(name)) for name in names], NAMED))


def unsure(rows: Sequence[str], results: SectionResults) -> Markup:
    """Of which rows nothing is said, and why: they could not be compared."""
    lone = (results.summary["seeds"].loc[list(rows)] == 1).all()
    why = "one seed only" if lone else "too few seeds in common with the others"
    return Markup("{}, with {}, nothing can be said for sure").format(several(rows), why)
