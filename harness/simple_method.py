"""A method in a few lines: settings, and what changes of CLIP's class features, of its image features, or of its weights.

A subclass is a frozen dataclass whose fields are its settings. It overrides what it changes; the model, which text is encoded when,
where the image tower starts to run in a step, both executions, saving, exports and simulation follow from that. What needs more
writes the contract's two classes itself (`harness.method`).
"""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from difflib import get_close_matches
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from harness.clip.backbone import Backbone
from harness.clip.image_tower import Stage
from harness.errors import MethodError
from harness.method import Classes, ClassFeatureModel, LinearHead, PlainClip, Read
from harness.recipe import Recipe

_SCALES = ("logit_scale", "logit_bias")
"""Weights of the backbone that belong to no tower, frozen in every method."""
OVERRIDDEN = ("trained", "trainable", "prompts", "class_features", "image_features")
"""The functions that a method may have of its own."""


class SimpleMethod:
    """Compares image features with class features, and trains by cross-entropy what `trained` and `trainable` name.

    E is the width of CLIP's features, C the number of classes, B that of images. What is learned has to have a shape that no number
    of classes changes, so that the method answers on new classes too.
    """

    recipes: ClassVar[Mapping[str, Recipe]] = {
        "default": Recipe(epochs=50, batch_size=32, learning_rate=0.001, optimizer="adamw", augmentation="none")
    }

    def trained(self, width: int) -> nn.Module | nn.Parameter | None:
        """What is learned beside CLIP, newly made, `width` being E; None for nothing. It is moved to the backbone's device."""
        return None

    def trainable(self, name: str) -> bool:
        """Whether a weight of CLIP is trained, by open_clip's name for it: ``visual.transformer.resblocks.11.ln_1.weight``."""
        return False

    def prompts(self, classes: Classes) -> Sequence[str]:
        """One text for each class: by default the dataset's own prompt."""
        return [classes.template("clip").format(name) for name in classes.readable]

    def class_features(self, texts: Tensor, trained: Any) -> Tensor:
        """(C, E), of any norm, from CLIP's features (C, E) of the prompts, of length 1, and from what `trained` returned."""
        return texts

    def image_features(self, images: Tensor, trained: Any) -> Tensor:
        """(B, E), of any norm, from CLIP's features (B, E) of images, of length 1, and from what `trained` returned."""
        return images

    def adapt(self, backbone: Backbone) -> SimpleModel:
        """The backbone with what this method adds and trains.

        Raises MethodError for functions of other arguments than these, and for those that nothing would call.
        """
        _check_names(self)
        for name in OVERRIDDEN:
            _check_call(self, name)
        return SimpleModel(backbone, self)

    def overrides(self, *names: str) -> bool:
        """Whether a subclass has a function of its own for one of these."""
        return any(getattr(type(self), name) is not getattr(SimpleMethod, name) for name in names)


class SimpleModel(ClassFeatureModel):
    """What `harness.method` asks for, from a `SimpleMethod`.

    Each tower runs in a step from its first trained weight on. Texts are encoded once where all of their tower is frozen.
    """

    def __init__(self, backbone: Backbone, method: SimpleMethod) -> None:
        super().__init__(backbone)
        self._method = method
        trained = method.trained(backbone.embed_width)
        if not isinstance(trained, nn.Module | nn.Parameter | None):
            raise MethodError(
                f"trained of {type(method).__name__} returns an object of the class {type(trained).__name__}.",
                "Return an nn.Module, an nn.Parameter, or None; several of them in an nn.ParameterDict or an nn.ModuleDict.",
            )
        if isinstance(trained, nn.Parameter):
            trained = nn.Parameter(trained.detach().to(backbone.device, backbone.dtype), trained.requires_grad)
        elif trained is not None:
            trained = trained.to(backbone.device, backbone.dtype).eval()
        self.trained = trained
        weights = dict(backbone.model.named_parameters())
        chosen = [weights[name] for name in weights if name not in _SCALES and method.trainable(name)]
        for weight in chosen:
            weight.requires_grad_(True)
        self.reads = (Read(backbone.image_stage(chosen)),)
        self.text_start: Stage = backbone.text_stage(chosen)

    def set_classes(self, classes: Classes) -> None:
        text = self.backbone.text
        self._classes = classes
        self._tokens = text.tokenize(self._method.prompts(classes))
        self._texts: Tensor | None = None
        self.forget_constants()

    def prepare(self, train: object, val: object) -> None:
        if self.text_start == "features":
            self._text_features()

    def begin_epoch(self, epoch: int) -> None:
        if isinstance(self.trained, nn.Module):
            self.trained.train()

    def finish(self, train: object, val: object) -> None:
        if isinstance(self.trained, nn.Module):
            self.trained.eval()

    def _text_features(self) -> Tensor:
        """(C, E), of length 1: encoded once for a list of classes where no weight of the text tower is trained."""
        if self.text_start != "features":
            return F.normalize(self._encoded(), dim=-1)
        if self._texts is None:
            with torch.no_grad():
                self._texts = F.normalize(self._encoded(), dim=-1)
        return self._texts

    def _encoded(self) -> Tensor:
        text, start = self.backbone.text, self.text_start
        if not start or not isinstance(start, int):
            return text.encode(self._tokens)
        below = self.constant("below", torch.no_grad()(lambda: text.blocks(text.embed(self._tokens), 0, start)))
        return text.head(text.blocks(below, start, text.depth))

    def classifier(self) -> Tensor:
        texts = self._text_features()
        features = self._method.class_features(texts, self.trained)
        self._check_features("class_features", features, texts)
        return F.normalize(features, dim=-1)

    def image_features(self, images: Tensor) -> Tensor:
        """(B, E), of any norm, from images at the stage that is read."""
        tower, start = self.backbone.image, self.reads[0].stage
        if start == "pixels":
            images = tower.encode(images)
        elif start != "features":
            images = tower.head(tower.blocks(images, start, tower.depth))
        images = F.normalize(images, dim=-1)
        features = self._method.image_features(images, self.trained)
        self._check_features("image_features", features, images)
        return features

    def _check_features(self, name: str, features: Any, given: Tensor) -> None:
        if not isinstance(features, Tensor) or features.shape != given.shape:
            shape = f"the shape {tuple(features.shape)}" if isinstance(features, Tensor) else type(features).__name__
            raise MethodError(
                f"{name} of {type(self._method).__name__} returns {shape}, and no tensor of the shape {tuple(given.shape)}.",
                "Return a row for each row that it is given, each as long as that.",
            )

    def linear_head(self) -> LinearHead | None:
        return None if self._method.overrides("image_features") else super().linear_head()

    def plain_clip(self) -> PlainClip | None:
        if self._method.overrides("class_features", "image_features", "prompts"):
            return None
        return PlainClip(self.backbone.model.state_dict(), self._classes.template("clip"))


def _check_names(method: SimpleMethod) -> None:
    kind = type(method)
    for name in vars(kind):
        close = get_close_matches(name, OVERRIDDEN, n=1, cutoff=0.8)
        if close and name not in OVERRIDDEN and callable(getattr(kind, name)):
            raise MethodError(
                f"nothing calls {name} of {kind.__name__}, which is no function of a SimpleMethod.",
                f"Call it {close[0]}; or, if it is a helper of yours, by a name that is less like that.",
            )
    if method.overrides("trained") and not method.overrides("class_features", "image_features"):
        raise MethodError(
            f"{kind.__name__} makes nothing of what its function trained returns.",
            "Write class_features(self, texts, trained) or image_features(self, images, trained), or leave trained out.",
        )


def _check_call(method: SimpleMethod, name: str) -> None:
    asked = list(inspect.signature(getattr(SimpleMethod, name)).parameters)
    try:
        inspect.signature(getattr(method, name)).bind(*asked[1:])
    except TypeError:
        raise MethodError(
            f"{name} of {type(method).__name__} can't be called as {name}({', '.join(asked[1:])}).",
            f"Write def {name}({', '.join(asked)}): ...",
        ) from None
