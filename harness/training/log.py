"""What a training leaves behind besides weights: raw times, losses and counts."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass
class TrainingLog:
    """What training left behind. Step times are of ready batches, in seconds; the loss of an epoch is the mean over its steps.

    load_seconds: waiting for the steps' batches (decoding, augmentation, copies). extract_seconds: features in bulk, with
    the decoding of their images. No second counts twice.
    """

    step_seconds: list[float] = field(default_factory=list)
    epoch_losses: list[float] = field(default_factory=list)
    load_seconds: float = 0.0
    extract_seconds: float = 0.0
    images_seen: int = 0
