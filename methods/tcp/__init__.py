"""TCP: prompts made of each class's text feature, inside the text tower (Yao et al., CVPR 2024, arXiv:2311.18231)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, ClassVar

from harness.errors import ConfigError
from harness.published_estimate import Forward, linear_bytes
from harness.recipe import Recipe
from harness.settings import AtLeastOne, Conflicts, Count, NotNegative, TemplateList, context_conflicts
from methods._sources import DEMO, cited, configuration

if TYPE_CHECKING:
    from harness.clip.backbone import Backbone
    from harness.method import AdaptedModel

_PUBLISHED = Recipe(
    epochs=50,
    batch_size=32,
    learning_rate=2e-3,
    optimizer="adam",
    epsilon=1e-3,
    warmup_epochs=1,
    warmup_learning_rate=1e-5,
    test_batch_size=500,
)
_NEW_FROM_EPOCH_25 = replace(_PUBLISHED, settings={"new_classes_epoch": 25})
_FILE = "T configs/trainers/TCP/vit_b16_ep100_ctxv1.yaml"


@dataclass(frozen=True)
class TCP:
    """Before block `class_aware_block`, rows 1..n of each class's prompt become W2 QuickGELU(W1 t0^ + b1) + b2.

    t0 is the feature of a hand-written prompt; the hidden width is E / reduction. Loss = cross-entropy + weight (1 - mean_k
    cos(t_k, t0_k)). The context in rows 1..n below that block is learned too, from random vectors. Two slips of the released code
    are kept, since every published number has them: the rows are replaced, not mixed, and StanfordCars' prompt has no full stop.
    `new_classes_epoch` is the epoch whose weights classes other than the trained ones are tested with; 0 for the last one's.
    """

    context_length: AtLeastOne = 4
    context_init: str = ""
    class_aware_block: AtLeastOne = 8
    reduction: AtLeastOne = 4
    weight: NotNegative = 8.0
    new_classes_epoch: Count = 0
    template_list: TemplateList = "tcp-prompt"
    reference_list: TemplateList = "tcp-reference"

    family: ClassVar[str] = "prompt tuning"
    needs: ClassVar[str] = "CLIP's text tower"
    recipes: ClassVar[Mapping[str, Recipe]] = {
        "default": _PUBLISHED,
        "base-to-new/imagenet": _NEW_FROM_EPOCH_25,
        "base-to-new/sun397": _NEW_FROM_EPOCH_25,
        "cost:default": replace(_PUBLISHED, epsilon=1e-4),
        "demo": replace(
            _PUBLISHED, epochs=15, learning_rate=0.01, augmentation="none", settings={"context_init": "a photo of a"}
        ),
    }
    sources: ClassVar[Mapping[str, Mapping[str, str]]] = cited(
        {
            "default": {
                **configuration(_FILE),
                "epsilon": "T README.md:44",
                "context_length": "T scripts/base2new_train.sh:12",
                "context_init": f"{_FILE}:33",
                "class_aware_block": "S clip_tcp/model.py:268",
                "reduction": "T trainers/tcp.py:170",
                "weight": "T trainers/tcp.py:257",
                "new_classes_epoch": "T scripts/base2new_train.sh:43",
                "template_list": "T trainers/tcp.py:60",
                "reference_list": "T trainers/tcp.py:42",
            },
            **{
                row: {"new_classes_epoch": "T scripts/base2new_train.sh:101"}
                for row in ("base-to-new/imagenet", "base-to-new/sun397")
            },
            "cost:default": {
                **configuration("S configs/trainers/TCP/vit_b16_ep100_ctxv1.yaml"),
                "epsilon": "S trainers/_base_/optim.py:116",
                "new_classes_epoch": "S configs.py:31",
            },
            "demo": DEMO,
        }
    )

    @property
    def published_forward(self) -> Forward:
        layers = ((512, 128), (128, 4 * 512))
        return Forward(module_bytes=lambda classes, _: sum(linear_bytes(*widths, rows=classes) for widths in layers))

    def conflicts(self, recipe: Recipe) -> Conflicts:
        """Settings that contradict others."""
        late = {}
        if self.new_classes_epoch > recipe.epochs > 0:
            late["new_classes_epoch"] = f"training ends after {recipe.epochs} epochs; 0 takes the last one's weights"
        return {**context_conflicts(self.context_init, self.context_length), **late}

    def adapt(self, backbone: Backbone) -> AdaptedModel:
        """The frozen backbone with a prompt learner and a meta-net. Raises ConfigError for a block the text tower lacks."""
        depth = backbone.text.depth
        if not 0 < self.class_aware_block < depth:
            raise ConfigError(
                f"class_aware_block={self.class_aware_block} is outside 1..{depth - 1}, the blocks of this text tower.",
                f"The paper's is two thirds of the depth: --set class_aware_block={max(1, depth * 2 // 3)}.",
            )
        from methods.tcp.model import TCPModel

        return TCPModel(backbone, self)
