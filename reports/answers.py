"""What the scores say to a suite's question, beside which method is best."""

from __future__ import annotations

import pandas as pd
from markupsafe import Markup

from reports import units
from reports.groups import REFERENCE
from reports.overview import strong
from reports.tables import Tables
from reports.text import listed, plural

NAMED = 3
"""So many methods are named at most."""


def answer(tables: Tables) -> Markup:
    """Whether adapting costs accuracy on other classes or data: HTML, escaped; empty without a reference to compare with."""
    if tables.main == "h":
        return _kept(tables, "base", "new", "the classes trained on", "the other classes")
    if tables.metrics == ("source", "target"):
        return _kept(tables, "source", "target", "what they were trained on", "the targets")
    return Markup("")


def _kept(tables: Tables, trained: str, other: str, on_trained: str, on_other: str) -> Markup:
    """How many rows gain where they were trained, and which lose elsewhere."""
    rows = tables.competing(other)
    rows = rows[(rows["method"] != REFERENCE) & rows[f"{other}_gain"].notna()].sort_values(f"{other}_gain")
    if rows.empty:
        return Markup("")
    gaining = int((rows[f"{trained}_gain"] > 0).sum())
    losing = rows[rows[f"{other}_gain"] < 0]
    sentence = Markup("Of {}, {} above {} on {}").format(
        plural(len(rows), "adapted method"), f"{gaining} {'scores' if gaining == 1 else 'score'}", REFERENCE, on_trained
    )
    if losing.empty:
        return sentence + Markup(", and none below it on {}.").format(on_other)
    verb = "scores" if len(losing) == 1 else "score"
    return sentence + Markup(" and {} {} below it on {}: {}.").format(
        len(losing), verb, on_other, _named(losing, other)
    )


def _named(losing: pd.DataFrame, metric: str) -> Markup:
    """Those that lose most, with what they lose."""
    shown = [str(Markup("{} ({})").format(strong(str(label)), units.points(line[f"{metric}_gain"])))
             for label, line in losing.head(NAMED).iterrows()]  # fmt: skip
    more = [f"{len(losing) - NAMED} more"] if len(losing) > NAMED else []
    return Markup(listed([*shown, *more]))
