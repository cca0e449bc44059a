"""What the sections of a suite show together, or one of them shows beyond its scores: the answer to the suite's question."""

from __future__ import annotations

from dataclasses import dataclass

from markupsafe import Markup

from reports.cells import Table
from reports.groups import Section
from reports.pictures import Chart
from reports.tables import Tables

Found = tuple[Section, Tables]


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
