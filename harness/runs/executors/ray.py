"""Workers as tasks of Ray: of a cluster at an address, else of one that Ray makes of this machine. It waits for their end."""

from __future__ import annotations

import ctypes
import os
import signal
import subprocess
import sys
from contextlib import suppress
from typing import Any

from harness.errors import ConfigError
from harness.runs.executors import Order

_PR_SET_PDEATHSIG = 1


def run(order: Order) -> str:
    """Start the order's workers, and wait for them. Ray starts one anew whose node or process is lost; a run's failure is a record.

    Raises ConfigError where Ray isn't installed, or no cluster answers.
    """
    workers = order.workers
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    try:
        import ray
    except ImportError as error:
        raise ConfigError("Ray isn't installed.", "pip install ray, on every host of the cluster.") from error
    try:
        ray.init(address=workers.address, ignore_reinit_error=True, log_to_driver=False)
    except ConnectionError as error:
        raise ConfigError(
            f"no Ray cluster answers at {workers.address}: {error}",
            "ray start --head makes one; --address HOST:PORT names it.",
        ) from error
    try:
        task = ray.remote(max_retries=-1, num_cpus=1, num_gpus=workers.gpus or 0)(_work)
        codes = ray.get([task.remote(order.command, os.getcwd(), dict(os.environ)) for _ in range(workers.count)])
    finally:
        ray.shutdown()
    ended = sum(code == 0 for code in codes)
    return f"{ended} of {workers.count} workers have ended well; 'adaptbench status' says what they did."


def _work(command: tuple[str, ...], folder: str, environment: dict[str, str]) -> int:
    """The exit code of a worker, in a process of its own: for what runs in its processes, Ray sets the number of threads."""
    given = {
        name: value
        for name, value in os.environ.items()
        if name.startswith("CUDA_") or name == "NVIDIA_VISIBLE_DEVICES"
    }
    process = subprocess.Popen(command, cwd=folder, env={**environment, **given}, preexec_fn=_end_with_parent)
    try:
        return process.wait()
    finally:
        process.terminate()  # where the task is cancelled; the worker leaves its run
        process.wait()


def _end_with_parent() -> None:
    """On Linux: this process hears SIGTERM when the one that started it ends, in whatever way."""
    if sys.platform.startswith("linux"):
        libc: Any = ctypes.CDLL(None)
        with suppress(AttributeError):
            libc.prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
