"""What all of a process's torch shares, and a record states: a method that changes it is refused by name."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch

from harness.errors import AdaptBenchError

_STATE: Mapping[str, tuple[Callable[[], Any], Callable[[Any], object]]] = {
    "torch.set_num_threads": (torch.get_num_threads, torch.set_num_threads),
    "torch.set_default_dtype": (torch.get_default_dtype, torch.set_default_dtype),
    "torch.set_default_device": (torch.get_default_device, torch.set_default_device),
    "torch.set_float32_matmul_precision": (
        torch.get_float32_matmul_precision,
        torch.set_float32_matmul_precision,
    ),
    "torch.use_deterministic_algorithms": (
        torch.are_deterministic_algorithms_enabled,
        torch.use_deterministic_algorithms,
    ),
    "torch.set_grad_enabled": (torch.is_grad_enabled, torch.set_grad_enabled),
}


@contextmanager
def unchanged_by(method: str) -> Iterator[None]:
    """Whatever happens in here, torch's shared state is put back. Raises AdaptBenchError where that was needed."""
    before = {name: get() for name, (get, _) in _STATE.items()}
    changed: dict[str, Any] = {}
    try:
        yield
    finally:
        for name, (get, put_back) in _STATE.items():
            if get() != before[name]:
                changed[name] = get()
                put_back(before[name])
    if changed:
        calls = ", ".join(f"{name}({value})" for name, value in changed.items())
        raise AdaptBenchError(
            f"'{method}' changes what all of torch shares: {calls}.",
            "The record would state what was not so, and other methods are not measured like that. Leave it as it is.",
        )
