"""CLIP-Adapter: a residual bottleneck on the image feature (Gao et al., IJCV 2024, arXiv:2110.04544)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, ClassVar

from harness.recipe import Recipe

if TYPE_CHECKING:
    from harness.clip.backbone import Backbone
    from harness.method import AdaptedModel

_PUBLISHED = Recipe(epochs=100, batch_size=32, learning_rate=2e-3, warmup_epochs=1, warmup_learning_rate=1e-5)


@dataclass(frozen=True)
class ClipAdapter:
    """f' = ratio * A(f) + (1 - ratio) * f with f not normalised, A = relu(W2 relu(W1 f)), width E / reduction, no biases."""

    ratio: float = 0.2
    reduction: int = 4
    template_list: str = "clip"

    family: ClassVar[str] = "adapter"
    recipes: ClassVar[Mapping[str, Recipe]] = {
        "default": _PUBLISHED,
        "demo": replace(_PUBLISHED, learning_rate=2e-2, augmentation="none"),
    }

    def adapt(self, backbone: Backbone) -> AdaptedModel:
        """The frozen backbone with a bottleneck."""
        from methods.clip_adapter.model import ClipAdapterModel

        return ClipAdapterModel(backbone, self)
