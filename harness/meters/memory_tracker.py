"""Ledger: the exact peak of live tensor bytes by category and phase, counted where tensors are born and die.

Every operator's outputs are looked at; a storage not seen before adds its bytes, rounded up to the 512 that CUDA's allocator
hands out, and takes them away again when it is freed. It works the same on real and on fake tensors. It costs some 20
microseconds an operator, so it runs in a pass of its own and never inside a timed window.
"""

from __future__ import annotations

import weakref
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Literal

import torch
from torch import Tensor
from torch.optim.optimizer import (
    Optimizer,
    register_optimizer_step_post_hook,
    register_optimizer_step_pre_hook,
)
from torch.utils._python_dispatch import _get_current_dispatch_mode_stack
from torch.utils._pytree import tree_leaves

from harness.meters.dispatch_mode import CountingMode, tensors_in

GRANULE_BYTES = 512

Category = Literal[
    "parameters", "buffers", "inputs", "activations", "temporaries", "gradients", "optimizer state", "host"
]
"""Activations are born in a forward pass; temporaries in a backward pass or in an optimiser; inputs come from outside. "host" is
what a run on a GPU keeps in the host's memory."""


@dataclass
class Peak:
    """The most bytes that lived at once, and of which category they were."""

    total_bytes: int = 0
    category_bytes: dict[Category, int] = field(default_factory=dict)


@dataclass(frozen=True)
class Excess:
    """What some work had at its peak beyond what lived before it, in all and by category, and the bytes of all its storages."""

    total_bytes: int
    category_bytes: dict[Category, int]
    allocated_bytes: int


class Ledger(CountingMode):
    """Context in which tensor bytes are counted. `peak_bytes` is the high-water mark since the last `reset_peak`.

    `peaks` has the peak of every phase since then. `allocated_bytes` is the sum of all storages born in here, also of those
    that are freed again. With `host_apart`, what the harness keeps in host memory counts in its category only: the total is a
    GPU's.
    """

    def __init__(self, existing: Iterable[Tensor] = (), *, host_apart: bool = False) -> None:
        super().__init__()
        self.live: dict[Category, int] = {}
        self.live_bytes = 0
        self.allocated_bytes = 0
        self.phase = "setup"
        self.peaks: dict[str, Peak] = {}
        self.host_peak_bytes = 0
        self._host_apart = host_apart
        self.birth: Category = "activations"
        self._seen: dict[int, list[Any]] = {}  # a weak reference to a storage, its bytes and category
        self._hooks: dict[int, Any] = {}
        self.reset_peak()
        for tensor in existing:
            self._add(tensor, "parameters" if isinstance(tensor, torch.nn.Parameter) else "buffers")

    @property
    def peak_bytes(self) -> int:
        return max(peak.total_bytes for peak in self.peaks.values())

    def reset_peak(self) -> None:
        self.peaks = {}
        self._count(0, "activations")

    def enter_phase(self, name: str, birth: Category) -> None:
        self.phase, self.birth = name, birth
        self._count(0, birth)

    def excess_of(self, work: Callable[[], Sequence[Tensor]]) -> Excess | None:
        """Do some work in the phase there is. None where it leaves more than its results, and so would not cost the same again."""
        live, live_bytes, allocated_bytes, peaks = dict(self.live), self.live_bytes, self.allocated_bytes, self.peaks
        self.reset_peak()
        results = work()
        ((phase, peak),) = self.peaks.items()
        self.peaks = peaks
        if peak.total_bytes > peaks[phase].total_bytes:
            peaks[phase] = peak
        left = {category: size for category in self.live if (size := self.live[category] - live.get(category, 0))}
        ours: Counter[Category] = Counter()
        for _, size, category in (self._seen[result.untyped_storage()._cdata] for result in results):
            ours[category] += size
        if left != ours:
            return None
        grown = {category: size - live.get(category, 0) for category, size in peak.category_bytes.items()}
        more = {category: size for category, size in grown.items() if size}
        return Excess(peak.total_bytes - live_bytes, more, self.allocated_bytes - allocated_bytes)

    def count_again(self, excess: Excess, make: Callable[[], Tensor]) -> Tensor:
        """Count work that costs what `excess` says; `make` gives its results, and nothing else."""
        peak = self.peaks[self.phase]
        if self.live_bytes + excess.total_bytes > peak.total_bytes:
            more = excess.category_bytes
            live = {category: self.live.get(category, 0) + more.get(category, 0) for category in self.live | more}
            self.peaks[self.phase] = Peak(self.live_bytes + excess.total_bytes, live)
        allocated_bytes = self.allocated_bytes
        result = make()
        self.allocated_bytes = allocated_bytes + excess.allocated_bytes
        return result

    def move(self, tensors: Iterable[Tensor | None], category: Category) -> None:
        """From now on these tensors are of another category."""
        for tensor in tensors:
            if tensor is not None:
                self._add(tensor, category)
                entry = self._seen[tensor.untyped_storage()._cdata]
                self._count(-entry[1], entry[2])
                entry[2] = category
                self._count(entry[1], category)

    def before(self, operands: list[Tensor]) -> None:
        for tensor in operands:
            self._add(tensor, "inputs")

    def after(self, func: Any, args: Any, kwargs: Mapping[str, Any], result: Any) -> None:
        birth: Category = "temporaries" if torch._C._current_graph_task_id() != -1 else self.birth
        for tensor in tensors_in((result,)):
            self.allocated_bytes += self._add(tensor, birth)

    def _add(self, tensor: Tensor, category: Category) -> int:
        """The bytes of its storage, 0 if that is known already."""
        storage = tensor.untyped_storage()
        key = storage._cdata
        if key in self._seen:
            return 0
        size = _rounded(storage.nbytes())
        self._seen[key] = [weakref.ref(storage, partial(self._drop, key)), size, category]
        self._count(size, category)
        return size

    def _drop(self, key: int, storage: object) -> None:
        _, size, category = self._seen.pop(key)
        self._count(-size, category)

    def _count(self, size: int, category: Category) -> None:
        self.live[category] = self.live.get(category, 0) + size
        if category == "host":
            self.host_peak_bytes = max(self.host_peak_bytes, self.live[category])
        if category != "host" or not self._host_apart:
            self.live_bytes += size
        if self.phase not in self.peaks:
            self.peaks[self.phase] = Peak()
        if self.live_bytes > self.peaks[self.phase].total_bytes:
            self.peaks[self.phase] = Peak(self.live_bytes, dict(self.live))

    def __enter__(self) -> Ledger:
        self._hooks[0] = register_optimizer_step_pre_hook(self._before_step)
        self._hooks[1] = register_optimizer_step_post_hook(self._after_step)
        return super().__enter__()

    def __exit__(self, *exc: Any) -> None:
        super().__exit__(*exc)
        for hook in self._hooks.values():
            hook.remove()
        self._seen.clear()

    def watch(self, parameters: Iterable[torch.nn.Parameter]) -> None:
        """Count these as parameters, and what a backward pass leaves on them as gradients."""
        for parameter in parameters:
            if id(parameter) not in self._hooks:
                self.move([parameter], "parameters")
                if parameter.requires_grad:
                    hook = parameter.register_post_accumulate_grad_hook(lambda p: self.move([p.grad], "gradients"))
                    self._hooks[id(parameter)] = hook

    def _before_step(self, optimizer: Optimizer, args: Any, kwargs: Any) -> None:
        parameters = [p for group in optimizer.param_groups for p in group["params"]]
        self.watch(parameters)
        self.move((p.grad for p in parameters), "gradients")
        self.birth = "temporaries"

    def _after_step(self, optimizer: Optimizer, args: Any, kwargs: Any) -> None:
        self.birth = "activations"
        self.move((t for t in tree_leaves(list(optimizer.state.values())) if isinstance(t, Tensor)), "optimizer state")


def _rounded(size: int) -> int:
    return -(-size // GRANULE_BYTES) * GRANULE_BYTES


class SavedBytes(torch.autograd.graph.saved_tensors_hooks):
    """Context in which `total_bytes` counts what autograd keeps for the backward pass: each storage once, `weights` not."""

    def __init__(self, weights: Iterable[Tensor]) -> None:
        super().__init__(self._pack, lambda tensor: tensor)
        self.total_bytes = 0
        self._weights = {weight.untyped_storage()._cdata for weight in weights}
        self._seen: dict[int, Any] = {}  # a storage's finalizer: another may come to lie at its place

    def __enter__(self) -> SavedBytes:  # type: ignore[override]
        super().__enter__()
        return self

    def _pack(self, tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        key = storage._cdata
        if key not in self._weights and key not in self._seen:
            self._seen[key] = weakref.finalize(storage, self._seen.pop, key)
            self.total_bytes += storage.nbytes()
        return tensor.detach()


def ledgers() -> list[Ledger]:
    """The ledgers that count here and now: none in a timed run."""
    return [mode for mode in _get_current_dispatch_mode_stack() if isinstance(mode, Ledger)]


@contextmanager
def phase(name: str, birth: Category = "activations") -> Iterator[None]:
    """What happens in here belongs to a phase; new tensors are of the category `birth`. Nothing where no ledger counts."""
    counting = [(ledger, ledger.phase, ledger.birth) for ledger in ledgers()]
    for ledger, _, _ in counting:
        ledger.enter_phase(name, birth)
    try:
        yield
    finally:
        for ledger, name_before, birth_before in counting:
            ledger.enter_phase(name_before, birth_before)


def in_host_memory(tensor: Tensor) -> Tensor:
    """The same tensor, known to the ledgers that count here as one that lies in host memory."""
    for ledger in ledgers():
        ledger.move([tensor], "host")
    return tensor


def on_device(tensor: Tensor) -> Tensor:
    """The same tensor, known to the ledgers that count here as a weight on the device."""
    for ledger in ledgers():
        ledger.move([tensor], "parameters")
    return tensor


def model_tensors(model: torch.nn.Module) -> list[Tensor]:
    """Parameters and buffers, each storage once."""
    return [*model.parameters(), *model.buffers()]
