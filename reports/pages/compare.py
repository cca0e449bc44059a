"""The page of a comparison."""

from __future__ import annotations

from collections.abc import Sequence

from harness.records import RunRecord
from reports.findings.comparison import compare
from reports.html.html_document import render


def compare_page(before: Sequence[RunRecord], after: Sequence[RunRecord]) -> str:
    """The comparison as one self-contained page."""
    found, alone = compare(before, after)
    return render("compare.html.j2", title="Comparison of two result sets", comparisons=found, alone=alone)
