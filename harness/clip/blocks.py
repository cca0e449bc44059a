"""One residual attention block of open_clip, and which of its rows attend to which: what both towers are made of.

A block is the same arithmetic everywhere. What differs is its `Rows`: all rows of equal sequences (every block of the reference),
the one row that the head reads (a fast tower's last block), or texts packed without padding (`harness.clip.text_tower`).

Shapes: S sequences of L rows, width D; H heads of width D / H.
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


class Rows(Protocol):
    """Which rows a hidden state holds, which of them a block computes, and what each of those sees."""

    def queries(self, x: Tensor) -> Tensor:
        """Those rows of x, a tensor of all rows, that the block computes."""
        ...

    def attend(self, q: Tensor, k: Tensor, v: Tensor, heads: int) -> Tensor:
        """Attention of the queries' rows over keys and values of all rows: shaped as q."""
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

    def attend(self, q: Tensor, k: Tensor, v: Tensor, heads: int) -> Tensor:
        return attention(q, k, v, heads, causal=self.causal)

    def uniform(self, length: int, x: Tensor) -> Tensor:
        return torch.rand(x.shape[0], length, x.shape[-1], device=x.device)[:, : x.shape[1]]


@dataclass(frozen=True)
class FirstRow:
    """Only the first row of x (S, L, D), which sees all of its sequence: the class token of a last image block."""

    def queries(self, x: Tensor) -> Tensor:
        return x[:, :1]

    def attend(self, q: Tensor, k: Tensor, v: Tensor, heads: int) -> Tensor:
        return attention(q, k, v, heads)

    def uniform(self, length: int, x: Tensor) -> Tensor:
        return AllRows(causal=False).uniform(length, x)


def attention(
    q: Tensor, k: Tensor, v: Tensor, heads: int, *, causal: bool = False, mask: Tensor | None = None
) -> Tensor:
    """Multi-head attention of q (*, Q, D) over k and v (*, K, D): (*, Q, D).

    `mask` is True where a query sees a key: (Q, K), or (S, 1, Q, K) for the S sequences that * stands for.
    """
    shape = q.shape
    q, k, v = (t.reshape(-1, *t.shape[-2:]).unflatten(-1, (heads, -1)).transpose(1, 2) for t in (q, k, v))
    mixed = F.scaled_dot_product_attention(q, k, v, attn_mask=mask, is_causal=causal)
    return mixed.transpose(1, 2).reshape(shape)


def run_block(block: Any, x: Tensor, rows: Rows, *, update: QkvUpdate | None = None, lean: bool = False) -> Tensor:
    """The block at `rows.queries(x)`. `lean` keeps less for the backward pass, at the same arithmetic."""
    attn = block.attn
    width = x.shape[-1]
    normed = block.ln_1(x)
    weight, bias = attn.in_proj_weight, attn.in_proj_bias
    asking = rows.queries(normed)
    if asking is normed:
        q, k, v = F.linear(normed, weight, bias).chunk(3, dim=-1)
    else:
        q = F.linear(asking, weight[:width], bias[:width])
        k, v = F.linear(normed, weight[width:], bias[width:]).chunk(2, dim=-1)
    if update is not None:
        q, k, v = (t + change for t, change in zip((q, k, v), update(normed, rows), strict=True))
    x = rows.queries(x) + block.ls_1(attn.out_proj(rows.attend(q, k, v, attn.num_heads)))
    return x + block.ls_2(_mlp(block.mlp, block.ln_2(x), lean))


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
