"""The text tower of an open_clip model in stages: tokenize, look up, embed, blocks i..j, head.

The tower decides how a stage is computed: the *reference* execution does the authors' arithmetic (77 tokens, every block at every
token), the *fast* one leaves out what nothing reads. Both are the same mathematics (`tests/harness/test_towers.py` compares
them, and open_clip's own forward, in float64).

Shapes: C texts, L text tokens, D text width, E joint width; * further leading dimensions.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from itertools import chain
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from harness.clip.blocks import QkvUpdate, are_plain
from harness.clip.text_batches import Layout, PackedTexts, PaddedTexts, TextState, Tokens
from harness.errors import BackboneError, ConfigError

_PLAIN = re.compile("[ -%'-~]*")
"""Printable ASCII without the ampersand."""


class TextTower:
    """The text tower of an open_clip model. It owns no weights; it runs the model's.

    Raises BackboneError at construction for towers that don't work as CLIP's does (no causal mask, other pooling).
    """

    staged = True

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
        self._of_word = word_encoder(tokenizer)
        self.fast = fast
        self.resblocks = source.transformer.resblocks
        self.depth = len(self.resblocks)
        self.width = source.positional_embedding.shape[-1]
        self.context_length = source.positional_embedding.shape[0]
        self.encoded = 0  # texts, since the tower was built

    @property
    def dtype(self) -> torch.dtype:
        """The type that hidden states have: half for fp16-pure, float32 otherwise."""
        return self._source.transformer.get_cast_dtype()

    @property
    def _device(self) -> torch.device:
        return self._source.positional_embedding.device

    def tokenize(self, texts: Sequence[str]) -> Tokens:
        """The tokens of `texts`. Raises ConfigError for one that is too long."""
        start, end = self._tokenizer.sot_token_id, self._tokenizer.eot_token_id
        ids = [(start, *self._encode(text), end) for text in texts]
        for text, each in zip(texts, ids, strict=True):
            if len(each) > self.context_length:
                raise ConfigError(
                    f"a prompt has {len(each)} tokens, the backbone reads {self.context_length}: {text[:80]!r}...",
                    "Shorten the class name or the template; AdaptBench does not cut prompts silently.",
                )
        return Tokens(tuple(ids), self.context_length)

    def token_count(self, text: str) -> int:
        """Byte-pair tokens of a text, without start and end."""
        return len(self._encode(text))

    def _encode(self, text: str) -> list[int]:
        """The ids of a text, without start and end. Words of plain ASCII are tokenised once: CLIP's tokens never span a space."""
        if _PLAIN.fullmatch(text) is None:  # ftfy, which mends it, and HTML look at the whole
            return self._tokenizer.encode(text)
        return [*chain.from_iterable(map(self._of_word, text.split()))]

    def look_up(self, tokens: Tokens) -> TextState:
        """Token embeddings, without positions."""
        if not self.fast:
            ends = torch.tensor(tokens.ends, device=self._device)
            return PaddedTexts(self._embeddings(tokens.padded()), ends)
        shared = tokens.shared
        own = [ids[shared:] for ids in tokens.ids]
        layout = Layout(shared, tuple(map(len, own)), self._device)
        ids = np.fromiter(chain(tokens.ids[0][:shared], *own), dtype=np.int64)
        return PackedTexts(self._embeddings(ids), layout)

    def _embeddings(self, ids: Any) -> Tensor:
        """From wherever the table is to the tower's device."""
        table = self._source.token_embedding.weight
        return F.embedding(torch.as_tensor(ids, device=table.device), table).to(self._device, self.dtype)

    @torch.no_grad()
    def word_embeddings(self, words: str) -> Tensor:
        """The token embeddings (n, D) of a text, without start and end."""
        return self._embeddings(self._encode(words))

    def add_positions(self, state: TextState) -> TextState:
        """A state that was looked up, ready for block 0."""
        return state.plus_positions(self._source.positional_embedding.to(self.dtype))

    def embed(self, tokens: Tokens) -> TextState:
        """Token embeddings plus positions."""
        return self.add_positions(self.look_up(tokens))

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
        for i in range(first, last):
            if replace_rows and i in replace_rows:
                state = state.with_rows(replace_rows[i])
            state = state.through(self.resblocks[i], (qkv_updates or {}).get(i), last=i == self.depth - 1)
        return state

    def head(self, state: TextState) -> Tensor:
        """ln_final at the end-of-text row, times text_projection: (*, C, E), not normalised."""
        source = self._source
        x = state.end_rows(source.ln_final)
        self.encoded += x[..., 0].numel()
        projection = source.text_projection
        if projection is None:
            return x
        return projection(x) if isinstance(projection, nn.Linear) else x @ projection

    def encode(self, tokens: Tokens) -> Tensor:
        """The whole tower: (C, E), not normalised."""
        return self.head(self.blocks(self.embed(tokens), 0, self.depth))

    def upper_parameters(self, start: int) -> list[nn.Parameter]:
        """Blocks from `start` on, ln_final and text_projection: what fine-tuning trains of this tower."""
        source = self._source
        projection = source.text_projection
        tail = (
            [] if projection is None else projection.parameters() if isinstance(projection, nn.Linear) else [projection]
        )
        return [*self.resblocks[start:].parameters(), *source.ln_final.parameters(), *tail]


@lru_cache(maxsize=4)
def word_encoder(tokenizer: Any) -> Callable[[str], tuple[int, ...]]:
    """What tells the ids of a word: once for all towers of a tokenizer."""
    return lru_cache(maxsize=1 << 16)(lambda word: tuple(tokenizer.encode(word)))
