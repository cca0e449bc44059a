"""Full fine-tuning (FT): the baseline of Skip Tuning (Wu et al., CVPR 2025, arXiv:2412.11509), which names the trained weights."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, ClassVar

from harness.published_estimate import Forward
from harness.recipe import Recipe
from harness.settings import TemplateList
from methods._sources import DEMO, cited, configuration

if TYPE_CHECKING:
    from harness.clip.backbone import Backbone
    from harness.method import AdaptedModel

_DEMO = Recipe(epochs=6, batch_size=8, learning_rate=0.002, augmentation="none")


@dataclass(frozen=True)
class FullFinetuning:
    """Every block and head of both towers; embeddings, conv1, ln_pre and the logit scale stay frozen.

    Published recipe: batch 4, SGD 1e-5, cosine, no warm-up, 10 epochs (4 in transfer suites).
    """

    template_list: TemplateList = "fine-tuning"

    family: ClassVar[str] = "fine-tuning"
    needs: ClassVar[str] = "CLIP's text tower, a ViT image tower"
    recipes: ClassVar[Mapping[str, Recipe]] = {
        "default": Recipe(epochs=10, batch_size=4, learning_rate=1e-5),
        "transfer": Recipe(epochs=4, batch_size=4, learning_rate=1e-5),
        "demo": _DEMO,
        "transfer/demo": replace(_DEMO, epochs=3),
    }
    sources: ClassVar[Mapping[str, Mapping[str, str]]] = cited(
        {
            "default": {
                **configuration("S configs/trainers/FinetuneCLIP/vit_b16_ep10_bs4.yaml"),
                "template_list": "S trainers/baselines/ft_clip.py:11",
            },
            "transfer": configuration("S configs/trainers/FinetuneCLIP/vit_b16_ep10_bs4_cross_datasets.yaml"),
            "demo": DEMO,
            "transfer/demo": DEMO,
        }
    )

    @property
    def published_forward(self) -> Forward:
        return Forward(token_embedding=True)

    def adapt(self, backbone: Backbone) -> AdaptedModel:
        """Both towers trainable from block 0 on."""
        from methods.full_finetuning.model import FinetunedModel

        return FinetunedModel(backbone, self.template_list)
