"""One run in full: where its time went, how its loss fell, what it got right, and how to repeat it."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import lru_cache

from pydantic import TypeAdapter

from harness.recipe import Recipe
from harness.records import RunRecord, WindowRecord
from harness.visible import block, visible
from reports.charts.sparklines import Trace, traces
from reports.format import units
from reports.format.cells import TextTable
from reports.format.text import short, shown
from reports.results.classes import Classes, by_class, known
from reports.results.costs import adapts, utilisation_percent
from reports.results.frames import harmonic_mean
from reports.results.sections import canonical, recipe_from_json, recipe_json

WORST = 10
"""So many classes are named, those with the lowest accuracy."""

_RECIPE = TypeAdapter(Recipe)


@dataclass(slots=True)  # frozen, it takes six times as long to make
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
    phases: list[tuple[str, str, str]]
    windows: TextTable
    traces: list[Trace]
    tests: TextTable
    classes: Classes
    blocks: TextTable
    categories: TextTable
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
        windows=_windows(record),
        traces=traces(record, classes),
        tests=_tests(record, classes),
        classes=classes,
        blocks=_blocks(record),
        categories=_categories(record),
        recipe=_recipe(record),
        command=block(record.command or ""),
        warnings=[block(text) for text in record.warnings],
    )


def _last(test: str) -> str:
    return short(visible(test.rpartition("/")[2]), 30)


def _facts(record: RunRecord) -> list[tuple[str, str]]:
    key, environment = record.key, record.environment
    changed, share = record.changed_weights_percent, utilisation_percent(record)
    spared = record.reused_test_features and (
        f"{record.reused_test_features:,}, which spared {units.duration(record.reused_test_seconds or 0)}"
    )
    validated = record.validation and (
        f"{units.percent(record.validation.accuracy_percent)} % of {record.validation.images:,} images"
    )
    facts = (
        ("Status", record.status.replace("_", " ")),
        ("Started", record.started_at),
        ("Took", units.duration(record.total_seconds)),
        ("Suite", key.suite),
        ("Backbone", f"{key.backbone}, {key.pretrained or 'built-in weights'}"),
        ("Precision", key.precision),
        ("Execution", key.execution),
        ("Classes trained on", _number(record.train_class_count)),
        ("Images", _number(record.train_image_count)),
        ("Trainable", _number(record.trainable_parameters)),
        ("Weights changed", "" if changed is None else f"{changed:.1f} % of the trained ones"),
        ("Live tensors", "" if record.peaks_of_seed is None
         else f"counted in the run of seed {record.peaks_of_seed}: shapes alone decide their peak"),
        ("Of the machine's peak", "" if share is None else f"{share:.0f} % in a training step, against a matrix product"),
        ("Test features reused", spared),
        ("Validation", validated),
        ("Split", record.split_rule),
        ("Recipe row", record.recipe_row),
        ("Weights (hash)", record.weights_sha256 and record.weights_sha256[:12]),
        ("Machine", environment.machine),
        ("Commit", environment.commit and environment.commit[:12]),
    )  # fmt: skip
    return [(name, shown(text, 120)) for name, text in facts if text]


def _number(count: int | None) -> str:
    return "" if count is None else f"{count:,}"


def _phases(record: RunRecord) -> list[tuple[str, str, str]]:
    """Each phase with its time and a bar on one time line."""
    total = sum([w.seconds for w in record.windows.values()])
    bars, start = [], 0.0
    for phase in ("setup", "train", "test"):
        if phase in record.windows and total:
            seconds = record.windows[phase].seconds
            bars.append((phase, units.duration(seconds), _bar(100 * start / total, 100 * seconds / total)))
            start += seconds
    return bars


def _bar(start: float, width: float) -> str:
    return f'<rect x="{start:.2f}" y="1" width="{max(width, 0.3):.2f}" height="8"/>'


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


def _windows(record: RunRecord) -> TextTable:
    """A line a quantity that any phase has, a column a phase."""
    windows = record.windows
    heads = (("Quantity", False), *((phase.capitalize(), True) for phase in windows))
    table = TextTable("Time and memory of each phase", heads)
    for title, field, text in WINDOW:
        values = [getattr(window, field) for window in windows.values()]
        if values.count(None) < len(values):
            cells = [
                _unmeasured(table, record, phase, field) if value is None else text(value)
                for phase, value in zip(windows, values, strict=True)
            ]
            table.rows.append([title, *cells])
    if any(w.contended for w in windows.values()):
        table.legend = f"Shared the processor with others, so too slow: {_contended(windows.items())}."
    elif record.environment.in_company:
        table.legend = (
            f"{record.environment.concurrent_runs} runs were under way at once: times may be longer than alone."
        )
    if held := {phase: w.throttle_reasons for phase, w in windows.items() if w.throttle_reasons}:
        told = "; ".join(f"{phase}: {', '.join(map(visible, reasons))}" for phase, reasons in held.items())
        table.legend = " ".join(filter(None, [table.legend, f"The GPU's clock was held down ({told})."]))
    return table


def _contended(windows: Iterable[tuple[str, WindowRecord]]) -> str:
    return ", ".join(phase for phase, window in windows if window.contended)


def _unmeasured(table: TextTable, record: RunRecord, phase: str, field: str) -> int:
    return table.absent(shown(record.missing.get(f"{phase}.{field}", "Not recorded."), 200))


_OF_TESTS = (("Test", False), ("Accuracy", True), ("Correct", True), ("Classes", True), ("Lowest classes", False))


def _tests(record: RunRecord, classes: Classes) -> TextTable:
    table = TextTable("Tests", _OF_TESTS)
    for test, found in record.accuracy.items():
        results = classes.get(test)
        lowest = sorted(known(results.accuracy_percents, results.names))[:WORST] if results else ()
        table.rows.append([
            shown(test, 60),
            units.percent(found.accuracy_percent),
            f"{found.correct:,} of {found.images:,}",
            str(found.classes),
            ", ".join([f"{short(name, 40)}: {percent:.0f} %" for percent, name in lowest])
            or table.absent("The record holds no result by class."),
        ])  # fmt: skip
    return table


_OF_BLOCKS = (("Block", False), ("Forward", True), ("Backward", True), ("Kept for the backward pass", True))


def _blocks(record: RunRecord) -> TextTable:
    """A line a block of a tower, in one training step; empty without a profile."""
    table = TextTable("A training step, block by block", _OF_BLOCKS)
    for found in record.profile.blocks if record.profile else ():
        back = found.backward_seconds
        table.rows.append([
            f"{found.tower} {found.block}",
            units.duration(found.forward_seconds),
            table.absent("No gradient comes here.") if back is None else units.duration(back),
            units.size(found.saved_bytes),
        ])  # fmt: skip
    return table


def _categories(record: RunRecord) -> TextTable:
    """A line an execution and phase of the simulation, a column a category of what lives at the peak."""
    simulated = record.profile.simulated if record.profile else {}
    peaks = [(f"{execution}, {phase}", kinds) for execution, found in simulated.items() if found
             for phase, kinds in found.peak_bytes.items()]  # fmt: skip
    kinds = list(dict.fromkeys(kind for _, found in peaks for kind in found))
    heads = (("Execution, phase", False), *((shown(kind, 40), True) for kind in kinds))
    table = TextTable("What lives at the simulated peak", heads)
    for title, found in peaks:
        sizes = [units.size(found[k]) if k in found else table.absent("None then.") for k in kinds]
        table.rows.append([shown(title, 60), *sizes])
    return table


def _recipe(record: RunRecord) -> str:
    """Every field of the recipe and of the method, as JSON."""
    key = record.key
    return _in_lines(recipe_json(key.recipe) if adapts(record) else "", canonical(dict(key.settings)))


@lru_cache(maxsize=1024)
def _in_lines(recipe: str, settings: str) -> str:
    """A recipe and settings, given as JSON: many runs have the same."""
    lines = _RECIPE.dump_json(recipe_from_json(recipe), indent=1).decode() if recipe else ""
    values = json.loads(settings)
    return block(f"{lines}\n{json.dumps(values, indent=1, ensure_ascii=False)}" if values else lines)
