"""Tip-Adapter and Tip-Adapter-F: a cache of the training images' features (Zhang et al., ECCV 2022, arXiv:2207.09519)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, ClassVar

from harness.recipe import Recipe

if TYPE_CHECKING:
    from harness.clip.backbone import Backbone
    from harness.method import AdaptedModel

_IMAGENET_TEMPLATES = (
    "itap of a {}.",
    "a bad photo of the {}.",
    "a origami {}.",
    "a photo of the large {}.",
    "a {} in a video game.",
    "art of the {}.",
    "a photo of the small {}.",
)
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
        if name == "imagenet":
            settings["templates"] = _IMAGENET_TEMPLATES
            rows[f"cross-dataset/{name}"] = replace(recipe, settings=settings)
        epochs = eurosat_epochs if name == "eurosat" else recipe.epochs
        row = replace(recipe, epochs=epochs, settings=settings)
        rows |= {f"{suite}/{name}": row for suite in ("base2new", "few-shot")}
    return rows


@dataclass(frozen=True)
class TipAdapter:
    """Logits 100 f^ W + alpha exp(-beta (1 - f^ keys)) V: the text classifier W and a cache of training images.

    Keys are image features averaged over `views` augmented views before they are normalised; V is one-hot. alpha and beta are
    searched over 20 values up to `alpha_maximum` and 200 up to `beta_maximum` once the cache is full, and stay where they are
    without validation images. The search is on the validation draw (at most 4 images per class); the released code takes the
    whole validation split, and the test images on ImageNet. `templates` are averaged for W; with none, the dataset's own is taken.

    A class that the cache has no images of is scored by its text alone, so on new classes only this is zero-shot CLIP.
    """

    alpha: float = 1.17
    beta: float = 1.0
    alpha_maximum: float = 3.0
    beta_maximum: float = 7.0
    views: int = 10
    templates: tuple[str, ...] = ()

    family: ClassVar[str] = "cache"
    recipes: ClassVar[Mapping[str, Recipe]] = {
        "default": _CACHED,
        **_rows(_CACHED, eurosat_epochs=0),
        "demo": Recipe(augmentation="none", settings={"views": 1}),
    }

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
        "demo": replace(_TRAINED, augmentation="none", settings={"views": 1}),
    }

    def adapt(self, backbone: Backbone) -> AdaptedModel:
        """The frozen backbone with a cache, empty until training."""
        from methods.tip_adapter.model import TipAdapterFModel

        return TipAdapterFModel(backbone, self)
