"""The verdict: sentences that follow from the numbers, and no further than they carry."""

from __future__ import annotations

from collections.abc import Iterator

import pandas as pd
from markupsafe import Markup

from reports import units
from reports.groups import REFERENCE
from reports.tables import Tables
from reports.text import listed, plural

SCORE = {"h": "H", "accuracy": "average accuracy"}

NOTICEABLE = 1.05
"""The ratio of two times from which the page speaks of a difference."""


def verdict(tables: Tables, datasets: int) -> Markup:
    """Which method scores best, which are tied with it, and what it costs against the cheapest of those. HTML, escaped."""
    ranked = tables.complete
    if ranked.empty:
        return Markup("No method has finished every dataset, so none is ranked.")
    tied = tied_with_best(ranked, tables.main)
    sentences = [
        *_best(ranked, tables.main),
        *_ties(ranked, tied, tables.main),
        *_cost(ranked, tied, tables.main, datasets),
    ]
    return Markup(" ").join(sentences)


def tied_with_best(ranked: pd.DataFrame, main: str) -> list[str]:
    """The rows after the first whose score is no further off than the larger of the two spreads over seeds."""
    best, others = ranked.iloc[0], ranked.iloc[1:]
    spread = others[f"{main}_sd"].clip(lower=best[f"{main}_sd"])
    return list(others.index[best[main] - others[main] <= spread])


def _best(ranked: pd.DataFrame, main: str) -> Iterator[Markup]:
    best = ranked.iloc[0]
    spread = best[f"{main}_sd"]
    over = plural(int(best["seeds"]), "seed")
    sure = f"sd {spread:.2f} over {over}" if pd.notna(spread) else over
    gain = best[f"{main}_gain"]
    yield Markup("<strong>{}</strong> has the best {}: <b>{}</b> ({}){}.").format(
        best.name,
        SCORE[main],
        units.percent(best[main]),
        sure,
        f", {gain:.2f} points above {REFERENCE}" if pd.notna(gain) else "",
    )
    if best["method"] == REFERENCE and len(ranked) > 1:
        yield Markup("No adaptation here improves on the backbone as it is.")


def _ties(ranked: pd.DataFrame, tied: list[str], main: str) -> Iterator[Markup]:
    if tied:
        yield Markup("{} {} tied with it within the spread over seeds.").format(
            _strong(tied), "is" if len(tied) == 1 else "are"
        )
    elif len(ranked) > 1 and pd.isna(ranked[f"{main}_sd"].iloc[:2]).any():
        yield Markup("With a single seed no spread is known, so how sure this order is can't be said.")
    elif len(ranked) > 1:
        behind = ranked[main].iloc[0] - ranked[main].iloc[1]
        yield Markup("<strong>{}</strong> follows {:.2f} points behind, more than the spread over seeds.").format(
            ranked.index[1], behind
        )


def _cost(ranked: pd.DataFrame, tied: list[str], main: str, datasets: int) -> Iterator[Markup]:
    """The best method's training, then the cheapest of its equals, or else the cheapest of all and what it gives up."""
    best = ranked.iloc[0]
    timed = ranked[ranked["train_seconds"].notna()]
    if best.name not in timed.index:
        return
    memory = f" with a peak of {units.size(best['train_peak_bytes'])}" if pd.notna(best["train_peak_bytes"]) else ""
    on = {1: "", 2: " for both datasets"}.get(datasets, f" for all {datasets} datasets")
    took = units.duration(best["train_seconds"])
    yield Markup("Training <strong>{}</strong> takes {}{}{}.").format(best.name, took, on, memory)
    equals = timed.loc[[best.name, *(name for name in tied if name in timed.index)]]
    for rivals, among in ((equals, "of those tied"), (timed, "of all")):
        cheapest = rivals.sort_values("train_seconds").iloc[0]
        if best["train_seconds"] > NOTICEABLE * cheapest["train_seconds"] > 0:
            yield Markup("The quickest {}, <strong>{}</strong>, needs {}, {} less{}.").format(
                among,
                cheapest.name,
                units.duration(cheapest["train_seconds"]),
                units.times(best["train_seconds"] / cheapest["train_seconds"]),
                "" if among == "of those tied" else f", and is {best[main] - cheapest[main]:.2f} points lower",
            )
            return


def _strong(names: list[str]) -> Markup:
    return Markup(listed([str(Markup("<strong>{}</strong>").format(name)) for name in names]))
