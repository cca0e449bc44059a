"""What there is to know of a figure of a run: one `Quantity` says all of it, and whatever shows figures asks it."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from fnmatch import translate
from typing import Literal

from harness.records import Phase, RunRecord
from harness.visible import visible
from reports.format.cells import Column
from reports.results.costs import Maybe, PeakField, adapts, simulation
from reports.results.sections import Row

PEAK_NAMES: dict[PeakField, str] = {
    "peak_allocated_bytes": "CUDA allocator",
    "peak_tensor_bytes": "live tensors",
    "simulated": "simulated",
}
PEAK_HELP: dict[PeakField, str] = {
    "peak_allocated_bytes": "the most bytes PyTorch's CUDA allocator had handed out at once",
    "peak_tensor_bytes": "the exact most bytes of tensors alive at once, counted on the CPU in a pass of its own",
    "simulated": "the most bytes of tensors alive at once on a device, simulated without computing anything",
}

Over = Literal["sum", "mean", "max", "ratio"]
"""How one seed's datasets become that seed's figure."""
Runs = Literal["all", "whole", "cut off"]
"""All runs, those that trained to the end, or those whose training was cut off or only simulated."""
Place = Literal["headline", "details", "seeds", "ablation", "executions", "compare", "terminal"]
"""Where figures are shown: the tables of the page, the comparison of two result sets, and the terminal's headlines."""


@dataclass(frozen=True, slots=True)
class ByMeter:
    """Read by whichever meter tells a peak: the same one for all runs of a section."""

    read: Callable[[RunRecord, PeakField], Maybe]


@dataclass(frozen=True, slots=True)
class Ratio:
    """One figure over another: of a run as it is, over datasets of what both come to there."""

    of: Quantity
    per: Quantity


@dataclass(frozen=True, slots=True)
class Axis:
    """The axis of a chart, its units with what each is worth, the largest first. Braces in the title stand for the peak's meter."""

    title: str
    units: Sequence[tuple[str, float]]


def _nothing(record: RunRecord) -> str:
    return ""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Quantity:
    """A figure of a finished run. Full precision: `text` words it, at the very end.

    `name` is its column in frames, exports and trackers. `unit` stands beneath the title, `short` replaces the title where several
    columns share it. Braces in `help` stand for what a peak's meter counts. `better`: which end is good (1 high, -1 low, 0
    neither), `best_of` the runs of which the best is marked.

    part: what it is a figure of; a run without training, or without steps, has none. missing: where in a record's `missing` the
    reason for its absence stands, if not under its name (a pattern; ``{peak}`` is the meter's field); why: a reason that follows
    from the record itself. optional: no column where no row has it, as it needs a meter or a profile of its own. timed: depends on
    how fast a machine is; phase: where its time passes.

    shown: the places, and of which runs. axis: drawn against accuracy. The rest are words for sentences; without them there is no
    sentence. noun: ``training time``. takes: before ``2.00 times the usual``, braces for ``, on a shared processor,``. least: said
    of the method with the least of it, where accuracies mean nothing; methods are ranked by such figures there.
    """

    name: str
    read: Callable[[RunRecord], Maybe] | ByMeter | Ratio
    over: Over
    title: str
    unit: str = ""
    short: str = ""
    help: str = ""
    text: Callable[[float], str]
    better: Literal[-1, 0, 1] = 0
    best_of: Runs = "all"
    part: Literal["run", "training", "steps"] = "training"
    missing: str = ""
    why: Callable[[RunRecord], str] = _nothing
    optional: bool = False
    timed: bool = True
    phase: Phase = "train"
    shown: Mapping[Place, Runs] = field(default_factory=dict)
    axis: Axis | None = None
    noun: str = ""
    takes: str = ""
    least: str = ""

    @property
    def metered(self) -> bool:
        """Whether it is a peak, which is comparable with others by the same meter only."""
        return isinstance(self.read, ByMeter)

    def of(self, record: RunRecord, peak: PeakField, adapted: bool | None = None) -> Maybe:
        """The figure of one run; None where there is none. adapted: what `adapts` says of it, where that is known."""
        if self.timed and (window := record.windows.get(self.phase)) is not None and window.stopped_seconds:
            return None
        if self.part != "run" and not (adapts(record) if adapted is None else adapted):
            return None
        if isinstance(self.read, Ratio):
            value, per = self.read.of.of(record, peak, adapted), self.read.per.of(record, peak, adapted)
            return value / per if value and per else None
        return self.read.read(record, peak) if isinstance(self.read, ByMeter) else self.read(record)

    def column(self, peak: PeakField) -> Column:
        """Its heading in a table."""
        unit, explained = self.unit, self.help
        if self.metered:
            unit = ", ".join(filter(None, (PEAK_NAMES[peak], self.unit)))
            explained = self.help.format(PEAK_HELP[peak])
        data = (self.name, f"low_{self.name}", f"high_{self.name}")
        return Column(self.title, unit, explained, lowest_first=self.better < 0, data=data)

    def _stopped_seconds(self, record: RunRecord) -> float:
        """For how long the process was stopped in the phase whose time this is."""
        window = record.windows.get(self.phase) if self.timed else None
        return (window.stopped_seconds if window else None) or 0.0

    def reason(self, row: Row, peak: PeakField) -> str:
        """Why a row lacks it, in the records' own words where they have any."""
        adapted = any(adapts(r) for r in row.records)
        if peak == "simulated":
            notes = {found.note for r in row.records if (found := simulation(r)) and found.note}
            if self.metered and notes:
                return visible(f"Not known: {'; '.join(sorted(notes))}.")
            if not self.metered or adapted:
                return "Only simulated: nothing was computed or timed."
        if self.part != "run" and not adapted:
            return "This method trains nothing."
        finished = [r for r in row.records if r.status == "ok"]
        if not finished:
            return "No run finished."
        if self.part == "steps" and not any(r.key.recipe.trains for r in finished):
            return "Fitted in one go to extracted features: no optimiser step, no batch of images."
        if self.timed and row.untimed:
            return row.untimed
        if stopped := max(map(self._stopped_seconds, finished)):
            return (
                f"The process was stopped for {stopped:.0f} s meanwhile. Do the run again: adaptbench run ... --again."
            )
        if derived := next(filter(None, map(self.why, finished)), ""):
            return derived
        return self._recorded_reason(finished, peak) or "Not recorded."

    def _recorded_reason(self, records: Sequence[RunRecord], peak: PeakField) -> str:
        default = self.read.of.name if isinstance(self.read, Ratio) else self.name
        fits = re.compile(translate((self.missing or default).format(peak=peak))).match
        said = {why for r in records for name, why in r.missing.items() if fits(name)}
        return visible("; ".join(sorted(said)))


def concerns(runs: Runs, cut_off: bool) -> bool:
    """Whether what is said of some runs holds for these."""
    return runs in ("all", "cut off" if cut_off else "whole")
