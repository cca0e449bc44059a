"""CoOp: learned context vectors (Zhou et al., IJCV 2022, arXiv:2109.01134)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, ClassVar, Literal

from harness.published_estimate import Forward
from harness.recipe import Recipe

if TYPE_CHECKING:
    from harness.clip.backbone import Backbone
    from harness.method import AdaptedModel

_PUBLISHED = Recipe(epochs=100, batch_size=32, learning_rate=2e-3, warmup_epochs=1, warmup_learning_rate=1e-5)
_FEW_SHOT_EPOCHS = {
    "few-shot": 200,
    "few-shot/1-shot": 50,
    "few-shot/2-shot": 100,
    "few-shot/4-shot": 100,
    "few-shot/imagenet": 50,
}


@dataclass(frozen=True)
class CoOp:
    """`context_length` vectors before the class name, shared by all classes unless `class_specific`.

    `context_init` gives words to start from (then their number is the length) instead of N(0, 0.02^2). `class_position` is
    the paper's position of the class name. The few-shot rows are the paper's; the default is the Skip Tuning repository's, which
    gave the published cost columns.
    """

    context_length: int = 16
    context_init: str = ""
    class_position: Literal["end", "middle", "front"] = "end"
    class_specific: bool = False

    family: ClassVar[str] = "prompt tuning"
    needs: ClassVar[str] = "CLIP's text tower"
    recipes: ClassVar[Mapping[str, Recipe]] = {
        "default": _PUBLISHED,
        **{row: replace(_PUBLISHED, epochs=epochs) for row, epochs in _FEW_SHOT_EPOCHS.items()},
        "demo": replace(
            _PUBLISHED,
            epochs=50,
            learning_rate=0.02,
            augmentation="none",
            settings={"context_length": 4, "context_init": "a photo of a"},
        ),
    }

    @property
    def published_forward(self) -> Forward:
        return Forward(prompt_module=True)

    def adapt(self, backbone: Backbone) -> AdaptedModel:
        """The frozen backbone with a prompt learner."""
        from methods.coop.model import CoOpModel

        return CoOpModel(backbone, self)
