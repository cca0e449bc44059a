"""CoPrompt: MaPLe with adapters, held consistent with the frozen model (Roy & Etemad, ICLR 2024, arXiv:2306.01195)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, ClassVar

from harness.published_estimate import Forward, linear_bytes
from harness.recipe import Recipe
from harness.settings import AtLeastOne, Conflicts, ExistingPath, NotNegative, Share, deep_context_conflicts
from methods._coupled import coupled_maps_bytes
from methods._sources import DEMO, cited, configuration

if TYPE_CHECKING:
    from harness.clip.backbone import Backbone
    from harness.method import AdaptedModel

_PUBLISHED = Recipe(
    epochs=8,
    batch_size=4,
    learning_rate=3.5e-3,
    warmup_epochs=1,
    warmup_learning_rate=1e-5,
    augmentation="resize-randaugment",
)
_PER_DATASET: Mapping[str, tuple[int, int, float]] = {
    # prompt_depth, context_length, consistency_weight
    "imagenet": (12, 4, 8.0),
    "caltech101": (12, 4, 4.0),
    "oxford_pets": (12, 2, 0.1),
    "stanford_cars": (12, 4, 4.0),
    "oxford_flowers": (9, 4, 8.0),
    "food101": (9, 4, 0.5),
    "fgvc_aircraft": (9, 4, 2.0),
    "sun397": (12, 4, 8.0),
    "dtd": (12, 2, 8.0),
    "eurosat": (12, 2, 0.1),
    "ucf101": (12, 4, 2.0),
}


def _on(name: str, depth: int, length: int, weight: float) -> Recipe:
    settings = {"prompt_depth": depth, "context_length": length, "consistency_weight": weight}
    return replace(_PUBLISHED, epochs=5 if name == "food101" else _PUBLISHED.epochs, settings=settings)


_FIRST_LINES = {
    "imagenet": 5, "caltech101": 10, "oxford_pets": 15, "stanford_cars": 20, "oxford_flowers": 25, "food101": 30,
    "fgvc_aircraft": 36, "sun397": 41, "dtd": 46, "eurosat": 51, "ucf101": 56,
}  # fmt: skip
_CONSTANTS, _COST_CONSTANTS = "CP trainers/constants.py", "S trainers/baselines/constants.py"


def _sources(constants: str, name: str) -> dict[str, str]:
    """The lines of a dataset's block, depth first."""
    order = ("prompt_depth", "context_length", "consistency_weight")
    return {field: f"{constants}:{_FIRST_LINES[name] + i}" for i, field in enumerate(order)}


@dataclass(frozen=True)
class CoPrompt:
    """CE + `consistency_weight` [(1 - mean cos(t, t0)) + (1 - mean cos(f, f0))], the paper's lambda.

    t and f are MaPLe's features after adapters: x <- ratio A(x) + (1 - ratio) x, A = relu(W2 relu(W1 x)) of width
    E / `reduction`. f0 is the frozen image tower's feature of a second augmented view; t0 is that of a sentence about each
    class, the same number of it for all classes, drawn anew in every step.

    `descriptions` is a JSON file {class name: [sentence, ...]}, as many sentences for every class, or a folder of such files, of
    which the one is read that names every class: the authors' repository has them as ``gpt_file``. Without, "", templates stand in
    for sentences: those which a dataset calls descriptions (the demo's do), else open_clip's 80 for ImageNet. That is a fallback
    of ours, not the paper's method. The defaults are the values for ImageNet; the authors take a dataset's own in every setting.
    """

    prompt_depth: AtLeastOne = 12
    context_length: AtLeastOne = 4
    context_init: str = "a photo of a"
    consistency_weight: NotNegative = 8.0
    image_ratio: Share = 0.1
    text_ratio: Share = 0.2
    reduction: AtLeastOne = 4
    descriptions: ExistingPath = ""

    family: ClassVar[str] = "prompt tuning"
    needs: ClassVar[str] = (
        "CLIP's text tower, a ViT image tower; the authors' sentences about each class (templates stand in)"
    )
    recipes: ClassVar[Mapping[str, Recipe]] = {
        "default": _PUBLISHED,
        **{name: _on(name, *values) for name, values in _PER_DATASET.items()},
        "cost:default": _on("imagenet", *_PER_DATASET["imagenet"]),
        **{f"cost:base-to-new/{name}": replace(_on(name, *values), epochs=8) for name, values in _PER_DATASET.items()},
        "cost:base-to-new/food101": replace(
            _on("food101", *_PER_DATASET["food101"]), epochs=8, schedule_period_epochs=5
        ),
        "demo": replace(
            _PUBLISHED,
            epochs=3,
            batch_size=8,
            learning_rate=0.02,
            augmentation="none",
            settings={"context_length": 2, "consistency_weight": 1.0},
        ),
    }
    sources: ClassVar[Mapping[str, Mapping[str, str]]] = cited(
        {
            "default": {
                **configuration("CP configs/trainers/coprompt.yaml", views=1),
                **_sources(_CONSTANTS, "imagenet"),
                "context_init": "CP configs/trainers/coprompt.yaml:35",
                "image_ratio": "CP trainers/coprompt.py:301",
                "text_ratio": "CP trainers/coprompt.py:302",
                "reduction": "CP trainers/coprompt.py:299",
                "descriptions": "ours: a file of the user's, without which templates stand in",
            },
            **{name: _sources(_CONSTANTS, name) for name in _PER_DATASET},
            "food101": {**_sources(_CONSTANTS, "food101"), "epochs": f"{_CONSTANTS}:33"},
            "cost:default": {
                **configuration("S configs/trainers/CoPrompt/coprompt.yaml", views=1),
                **dict.fromkeys(_sources(_CONSTANTS, "imagenet"), "S trainers/baselines/coprompt.py:411"),
            },
            **{
                f"cost:base-to-new/{name}": {
                    **configuration("S configs/trainers/CoPrompt/coprompt.yaml", views=1),
                    **_sources(_COST_CONSTANTS, name),
                    "schedule_period_epochs": f"{_COST_CONSTANTS}:33",
                }
                for name in _PER_DATASET
            },
            "demo": DEMO,
        }
    )

    @property
    def published_forward(self) -> Forward:
        return Forward(
            image_prompts=self.context_length,
            frozen_image_tower=True,
            views=2,
            module_bytes=self._module_bytes,
        )

    def _module_bytes(self, classes: int, batch_size: int) -> int:
        """The maps between the towers, and an adapter of texts and one of images."""
        layers = ((512, 128), (128, 512))
        adapters = (linear_bytes(*layer, rows=rows, bias=False) for layer in layers for rows in (classes, batch_size))
        return coupled_maps_bytes(self.context_length, self.prompt_depth) + sum(adapters)

    def conflicts(self, recipe: Recipe) -> Conflicts:
        """Settings that contradict others."""
        return deep_context_conflicts(self.context_init, self.context_length)

    def adapt(self, backbone: Backbone) -> AdaptedModel:
        """The frozen backbone with prompts and adapters. Raises ConfigError for a depth it lacks, and for an unusable file."""
        from methods.coprompt.model import CoPromptModel

        return CoPromptModel(backbone, self)
