"""Twenty named textures as functions of the plane, many images at once."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch
from torch.nn import functional as F

from suites.demo.look import TAU, TEXTURES

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch import Tensor


def _step(x: Tensor, sharpness: float = 4.0) -> Tensor:
    """A soft threshold at 0: (...) to 0..1."""
    return torch.sigmoid(sharpness * x)


def _stripe(x: Tensor) -> Tensor:
    return _step(torch.sin(TAU * x))


def _frac(x: Tensor) -> Tensor:
    return x - torch.floor(x)


def _line(x: Tensor, width: float) -> Tensor:
    """1 within `width` of a whole number."""
    return _step(width - (x - torch.round(x)).abs(), 40)


def _hexagon(u: Tensor, v: Tensor) -> Tensor:
    """Distance to the border of a honeycomb's cell, 0 on it and 0.5 in the middle."""
    su, sv = 1.0, 3**0.5

    def local(a: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
        return (_frac(a / su) - 0.5) * su, (_frac(b / sv) - 0.5) * sv

    a, b = local(u, v), local(u + su / 2, v + sv / 2)
    nearer = a[0] ** 2 + a[1] ** 2 < b[0] ** 2 + b[1] ** 2
    x, y = torch.where(nearer, a[0], b[0]).abs(), torch.where(nearer, a[1], b[1]).abs()
    return 0.5 - torch.maximum(x, x * 0.5 + y * 3**0.5 / 2)


def _bricks(u: Tensor, v: Tensor, n: Tensor) -> Tensor:
    row = torch.floor(v)
    return 1 - torch.maximum(_line(v, 0.09), _line(u / 2 + 0.5 * (row % 2), 0.05))


def _scales(u: Tensor, v: Tensor, n: Tensor) -> Tensor:
    row = torch.floor(v)
    x = _frac(u + 0.5 * (row % 2)) - 0.5
    y = _frac(v)
    return (y + 1.6 * x**2).clamp(0, 1.2) / 1.2 * _step(0.98 - (y * y * 0.6 + 1.9 * x**2), 12)


def _woven(u: Tensor, v: Tensor, n: Tensor) -> Tensor:
    over = (torch.floor(u) + torch.floor(v)) % 2
    return torch.where(over > 0, (torch.sin(np.pi * _frac(u))), 0.7 * torch.sin(np.pi * _frac(v)))


FUNCTIONS: dict[str, Callable[[Tensor, Tensor, Tensor], Tensor]] = {
    "striped": lambda u, v, n: _stripe(u),
    "dotted": lambda u, v, n: _step(0.3 - torch.hypot(_frac(u) - 0.5, _frac(v) - 0.5), 25),
    "checkered": lambda u, v, n: _step(torch.sin(np.pi * u) * torch.sin(np.pi * v), 10),
    "grid": lambda u, v, n: torch.maximum(_line(u, 0.1), _line(v, 0.1)),
    "zigzagged": lambda u, v, n: _stripe(u + 0.9 * (_frac(v * 0.6) - 0.5).abs()),
    "wavy": lambda u, v, n: _stripe(u + 0.3 * torch.sin(TAU * v * 0.5)),
    "ringed": lambda u, v, n: _stripe(torch.hypot(u, v)),
    "rayed": lambda u, v, n: _step(torch.sin(9 * torch.atan2(v, u)), 4),
    "bricked": _bricks,
    "crosshatched": lambda u, v, n: torch.maximum(_line(u + v, 0.1), _line(u - v, 0.1)) * _step(n + 0.7, 3),
    "speckled": lambda u, v, n: _step(torch.sin(41 * u + 7 * n) * torch.sin(37 * v - 9 * n) - 0.55, 9),
    "blotchy": lambda u, v, n: _step(n, 9),
    "scaly": _scales,
    "honeycombed": lambda u, v, n: _step(0.08 - _hexagon(u, v), 40),
    "plaid": lambda u, v, n: 0.4 * _stripe(u) + 0.4 * _stripe(v) + 0.2 * _line(u, 0.05) + 0.2 * _line(v, 0.05),
    "marbled": lambda u, v, n: _step(torch.sin(TAU * (0.5 * u + 0.8 * n)), 2.5),
    "swirly": lambda u, v, n: _step(torch.sin(3 * torch.atan2(v, u) + TAU * torch.hypot(u, v)), 3),
    "woven": _woven,
    "cracked": lambda u, v, n: _step(0.1 - n.abs(), 30),
    "triangular": lambda u, v, n: (_stripe(u) * _stripe(u / 2 + v * 0.866) + _stripe(u / 2 - v * 0.866)).clamp(0, 1),
}


def smooth_noise(cells: int, generator: torch.Generator, count: int, side: int) -> Tensor:
    """Smooth random fields, (count, side, side), about -1..1, from `cells` x `cells` random values each."""
    coarse = torch.randn(count, 1, cells, cells, generator=generator)
    return F.interpolate(coarse, size=(side, side), mode="bicubic", align_corners=True)[:, 0]


def fields(
    kinds: np.ndarray,
    rng: np.random.Generator,
    side: int,
    periods: tuple[float, float] = (2.5, 6.0),
    turned: float = TAU,
) -> Tensor:
    """One texture an image: `kinds` (n,) numbers of `TEXTURES` to (n, side, side) in 0..1, with random scale and angle."""
    n = len(kinds)
    generator = torch.Generator().manual_seed(int(rng.integers(2**62)))
    noise = smooth_noise(7, generator, n, side)
    axis = torch.linspace(-0.5, 0.5, side)
    y, x = torch.meshgrid(axis, axis, indexing="ij")
    scale, angle, du, dv = (
        torch.from_numpy(rng.uniform(lo, hi, size=(n, 1, 1))).float()
        for lo, hi in (periods, (0, turned), (-0.3, 0.3), (-0.3, 0.3))
    )
    u = scale * (torch.cos(angle) * (x + du) - torch.sin(angle) * (y + dv))
    v = scale * (torch.sin(angle) * (x + du) + torch.cos(angle) * (y + dv))
    out = torch.empty(n, side, side)
    for kind in np.unique(kinds):
        rows = torch.from_numpy(np.flatnonzero(kinds == kind))
        out[rows] = FUNCTIONS[TEXTURES[kind]](u[rows], v[rows], noise[rows]).clamp(0, 1)
    return out
