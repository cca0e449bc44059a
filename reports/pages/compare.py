"""The page of a comparison."""

from __future__ import annotations

from collections.abc import Sequence

from harness.records import RunRecord
from harness.visible import visible
from reports.findings.comparison import compare, sides
from reports.format.text import short
from reports.html.html_document import render


def compare_page(before: Sequence[RunRecord], after: Sequence[RunRecord], folders: tuple[str, str] = ("", "")) -> str:
    """The comparison as one self-contained page. folders: where the records of A and B came from."""
    found, alone = compare(before, after)
    of = sides(before, after, folders)
    names = [folder.rstrip("/").rpartition("/")[2] or side for side, folder in zip("AB", folders, strict=True)]
    title = "Comparison of two result sets" if names == ["A", "B"] else f"{names[0]} (A) beside {names[1]} (B)"
    return render("compare.html.j2", title=short(visible(title), 120), sides=of, comparisons=found, alone=alone)
