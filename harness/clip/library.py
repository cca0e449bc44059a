"""open_clip, imported without torch's compiler, which takes as long as torch and which a run that trains in no steps never calls,
and without timm, which has a thousand models: it is imported once one of them is made.

open_clip imports torchvision and timm, and these import the compiler (`torch._dynamo`) for two functions alone. While they do,
it has a stand-in whose functions import it once they are called, as torch's own do.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import partial, wraps
from types import ModuleType
from typing import Any

import torch

from harness.absent import absent

__all__ = ["open_clip"]
_COMPILER, _UTILS = "torch._dynamo", "torch._dynamo.utils"


def _disable(fn: Any = None, recursive: bool = True, **_: Any) -> Any:
    if fn is None:
        return partial(_disable, recursive=recursive)
    own = wraps(fn)(lambda *args, **kwargs: fn(*args, **kwargs))  # torch keeps on a function what it has made of it
    return torch._disable_dynamo(own, recursive)  # type: ignore[attr-defined]


def _is_compile_supported(kind: Any) -> Any:
    return importlib.import_module(_UTILS).is_compile_supported(kind)


@contextmanager
def _stand_in() -> Iterator[None]:
    """In the compiler's place, unless that is there already."""
    if _COMPILER in sys.modules:
        yield
        return
    compiler: Any = ModuleType(_COMPILER)
    compiler.__path__ = []
    compiler.disable = _disable
    utils: Any = ModuleType(_UTILS)
    utils.is_compile_supported = _is_compile_supported
    sys.modules |= {_COMPILER: compiler, _UTILS: utils}
    torch._dynamo = compiler
    try:
        yield
    finally:
        del sys.modules[_COMPILER], sys.modules[_UTILS], torch._dynamo


with suppress(ImportError, AttributeError), _stand_in(), absent("timm"):  # of a version that asks more of it
    import open_clip
import open_clip  # noqa: E402


def _with_timm(make: Callable[..., None], home: Any) -> Callable[..., None]:
    """How a model of timm's is made, with timm put in its place in open_clip's module before."""

    @wraps(make)
    def made(self: Any, *args: Any, **kwargs: Any) -> None:
        if home.timm is None:
            ours = home.TimmModel
            with _stand_in():
                importlib.reload(home)
            home.TimmModel = ours
        make(self, *args, **kwargs)

    return made


_timm_model: Any = sys.modules["open_clip.timm_model"]
_timm_model.TimmModel.__init__ = _with_timm(_timm_model.TimmModel.__init__, _timm_model)
