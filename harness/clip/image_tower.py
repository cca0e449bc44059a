"""The image tower of an open_clip model in stages: embed, blocks i..j, head.

Shapes: B images, N image tokens (1 CLS + patches), W image width, E joint width.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

import torch
from torch import Tensor, nn

from harness.clip.blocks import AllRows, FirstRow, QkvUpdate, are_plain, run_block
from harness.errors import BackboneError

Stage = int | Literal["pixels", "features"]
"""How far the frozen image tower has run: "pixels" (B, 3, S, S); k blocks (B, N, W), 0 being after ln_pre; "features" (B, E)."""

FEWEST_AT_ONCE = 32
MOST_AT_ONCE = 512
SHARE_OF_DEVICE = 64
"""Images that run at once take at most this part of a device's memory, unless they are the fewest."""
NUMBERS_A_TOKEN = 17
"""Without a gradient, a block of a ViT holds at most so many numbers per token and unit of width at once."""


class ImageTower:
    """The image tower of an open_clip model. `staged` is False for towers that are not a plain ViT (ResNets, timm models):
    those encode whole images only, and asking for a stage raises BackboneError.
    """

    def __init__(self, model: Any, fast: bool) -> None:
        self._model = model
        self._visual = visual = model.visual
        self.fast = fast
        self.at_once = FEWEST_AT_ONCE
        """How many images the fast execution runs at once where no gradient is needed, in extraction and in a test's batch."""
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

    def fit(self, memory_bytes: int | None, number_bytes: int) -> None:
        """Set `at_once` to what a device of so much memory is kept busy by, numbers having so many bytes; None is a CPU.

        A power of two. More images would raise the peak of a run whose training needs less.
        """
        if memory_bytes is None or not self.staged:
            self.at_once = FEWEST_AT_ONCE
            return
        an_image = NUMBERS_A_TOKEN * self._visual.positional_embedding.shape[0] * self.width * number_bytes
        fitting = max(1, memory_bytes // SHARE_OF_DEVICE // an_image)
        self.at_once = min(max(1 << (fitting.bit_length() - 1), FEWEST_AT_ONCE), MOST_AT_ONCE)

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
            if replace_rows and i in replace_rows:
                new = replace_rows[i].to(x.dtype).expand(x.shape[0], -1, -1)
                x = torch.cat([x[:, : -new.shape[1]], new], dim=1)
            rows = FirstRow() if self.fast and i == self.depth - 1 else AllRows(causal=False)
            x = run_block(self.resblocks[i], x, rows, update=(qkv_updates or {}).get(i), lean=self.fast)
        return x

    def head(self, x: Tensor) -> Tensor:
        """ln_post at the CLS row, times proj: (B, N, W) -> (B, E), not normalised."""
        visual = self._visual
        x = visual.ln_post(x[:, 0]) if self.fast else visual.ln_post(x)[:, 0]
        return x if visual.proj is None else x @ visual.proj

    def encode(self, images: Tensor) -> Tensor:
        """The whole tower: (B, 3, H, W) -> (B, E), not normalised."""
        if not self.staged:
            first = next(p for p in self._visual.parameters() if p.dim() > 1)
            return self._model.encode_image(images.to(first.dtype), normalize=False)
        return self.head(self.blocks(self.embed(images), 0, self.depth))

    def upper_parameters(self, start: int) -> list[nn.Parameter]:
        """Blocks from `start` on, ln_post and proj: what fine-tuning trains of this tower."""
        self._need_stages()
        visual = self._visual
        tail = [] if visual.proj is None else [visual.proj]
        return [*self.resblocks[start:].parameters(), *visual.ln_post.parameters(), *tail]
