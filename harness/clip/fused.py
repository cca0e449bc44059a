"""What a block does before its attention and after it, each as one node of autograd, with a backward pass written out.

It is `harness.clip.blocks`' arithmetic in fewer operators. On small towers these are what a step takes, and on large ones layers
other than matrix products read and write less. The derivatives are those of torch's own operators.

Shapes: N rows, width D; H heads of width D / H.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple, cast

import torch
from torch import Tensor, nn
from torch.autograd import Function
from torch.autograd.function import once_differentiable
from torch.nn.modules.linear import NonDynamicallyQuantizableLinear

_ATEN: Any = torch.ops.aten
_LAYER_NORMS = ("torch.nn.modules.normalization.LayerNorm", "open_clip.transformer.LayerNorm")


class _Activation(NamedTuple):
    """``of(scale * x) / scale``, and the gradient of `of` from that of its output and its input."""

    of: Callable[[Tensor], Tensor]
    in_place: Callable[[Tensor], Tensor]
    gradient: Callable[[Tensor, Tensor], Tensor]
    scale: float = 1.0


_ACTIVATIONS = {
    "QuickGELU": _Activation(_ATEN.silu, _ATEN.silu_, _ATEN.silu_backward, 1.702),
    "GELU": _Activation(_ATEN.gelu, _ATEN.gelu_, _ATEN.gelu_backward),
}


class Layers(NamedTuple):
    """The layers of a block that is open_clip's to the letter."""

    norm_1: Any
    attention: Any
    projection: Any
    norm_2: Any
    widening: Any
    narrowing: Any
    activation: _Activation


def layers(block: Any, x: Tensor) -> Layers | None:
    """The block's layers; None where they have to be called: what is wrapped, watched, cast or not open_clip's own."""
    parts = block._modules
    norms, attention, mlp = (parts["ln_1"], parts["ln_2"]), parts["attn"], parts["mlp"]
    if not (
        all(_name(each) in _LAYER_NORMS for each in norms)
        and type(attention) is nn.MultiheadAttention
        and [*mlp._modules] == ["c_fc", "gelu", "c_proj"]
        and type(parts["ls_1"]) is type(parts["ls_2"]) is nn.Identity
    ):
        return None
    widening, gelu, narrowing = mlp
    activation = _ACTIVATIONS.get(type(gelu).__name__)
    linear = attention.out_proj, widening, narrowing
    watched = (block, attention, mlp, gelu, *norms, *linear)
    if (
        activation is None
        or getattr(gelu, "approximate", "none") != "none"
        or not type(widening) is type(narrowing) is nn.Linear
        or type(linear[0]) is not NonDynamicallyQuantizableLinear
        or any(each._forward_hooks or each._forward_pre_hooks or each._backward_hooks for each in watched)
        or any(each.weight.dtype != x.dtype for each in (*norms, *linear))
        or (torch.amp.is_autocast_available(x.device.type) and torch.is_autocast_enabled(x.device.type))
    ):
        return None
    return Layers(norms[0], attention, linear[0], norms[1], widening, narrowing, activation)


def _name(module: nn.Module) -> str:
    return f"{type(module).__module__}.{type(module).__name__}"


def normed_heads(x: Tensor, norm: Any, weight: Tensor, bias: Tensor, parts: int, heads: int) -> tuple[Tensor, ...]:
    """`parts` linear maps of the normalised x (*, D), one above the other in `weight` (parts D, D): (*, H, D / H) each."""
    return cast(tuple[Tensor, ...], _NormedHeads.apply(x, norm.weight, norm.bias, weight, bias, norm.eps, parts, heads))


class _NormedHeads(Function):
    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        norm_weight: Tensor,
        norm_bias: Tensor,
        weight: Tensor,
        bias: Tensor,
        eps: float,
        parts: int,
        heads: int,
    ) -> tuple[Tensor, ...]:
        rows = x.reshape(-1, x.shape[-1])
        normed, mean, rstd = torch.native_layer_norm(rows, rows.shape[-1:], norm_weight, norm_bias, eps)
        out = torch.addmm(bias, normed, weight.t())
        kept = normed if ctx.needs_input_grad[3] else None
        ctx.save_for_backward(rows, mean, rstd, norm_weight, norm_bias, weight, kept)
        ctx.shape = x.shape
        return out.view(*x.shape[:-1], parts, heads, -1).unbind(-3)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        rows, mean, rstd, norm_weight, norm_bias, weight, normed = ctx.saved_tensors
        needs = ctx.needs_input_grad
        grad = (torch.stack(grads, dim=-3) if len(grads) > 1 else grads[0]).reshape(-1, len(weight))
        of_norm = _through_norm(grad, weight, rows, mean, rstd, norm_weight, norm_bias, needs[:3])
        of_x = None if of_norm[0] is None else of_norm[0].view(ctx.shape)
        return (of_x, *of_norm[1:], *_of_linear(grad, normed, needs[3:5]), None, None, None)


def after_attention(x: Tensor, mixed: Tensor, of: Layers) -> Tensor:
    """x (*, D) and what attention made of it (*, D), through the rest of the block: (*, D)."""
    return cast(
        Tensor,
        _AfterAttention.apply(
            x,
            mixed,
            of.projection.weight,
            of.projection.bias,
            of.norm_2.weight,
            of.norm_2.bias,
            of.widening.weight,
            of.widening.bias,
            of.narrowing.weight,
            of.narrowing.bias,
            of.norm_2.eps,
            of.activation,
            torch.is_grad_enabled(),
        ),
    )


class _AfterAttention(Function):
    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        mixed: Tensor,
        projection: Tensor,
        projection_bias: Tensor,
        norm_weight: Tensor,
        norm_bias: Tensor,
        widening: Tensor,
        widening_bias: Tensor,
        narrowing: Tensor,
        narrowing_bias: Tensor,
        eps: float,
        activation: _Activation,
        grad_enabled: bool,
    ) -> Tensor:
        needs = ctx.needs_input_grad
        scale = activation.scale
        rows = mixed.reshape(-1, x.shape[-1])
        middle = torch.addmm(projection_bias, rows, projection.t()).add_(x.reshape(rows.shape))
        normed, mean, rstd = torch.native_layer_norm(middle, middle.shape[-1:], norm_weight, norm_bias, eps)
        wide = torch.addmm(widening_bias, normed, widening.t(), beta=scale, alpha=scale)
        kept_normed = normed if needs[6] else None
        del normed
        active = (activation.of if grad_enabled and any(needs) else activation.in_place)(wide)
        out = torch.addmm(narrowing_bias, active, narrowing.t(), alpha=1 / scale).add_(middle)
        ctx.save_for_backward(
            middle,
            mean,
            rstd,
            wide,
            projection,
            norm_weight,
            norm_bias,
            widening,
            narrowing,
            rows if needs[2] else None,
            kept_normed,
            active if needs[8] else None,
        )
        ctx.activation, ctx.shape = activation, x.shape
        return out.view(x.shape)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        middle, mean, rstd, wide, projection, norm_weight, norm_bias, widening, narrowing, rows, normed, active = (
            ctx.saved_tensors
        )
        needs = ctx.needs_input_grad
        grad = grad.reshape(middle.shape)
        of_narrowing = _of_linear(grad, active, needs[8:10], 1 / ctx.activation.scale)
        of_wide = ctx.activation.gradient(grad.mm(narrowing), wide)  # both scales cancel out
        of_widening = _of_linear(of_wide, normed, needs[6:8])
        below = any(needs[:4])
        of_middle, *of_norm = _through_norm(
            of_wide, widening, middle, mean, rstd, norm_weight, norm_bias, (below, *needs[4:6])
        )
        del of_wide
        of_x = of_mixed = None
        of_projection: tuple[Tensor | None, ...] = (None, None)
        if of_middle is not None:
            of_middle.add_(grad)
            of_projection = _of_linear(of_middle, rows, needs[2:4])
            of_mixed = of_middle.mm(projection).view(ctx.shape) if needs[1] else None
            of_x = of_middle.view(ctx.shape) if needs[0] else None
        return (of_x, of_mixed, *of_projection, *of_norm, *of_widening, *of_narrowing, None, None, None)


def _through_norm(
    grad: Tensor,
    weight: Tensor,
    rows: Tensor,
    mean: Tensor,
    rstd: Tensor,
    norm_weight: Tensor,
    norm_bias: Tensor,
    needs: tuple[bool, ...],
) -> tuple[Tensor | None, Tensor | None, Tensor | None]:
    """Gradients of a norm's input (N, D), weight and bias, from that of a linear map of its output (N, parts D)."""
    if not any(needs):
        return None, None, None
    found = _ATEN.native_layer_norm_backward(
        grad.mm(weight), rows, rows.shape[-1:], mean, rstd, norm_weight, norm_bias, list(needs)
    )
    return cast(tuple[Tensor | None, Tensor | None, Tensor | None], found)


def _of_linear(
    grad: Tensor, rows: Tensor | None, needs: tuple[bool, ...], scale: float = 1.0
) -> tuple[Tensor | None, Tensor | None]:
    """Gradients of a linear map's weight, `scale` times, and of its bias, from that of its output and from its input."""
    weight = None
    if needs[0]:
        assert rows is not None
        weight = grad.t().mm(rows)
        weight = weight if scale == 1.0 else weight.mul_(scale)
    return weight, grad.sum(0) if needs[1] else None
