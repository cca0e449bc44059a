"""A benchmark's times over the recorded gates, as a picture."""

from __future__ import annotations

from collections.abc import Sequence

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from reports.charts.drawing import SETTINGS, as_svg, drawn, plane
from reports.charts.svg import INK
from reports.format import units
from reports.format.styles import COLOURS
from reports.trends.change_points import Change, Run, Series

LABELS = 5
"""Commits named below the axis, at most."""


def trend(name: str, found: Series, changes: Sequence[Change]) -> str:
    """Medians over the runs with their quartiles; the levels between the changes; crosses where the gate found a regression."""
    values = np.array([run.value for run in found.runs])
    unit, scale = next((u for u in units.TIME_UNITS if np.median(values) >= u[1]), units.TIME_UNITS[-1])
    with mpl.rc_context(SETTINGS):
        figure, axes = plane("Commit", f"Median, {unit}")
        _runs(axes, found, scale)
        _levels(axes, found.runs, changes, scale)
        _commits(axes, found.runs)
        axes.yaxis.set_major_locator(MaxNLocator(6))
        low, high = values.min() / scale, values.max() / scale
        pad = max(0.15 * (high - low), 0.03 * high)
        axes.set_ylim(max(low - pad, 0), high + pad)
        drawn(figure)
        return as_svg(figure, name)


def _runs(axes: Axes, found: Series, scale: float) -> None:
    kinds: dict[tuple[bool, bool], list[tuple[int, Run]]] = {}
    for x, run in enumerate(found.runs):
        regressed = any(v.benchmark == found.benchmark and v.outcome == "regression" for v in run.gate.verdicts)
        kinds.setdefault((regressed, bool(run.gate.dirty)), []).append((x, run))
    for (regressed, dirty), runs in kinds.items():
        colour, sign = (COLOURS[1], "X") if regressed else (COLOURS[0], "o")
        x, low, high = np.array([(x, *run.spread) for x, run in runs if run.spread]).T
        axes.vlines(x, low / scale, high / scale, color=colour, alpha=0.35, linewidth=2.4, zorder=2)
        axes.plot(
            x,
            [run.value / scale for _, run in runs],
            sign,
            color=colour,
            markersize=6.5,
            markerfacecolor="none" if dirty else colour,
            zorder=4,
        )


def _levels(axes: Axes, runs: Sequence[Run], changes: Sequence[Change], scale: float) -> None:
    """A line at each level from its first run to its last, and an upright one before each change."""
    if not changes:
        return
    place = {id(run): x for x, run in enumerate(runs)}
    starts = [place[id(change.first)] for change in changes]
    levels = [changes[0].before, *(change.after for change in changes)]
    for left, right, level in zip([0, *starts], [*starts, len(runs)], levels, strict=True):
        axes.plot([left - 0.4, right - 0.6], [level / scale] * 2, color=INK, alpha=0.6, linewidth=1.3, zorder=3)
    for start in starts:
        axes.axvline(start - 0.5, color=INK, alpha=0.55, linewidth=1, linestyle=(0, (4, 3)), zorder=1)


def _commits(axes: Axes, runs: Sequence[Run]) -> None:
    ticks = np.unique(np.linspace(0, len(runs) - 1, LABELS).round().astype(int))
    axes.set_xticks(ticks, [(runs[x].gate.commit or "unknown")[:7] for x in ticks])
    axes.set_xlim(-0.8, len(runs) - 0.2)
