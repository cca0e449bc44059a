"""One run in full: where its time went, how its loss fell, what it got right, and how to repeat it."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from markupsafe import Markup
from pydantic import TypeAdapter

from harness.recipe import Recipe
from harness.records import RunRecord, TestRecord, WindowRecord
from harness.schedule import learning_rate
from reports import units
from reports.cells import Cell, Column, Table
from reports.costs import adapts, utilisation_percent
from reports.text import block, plural, short, visible

POINTS = 80
"""At most so many points of a curve are drawn, each the mean of its neighbours."""
WORST = 10
"""So many classes are named, those with the lowest accuracy."""

_RECIPE = TypeAdapter(Recipe)


@dataclass(frozen=True, slots=True)
class Trace:
    """A small curve or row of bars: its picture, and in words what it runs between."""

    title: str
    svg: Markup
    words: str


@dataclass(frozen=True, slots=True)
class RunView:
    """A run as the template shows it. `name` is its id and, in a site, the name of its file."""

    name: str
    title: str
    summary: str
    facts: list[tuple[str, str]]
    reason: str
    phases: list[tuple[str, str, Markup]]
    windows: Table
    traces: list[Trace]
    tests: Table
    blocks: Table
    categories: Table
    recipe: str
    command: str
    warnings: list[str]


def run_view(name: str, label: str, record: RunRecord) -> RunView:
    """Everything a record holds, in words. `label` is its row's."""
    dataset = short(visible(record.key.dataset), 60)
    scores = " · ".join(f"{_last(test)} {units.percent(t.accuracy_percent)}" for test, t in record.accuracy.items())
    return RunView(
        name=name,
        title=f"{label} on {dataset}, {plural(record.key.shots, 'shot')}, seed {record.key.seed}",
        summary=scores if record.status == "ok" else record.status.replace("_", " "),
        facts=_facts(record),
        reason=block(record.reason or ""),
        phases=_phases(record),
        windows=_windows(f"{name}-windows", record),
        traces=_traces(record),
        tests=_tests(f"{name}-tests", record),
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
        "Of the machine's peak": None
        if (share := utilisation_percent(record)) is None
        else f"{share:.0f} % in a training step, against a matrix product",
        "Test features reused": None
        if not record.reused_test_features
        else f"{record.reused_test_features:,}, which spared {units.duration(record.reused_test_seconds or 0)}",
        "Machine": record.environment.machine,
        "Commit": record.environment.commit and record.environment.commit[:12],
    }
    return [(name, short(visible(text), 120)) for name, text in facts.items() if text]


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
    return Markup('<rect x="{:.2f}" y="1" width="{:.2f}" height="8"/>').format(start, max(width, 0.3))


WINDOW: tuple[tuple[str, str, Callable[[float], str]], ...] = (
    ("Time", "seconds", units.duration),
    ("CPU time", "cpu_seconds", units.duration),
    ("Live tensors, peak", "peak_tensor_bytes", units.size),
    ("CUDA allocated, peak", "peak_allocated_bytes", units.size),
    ("CUDA reserved, peak", "peak_reserved_bytes", units.size),
    ("Process on the GPU, peak", "peak_process_bytes", units.size),
    ("Resident set, peak", "peak_rss_bytes", units.size),
    ("Energy", "energy_joules", units.energy),
)


def _windows(name: str, record: RunRecord) -> Table:
    """A line a quantity that any phase has, a column a phase."""
    table = Table(name, "Time and memory of each phase", [Column("Quantity", numeric=False)])
    table.columns += [Column(phase.capitalize()) for phase in record.windows]
    for title, field, text in WINDOW:
        values = {phase: getattr(window, field) for phase, window in record.windows.items()}
        if any(v is not None for v in values.values()):
            cells = [_measured(table, record, f"{phase}.{field}", v, text) for phase, v in values.items()]
            table.rows.append([Cell(title), *cells])
    if any(w.contended for w in record.windows.values()):
        table.legend = f"Shared the processor with others, so too slow: {_contended(record.windows.items())}."
    return table


def _contended(windows: Iterable[tuple[str, WindowRecord]]) -> str:
    return ", ".join(phase for phase, window in windows if window.contended)


def _measured(table: Table, record: RunRecord, field: str, value: float | None, text: Callable[[float], str]) -> Cell:
    if value is None:
        return table.absent(short(visible(record.missing.get(field, "Not recorded.")), 200))
    return Cell(text(value), value)


def _tests(name: str, record: RunRecord) -> Table:
    columns = [Column("Test", numeric=False), Column("Accuracy", "%"), Column("Correct", "images"), Column("Classes"),
               Column("Lowest classes", numeric=False)]  # fmt: skip
    table = Table(name, "Tests", columns)
    for test, found in record.accuracy.items():
        known = [(a, _class_name(found, i)) for i, a in enumerate(_by_class(found)) if a is not None]
        worst = ", ".join(f"{short(visible(n), 40)}: {a:.0f} %" for a, n in sorted(known)[:WORST])
        table.rows.append([
            Cell(short(visible(test), 60)),
            Cell(units.percent(found.accuracy_percent), found.accuracy_percent),
            Cell(f"{found.correct:,} of {found.images:,}", found.correct),
            Cell(str(found.classes), found.classes),
            Cell(worst) if worst else table.absent("The record holds no result by class."),
        ])  # fmt: skip
    return table


def _by_class(found: TestRecord) -> tuple[float | None, ...]:
    """Accuracies by class; none without a confusion matrix, or with one of classes that the test doesn't have."""
    known = found.confusion and all(true < found.classes for true, _, _ in found.confusion)
    return found.class_accuracy_percent if known else ()


def _class_name(found: TestRecord, i: int) -> str:
    return found.class_names[i] if i < len(found.class_names) else str(i)


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


def _traces(record: RunRecord) -> list[Trace]:
    losses = [loss for loss in record.epoch_losses if loss is not None]
    found = []
    if len(losses) > 1:
        words = f"from {losses[0]:.3f} to {losses[-1]:.3f} in {plural(len(losses), 'epoch')}"
        found.append(Trace("Loss by epoch", _curve(losses), words))
    rates = _learning_rates(record)
    if len(set(rates)) > 1:
        words = f"from {rates[0]:g} to {rates[-1]:g}, highest {max(rates):g}; from the recipe"
        found.append(Trace("Learning rate by epoch", _curve(rates, from_zero=True), words))
    if len(record.step_seconds) > 1 and min(record.step_seconds) > 0:
        speeds = [record.key.recipe.batch_size / s for s in record.step_seconds]
        words = f"from {units.rate(min(speeds))} to {units.rate(max(speeds))} images/s in {plural(len(speeds), 'step')}"
        found.append(Trace("Images a second, step by step", _curve(speeds, from_zero=True), words))
    by_class = {test: _by_class(tested) for test, tested in record.accuracy.items()}
    found += [_classes(test, percents) for test, percents in by_class.items() if set(percents) - {None}]
    found += _analysis(record)
    return found


def _learning_rates(record: RunRecord) -> list[float]:
    """The rate at the start of each epoch, by the recipe's schedule."""
    recipe, epochs = record.key.recipe, len(record.epoch_losses)
    if not recipe.learning_rate or not epochs:
        return []
    steps = max(len(record.step_seconds), epochs)
    return [learning_rate(recipe, recipe.learning_rate, e, e * steps // epochs, steps) for e in range(epochs)]


def _classes(test: str, percents: Sequence[float | None]) -> Trace:
    known = sorted(p for p in percents if p is not None)
    words = f"from {known[0]:.0f} to {known[-1]:.0f} %, the middle one {known[len(known) // 2]:.0f} %"
    return Trace(f"Accuracy by class, sorted: {short(visible(test), 40)}", _bars(known, 100.0), words)


def _analysis(record: RunRecord) -> list[Trace]:
    """How far each block moved, and how many receive a gradient."""
    if record.analysis is None:
        return []
    found = []
    for tower, shift, blocks in (
        ("Image", record.analysis.image_shift, record.analysis.image_blocks_with_gradient),
        ("Text", record.analysis.text_shift, record.analysis.text_blocks_with_gradient),
    ):
        if shift and shift[-1]:
            relative = [s / shift[-1] for s in shift]
            gradient = "" if blocks is None else f"; {blocks} of {plural(len(shift), 'block')} receive a gradient"
            words = f"shift of each block over that of the last, {relative[0]:.2f} in the first{gradient}"
            found.append(Trace(f"{tower} tower: feature sensitivity", _bars(relative, max(relative)), words))
    return found


def _curve(values: Sequence[float], from_zero: bool = False) -> Markup:
    drawn = _thinned(values)
    low = 0.0 if from_zero else min(drawn)
    span = (max(drawn) - low) or 1.0
    across = 100 / max(len(drawn) - 1, 1)
    points = " ".join(f"{i * across:.1f},{38 - 36 * (v - low) / span:.1f}" for i, v in enumerate(drawn))
    return Markup('<polyline points="{}"/>').format(points)


def _bars(values: Sequence[float], most: float) -> Markup:
    drawn = _thinned(values)
    wide = 100 / len(drawn)
    heights = (max(38 * v / most, 0.4) if most else 0.4 for v in drawn)
    steps = "".join(f"V{40 - h:.1f}H{i * wide:.1f}" for i, h in enumerate(heights, 1))
    return Markup('<path d="M0 40{}V40z"/>').format(steps)


def _thinned(values: Sequence[float]) -> list[float]:
    size = -(-len(values) // POINTS)
    groups = [values[i : i + size] for i in range(0, len(values), size)]
    return [sum(group) / len(group) for group in groups]


def _recipe(record: RunRecord) -> str:
    """Every field of the recipe and of the method, as JSON."""
    recipe = _RECIPE.dump_json(record.key.recipe, indent=1).decode() if adapts(record) else ""
    settings = json.dumps(dict(record.key.settings), indent=1, sort_keys=True, default=str, ensure_ascii=False)
    return f"{recipe}\n{settings}" if record.key.settings else recipe
