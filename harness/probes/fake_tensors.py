"""Fakes: a method's own code runs on tensors that have a shape and no contents: without weights, without a GPU, in little time.

What control flow reads is kept real: labels, token ids, masks, index tensors, and whatever is computed from such small tensors
alone. What depends on weights or pixels is fake. Where code asks a fake tensor for a value all the same (a validation
score, a finite loss), it gets an answer that lets it go on.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from typing import Any, ClassVar, NamedTuple

import torch
from torch import Tensor
from torch._subclasses.fake_tensor import (
    FakeTensor,
    FakeTensorMode,
    in_kernel_invocation_manager,
    unset_fake_temporarily,
)
from torch.utils._python_dispatch import _disable_current_modes, _get_current_dispatch_mode_stack
from torch.utils.weak import WeakIdKeyDictionary

from harness.clip.backbone import Backbone, load
from harness.meters.dispatch_mode import CountingMode, EagerMode, tensors_in

REAL_ELEMENTS = 1 << 20
"""A new tensor of up to so many elements is real, until it meets a fake one."""


_CPU, _META = torch.device("cpu"), torch.device("meta")
_aten = torch.ops.aten
_DEVICE = torch.ops.prim.device.default
_SCALAR = _aten._local_scalar_dense.default
_SORTS = (_aten.sort.default, _aten.sort.stable)
_OF_META = frozenset((
    _aten.view.default, _aten._unsafe_view.default, _aten.expand.default, _aten.transpose.int, _aten.t.default,
    _aten.permute.default, _aten.slice.Tensor, _aten.select.int, _aten.unsqueeze.default, _aten.squeeze.dim,
    _aten.detach.default, _aten.split.Tensor, _aten.split_with_sizes.default, _aten.cat.default,
    _aten.index_select.default, _aten.gather.default, _aten.embedding.default, _aten.clone.default, _aten.add.Tensor,
    _aten.sub.Tensor, _aten.mul.Tensor, _aten.div.Tensor, _aten.div_.Tensor, _aten.neg.default, _aten.rsub.Scalar,
    _aten.where.self, _aten.mm.default, _aten.addmm.default, _aten.bmm.default, _aten.relu.default,
    _aten.silu.default, _aten.silu_backward.default, _aten.sigmoid.default, _aten.exp.default,
    _aten.clamp_min.default, _aten.sum.default, _aten.sum.dim_IntList, _aten.linalg_vector_norm.default,
    _aten._log_softmax.default, _aten._log_softmax_backward_data.default, _aten.slice_backward.default,
    _aten._scaled_dot_product_flash_attention_for_cpu.default,
    _aten._scaled_dot_product_flash_attention_for_cpu_backward.default, _aten.nll_loss_forward.default,
    _aten.nll_loss_backward.default, _aten.unbind.int, _aten.stack.default, _aten.index_add.default,
    _aten.threshold_backward.default, _aten.add_.Tensor, _aten.silu_.default,
))  # fmt: skip
"""Operators of which torch's kernel for tensors without contents says all: `FakeTensorMode` comes to the same by way of Python."""
_OF_META_IN_FLOAT32 = frozenset((_aten.native_layer_norm.default, _aten.native_layer_norm_backward.default))
"""The same where all operands are of float32: of other types, a CPU has a norm's statistics in its input's."""
_FUSED_STEPS = tuple(
    getattr(getattr(_aten, f"_fused_{name}_"), kind)
    for name in ("sgd", "adam", "adamw")
    for kind in ("default", "tensor_lr")
)
"""They change contents alone, in place. torch knows no shape of theirs, and would run them on real zeros."""


class Control(EagerMode):
    """Sits on a `FakeTensorMode`, above whatever counts, and keeps real what depends on nothing fake.

    Where nothing but counting modes lies between it and a `QuickFakes`, it tells all of them of an operator itself: to pass it on
    from one to the next takes several times as long.
    """

    def __enter__(self) -> Control:
        below = _get_current_dispatch_mode_stack()
        self._counting = [mode for mode in below if isinstance(mode, CountingMode)]
        self._fakes = next((mode for mode in below if isinstance(mode, QuickFakes)), None)
        if len(below) > len(self._counting) + 1:
            self._fakes = None
        return super().__enter__()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func is _DEVICE:
            return args[0].fake_device if isinstance(args[0], FakeTensor) else func(*args)
        kwargs = kwargs or {}
        tensors = tensors_in(args, kwargs)
        if FakeTensor in map(type, tensors):
            if func is _SCALAR:
                return _plausible(tensors[0].dtype)
            if self._fakes is not None and func not in _SORTS:
                result = self._fakes.quick(func, args, kwargs, tensors)
                if result is not UNSEEN:
                    for mode in self._counting:
                        mode.before(tensors)
                    for mode in self._counting:
                        mode.after(func, args, kwargs, result)
                    return result
            result = func(*args, **kwargs)
            return _as_they_stand(*result) if func in _SORTS else result
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


UNSEEN = object()
"""What comes of an operator that torch's own `FakeTensorMode` has to work out."""
_VIEW = object()
"""What comes of one whose result shares its operands' storage, and is to be made of them."""


class _New(NamedTuple):
    """A tensor that an operator makes."""

    shape: torch.Size
    stride: tuple[int, ...]
    dtype: torch.dtype


class QuickFakes(FakeTensorMode):
    """A `FakeTensorMode` for CPU tensors that works out an operator once for operands of the same shapes, and then remembers.

    It takes real operands for fake ones of their shape.
    """

    known: ClassVar[dict[Any, Any]] = {}
    """What operators give for operands of such shapes, in this process: it depends on nothing else. A `_New`, the place of an
    operand that is given back, None, a tuple of these, or `_VIEW`."""

    def __init__(self) -> None:
        super().__init__(allow_non_fake_inputs=True)
        self._fake_of = WeakIdKeyDictionary()
        self._attributes: dict[str, Any] = {}

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        return False  # as `EagerMode` has it

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        operands = tensors_in(args, kwargs)
        result = self.quick(func, args, kwargs, operands)
        if result is UNSEEN:
            result = self.dispatch(func, types, *self._faked((args, kwargs), operands))
            result = self._as_given(result, operands)
            self._remember(func, args, kwargs, operands, result)
        return result

    def quick(self, func: Any, args: Any, kwargs: Any, operands: Sequence[Tensor]) -> Any:
        """What an operator gives for operands of which some are fake, or UNSEEN."""
        if func in _FUSED_STEPS:
            return None
        known = self.known.get(_key(func, args, kwargs), UNSEEN)
        if known is UNSEEN and not _is_of_meta(func, operands):
            return UNSEEN
        with torch._C._DisableTorchDispatch():
            if known is not UNSEEN and known is not _VIEW:
                return self._again(known, operands)
            args, kwargs = self._faked((args, kwargs), operands)
            with nullcontext() if known is _VIEW else in_kernel_invocation_manager(self):  # a view reads no contents
                result = func(*args, **kwargs)
            result = self._as_given(_mapped(result, self.wrapped), operands)
        if known is UNSEEN:
            self._remember(func, args, kwargs, operands, result)
        return result

    def wrapped(self, meta: Tensor) -> Tensor:
        """A fake CPU tensor on a meta tensor's storage."""
        if isinstance(meta, FakeTensor):
            return meta
        if not self._attributes:
            self._attributes |= vars(FakeTensor(self, meta, _CPU))
        fake: Any = Tensor._make_subclass(FakeTensor, meta, False, dispatch_device=True, device_for_backend_keys=_CPU)
        vars(fake).update(self._attributes)  # which `FakeTensor` would make anew, and check, each time
        return fake

    def _again(self, known: Any, operands: Sequence[Tensor]) -> Any:
        if type(known) is _New:
            shape, stride, dtype = known
            return self.wrapped(torch.empty_strided(shape, stride, dtype=dtype, device=_META))
        if isinstance(known, int):
            return operands[known]
        return None if known is None else tuple(self._again(each, operands) for each in known)

    def _remember(self, func: Any, args: Any, kwargs: Any, operands: Sequence[Tensor], result: Any) -> None:
        if torch.Tag.inplace_view in func.tags:
            return
        kept = _kept(result, operands)
        parts = kept if type(kept) is tuple else [kept]
        if UNSEEN not in parts:
            self.known[_key(func, args, kwargs)] = _VIEW if _VIEW in parts else kept

    def _faked(self, values: Any, operands: Sequence[Tensor]) -> Any:
        """The same with real operands replaced by fake ones."""
        return _mapped(values, self._as_fake) if any(type(t) is not FakeTensor for t in operands) else values

    def _as_given(self, result: Any, operands: Sequence[Tensor]) -> Any:
        """A result, real where it is the fake of a real operand."""
        real = [t for t in operands if type(t) is not FakeTensor]
        return next((t for t in real if self._fake_of.get(t) is result), result)

    def _as_fake(self, tensor: Tensor) -> Tensor:
        if isinstance(tensor, FakeTensor):
            return tensor
        if tensor not in self._fake_of:
            meta = torch.empty_strided(tensor.shape, tensor.stride(), dtype=tensor.dtype, device="meta")
            self._fake_of[tensor] = self.wrapped(meta)
        return self._fake_of[tensor]


def _is_of_meta(func: Any, operands: Sequence[Tensor]) -> bool:
    return func in _OF_META or (func in _OF_META_IN_FLOAT32 and all(t.dtype == torch.float32 for t in operands))


def _kept(result: Any, operands: Sequence[Tensor]) -> Any:
    """What `QuickFakes.known` has of a result; UNSEEN of what is no tensor."""
    if isinstance(result, tuple | list):
        return tuple(_kept(part, operands) for part in result)
    place = next((place for place, operand in enumerate(operands) if result is operand), None)
    if result is None or place is not None:
        return place
    if not isinstance(result, FakeTensor):
        return UNSEEN
    shared = any(result.untyped_storage()._cdata == operand.untyped_storage()._cdata for operand in operands)
    return _VIEW if shared else _New(result.shape, result.stride(), result.dtype)


def _mapped(values: Any, of: Callable[[Tensor], Tensor]) -> Any:
    """Lists, tuples and mappings as operators have them, with `of` each tensor in its place."""
    if isinstance(values, Tensor):
        return of(values)
    if isinstance(values, list | tuple):
        mapped = [_mapped(value, of) for value in values]
        return mapped if isinstance(values, list) else tuple(mapped)
    if isinstance(values, dict):
        return {name: _mapped(value, of) for name, value in values.items()}
    return values


def _key(func: Any, args: Any, kwargs: Any) -> tuple[Any, ...]:
    if kwargs:
        return func, _described(args), *((name, _described(value)) for name, value in kwargs.items())
    return func, _described(args)


def _described(value: Any) -> Any:
    """What of an operand the shape of a result may depend on."""
    if isinstance(value, Tensor):
        return value.shape, value.stride(), value.storage_offset(), value.dtype
    if isinstance(value, list | tuple):
        return tuple([_described(v) for v in value])
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
