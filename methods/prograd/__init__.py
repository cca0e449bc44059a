"""ProGrad: CoOp steps that never work against zero-shot CLIP (Zhu et al., ICCV 2023, arXiv:2205.14865)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, ClassVar

from harness.published_estimate import Forward
from harness.recipe import Recipe

if TYPE_CHECKING:
    from harness.clip.backbone import Backbone
    from harness.method import AdaptedModel

_PUBLISHED = Recipe(epochs=100, batch_size=32, learning_rate=2e-3, warmup_epochs=1, warmup_learning_rate=1e-5)
_MILDER = {
    f"few-shot/{name}/{shots}-shot": replace(_PUBLISHED, settings={"conflict_weight": 0.8})
    for name in ("oxford_flowers", "dtd", "eurosat")
    for shots in (8, 16)
}


@dataclass(frozen=True)
class ProGrad:
    """The gradient of the cross-entropy loses its component against that of a distillation loss, tensor by tensor.

    `conflict_weight` is the paper's lambda: how much of a conflicting component is taken out. `temperature` softens the teacher,
    zero-shot CLIP. The authors take lambda 0.8 on three datasets with 8 and 16 shots, hence the few-shot rows. The published
    16-shot base-to-new row on ViT-B/16 is KgCoOp's re-run with four context vectors; the authors' own scripts have RN50, 4 shots
    and 16 vectors (``--set prograd.context_init= --set prograd.context_length=16``).
    """

    context_length: int = 4
    context_init: str = "a photo of a"
    conflict_weight: float = 1.0
    temperature: float = 1.0
    template_list: str = "prograd"

    family: ClassVar[str] = "prompt tuning"
    needs: ClassVar[str] = "CLIP's text tower"
    recipes: ClassVar[Mapping[str, Recipe]] = {
        "default": _PUBLISHED,
        **_MILDER,
        "demo": replace(_PUBLISHED, epochs=12, augmentation="none"),
    }

    @property
    def published_forward(self) -> Forward:
        return Forward(prompt_module=True)

    def adapt(self, backbone: Backbone) -> AdaptedModel:
        """The frozen backbone with a prompt learner."""
        from methods.prograd.model import ProGradModel

        return ProGradModel(backbone, self)
