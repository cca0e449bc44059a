"""A CLIP of small towers with random weights, images of one colour each, and what a run does with a method on them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import lru_cache
from typing import Any

import open_clip
import torch
from torch import Tensor

from harness.clip.backbone import Backbone
from harness.data.few_shot import classnames, few_shot, subset
from harness.data.image_set import ImageSet
from harness.method import AdaptedModel, Batch, Classes
from harness.recipe import Recipe, resolve
from harness.suite import ClassSubset
from harness.training.evaluate import Predictions, evaluate
from harness.training.log import TrainingLog
from harness.training.loop import train
from harness.training.reading import advance
from harness.validation.colours import colours

TEMPLATES = {"clip": "a photo of a {}.", "fine-tuning": "a bad photo of a {} square."}
BLOCKS = 12
"""Of each tower, so that the defaults of published methods fit."""
SHOTS = 2
"""Of three base classes: a batch of four images, and one of two."""


def tiny_clip(layers: int = 2, width: int = 32, vision_layers: Sequence[int] | None = None, seed: int = 0) -> Any:
    """open_clip's own class with random weights: `layers` blocks a tower, 32-pixel images; `vision_layers` make it a ResNet."""
    vision: dict[str, Any] = {
        "image_size": 32,
        "patch_size": 8,
        "width": width,
        "head_width": width // 2,
        "layers": layers,
    }
    text = {"context_length": 77, "vocab_size": 49408, "width": width, "heads": 2, "layers": layers}
    if vision_layers is not None:
        vision = {"image_size": 32, "width": 8, "layers": vision_layers}
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model = open_clip.CLIP(embed_dim=32, quick_gelu=True, vision_cfg=vision, text_cfg=text)
    model.visual.preprocess_cfg = {**open_clip.transform.PreprocessCfg().__dict__, "size": 32}
    return model


@lru_cache(maxsize=1)
def _tokenizer() -> Any:
    return open_clip.get_tokenizer("ViT-B-16")


def tiny_backbone(execution: str = "fast", dtype: torch.dtype = torch.float32, **size: Any) -> Backbone:
    """A new backbone, with the same random weights each time."""
    return Backbone(tiny_clip(**size).to(dtype), _tokenizer(), execution=execution)


def short_recipe(kind: Any, epochs: int = 2) -> Recipe:
    """A method's default recipe, cut to so many epochs of small batches."""
    _, recipe = resolve(kind.recipes, None, "colours", "colours", shots=SHOTS)
    if not recipe.trains:
        return recipe
    return replace(recipe, epochs=epochs, batch_size=min(4, recipe.batch_size), learning_rate=1e-3)


class World:
    """A backbone, the colours, and what a run does with them: three base classes to train on, two new ones."""

    def __init__(self, backbone: Backbone, templates: Mapping[str, str] = TEMPLATES, seed: int = 1) -> None:
        self.backbone = backbone
        self._templates = templates
        self._seed = seed
        self._splits = colours()
        self._drawn = few_shot(self._splits, SHOTS, seed)

    def adapt(self, method: Any) -> AdaptedModel:
        """A model of the method, aimed at the base classes."""
        torch.manual_seed(self._seed)
        model: AdaptedModel = method.adapt(self.backbone)
        model.set_classes(self.classes("base"))
        return model

    def classes(self, half: ClassSubset) -> Classes:
        return Classes(classnames(subset(self._splits, half)), self._templates)

    def images(self, part: str, half: ClassSubset = "base", every: int = 1, **how: Any) -> ImageSet:
        """One of so many images of a part."""
        items = getattr(subset(self._drawn, half), part)[::every]
        return ImageSet(items, self._splits.open, self.backbone.pixels, seed=self._seed, **how)

    def train(self, model: AdaptedModel, recipe: Recipe) -> TrainingLog:
        """As the training window of a run does it, whatever was drawn since the model was made."""
        torch.manual_seed(self._seed)
        augmentation, crop = recipe.augmentation, recipe.crop_scale_minimum
        return train(
            model,
            self.images("train", augmentation=augmentation, crop_scale_minimum=crop),
            self.images("val"),
            recipe,
            seed=self._seed,
            execution="fast" if self.backbone.text.fast else "reference",
            precision="fp32",
        )

    def answers(self, model: AdaptedModel, half: ClassSubset, batch_size: int = 100, every: int = 1) -> Predictions:
        """Predictions on one of so many test images."""
        model.set_classes(self.classes(half))
        images = self.images("test", half, every=every)
        return evaluate(model, images, batch_size=batch_size, precision="fp32")

    @torch.no_grad()
    def logits(self, model: AdaptedModel, classes: Classes) -> Tensor:
        """(9, C) for some test images of all classes, the model aimed at these."""
        pixels = torch.stack([self.images("test", "all").pixels(i, None) for i in range(0, 35, 4)])
        model.set_classes(classes)
        return model.logits(advance(self.backbone, pixels, model.reads[0].stage), model.classifier())

    def batch(self, model: AdaptedModel, indices: Sequence[int] = (0, 1, 2, 3)) -> Batch:
        """A training batch of these images, in the test's view."""
        images = self.images("train")
        pixels = torch.stack([images.pixels(i) for i in indices])
        inputs = tuple(advance(self.backbone, pixels, read.stage).detach() for read in model.reads)
        return Batch(inputs, images.labels[list(indices)])
