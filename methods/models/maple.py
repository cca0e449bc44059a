"""The arithmetic of MaPLe; hyper-parameters, recipes and the paper are in `methods.maple`."""

from __future__ import annotations

from harness.backbone import Backbone
from methods.maple import MaPLe
from methods.models._deep import CoupledPromptModel


class MaPLeModel(CoupledPromptModel):
    """Coupled prompts, trained by cross-entropy."""

    def __init__(self, backbone: Backbone, method: MaPLe) -> None:
        super().__init__(backbone, method.context_init, method.context_length, method.prompt_depth)
