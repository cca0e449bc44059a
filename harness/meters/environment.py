"""The machine and the software of a run, as the record keeps them."""

from __future__ import annotations

import hashlib
import os
import platform
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import psutil

from harness.git import run_git
from harness.records import Environment

_NO_LIMIT_BYTES = 1 << 60
_PACKAGES = ("adaptbench", "torch", "torchvision", "open_clip_torch", "timm", "numpy", "pillow", "nvidia-ml-py")

SMALL_LAYER = 128 * 512
"""Weights of the largest layer of towers that are 128 wide."""


def describe(device: str, threads: int, driver: str | None = None) -> Environment:
    """What this process sees of its machine; of a GPU only what torch, already loaded and running there, can tell.

    The host's name is kept as a digest: enough to tell machines apart.
    """
    return Environment(
        hostname_sha256=host_sha256(),
        platform=platform.platform(),
        python=platform.python_version(),
        versions={name: found for name in _PACKAGES if (found := _version(name))},
        cpu=cpu_model(),
        cpu_count=psutil.cpu_count(),
        threads=threads,
        omp_wait_policy=os.environ.get("OMP_WAIT_POLICY"),
        memory_bytes=psutil.virtual_memory().total,
        device=device,
        driver=driver,
        allocator=os.environ.get("PYTORCH_ALLOC_CONF") or os.environ.get("PYTORCH_CUDA_ALLOC_CONF"),
        load_average=os.getloadavg()[0] if hasattr(os, "getloadavg") else None,
        **_commit(),
        **_cuda(device),
    )


def host_sha256() -> str:
    """Digest of the host's name."""
    return hashlib.sha256(platform.node().encode()).hexdigest()


def cpu_threads() -> int:
    """Threads a run computes with: OMP_NUM_THREADS, else one a physical core this process may use, also within a container.

    Fixed, so that results are bit-identical.
    """
    said = said_threads()
    if said is not None:
        return said
    allowed = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, min(allowed, psutil.cpu_count(logical=False) or allowed, int(cgroup_processors() or allowed)))


def said_threads() -> int | None:
    """What OMP_NUM_THREADS says, if it says a number."""
    said = os.environ.get("OMP_NUM_THREADS", "").partition(",")[0].strip()
    return int(said) if said.isdecimal() and int(said) else None


def wait_briefly() -> None:
    """Have idle threads look for work for microseconds, then sleep: to be called before torch is imported.

    What the user's variables say holds. To sleep at once makes a step of width 384 take 1.4 times as long on two quiet cores; to
    look ten times as long makes one of width 512 take twice as long where another program computes on one of them: docs/cost.md.
    """
    if os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE").upper() == "PASSIVE":
        os.environ.setdefault("GOMP_SPINCOUNT", "1000")


def best_threads(largest_layer: int) -> int:
    """Threads that serve a run best on a backbone of so many weights in its largest layer: one where operators are small, else all.

    A second thread makes steps of width 128 take longer, of most methods, and of width 192 on shorter, of all: docs/cost.md has the
    measurement. OMP_NUM_THREADS comes first.
    """
    if said_threads() is None and largest_layer <= SMALL_LAYER:
        return 1
    return cpu_threads()


@cache
def cgroup_processors(root: Path = Path("/")) -> float | None:
    """The processor time per time that this process's cgroups let it have, of version 1 or 2; None where they set no limit."""
    return min((limit for folder in _cgroups(root, "cpu") for limit in _quota(folder)), default=None)


def cgroup_memory_bytes(root: Path = Path("/")) -> int | None:
    """The memory that this process's cgroups let it have, of version 1 or 2; None where they set no limit."""
    return min((limit for folder in _cgroups(root, "memory") for limit in _memory_limit(folder)), default=None)


def _cgroups(root: Path, controller: str) -> Iterator[Path]:
    """The folders of this process's cgroups that may limit it, up to the mount.

    In a container the path that the kernel tells may be the host's, which isn't there: the mount's own folder counts then.
    """
    try:
        lines = (root / "proc/self/cgroup").read_text().splitlines()
    except OSError:
        return
    for number, controllers, path in (line.split(":", 2) for line in lines if line.count(":") >= 2):
        mounts = ("", "unified") if number == "0" else (controllers,) if controller in controllers.split(",") else ()
        for mount in mounts:
            home = root / "sys/fs/cgroup" / mount
            below = home / path.strip("/")
            yield from (folder for folder in (below, *below.parents) if folder.is_relative_to(home))


def _quota(folder: Path) -> list[float]:
    """A cgroup's own limit, in processors, if it has one."""
    try:
        if (folder / "cpu.max").exists():
            quota, period = (folder / "cpu.max").read_text().split()
        else:
            quota, period = ((folder / f"cpu.cfs_{name}_us").read_text().strip() for name in ("quota", "period"))
        return [int(quota) / int(period)] if quota not in ("max", "-1") else []
    except (OSError, ValueError, ZeroDivisionError):
        return []


def _memory_limit(folder: Path) -> list[int]:
    """A cgroup's own limit, in bytes, if it has one; version 1 writes none as a number beyond any memory."""
    limits = []
    for name in ("memory.max", "memory.limit_in_bytes"):
        with suppress(OSError, ValueError):
            limits.append(int((folder / name).read_text()))
    return [limit for limit in limits if limit < _NO_LIMIT_BYTES]


def _cuda(device: str) -> dict[str, Any]:
    torch = sys.modules.get("torch")
    if torch is None or not device.startswith("cuda") or not torch.cuda.is_initialized():
        return {}
    from harness.meters.gpu import name_of

    return {
        "gpu": name_of(torch.device(device)),
        "gpu_memory_bytes": torch.cuda.get_device_properties(device).total_memory,
        "cuda": torch.version.cuda,
        "cudnn": str(torch.backends.cudnn.version()),
        "tf32": torch.backends.cuda.matmul.allow_tf32,
    }


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def cpu_model() -> str | None:
    """The processor's name."""
    try:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    except OSError:
        pass
    return platform.processor() or None


def _commit() -> dict[str, Any]:
    """The commit this code was checked out at, and whether tracked files differ from it; nothing outside a checkout."""
    root = Path(__file__).resolve().parents[2]

    def git(*arguments: str) -> str:
        answer = run_git(root, *arguments, timeout_seconds=10)
        answer.check_returncode()
        return answer.stdout.strip()

    try:
        if Path(git("rev-parse", "--show-toplevel")) != root:
            return {}  # installed inside somebody else's repository
        changed = git("status", "--porcelain", "--untracked-files=no")
        return {"commit": git("rev-parse", "HEAD"), "dirty": bool(changed)}
    except (OSError, subprocess.SubprocessError):
        return {}
