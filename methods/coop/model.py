"""The arithmetic of CoOp; hyper-parameters, recipes and the paper are in `methods.coop`."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from harness.clip.backbone import Backbone
from harness.clip.text_batches import TextState
from harness.errors import ConfigError
from harness.method import Classes
from methods._text import INITIALISATION_STD, ContextModel
from methods.coop import CoOp


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
        self._places = self._context_places(classes)

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

    @property
    def _before(self) -> int:
        """How many context vectors stand before the class name."""
        return {"end": self.length, "middle": self.length // 2, "front": 0}[self._method.class_position]

    def prompts(self, classes: Classes) -> list[str]:
        words = self._placeholder.split()
        before, after = words[: self._before], words[self._before :]
        return [" ".join([*before, name, *after]) + "." for name in classes.readable]

    def _context_places(self, classes: Classes) -> Tensor | None:
        """The rows (C, n) that context vectors take, None for those right after the start token."""
        before, n = self._before, self.length
        if before == n:
            return None
        name_rows = [self.backbone.text.token_count(name) for name in classes.readable]
        rows = [[*range(1, 1 + before), *range(1 + before + k, 1 + k + n)] for k in name_rows]
        return torch.tensor(rows, device=self.backbone.device)

    def embedded(self, context: Tensor) -> TextState:
        return self.backbone.text.add_positions(self._frozen.with_rows(context, self._places))
