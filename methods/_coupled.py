"""Text prompts of several depths with a linear map each to the image tower, as the layer summary of published costs sees them."""

from __future__ import annotations

from harness.published_estimate import Forward, linear_bytes


def coupled_prompts(length: int, depth: int, *, frozen_image_tower: bool = False, adapter_bytes: int = 0) -> Forward:
    """`length` prompts a depth; the first map in half precision, the others in full."""
    first, other = (linear_bytes(512, 768, rows=length, element=element) for element in (2, 4))
    return Forward(
        image_prompts=length,
        frozen_image_tower=frozen_image_tower,
        module_bytes=first + (depth - 1) * other + adapter_bytes,
    )
