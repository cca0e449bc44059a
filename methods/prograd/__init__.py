"""ProGrad: CoOp steps that never work against zero-shot CLIP (Zhu et al., ICCV 2023, arXiv:2205.14865)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, ClassVar

from harness.published_estimate import Forward
from harness.recipe import Recipe
from harness.settings import AtLeastOne, Conflicts, Positive, Share, TemplateList, context_conflicts
from methods._sources import DEMO, cited, configuration

if TYPE_CHECKING:
    from harness.clip.backbone import Backbone
    from harness.method import AdaptedModel

_PUBLISHED = Recipe(epochs=100, batch_size=32, learning_rate=2e-3, warmup_epochs=1, warmup_learning_rate=1e-5)
_OWN: dict[str, Any] = {"context_length": 16, "context_init": "", "template_context": True}
_FEW_SHOT = replace(_PUBLISHED, epochs=200, settings=_OWN)
_MILDER = {
    f"few-shot/{name}/{shots}-shot": replace(_FEW_SHOT, settings={**_OWN, "conflict_weight": 0.8})
    for name in ("oxford_flowers", "dtd", "eurosat")
    for shots in (8, 16)
}
_CONFIGURATIONS = "G ProGrad.public/configs/trainers/ProGrad"
_CONTEXT = {
    "context_length": "G ProGrad.public/README.md:54",
    "context_init": "G ProGrad.public/trainers/prograd.py:90",
    "template_context": "G ProGrad.public/configs/trainers/ProGrad/rn50.yaml:37",
}
_RELEASED = {
    **configuration(f"{_CONFIGURATIONS}/rn50_ep100.yaml"),
    **_CONTEXT,
    "context_length": "G ProGrad.public/scripts/base2new_train_prograd.sh:12",
}
_RELEASED_50 = {**_RELEASED, **configuration(f"{_CONFIGURATIONS}/rn50_ep50.yaml")}


@dataclass(frozen=True)
class ProGrad:
    """The gradient of the cross-entropy loses its component against that of a distillation loss, tensor by tensor.

    `conflict_weight` is the paper's lambda: how much of a conflicting component is taken out. `temperature` softens the teacher,
    zero-shot CLIP. `template_context` starts the context as the authors do: the words before the class name in the dataset's
    template at the right of `context_length` places, zeros before them. The published 16-shot base-to-new row on ViT-B/16 is
    KgCoOp's re-run with four context vectors; the authors' own scripts have RN50, 4 shots and 16 vectors (``--recipes released``).
    """

    context_length: AtLeastOne = 4
    context_init: str = "a photo of a"
    template_context: bool = False
    conflict_weight: Share = 1.0
    temperature: Positive = 1.0
    template_list: TemplateList = "prograd"

    family: ClassVar[str] = "prompt tuning"
    needs: ClassVar[str] = "CLIP's text tower"
    recipes: ClassVar[Mapping[str, Recipe]] = {
        "default": _PUBLISHED,
        "base-to-new/imagenet": replace(_PUBLISHED, epochs=50),
        "transfer": replace(_PUBLISHED, epochs=50),
        "few-shot": _FEW_SHOT,
        "few-shot/1-shot": replace(_FEW_SHOT, epochs=50),
        "few-shot/2-shot": replace(_FEW_SHOT, epochs=100),
        "few-shot/4-shot": replace(_FEW_SHOT, epochs=100),
        "few-shot/imagenet": replace(_FEW_SHOT, epochs=50),
        **_MILDER,
        **{f"{choice}:base-to-new": replace(_PUBLISHED, settings=_OWN) for choice in ("released", "paper")},
        **{
            f"{choice}:{row}": replace(_PUBLISHED, epochs=50, settings=_OWN)
            for choice in ("released", "paper")
            for row in ("base-to-new/imagenet", "transfer")
        },
        "cost:default": _PUBLISHED,
        "demo": replace(_PUBLISHED, epochs=12, learning_rate=0.02, augmentation="none"),
    }
    sources: ClassVar[Mapping[str, Mapping[str, str]]] = cited(
        {
            "default": {
                **configuration("S configs/trainers/ProGrad/vit_b16_ep100_ctx.yaml"),
                "context_length": "S train.py:159",
                "context_init": "S configs/trainers/ProGrad/vit_b16_ep100_ctx.yaml:37",
                "template_context": "S train.py:161",
                "conflict_weight": "S train.py:168",
                "temperature": "S configs/trainers/ProGrad/vit_b16_ep100_ctx.yaml:26",
                "template_list": "G ProGrad.public/trainers/prograd.py:201",
            },
            "base-to-new/imagenet": {"epochs": "G ProGrad.public/README.md:132"},
            "transfer": {"epochs": "G ProGrad.public/README.md:102"},
            "few-shot": {**configuration(f"{_CONFIGURATIONS}/rn50.yaml"), **_CONTEXT},
            "few-shot/1-shot": {**_CONTEXT, "epochs": "G ProGrad.public/README.md:54"},
            "few-shot/2-shot": {**_CONTEXT, "epochs": "G ProGrad.public/README.md:55"},
            "few-shot/4-shot": {**_CONTEXT, "epochs": "G ProGrad.public/README.md:56"},
            "few-shot/imagenet": {**_CONTEXT, "epochs": "G ProGrad.public/README.md:102"},
            **{
                row: {
                    **configuration(f"{_CONFIGURATIONS}/rn50.yaml"),
                    **_CONTEXT,
                    "conflict_weight": "G ProGrad.public/README.md:52",
                }
                for row in _MILDER
            },
            **{f"{choice}:base-to-new": _RELEASED for choice in ("released", "paper")},
            **{f"{choice}:base-to-new/imagenet": _RELEASED_50 for choice in ("released", "paper")},
            **{f"{choice}:transfer": _RELEASED_50 for choice in ("released", "paper")},
            "demo": DEMO,
        }
    )

    @property
    def published_forward(self) -> Forward:
        return Forward(prompt_module=True)

    def conflicts(self, recipe: Recipe) -> Conflicts:
        """Settings that contradict others."""
        if self.template_context and self.context_init:
            what = "with template_context the words come from the dataset's template, and context_init has to be empty"
            return {"template_context": what, "context_init": what}
        return context_conflicts(self.context_init, self.context_length)

    def adapt(self, backbone: Backbone) -> AdaptedModel:
        """The frozen backbone with a prompt learner."""
        from methods.prograd.model import ProGradModel

        return ProGradModel(backbone, self)
