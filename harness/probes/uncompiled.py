"""A simulation without torch's compiler: importing it takes as long as to simulate ten methods, and nothing is compiled.

Fake tensors read settings of it, and optimisers ask it to leave them alone.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import Any

import torch

_COMPILER = "torch._dynamo"


class _StandIn(ModuleType):
    """Has the compiler's settings, and the two functions that optimisers call. It makes way once anything else is asked for."""

    def __init__(self) -> None:
        super().__init__(_COMPILER)
        self.__path__ = [str(Path(torch.__file__).parent / "_dynamo")]
        self.disable = _disable
        self.graph_break = lambda *_, **__: None

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        self.make_way()
        return getattr(importlib.import_module(_COMPILER), name)

    def make_way(self) -> None:
        if sys.modules.get(_COMPILER) is self:
            del sys.modules[_COMPILER], torch._dynamo


def _disable(fn: Any = None, recursive: bool = True, **_: Any) -> Any:
    """What stays a function that the compiler leaves alone: torch keeps it for good."""
    if fn is None:
        return partial(_disable, recursive=recursive)
    disabled: list[Callable[..., Any]] = []

    def own(*args: Any, **kwargs: Any) -> Any:
        compiler = sys.modules.get(_COMPILER)
        if compiler is None or isinstance(compiler, _StandIn):
            return fn(*args, **kwargs)
        if not disabled:
            disabled.append(compiler.disable(fn, recursive))
        return disabled[0](*args, **kwargs)

    return own


_STAND_IN = _StandIn()


@contextmanager
def uncompiled() -> Iterator[None]:
    """In here, torch's compiler is not imported for what a simulation asks of it; nothing changes where it is there already."""
    if _COMPILER in sys.modules:
        yield
        return
    sys.modules[_COMPILER] = torch._dynamo = _STAND_IN
    try:
        yield
    finally:
        _STAND_IN.make_way()
