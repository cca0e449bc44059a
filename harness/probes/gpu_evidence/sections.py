"""The sections, in order of worth: what each asks of a GPU, what should hold, and how its cells are measured."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from itertools import product

from harness import plugins
from harness.probes.gpu_evidence import images, memory, runs, speed
from harness.probes.gpu_evidence.evidence import Column, Figure, Figures, Section, Setting
from harness.probes.speedup import Part
from harness.records import Precision

Cells = Mapping[str, Callable[[], Figures]]
PRECISIONS: tuple[Precision, ...] = ("fp32", "bf16", "fp16")
STEPS: tuple[tuple[str, Part], ...] = (
    ("coop", "text"),
    ("coop", "step"),
    ("coop", "live-step"),
    ("full_finetuning", "step"),
    ("skip_tuning", "step"),
    ("full_finetuning", "epoch"),
    ("skip_tuning", "epoch"),
)
LIGHT = "zero_shot"
SMALL = ("coop", "clip_adapter")


def number(digits: int) -> Callable[[Figure], str]:
    """A figure with so many digits after the point; a dash for one that there isn't."""
    return lambda figure: "–" if figure is None else f"{float(figure):.{digits}f}"


def text(figure: Figure) -> str:
    """A figure as it is; a dash for none."""
    return "–" if figure in (None, "") else str(figure)


def _methods(setting: Setting, few: tuple[str, ...]) -> list[str]:
    return list(few) if setting.is_rehearsal else plugins.names("method")


def _heavy(setting: Setting) -> str:
    return SMALL[1] if setting.is_rehearsal else "full_finetuning"


def _tests(setting: Setting) -> Cells:
    return {"tests marked gpu": partial(runs.marked_tests, setting)}


def _memory(setting: Setting) -> Cells:
    precisions = PRECISIONS[1:2] if setting.is_rehearsal else PRECISIONS
    chosen = product(precisions, _methods(setting, SMALL[1:]))
    return {f"{m}, {p}": partial(memory.training_peak, setting, m, p) for p, m in chosen}


def _speed(setting: Setting) -> Cells:
    steps = STEPS[1:2] if setting.is_rehearsal else STEPS
    chosen = product(setting.class_counts, steps)
    return {f"{m}, {part}, {c} classes": partial(speed.executions, setting, m, part, c) for c, (m, part) in chosen}


def _images(setting: Setting) -> Cells:
    chosen = product(PRECISIONS[:1] if setting.is_rehearsal else PRECISIONS[:2], images.WORKS)
    return {f"{work}, {p}": partial(images.throughput, setting, LIGHT, p, work) for p, work in chosen}


def _decoding(setting: Setting) -> Cells:
    return {"JPEG to batches on the device": partial(images.decoding, setting)}


def _energy(setting: Setting) -> Cells:
    heavy = _heavy(setting)
    return {f"{heavy}, {runs.ENERGY_WINDOWS} windows": partial(runs.energy, setting, heavy)}


def _out_of_memory(setting: Setting) -> Cells:
    heavy = _heavy(setting)
    return {f"{heavy}, then {LIGHT}": partial(memory.out_of_memory, setting, heavy, LIGHT)}


def _accuracy(setting: Setting) -> Cells:
    return {m: partial(runs.accuracy, setting, m) for m in _methods(setting, (LIGHT,))}


def _meters(setting: Setting) -> Cells:
    steps = 1 if setting.is_rehearsal else 20
    return {f"{SMALL[0]}, {steps} steps": partial(speed.meters, setting, SMALL[0], steps)}


def _two_at_once(setting: Setting) -> Cells:
    method = LIGHT if setting.is_rehearsal else _heavy(setting)
    return {f"{method} twice": partial(runs.two_at_once, setting, method)}


def _graphs(setting: Setting) -> Cells:
    small = SMALL[1:] if setting.is_rehearsal else SMALL
    return {f"{m}, forward and backward": partial(speed.graphs, setting, m) for m in small}


SECTIONS: tuple[Section, ...] = (
    Section(
        "tests",
        "The tests that need a GPU",
        "All pass.",
        45,
        (Column("passed", "passed", text), Column("failed", "failed", text), Column("which", "which failed", text)),
        _tests,
    ),
    Section(
        "memory",
        "Peak of training: simulated, allocated, reserved, held",
        "The simulation is within 5 % of the allocator's peak; allocated ≤ reserved ≤ what NVML says that the process holds. The "
        "last column is that gap: CUDA's context and libraries. Two steps, 50 classes; sizes in MiB.",
        105,
        (
            Column("simulated_mib", "simulated", number(1)),
            Column("allocated_mib", "allocated", number(1)),
            Column("error_percent", "simulation off by %", number(1)),
            Column("reserved_mib", "reserved", number(1)),
            Column("process_mib", "process", number(1)),
            Column("beside_tensors_mib", "process beyond reserved", number(1)),
        ),
        _memory,
    ),
    Section(
        "speed",
        "Fast against reference",
        "In turns, by events of the device. An epoch is one of one image a class.",
        85,
        (
            Column("reference_ms", "reference, ms", number(2)),
            Column("fast_ms", "fast, ms", number(2)),
            Column("ratio", "ratio", number(2)),
            Column("interval", "95 % interval", text),
        ),
        _speed,
    ),
    Section(
        "images",
        "Images per second: a test and an extraction against the image tower alone",
        "The device is busy for 90 % of the time, decoding of JPEG files included.",
        40,
        (
            Column("whole", "images/s", number(0)),
            Column("tower", "tower alone", number(0)),
            Column("busy_percent", "busy, %", number(0)),
        ),
        _images,
    ),
    Section(
        "energy",
        "Energy of equal windows",
        "The largest and the smallest are at most 2 % of the mean apart.",
        65,
        (
            Column("joules", "mean, J", number(1)),
            Column("spread_percent", "spread, %", number(2)),
            Column("reason", "why not", text),
        ),
        _energy,
    ),
    Section(
        "out-of-memory",
        "Out of memory for real",
        "The first of two runs of one command finds too little memory and is a row that says so; the next one goes on.",
        30,
        (Column("heavy", "the first ended", text), Column("light", "the next ended", text)),
        _out_of_memory,
    ),
    Section(
        "accuracy",
        "Base-to-new on the demo world, on the GPU and on the CPU",
        "Accuracies are within a point. `demo-digits`, one shot, seed 1; top-1 in percent.",
        60,
        (
            Column("base", "base", number(1)),
            Column("base_cpu", "on the CPU", number(1)),
            Column("new", "new", number(1)),
            Column("new_cpu", "on the CPU", number(1)),
            Column("apart_points", "apart by at most", number(2)),
            Column("seconds", "seconds", number(1)),
            Column("seconds_cpu", "on the CPU", number(1)),
        ),
        _accuracy,
    ),
    Section(
        "meters",
        "Meters on against off",
        "At most 1 % slower.",
        10,
        (
            Column("metered_ms", "on, ms", number(2)),
            Column("bare_ms", "off, ms", number(2)),
            Column("ratio", "ratio", number(3)),
            Column("interval", "95 % interval", text),
        ),
        _meters,
    ),
    Section(
        "two-at-once",
        "Two runs at once on one device",
        "Both are flagged as contended.",
        15,
        (Column("first", "flagged in the one", text), Column("second", "in the other", text)),
        _two_at_once,
    ),
    Section(
        "graphs",
        "CUDA graphs against launches",
        "Small models on a fast GPU are bound by launches: where a graph is 1.5 times as fast, the fast execution should have it.",
        10,
        (
            Column("launched_ms", "launched, ms", number(3)),
            Column("graph_ms", "graph, ms", number(3)),
            Column("ratio", "ratio", number(2)),
            Column("interval", "95 % interval", text),
        ),
        _graphs,
    ),
    Section(
        "decoding",
        "Decoding against torch.utils.data.DataLoader",
        "At least its speed, in turns, with the same transforms: our threads against as many of its processes. JPEG files of "
        "500 x 375 pixels; images per second.",
        15,
        (
            Column("ours", "ours", number(0)),
            Column("loader", "DataLoader", number(0)),
            Column("ratio", "ratio", number(2)),
            Column("interval", "95 % interval", text),
            Column("ours_a_core", "ours, a core", number(0)),
            Column("cores", "cores", text),
        ),
        _decoding,
    ),
)
