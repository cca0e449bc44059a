"""CLIP-Adapter: a residual bottleneck on the image feature (Gao et al., IJCV 2024, arXiv:2110.04544)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, ClassVar

from harness.recipe import Recipe
from harness.settings import AtLeastOne, Share, TemplateList
from methods._sources import DEMO, cited, configuration

if TYPE_CHECKING:
    from harness.clip.backbone import Backbone
    from harness.method import AdaptedModel

_PUBLISHED = Recipe(epochs=100, batch_size=32, learning_rate=2e-3, warmup_epochs=1, warmup_learning_rate=1e-5)


@dataclass(frozen=True)
class ClipAdapter:
    """f' = ratio * A(f) + (1 - ratio) * f with f not normalised, A = relu(W2 relu(W1 f)), width E / reduction, no biases."""

    ratio: Share = 0.2
    reduction: AtLeastOne = 4
    template_list: TemplateList = "clip"

    family: ClassVar[str] = "adapter"
    recipes: ClassVar[Mapping[str, Recipe]] = {
        "default": _PUBLISHED,
        "imagenet": replace(_PUBLISHED, epochs=50),
        "cost:default": _PUBLISHED,
        "demo": replace(_PUBLISHED, learning_rate=0.01, augmentation="none"),
    }
    sources: ClassVar[Mapping[str, Mapping[str, str]]] = cited(
        {
            "default": {
                **configuration("S configs/trainers/CLIPAdapter/vit_b16_ep100.yaml"),
                "ratio": "CA clip_adapter.py:104",
                "reduction": "CA clip_adapter.py:56",
                "template_list": "CA clip_adapter.py:18",
            },
            "imagenet": {"epochs": "C COOP.md:14"},  # the authors' README says: CoOp's command for ImageNet
            "demo": DEMO,
        }
    )

    def adapt(self, backbone: Backbone) -> AdaptedModel:
        """The frozen backbone with a bottleneck."""
        from methods.clip_adapter.model import ClipAdapterModel

        return ClipAdapterModel(backbone, self)
