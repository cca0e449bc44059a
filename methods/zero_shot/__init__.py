"""Zero-shot CLIP (Radford et al., ICML 2021, arXiv:2103.00020): the backbone as it is, and the reference row of every table."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from harness.recipe import Recipe
from harness.settings import Conflicts, TemplateList
from methods._sources import NO_TRAINING, cited

if TYPE_CHECKING:
    from harness.clip.backbone import Backbone
    from harness.method import AdaptedModel


@dataclass(frozen=True)
class ZeroShot:
    """One prompt a class, no training. `template_list` "fine-tuning" gives the starting point of FT and Skip Tuning."""

    template_list: TemplateList = "clip"

    family: ClassVar[str] = "zero-shot"
    recipes: ClassVar[Mapping[str, Recipe]] = {"default": Recipe(augmentation="none")}
    sources: ClassVar[Mapping[str, Mapping[str, str]]] = cited(
        {
            "default": {
                "template_list": "C trainers/zsclip.py:13",
                "augmentation": NO_TRAINING,
                "test_batch_size": "C configs/trainers/CoOp/vit_b16.yaml:5",
            }
        }
    )

    def conflicts(self, recipe: Recipe) -> Conflicts:
        """What is done to training images, of which there are none."""
        return dict.fromkeys(("augmentation", "crop_scale_minimum"), "zero-shot CLIP reads no training images")

    def adapt(self, backbone: Backbone) -> AdaptedModel:
        """The backbone with a text classifier."""
        from methods.zero_shot.model import ZeroShotModel

        return ZeroShotModel(backbone, self.template_list)
