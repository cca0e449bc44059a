"""The machine and the software of a run, as the record keeps them."""

from __future__ import annotations

import hashlib
import os
import platform
import subprocess
import sys
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import psutil

from harness.git import run_git
from harness.records import Environment

_PACKAGES = ("adaptbench", "torch", "torchvision", "open_clip_torch", "timm", "numpy", "pillow", "nvidia-ml-py")


def describe(device: str, threads: int, driver: str | None = None) -> Environment:
    """What this process sees of its machine; of a GPU only what torch, already loaded and running there, can tell.

    The host's name is kept as a digest: enough to tell machines apart.
    """
    return Environment(
        hostname_sha256=hashlib.sha256(platform.node().encode()).hexdigest(),
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


def cpu_threads() -> int:
    """Threads a run computes with: one a physical core this process may use. Fixed, so that results are bit-identical."""
    allowed = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, min(allowed, psutil.cpu_count(logical=False) or allowed))


def _cuda(device: str) -> dict[str, Any]:
    torch = sys.modules.get("torch")
    if torch is None or not device.startswith("cuda") or not torch.cuda.is_initialized():
        return {}
    properties = torch.cuda.get_device_properties(device)
    return {
        "gpu": properties.name,
        "gpu_memory_bytes": properties.total_memory,
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
