"""A run in full as HTML. A site has a page for each of thousands of runs, so it is written here and not by a template."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import lru_cache

from markupsafe import Markup

from harness.visible import joined
from reports.charts.sparklines import Trace
from reports.format.cells import Column, Table
from reports.format.text import shown
from reports.html.markup import OFTEN, cell, escaped, heading, plain, show, table_cell
from reports.pages.run_page import RunView
from reports.results.classes import Classes

_CLASS_COLUMNS = [Column("Class", numeric=False), Column("Accuracy", "%"), Column("Images"),
                  Column("Most often taken for", numeric=False)]  # fmt: skip


RUN_FIELDS = ("title", "places", "summary", "details", "folded", "classes")
"""What one run's page has other than the next one's."""


def run_fields(run: RunView, environment: str, places: Sequence[tuple[str, str, str]]) -> dict[str, str]:
    """The fields of a run's page, in a folder of the site. places: kind, name and path of what the run belongs to."""
    leading = [
        f'{kind} <a href="../{escaped(path)}"><bdi>{escaped(shown(name, 60))}</bdi></a>' for kind, name, path in places
    ]
    recipe = _folded("Recipe and settings", _preformatted(run.recipe)) if run.recipe else ""
    tables = [_folded(escaped(caption), f"\n{table}\n") + "\n" for caption, table in class_tables(run.classes)]
    return {
        "title": joined(escaped(run.title)),
        "places": " · ".join(leading),
        "summary": joined(escaped(run.summary)),
        "details": joined(run_details(run)),
        "folded": joined(f"{recipe}{_folded('Environment', _preformatted(environment))}\n"),
        "classes": "".join(tables),
    }


def run_details(run: RunView) -> Markup:
    """What stands below a run's title: facts, what went wrong, phases, curves, tests, memory, warnings and command."""
    tables = [plain(table) for table in (run.tests, run.windows) if table.rows]
    tables += [f'<p class="prose above">{escaped(table.caption)}:</p>{plain(table)}'
               for table in (run.categories, run.blocks) if table.rows]  # fmt: skip
    return Markup("".join([_facts(run), _failure(run), _phases(run), _traces(run), *tables, _messages(run)]))


def _facts(run: RunView) -> str:
    facts = "".join(
        [f"<div><dt>{escaped(name)}</dt><dd><bdi>{escaped(value)}</bdi></dd></div>\n" for name, value in run.facts]
    )
    return f'<dl class="conditions">\n{facts}</dl>\n'


def _failure(run: RunView) -> str:
    reason = _preformatted(run.reason) if run.reason else ""
    if not run.traceback:
        return reason
    return reason + _folded("Traceback", _preformatted(run.traceback))


def _phases(run: RunView) -> str:
    phases = "".join([
        f'<div><dt>{phase}</dt><dd><svg viewBox="0 0 100 10" preserveAspectRatio="none" aria-hidden="true">{bar}</svg>'
        f"<span>{took}</span></dd></div>\n"
        for phase, took, bar in run.phases
    ])  # fmt: skip
    return f'<dl class="timeline">\n{phases}</dl>\n' if phases else ""


def _traces(run: RunView) -> str:
    traces = "".join(map(_trace, run.traces))
    return f'<div class="traces">\n{traces}</div>\n' if traces else ""


def _trace(trace: Trace) -> str:
    return (
        f"<figure><figcaption><strong>{escaped(trace.title)}</strong> {escaped(trace.words)}</figcaption>\n"
        f'<div class="axes" data-high="{trace.y[1]}" data-low="{trace.y[0]}"><svg viewBox="0 0 100 40" preserveAspectRatio="none" '
        f'aria-hidden="true">{trace.svg}</svg><p data-first="{trace.x[0]}" data-last="{trace.x[1]}"></p></div></figure>\n'
    )


def _messages(run: RunView) -> str:
    warnings = "".join(f'<li><div class="message" tabindex="0">{escaped(text)}</div></li>' for text in run.warnings)
    found = f'<ul class="messages">{warnings}</ul>' if warnings else ""
    return found + (_preformatted(run.command) if run.command else "")


def _folded(summary: str, content: str) -> str:
    return f'<details class="fold"><summary>{summary}</summary>{content}</details>'


def _preformatted(text: str) -> str:
    return f'<pre tabindex="0">{escaped(text)}</pre>'


def class_tables(classes: Classes) -> Iterator[tuple[str, str]]:
    """A caption and a table for each test: a line a class, its accuracy, and the class that its images are most often taken for."""
    for i, (test, results) in enumerate(classes.items(), 1):
        percents = results.accuracy_percents
        unknown = None in percents
        scores = [_unknown(i) if p is None else _score(p) for p in percents] if unknown else map(_score, percents)
        cells = zip(map(_name, results.names), scores, map(_images, results.images),
                    map(_taken_for, results.others, results.mistaken), strict=True)  # fmt: skip
        caption, start, end = _class_table(i, test, len(percents), unknown)
        yield caption, f"{start}{_BETWEEN.join(map(''.join, cells))}{end}"


_BETWEEN = "\n"


@lru_cache(maxsize=1024)
def _class_table(number: int, test: str, lines: int, unknown: bool) -> tuple[str, str, str]:
    """Its caption, and what stands before and behind so many lines; unknown: whether some class has no image."""
    table = _of_classes(number, test)
    if unknown:
        table.absent(_NO_IMAGE)
    marks = ["\ue000"] * lines
    start, end = show(table, lines=marks).split(_BETWEEN.join(marks))
    return table.caption, start, end


@lru_cache(maxsize=1024)
def _unknown(number: int) -> str:
    table = _of_classes(number, "")
    return f"{table_cell(table, _CLASS_COLUMNS[1], table.absent(_NO_IMAGE))}\n"


def _of_classes(number: int, test: str) -> Table:
    caption = f"Classes of {shown(test, 60)}"
    return Table(f"classes{number}", caption, _CLASS_COLUMNS, features=("filter",), kind="wordy")


_NO_IMAGE = "No image."


@lru_cache(maxsize=OFTEN)
def _name(text: str) -> str:
    """The start of a row, up to its second cell."""
    return f"<tr>\n{heading(text)}\n"


@lru_cache(maxsize=OFTEN)
def _score(percent: float) -> str:
    return f"{cell(f'{percent:.1f}', percent)}\n"


@lru_cache(maxsize=OFTEN)
def _images(number: int) -> str:
    return f"{cell(f'{number:,}', number)}\n"


@lru_cache(maxsize=OFTEN)
def _taken_for(other: str, mistaken: int) -> str:
    """The last cell of a row, and the end of it."""
    if not mistaken:
        return _NO_OTHER
    number = f"{mistaken:,}"
    before, after = _around(other, len(number))
    return f"{before}{number}{after}"


_NO_OTHER = f"{cell('no other', numeric=False)}\n</tr>"


@lru_cache(maxsize=OFTEN)
def _around(other: str, digits: int) -> tuple[str, str]:
    """What stands before and behind a number of so many characters: there are far fewer names than pairs of a name and a number."""
    mark = "0" * digits
    before, _, after = cell(f"{other} ({mark})", numeric=False).rpartition(mark)
    return before, f"{after}\n</tr>"
