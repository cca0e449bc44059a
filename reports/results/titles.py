"""How sections, runs and rows are told from one another: titles, and a style for each row."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from harness.records import RunRecord
from harness.visible import visible
from reports.format.styles import Style, distinct_styles
from reports.format.text import plural, short, shown
from reports.results.section_results import SectionResults
from reports.results.sections import REFERENCE, Section, grouped


def row_styles(found: Sequence[SectionResults]) -> dict[str, Style]:
    """A style for every row's label, the same on every page of a report."""
    references = frozenset(row.label for results in found for row in results.section.rows if row.method == REFERENCE)
    return distinct_styles([[row.label for row in results.section.rows] for results in found], references)


def section_titles(found: Sequence[Section]) -> list[str]:
    """For each section its suite, and whatever else tells it from the others of that suite."""
    titles = []
    for section in found:
        words = _words(section)
        apart = differing([other for other in found if other.condition.suite == section.condition.suite])
        titles.append(", ".join([words["Suite"], *(words[name] for name in apart if words[name])]))
    return titles


def run_titles(found: Sequence[SectionResults]) -> dict[int, str]:
    """By a record's identity: row, dataset, shots and seed, and whatever else tells the run from others alike in these."""
    sections = [results.section for results in found]
    words = map(_words, sections)
    runs = [(run_title(row.label, record), own, record) for section, own in zip(sections, words, strict=True)
            if not section.again for row in section.rows for record in row.records]  # fmt: skip
    titles: dict[int, str] = {}
    for title, alike in grouped(runs, lambda run: run[0]).items():
        apart = _telling([own for _, own, _ in alike]) if len(alike) > 1 else ()
        titles |= {
            id(record): ", ".join([title, *(own[name] for name in apart if own[name])]) for _, own, record in alike
        }
    return titles


def run_title(label: str, record: RunRecord) -> str:
    """A run by its row's label, its dataset, shots and seed."""
    key = record.key
    return f"{label} on {shown(key.dataset, 60)}, {plural(key.shots, 'shot')}, seed {key.seed}"


def conditions(section: Section) -> list[tuple[str, str]]:
    """What all runs of a section share, in words; empty ones where there is nothing to say."""
    c = section.condition
    words = [
        ("Suite", c.suite),
        ("Shots", str(c.shots)),
        ("Backbone", f"{c.backbone}, {c.weights}"),
        ("Machine", c.machine),
        ("Device", c.device),
        ("Precision", c.precision),
        ("Execution", c.execution),
        ("Prompt template", c.template or "the datasets' own"),
        ("Training", f"cut off after {c.steps} steps: accuracies mean nothing" if c.steps else "to its end"),
        ("Figures", "simulated: no time, no accuracy" if c.simulated else "measured"),
        ("Contents", c.contents),
    ]
    return [(name, short(visible(text), 120)) for name, text in words]


def differing(found: Sequence[Section]) -> list[str]:
    """The names of the conditions in which the sections are not all alike."""
    columns = zip(*map(conditions, found), strict=True)
    return [column[0][0] for column in columns if len(set(column)) > 1]


def _telling(conditions: Sequence[Mapping[str, str]]) -> list[str]:
    """As few names of conditions, from the first on, as tell apart what all would."""
    names: list[str] = []
    for name in conditions[0]:
        told, more = ({tuple(own[n] for n in some) for own in conditions} for some in (names, [*names, name]))
        if len(more) > len(told):
            names.append(name)
    return names


def _words(section: Section) -> dict[str, str]:
    """A section's conditions, each in words that stand by themselves."""
    words = dict(conditions(section))
    shots, execution = plural(section.condition.shots, "shot"), f"{words['Execution']} execution"
    return words | {"Shots": shots, "Execution": execution}
