"""What ``adaptbench list`` says of each plug-in."""

from __future__ import annotations

import sys
from typing import Any

from harness import plugins

_CLASSES = tuple(f"class {i}" for i in range(10))


def about(thing: Any) -> str:
    """One line on a plug-in: a suite's question, a dataset's title and group, else the first line of its module."""
    if hasattr(thing, "question"):
        return thing.question
    if hasattr(thing, "title"):
        return f"{thing.title} ({thing.group})"
    if isinstance(thing, type):
        return (sys.modules[thing.__module__].__doc__ or thing.__doc__ or "").strip().partition("\n")[0]
    return getattr(thing, "name", "")


def needs(method: Any) -> str:
    """What a method has to be given beside a backbone and a dataset."""
    return getattr(method, "needs", "")


def trainable_parameters(name: str, backbone: str, pretrained: str | None) -> str:
    """How many weights a method trains on a backbone, for ten classes; loads the backbone.

    Of an open_clip model without `pretrained`, only the architecture is asked for.
    """
    from harness import backbone as backbones
    from harness.errors import AdaptBenchError
    from harness.method import Classes

    if pretrained is None and backbone not in plugins.names("backbone"):
        pretrained = "random"
    try:
        model = plugins.load("method", name)().adapt(backbones.load(backbone, pretrained))
        model.set_classes(Classes(_CLASSES, {"clip": "a photo of a {}."}))
    except AdaptBenchError as error:
        return error.what
    return f"{sum(p.numel() for p in model.parameters() if p.requires_grad):,}"
