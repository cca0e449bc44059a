"""The contract of a method: hyper-parameters that return a model, and a model that the harness trains, times and tests.

A method says what it reads of the image tower (`AdaptedModel.reads`) and writes its arithmetic in stages of the towers. It never
knows the dataset, the suite, the seed, the clock or the execution, and steps no optimiser.

How every family fits (checked against every card before this was settled): a `ClassFeatureModel` compares images with class
features; learned prompts pass `context` to the text tower; deep prompts pass `replace_rows` to `blocks` of either tower;
image-conditional prompts return no `classifier` and build their logits in `logits`; gradient surgery overrides `backward`; teachers
on a second view read a second `Read`; weight averaging uses `end_epoch` and `finish`; training-free caches and closed-form fits use
`prepare`; searches on validation data use `finish`; methods that train on cached features set `caches_images`; low-rank updates and
full-batch rules are modules and `batches`.
"""

from __future__ import annotations

import random
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any, ClassVar, Protocol, TypeVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from harness.clip.backbone import Backbone
from harness.clip.image_tower import Stage
from harness.errors import MethodError
from harness.recipe import Recipe

T = TypeVar("T")


@dataclass(frozen=True)
class Classes:
    """The classes to tell apart: names in label order, and the dataset's prompt templates by list."""

    names: tuple[str, ...]
    templates: Mapping[str, str]

    def template(self, template_list: str) -> str:
        return self.templates.get(template_list, self.templates["clip"])

    def templates_of(self, template_list: str) -> tuple[str, ...]:
        """All templates of a list that has several (``ensemble 1``, ``ensemble 2``, ...), else the one that `template` gives."""
        several = [self.templates[name] for name in self.templates if name.startswith(f"{template_list} ")]
        return tuple(several) or (self.template(template_list),)

    @property
    def readable(self) -> tuple[str, ...]:
        """The names as prompts have them: underscores become spaces, as in all published code."""
        return tuple(name.replace("_", " ") for name in self.names)

    def rows_in(self, trained: Sequence[str]) -> list[int | None]:
        """Where each of these classes stands among the `trained` names; None for one that isn't there.

        Two labels may share a name: the n-th class of a name is the n-th trained one, or the first if there are fewer.
        """
        places: defaultdict[str, list[int]] = defaultdict(list)
        for place, name in enumerate(trained):
            places[name].append(place)
        seen: Counter[str] = Counter()
        rows: list[int | None] = []
        for name in self.names:
            same = places.get(name)
            rows.append(same[seen[name] if seen[name] < len(same) else 0] if same else None)
            seen[name] += 1
        return rows


@dataclass(frozen=True)
class Read:
    """Something a loss reads of each image: a stage of the frozen tower, on augmented view number `view`."""

    stage: Stage
    view: int = 0


@dataclass(frozen=True)
class Batch:
    """What a loss sees: one tensor for each of the model's `reads`, and labels (B,)."""

    inputs: tuple[Tensor, ...]
    labels: Tensor

    @property
    def images(self) -> Tensor:
        """The first read."""
        return self.inputs[0]


class ImageSource(Protocol):
    """Images a model may look at as a whole, before or after training. `epoch` picks the augmentation; None is the test view."""

    labels: Tensor

    def read(self, stage: Stage, epoch: int | None = None) -> Tensor:
        """All images at a stage, in order: (N, ...) on the model's device."""
        ...


@dataclass(frozen=True)
class LinearHead:
    """Logits (B, C) that linear in image features f (B, E): ``scale * f^ weight^T + bias``; f^ is f, or f / |f| if `normalised`.

    weight (C, E), scale a scalar, bias (C,).
    """

    weight: Tensor
    scale: Tensor
    bias: Tensor | None = None
    normalised: bool = True

    def logits(self, images: Tensor) -> Tensor:
        """(B, C) of image features (B, E) of any norm."""
        images = F.normalize(images, dim=-1) if self.normalised else images
        logits = self.scale.to(images.dtype) * images @ self.weight.to(images.dtype).T
        return logits if self.bias is None else logits + self.bias


@dataclass(frozen=True)
class PlainClip:
    """A CLIP of the backbone's architecture: weights under open_clip's names, and the prompt template of its class texts."""

    weights: Mapping[str, Tensor]
    template: str


class AdaptedModel(nn.Module):
    """A backbone with what a method adds. What requires a gradient is trained and counted; nothing else is.

    Order of calls: set_classes (training classes), prepare, then per epoch begin_epoch, batches, backward..., end_epoch; finish;
    then for each test split set_classes, classifier, logits.
    """

    reads: tuple[Read, ...] = (Read("features"),)
    """What `loss` reads; `logits` reads the first. Everything below a stage must stay frozen."""
    caches_images: bool = False
    """True if the method itself extracts its reads once an epoch and trains on them, whatever the execution."""
    text_start: Stage = 0
    """How far the text tower has run before `loss` goes on: k blocks, or "features" if a step runs none of it."""
    random_shapes: bool = False
    """Whether chance decides how much a step computes, as where classes are left out at random: each run's peak of memory is
    counted in that run then, and not once for all seeds."""
    keeps: tuple[str, ...] = ()
    """Attributes that answers rest on after training, beside weights and buffers of the model's own and what it trained of the
    backbone: tensors, lists of them, numbers, text and names. A saved model has them; a new one, aimed at the training classes,
    gets them back."""

    def __init__(self, backbone: Backbone) -> None:
        super().__init__()
        self.backbone = backbone
        self.drop_gradients: Callable[[], None] | None = None
        self._constants: dict[str, Any] = {}

    def set_classes(self, classes: Classes) -> None:
        """Aim at these classes: before training, and again before each test."""
        raise NotImplementedError

    def prepare(self, train: ImageSource, val: ImageSource) -> None:
        """Once, before the first step; paid for inside training."""

    def parameter_groups(self) -> dict[str, list[nn.Parameter]]:
        """Trainable parameters by group; a recipe may give a group a learning rate of its own."""
        return {"all": [p for p in self.parameters() if p.requires_grad]}

    def begin_epoch(self, epoch: int) -> None:
        """Before the first step of an epoch."""

    def batches(self, labels: Sequence[int], batch_size: int, rng: random.Random) -> Iterator[list[int]]:
        """One epoch as lists of image indices."""
        return shuffled_batches(labels, batch_size, rng)

    def loss(self, batch: Batch) -> Tensor:
        """The scalar loss of a batch, differentiable."""
        raise NotImplementedError

    def backward(self, batch: Batch, scaler: torch.amp.GradScaler) -> Tensor:
        """Leave gradients on the trainable parameters; return the loss, detached. `scaler` is disabled outside fp16."""
        loss = self.loss(batch)
        _check_loss(self, loss)
        self.end_forward()
        scaler.scale(loss).backward()
        return loss.detach()

    def end_forward(self) -> None:
        """Where the authors' loops drop the gradients of the step before, for which memory is held until here in the reference.

        A `backward` of one's own may leave it out: then they are dropped after the step, as they are when fast.
        """
        if self.drop_gradients is not None:
            self.drop_gradients()

    def end_epoch(self, epoch: int, epochs: int) -> None:
        """After the last step of an epoch."""

    def finish(self, train: ImageSource, val: ImageSource) -> None:
        """After the last epoch; paid for inside training."""

    @property
    def answers_zero_shot(self) -> bool:
        """Whether the answers on the classes aimed at are zero-shot CLIP's by construction, and no merit of the method's training.

        So it is where a method has weights for the classes it was trained on, and for no others.
        """
        return False

    def classifier(self) -> Tensor | None:
        """Class features (C, E), normalised, or None if they depend on the image. Kept for a whole test when fast."""
        return None

    def logits(self, images: Tensor, classifier: Tensor | None) -> Tensor:
        """(B, C) from the first read of B images."""
        raise NotImplementedError

    def linear_head(self) -> LinearHead | None:
        """The classifier on the backbone's own image features that answers on the classes aimed at; None if there is none."""
        return None

    def plain_clip(self) -> PlainClip | None:
        """The CLIP without anything beside it that answers as this model does; None if there is none."""
        return None

    def constant(self, name: str, compute: Callable[[], T]) -> T:
        """A value that frozen weights and the current classes fix: computed once when fast, whenever asked in the reference.

        `set_classes` must call `forget_constants` if it keeps any.
        """
        if not self.backbone.text.fast:
            return compute()
        if name not in self._constants:
            self._constants[name] = compute()
        return self._constants[name]

    def forget_constants(self) -> None:
        self._constants.clear()


def _check_loss(model: AdaptedModel, loss: Any) -> None:
    """Raises MethodError for what is no scalar that a gradient can start from."""
    what = f"loss of the model {type(model).__name__}"
    right = "Return a scalar tensor, such as F.cross_entropy(logits, batch.labels)."
    if not isinstance(loss, Tensor):
        raise MethodError(f"{what} returns {type(loss).__name__}, and no tensor.", right)
    if loss.dim():
        raise MethodError(f"{what} returns a tensor of the shape {tuple(loss.shape)}, and no scalar.", right)
    if not loss.requires_grad:
        raise MethodError(
            f"no gradient leads from the {what} to any of its weights.",
            "Compute it from a parameter that requires one, with gradients on: no detach, no item, no torch.no_grad.",
        )


class ClassFeatureModel(AdaptedModel):
    """A model that compares images with class features which no image changes.

    A subclass says `classifier`. Cross-entropy of the logits is the default loss; the logits are s * f^ t^T, with the image
    features f that `image_features` makes of the first read.
    """

    def classifier(self) -> Tensor:
        """Class features (C, E), normalised. Kept for a whole test when fast."""
        raise NotImplementedError

    def image_features(self, images: Tensor) -> Tensor:
        """(B, E), of any norm, from the first read of B images: by default the read itself."""
        return images

    def class_logits(self, images: Tensor, classifier: Tensor) -> Tensor:
        """(B, C) from the first read of B images and class features (C, E)."""
        return cosine_logits(self.backbone.logit_scale, self.image_features(images), classifier)

    def logits(self, images: Tensor, classifier: Tensor | None) -> Tensor:
        assert classifier is not None
        return self.class_logits(images, classifier)

    def loss(self, batch: Batch) -> Tensor:
        return F.cross_entropy(self.class_logits(batch.images, self.classifier()), batch.labels)

    def linear_head(self) -> LinearHead | None:
        return LinearHead(self.classifier(), self.backbone.logit_scale)


SIMULATED: ContextVar[bool] = ContextVar("simulated", default=False)
"""Whether a method runs on tensors without contents here, only to see what it costs."""


def alike(passes: Sequence[T]) -> Sequence[T]:
    """Passes that cost alike, such as those of a search over a grid: a run makes all of them, a simulation the first two."""
    return passes[:2] if SIMULATED.get() else passes


def shuffled_batches(labels: Sequence[int], batch_size: int, rng: random.Random) -> Iterator[list[int]]:
    """All images in random order; an incomplete last batch is dropped unless it is the only one."""
    order = list(range(len(labels)))
    rng.shuffle(order)
    end = len(order) - len(order) % batch_size if len(order) >= batch_size else len(order)
    return (order[i : i + batch_size] for i in range(0, end, batch_size))


class Method(Protocol):
    """A frozen dataclass of hyper-parameters. `recipes` has a row "default"; see `harness.recipe.resolve` for other keys.

    It may also say its `family` and what it `needs` of a backbone or beside it; and `trains`, a formula in E, K and C, if its
    trainable weights are made of the training images. These are for ``adaptbench list``. Fields have their ranges and choices in
    their types (`harness.settings`); a method `conflicts(recipe)` says which contradict others, or have no effect beside them.
    """

    recipes: ClassVar[Mapping[str, Recipe]]

    def adapt(self, backbone: Backbone) -> AdaptedModel:
        """A model on this backbone, ready for `set_classes`."""
        ...


def cosine_logits(scale: Tensor, images: Tensor, classifier: Tensor) -> Tensor:
    """s * f^ t^T for image features (B, E) of any norm and normalised class features (C, E): (B, C)."""
    return scale.to(images.dtype) * F.normalize(images, dim=-1) @ classifier.to(images.dtype).T
