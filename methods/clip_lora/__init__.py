"""CLIP-LoRA: low-rank updates of every attention's queries, keys and values (Zanella & Ben Ayed, CVPRW 2024, arXiv:2405.18541)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, ClassVar

from harness.recipe import Recipe
from harness.settings import AtLeastOne, Decay, Positive, Template
from methods._sources import DEMO, SAME_RESULT, cited

if TYPE_CHECKING:
    from harness.clip.backbone import Backbone
    from harness.method import AdaptedModel

_PUBLISHED = Recipe(
    iterations_per_shot=500,
    batch_size=32,
    learning_rate=2e-4,
    optimizer="adamw",
    weight_decay=1e-2,
    schedule_step="iteration",
    minimum_learning_rate=1e-6,
)


@dataclass(frozen=True)
class ClipLora:
    """y = W x + b + (alpha / sqrt(rank)) B A drop(x) for q, k and v of all blocks; B starts at zero, so step 0 is zero-shot.

    `dropout` acts on the input of A in training only, anew for q, k and v. Logits have the literal scale 100, and one
    `template` serves all datasets as in the released code; "" takes each dataset's own. One recipe for every task: 500
    iterations a shot, whatever the number of classes.
    """

    rank: AtLeastOne = 2
    alpha: Positive = 1.0
    dropout: Decay = 0.25
    template: Template = "a photo of a {}."

    family: ClassVar[str] = "low-rank"
    needs: ClassVar[str] = "CLIP's text tower, a ViT image tower"
    recipes: ClassVar[Mapping[str, Recipe]] = {
        "default": _PUBLISHED,
        "demo": replace(
            _PUBLISHED, iterations_per_shot=None, epochs=6, batch_size=16, learning_rate=0.01, augmentation="none"
        ),
    }
    sources: ClassVar[Mapping[str, Mapping[str, str]]] = cited(
        {
            "default": {
                "iterations_per_shot": "L lora.py:73",
                "batch_size": "L run_utils.py:30",
                "learning_rate": "L run_utils.py:28",
                "optimizer": "L lora.py:75",
                "weight_decay": "L lora.py:75",
                "epsilon": "L lora.py:75",
                "schedule": "L lora.py:76",
                "schedule_step": "L lora.py:122",
                "minimum_learning_rate": "L lora.py:76",
                "warmup_epochs": "L lora.py:76",
                "augmentation": "L main.py:38",
                "crop_scale_minimum": "L main.py:39",
                "test_batch_size": SAME_RESULT,
                "rank": "L run_utils.py:35",
                "alpha": "L run_utils.py:36",
                "dropout": "L run_utils.py:37",
                "template": "L datasets/dtd.py:10",
            },
            "demo": DEMO,
        }
    )

    def adapt(self, backbone: Backbone) -> AdaptedModel:
        """The frozen backbone with low-rank updates in both towers."""
        from methods.clip_lora.model import ClipLoraModel

        return ClipLoraModel(backbone, self)
