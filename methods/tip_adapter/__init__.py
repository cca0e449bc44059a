"""Tip-Adapter and Tip-Adapter-F: a cache of the training images' features (Zhang et al., ECCV 2022, arXiv:2207.09519)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, ClassVar

from harness.recipe import Recipe
from harness.settings import AtLeastOne, Conflicts, NotNegative, Positive, Template, TemplateList
from methods._sources import DEMO, SAME_RESULT, cited

if TYPE_CHECKING:
    from harness.clip.backbone import Backbone
    from harness.method import AdaptedModel

_PER_DATASET = {
    # alpha, largest beta and largest alpha of the search
    "imagenet": (1.17, 7.0, 3.0),
    "caltech101": (3.0, 12.0, 5.0),
    "dtd": (2.0, 13.0, 13.0),
    "eurosat": (2.0, 12.0, 10.0),
    "fgvc_aircraft": (5.0, 30.0, 30.0),
    "food101": (1.17, 10.0, 10.0),
    "oxford_flowers": (10.0, 50.0, 50.0),
    "oxford_pets": (1.17, 7.0, 3.0),
    "stanford_cars": (3.0, 20.0, 10.0),
    "sun397": (1.17, 12.0, 10.0),
    "ucf101": (3.0, 7.0, 3.0),
}
_CACHED = Recipe(crop_scale_minimum=0.5)
_TRAINED = replace(
    _CACHED,
    epochs=20,
    batch_size=256,
    learning_rate=1e-3,
    optimizer="adamw",
    epsilon=1e-4,
    weight_decay=1e-2,
    schedule_step="iteration",
)


def _rows(recipe: Recipe, eurosat_epochs: int) -> dict[str, Recipe]:
    rows: dict[str, Recipe] = {}
    for name, (alpha, beta_maximum, alpha_maximum) in _PER_DATASET.items():
        settings: dict[str, Any] = {"alpha": alpha, "beta_maximum": beta_maximum, "alpha_maximum": alpha_maximum}
        rows[name] = replace(recipe, epochs=eurosat_epochs if name == "eurosat" else recipe.epochs, settings=settings)
    return rows


def _sources(name: str) -> dict[str, str]:
    file = f"TA configs/{'fgvc' if name == 'fgvc_aircraft' else name}.yaml"
    return {
        "alpha": f"{file}:21", "beta": f"{file}:20", "beta_maximum": f"{file}:17", "alpha_maximum": f"{file}:17",
        "views": f"{file}:30", "epochs": f"{file}:31", "learning_rate": f"{file}:29",
    }  # fmt: skip


_SOURCES: Mapping[str, Mapping[str, str]] = cited(
    {
        "default": {
            **_sources("imagenet"),
            "templates": "ours: for templates of one's own",
            "template_list": "TA datasets/imagenet.py:177",
            "augmentation": "TA main.py:173",
            "crop_scale_minimum": "TA main.py:174",
            "test_batch_size": SAME_RESULT,
            "batch_size": "TA main.py:181",
            "optimizer": "TA main.py:72",
            "epsilon": "TA main.py:72",
            "weight_decay": "TA main.py:72",
            "schedule": "TA main.py:73",
            "schedule_step": "TA main.py:106",
            "minimum_learning_rate": "TA main.py:73",
            "warmup_epochs": "TA main.py:73",
        },
        **{name: _sources(name) for name in _PER_DATASET},
        "demo": DEMO,
    }
)


@dataclass(frozen=True)
class TipAdapter:
    """Logits 100 f^ W + alpha exp(-beta (1 - f^ keys)) V: the text classifier W and a cache of training images.

    Keys are image features averaged over `views` augmented views before they are normalised; V is one-hot. alpha and beta are
    searched over 20 values up to `alpha_maximum` and 200 up to `beta_maximum` once the cache is full, and stay where they are
    without validation images. The search is on the validation draw (at most 4 images per class); the released code takes the
    whole validation split, and the test images on ImageNet.
    `templates` are averaged for W; with none, those of `template_list`: seven on ImageNet and its variants, one on other datasets.

    A class that the cache has no images of is scored by its text alone, so on new classes only this is zero-shot CLIP.
    """

    alpha: NotNegative = 1.17
    beta: Positive = 1.0
    alpha_maximum: Positive = 3.0
    beta_maximum: Positive = 7.0
    views: AtLeastOne = 10
    templates: tuple[Template, ...] = ()
    template_list: TemplateList = "ensemble"

    family: ClassVar[str] = "cache"
    recipes: ClassVar[Mapping[str, Recipe]] = {
        "default": _CACHED,
        **_rows(_CACHED, eurosat_epochs=0),
        "demo": Recipe(augmentation="none", settings={"views": 1}),
    }
    sources: ClassVar[Mapping[str, Mapping[str, str]]] = _SOURCES

    def conflicts(self, recipe: Recipe) -> Conflicts:
        """A list of templates beside templates of one's own."""
        return {"template_list": "`templates` takes its place"} if self.templates else {}

    def adapt(self, backbone: Backbone) -> AdaptedModel:
        """The frozen backbone with a cache, empty until training."""
        from methods.tip_adapter.model import TipAdapterModel

        return TipAdapterModel(backbone, self)


@dataclass(frozen=True)
class TipAdapterF(TipAdapter):
    """Tip-Adapter whose keys are trained, without being normalised again, by cross-entropy at the initial alpha and beta.

    The epoch whose keys are kept, and then alpha and beta, are chosen on the validation draw. The released code chooses the epoch
    by test accuracy and reports the better of two test accuracies, so its figures are upper bounds.
    """

    trains: ClassVar[str] = "E K C"
    recipes: ClassVar[Mapping[str, Recipe]] = {
        "default": _TRAINED,
        **_rows(_TRAINED, eurosat_epochs=100),
        "demo": replace(_TRAINED, learning_rate=0.01, augmentation="none", settings={"views": 1}),
    }

    def adapt(self, backbone: Backbone) -> AdaptedModel:
        """The frozen backbone with a cache, empty until training."""
        from methods.tip_adapter.model import TipAdapterFModel

        return TipAdapterFModel(backbone, self)
