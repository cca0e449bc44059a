"""The arithmetic of CoOp; hyper-parameters, recipes and the paper are in `methods.coop`."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from harness.backbone import Backbone
from harness.errors import ConfigError
from harness.method import AdaptedModel, Batch, Classes, cosine_logits
from methods.coop import CoOp

_INITIALISATION_STD = 0.02


class CoOpModel(AdaptedModel):
    """Prompts [SOT][context][class name]["."][EOT]; gradients run through the whole frozen text tower into the context."""

    def __init__(self, backbone: Backbone, method: CoOp) -> None:
        super().__init__(backbone)
        self._method = method
        words = method.context_init.replace("_", " ")
        self.length = len(words.split()) if words else method.context_length
        if self.length < 1:
            raise ConfigError("context_length must be at least 1.", "Use --set context_length=16, the paper's length.")
        self._placeholder = words or " ".join(["X"] * self.length)
        shape = (self.length, backbone.text.width)
        start = torch.empty(shape, dtype=backbone.dtype, device=backbone.device).normal_(std=_INITIALISATION_STD)
        if words:
            with torch.no_grad():
                start = backbone.text.token_embeddings(backbone.text.tokenize([words]))[0, 1 : 1 + self.length].clone()
        self.context = nn.Parameter(start)
        self._trained_names: tuple[str, ...] | None = None

    def set_classes(self, classes: Classes) -> None:
        text = self.backbone.text
        names = tuple(name.replace("_", " ") for name in classes.names)
        if self._method.class_specific:
            self._aim_specific(classes.names)
        prompts = [f"{self._placeholder} {name}." for name in names]
        self._tokens = text.tokenize(prompts)
        with torch.no_grad():
            self._embeddings = text.token_embeddings(self._tokens)
        self._layouts = self._token_layouts(names)

    def _aim_specific(self, names: tuple[str, ...]) -> None:
        """One context a class, made for the first list of classes: it means nothing for others."""
        if self._trained_names is None:
            self._trained_names = names
            start = self.context.detach().expand(len(names), -1, -1).clone()
            self.context = nn.Parameter(start if self._method.context_init else start.normal_(std=_INITIALISATION_STD))
        elif names != self._trained_names:
            raise ConfigError(
                "class-specific context vectors can't classify classes they were not trained on.",
                "Use --set class_specific=false in suites that test other classes.",
            )

    def _token_layouts(self, names: tuple[str, ...]) -> Tensor | None:
        """For the middle and front positions, which of [SOT, context, rest] stands at each position: (C, L), else None."""
        if self._method.class_position == "end":
            return None
        n, length = self.length, self._embeddings.shape[1]
        half = n // 2 if self._method.class_position == "middle" else 0
        rows = []
        for name in names:
            name_end = 1 + n + self.backbone.text.token_count(name)
            context, name_rows = list(range(1, 1 + n)), list(range(1 + n, name_end))
            rows.append([0, *context[:half], *name_rows, *context[half:], *range(name_end, length)])
        return torch.tensor(rows, device=self.backbone.device)

    def classifier(self) -> Tensor:
        text = self.backbone.text
        n, count = self.length, self._embeddings.shape[0]
        context = self.context if self.context.dim() == 3 else self.context.expand(count, -1, -1)
        x = torch.cat([self._embeddings[:, :1], context, self._embeddings[:, 1 + n :]], dim=1)
        if self._layouts is not None:
            x = x.gather(1, self._layouts[..., None].expand(-1, -1, x.shape[-1]))
        state = text.blocks(text.positioned(x, self._tokens), 0, text.depth)
        return F.normalize(text.head(state), dim=-1)

    def loss(self, batch: Batch) -> Tensor:
        return F.cross_entropy(self.logits(batch.images, self.classifier()), batch.labels)

    def logits(self, images: Tensor, classifier: Tensor | None) -> Tensor:
        assert classifier is not None
        return cosine_logits(self.backbone.logit_scale, images, classifier)
