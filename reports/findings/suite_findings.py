"""Which overviews a suite has: what its sections show together, and what single ones show beyond their scores."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

from reports.findings.ablation import ablations
from reports.findings.analysis import analysed
from reports.findings.executions import executions
from reports.findings.finding import Overview
from reports.findings.shots import over_shots
from reports.format.styles import Style
from reports.results.section_results import SectionResults
from reports.results.sections import grouped


def overviews(
    name: str, found: Sequence[SectionResults], titles: Sequence[str], styles: dict[str, Style]
) -> Iterator[Overview]:
    """Those of one suite's sections, whose `titles` tell them apart; ids start with `name`."""
    by_shots = grouped(found, lambda results: (results.main, replace(results.section.condition, shots=0)))
    by_execution = grouped(found, lambda results: (results.main, replace(results.section.condition, execution="")))
    for i, family in enumerate(by_execution.values()):
        if len(family) > 1:
            words = _worded("Authors' arithmetic against fast execution", found, family, titles)
            yield executions(f"{name}e{i}", words, family, styles)
    for i, family in enumerate(by_shots.values()):
        if len(family) > 1 and not family[0].section.costs_only:
            words = _worded("Accuracy by number of shots", found, family, titles)
            yield over_shots(f"{name}f{i}", words, family, styles)
    for i, (results, title) in enumerate(zip(found, titles, strict=True)):
        alone = "" if len(found) == 1 else title
        yield from analysed(f"{name}g{i}", alone, results, styles)
        yield from ablations(f"{name}a{i}", alone, results, styles)


def _worded(
    words: str, found: Sequence[SectionResults], family: Sequence[SectionResults], titles: Sequence[str]
) -> str:
    """A family's title, with its first section's where there are other families."""
    if len(family) == len(found):
        return words
    own = {id(results): title for results, title in zip(found, titles, strict=True)}
    return f"{words}: {own[id(family[0])]}"
