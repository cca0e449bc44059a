"""A saved model, ready to answer: its method's model on its backbone, as it was when training ended."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from os import PathLike
from pathlib import Path

import torch
from PIL import Image
from torch import Tensor, nn

from harness import plugins, weights
from harness.clip.backbone import Backbone
from harness.data.image_set import ImageSet
from harness.data.split_files import open_image, to_rgb
from harness.errors import BackboneError, ConfigError
from harness.method import AdaptedModel, Classes
from harness.own_source import source_sha256
from harness.runs.phases import device_of
from harness.saved import saved_file
from harness.saved.saved_file import Header
from harness.saved.state import restore
from harness.suite import Item
from harness.training.evaluate import over_batches
from harness.training.log import TrainingLog
from harness.training.prepared import backbone_of, build_model
from harness.training.reading import StagedImages, advance, autocast

ImageLike = str | PathLike[str] | Image.Image
"""An image: a file's path, or an open image of Pillow's."""


@dataclass(frozen=True)
class Answers:
    """What a saved model says of N images, in order: logits (N, C) in float32 on the CPU, a column for each class."""

    class_names: tuple[str, ...]
    logits: Tensor

    @property
    def probabilities(self) -> Tensor:
        """(N, C), each row's sum 1: the softmax of the logits."""
        return self.logits.softmax(dim=-1)

    @property
    def labels(self) -> list[int]:
        """For each image the position of the likeliest class."""
        return self.logits.argmax(dim=-1).tolist()

    @property
    def names(self) -> list[str]:
        """For each image the name of the likeliest class."""
        return [self.class_names[label] for label in self.labels]


class SavedModel(nn.Module):
    """A trained model that answers on images: ``predict`` reads files, ``forward`` takes pixels.

    It is aimed at its training classes until `set_classes` names others.
    """

    def __init__(self, header: Header, model: AdaptedModel) -> None:
        super().__init__()
        self.header, self.model = header, model
        self.set_classes(header.classes)

    @property
    def class_names(self) -> tuple[str, ...]:
        """The classes that it tells apart, in the order of its logits' columns."""
        return self._classes.names

    @property
    def answers_zero_shot(self) -> bool:
        """Whether its method has nothing to say of these classes, so that answers are the pretrained backbone's."""
        return self.model.answers_zero_shot

    def set_classes(self, names: Sequence[str]) -> None:
        """Tell these classes apart from now on. Raises ConfigError where the method answers for no classes but its training's."""
        self._classes = Classes(tuple(names), self.header.templates)
        with torch.no_grad():
            self.model.set_classes(self._classes)
        self._classifier: Tensor | None = None
        self._ready = False

    @torch.no_grad()
    def forward(self, pixels: Tensor) -> Tensor:
        """Logits (B, C) of images as the backbone takes them: pixels (B, 3, S, S), resized and normalised."""
        backbone = self.model.backbone
        with autocast(self.header.key.precision, backbone.device):
            if not self._ready:
                self._classifier, self._ready = self.model.classifier(), True
            read = advance(backbone, pixels.to(backbone.device), self.model.reads[0].stage)
            return self.model.logits(read, self._classifier)

    def predict(self, images: ImageLike | Sequence[ImageLike], batch_size: int | None = None) -> Answers:
        """Answers on image files or open images, `batch_size` at a time; without, as many as the run's tests had.

        Raises DataError for a file that is no image.
        """
        several = [images] if isinstance(images, str | PathLike | Image.Image) else list(images)
        if not several:
            return Answers(self.class_names, torch.empty(0, len(self.class_names)))
        return self.answer(_image_set(several, self.model.backbone), batch_size)

    def answer(self, images: ImageSet, batch_size: int | None = None) -> Answers:
        """Answers on a set of images, to the bit what a run's test says of it."""
        key, model = self.header.key, self.model
        features = None
        if model.reads[0].stage == "features" and model.backbone.image.fast:  # extracted for themselves, as a run does
            features = StagedImages(model.backbone, images, key.precision, TrainingLog()).read("features")
        logits = over_batches(
            model,
            images,
            lambda scores: scores.float().cpu(),
            batch_size=batch_size or key.recipe.test_batch_size,
            precision=key.precision,
            features=features,
            classes=len(self.class_names),
        )
        return Answers(self.class_names, torch.cat(logits))


def load(
    saved: str | PathLike[str],
    *,
    device: str = "auto",
    backbone: str | None = None,
    pretrained: str | None = None,
    method: str | None = None,
) -> SavedModel:
    """A saved model, on auto, cpu, cuda or cuda:N.

    A file has no weights but those that training changed: those of a checkpoint come from its path as `pretrained`, those of a
    folder from its `backbone` (``local-dir:PATH``), and a method of one's own from `method` (``FILE.py:NAME``) unless its module
    can be imported. Raises DataError for what is no saved model, BackboneError for other weights than it was trained on.
    """
    path = Path(saved)
    header, tensors = saved_file.read(path)
    key = header.key
    _find_method(path, header, method)
    found = backbone_of(key, _weights(path, header, backbone, pretrained), device_of(device))
    if found.weights_sha256 != header.weights_sha256:
        raise BackboneError(
            f"{path} was trained on other weights of {key.backbone} than these: their digests differ.",
            f"Name those that it was trained on: {key.pretrained or key.backbone}.",
        )
    model = rebuilt(header, Classes(header.classes, header.templates), tensors, found)
    return SavedModel(header, model.requires_grad_(False))


def rebuilt(header: Header, classes: Classes, tensors: dict[str, Tensor], backbone: Backbone) -> AdaptedModel:
    """The trained model of a saved one, on its backbone, by the classes of its training; `set_classes` is to aim it."""
    model = build_model(header.key, backbone, classes)
    restore(model, tensors, header.kept)
    return model


def _find_method(path: Path, header: Header, method: str | None) -> None:
    """Have the method be importable; warns where its code isn't what the model was trained with."""
    key = header.key
    if method is not None and plugins.named(method) != key.method:
        raise ConfigError(
            f"{path} is of the method {key.method}, and no {method}.", "Name the file that has that class."
        )
    module = plugins.load("method", key.method).__module__
    if key.source_sha256 is not None and source_sha256(module) != key.source_sha256:
        warnings.warn(
            f"the code of {key.method} has changed since {path.name} was saved: its answers may be others.",
            UserWarning,
            stacklevel=3,
        )


def _weights(path: Path, header: Header, backbone: str | None, pretrained: str | None) -> str | None:
    """The tag or file that the backbone is loaded from. Raises ConfigError where it has to be named, and for another one."""
    key = header.key
    if pretrained is None and backbone is None:
        if key.backbone.startswith(weights.LOCAL):
            raise ConfigError(
                f"{path} is of the backbone {key.backbone}, a folder that it doesn't hold.",
                f"Say where it is: --backbone {weights.LOCAL}PATH",
            )
        if key.pretrained and "@" in key.pretrained:
            raise ConfigError(
                f"{path} is of the checkpoint {key.pretrained.partition('@')[0]}, which it doesn't hold.",
                "Say where it is: --pretrained FILE",
            )
        return key.pretrained
    name, source, label = weights.of_backbone(backbone or key.backbone, pretrained)
    if (name, label) != (key.backbone, key.pretrained):
        raise ConfigError(
            f"{path} is of the backbone {_called(key.backbone, key.pretrained)}, and no {_called(name, label)}.",
            "Name the one that it was trained on.",
        )
    return source


def _called(backbone: str, pretrained: str | None) -> str:
    return f"{backbone} with {pretrained}" if pretrained else backbone


def _image_set(images: Sequence[ImageLike], backbone: Backbone) -> ImageSet:
    def open_one(key: str) -> Image.Image:
        image = images[int(key)]
        if isinstance(image, Image.Image):
            return to_rgb(image.copy(), f"image {int(key) + 1}", upright=True)
        return open_image(Path(image), upright=True)

    items = [Item(str(number), 0, "") for number in range(len(images))]
    return ImageSet(items, open_one, backbone.pixels, seed=1)
