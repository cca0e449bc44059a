"""FLOPs, 2 per multiply-add, of matrix products, convolutions and attention; and the peak of a machine that utilisation refers to.

The formulas are those of `torch.utils.flop_counter`: causal attention counts in full, attention's backward 2.5 times its forward,
nothing else counts. Nothing is recomputed.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable
from typing import Any

import torch
from torch.utils.flop_counter import flop_registry

from harness.meters.dispatch_mode import EagerMode
from harness.meters.gpu import calls_of

GEMM_SIZE = 4096
"""Side of the square matrices whose product gives a machine's peak."""


class FlopCount(EagerMode):
    """Context in which FLOPs are counted by phase: `FlopCounterMode` without its table of modules, which costs most of its time."""

    def __init__(self, phase: Callable[[], str]) -> None:
        super().__init__()
        self.by_phase: Counter[str] = Counter()
        self._phase = phase

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        formula = flop_registry.get(func.overloadpacket)
        if formula is not None:
            self.by_phase[self._phase()] += formula(*args, **(kwargs or {}), out_val=result)
        return result


def gemm_flops_per_second(device: torch.device, dtype: torch.dtype = torch.float32, repeats: int = 5) -> float:
    """The fastest of `repeats` products of two square matrices, here and now, after one that doesn't count."""
    a, b = (torch.randn(GEMM_SIZE, GEMM_SIZE, device=device).to(dtype) for _ in "ab")
    calls, seconds = calls_of(device), []
    for _ in range(1 + repeats):
        calls.synchronise()
        start = time.perf_counter()
        a @ b
        calls.synchronise()
        seconds.append(time.perf_counter() - start)
    return 2 * GEMM_SIZE**3 / min(seconds[1:])
