"""The arithmetic of MaPLe; hyper-parameters, recipes and the paper are in `methods.maple`."""

from __future__ import annotations

from harness.clip.backbone import Backbone
from methods._deep import CoupledPromptModel
from methods.maple import MaPLe


class MaPLeModel(CoupledPromptModel):
    """Coupled prompts, trained by cross-entropy."""

    def __init__(self, backbone: Backbone, method: MaPLe) -> None:
        super().__init__(backbone, method.context_init, method.context_length, method.prompt_depth)
