"""One run in full: where its time went, how its loss fell, what it got right, and how to repeat it."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from markupsafe import Markup
from pydantic import TypeAdapter

from harness.recipe import Recipe
from harness.records import RunRecord, WindowRecord
from harness.visible import block, visible
from reports.charts.sparklines import Trace, traces
from reports.format import units
from reports.format.cells import Cell, Column, Table
from reports.format.text import short, shown
from reports.results.classes import Classes, by_class
from reports.results.costs import adapts, utilisation_percent
from reports.results.frames import harmonic_mean

WORST = 10
"""So many classes are named, those with the lowest accuracy."""

_RECIPE = TypeAdapter(Recipe)


@dataclass(frozen=True, slots=True)
class RunView:
    """A run as the template shows it. `name` is its id and, in a site, the name of its file."""

    name: str
    title: str
    summary: str
    started: str
    took: str
    facts: list[tuple[str, str]]
    reason: str
    traceback: str
    phases: list[tuple[str, str, Markup]]
    windows: Table
    traces: list[Trace]
    tests: Table
    classes: Classes
    blocks: Table
    categories: Table
    recipe: str
    command: str
    warnings: list[str]


def run_view(name: str, title: str, record: RunRecord) -> RunView:
    """Everything a record holds, in words."""
    classes = by_class(record)
    found = [(_last(test), t.accuracy_percent) for test, t in record.accuracy.items()]
    if sorted(name for name, _ in found) == ["base", "new"]:
        found.append(("H", harmonic_mean(found[0][1], found[1][1])))
    scores = " · ".join(f"{name} {units.percent(percent)}" for name, percent in found)
    return RunView(
        name=name,
        title=title,
        summary=scores if record.status == "ok" else record.status.replace("_", " "),
        started=short(visible(record.started_at), 120),
        took=units.duration(record.total_seconds),
        facts=_facts(record),
        reason=block(record.reason or ""),
        traceback=block(record.traceback or ""),
        phases=_phases(record),
        windows=_windows(f"{name}-windows", record),
        traces=traces(record, classes),
        tests=_tests(f"{name}-tests", record, classes),
        classes=classes,
        blocks=_blocks(f"{name}-blocks", record),
        categories=_categories(f"{name}-categories", record),
        recipe=block(_recipe(record)),
        command=block(record.command or ""),
        warnings=[block(text) for text in record.warnings],
    )


def _last(test: str) -> str:
    return short(visible(test.rpartition("/")[2]), 30)


def _facts(record: RunRecord) -> list[tuple[str, str]]:
    key = record.key
    facts = {
        "Status": record.status.replace("_", " "),
        "Started": record.started_at,
        "Took": units.duration(record.total_seconds),
        "Suite": key.suite,
        "Backbone": f"{key.backbone}, {key.pretrained or 'built-in weights'}",
        "Precision": key.precision,
        "Execution": key.execution,
        "Classes trained on": None if record.train_class_count is None else f"{record.train_class_count:,}",
        "Images": None if record.train_image_count is None else f"{record.train_image_count:,}",
        "Trainable": None if record.trainable_parameters is None else f"{record.trainable_parameters:,}",
        "Weights changed": None
        if record.changed_weights_percent is None
        else f"{record.changed_weights_percent:.1f} % of the trained ones",
        "Live tensors": None
        if record.peaks_of_seed is None
        else f"counted in the run of seed {record.peaks_of_seed}: shapes alone decide their peak",
        "Of the machine's peak": None
        if (share := utilisation_percent(record)) is None
        else f"{share:.0f} % in a training step, against a matrix product",
        "Test features reused": None
        if not record.reused_test_features
        else f"{record.reused_test_features:,}, which spared {units.duration(record.reused_test_seconds or 0)}",
        "Validation": None
        if record.validation is None
        else f"{units.percent(record.validation.accuracy_percent)} % of {record.validation.images:,} images",
        "Split": record.split_rule,
        "Recipe row": record.recipe_row,
        "Weights (hash)": record.weights_sha256 and record.weights_sha256[:12],
        "Machine": record.environment.machine,
        "Commit": record.environment.commit and record.environment.commit[:12],
    }
    return [(name, shown(text, 120)) for name, text in facts.items() if text]


def _phases(record: RunRecord) -> list[tuple[str, str, Markup]]:
    """Each phase with its time and a bar on one time line."""
    total = sum(w.seconds for w in record.windows.values())
    bars, start = [], 0.0
    for phase in ("setup", "train", "test"):
        if phase in record.windows and total:
            seconds = record.windows[phase].seconds
            bars.append((phase, units.duration(seconds), _bar(100 * start / total, 100 * seconds / total)))
            start += seconds
    return bars


def _bar(start: float, width: float) -> Markup:
    return Markup(f'<rect x="{start:.2f}" y="1" width="{max(width, 0.3):.2f}" height="8"/>')


WINDOW: tuple[tuple[str, str, Callable[[float], str]], ...] = (
    ("Time", "seconds", units.duration),
    ("CPU time", "cpu_seconds", units.duration),
    ("Live tensors, peak", "peak_tensor_bytes", units.size),
    ("CUDA allocated, peak", "peak_allocated_bytes", units.size),
    ("CUDA reserved, peak", "peak_reserved_bytes", units.size),
    ("Process on the GPU, peak", "peak_process_bytes", units.size),
    ("The GPU's memory in use at the end", "device_used_bytes", units.size),
    ("Resident set, peak", "peak_rss_bytes", units.size),
    ("Energy", "energy_joules", units.energy),
)


def _windows(name: str, record: RunRecord) -> Table:
    """A line a quantity that any phase has, a column a phase."""
    table = Table(name, "Time and memory of each phase", [Column("Quantity", numeric=False)])
    table.columns += [Column(phase.capitalize()) for phase in record.windows]
    for title, field, text in WINDOW:
        values = [getattr(window, field) for window in record.windows.values()]
        if values.count(None) < len(values):
            cells = [
                _measured(table, record, phase, field, v, text) for phase, v in zip(record.windows, values, strict=True)
            ]
            table.rows.append([Cell(title), *cells])
    if any(w.contended for w in record.windows.values()):
        table.legend = f"Shared the processor with others, so too slow: {_contended(record.windows.items())}."
    elif record.environment.in_company:
        table.legend = (
            f"{record.environment.concurrent_runs} runs were under way at once: times may be longer than alone."
        )
    if held := {phase: w.throttle_reasons for phase, w in record.windows.items() if w.throttle_reasons}:
        told = "; ".join(f"{phase}: {', '.join(map(visible, reasons))}" for phase, reasons in held.items())
        table.legend = " ".join(filter(None, [table.legend, f"The GPU's clock was held down ({told})."]))
    return table


def _contended(windows: Iterable[tuple[str, WindowRecord]]) -> str:
    return ", ".join(phase for phase, window in windows if window.contended)


def _measured(
    table: Table, record: RunRecord, phase: str, field: str, value: float | None, text: Callable[[float], str]
) -> Cell:
    if value is None:
        return table.absent(shown(record.missing.get(f"{phase}.{field}", "Not recorded."), 200))
    return Cell(text(value), value)


def _tests(name: str, record: RunRecord, classes: Classes) -> Table:
    columns = [Column("Test", numeric=False), Column("Accuracy", "%"), Column("Correct", "images"), Column("Classes"),
               Column("Lowest classes", numeric=False)]  # fmt: skip
    table = Table(name, "Tests", columns)
    for test, found in record.accuracy.items():
        known = [(r.accuracy_percent, r.name) for r in classes.get(test, ()) if r.accuracy_percent is not None]
        worst = ", ".join(f"{short(n, 40)}: {a:.0f} %" for a, n in sorted(known)[:WORST])
        table.rows.append([
            Cell(short(visible(test), 60)),
            Cell(units.percent(found.accuracy_percent), found.accuracy_percent),
            Cell(f"{found.correct:,} of {found.images:,}", found.correct),
            Cell(str(found.classes), found.classes),
            Cell(worst) if worst else table.absent("The record holds no result by class."),
        ])  # fmt: skip
    return table


def _blocks(name: str, record: RunRecord) -> Table:
    """A line a block of a tower, in one training step; empty without a profile."""
    columns = [
        Column("Block", numeric=False),
        Column("Forward"),
        Column("Backward"),
        Column("Kept for the backward pass"),
    ]
    table = Table(name, "A training step, block by block", columns)
    for found in record.profile.blocks if record.profile else ():
        back = found.backward_seconds
        table.rows.append([
            Cell(f"{found.tower} {found.block}"),
            Cell(units.duration(found.forward_seconds), found.forward_seconds),
            table.absent("No gradient comes here.") if back is None else Cell(units.duration(back), back),
            Cell(units.size(found.saved_bytes), found.saved_bytes),
        ])  # fmt: skip
    return table


def _categories(name: str, record: RunRecord) -> Table:
    """A line an execution and phase of the simulation, a column a category of what lives at the peak."""
    simulated = record.profile.simulated if record.profile else {}
    peaks = [(f"{execution}, {phase}", kinds) for execution, found in simulated.items() if found
             for phase, kinds in found.peak_bytes.items()]  # fmt: skip
    kinds = list(dict.fromkeys(kind for _, found in peaks for kind in found))
    table = Table(name, "What lives at the simulated peak", [Column("Execution, phase", numeric=False)])
    table.columns += [Column(short(visible(kind), 40)) for kind in kinds]
    for title, found in peaks:
        sizes = [Cell(units.size(found[k]), found[k]) if k in found else table.absent("None then.") for k in kinds]
        table.rows.append([Cell(short(visible(title), 60)), *sizes])
    return table


def _recipe(record: RunRecord) -> str:
    """Every field of the recipe and of the method, as JSON."""
    recipe = _RECIPE.dump_json(record.key.recipe, indent=1).decode() if adapts(record) else ""
    settings = json.dumps(dict(record.key.settings), indent=1, sort_keys=True, default=str, ensure_ascii=False)
    return f"{recipe}\n{settings}" if record.key.settings else recipe
