"""The arithmetic of CLIP-LoRA; hyper-parameters, recipes and the paper are in `methods.clip_lora`."""

from __future__ import annotations

import math
import random
from collections.abc import Iterator, Sequence
from functools import partial

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from harness.clip.backbone import Backbone
from harness.clip.blocks import QkvUpdate, Rows
from harness.method import Batch, Classes, ClassFeatureModel, PlainClip, Read, cosine_logits
from methods._batches import all_in_batches
from methods._deep import full_precision
from methods.clip_lora import ClipLora

_SCALE = 100.0


class LowRankUpdate(nn.Module):
    """B A x for the queries, keys and values of one attention: A (r, D) and B (D, r) each, in float32 also on half weights.

    `length` is the number of rows of a full sequence. Dropout masks are drawn for all of them, so that leaving out rows which
    nothing reads changes no other number.
    """

    def __init__(self, width: int, length: int, method: ClipLora, backbone: Backbone) -> None:
        super().__init__()
        where = full_precision(backbone)
        self.a = nn.ParameterList([nn.Parameter(torch.empty(method.rank, width, **where)) for _ in "qkv"])
        self.b = nn.ParameterList([nn.Parameter(torch.zeros(width, method.rank, **where)) for _ in "qkv"])
        for a in self.a:
            nn.init.kaiming_uniform_(a, a=math.sqrt(5))
        self._length = length
        self._dropout = method.dropout
        self._scaling = method.alpha / math.sqrt(method.rank)

    def merged(self) -> Tensor:
        """What it adds to the attention's input weights, queries above keys above values: (3 D, D)."""
        return torch.cat([self._scaling * b @ a for a, b in zip(self.a, self.b, strict=True)])

    def forward(self, x: Tensor, rows: Rows, *, training: bool) -> tuple[Tensor, Tensor, Tensor]:
        """Updates of q (at the queries' rows), k and v for normalised inputs x (..., D)."""
        updates = []
        for i, (a, b) in enumerate(zip(self.a, self.b, strict=True)):
            dropped = self._drop(x, rows) if training and self._dropout else x
            if i == 0:
                dropped = rows.queries(dropped)
            update = F.linear(F.linear(dropped.to(a.dtype), a), b)
            updates.append((self._scaling * update).to(x.dtype))
        q, k, v = updates
        return q, k, v

    def _drop(self, x: Tensor, rows: Rows) -> Tensor:
        return x * (rows.uniform(self._length, x) >= self._dropout) / (1 - self._dropout)


class ClipLoraModel(ClassFeatureModel):
    """CLIP with low-rank updates in every attention; class prompts are encoded anew in every step.

    Testing adds B A x rather than merging B A into the frozen weights, which stay as they are; the two agree within rounding.
    """

    def __init__(self, backbone: Backbone, method: ClipLora) -> None:
        super().__init__(backbone)
        self.reads = (Read(0),)
        self._method = method
        text, image = backbone.text, backbone.image
        positions = backbone.model.visual.positional_embedding.shape[0] if image.staged else 0
        widths = {"text": (text.width, text.context_length), "image": (image.width, positions)}
        depths = {"text": text.depth, "image": image.depth}
        self.updates = nn.ModuleDict(
            {
                tower: nn.ModuleList([LowRankUpdate(*widths[tower], method, backbone) for _ in range(depths[tower])])
                for tower in ("text", "image")
            }
        )
        self._scale = torch.tensor(_SCALE, device=backbone.device)

    def set_classes(self, classes: Classes) -> None:
        self._template = self._method.template or classes.template("clip")
        self._tokens = self.backbone.text.tokenize(self.backbone.prompts(self._template, classes.names))
        self.forget_constants()

    def batches(self, labels: Sequence[int], batch_size: int, rng: random.Random) -> Iterator[list[int]]:
        return all_in_batches(labels, batch_size, rng)

    def _of(self, tower: str, training: bool) -> dict[int, QkvUpdate]:
        blocks: nn.ModuleList = self.updates[tower]  # type: ignore[assignment]
        return {i: partial(block, training=training) for i, block in enumerate(blocks)}

    def text_features(self, *, training: bool) -> Tensor:
        """Normalised (C, E)."""
        text = self.backbone.text
        state = self.constant("embedded", lambda: text.embed(self._tokens))
        if training and self._method.dropout:
            state = state.apart()
        state = text.blocks(state, 0, text.depth, qkv_updates=self._of("text", training))
        return F.normalize(text.head(state), dim=-1)

    def image_features(self, images: Tensor, *, training: bool = False) -> Tensor:
        """(B, E), not normalised, from image tokens after ln_pre."""
        tower = self.backbone.image
        return tower.head(tower.blocks(images, 0, tower.depth, qkv_updates=self._of("image", training)))

    @torch.no_grad()
    def plain_clip(self) -> PlainClip:
        """B A merged into the weights, with the method's own logit scale."""
        model = self.backbone.model
        names = {id(weight): name for name, weight in model.named_parameters()}
        weights = dict(model.state_dict())
        for tower, side in (("text", self.backbone.text), ("image", self.backbone.image)):
            blocks: nn.ModuleList = self.updates[tower]  # type: ignore[assignment]
            for block, update in zip(side.resblocks, blocks, strict=True):
                weight = block.attn.in_proj_weight
                weights[names[id(weight)]] = (weight + update.merged()).to(weight.dtype)  # type: ignore[operator]
        return PlainClip({**weights, "logit_scale": self._scale.log().to(model.logit_scale)}, self._template)

    def loss(self, batch: Batch) -> Tensor:
        classifier = self.text_features(training=True)
        features = self.image_features(batch.images, training=True)
        return F.cross_entropy(cosine_logits(self._scale, features, classifier), batch.labels)

    def classifier(self) -> Tensor:
        return self.text_features(training=False)

    def class_logits(self, images: Tensor, classifier: Tensor) -> Tensor:
        return cosine_logits(self._scale, self.image_features(images), classifier)
