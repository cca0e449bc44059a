"""The arithmetic of CoOp; hyper-parameters, recipes and the paper are in `methods.coop`."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from harness.backbone import Backbone
from harness.errors import ConfigError
from harness.method import Classes
from methods.coop import CoOp
from methods.models._text import INITIALISATION_STD, ContextModel


class CoOpModel(ContextModel):
    """The core, with the class name at the end, in the middle or in front, and a context for each class if asked."""

    def __init__(self, backbone: Backbone, method: CoOp) -> None:
        super().__init__(backbone, method.context_init, method.context_length)
        self._method = method
        self._trained_names: tuple[str, ...] | None = None

    def set_classes(self, classes: Classes) -> None:
        if self._method.class_specific:
            self._aim_specific(classes.names)
        super().set_classes(classes)
        self._layouts = self._token_layouts(tuple(name.replace("_", " ") for name in classes.names))

    def _aim_specific(self, names: tuple[str, ...]) -> None:
        """One context a class, made for the first list of classes: it means nothing for others."""
        if self._trained_names is None:
            self._trained_names = names
            start = self.context.detach().expand(len(names), -1, -1).clone()
            self.context = nn.Parameter(start if self._method.context_init else start.normal_(std=INITIALISATION_STD))
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

    def embeddings(self, context: Tensor) -> Tensor:
        x = super().embeddings(context)
        if self._layouts is None:
            return x
        return x.gather(1, self._layouts[..., None].expand(-1, -1, x.shape[-1]))
