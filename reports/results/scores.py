"""The scores a table may show: what they are called, and what is said of them."""

from __future__ import annotations

from reports.format.cells import Column
from reports.results.sections import REFERENCE

TITLES = {"base": "Base", "new": "New", "h": "H", "accuracy": "Accuracy", "source": "Source", "target": "Targets"}
SCORE_WORDS = {"h": "H", "accuracy": "average accuracy", "target": "average accuracy on targets"}
SCORE_MEANINGS = {"h": "the harmonic mean of base and new accuracy"}
"""What a sentence adds to a score's name where it first stands."""
SCORE_HELP = {
    "base": "top-1 on the classes trained on: mean over seeds, then over datasets",
    "new": "top-1 on the classes not trained on: mean over seeds, then over datasets",
    "h": "harmonic mean of the two averages beside it (not the mean of the datasets' H)",
    "accuracy": "top-1: mean over seeds, then over tests",
    "source": "top-1 on the dataset trained on: mean over seeds",
    "target": "top-1 on the datasets not trained on: mean over seeds, then over those datasets",
}
INTERVAL_HELP = (
    "t interval for the mean over seeds (of the seeds' own averages or totals). It speaks of other seeds on these datasets, "
    "not of other datasets; a single seed has none"
)
GROUP_HELP = (
    "rows that share a letter can't be told apart: paired comparison over datasets and seeds (the mean of the datasets' mean "
    "differences against its standard error, Welch and Satterthwaite's degrees of freedom; H by its tangent at each row's "
    "averages; an exact sign test where nothing differs from seed to seed), Holm's correction for all pairs, 5 %"
)
BY_DESIGN = (
    "{}: the method has nothing to say of these classes and answers as the pretrained backbone. The figure is no merit of its "
    "training, and never counts as best."
)
EQUAL = f"{{}}: the same accuracy as {REFERENCE} in every run. It never counts as best."
"""Why a score is the pretrained backbone's: the records say so, or it turned out so."""


def score_column(score: str, gains: bool) -> Column:
    """The heading of a score; `gains`: its cells show the difference to the reference."""
    gain = f"; the signed number is the difference to {REFERENCE}, in points" if gains else ""
    data = (f"{score}_percent", f"gain_{score}_points", f"low_{score}_percent", f"high_{score}_percent")
    return Column(TITLES[score], "%", SCORE_HELP[score] + gain, data=data)
