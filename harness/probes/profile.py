"""Profile: where the time and the memory of a training step go. Passes of their own; no timed window holds any of it."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from harness.clip.blocks import Around, each_block
from harness.errors import ConfigError
from harness.meters.flops import gemm_flops_per_second
from harness.meters.gpu import calls_of
from harness.meters.memory_tracker import SavedBytes
from harness.method import AdaptedModel, Classes
from harness.probes.simulate import simulate
from harness.records import BlockRecord, ProfileRecord, RunKey, SimulationRecord, Tower
from harness.suite import EXECUTIONS, Execution


@dataclass
class _Block:
    """What a block did in one step, over all the times it ran."""

    forward_seconds: float = 0.0
    saved_bytes: int = 0
    starts: list[float] = field(default_factory=list)
    ends: list[float] = field(default_factory=list)

    def watch_backward(self, before: Tensor, after: Tensor, device: torch.device) -> None:
        """Note when the gradient of the output is there, and that of the input, which marks the end."""
        if after.requires_grad and after is not before:
            after.register_hook(lambda gradient: self.starts.append(_now(device)))
            if before.requires_grad:
                before.register_hook(lambda gradient: self.ends.append(_now(device)))

    def backward_seconds(self, end: float) -> float | None:
        """None if no gradient came; where none went further, all until the step's end counts."""
        if not self.starts:
            return None
        return sum(self.ends or [end]) - sum(self.starts) if len(self.ends) in (0, len(self.starts)) else None


def profile(
    model: AdaptedModel, steps: Callable[[], None], key: RunKey, classes: Classes
) -> tuple[ProfileRecord, dict[str, str]]:
    """A step block by block, and what both executions take by simulation; with the reasons for nulls by field."""
    blocks = measure_blocks(model, steps)
    simulations: dict[Execution, SimulationRecord | None] = {}
    reasons = {}
    for execution in EXECUTIONS:
        try:
            simulations[execution] = simulated(replace(key, execution=execution), classes)
        except ConfigError as error:
            simulations[execution] = None
            reasons[f"simulated.{execution}"] = error.what
    if key.precision != "fp32":
        reasons["gemm_flops_per_second"] = "utilisation is told in fp32 only"
    record = ProfileRecord(
        blocks=blocks,
        simulated=simulations,
        gemm_flops_per_second=gemm_flops_per_second(model.backbone.device) if key.precision == "fp32" else None,
    )
    return record, reasons


def simulated(key: RunKey, classes: Classes) -> SimulationRecord:
    """What a run takes, by simulation. Raises ConfigError for a method that can't be simulated."""
    found = simulate(key, classes)
    return SimulationRecord(
        peak_bytes={name: {str(c): n for c, n in peak.category_bytes.items()} for name, peak in found.peaks.items()},
        step_flops=found.step_flops,
        test_batch_flops=found.test_batch_flops,
        note=found.note,
    )


def measure_blocks(model: AdaptedModel, step: Callable[[], None]) -> tuple[BlockRecord, ...]:
    """Seconds and kept bytes of every block that runs in a step, towers' blocks in order; none of towers without stages."""
    device = model.backbone.device
    blocks: defaultdict[tuple[Tower, int], _Block] = defaultdict(_Block)
    towers: dict[Tower, Any] = {"image": model.backbone.image, "text": model.backbone.text}
    with ExitStack() as stack:
        for name, tower in towers.items():
            watch = _stop_watch(tower, lambda i, name=name: blocks[name, i], device)  # type: ignore[misc]
            stack.enter_context(each_block(tower, watch))
        step()
        end = _now(device)
    return tuple(
        BlockRecord(
            tower=name,
            block=number,
            forward_seconds=found.forward_seconds,
            backward_seconds=found.backward_seconds(end),
            saved_bytes=found.saved_bytes,
        )
        for (name, number), found in sorted(blocks.items())
    )


def _stop_watch(tower: Any, of: Callable[[int], _Block], device: torch.device) -> Around:
    """Time every block, and count what it keeps."""

    def around(number: int, state: Any, run: Callable[[], Any]) -> Any:
        block = of(number)
        with SavedBytes(tower.upper_parameters(0)) as saved:
            start = _now(device)
            after = run()
            block.forward_seconds += _now(device) - start
        block.saved_bytes += saved.total_bytes
        block.watch_backward(_hidden(state), _hidden(after), device)
        return after

    return around


def _hidden(state: Any) -> Tensor:
    return state if isinstance(state, Tensor) else state.hidden


def _now(device: torch.device) -> float:
    calls_of(device).synchronise()
    return time.perf_counter()


def trace(step: Callable[[], None], path: Path, device: torch.device) -> None:
    """Two steps under torch.profiler as ``path`` (.json.gz, for Perfetto); on CUDA its memory history beside it (.pickle)."""
    activities = [torch.profiler.ProfilerActivity.CPU]
    if device.type == "cuda":
        activities.append(torch.profiler.ProfilerActivity.CUDA)
        torch.cuda.memory._record_memory_history()
    with torch.profiler.profile(activities=activities, record_shapes=True, profile_memory=True) as profiler:
        step()
        step()
    path.parent.mkdir(parents=True, exist_ok=True)
    profiler.export_chrome_trace(str(path))
    if device.type == "cuda":
        torch.cuda.memory._dump_snapshot(str(path).removesuffix(".trace.json.gz") + ".memory.pickle")
        torch.cuda.memory._record_memory_history(enabled=None)
