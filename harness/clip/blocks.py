"""One residual attention block of open_clip, and which of its rows attend to which: what both towers are made of.

A block is the same arithmetic everywhere. What differs is its `Rows`: all rows of equal sequences (every block of the reference),
the one row that the head reads (a fast tower's last block), or texts packed without padding (`harness.clip.text_tower`).

Shapes: S sequences of L rows, width D; H heads of width D / H; * further leading dimensions.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any, Protocol

import torch
import torch.nn.functional as F
from torch import Tensor

from harness.clip import fused


class Rows(Protocol):
    """Which rows a hidden state holds, which of them a block computes, and what each of those sees."""

    def queries(self, x: Tensor) -> Tensor:
        """Those rows of x, a tensor of all rows, that the block computes."""
        ...

    def attend(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        """Attention of the queries' rows (*, Q, H, D / H) over keys and values of all rows (*, K, H, D / H): (*, Q, D)."""
        ...

    def sight(self, dtype: torch.dtype) -> fused.Sight | None:
        """What each row sees, where the block computes all rows of equal sequences; None where it doesn't."""
        ...

    def uniform(self, length: int, x: Tensor) -> Tensor:
        """Random numbers in [0, 1) for the rows of x, drawn for whole sequences of `length` rows.

        Leaving out rows that nothing reads therefore changes no number of the others.
        """
        ...


QkvUpdate = Callable[[Tensor, Rows], tuple[Tensor, Tensor, Tensor]]
"""What a method adds to the queries, keys and values of a block, from its normalised input and the rows that holds.

Keys and values are for every row, queries for `rows.queries` of them.
"""


@dataclass(frozen=True)
class AllRows:
    """Every row of x (S, L, D), each seeing all of its sequence, or only what stands before it if `causal`."""

    causal: bool

    def queries(self, x: Tensor) -> Tensor:
        return x

    def attend(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        return attention(q, k, v, causal=self.causal)

    def sight(self, dtype: torch.dtype) -> fused.Sight | None:
        return fused.Sight(self.causal)

    def uniform(self, length: int, x: Tensor) -> Tensor:
        return torch.rand(x.shape[0], length, x.shape[-1], device=x.device)[:, : x.shape[1]]


@dataclass(frozen=True)
class FirstRow:
    """Only the first row of x (S, L, D), which sees all of its sequence: the class token of a last image block."""

    def queries(self, x: Tensor) -> Tensor:
        return x[:, :1]

    def attend(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        return attention(q, k, v)

    def sight(self, dtype: torch.dtype) -> fused.Sight | None:
        return None

    def uniform(self, length: int, x: Tensor) -> Tensor:
        return AllRows(causal=False).uniform(length, x)


def attention(q: Tensor, k: Tensor, v: Tensor, *, causal: bool = False, mask: Tensor | None = None) -> Tensor:
    """Multi-head attention of q (*, Q, H, D / H) over k and v (*, K, H, D / H): (*, Q, D).

    `mask` is True where a query sees a key, or what is added to their product: (Q, K), or (S, 1, Q, K) for the S sequences that
    * stands for.
    """
    lead = q.shape[:-2]
    if q.dim() != 4:
        q, k, v = (t.reshape(-1, *t.shape[-3:]) for t in (q, k, v))
    mixed = F.scaled_dot_product_attention(
        q.transpose(1, 2), k.transpose(1, 2), v.transpose(1, 2), attn_mask=mask, is_causal=causal
    )
    return mixed.transpose(1, 2).reshape(*lead, -1)


def run_block(block: Any, x: Tensor, rows: Rows, *, update: QkvUpdate | None = None, lean: bool = False) -> Tensor:
    """The block at `rows.queries(x)`. `lean` takes fewer operators and keeps less for the backward pass, at the same arithmetic."""
    layers = fused.layers(block, x) if lean else None
    if layers is None:
        mixed = rows.attend(*_heads(block, x, rows, update))
        x = rows.queries(x) + block.ls_1(block.attn.out_proj(mixed))
        return x + block.ls_2(_mlp(block.mlp, block.ln_2(x), lean))
    sight = rows.sight(x.dtype) if update is None and fused.is_one_node(x, layers) else None
    if sight is not None:
        return fused.whole_block(x, layers, sight)
    asking = rows.queries(x)
    heads = _fused_heads(layers, x, asking) if update is None else _heads(block, x, rows, update)
    mixed = rows.attend(*heads)
    del heads
    return fused.after_attention(asking, mixed, layers)


def _heads(block: Any, x: Tensor, rows: Rows, update: QkvUpdate | None) -> tuple[Tensor, ...]:
    """Queries, keys and values, split into heads."""
    width = x.shape[-1]
    normed = block.ln_1(x)
    weight, bias = block.attn.in_proj_weight, block.attn.in_proj_bias
    asking = rows.queries(normed)
    if asking is normed:
        q, k, v = F.linear(normed, weight, bias).chunk(3, dim=-1)
    else:
        q = F.linear(asking, weight[:width], bias[:width])
        k, v = F.linear(normed, weight[width:], bias[width:]).chunk(2, dim=-1)
    if update is not None:
        q, k, v = (t + change for t, change in zip((q, k, v), update(normed, rows), strict=True))
    return tuple(t.unflatten(-1, (block.attn.num_heads, -1)) for t in (q, k, v))


def _fused_heads(layers: fused.Layers, x: Tensor, asking: Tensor) -> tuple[Tensor, ...]:
    """The same, queries of the rows `asking`."""
    attn, width = layers.attention, x.shape[-1]
    weight, bias, heads = attn.in_proj_weight, attn.in_proj_bias, attn.num_heads
    if asking is x:
        return fused.normed_heads(x, layers.norm_1, weight, bias, 3, heads)
    queries = fused.normed_heads(asking, layers.norm_1, weight[:width], bias[:width], 1, heads)
    return queries + fused.normed_heads(x, layers.norm_1, weight[width:], bias[width:], 2, heads)


def are_plain(resblocks: Any) -> bool:
    """Whether blocks compute what `run_block` does: open_clip has variants with normalised queries and scaled heads."""
    return all(type(block).__name__ == "ResidualAttentionBlock" for block in resblocks)


Around = Callable[[int, Any, Callable[[], Any]], Any]
"""Gets a block's number, its input and the work of running it; gives that work's result back."""


@contextmanager
def each_block(tower: Any, around: Around) -> Iterator[None]:
    """Within the context, a tower in stages runs its blocks one by one, each through `around`; any other is left alone."""
    if not tower.staged:
        yield
        return
    run = tower.blocks

    def blocks(state: Any, first: int, last: int, *args: Any, **kwargs: Any) -> Any:
        for number in range(first, last):
            state = around(number, state, partial(run, state, number, number + 1, *args, **kwargs))
        return state

    tower.blocks = blocks
    try:
        yield
    finally:
        del tower.blocks


def _mlp(mlp: Any, x: Tensor, lean: bool) -> Tensor:
    if lean and type(mlp.gelu).__name__ == "QuickGELU":
        # x sigmoid(1.702 x) as one operator, for which autograd keeps one tensor of that size instead of two
        return mlp.c_proj(F.silu(1.702 * mlp.c_fc(x)).div_(1.702))
    return mlp(x)
