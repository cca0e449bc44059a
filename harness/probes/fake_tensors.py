"""Fakes: a method's own code runs on tensors that have a shape and no contents: without weights, without a GPU, in little time.

What control flow reads is kept real: labels, token ids, masks, index tensors, and whatever is computed from such small tensors
alone. What depends on weights or pixels is fake. Where code asks a fake tensor for a value all the same (a validation
score, a finite loss), it gets an answer that lets it go on.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Sequence
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor
from torch._subclasses.fake_tensor import (
    FakeTensor,
    FakeTensorMode,
    in_kernel_invocation_manager,
    unset_fake_temporarily,
)
from torch.utils._python_dispatch import _disable_current_modes
from torch.utils._pytree import tree_map_only
from torch.utils.weak import WeakIdKeyDictionary

from harness.clip.backbone import Backbone, load
from harness.meters.dispatch_mode import EagerMode, tensors_in

REAL_ELEMENTS = 1 << 20
"""A new tensor of up to so many elements is real, until it meets a fake one."""


_FUSED_STEPS = {getattr(torch.ops.aten, f"_fused_{name}_") for name in ("sgd", "adam", "adamw")}
"""They change contents alone, in place. torch knows no shape of theirs, and would run them on real zeros."""


class Control(EagerMode):
    """Sits on a `FakeTensorMode`, above whatever counts, and keeps real what depends on nothing fake."""

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func is torch.ops.prim.device.default:
            return args[0].fake_device if isinstance(args[0], FakeTensor) else func(*args)
        kwargs = kwargs or {}
        tensors = tensors_in(args, kwargs)
        if any(isinstance(t, FakeTensor) for t in tensors):
            if func is torch.ops.aten._local_scalar_dense.default:
                return _plausible(tensors[0].dtype)
            result = func(*args, **kwargs)
            return _as_they_stand(*result) if func.overloadpacket is torch.ops.aten.sort else result
        if any(t.is_meta or t.numel() > REAL_ELEMENTS for t in tensors) or (not tensors and _is_large(args)):
            return func(*args, **kwargs)
        with unset_fake_temporarily():
            return func(*args, **kwargs)


def _is_large(args: Sequence[Any]) -> bool:
    """Whether a factory makes more than `REAL_ELEMENTS`: its first argument is a shape, a number of elements, or an end."""
    size = args[0] if args else 0
    if isinstance(size, list | tuple):
        return math.prod(size) > REAL_ELEMENTS
    return isinstance(size, int | float) and size > REAL_ELEMENTS


def _plausible(dtype: torch.dtype) -> bool | int | float:
    """For a value nobody computed: true (the loss is finite), no hits, or 1."""
    return True if dtype == torch.bool else 1.0 if dtype.is_floating_point else 0


def _as_they_stand(values: Tensor, indices: Tensor) -> tuple[Tensor, Tensor]:
    """Unknown values count as sorted already: real indices, so that what is picked by rank is known."""
    with unset_fake_temporarily():
        return values, torch.arange(indices.shape[-1]).expand(indices.shape).contiguous()


class QuickFakes(FakeTensorMode):
    """A `FakeTensorMode` for CPU tensors that works out an operator once for operands of the same shapes, and then remembers.

    It takes real operands for fake ones of their shape.
    """

    known: ClassVar[dict[Any, tuple[tuple[Any, ...], tuple[Any, ...], torch.dtype] | Literal["view"]]] = {}
    """What operators give for operands of such shapes, in this process: it depends on nothing else."""

    def __init__(self) -> None:
        super().__init__(allow_non_fake_inputs=True)
        self._fake_of = WeakIdKeyDictionary()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return self.dispatch(func, types, args, kwargs)

    def dispatch(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if func.overloadpacket in _FUSED_STEPS:
            return None
        operands = tensors_in(args, kwargs)
        real = [t for t in operands if not isinstance(t, FakeTensor)]
        if real:
            result = self.dispatch(func, types, *tree_map_only(Tensor, self._as_fake, (args, kwargs)))
            return next((t for t in real if self._fake_of.get(t) is result), result)
        key = (func, _described(args), *((name, _described(value)) for name, value in kwargs.items()))
        known = self.known.get(key)
        if known == "view":
            with in_kernel_invocation_manager(self):
                return self.wrapped(func(*args, **kwargs))
        if known is not None:
            shape, stride, dtype = known
            return self.wrapped(torch.empty_strided(shape, stride, dtype=dtype, device="meta"))
        result = super().dispatch(func, types, args, kwargs)
        same = any(result is t for t in operands)  # as of `to` the own device, which no meta tensor is on
        if isinstance(result, FakeTensor) and not same and not func._schema.is_mutable:
            shares = result.untyped_storage()._cdata in {t.untyped_storage()._cdata for t in operands}
            self.known[key] = "view" if shares else (tuple(result.shape), result.stride(), result.dtype)
        return result

    def wrapped(self, meta: Tensor) -> Tensor:
        return FakeTensor(self, meta, torch.device("cpu"))

    def _as_fake(self, tensor: Tensor) -> Tensor:
        if isinstance(tensor, FakeTensor):
            return tensor
        if tensor not in self._fake_of:
            meta = torch.empty_strided(tensor.shape, tensor.stride(), dtype=tensor.dtype, device="meta")
            self._fake_of[tensor] = self.wrapped(meta)
        return self._fake_of[tensor]


def _described(value: Any) -> Any:
    """What of an operand the shape of a result may depend on."""
    if isinstance(value, Tensor):
        return value.shape, value.stride(), value.storage_offset(), value.dtype
    if isinstance(value, list | tuple):
        return tuple(_described(v) for v in value)
    return float if isinstance(value, float) else (type(value), value)


class Simulation:
    """``with simulation.fakes, ..., Control(): ...``: in here, large new tensors are fake."""

    def __init__(self) -> None:
        self.fakes = QuickFakes()

    def backbone(self, name: str, *, execution: str, precision: str) -> Backbone:
        """A backbone without weights, on fake CPU tensors. To be made before the simulation is entered."""
        logging.disable(logging.WARNING)  # open_clip's, that there are no weights
        try:
            with torch.device("meta"):
                backbone = load(name, "random", execution=execution, precision=precision, device="meta")
        finally:
            logging.disable(logging.NOTSET)
        with self.fakes:
            return backbone.to_empty(device="cpu")

    def empty(self, *shape: int) -> Tensor:
        """A fake float32 CPU tensor, however small."""
        with _disable_current_modes():
            meta = torch.empty(shape, device="meta")
        return self.fakes.wrapped(meta)
