"""What a trained model's answers rest on, beside its backbone: taken from one model, put into another."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import Tensor

from harness.errors import MethodError
from harness.method import AdaptedModel

_BACKBONE = "backbone."


class NotedTemplates(Mapping[str, str]):
    """Templates by list that note which of them are read, `read`: a saved model has need of no others."""

    def __init__(self, templates: Mapping[str, str], read: set[str]) -> None:
        self._templates, self.read = templates, read

    def __getitem__(self, name: str) -> str:
        text = self._templates[name]
        self.read.add(name)
        return text

    def __iter__(self) -> Iterator[str]:
        return iter(self._templates)

    def __len__(self) -> int:
        return len(self._templates)


def state_of(model: AdaptedModel) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Copies of the tensors, on the CPU, and the other values that the answers of a model rest on, by name.

    The model has to be aimed at the classes that it was trained on. Raises MethodError for what can't be kept.
    """
    tensors: dict[str, Tensor] = {
        name: weight
        for name, weight in model.named_parameters()
        if weight.requires_grad or not name.startswith(_BACKBONE)
    }
    tensors |= {name: buffer for name, buffer in model.named_buffers() if not name.startswith(_BACKBONE)}
    values: dict[str, Any] = {}
    for name in model.keeps:
        value = getattr(model, name, None)
        if isinstance(value, Tensor):
            tensors[name] = value
        elif isinstance(value, list) and value and all(isinstance(each, Tensor) for each in value):
            tensors |= {f"{name}.{number}": each for number, each in enumerate(value)}
        else:
            values[name] = _plain(model, name, value)
    return {name: tensor.detach().cpu().clone() for name, tensor in tensors.items()}, values


def _plain(model: AdaptedModel, name: str, value: Any) -> Any:
    """A value as JSON has it."""
    plain = sorted(value) if isinstance(value, set | frozenset) else value
    try:
        json.dumps(plain, allow_nan=False)
    except (TypeError, ValueError) as error:
        raise MethodError(
            f"keeps of the model {type(model).__name__} names '{name}', which can't be kept: {error}.",
            "Keep tensors, lists of them, numbers, texts and lists of names; make the rest of them in set_classes.",
        ) from None
    return plain


@torch.no_grad()
def restore(model: AdaptedModel, tensors: Mapping[str, Tensor], values: Mapping[str, Any]) -> None:
    """Put a state into a model that was built as the one it came from, and aimed at the classes that this was trained on.

    It is to be aimed anew then. Raises MethodError for tensors that the model has no place for.
    """
    left, device = dict(tensors), model.backbone.device
    places: dict[str, Tensor] = {**dict(model.named_parameters()), **dict(model.named_buffers())}
    for name, place in places.items():
        saved = left.pop(name, None)
        if saved is None:
            continue
        if saved.shape != place.shape:
            raise MethodError(
                f"'{name}' is of the shape {tuple(saved.shape)} in the saved model, and {tuple(place.shape)} in a new "
                f"{type(model).__name__}.",
                "Load it with the method's code, and on the backbone, that it was trained with.",
            )
        place.copy_(saved)
    for name in model.keeps:
        numbered = [f"{name}.{number}" for number in range(len(left)) if f"{name}.{number}" in left]
        if numbered:
            setattr(model, name, [left.pop(each).to(device, copy=True) for each in numbered])
        elif name in values:
            setattr(model, name, _as_before(getattr(model, name, None), values[name]))
    for name, saved in left.items():
        if "." in name:
            raise MethodError(
                f"a new {type(model).__name__} has no '{name}', which its saved model has.",
                "Make its modules in __init__ or in the first set_classes, not while it trains.",
            )
        setattr(model, name, saved.to(device, copy=True))


def _as_before(now: Any, value: Any) -> Any:
    """A value that went through JSON, of the type that a new model has in its place: a list by itself may have been a tuple."""
    kind = type(now)
    return kind(value) if isinstance(value, list) and kind in (tuple, set, frozenset) else value
