"""For a reader's budget: what nothing else beats in score, time and memory at once, and what trains on a device of so many GiB."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby

import pandas as pd
from markupsafe import Markup

from reports.findings.finding import several, strong
from reports.format import units
from reports.format.cells import Cell, Column, Table
from reports.format.styles import Style
from reports.format.text import listed, plural
from reports.results.costs import PeakField, adapts
from reports.results.quantities import TRAIN, TRAIN_PEAK
from reports.results.scores import TITLES
from reports.results.section_results import SectionResults
from reports.results.sections import Row

DEVICES_GIB = (8, 16, 24, 80)
"""The memory of usual devices."""
JUST_OUTSIDE = 1.25
"""What takes at most so many times the limit is only just outside of it."""
METERS: dict[PeakField, str] = {
    "peak_allocated_bytes": "By the peak of PyTorch's allocator in training: what CUDA itself takes comes on top.",
    "peak_tensor_bytes": "By the peak of live tensors, counted on a CPU: a GPU needs more.",
    "simulated": "",
}
GIB = 2**30


@dataclass(frozen=True, slots=True)
class Candidate:
    """A row that finished every dataset. What trains nothing takes 0 seconds and 0 bytes; NaN is not known.

    costs: by dataset, seconds and bytes of training there, means over seeds.
    """

    label: str
    style: Style
    scores: dict[str, float]
    seconds: float
    peak_bytes: float
    costs: dict[str, tuple[float, float]]

    @property
    def time(self) -> str:
        return TRAIN.text(self.seconds) if self.seconds else "no training"

    def words(self, main: str) -> str:
        """``H 76.64, 31 min 40 s, 3.90 GiB``."""
        cost = f"{self.time}, {TRAIN_PEAK.text(self.peak_bytes)}" if self.seconds else self.time
        return f"{TITLES[main]} {units.percent(self.scores[main])}, {cost}"


@dataclass(frozen=True, slots=True)
class Limits:
    """`front`: what nothing else beats in score, time and memory. `devices`: a sentence for each usual device, HTML, escaped.

    `data` is what the script needs for limits of the reader's own, as JSON.
    """

    front: Table
    devices: list[Markup]
    note: str
    data: str


def limits(name: str, results: SectionResults, styles: dict[str, Style]) -> Limits | None:
    """None where there is nothing to choose: accuracies that mean nothing, or fewer than two rows whose costs are known."""
    if results.section.costs_only:
        return None
    rows = {row.label: row for row in results.section.rows}
    found = [_candidate(results, rows[str(label)], styles) for label in results.complete.index]
    known = [c for c in found if c.seconds >= 0 and c.peak_bytes >= 0]
    if len(known) < 2:
        return None
    return Limits(
        _front_table(name, known, results.main),
        list(_devices(known, results.main)),
        METERS[results.peak],
        _data(known, results),
    )


def front(candidates: Sequence[Candidate], main: str) -> list[Candidate]:
    """Those that no other equals or beats in score, time and memory at once; the best score first."""
    found: list[Candidate] = []
    for one in sorted(candidates, key=lambda c: (-c.scores[main], c.seconds, c.peak_bytes)):
        if not any(other.seconds <= one.seconds and other.peak_bytes <= one.peak_bytes for other in found):
            found.append(one)
    return found


def _candidate(results: SectionResults, row: Row, styles: dict[str, Style]) -> Candidate:
    line = results.line(row.label)
    trains = any(adapts(record) for record in row.records)
    own = results.runs[results.runs["row"] == row.label].groupby("dataset")[[TRAIN.name, TRAIN_PEAK.name]]
    costs = own.mean().dropna() if trains else pd.DataFrame()
    return Candidate(
        label=row.label,
        style=styles[row.label],
        scores={metric: float(line[metric]) for metric in dict.fromkeys((results.main, *results.metrics))},
        seconds=float(line[TRAIN.name]) if trains else 0.0,
        peak_bytes=float(line[TRAIN_PEAK.name]) if trains else 0.0,
        costs={str(dataset): (float(seconds), float(peak)) for dataset, seconds, peak in costs.itertuples()},
    )


def _front_table(name: str, candidates: Sequence[Candidate], main: str) -> Table:
    columns = [Column("Method", numeric=False), Column(TITLES[main], "%"), Column(TRAIN.title, TRAIN.unit),
               Column(TRAIN_PEAK.title, TRAIN_PEAK.unit)]  # fmt: skip
    table = Table(name, f"What no other method beats in {TITLES[main]}, time and memory at once", columns, kind="wordy")
    for one in front(candidates, main):
        costs = [Cell(TRAIN.text(one.seconds), one.seconds), Cell(TRAIN_PEAK.text(one.peak_bytes), one.peak_bytes)]
        if not one.seconds:
            costs = [Cell("none", 0.0), Cell("none", 0.0)]
        score = one.scores[main]
        table.rows.append([Cell(one.label, style=one.style), Cell(units.percent(score), score), *costs])
    return table


def _devices(candidates: Sequence[Candidate], main: str) -> Iterator[Markup]:
    """A sentence a device; devices of which the same is to be said share one."""
    ranked = sorted(candidates, key=lambda c: -c.scores[main])
    said = [(gib, _within(ranked, gib * GIB, main)) for gib in DEVICES_GIB]
    for sentence, same in groupby(said, key=lambda pair: pair[1]):
        yield Markup("<b>{} GiB:</b> {}").format(listed([str(gib) for gib, _ in same]), sentence)


def _within(ranked: Sequence[Candidate], limit_bytes: float, main: str) -> Markup:
    """Who fits, who is best of them, and who is only just outside and better."""
    fit = [c for c in ranked if c.peak_bytes <= limit_bytes]
    near = [c for c in ranked if limit_bytes < c.peak_bytes <= JUST_OUTSIDE * limit_bytes]
    number = "all" if len(fit) == len(ranked) else f"{len(fit)} of"
    words = Markup("{} {} fit").format(number, plural(len(ranked), "method"))
    if fit:
        words += Markup("; best {} ({})").format(strong(fit[0].label), fit[0].words(main))
    if near:
        words += Markup("; only just outside: {}").format(several([c.label for c in near]))
    return words + Markup(".")


def _data(candidates: Sequence[Candidate], results: SectionResults) -> str:
    """Figures with their words, so that the script words nothing itself."""
    classes = {r.key.dataset: r.train_class_count for r in results.section.records if r.train_class_count is not None}
    datasets = sorted(classes, key=lambda dataset: (classes[dataset], dataset))
    return json.dumps({
        "main": results.main,
        "scores": {metric: TITLES[metric] for metric in candidates[0].scores},
        "near": JUST_OUTSIDE,
        "datasets": [[dataset, classes[dataset]] for dataset in datasets],
        "rows": [
            {
                "key": c.style.key,
                "label": c.label,
                "scores": {metric: [score, units.percent(score)] for metric, score in c.scores.items()},
                "all": _cost(c.seconds, c.peak_bytes),
                "on": {dataset: _cost(*cost) for dataset, cost in c.costs.items() if dataset in classes},
            }
            for c in candidates
        ],
    })  # fmt: skip


def _cost(seconds: float, peak_bytes: float) -> list[float | str]:
    if not seconds:
        return [0, 0, "no training", ""]
    return [seconds, peak_bytes, TRAIN.text(seconds), TRAIN_PEAK.text(peak_bytes)]
