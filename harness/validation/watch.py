"""What a method does to what all of a process shares, by the line of its own that does it."""

from __future__ import annotations

import io
import random
import re
import sys
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
import torch

from harness.errors import AdaptBenchError, MethodError
from harness.runs.torch_state import unchanged_by
from harness.validation.source import Place, Source

_SEEDS: tuple[tuple[Any, str, str], ...] = (
    (torch, "manual_seed", "torch.manual_seed"),
    (torch.random, "manual_seed", "torch.manual_seed"),
    (random, "seed", "random.seed"),
    (np.random, "seed", "numpy.random.seed"),
)


class Watch:
    """While it is entered, what a method prints and which seeds it sets is noted, and neither is done; `found` has it, each once.

    What it changes of torch is put back.
    """

    def __init__(self, name: str, source: Source) -> None:
        self._name, self._source = name, source
        self.found: dict[Place, MethodError] = {}
        self._kept: list[tuple[Any, str, Any]] = []

    def __enter__(self) -> Watch:
        for owner, name, called in _SEEDS:
            self._put(owner, name, self._noting_seeds(getattr(owner, name), called))
        self._put(sys, "stdout", _Heard(sys.stdout, self._print))
        self._torch = unchanged_by(self._name)
        self._torch.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for owner, name, before in reversed(self._kept):
            setattr(owner, name, before)
        self._kept.clear()
        try:
            self._torch.__exit__(None, None, None)
        except AdaptBenchError as changed:
            place = self._source.place(re.findall(r"torch\.(\w+)", changed.what))
            self.found[place] = MethodError(changed.what, changed.advice)

    def _put(self, owner: Any, name: str, instead: Any) -> None:
        self._kept.append((owner, name, getattr(owner, name)))
        setattr(owner, name, instead)

    def _noting_seeds(self, function: Callable[..., Any], called: str) -> Callable[..., Any]:
        def seeded(*args: Any, **kwargs: Any) -> Any:
            place = self._users_line()
            if place is None:
                return function(*args, **kwargs)
            self.found[place] = MethodError(
                f"it seeds the generator of the whole process, by {called}: every seed of a suite would draw the same.",
                "Leave it out: each run is seeded before the model is made. Random numbers of its own come from a torch.Generator "
                "that is seeded by a draw: torch.Generator().manual_seed(int(torch.randint(2**31, ()))).",
            )
            return None

        return seeded

    def _print(self, text: str) -> bool:
        place = self._users_line()
        if place is not None and place not in self.found:
            self.found[place] = MethodError(
                f"it prints to standard output: {text.strip()[:40]!r}. There it gets into --json and into the display of runs.",
                "Leave it out, or say it by warnings.warn, which the record keeps.",
            )
        return place is not None

    def _users_line(self) -> Place | None:
        """The line of the method's own files that makes this call; None where the harness does."""
        frame = sys._getframe(2)
        while frame is not None:
            file = frame.f_code.co_filename
            if file in self._source.files:
                return Place(Path(file), frame.f_lineno)
            if Path(file).is_relative_to(_HARNESS) and Path(file).parent != _HARNESS / "validation":
                return None
            frame = frame.f_back  # type: ignore[assignment]
        return None


_HARNESS = Path(__file__).resolve().parents[1]


class _Heard(io.TextIOBase):
    """A stream that asks of every text whether it is to be kept back."""

    def __init__(self, stream: Any, heard: Callable[[str], bool]) -> None:
        self._stream, self._heard = stream, heard

    def write(self, text: str) -> int:
        return len(text) if self._heard(text) else self._stream.write(text)

    def flush(self) -> None:
        self._stream.flush()
