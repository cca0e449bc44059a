"""What runs compute on, and which may share it: those that are about time share no device unless they are told to."""

from __future__ import annotations

import os
from collections.abc import Sequence

from harness.errors import ConfigError
from harness.plan import PlannedRun
from harness.runs.claims import Claims


def are_timed(runs: Sequence[PlannedRun]) -> bool:
    """Whether some of the runs are about time."""
    return any(run.profile and not run.key.simulated for run in runs)


def slots(runs: Sequence[PlannedRun], gpus: Sequence[str], jobs: int, share_device: bool = False) -> list[str | None]:
    """Where `jobs` runs at a time compute: the UUID of the GPU that each is to see, None for the only device there is.

    Raises ConfigError where runs that are about time would share a device.
    """
    devices = max(1, len(gpus))
    if jobs > devices and not share_device and are_timed(runs):
        shared = "the processor" if not gpus else "a GPU" if devices == 1 else f"{devices} GPUs"
        raise ConfigError(
            f"--jobs {jobs} would have runs that are about time share {shared}: none would take as long as alone.",
            f"Use --jobs {devices}, or --share-device: the records will say how many runs were under way.",
        )
    if jobs == 1 or len(gpus) <= 1:
        return [None] * jobs
    return [gpus[number % len(gpus)] for number in range(jobs)]


def devices_of(slots: Sequence[str | None], gpus: Sequence[str]) -> list[str]:
    """What slots stand for: UUIDs of GPUs; without any, the processors that this process may use."""
    if gpus:
        return sorted({slot or gpus[0] for slot in slots})
    allowed = os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else range(os.cpu_count() or 1)
    return [f"processor {number}" for number in sorted(allowed)]


def require_device_for(runs: Sequence[PlannedRun], devices: Sequence[str], claims: Claims, share: bool) -> None:
    """Let others know of the devices. Raises ConfigError where runs about time, here or of another process, would share one."""
    in_the_way = claims.compute_on(devices, alone=are_timed(runs) and not share)
    if in_the_way and not share:
        other = in_the_way[0]
        whose = "its runs are" if other.alone else "these runs are"
        raise ConfigError(
            f"process {other.pid}, another adaptbench, is at work on the same device, and {whose} about time: none would take as "
            "long as alone.",
            "Wait for its end, choose another --device, or add --share-device: the records will say how many runs were under way.",
        )
