"""CoCoOp: context vectors that a small network shifts by the image (Zhou et al., CVPR 2022, arXiv:2203.05557)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, ClassVar

from harness.published_estimate import Forward, linear_bytes
from harness.recipe import Recipe
from harness.settings import AtLeastOne, Conflicts, context_conflicts
from methods._sources import DEMO, SAME_RESULT, TWO_RUNS, cited, configuration

if TYPE_CHECKING:
    from harness.clip.backbone import Backbone
    from harness.method import AdaptedModel

_PUBLISHED = Recipe(epochs=10, batch_size=1, learning_rate=2e-3, warmup_epochs=1, warmup_learning_rate=1e-5)


@dataclass(frozen=True)
class CoCoOp:
    """context_b = context + W2 relu(W1 f^_b + b1) + b2, the same shift on every vector; hidden width E / reduction.

    Each image has its own C prompts, when testing too. `sequences_per_pass` bounds how many go through the text tower at once (one
    image's at least), in training and test; it changes memory, not results. `as_released` is the Skip Tuning repository's
    test, which gives every batch the logits of the first; the published accuracies are the CoCoOp paper's and don't have it.
    """

    context_length: AtLeastOne = 4
    context_init: str = "a photo of a"
    reduction: AtLeastOne = 16
    sequences_per_pass: AtLeastOne = 1024
    as_released: bool = False

    family: ClassVar[str] = "prompt tuning"
    needs: ClassVar[str] = "CLIP's text tower"
    recipes: ClassVar[Mapping[str, Recipe]] = {
        "default": _PUBLISHED,
        "demo": replace(
            _PUBLISHED,
            iterations=24,  # each is batch_size * C sequences
            batch_size=8,
            learning_rate=0.02,
            warmup_epochs=0,
            warmup_learning_rate=None,
            schedule_step="iteration",
            augmentation="none",
        ),
    }
    sources: ClassVar[Mapping[str, Mapping[str, str]]] = cited(
        {
            "default": {
                **configuration("C configs/trainers/CoCoOp/vit_b16_c4_ep10_batch1_ctxv1.yaml"),
                "context_length": "C configs/trainers/CoCoOp/vit_b16_c4_ep10_batch1_ctxv1.yaml:33",
                "context_init": "C configs/trainers/CoCoOp/vit_b16_c4_ep10_batch1_ctxv1.yaml:34",
                "reduction": "C trainers/cocoop.py:96",
                "sequences_per_pass": SAME_RESULT,
                "as_released": TWO_RUNS,
            },
            "demo": DEMO,
        }
    )

    @property
    def published_forward(self) -> Forward:
        widths = ((512, 512 // self.reduction), (512 // self.reduction, 512))
        return Forward(
            texts_per_image=True,
            module_bytes=lambda _, batch_size: sum(linear_bytes(*layer, rows=batch_size) for layer in widths),
        )

    def conflicts(self, recipe: Recipe) -> Conflicts:
        """Settings that contradict others."""
        return context_conflicts(self.context_init, self.context_length)

    def adapt(self, backbone: Backbone) -> AdaptedModel:
        """The frozen backbone with a prompt learner and a meta-net."""
        from methods.cocoop.model import CoCoOpModel

        return CoCoOpModel(backbone, self)
