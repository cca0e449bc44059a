"""MaPLe: deep prompts in both towers, coupled by linear maps (Khattak et al., CVPR 2023, arXiv:2210.03117)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, ClassVar

from harness.published_estimate import Forward
from harness.recipe import Recipe
from harness.settings import AtLeastOne, Conflicts, deep_context_conflicts
from methods._coupled import coupled_maps_bytes
from methods._sources import DEMO, cited, configuration

if TYPE_CHECKING:
    from harness.clip.backbone import Backbone
    from harness.method import AdaptedModel

_BASE2NEW = Recipe(epochs=5, batch_size=4, learning_rate=3.5e-3, warmup_epochs=1, warmup_learning_rate=1e-5)
_TRANSFER = replace(_BASE2NEW, epochs=2, learning_rate=2.6e-3, settings={"prompt_depth": 3})


@dataclass(frozen=True)
class MaPLe:
    """`prompt_depth` is the paper's J, the blocks that get prompts of their own; `context_length` their number a block.

    With fewer vectors than `context_init` has words, the first words are learned and the others stay; with more, all start at
    random. Trains J * (n D + D W + W) parameters for widths D of the text and W of the image tower.
    """

    prompt_depth: AtLeastOne = 9
    context_length: AtLeastOne = 2
    context_init: str = "a photo of a"

    family: ClassVar[str] = "prompt tuning"
    needs: ClassVar[str] = "CLIP's text tower, a ViT image tower"
    recipes: ClassVar[Mapping[str, Recipe]] = {
        "default": _BASE2NEW,
        "transfer": _TRANSFER,
        "few-shot": replace(_BASE2NEW, epochs=50),
        "demo": replace(_BASE2NEW, epochs=5, batch_size=8, learning_rate=0.02, augmentation="none"),
    }
    sources: ClassVar[Mapping[str, Mapping[str, str]]] = cited(
        {
            "default": {
                **configuration("M configs/trainers/MaPLe/vit_b16_c2_ep5_batch4_2ctx.yaml"),
                "context_length": "M configs/trainers/MaPLe/vit_b16_c2_ep5_batch4_2ctx.yaml:33",
                "context_init": "M configs/trainers/MaPLe/vit_b16_c2_ep5_batch4_2ctx.yaml:34",
                "prompt_depth": "M configs/trainers/MaPLe/vit_b16_c2_ep5_batch4_2ctx.yaml:36",
            },
            "transfer": {
                **configuration("M configs/trainers/MaPLe/vit_b16_c2_ep5_batch4_2ctx_cross_datasets.yaml"),
                "prompt_depth": "M configs/trainers/MaPLe/vit_b16_c2_ep5_batch4_2ctx_cross_datasets.yaml:36",
            },
            "few-shot": configuration("S configs/trainers/MaPLe/vit_b16_c2_ep5_batch4_2ctx_few_shot.yaml"),
            "demo": DEMO,
        }
    )

    @property
    def published_forward(self) -> Forward:
        maps = coupled_maps_bytes(self.context_length, self.prompt_depth)
        return Forward(image_prompts=self.context_length, module_bytes=lambda classes, batch_size: maps)

    def conflicts(self, recipe: Recipe) -> Conflicts:
        """Settings that contradict others."""
        return deep_context_conflicts(self.context_init, self.context_length)

    def adapt(self, backbone: Backbone) -> AdaptedModel:
        """The frozen backbone with coupled prompts. Raises ConfigError for a depth the towers don't have."""
        from methods.maple.model import MaPLeModel

        return MaPLeModel(backbone, self)
