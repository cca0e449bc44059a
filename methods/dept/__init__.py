"""DePT: a head for what only the training classes share, beside CLIP's (Zhang et al., CVPR 2024, arXiv:2309.07439)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, ClassVar

from harness.published_estimate import Forward, linear_bytes
from harness.recipe import Recipe
from harness.settings import AtLeastOne, Conflicts, NotNegative, TemplateList, context_conflicts
from methods._sources import DEMO, TWO_RUNS, cited, configuration

if TYPE_CHECKING:
    from harness.clip.backbone import Backbone
    from harness.method import AdaptedModel

_PUBLISHED = Recipe(
    epochs=10,
    batch_size=4,
    learning_rate=3.5e-3,
    learning_rates={"head": 6.5 * 3.5e-3},
    warmup_epochs=1,
    warmup_learning_rate=1e-5,
)

_COST = {"weight": 1.5, "as_released": True}
_FILE = "DP configs/trainers/ExtrasLinearProbeKgCoOp/vit_b16_ep10_ctxv1_bs4_lr35.yaml"
_COST_FILE = "S configs/trainers/KgDePT/vit_b16_ep10_ctxv1_bs4_lr35"


def _module_bytes(classes: int, batch_size: int) -> int:
    """Channel scales and shifts of texts and images, then the head, which reads each image and the text of its label."""
    scales_and_shifts = 4 * 2 * (512 + 512)
    scaled = linear_bytes(0, 512, rows=classes + batch_size, bias=False)
    return scales_and_shifts + scaled + linear_bytes(512, classes, rows=2 * batch_size)


def _cost_sources(file: str) -> dict[str, str]:
    lines = {"similarity_weight": f"{file}:42", "classification_weight": f"{file}:43"}
    return {
        **configuration(file),
        **lines,
        "weight": "S train.py:117",
        "as_released": "S trainers/baselines/kgdept.py:46",
    }


@dataclass(frozen=True)
class DePT:
    """DePT on KgCoOp: a * similarity head + b * linear head on features that are scaled and shifted channel by channel.

    a is `similarity_weight`, b `classification_weight`. Loss = a CE(similarity) + b CE(linear, of text features of the labels and
    of image features) + weight (1 - mean_k cos(t_k, t0_k)). Tests on the training classes blend both heads' logits by a and b;
    other classes have the similarity head alone. A test on some of the training classes and no others (ImageNet-A and -R) takes
    their rows of the linear head.

    Default: the authors' repository. The Skip Tuning repository, which gave the published cost, has weight 1.5, a = b = 0.5 in
    transfer suites, and never trains the head and the scales: `as_released` leaves them as they are initialised.
    """

    context_length: AtLeastOne = 4
    context_init: str = "a photo of a"
    similarity_weight: NotNegative = 0.3
    classification_weight: NotNegative = 0.7
    weight: NotNegative = 2.0
    template_list: TemplateList = "kgcoop"
    as_released: bool = False

    family: ClassVar[str] = "prompt tuning"
    needs: ClassVar[str] = "CLIP's text tower"
    recipes: ClassVar[Mapping[str, Recipe]] = {
        "default": _PUBLISHED,
        "cost:default": replace(_PUBLISHED, learning_rates={}, settings=_COST),
        "cost:transfer": replace(
            _PUBLISHED, learning_rates={}, settings={**_COST, "similarity_weight": 0.5, "classification_weight": 0.5}
        ),
        "demo": replace(
            _PUBLISHED, batch_size=16, learning_rate=0.005, learning_rates={"head": 6.5 * 0.005}, augmentation="none"
        ),
    }
    sources: ClassVar[Mapping[str, Mapping[str, str]]] = cited(
        {
            "default": {
                **configuration(_FILE),
                "learning_rates": "DP train.py:71",
                "context_length": f"{_FILE}:34",
                "context_init": f"{_FILE}:33",
                "weight": f"{_FILE}:38",
                "similarity_weight": "DP trainers/elp_kgcoop.py:128",
                "classification_weight": "DP train.py:87",
                "template_list": "DP trainers/kgcoop.py:41",
                "as_released": TWO_RUNS,
            },
            "cost:default": _cost_sources(f"{_COST_FILE}.yaml"),
            "cost:transfer": _cost_sources(f"{_COST_FILE}_cross_datasets.yaml"),
            "demo": DEMO,
        }
    )

    @property
    def published_forward(self) -> Forward:
        return Forward(module_bytes=_module_bytes)

    def conflicts(self, recipe: Recipe) -> Conflicts:
        """Settings that contradict others."""
        return context_conflicts(self.context_init, self.context_length)

    def adapt(self, backbone: Backbone) -> AdaptedModel:
        """The frozen backbone with a prompt learner and, from the first list of classes on, a linear head."""
        from methods.dept.model import DePTModel

        return DePTModel(backbone, self)
