"""Text prompts of several depths with a linear map each to the image tower, as the layer summary of published costs sees them."""

from __future__ import annotations

from harness.published_estimate import linear_bytes


def coupled_maps_bytes(length: int, depth: int) -> int:
    """The maps of `length` prompts a depth; the first in half precision, the others in full."""
    first, other = (linear_bytes(512, 768, rows=length, element=element) for element in (2, 4))
    return first + (depth - 1) * other
