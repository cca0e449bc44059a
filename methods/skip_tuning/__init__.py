"""Skip Tuning: fine-tune the upper blocks on cached features, over filtered classes (Wu et al., CVPR 2025, arXiv:2412.11509).

LSkip shortens the gradient path: blocks below `start_layer` are frozen and their outputs cached. CSkip narrows it: a step encodes
only the classes nearest to its images, plus a few of the rest.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, ClassVar

from harness.errors import ConfigError
from harness.published_estimate import Forward
from harness.recipe import Recipe
from harness.settings import AtLeastOne, Conflicts, Count, Positive, PositiveShare, TemplateList
from methods._sources import DEMO, TWO_RUNS, cited, configuration

if TYPE_CHECKING:
    from harness.clip.backbone import Backbone
    from harness.method import AdaptedModel

_BASE2NEW = Recipe(
    epochs=20,
    batch_size=4,
    learning_rate=2e-5,
    learning_rates={"image": 5e-6},
    warmup_epochs=1,
    warmup_learning_rate=1e-6,
)
_TRANSFER = replace(_BASE2NEW, learning_rate=1e-5, learning_rates={"image": 1e-6}, warmup_learning_rate=1e-8)
_FEW_SHOT = Recipe(epochs=40, batch_size=4, learning_rate=1e-5)
_DEMO = Recipe(epochs=6, batch_size=8, learning_rate=0.005, augmentation="none")
_LARGE = ("imagenet", "sun397", "food101")
"""The authors divide the epochs by four on these, in every setting."""
_CONFIGURATION = "S configs/trainers/SkipTuning/vit_b16_bs4"
_TRANSFER_SOURCES = {
    **configuration(f"{_CONFIGURATION}_cross_datasets.yaml"),
    "learning_rates": f"{_CONFIGURATION}_cross_datasets.yaml:25",
}


def _divided(file: str) -> dict[str, str]:
    return {"epochs": f"{file}.yaml:18, S trainers/skip_tuning.py:262"}


@dataclass(frozen=True)
class SkipTuning:
    """`start_layer` is the paper's omega, `top_ratio` its r, `decay` its lambda.

    `layer_skip` and `class_skip` switch LSkip and CSkip off for ablations (omega = 0; r = 1). At most `maximum_top` classes
    count as top, as in the released code. `as_released` keeps two of its slips: a class of the batch may be lost when the
    batch holds more distinct labels than are kept (its images are then scored as class 0), and a tail of one class is never kept.
    """

    start_layer: Count = 6
    top_ratio: PositiveShare = 0.5
    maximum_top: AtLeastOne = 50
    decay: Positive = 0.3
    layer_skip: bool = True
    class_skip: bool = True
    template_list: TemplateList = "fine-tuning"
    as_released: bool = False

    family: ClassVar[str] = "fine-tuning"
    needs: ClassVar[str] = "CLIP's text tower, a ViT image tower"
    recipes: ClassVar[Mapping[str, Recipe]] = {
        "default": _BASE2NEW,
        **{name: replace(_BASE2NEW, epochs=5) for name in _LARGE},
        "transfer": _TRANSFER,
        **{f"transfer/{name}": replace(_TRANSFER, epochs=5) for name in _LARGE},
        "few-shot": _FEW_SHOT,
        **{f"few-shot/{name}": replace(_FEW_SHOT, epochs=10) for name in _LARGE},
        "demo": _DEMO,
        "transfer/demo": replace(_DEMO, epochs=3),
    }
    sources: ClassVar[Mapping[str, Mapping[str, str]]] = cited(
        {
            "default": {
                **configuration(f"{_CONFIGURATION}.yaml"),
                "learning_rates": f"{_CONFIGURATION}.yaml:25",
                "start_layer": "S train.py:88",
                "top_ratio": "S train.py:90",
                "maximum_top": "S train.py:91",
                "decay": "S train.py:92",
                "layer_skip": "ours: the ablation switches it off",
                "class_skip": "ours: the ablation switches it off",
                "template_list": "S trainers/baselines/ft_clip.py:11",
                "as_released": TWO_RUNS,
            },
            "transfer": _TRANSFER_SOURCES,
            "few-shot": configuration(f"{_CONFIGURATION}_few_shot.yaml"),
            **dict.fromkeys(_LARGE, _divided(_CONFIGURATION)),
            **{
                f"transfer/{name}": {**_TRANSFER_SOURCES, **_divided(f"{_CONFIGURATION}_cross_datasets")}
                for name in _LARGE
            },
            **{
                f"few-shot/{name}": {
                    **configuration(f"{_CONFIGURATION}_few_shot.yaml"),
                    **_divided(f"{_CONFIGURATION}_few_shot"),
                }
                for name in _LARGE
            },
            "demo": DEMO,
            "transfer/demo": DEMO,
        }
    )

    @property
    def published_forward(self) -> Forward:
        start = self.start_layer if self.layer_skip else 0
        return Forward(text_blocks=12 - start, image_blocks=12 - start, stem=not start, kept_classes=self.expected_kept)

    def expected_kept(self, classes: int) -> float:
        """K': how many classes a step keeps on average over draws of the mask."""
        wanted = self.top_ratio * classes if self.top_ratio < 1 else min(self.top_ratio, classes)
        tail = classes - min(math.ceil(wanted), self.maximum_top)
        if not self.class_skip or self.top_ratio == 1.0 or tail <= 0:
            return classes
        last = math.exp(-5 / self.decay)
        falling = (math.exp(-5 * i / max(1, tail - 1) / self.decay) for i in range(tail))
        return classes - tail + sum((p - last) / (1 - last) for p in falling)

    def conflicts(self, recipe: Recipe) -> Conflicts:
        """Settings of a skip that is switched off."""
        off: dict[str, str] = {}
        if not self.layer_skip:
            off |= {"start_layer": "layer_skip is off, and training starts in block 0"}
        if not self.class_skip:
            off |= dict.fromkeys(
                ("top_ratio", "maximum_top", "decay"), "class_skip is off, and every step has all classes"
            )
        elif self.top_ratio == 1:
            off |= dict.fromkeys(("maximum_top", "decay"), "with top_ratio=1 every step has all classes")
        return off

    def adapt(self, backbone: Backbone) -> AdaptedModel:
        """Both towers trainable from `start_layer` on. Raises ConfigError for a layer the towers don't have."""
        deepest = min(backbone.text.depth, backbone.image.depth) if backbone.image.staged else backbone.text.depth
        if not 0 <= self.start_layer < deepest:
            raise ConfigError(
                f"start_layer={self.start_layer} is outside 0..{deepest - 1}, the blocks of this backbone.",
                f"The paper's omega is half of the depth: --set start_layer={deepest // 2}.",
            )
        from methods.skip_tuning.model import SkipTunedModel

        return SkipTunedModel(backbone, self)
