"""Both towers of an open_clip ViT CLIP in stages: embed, blocks i..j, head.

Methods are written in these stages, once. The tower decides how a stage is computed: the *reference* execution does the
authors' arithmetic (77 tokens, every block at every token), the *fast* one leaves out what nothing reads. Both are the same
mathematics (`tests/harness/test_towers.py` compares them, and open_clip's own forward, in float64).

Shapes: B images, N image tokens (1 CLS + patches), W image width; leading dimensions * of texts, L text tokens, D text width;
E joint width.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from harness.errors import BackboneError, ConfigError

QkvUpdate = Callable[[Tensor, Tensor | None], tuple[Tensor, Tensor, Tensor]]
"""What a method adds to the queries, keys and values of a block: from its normalised input (S, L, D) and `rows`, three tensors.

Keys and values are for every row, (S, L, D); queries for `rows` only where those are given, (S, 1, D).
"""


@dataclass(frozen=True)
class Tokens:
    """Tokenised texts: ids (C, L) of type int64, and where each text ends, eot (C,)."""

    ids: Tensor
    eot: Tensor

    def select(self, kept: Tensor) -> Tokens:
        return Tokens(self.ids[kept], self.eot[kept])


@dataclass(frozen=True)
class TextState:
    """Texts on their way through the tower: hidden (*, L, D), eot (C,) with C the last dimension of *.

    `pooled` is set once only the row at the end-of-text token is left (L = 1).
    """

    hidden: Tensor
    eot: Tensor
    pooled: bool = False

    def select(self, kept: Tensor) -> TextState:
        """The texts at the indices `kept` (K,), in that order."""
        return TextState(self.hidden.index_select(-3, kept), self.eot[kept], self.pooled)

    def detach(self) -> TextState:
        return replace(self, hidden=self.hidden.detach())


def are_plain(resblocks: Any) -> bool:
    """Whether blocks compute what `run_block` does: open_clip has variants with normalised queries and scaled heads."""
    return all(type(block).__name__ == "ResidualAttentionBlock" for block in resblocks)


def run_block(
    block: Any,
    x: Tensor,
    *,
    causal: bool,
    rows: Tensor | None = None,
    key_rows_end: Tensor | None = None,
    qkv_update: QkvUpdate | None = None,
) -> Tensor:
    """One residual attention block of open_clip on x (S, L, D).

    With `rows` (S,), only those rows are computed and returned, (S, 1, D); keys and values still come from every row up to
    `key_rows_end` (S,) inclusive (all rows if None).
    """
    attention = block.attn
    heads = attention.num_heads
    width = x.shape[-1]
    normed = block.ln_1(x)
    weight, bias = attention.in_proj_weight, attention.in_proj_bias
    if rows is None:
        q, k, v = F.linear(normed, weight, bias).chunk(3, dim=-1)
        mask = None
    else:
        q = F.linear(take_rows(normed, rows), weight[:width], bias[:width])
        k, v = F.linear(normed, weight[width:], bias[width:]).chunk(2, dim=-1)
        x = take_rows(x, rows)
        mask = None
        if key_rows_end is not None:
            positions = torch.arange(k.shape[-2], device=k.device)
            mask = (positions <= key_rows_end[:, None])[:, None, None, :]
    if qkv_update is not None:
        q, k, v = (t + update for t, update in zip((q, k, v), qkv_update(normed, rows), strict=True))
    q, k, v = (t.unflatten(-1, (heads, -1)).transpose(-3, -2) for t in (q, k, v))
    mixed = F.scaled_dot_product_attention(q, k, v, attn_mask=mask, is_causal=causal and rows is None)
    x = x + block.ls_1(attention.out_proj(mixed.transpose(-3, -2).flatten(-2)))
    return x + block.ls_2(block.mlp(block.ln_2(x)))


def take_rows(x: Tensor, rows: Tensor) -> Tensor:
    """Row rows[s] of x[s]: (S, L, D), (S,) -> (S, 1, D)."""
    return x.gather(-2, rows[:, None, None].expand(-1, 1, x.shape[-1]))


class TextTower:
    """The text tower of an open_clip model. It owns no weights; it runs the model's.

    Raises BackboneError at construction for towers that don't work as CLIP's does (no causal mask, other pooling).
    """

    def __init__(self, model: Any, tokenizer: Any, fast: bool) -> None:
        source = getattr(model, "text", model)
        pool = getattr(source, "text_pool_type", getattr(source, "pool_type", None))
        plain = (
            hasattr(source, "token_embedding")
            and pool == "argmax"
            and getattr(source, "attn_mask", None) is not None
            and getattr(source, "cls_emb", None) is None  # CoCa appends a token of its own
            and are_plain(source.transformer.resblocks)
        )
        if not plain:
            raise BackboneError(
                "this backbone's text tower is not CLIP's (a causal transformer that reads the end-of-text token).",
                "Choose a backbone such as ViT-B-16-quickgelu.",
            )
        self._source = source
        self._tokenizer = tokenizer
        self.fast = fast
        self.resblocks = source.transformer.resblocks
        self.depth = len(self.resblocks)
        self.width = source.positional_embedding.shape[-1]
        self.context_length = source.positional_embedding.shape[0]

    @property
    def dtype(self) -> torch.dtype:
        """The type that hidden states have: half for fp16-pure, float32 otherwise."""
        return self._source.transformer.get_cast_dtype()

    def tokenize(self, texts: Sequence[str]) -> Tokens:
        """Ids of `texts`, cut to the longest of them when fast (exact: the tower is causal). Raises ConfigError if too long."""
        for text in texts:
            length = self.token_count(text) + 2
            if length > self.context_length:
                raise ConfigError(
                    f"a prompt has {length} tokens, the backbone reads {self.context_length}: {text[:80]!r}...",
                    "Shorten the class name or the template; AdaptBench does not cut prompts silently.",
                )
        ids = self._tokenizer(list(texts), context_length=self.context_length)
        eot = ids.argmax(dim=-1)  # the end-of-text token has the highest id
        if self.fast:
            ids = ids[:, : int(eot.max()) + 1]
        device = self._source.positional_embedding.device
        return Tokens(ids.to(device), eot.to(device))

    def token_count(self, text: str) -> int:
        """Byte-pair tokens of a text, without start and end."""
        return len(self._tokenizer.encode(text))

    def token_embeddings(self, tokens: Tokens) -> Tensor:
        """Token embeddings (C, L, D), without positions."""
        return self._source.token_embedding(tokens.ids).to(self.dtype)

    def embed(self, tokens: Tokens, context: Tensor | None = None) -> TextState:
        """Token embeddings plus positions; `context` (n, D), (C, n, D) or (*, C, n, D) replaces rows 1..n."""
        x = self.token_embeddings(tokens)
        if context is not None:
            if context.dim() == 2:
                context = context.expand(x.shape[0], -1, -1)
            n = context.shape[-2]
            lead = context.shape[:-2]
            first, rest = x[:, :1], x[:, 1 + n :]
            x = torch.cat([first.expand(*lead, -1, -1), context, rest.expand(*lead, -1, -1)], dim=-2)
        return self.positioned(x, tokens)

    def positioned(self, embeddings: Tensor, tokens: Tokens) -> TextState:
        """Embeddings (*, C, L, D) with the positional embedding added."""
        positions = self._source.positional_embedding[: embeddings.shape[-2]].to(self.dtype)
        return TextState(embeddings + positions, tokens.eot)

    def blocks(
        self,
        state: TextState,
        first: int,
        last: int,
        replace_rows: Mapping[int, Tensor] | None = None,
        qkv_updates: Mapping[int, QkvUpdate] | None = None,
    ) -> TextState:
        """Blocks first..last-1. `replace_rows[i]` (n, D) or (C, n, D) overwrites rows 1..n before block i.

        `qkv_updates[i]` is added in the attention of block i.
        """
        x, eot = state.hidden, state.eot
        lead = x.shape[:-2]
        x = x.reshape(-1, *x.shape[-2:])
        ends = eot.expand(lead).reshape(-1)
        pooled = state.pooled
        for i in range(first, last):
            update = (qkv_updates or {}).get(i)
            if replace_rows and i in replace_rows:
                new = replace_rows[i].to(x.dtype).expand(x.shape[0], -1, -1)
                x = torch.cat([x[:, :1], new, x[:, 1 + new.shape[1] :]], dim=1)
            if self.fast and i == self.depth - 1:
                x = run_block(self.resblocks[i], x, causal=True, rows=ends, key_rows_end=ends, qkv_update=update)
                pooled = True
            else:
                x = run_block(self.resblocks[i], x, causal=True, qkv_update=update)
        return TextState(x.reshape(*lead, *x.shape[-2:]), eot, pooled)

    def head(self, state: TextState) -> Tensor:
        """ln_final at the end-of-text row, times text_projection: (*, E), not normalised."""
        source = self._source
        x = state.hidden
        if not self.fast:
            x = source.ln_final(x)
        if not state.pooled:
            rows = state.eot.expand(x.shape[:-2])
            x = x.gather(-2, rows[..., None, None].expand(*rows.shape, 1, x.shape[-1]))
        x = x.squeeze(-2)
        if self.fast:
            x = source.ln_final(x)
        projection = source.text_projection
        if projection is None:
            return x
        return projection(x) if isinstance(projection, nn.Linear) else x @ projection

    def encode(self, tokens: Tokens, context: Tensor | None = None) -> Tensor:
        """The whole tower: (*, E), not normalised."""
        return self.head(self.blocks(self.embed(tokens, context), 0, self.depth))

    def upper_parameters(self, start: int) -> list[nn.Parameter]:
        """Blocks from `start` on, ln_final and text_projection: what fine-tuning trains of this tower."""
        source = self._source
        projection = source.text_projection
        tail = (
            [] if projection is None else projection.parameters() if isinstance(projection, nn.Linear) else [projection]
        )
        return [*self.resblocks[start:].parameters(), *source.ln_final.parameters(), *tail]


class ImageTower:
    """The image tower of an open_clip model. `staged` is False for towers that are not a plain ViT (ResNets, timm models):
    those encode whole images only, and asking for a stage raises BackboneError.
    """

    def __init__(self, model: Any, fast: bool) -> None:
        self._visual = visual = model.visual
        self.fast = fast
        self.staged = (
            hasattr(visual, "conv1")
            and hasattr(visual, "class_embedding")
            and getattr(visual, "pool_type", None) == "tok"
            and getattr(visual, "attn_pool", None) is None
            and are_plain(visual.transformer.resblocks)
        )
        self.resblocks: Any = visual.transformer.resblocks if self.staged else ()
        self.depth = len(self.resblocks)

    def _need_stages(self) -> None:
        if not self.staged:
            raise BackboneError(
                f"this method works inside the blocks of a ViT image tower; {type(self._visual).__name__} has none it can use.",
                "Choose a ViT backbone such as ViT-B-16-quickgelu, or a method that needs only image features "
                "(zero_shot, coop, clip_adapter).",
            )

    @property
    def width(self) -> int:
        self._need_stages()
        return self._visual.class_embedding.shape[0]

    def embed(self, images: Tensor) -> Tensor:
        """(B, 3, H, W) -> tokens after ln_pre (B, N, W)."""
        self._need_stages()
        return self._visual._embeds(images.to(self._visual.conv1.weight.dtype))

    def append(self, x: Tensor, prompts: Tensor) -> Tensor:
        """Prompts (n, W) or (B, n, W) through ln_pre, appended to x (B, N, W): as if added before ln_pre."""
        return torch.cat([x, self._visual.ln_pre(prompts.to(x.dtype)).expand(x.shape[0], -1, -1)], dim=1)

    def blocks(
        self,
        x: Tensor,
        first: int,
        last: int,
        replace_rows: Mapping[int, Tensor] | None = None,
        qkv_updates: Mapping[int, QkvUpdate] | None = None,
    ) -> Tensor:
        """Blocks first..last-1. `replace_rows[i]` (n, W) overwrites the last n rows before block i.

        `qkv_updates[i]` is added in the attention of block i.
        """
        self._need_stages()
        for i in range(first, last):
            update = (qkv_updates or {}).get(i)
            if replace_rows and i in replace_rows:
                new = replace_rows[i].to(x.dtype).expand(x.shape[0], -1, -1)
                x = torch.cat([x[:, : -new.shape[1]], new], dim=1)
            if self.fast and i == self.depth - 1:
                rows = x.new_zeros(x.shape[0], dtype=torch.long)
                x = run_block(self.resblocks[i], x, causal=False, rows=rows, qkv_update=update)
            else:
                x = run_block(self.resblocks[i], x, causal=False, qkv_update=update)
        return x

    def head(self, x: Tensor) -> Tensor:
        """ln_post at the CLS row, times proj: (B, N, W) -> (B, E), not normalised."""
        visual = self._visual
        x = visual.ln_post(x[:, 0]) if self.fast else visual.ln_post(x)[:, 0]
        return x if visual.proj is None else x @ visual.proj

    def encode(self, images: Tensor) -> Tensor:
        """The whole tower: (B, 3, H, W) -> (B, E), not normalised."""
        if not self.staged:
            return self._visual(images)
        return self.head(self.blocks(self.embed(images), 0, self.depth))

    def upper_parameters(self, start: int) -> list[nn.Parameter]:
        """Blocks from `start` on, ln_post and proj: what fine-tuning trains of this tower."""
        self._need_stages()
        visual = self._visual
        tail = [] if visual.proj is None else [visual.proj]
        return [*self.resblocks[start:].parameters(), *visual.ln_post.parameters(), *tail]
