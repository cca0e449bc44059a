"""LP++: a linear probe blended with the text classifier (Huang et al., CVPR 2024, arXiv:2404.02285)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from harness.recipe import Recipe
from harness.settings import AtLeastOne, Decay, NotNegative, TemplateList
from methods._sources import DEMO, TWO_RUNS, cited

if TYPE_CHECKING:
    from harness.clip.backbone import Backbone
    from harness.method import AdaptedModel


@dataclass(frozen=True)
class LPPlusPlus:
    """Logits f^ W^T + b + alpha * (f^ t^T), alpha one blending weight a class; no factor 100.

    Fitted by full-batch gradient descent on one augmented view. Step sizes come from the data: 4 N / largest
    eigenvalue of F^T F for W and b, with `momentum`; N / (4 max_k sum_i (f_i t_k)^2) for alpha, at every
    `alpha_period`-th step. The step with the best accuracy on the validation draw is kept (the last of equals). `as_released`
    sums alpha's gradients over all steps so far, since the released code never sets them to zero.

    A class without weights is scored as zero-shot CLIP does, by its text under the logit scale: on new classes only, this is
    zero-shot CLIP. `template_list` names one template of a dataset, or several that are averaged: seven on ImageNet and its
    variants.
    """

    steps: AtLeastOne = 300
    momentum: Decay = 0.9
    alpha_start: NotNegative = 250.0
    alpha_period: AtLeastOne = 10
    template_list: TemplateList = "ensemble"
    as_released: bool = False

    family: ClassVar[str] = "linear"
    recipes: ClassVar[Mapping[str, Recipe]] = {
        "default": Recipe(crop_scale_minimum=0.5),
        "released:default": Recipe(crop_scale_minimum=0.5, settings={"as_released": True}),
        "demo": Recipe(augmentation="none"),
    }
    sources: ClassVar[Mapping[str, Mapping[str, str]]] = cited(
        {
            "default": {
                "steps": "LP configs/base.yaml:17",
                "momentum": "LP methods/linear_probe_p2.py:116",
                "alpha_start": "LP methods/linear_probe_p2.py:28",
                "alpha_period": "LP methods/linear_probe_p2.py:138",
                "template_list": "LP datasets/imagenet.py:178",
                "augmentation": "LP main.py:69",
                "crop_scale_minimum": "LP main.py:70",
                "test_batch_size": "LP main.py:67",
                "as_released": TWO_RUNS,
            },
            "released:default": {"as_released": "LP methods/linear_probe_p2.py:133"},
            "demo": DEMO,
        }
    )

    def adapt(self, backbone: Backbone) -> AdaptedModel:
        """The frozen backbone with a probe that is fitted before the first step."""
        from methods.lp_plus_plus.model import LPPlusPlusModel

        return LPPlusPlusModel(backbone, self)
