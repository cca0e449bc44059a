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
    def untested(self) -> bool:
        """Whether none of the rows that there are could be compared."""
        return len(self.p) > 0 and bool(self.p.isna().all())

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
    """How many rows are surely above the reference where they were trained, and which are surely below it elsewhere.

    Every adapted row is accounted for, in each of the two sentences.
    """
    adapted = results.summary.index[results.summary["method"] != REFERENCE]
    finished = list(results.complete[f"{other}_gain"].dropna().index)
    if not finished:
        return Markup("")
    here, there = (_against(results, finished, metric) for metric in (trained, other))
    unfinished = _named("has not finished", "have not finished", [row for row in adapted if row not in finished])
    if here.untested or there.untested:
        equal = _as_reference(results, finished, other, f"{REFERENCE} on {on_other}")
        rest = Markup("").join(Markup(" {}.").format(clause) for clause in (*equal, *unfinished))
        return _unsure(results, here.gains, there.gains, on_trained, on_other) + rest
    first, *more = [*_clauses(here, REFERENCE), *_as_reference(results, finished, trained, REFERENCE)]
    opening = Markup("Of {}, {} on {}").format(plural(len(adapted), "adapted method"), first, on_trained)
    elsewhere = [*_clauses(there, "it", named=True), *_as_reference(results, finished, other, "it")]
    words = Markup("{}. On {}, {}.").format(
        Markup("; ").join([opening, *more, *unfinished]), on_other, Markup("; ").join(elsewhere)
    )
    untested = [str(row) for row in here.p.index[here.p.isna()]]
    return words + (Markup(" Of {}.").format(unsure(untested, results)) if untested else "")


def _as_reference(results: SectionResults, rows: Sequence[str], metric: str, reference: str) -> list[Markup]:
    """Those that score what the reference does, in every run."""
    equal = [row for row in rows if results.borrowed(row, metric)]
    return _named(f"scores the same as {reference}", f"score the same as {reference}", equal)


def _named(one: str, several: str, rows: Sequence[str]) -> list[Markup]:
    """``2 have not finished (coop and maple)``; nothing where there is none."""
    names = Markup(listed([str(strong(str(row))) for row in rows]))
    return [Markup("{} {} ({})").format(len(rows), one if len(rows) == 1 else several, names)] if rows else []


def _against(results: SectionResults, rows: Sequence[str], metric: str) -> Against:
    """Those with a figure of their own, tested on that very metric, with Holm's correction for the rows that have finished."""
    rows = [row for row in rows if not results.borrowed(row, metric)]
    reference = str(results.complete.index[results.complete["method"] == REFERENCE][0])
    found = results.compared_with(reference, metric)
    gains = results.summary[f"{metric}_gain"].loc[rows].sort_values()
    return Against(gains, pd.Series({row: found[frozenset((reference, row))] for row in gains.index}, dtype=float))


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
