"""A tower's blocks are alike: a simulation runs one of those that cost the same, and counts the others again.

Where no gradient is wanted, what a block takes depends on the shapes that go in alone. Of twelve blocks, 60 templates or 100 images
that differ in nothing else, a simulation needs to see one. The counts are the same to the byte.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import _get_current_dispatch_mode_stack

from harness.clip.backbone import Backbone
from harness.clip.text_batches import PackedTexts, PaddedTexts
from harness.meters.flops import FlopCount
from harness.meters.memory_tracker import Excess, ledgers


@dataclass(frozen=True)
class _Known:
    """What a block cost, its FLOPs, the shape of what came out, and the index tensors that it was the first to ask a layout for."""

    excess: Excess
    flops: int
    shape: torch.Size
    pooled: bool
    indices: tuple[str, ...]


BlockCosts = dict[Any, _Known]
"""What a backbone's blocks cost, by tower and by all that this depends on."""


@contextmanager
def counted_once(backbone: Backbone, known: BlockCosts) -> Iterator[None]:
    """In here, blocks of the backbone's towers that cost what another did are counted, not run; `known` learns what each cost."""
    towers: list[Any] = [tower for tower in (backbone.image, backbone.text) if tower.staged]
    for tower in towers:
        tower.blocks = _blocks_of(tower.blocks, tower.depth, known, type(tower))
    try:
        yield
    finally:
        for tower in towers:
            del tower.blocks


def _blocks_of(run: Callable[..., Any], depth: int, known: BlockCosts, tower: type) -> Callable[..., Any]:
    """The blocks of a tower that has `run` for them. It holds no state for longer than that does: a peak would tell."""

    def blocks(state: Any, first: int, last: int, replace_rows: Any = None, qkv_updates: Any = None) -> Any:
        changed = bool(replace_rows or qkv_updates)  # a method's own part
        cast = torch.is_autocast_enabled("cpu")  # cast weights may be kept
        if changed or cast or torch.is_grad_enabled() or len(ledgers()) != 1:
            held = [state]
            del state
            return run(held.pop(), first, last, replace_rows, qkv_updates)
        for number in range(first, last):
            key = (tower, number == depth - 1, ledgers()[0].birth, *_described(state))
            one = partial(run, state, number, number + 1)
            state = _again(known[key], state) if key in known else _first(one, state, known, key)
            del one
        return state

    return blocks


def _first(work: Callable[[], Any], state: Any, known: BlockCosts, key: Any) -> Any:
    (ledger,), flops, out, made = ledgers(), _flops(), [], _indices(state)
    before = flops.by_phase[ledger.phase]

    def results() -> list[Tensor]:
        out.append(work())
        new = [name for name in _indices(state) if name not in made]
        return [_hidden(out[0]), *(getattr(state.layout, name) for name in new)]

    excess = ledger.excess_of(results)
    if excess is not None:
        known[key] = _Known(
            excess=excess,
            flops=flops.by_phase[ledger.phase] - before,
            shape=_hidden(out[0]).shape,
            pooled=getattr(out[0], "pooled", False),
            indices=tuple(name for name in _indices(state) if name not in made),
        )
    return out[0]


def _described(state: Any) -> tuple[Any, ...]:
    hidden = _hidden(state)
    described = hidden.shape, hidden.stride(), hidden.dtype, hidden.untyped_storage().nbytes()
    if isinstance(
        state, PackedTexts
    ):  # whatever the length of each: a block's tensors have so many rows, or are padded
        layout = state.layout
        return *described, state.pooled, layout.shared, len(layout.lengths), layout.longest, _indices(state)
    return described


def _indices(state: Any) -> tuple[str, ...]:
    """The names of the index tensors that a packed state's layout has made: each when it is first asked for, and then it stays."""
    if not isinstance(state, PackedTexts):
        return ()
    return tuple(sorted(name for name, value in vars(state.layout).items() if isinstance(value, Tensor)))


def _hidden(state: Any) -> Tensor:
    return state.hidden if isinstance(state, PackedTexts | PaddedTexts) else state


def _again(known: _Known, state: Any) -> Any:
    (ledger,) = ledgers()
    _flops().by_phase[ledger.phase] += known.flops

    def results() -> Tensor:
        for name in known.indices:
            getattr(state.layout, name)
        return _hidden(state).new_empty(known.shape)

    hidden = ledger.count_again(known.excess, results)
    if isinstance(state, PackedTexts):
        return replace(state, hidden=hidden, pooled=known.pooled)
    return replace(state, hidden=hidden) if isinstance(state, PaddedTexts) else hidden


def _flops() -> FlopCount:
    return next(mode for mode in _get_current_dispatch_mode_stack() if isinstance(mode, FlopCount))
