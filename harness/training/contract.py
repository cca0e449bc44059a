"""Whether a model keeps the contract of `harness.method`, by what costs nothing; else a MethodError with the next step.

`check_model` looks at what `adapt` returned, `check_trainables` at the weights before the first step, and `Waiting` at their
gradients; `frozen_digests` tells frozen weights that changed, outside every window; `check_answers` looks at logits,
`check_aim` at whether they follow the classes.
"""

from __future__ import annotations

import inspect
import zlib
from collections.abc import Iterable, Mapping, Sequence
from numbers import Integral
from typing import Any

import torch
from torch import Tensor, nn

from harness.clip.backbone import Backbone
from harness.errors import MethodError, did_you_mean
from harness.method import AdaptedModel, Classes, ClassFeatureModel, Read
from harness.recipe import Recipe

CALLS: Mapping[str, int] = {
    "set_classes": 1,
    "prepare": 2,
    "parameter_groups": 0,
    "begin_epoch": 1,
    "batches": 3,
    "loss": 1,
    "backward": 2,
    "end_epoch": 2,
    "finish": 2,
    "classifier": 0,
    "logits": 2,
}
"""What the harness calls on a model, each with so many arguments."""
NAMED = 3
"""So many weights are named at most."""


def check_model(method: str, model: Any, backbone: Backbone, recipe: Recipe) -> None:
    """Of what `adapt` returned: a model on this backbone, with all that the harness calls and reads."""
    if not isinstance(model, AdaptedModel):
        raise MethodError(
            f"adapt of '{method}' returns {_described(model)}, and no AdaptedModel.",
            "Return an object of a class that inherits harness.method.AdaptedModel or ClassFeatureModel.",
        )
    if getattr(model, "backbone", None) is not backbone:
        raise MethodError(
            f"the model of '{method}' isn't on the backbone that adapt was given.",
            "Call super().__init__(backbone) first in its __init__, with that very backbone.",
        )
    _check_calls(method, model, recipe)
    _check_reads(method, model, backbone)


def _check_calls(method: str, model: AdaptedModel, recipe: Recipe) -> None:
    needed = [(AdaptedModel, "set_classes"), (ClassFeatureModel, "classifier"), (AdaptedModel, "logits")]
    if recipe.trains and _is_still(model, AdaptedModel, "backward"):
        needed.append((AdaptedModel, "loss"))
    for base, name in needed:
        if isinstance(model, base) and _is_still(model, base, name):
            raise MethodError(
                f"the model of '{method}' has no {name}{_parameters(getattr(base, name))}.",
                f"Write it in the class {type(model).__name__}; harness.method says what it is given and returns.",
            )
    for name, count in CALLS.items():
        call = getattr(model, name)
        try:
            inspect.signature(call).bind(*range(count))
        except (TypeError, ValueError):
            raise MethodError(
                f"{name} of the model of '{method}' {_odd(call)}.",
                f"It is called as {name}{_parameters(getattr(AdaptedModel, name))}.",
            ) from None
    if callable(type(model).answers_zero_shot):
        raise MethodError(
            f"answers_zero_shot of the model of '{method}' is a function.",
            "Write @property above it, or set it to a bool.",
        )


def _check_reads(method: str, model: AdaptedModel, backbone: Backbone) -> None:
    reads = model.reads
    right = 'Write reads = (Read("features"),), or another stage: "pixels", or how many blocks of the tower have run.'
    if not isinstance(reads, tuple | list) or not reads:
        raise MethodError(f"reads of the model of '{method}' is {_described(reads)}, and no tuple of reads.", right)
    for read in reads:
        if not isinstance(read, Read):
            raise MethodError(f"reads of the model of '{method}' holds {_described(read)}, and no Read.", right)
        depth = backbone.image.depth
        blocks = isinstance(read.stage, int) and (not backbone.image.staged or 0 <= read.stage <= depth)
        if not (blocks or read.stage in ("pixels", "features")):
            has = f"; this image tower has {depth} blocks" if depth else ""
            raise MethodError(
                f"the model of '{method}' reads the stage {read.stage!r}, which there is not{has}.", right
            )
    text_start = model.text_start
    if text_start != "features" and not isinstance(text_start, int):
        raise MethodError(
            f"text_start of the model of '{method}' is {text_start!r}.",
            'It is how many blocks of the text tower have run before a step, or "features" if a step runs none of it.',
        )


def check_trainables(model: AdaptedModel, recipe: Recipe) -> list[nn.Parameter]:
    """The weights to train, each once: in exactly one group each, and none of them below a stage that the model reads."""
    who = f"the model {type(model).__name__}"
    groups = model.parameter_groups()
    if not isinstance(groups, Mapping) or not all(isinstance(p, nn.Parameter) for g in groups.values() for p in g):
        raise MethodError(
            f"parameter_groups of {who} is no table of lists of parameters.",
            'Return {"all": [...]}; a recipe may give each name a learning rate of its own.',
        )
    if unknown := sorted(recipe.learning_rates.keys() - groups.keys()):
        raise MethodError(
            f"the recipe has a learning rate for the group '{unknown[0]}', and {who} has no such group.",
            did_you_mean(unknown[0], groups),
        )
    grouped = [p for group in groups.values() for p in group]
    trained = {id(p): p for p in model.parameters() if p.requires_grad}
    names = _names(model)
    if not trained:
        raise MethodError(
            f"{who} has nothing to train: no parameter requires a gradient, and its recipe trains.",
            "Make an nn.Parameter in adapt, set_classes or prepare; or train nothing, by epochs=0 in the recipe.",
        )
    if len({id(p) for p in grouped}) < len(grouped):
        raise MethodError(f"parameter_groups of {who} holds a parameter twice.", "Put each into one group.")
    if left_out := [names[key] for key in trained if key not in {id(p) for p in grouped}]:
        raise MethodError(
            f"parameter_groups of {who} leaves out what requires a gradient, so that it would never move: {_few(left_out)}.",
            "Add it to a group, or freeze it: requires_grad_(False).",
        )
    if frozen := [names.get(id(p), "one that isn't in the model") for p in grouped if id(p) not in trained]:
        raise MethodError(
            f"parameter_groups of {who} holds what requires no gradient, or isn't the model's: {_few(frozen)}.",
            "Leave it out, or have it trained: requires_grad_(True), as an attribute of the model.",
        )
    _check_below_reads(model, names, who)
    return list(trained.values())


def _check_below_reads(model: AdaptedModel, names: Mapping[int, str], who: str) -> None:
    backbone = model.backbone
    for read in model.reads:
        above = {id(p) for p in backbone.image_parameters(read.stage)}
        below = [p for p in backbone.image_parameters("pixels") if p.requires_grad and id(p) not in above]
        if below:
            raise MethodError(
                f"{who} reads the stage {read.stage!r}, and {len(below)} weights of the image tower below it require a gradient: "
                f"{_few(names[id(p)] for p in below)}. What is read there is computed without them, so they would never move.",
                f"Freeze them, or read where they begin: reads = (Read({backbone.image_stage(below)!r}),).",
            )


class Waiting:
    """Which of the weights to train have had no gradient yet; costs nothing from the step on in which the last one got one."""

    def __init__(self, model: AdaptedModel, recipe: Recipe) -> None:
        self._model = model
        self._trained = check_trainables(model, recipe)
        self._left = self._trained

    def after_backward(self, loss: Any) -> None:
        """Before the optimiser takes the gradients. `loss` is what `backward` returned."""
        if not isinstance(loss, Tensor) or loss.dim():
            raise MethodError(
                f"backward of the model {type(self._model).__name__} returns {_described(loss)}.",
                "Return the loss, a scalar tensor, detached.",
            )
        if self._left:
            self._left = [p for p in self._left if p.grad is None]

    def check(self, cut: bool) -> None:
        """At the end of training: nothing came or went on the way, and everything has had one, unless training was cut off."""
        who, names = f"the model {type(self._model).__name__}", _names(self._model)
        now = [p for p in self._model.parameters() if p.requires_grad]
        if late := [names[id(p)] for p in now if id(p) not in {id(each) for each in self._trained}]:
            raise MethodError(
                f"{who} made parameters while it trained, after the optimiser had been given its own, so that they never move: "
                f"{_few(late)}.",
                "Make every nn.Parameter in adapt, set_classes or prepare, and only use it in loss.",
            )
        if self._left and not cut:
            raise MethodError(
                f"{len(self._left)} of {len(self._trained)} weights of {who} never got a gradient, though they require one: "
                f"{_few(names.get(id(p), 'one that left the model') for p in self._left)}.",
                "Use them in loss with gradients on (no detach, no torch.no_grad), or freeze them: requires_grad_(False).",
            )


def check_batches(model: AdaptedModel, batches: Sequence[Any], images: int) -> None:
    """An epoch: lists of places of training images."""
    for batch in batches:
        if not isinstance(batch, Sequence) or not batch or not all(isinstance(i, Integral) for i in batch):
            raise MethodError(
                f"batches of the model {type(model).__name__} yields {str(batch)[:60] or 'an empty text'}.",
                "Yield lists of whole numbers, the places of a batch's images; shuffled_batches of harness.method is an example.",
            )
        if not 0 <= min(batch) <= max(batch) < images:
            raise MethodError(
                f"batches of the model {type(model).__name__} yields the place {max(batch, key=abs)} of {images} images.",
                f"Places go from 0 to {images - 1}.",
            )


def check_answers(model: AdaptedModel, logits: Any, images: int, classes: int | None) -> None:
    """(images, classes), as floating-point numbers."""
    who = type(model).__name__
    right = (
        f"Return ({images}, {classes or 'C'}): a row for each image, a column for each class of the last set_classes."
    )
    if not isinstance(logits, Tensor):
        raise MethodError(f"logits of the model {who} returns {_described(logits)}, and no tensor.", right)
    if logits.dim() != 2 or len(logits) != images or (classes is not None and logits.shape[1] != classes):
        raise MethodError(
            f"logits of the model {who} returns the shape {tuple(logits.shape)} for {images} images and {classes or 'C'} classes.",
            right,
        )
    if not logits.is_floating_point():
        raise MethodError(
            f"logits of the model {who} are of the type {logits.dtype}.", "Return floating-point numbers."
        )


@torch.no_grad()
def check_aim(model: AdaptedModel, images: Tensor, classes: Classes) -> None:
    """Whether `set_classes` is heard again: the columns of two classes change places where their names do.

    `images` are a few at the stage that the model reads first. The model is left aimed at two classes. One that doesn't answer for
    two classes only, and says so by an error, is let be.
    """
    pair = tuple(dict.fromkeys(classes.readable))[:2]
    if len(pair) < 2:
        return
    answers = []
    for names in (pair, pair[::-1]):
        try:
            model.set_classes(Classes(names, classes.templates))
            logits = model.logits(images, model.classifier())
        except Exception:
            return
        check_answers(model, logits, len(images), 2)
        answers.append(logits)
    first, second = answers
    if torch.equal(first, second) and not torch.equal(first[:, 0], first[:, 1]):
        raise MethodError(
            f"the model {type(model).__name__} ignores set_classes once it has been aimed: the classes {pair[0]!r} and {pair[1]!r} "
            "changed places, and its logits did not.",
            "Make everything that depends on the classes anew in set_classes; call forget_constants() there.",
        )


def frozen_digests(model: AdaptedModel) -> dict[str, int]:
    """A digest of every weight that requires no gradient, and of the backbone's buffers, by name."""
    frozen = {name: p for name, p in model.named_parameters() if not p.requires_grad}
    buffers = {f"backbone.{name}": b for name, b in model.backbone.named_buffers()}
    return {name: _digest(tensor) for name, tensor in {**frozen, **buffers}.items()}


def check_frozen(method: str, before: Mapping[str, int], after: Mapping[str, int]) -> None:
    """Of the weights that were frozen before training and still are: bit for bit the same."""
    if changed := [name for name, digest in before.items() if after.get(name, digest) != digest]:
        raise MethodError(
            f"'{method}' changed weights that are frozen, {len(changed)} of {len(before)}: {_few(changed)}.",
            "Train what is to change, by requires_grad_(True), or change a copy of it: they are neither counted nor reported.",
        )


def _digest(tensor: Tensor) -> int:
    """CRC-32 of its bytes: 0.15 s for all of a ViT-B/16 (600 MB), where SHA-256 takes 0.4 to 3 s."""
    return zlib.crc32(tensor.detach().cpu().reshape(-1).view(torch.uint8).numpy().data)


def _names(model: nn.Module) -> dict[int, str]:
    return {id(p): name for name, p in model.named_parameters(remove_duplicate=False)}


def _few(names: Iterable[str]) -> str:
    shown = list(names)
    return ", ".join(shown[:NAMED]) + (f" and {len(shown) - NAMED} more" if len(shown) > NAMED else "")


def _is_still(model: AdaptedModel, base: type[AdaptedModel], name: str) -> bool:
    """Whether a method is the base's own."""
    return getattr(getattr(model, name), "__func__", None) is vars(base).get(name)


def _odd(call: Any) -> str:
    if not callable(call):
        return f"is {_described(call)}, and no function"
    return f"takes {inspect.signature(call)}"


def _parameters(function: Any) -> str:
    """``(images, classifier)``, without `self` and types."""
    return f"({', '.join(list(inspect.signature(function).parameters)[1:])})"


def _described(thing: Any) -> str:
    if thing is None:
        return "nothing (None)"
    if isinstance(thing, Tensor):
        return f"a tensor of the shape {tuple(thing.shape)}"
    if isinstance(thing, str | int | float | bool):
        return repr(thing)
    return f"an object of the class {type(thing).__name__}"
