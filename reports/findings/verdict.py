"""The verdict: two sentences that follow from the results, and no further than they carry."""

from __future__ import annotations

from collections.abc import Iterator

import pandas as pd
from markupsafe import Markup

from reports.findings.finding import several, unsure
from reports.format import units
from reports.format.text import plural
from reports.results import quantities
from reports.results.quantities import BATCH, TRAIN, TRAIN_PEAK
from reports.results.scores import SCORE_MEANINGS, SCORE_WORDS
from reports.results.section_results import SectionResults
from reports.results.sections import REFERENCE
from reports.results.statistics import p_words

ALONE = Markup("<strong>{}</strong> is the only one to have finished every dataset, with {}<b>{}</b> ({})")
NOTICEABLE = 1.05
"""The ratio of two times from which the page speaks of a difference."""


def verdict(results: SectionResults) -> Markup:
    """Which method scores best, which are tied with it, and what it costs against the cheapest of those. HTML, escaped.

    Where only costs count: which method has least of each.
    """
    ranked, datasets = results.competing(results.main), len(results.section.datasets)
    if results.section.costs_only:
        return Markup(" ").join(_cheapest(results.complete)) or Markup("Fewer than two methods finished.")
    if ranked.empty:
        return Markup("No method has finished every dataset, so none is ranked.")
    tied = results.tied_with_best()
    sentences = [_best(results, ranked, tied), *_reference_wins(ranked), *_cost(ranked, tied, results.main, datasets)]
    return Markup(" ").join(sentences)


def _best(results: SectionResults, ranked: pd.DataFrame, tied: list[str]) -> Markup:
    main, best = results.main, ranked.iloc[0]
    margin, gain = best[f"{main}_margin"], best[f"{main}_gain"]
    over = plural(int(best["seeds"]), "seed")
    sure = f"95 % interval {units.percent_range(best[main], margin)}, {over}" if margin >= 0.005 else over
    alone = len(results.complete) == 1 < len(results.summary)
    words = ALONE if alone else Markup("<strong>{}</strong> has the best {}<b>{}</b> ({})")
    score = ", ".join(filter(None, (SCORE_WORDS[main], SCORE_MEANINGS.get(main)))) + (
        ": " if main in SCORE_MEANINGS else ", "
    )
    clauses = [words.format(best.name, score, units.percent(best[main]), sure)]
    clauses += [Markup("{} points above {}").format(f"{gain:.2f}", REFERENCE)] if pd.notna(gain) else []
    return Markup(", ").join(clauses) + _sureness(results, ranked, tied) + Markup(".")


def _sureness(results: SectionResults, ranked: pd.DataFrame, tied: list[str]) -> Markup:
    """Whether the next is tied with the best, clearly behind, or not comparable; and which others can't be compared with it."""
    first, *others = ranked.index
    untested = results.untested_with_best()
    if not others:
        return Markup("")
    if untested == others:
        return Markup(", and, with too few seeds for a comparison, how sure this order is can't be said")
    if tied:
        sure = Markup(", statistically tied with {}").format(several(tied))
    else:
        second = next(row for row in others if row not in untested)
        behind = ranked[results.main].iloc[0] - ranked[results.main][second]
        sure = Markup(", with <strong>{}</strong> clearly behind it, by {} points ({})").format(
            second, f"{behind:.2f}", p_words(results.comparisons[frozenset((first, second))]))  # fmt: skip
    return sure + (Markup("; of {}").format(unsure(untested, results)) if untested else "")


def _cheapest(ranked: pd.DataFrame) -> Iterator[Markup]:
    """The quickest epoch, then the smallest peak, each against the largest of its kind."""
    for cost in quantities.ranking_costs():
        known = ranked[cost.name].dropna().sort_values()
        if len(known) > 1 and known.iloc[0] > 0:
            first, last = (
                f"{cost.text(known[row])}{_batch(ranked, row) if cost.metered else ''}"
                for row in (known.index[0], known.index[-1])
            )
            yield Markup("<strong>{}</strong> {}, <b>{}</b>; <strong>{}</strong> takes {}, {} as much.").format(
                known.index[0], cost.least, first, known.index[-1], last, units.times(known.iloc[-1] / known.iloc[0])
            )


def _batch(ranked: pd.DataFrame, row: str) -> str:
    """The batch of a row's step, where those of the rows differ."""
    sizes = ranked[BATCH.name].dropna()
    return f" at batch {sizes[row]:g}" if row in sizes and sizes.nunique() > 1 else ""


def _reference_wins(ranked: pd.DataFrame) -> Iterator[Markup]:
    if ranked.iloc[0]["method"] == REFERENCE and len(ranked) > 1:
        yield Markup("No adaptation here improves on the backbone as it is.")


def _cost(ranked: pd.DataFrame, tied: list[str], main: str, datasets: int) -> Iterator[Markup]:
    """The best method's training, and what costs less."""
    best = ranked.iloc[0]
    seconds, peak = best[TRAIN.name], best[TRAIN_PEAK.name]
    if pd.isna(seconds):
        return
    memory = f" with a peak of {TRAIN_PEAK.text(peak)}" if pd.notna(peak) else ""
    on = {1: "", 2: " for both datasets"}.get(datasets, f" for all {datasets} datasets")
    yield Markup("Training <strong>{}</strong> takes {}{}{}{}.").format(
        best.name, TRAIN.text(seconds), on, memory, _cheaper(ranked, tied, main)
    )


def _cheaper(ranked: pd.DataFrame, tied: list[str], main: str) -> Markup:
    """A tied reference, which costs nothing; else the quickest of the best method's equals, or of all. And what it gives up."""
    best, equals = ranked.iloc[0], ranked.loc[[ranked.index[0], *tied]]
    lower = (best[main] - ranked[main]).map("{:.2f} points lower".format)
    for free in equals.index[equals["method"] == REFERENCE]:
        return Markup("; <strong>{}</strong>, which needs no training, can't be told from it and is {}").format(
            free, lower[free]
        )
    for rivals, among in ((equals, "of those tied"), (ranked, "of all")):
        quickest = rivals.sort_values(TRAIN.name).iloc[0]
        if best[TRAIN.name] > NOTICEABLE * quickest[TRAIN.name] > 0:
            return Markup("; the quickest {}, <strong>{}</strong>, needs {}, {} less, and is {}").format(
                among,
                quickest.name,
                TRAIN.text(quickest[TRAIN.name]),
                units.times(best[TRAIN.name] / quickest[TRAIN.name]),
                lower[quickest.name],
            )
    return Markup("")
