"""Texts on their way through a text tower, in two forms that hold the same numbers.

`PaddedTexts` is the authors': C texts of 77 rows each. `PackedTexts` is the fast one: the rows that all texts have in common
(start token, context vectors, words of the template) once, then each text's own rows up to its end-of-text token, without
padding. That is exact because the tower is causal: a row sees none after it, and equal leading rows stay equal.

Shapes: C texts, L rows, D width; * further leading dimensions (one context an image).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import accumulate, takewhile
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor

from harness.clip.blocks import AllRows, QkvUpdate, attention, run_block
from harness.clip.fused import Sight

MOST_DENSE_ROWS = 256
"""Up to so many packed rows, attention over all of them under a mask takes less time than over each text's own, padded, whatever
the width: docs/speed.md has the measurement."""


@dataclass(frozen=True)
class Tokens:
    """Tokenised texts: the ids of each from its start to its end-of-text token, and the rows a full sequence has."""

    ids: tuple[tuple[int, ...], ...]
    context_length: int

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def ends(self) -> list[int]:
        """Where each text's end-of-text token stands."""
        return [len(ids) - 1 for ids in self.ids]

    @cached_property
    def shared(self) -> int:
        """How many leading tokens all texts have in common; each keeps at least one of its own."""
        before_end = [ids[:-1] for ids in self.ids]
        pairs = zip(min(before_end), max(before_end), strict=False)  # in this order, all others stand between these two
        return sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], pairs))

    def padded(self) -> list[list[int]]:
        """Ids with zeros after the end: C lists of `context_length`."""
        return [[*ids, *[0] * (self.context_length - len(ids))] for ids in self.ids]


class TextState(Protocol):
    """C texts, embedded and some blocks deep. Methods pass states on, and never look inside."""

    @property
    def hidden(self) -> Tensor: ...

    def select(self, kept: Tensor) -> TextState:
        """The texts at the indices `kept` (K,), in that order."""
        ...

    def with_rows(self, new: Tensor, at: Tensor | None = None) -> TextState:
        """Rows 1..n replaced by `new`: (n, D), (C, n, D), or (*, C or 1, n, D). `at` (C, n) gives other places for them."""
        ...

    def apart(self) -> TextState:
        """The same texts, free to differ in every row from here on (each draws a dropout mask of its own)."""
        ...

    def plus_positions(self, positions: Tensor) -> TextState:
        """The positional embedding (77, D) added."""
        ...

    def through(self, block: Any, update: QkvUpdate | None, *, last: bool) -> TextState:
        """One block further; `last` if only the end-of-text rows are read of what comes out."""
        ...

    def end_rows(self, norm: Callable[[Tensor], Tensor]) -> Tensor:
        """The normalised rows at the end-of-text tokens (*, C, D)."""
        ...


@dataclass(frozen=True)
class PaddedTexts:
    """hidden (*, C, L, D); ends (C,): where each text's end-of-text token stands."""

    hidden: Tensor
    ends: Tensor

    def select(self, kept: Tensor) -> PaddedTexts:
        return PaddedTexts(self.hidden.index_select(-3, kept), self.ends[kept])

    def with_rows(self, new: Tensor, at: Tensor | None = None) -> PaddedTexts:
        return replace(self, hidden=_overwritten(self.hidden, new, at))

    def apart(self) -> PaddedTexts:
        return self

    def plus_positions(self, positions: Tensor) -> PaddedTexts:
        return replace(self, hidden=self.hidden + positions)

    def through(self, block: Any, update: QkvUpdate | None, *, last: bool) -> PaddedTexts:
        x = self.hidden
        out = run_block(block, x.reshape(-1, *x.shape[-2:]), AllRows(causal=True), update=update)
        return replace(self, hidden=out.reshape(x.shape))

    def end_rows(self, norm: Callable[[Tensor], Tensor]) -> Tensor:
        x = norm(self.hidden)
        rows = self.ends.expand(x.shape[:-2])[..., None, None]
        return x.gather(-2, rows.expand(*rows.shape[:-1], x.shape[-1])).squeeze(-2)


@dataclass(frozen=True)
class PackedTexts:
    """hidden (*, R, D): rows as `layout` has them; once `pooled`, only the end-of-text rows (*, C, D)."""

    hidden: Tensor
    layout: Layout
    pooled: bool = False

    def select(self, kept: Tensor) -> PackedTexts:
        if self.pooled:
            return replace(self, hidden=self.hidden.index_select(-2, kept))
        layout, rows = self.layout.select(kept.tolist())
        return PackedTexts(self.hidden.index_select(-2, rows), layout)

    def with_rows(self, new: Tensor, at: Tensor | None = None) -> PackedTexts:
        n, same_for_all = new.shape[-2], new.dim() == 2 or new.shape[-3] == 1
        if same_for_all and at is None and n < self.layout.shared:
            new = (new if new.dim() == 2 else new.squeeze(-3)).to(self.hidden.dtype)
            x = self.hidden.expand(*new.shape[:-2], *self.hidden.shape[-2:])
            return replace(self, hidden=torch.cat([x[..., :1, :], new, x[..., 1 + n :, :]], dim=-2))
        full = _overwritten(self.layout.unpack(self.hidden), new, at)
        layout = self.layout.with_shared(min(1, self.layout.shared))
        return PackedTexts(layout.pack(full), layout)

    def apart(self) -> PackedTexts:
        layout = self.layout.with_shared(0)
        return PackedTexts(layout.pack(self.layout.unpack(self.hidden)), layout)

    def plus_positions(self, positions: Tensor) -> PackedTexts:
        return replace(self, hidden=self.hidden + positions[self.layout.positions])

    def through(self, block: Any, update: QkvUpdate | None, *, last: bool) -> PackedTexts:
        rows = EndRows(self.layout) if last else PackedRows(self.layout)
        return replace(self, hidden=run_block(block, self.hidden, rows, update=update, lean=True), pooled=last)

    def end_rows(self, norm: Callable[[Tensor], Tensor]) -> Tensor:
        return norm(self.hidden if self.pooled else self.hidden.index_select(-2, self.layout.ends))


def _overwritten(x: Tensor, new: Tensor, at: Tensor | None) -> Tensor:
    """x (*, C, L, D) with rows 1..n, or those `at` (C, n), replaced by `new`."""
    n = new.shape[-2]
    lead = torch.broadcast_shapes(x.shape[:-2], new.shape[:-2])
    x, new = x.expand(*lead, *x.shape[-2:]), new.to(x.dtype).expand(*lead, *new.shape[-2:])
    if at is None:
        return torch.cat([x[..., :1, :], new, x[..., 1 + n :, :]], dim=-2)
    return x.scatter(-2, at[..., None].expand(new.shape), new)


@dataclass(frozen=True)
class Layout:
    """How texts are packed: `shared` leading rows once, then `lengths[c]` rows of text c, text after text: R in all.

    Index tensors are made when first asked for, from these numbers alone: nothing waits for a device.
    """

    shared: int
    lengths: tuple[int, ...]
    device: torch.device

    @cached_property
    def longest(self) -> int:
        return max(self.lengths)

    @cached_property
    def starts(self) -> list[int]:
        """Where each text's own rows start among the packed ones."""
        return list(accumulate(self.lengths[:-1], initial=self.shared))

    def _indices(self, values: Any) -> Tensor:
        return torch.as_tensor(values, dtype=torch.long, device=self.device)

    @cached_property
    def _own(self) -> tuple[Any, Any]:
        """Of each own row, in order, its text and its place in that."""
        lengths = np.array(self.lengths, dtype=np.int64)
        texts = np.repeat(np.arange(len(lengths)), lengths)
        return texts, np.arange(len(texts)) - np.repeat(np.cumsum(lengths) - lengths, lengths)

    @cached_property
    def positions(self) -> Tensor:
        """(R,): which position of its sequence a row stands at."""
        return self._indices(np.concatenate([np.arange(self.shared), self.shared + self._own[1]]))

    @cached_property
    def texts(self) -> Tensor:
        """(R - shared,): which text an own row belongs to."""
        return self._indices(self._own[0])

    @cached_property
    def ends(self) -> Tensor:
        """(C,): the packed rows of the end-of-text tokens."""
        return self._indices(self.shared + np.cumsum(self.lengths) - 1)

    @cached_property
    def _padding(self) -> Tensor:
        """(C * longest,): the packed row at each place of the padded own rows. Places after an end repeat it: nothing sees them."""
        lengths = np.array(self.lengths)[:, None]
        rows = self.shared + np.cumsum(lengths)[:, None] - lengths + np.minimum(np.arange(self.longest), lengths - 1)
        return self._indices(rows.reshape(-1))

    @cached_property
    def _places(self) -> Tensor:
        """(R - shared,): the place of each own row among the padded ones."""
        texts, places = self._own
        return self._indices(texts * self.longest + places)

    @cached_property
    def causal_mask(self) -> Tensor:
        """(longest, shared + longest): which of a text's keys an own row sees."""
        seen = torch.ones(self.longest, self.shared + self.longest, dtype=torch.bool, device=self.device)
        return seen.tril(diagonal=self.shared)

    @cached_property
    def end_mask(self) -> Tensor:
        """(C, 1, 1, shared + longest): which of a text's keys its end-of-text row sees."""
        keys = torch.arange(self.shared + self.longest, device=self.device)
        return (keys < self._indices(self.shared + np.array(self.lengths))[:, None])[:, None, None]

    @property
    def is_dense(self) -> bool:
        """Whether attention runs over all rows at once, under a mask, rather than over each text's own, padded."""
        return self.rows <= MOST_DENSE_ROWS

    @property
    def rows(self) -> int:
        """R."""
        return self.shared + sum(self.lengths)

    @cached_property
    def _biases(self) -> dict[torch.dtype, tuple[Tensor, Tensor]]:
        return {}

    def bias(self, dtype: torch.dtype) -> Tensor:
        """(R, R): 0 where a row sees another, minus infinity elsewhere."""
        return self._bias_of(dtype)[0]

    def end_bias(self, dtype: torch.dtype) -> Tensor:
        """(C, R): the same for the end-of-text rows."""
        return self._bias_of(dtype)[1]

    def _bias_of(self, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
        if dtype not in self._biases:
            text = torch.cat([self.texts.new_full((self.shared,), -1), self.texts])
            sees = ((text == text[:, None]) | (text == -1)).tril()
            bias = torch.zeros(sees.shape, dtype=dtype, device=self.device).masked_fill_(~sees, -torch.inf)
            self._biases[dtype] = bias, bias.index_select(0, self.ends)
        return self._biases[dtype]

    def select(self, kept: Sequence[int]) -> tuple[Layout, Tensor]:
        """The layout of some of the texts, and the packed rows they take along."""
        rows = [row for c in kept for row in range(self.starts[c], self.starts[c] + self.lengths[c])]
        layout = replace(self, lengths=tuple(self.lengths[c] for c in kept))
        return layout, self._indices([*range(self.shared), *rows])

    def with_shared(self, shared: int) -> Layout:
        """The same texts with fewer rows in common."""
        return replace(self, shared=shared, lengths=tuple(self.shared - shared + n for n in self.lengths))

    def pad_own(self, x: Tensor) -> Tensor:
        """The own rows of x (*, R, D), padded: (*, C, longest, D)."""
        return x.index_select(-2, self._padding).unflatten(-2, (len(self.lengths), self.longest))

    def pack_own(self, x: Tensor) -> Tensor:
        """Padded own rows (*, C, longest, D) as they are packed: (*, R - shared, D)."""
        return x.flatten(-3, -2).index_select(-2, self._places)

    def unpack(self, x: Tensor) -> Tensor:
        """Packed rows (*, R, D) as padded texts (*, C, shared + longest, D)."""
        return torch.cat([self._to_each(x[..., : self.shared, :]), self.pad_own(x)], dim=-2)

    def pack(self, x: Tensor) -> Tensor:
        """Padded texts (*, C, shared + longest, D), equal in their shared rows, as packed ones (*, R, D)."""
        own = self.pack_own(x[..., self.shared :, :])
        return torch.cat([x[..., 0, : self.shared, :], own], dim=-2) if self.shared else own

    def _to_each(self, x: Tensor) -> Tensor:
        """Shared rows (*, shared, D) for every text: (*, C, shared, D)."""
        return x.unsqueeze(-3).expand(*x.shape[:-2], len(self.lengths), *x.shape[-2:])


@dataclass(frozen=True)
class PackedRows:
    """All rows of packed texts: shared ones see those before them, own ones all shared ones and their text's before them."""

    layout: Layout

    def queries(self, x: Tensor) -> Tensor:
        return x

    def attend(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        layout, shared = self.layout, self.layout.shared
        if layout.is_dense:
            return attention(q, k, v, mask=layout.bias(q.dtype))
        heads = q.shape[-2]
        q, k, v = (t.flatten(-2) for t in (q, k, v))
        own = _attention(layout.pad_own(q), layout.unpack(k), layout.unpack(v), heads, mask=layout.causal_mask)
        if not shared:
            return layout.pack_own(own)
        first = _attention(q[..., :shared, :], k[..., :shared, :], v[..., :shared, :], heads, causal=True)
        return torch.cat([first, layout.pack_own(own)], dim=-2)

    def sight(self, dtype: torch.dtype) -> Sight | None:
        return Sight(bias=self.layout.bias(dtype)) if self.layout.is_dense else None

    def uniform(self, length: int, x: Tensor) -> Tensor:
        assert self.layout.shared == 0, "texts that draw numbers of their own must be `apart`"
        drawn = torch.rand(len(self.layout.lengths), length, x.shape[-1], device=x.device)
        return drawn[self.layout.texts, self.layout.positions]


@dataclass(frozen=True)
class EndRows(PackedRows):
    """Only the end-of-text rows: what is read of a last block."""

    def queries(self, x: Tensor) -> Tensor:
        return x.index_select(-2, self.layout.ends)

    def sight(self, dtype: torch.dtype) -> Sight | None:
        return None

    def attend(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        layout = self.layout
        if layout.is_dense:
            return attention(q, k, v, mask=layout.end_bias(q.dtype))
        mask = layout.end_mask.repeat(q.shape[:-3].numel(), 1, 1, 1)
        heads = q.shape[-2]
        keys, values = (layout.unpack(t.flatten(-2)) for t in (k, v))
        return _attention(q.flatten(-2).unsqueeze(-2), keys, values, heads, mask=mask).squeeze(-2)


def _attention(q: Tensor, k: Tensor, v: Tensor, heads: int, **how: Any) -> Tensor:
    """Attention of q (*, Q, D) over k and v (*, K, D): (*, Q, D)."""
    return attention(*(t.unflatten(-1, (heads, -1)) for t in (q, k, v)), **how)
