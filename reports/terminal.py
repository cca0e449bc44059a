"""The headline table of each section, for the terminal."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import pandas as pd
from rich.console import Console
from rich.table import Table

from harness.records import RunRecord
from reports.groups import sections
from reports.tables import Tables, tables
from reports.text import visible
from reports.units import duration, percent, size

WIDTH = 100


def print_headlines(records: Sequence[RunRecord]) -> None:
    """One table a section: accuracy, training time and peak memory of every method, best first."""
    console = Console(highlight=False, markup=False)
    if not console.is_terminal:
        console = Console(highlight=False, markup=False, width=WIDTH)
    for section in sections(records):
        own = section.condition
        console.print(
            f"\n{visible(own.suite)} on {visible(own.backbone)}, {own.shots} shots, {visible(own.machine)}, "
            f"{own.precision}, {own.execution}; summed over datasets, mean over seeds"
        )
        console.print(_headline(tables(section)))


def _headline(found: Tables) -> Table:
    metrics = [*found.metrics, "h"] if found.main == "h" else list(found.metrics)
    names = {"h": "H", "base": "Base", "new": "New", "accuracy": "Accuracy"}
    table = Table("method", box=None, padding=(0, 2, 0, 0))
    for heading in (*(names[name] for name in metrics), "train", "peak memory"):
        table.add_column(heading, justify="right")
    for label, line in found.summary.sort_values(found.main, ascending=False).iterrows():
        whole = line["complete"] == line["expected"]
        cells = [_worded(line[name], percent) for name in metrics]
        cells += [_worded(line["train_seconds"], duration), _worded(line["train_peak_bytes"], size)]
        table.add_row(f"{label}{'' if whole else ' (incomplete)'}", *cells)
    return table


def _worded(value: float, word: Callable[[float], str]) -> str:
    return "-" if pd.isna(value) else word(value)
