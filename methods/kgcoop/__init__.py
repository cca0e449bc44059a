"""KgCoOp: CoOp that keeps near the hand-written prompts (Yao et al., CVPR 2023, arXiv:2303.13283)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, ClassVar

from harness.published_estimate import Forward
from harness.recipe import Recipe
from harness.settings import AtLeastOne, Conflicts, NotNegative, TemplateList, context_conflicts
from methods._sources import DEMO, cited, configuration

if TYPE_CHECKING:
    from harness.clip.backbone import Backbone
    from harness.method import AdaptedModel

_PUBLISHED = Recipe(epochs=100, batch_size=128, learning_rate=2e-3, warmup_epochs=1, warmup_learning_rate=1e-5)


@dataclass(frozen=True)
class KgCoOp:
    """Loss = cross-entropy + w (1 - mean_k cos(t_k, t0_k)) over all classes, t0 of the hand-written prompts.

    `weight` is the paper's lambda, w above. Default: the authors' repository, which gave the published accuracy.
    """

    context_length: AtLeastOne = 4
    context_init: str = "a photo of a"
    weight: NotNegative = 8.0
    template_list: TemplateList = "kgcoop"

    family: ClassVar[str] = "prompt tuning"
    needs: ClassVar[str] = "CLIP's text tower"
    recipes: ClassVar[Mapping[str, Recipe]] = {
        "default": _PUBLISHED,
        "cost:default": replace(_PUBLISHED, batch_size=32, settings={"weight": 1.5}),
        "demo": replace(_PUBLISHED, epochs=15, batch_size=32, learning_rate=0.02, augmentation="none"),
    }
    sources: ClassVar[Mapping[str, Mapping[str, str]]] = cited(
        {
            "default": {
                **configuration("K KgCoOp/configs/trainers/KgCoOp/vit_b16_ep100_ctxv1.yaml"),
                "context_length": "K KgCoOp/scripts/base2new_train.sh:13",
                "context_init": "K KgCoOp/trainers/kgcoop.py:97",
                "weight": "K KgCoOp/scripts/run.sh:2",
                "template_list": "K KgCoOp/trainers/kgcoop.py:37",
            },
            "cost:default": {
                **configuration("S configs/trainers/KgCoOp/vit_b16_ep100_ctxv1.yaml"),
                "weight": "S train.py:117",
            },
            "demo": DEMO,
        }
    )

    @property
    def published_forward(self) -> Forward:
        return Forward()

    def conflicts(self, recipe: Recipe) -> Conflicts:
        """Settings that contradict others."""
        return context_conflicts(self.context_init, self.context_length)

    def adapt(self, backbone: Backbone) -> AdaptedModel:
        """The frozen backbone with a prompt learner."""
        from methods.kgcoop.model import KgCoOpModel

        return KgCoOpModel(backbone, self)
