"""Matrix products of two-dimensional tensors, on a CPU by whichever library of torch's computes them faster there.

torch leaves them to MKL, which uses half the width of the vector units of processors that aren't Intel's. oneDNN, which torch has
for convolutions, uses all of it, and takes some microseconds more for each call.
"""

from __future__ import annotations

from functools import cache
from typing import Any

import torch
from torch import Tensor

from harness.meters.environment import cpu_model

ONEDNN: Any = getattr(torch.ops.mkldnn, "_linear_pointwise", None)
"""x (N, I), weight (O, I) and bias (O,) or None, to (N, O): ``x weight^T + bias``. None in a torch without it."""
FEWEST_MULTIPLICATIONS = 1 << 21
"""From so many on, oneDNN is the quicker, whatever the widths: docs/speed.md has the measurement."""


def product(
    rows: Tensor, matrix: Tensor, bias: Tensor | None = None, *, alpha: float = 1.0, beta: float = 1.0
) -> Tensor:
    """``alpha * rows matrix + beta * bias``, of (N, I), (I, O) and (O,). It has no gradient."""
    if _is_faster_by_onednn(rows, matrix):
        together = alpha == beta
        out = ONEDNN(rows, matrix.t(), bias if together else None, "none", [], None)
        out = out if alpha == 1.0 else out.mul_(alpha)
        return out if bias is None or together else out.add_(bias, alpha=beta)
    if bias is None:
        out = rows.mm(matrix)
        return out if alpha == 1.0 else out.mul_(alpha)
    return torch.addmm(bias, rows, matrix, beta=beta, alpha=alpha)


def _is_faster_by_onednn(rows: Tensor, matrix: Tensor) -> bool:
    return (
        type(rows) is Tensor  # and no tensor without contents, as a simulation has
        and rows.is_cpu
        and rows.dtype is torch.float32
        and rows.numel() * matrix.shape[1] >= FEWEST_MULTIPLICATIONS
        and mkl_halves_vectors()
    )


@cache
def mkl_halves_vectors() -> bool:
    """Whether this processor has 512-bit vectors that MKL doesn't use, and oneDNN does."""
    return (
        ONEDNN is not None
        and torch.backends.mkldnn.is_available()
        and torch.backends.mkl.is_available()
        and torch.backends.cpu.get_cpu_capability() == "AVX512"
        and "Intel" not in (cpu_model() or "Intel")
    )
