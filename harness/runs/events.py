"""What a run tells while it is under way: the runner emits events, a pipe carries them, a display shows them.

Whoever reads them matches on `Event` and ends in `assert_never`, so that mypy names the places that a new event or phase lacks.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from harness import records

Phase = records.Phase | Literal["memory", "analysis", "profile", "saving", "simulation"]
"""All that a run goes through. Those of `records.Phase` are measured, the others stand outside every window."""


@dataclass(frozen=True, slots=True)
class PhaseStarted:
    """A phase begins, and the one before it is over."""

    phase: Phase


@dataclass(frozen=True, slots=True)
class EpochEnded:
    """An epoch of training is over: its number from 1 on, of how many, its mean loss, and the images seen in all of training."""

    epoch: int
    epochs: int
    loss: float
    images: int


@dataclass(frozen=True, slots=True)
class TestEnded:
    """A test is scored, in percent of its images."""

    test: str
    accuracy_percent: float


Event = PhaseStarted | EpochEnded | TestEnded
