"""What the scores say to a suite's question, beside which method is best."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import chain, repeat

import pandas as pd
from markupsafe import Markup

from reports.findings.finding import strong, unsure
from reports.format import units
from reports.format.text import listed, plural
from reports.results.section_results import SectionResults
from reports.results.sections import REFERENCE
from reports.results.statistics import SIGNIFICANCE

NAMED = 3
"""So many methods are named at most."""


@dataclass(frozen=True, slots=True)
class Against:
    """Rows beside the reference on one metric: their gains, lowest first, and Holm's p of each, NaN without a comparison."""

    gains: pd.Series
    p: pd.Series

    @property
    def above(self) -> pd.Series:
        return self.gains[(self.gains > 0) & (self.p <= SIGNIFICANCE)]

    @property
    def below(self) -> pd.Series:
        return self.gains[(self.gains < 0) & (self.p <= SIGNIFICANCE)]


def answer(results: SectionResults) -> Markup:
    """Whether adapting costs accuracy on other classes or data: HTML, escaped; empty without a reference to compare with."""
    if results.main == "h":
        return _kept(results, "base", "new", "the classes trained on", "the other classes")
    if results.metrics == ("source", "target"):
        return _kept(results, "source", "target", "what they were trained on", "the targets")
    return Markup("")


def _kept(results: SectionResults, trained: str, other: str, on_trained: str, on_other: str) -> Markup:
    """How many rows are surely above the reference where they were trained, and which are surely below it elsewhere."""
    rows = list(results.competing(other)[f"{other}_gain"].dropna().index)
    if not rows:
        return Markup("")
    here, there = (_against(results, rows, metric) for metric in (trained, other))
    if here.p.isna().all() or there.p.isna().all():
        return _unsure(results, here.gains, there.gains, on_trained, on_other)
    first, *rest = _clauses(here, REFERENCE)
    opening = Markup("Of {}, {} on {}").format(plural(len(rows), "adapted method"), first, on_trained)
    words = Markup("{}. On {}, {}.").format(
        Markup("; ").join([opening, *rest]), on_other, Markup("; ").join(_clauses(there, "it", named=True))
    )
    untested = [str(row) for row in here.p.index[here.p.isna()]]
    words += Markup(" Of {}.").format(unsure(untested, results)) if untested else ""
    return words + _not_counted(results, rows, other, on_other)


def _not_counted(results: SectionResults, rows: Sequence[str], other: str, on_other: str) -> Markup:
    """The adapted rows that the sentences before are not about, and why."""
    left_out = [str(row) for row in results.summary.index[results.summary["method"] != REFERENCE] if row not in rows]
    zero_shot = [row for row in left_out if results.borrowed(row, other)]
    unfinished = [row for row in left_out if row not in zero_shot]
    why = {f"as {REFERENCE} on {on_other}": zero_shot, "unfinished": unfinished}
    parts = [f"{listed(named, NAMED)} ({words})" for words, named in why.items() if named]
    return Markup(" Not counted: {}.").format("; ".join(parts)) if parts else Markup("")


def _against(results: SectionResults, rows: Sequence[str], metric: str) -> Against:
    """Tested on that very metric, with Holm's correction for the rows that have finished."""
    reference = str(results.complete.index[results.complete["method"] == REFERENCE][0])
    found = results.compared_with(reference, metric)
    gains = results.summary[f"{metric}_gain"].loc[list(rows)].sort_values()
    return Against(gains, pd.Series({row: found[frozenset((reference, row))] for row in gains.index}))


def _clauses(against: Against, reference: str, named: bool = False) -> Iterator[Markup]:
    """How many are above and below the reference, which is "it" from the second clause on; named: those below. Then the tied."""
    above, below, it = against.above, against.below, chain([reference], repeat("it"))
    alike = int((against.p > SIGNIFICANCE).sum())
    if len(above):
        yield Markup("{} above {}").format(_score(len(above)), next(it))
    if len(below):
        yield Markup("{} below {}{}").format(
            _score(len(below)), next(it), Markup(": ") + _losers(below) if named else ""
        )
    if alike:
        share = "none can" if alike == len(against.gains) else f"{alike} can't"
        yield Markup("{} be told from {}").format(share, next(it))


def _unsure(results: SectionResults, here: pd.Series, there: pd.Series, on_trained: str, on_other: str) -> Markup:
    """Which way the figures point, where nothing can be tested."""
    words = "From {} nothing can be said for sure. As it stands, {} of {} {} above {} on {}, and {} below it on {}."
    seeds, methods = plural(int(results.complete["seeds"].min()), "seed"), plural(len(here), "adapted method")
    gaining, losing = (int((here > 0).sum()), int((there < 0).sum()))
    verb = "scores" if gaining == 1 else "score"
    return Markup(words).format(seeds, gaining, methods, verb, REFERENCE, on_trained, losing or "none", on_other)


def _score(number: int) -> str:
    return f"{number} {'scores' if number == 1 else 'score'}"


def _losers(losing: pd.Series) -> Markup:
    """Those that lose most, with what they lose."""
    shown = [str(Markup("{} ({})").format(strong(str(label)), units.points(gain)))
             for label, gain in losing.items()]  # fmt: skip
    return Markup(listed(shown, NAMED))
