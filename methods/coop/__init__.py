"""CoOp: learned context vectors (Zhou et al., IJCV 2022, arXiv:2109.01134)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, ClassVar, Literal

from harness.published_estimate import Forward
from harness.recipe import Recipe
from harness.settings import AtLeastOne, Conflicts, context_conflicts
from methods._sources import DEMO, cited, configuration

if TYPE_CHECKING:
    from harness.clip.backbone import Backbone
    from harness.method import AdaptedModel

_PUBLISHED = Recipe(epochs=200, batch_size=32, learning_rate=2e-3, warmup_epochs=1, warmup_learning_rate=1e-5)
_FEW_SHOT_EPOCHS = {"few-shot/1-shot": 50, "few-shot/2-shot": 100, "few-shot/4-shot": 100, "few-shot/imagenet": 50}
_FROM_WORDS = replace(_PUBLISHED, settings={"context_length": 4, "context_init": "a photo of a"})
_CONFIGURATIONS = "C configs/trainers/CoOp"
_WORDS = {"context_length": "C trainers/coop.py:76", "context_init": f"{_CONFIGURATIONS}/vit_b16_ctxv1.yaml:33"}


@dataclass(frozen=True)
class CoOp:
    """`context_length` vectors before the class name, shared by all classes unless `class_specific`.

    `context_init` gives words to start from (then their number is the length) instead of N(0, 0.02^2). `class_position` is
    the paper's position of the class name. The default and the few-shot rows are the paper's; the others are of CoCoOp's paper,
    which starts four vectors from words.
    """

    context_length: AtLeastOne = 16
    context_init: str = ""
    class_position: Literal["end", "middle", "front"] = "end"
    class_specific: bool = False

    family: ClassVar[str] = "prompt tuning"
    needs: ClassVar[str] = "CLIP's text tower"
    recipes: ClassVar[Mapping[str, Recipe]] = {
        "default": _PUBLISHED,
        "few-shot": _PUBLISHED,
        **{row: replace(_PUBLISHED, epochs=epochs) for row, epochs in _FEW_SHOT_EPOCHS.items()},
        "base-to-new": _FROM_WORDS,
        "base-to-new/imagenet": replace(_FROM_WORDS, epochs=50),
        "transfer": replace(_FROM_WORDS, epochs=50),
        "cost:default": replace(_PUBLISHED, epochs=100),
        "demo": replace(
            _PUBLISHED,
            epochs=50,
            learning_rate=0.005,
            augmentation="none",
            settings={"context_length": 4, "context_init": "a photo of a"},
        ),
    }
    sources: ClassVar[Mapping[str, Mapping[str, str]]] = cited(
        {
            "default": {
                **configuration(f"{_CONFIGURATIONS}/vit_b16.yaml"),
                "context_length": "C COOP.md:19",
                "context_init": "C train.py:93",
                "class_position": "C COOP.md:19",
                "class_specific": "C COOP.md:19",
            },
            "few-shot/1-shot": {"epochs": "C COOP.md:19"},
            "few-shot/2-shot": {"epochs": "C COOP.md:20"},
            "few-shot/4-shot": {"epochs": "C COOP.md:21"},
            "few-shot/imagenet": {"epochs": "C COOP.md:14"},
            "base-to-new": {**configuration(f"{_CONFIGURATIONS}/vit_b16_ctxv1.yaml"), **_WORDS},
            "base-to-new/imagenet": {**configuration(f"{_CONFIGURATIONS}/vit_b16_ep50_ctxv1.yaml"), **_WORDS},
            "transfer": {**configuration(f"{_CONFIGURATIONS}/vit_b16_ep50_ctxv1.yaml"), **_WORDS},
            "cost:default": {
                **configuration("S configs/trainers/CoOp/vit_b16_ep100.yaml"),
                "context_length": "S train.py:99",
                "context_init": "S train.py:101",
            },
            "demo": DEMO,
        }
    )

    @property
    def published_forward(self) -> Forward:
        return Forward(prompt_module=True)

    def conflicts(self, recipe: Recipe) -> Conflicts:
        """Settings that contradict others."""
        return context_conflicts(self.context_init, self.context_length)

    def adapt(self, backbone: Backbone) -> AdaptedModel:
        """The frozen backbone with a prompt learner."""
        from methods.coop.model import CoOpModel

        return CoOpModel(backbone, self)
