"""A block as one node of autograd, or what it does before its attention and after it as one each, with backward passes written out.

It is `harness.clip.blocks`' arithmetic in fewer operators. On small towers these are what a step takes, and on large ones layers
other than matrix products read and write less. The derivatives are those of torch's own operators.

Shapes: N rows, width D; H heads of width D / H.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, cast

import torch
from torch import Tensor, nn
from torch.autograd import Function
from torch.autograd.function import once_differentiable
from torch.nn.modules.linear import NonDynamicallyQuantizableLinear

from harness.clip.products import product

_ATEN: Any = torch.ops.aten
_ATTENTION = _ATEN._scaled_dot_product_flash_attention_for_cpu.default
_ATTENTION_BACKWARD = _ATEN._scaled_dot_product_flash_attention_for_cpu_backward.default
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


class Sight(NamedTuple):
    """What rows see of their sequence: none after their own if `causal`; all, or with `bias` (L, L) those where that is 0."""

    causal: bool = False
    bias: Tensor | None = None


def is_one_node(x: Tensor, of: Layers) -> bool:
    """Whether a block of all rows can be one node: where torch's attention of CPUs runs, and nothing of the block is trained.

    Gradients of weights would lie beside all that the block keeps until its backward pass ends, and raise the peak.
    """
    return x.is_cpu and not (torch.is_grad_enabled() and any(weight.requires_grad for weight in _weights(of)))


def whole_block(x: Tensor, of: Layers, sight: Sight) -> Tensor:
    """A block without trained weights at every row of x (*, L, D)."""
    return cast(Tensor, _WholeBlock.apply(x, of, sight, torch.is_grad_enabled()))


class _WholeBlock(Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, of: Layers, sight: Sight, grad_enabled: bool) -> Tensor:
        keeps = grad_enabled and ctx.needs_input_grad[0]
        weights, rows = _weights(of), x.reshape(-1, x.shape[-1])
        out, before = _before(rows, weights[:4], of.norm_1.eps, False)
        parts = out.view(-1, x.shape[-2], 3, of.attention.num_heads, of.attention.head_dim).unbind(2)
        q, k, v = (part.transpose(1, 2) for part in parts)
        mixed, scale = _ATTENTION(q, k, v, 0.0, sight.causal, attn_mask=sight.bias)
        kept = (q, k, v, mixed, scale, sight.bias) if keeps else ()
        del out, parts, q, k, v, scale
        mixed = mixed.transpose(1, 2).reshape(rows.shape)
        out, after = _after(rows, mixed, weights[4:], of, (keeps, keeps, *_FROZEN))
        if keeps:
            ctx.save_for_backward(*kept, *before, *after)
            ctx.activation, ctx.causal, ctx.shape = of.activation, sight.causal, x.shape
        return out.view(x.shape)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        q, k, v, mixed, scale, bias, *saved = ctx.saved_tensors
        before, after = saved[:_KEPT_BEFORE], saved[_KEPT_BEFORE:]
        of_x, of_mixed, *_ = _after_backward(grad, after, ctx.activation, (True, True, *_FROZEN))
        assert of_x is not None
        assert of_mixed is not None
        of_mixed = of_mixed.view(mixed.transpose(1, 2).shape).transpose(1, 2)
        of_heads = _ATTENTION_BACKWARD(of_mixed, q, k, v, mixed, scale, 0.0, ctx.causal, attn_mask=bias)
        del of_mixed
        of_heads = torch.stack([part.transpose(1, 2) for part in of_heads], dim=2).view(len(of_x), -1)
        through, *_ = _before_backward(of_heads, before, (True, *_FROZEN[:4]))
        assert through is not None
        return through.add_(of_x).view(ctx.shape), None, None, None


def normed_heads(x: Tensor, norm: Any, weight: Tensor, bias: Tensor, parts: int, heads: int) -> tuple[Tensor, ...]:
    """`parts` linear maps of the normalised x (*, D), one above the other in `weight` (parts D, D): (*, H, D / H) each."""
    return cast(tuple[Tensor, ...], _NormedHeads.apply(x, norm.weight, norm.bias, weight, bias, norm.eps, parts, heads))


class _NormedHeads(Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, *arguments: Any) -> tuple[Tensor, ...]:
        *weights, eps, parts, heads = arguments
        out, saved = _before(x.reshape(-1, x.shape[-1]), weights, eps, ctx.needs_input_grad[3])
        ctx.save_for_backward(*saved)
        ctx.shape = x.shape
        return out.view(*x.shape[:-1], parts, heads, -1).unbind(-3)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        grad = torch.stack(grads, dim=-3) if len(grads) > 1 else grads[0]
        of_x, *others = _before_backward(
            grad.reshape(-1, len(ctx.saved_tensors[_WEIGHT])), ctx.saved_tensors, ctx.needs_input_grad[:5]
        )
        return (None if of_x is None else of_x.view(ctx.shape), *others, None, None, None)


_WEIGHT = 5
_KEPT_BEFORE = 7
"""Of the tensors that `_before` keeps, the place of the weight, and their number."""
_FROZEN = (False,) * 8
"""What `_after` needs to know of its weights where none is trained."""


def _before(
    rows: Tensor, weights: Sequence[Tensor], eps: float, trains: bool
) -> tuple[Tensor, tuple[Tensor | None, ...]]:
    """A linear map of normalised rows (N, D), and what its derivatives need; `trains` is whether the map's weight has one."""
    norm_weight, norm_bias, weight, bias = weights
    normed, mean, rstd = torch.native_layer_norm(rows, rows.shape[-1:], norm_weight, norm_bias, eps)
    out = product(normed, weight.t(), bias)
    return out, (rows, mean, rstd, norm_weight, norm_bias, weight, normed if trains else None)


def _before_backward(grad: Tensor, saved: Sequence[Any], needs: tuple[bool, ...]) -> tuple[Tensor | None, ...]:
    """Gradients of rows and weights, as `_before` takes them."""
    rows, mean, rstd, norm_weight, norm_bias, weight, normed = saved
    of_norm = _through_norm(grad, weight, rows, mean, rstd, norm_weight, norm_bias, needs[:3])
    return (*of_norm, *_of_linear(grad, normed, needs[3:]))


def after_attention(x: Tensor, mixed: Tensor, of: Layers) -> Tensor:
    """x (*, D) and what attention made of it (*, D), through the rest of the block: (*, D)."""
    return cast(Tensor, _AfterAttention.apply(x, mixed, *_weights_after(of), of, torch.is_grad_enabled()))


class _AfterAttention(Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, mixed: Tensor, *arguments: Any) -> Tensor:
        *weights, of, grad_enabled = arguments
        needs = ctx.needs_input_grad if grad_enabled else (False,) * 10
        out, saved = _after(x.reshape(-1, x.shape[-1]), mixed.reshape(-1, x.shape[-1]), weights, of, needs)
        ctx.save_for_backward(*saved)
        ctx.activation, ctx.shape = of.activation, x.shape
        return out.view(x.shape)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        found = _after_backward(grad, ctx.saved_tensors, ctx.activation, ctx.needs_input_grad[:10])
        of_x, of_mixed = (None if each is None else each.view(ctx.shape) for each in found[:2])
        return (of_x, of_mixed, *found[2:], None, None)


def _weights(of: Layers) -> tuple[Tensor, ...]:
    before = of.norm_1.weight, of.norm_1.bias, of.attention.in_proj_weight, of.attention.in_proj_bias
    return (*before, *_weights_after(of))


def _weights_after(of: Layers) -> tuple[Tensor, ...]:
    layers = of.projection, of.norm_2, of.widening, of.narrowing
    return tuple(tensor for layer in layers for tensor in (layer.weight, layer.bias))


def _after(
    x: Tensor, mixed: Tensor, weights: Sequence[Tensor], of: Layers, needs: Sequence[bool]
) -> tuple[Tensor, tuple[Tensor | None, ...]]:
    """The rest of a block for rows x and mixed (N, D), and what its derivatives need; `needs` has the order of the operands."""
    projection, projection_bias, norm_weight, norm_bias, widening, widening_bias, narrowing, narrowing_bias = weights
    activation, scale = of.activation, of.activation.scale
    middle = product(mixed, projection.t(), projection_bias).add_(x)
    normed, mean, rstd = torch.native_layer_norm(middle, middle.shape[-1:], norm_weight, norm_bias, of.norm_2.eps)
    wide = product(normed, widening.t(), widening_bias, alpha=scale, beta=scale)
    kept_normed = normed if needs[6] else None
    del normed
    active = (activation.of if any(needs) else activation.in_place)(wide)
    out = product(active, narrowing.t(), narrowing_bias, alpha=1 / scale).add_(middle)
    inputs = mixed if needs[2] else None, kept_normed, active if needs[8] else None
    return out, (middle, mean, rstd, wide, projection, norm_weight, norm_bias, widening, narrowing, *inputs)


def _after_backward(
    grad: Tensor, saved: Sequence[Any], activation: _Activation, needs: tuple[bool, ...]
) -> tuple[Tensor | None, ...]:
    """Gradients of what `_after` takes, in its order."""
    middle, mean, rstd, wide, projection, norm_weight, norm_bias, widening, narrowing, mixed, normed, active = saved
    grad = grad.reshape(middle.shape)
    of_narrowing = _of_linear(grad, active, needs[8:10], 1 / activation.scale)
    of_wide = activation.gradient(product(grad, narrowing), wide)  # both scales cancel out
    of_widening = _of_linear(of_wide, normed, needs[6:8])
    below = any(needs[:4])
    of_middle, *of_norm = _through_norm(
        of_wide, widening, middle, mean, rstd, norm_weight, norm_bias, (below, *needs[4:6])
    )
    del of_wide
    of_mixed = None
    of_projection: tuple[Tensor | None, ...] = (None, None)
    if of_middle is not None:
        of_middle.add_(grad)
        of_projection = _of_linear(of_middle, mixed, needs[2:4])
        of_mixed = product(of_middle, projection) if needs[1] else None
    return (of_middle if needs[0] else None, of_mixed, *of_projection, *of_norm, *of_widening, *of_narrowing)


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
        product(grad, weight), rows, rows.shape[-1:], mean, rstd, norm_weight, norm_bias, list(needs)
    )
    return cast(tuple[Tensor | None, Tensor | None, Tensor | None], found)


def _of_linear(
    grad: Tensor, rows: Tensor | None, needs: tuple[bool, ...], scale: float = 1.0
) -> tuple[Tensor | None, Tensor | None]:
    """Gradients of a linear map's weight, `scale` times, and of its bias, from that of its output and from its input."""
    weight = None
    if needs[0]:
        assert rows is not None
        weight = product(grad.t(), rows, alpha=scale)
    return weight, grad.sum(0) if needs[1] else None
