"""PromptSRC: deep prompts regulated by the frozen model (Khattak et al., ICCV 2023, arXiv:2307.06948).

Three regularisers: agreement with the frozen model's features and logits, an average of the prompts over epochs under a Gaussian,
and a textual teacher that averages many templates.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, ClassVar

from harness.published_estimate import Forward
from harness.recipe import Recipe

if TYPE_CHECKING:
    from harness.clip.backbone import Backbone
    from harness.method import AdaptedModel

_BASE2NEW = Recipe(epochs=20, batch_size=4, learning_rate=2.5e-3, warmup_epochs=1, warmup_learning_rate=1e-5)
_TRANSFER = replace(_BASE2NEW, settings={"prompt_depth": 3, "averaging_mean": 6.0, "averaging_std": 10.0})
_FEW_SHOT = replace(_BASE2NEW, epochs=50, settings={"averaging_mean": 30.0, "averaging_std": 30.0})
_FEW_SHOT_LATE = replace(_FEW_SHOT, settings={"averaging_mean": 45.0, "averaging_std": 5.0})
# a comment in the released configuration
_LATE = ("stanford_cars", "oxford_flowers", "fgvc_aircraft", "dtd", "eurosat")


@dataclass(frozen=True)
class PromptSRC:
    """`prompt_depth` is the paper's J; `context_length` vectors a block in either tower, not coupled.

    Loss: CE + `text_weight` mean|t - t0| + `image_weight` mean|f - f0| + `logit_weight` mean KL(teacher || student), with
    normalised features. The teacher averages the first `teacher_templates` of open_clip's 80 ImageNet templates: the authors
    use 60, Skip Tuning's re-implementation all 80. `averaging_mean` and `averaging_std` are the paper's mu and sigma in epochs,
    counted from 1. Only prompts are averaged, in float32; the released code averages every tensor in half, frozen ones too.
    """

    prompt_depth: int = 9
    context_length: int = 4
    context_init: str = "a photo of a"
    text_weight: float = 25.0
    image_weight: float = 10.0
    logit_weight: float = 1.0
    teacher_templates: int = 60
    averaging_mean: float = 15.0
    averaging_std: float = 1.0

    family: ClassVar[str] = "prompt tuning"
    needs: ClassVar[str] = "CLIP's text tower, a ViT image tower"
    recipes: ClassVar[Mapping[str, Recipe]] = {
        "default": _BASE2NEW,
        "cross-dataset": _TRANSFER,
        "few-shot": _FEW_SHOT,
        **{f"few-shot/{name}": _FEW_SHOT_LATE for name in _LATE},
        "demo": replace(
            _BASE2NEW,
            epochs=5,
            batch_size=8,
            augmentation="none",
            settings={"averaging_mean": 4.0, "averaging_std": 1.0},
        ),
    }

    @property
    def published_forward(self) -> Forward:
        return Forward(image_prompts=self.context_length, frozen_image_tower=True)

    def adapt(self, backbone: Backbone) -> AdaptedModel:
        """The frozen backbone with prompts in both towers. Raises ConfigError for a depth the towers don't have."""
        from methods.promptsrc.model import PromptSRCModel

        return PromptSRCModel(backbone, self)
