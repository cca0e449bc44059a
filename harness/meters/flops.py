"""FLOPs, 2 per multiply-add, of matrix products, convolutions and attention; and the peak of a machine that utilisation refers to.

The formulas are those of `torch.utils.flop_counter`: causal attention counts in full, attention's backward 2.5 times its forward,
nothing else counts. Nothing is recomputed.
"""

from __future__ import annotations

import logging
import math
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor

from harness.absent import absent
from harness.clip.products import ONEDNN, product
from harness.meters.dispatch_mode import CountingMode
from harness.meters.gpu import calls_of

logging.getLogger("torch.utils.flop_counter").setLevel(logging.ERROR)  # it warns that Triton's kernels are not counted
with absent("triton"):  # it takes long to import, and at a process's end
    from torch.utils.flop_counter import flop_registry, register_flop_formula

GEMM_SIZE = 4096
"""Side of the square matrices whose product gives a machine's peak."""


if ONEDNN is not None:

    @register_flop_formula(ONEDNN)
    def _onednn_flops(rows: Sequence[int], weight: Sequence[int], *_: Any, **__: Any) -> int:
        """What torch counts of the same product by MKL."""
        return 2 * math.prod(rows) * weight[0]


class FlopCount(CountingMode):
    """Context in which FLOPs are counted by phase: `FlopCounterMode` without its table of modules, which costs most of its time."""

    _known: ClassVar[dict[Any, int]] = {}
    """FLOPs of operators by all that a formula looks at."""

    def __init__(self, phase: Callable[[], str]) -> None:
        super().__init__()
        self.by_phase: Counter[str] = Counter()
        self._phase = phase

    def after(self, func: Any, args: Any, kwargs: Mapping[str, Any], result: Any) -> None:
        formula = flop_registry.get(func.overloadpacket)
        if formula is not None:
            key = func, _shapes(args), _shapes([*kwargs.items()]), _shapes([result])
            if key not in self._known:
                self._known[key] = formula(*args, **kwargs, out_val=result)
            self.by_phase[self._phase()] += self._known[key]


def _shapes(values: Sequence[Any]) -> tuple[Any, ...]:
    """The shapes of the tensors in lists and tuples of operands; other operands as they are."""
    return tuple(
        value.shape if isinstance(value, Tensor) else _shapes(value) if isinstance(value, list | tuple) else value
        for value in values
    )


def gemm_flops_per_second(device: torch.device, dtype: torch.dtype = torch.float32, repeats: int = 5) -> float:
    """The fastest of `repeats` products of two square matrices, as the fast execution has them, after one that doesn't count."""
    a, b = (torch.randn(GEMM_SIZE, GEMM_SIZE, device=device).to(dtype) for _ in "ab")
    calls, seconds = calls_of(device), []
    for _ in range(1 + repeats):
        calls.synchronise()
        start = time.perf_counter()
        product(a, b)
        calls.synchronise()
        seconds.append(time.perf_counter() - start)
    return 2 * GEMM_SIZE**3 / min(seconds[1:])
