"""Workers as tasks of Ray: of a cluster at an address, else of one that Ray makes of this machine. It waits for their end.

A worker that reaches the results folder takes runs there. For one that doesn't, this process takes them, sends them one at a time,
and writes what comes back.
"""

from __future__ import annotations

import ctypes
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Mapping
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import IO, Any

from harness.errors import ConfigError, DataError
from harness.runs.executors import Order
from harness.runs.executors.apart import Parcel, Sent, do_here, leave_token, reaches

_PR_SET_PDEATHSIG = 1
_POLL_SECONDS = 1.0
"""How often it looks whether others have left it a run to send."""
_APART = "apart"


def run(order: Order) -> str:
    """Start the order's workers, and wait for them. Ray starts one anew whose node or process is lost; a run's failure is a record.

    Raises ConfigError where Ray isn't installed, or no cluster answers, and DataError where it is lost.
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
    token = leave_token(order.folder)
    try:
        return _Driver(ray, order, token).run()
    except ray.exceptions.RayError as error:
        raise DataError(
            f"Ray ended before the workers did: {error}",
            "Finished records are in place. The same command goes on from there.",
        ) from error
    finally:
        token.unlink(missing_ok=True)
        ray.shutdown()


class _Driver:
    """Waits for workers, and serves those that don't reach the results folder."""

    def __init__(self, ray: Any, order: Order, token: Path) -> None:
        given = ray.remote(max_retries=-1, num_cpus=1, num_gpus=order.workers.gpus or 0)
        self._ray, self._order, self._token = ray, order, token
        self._work, self._send = given(_work), given(_do_apart)
        self._ended: Counter[bool] = Counter()
        self._apart = self._free = 0
        self._words = ""

    def run(self) -> str:
        environment = dict(os.environ)
        under_way: dict[Any, str | None] = {
            self._work.remote(self._order.command, os.getcwd(), environment, self._token): None
            for _ in range(self._order.workers.count)
        }
        with ExitStack() as stack:
            sent: Sent | None = None
            while under_way or self._waits_for(sent):
                for each in self._ready(list(under_way)):
                    self._hear(under_way.pop(each), self._ray.get(each), sent)
                if self._apart and sent is None:
                    sent = stack.enter_context(Sent(self._order))
                while sent is not None and self._free and (parcel := sent.take()):
                    self._free -= 1
                    under_way[self._send.remote(parcel, environment)] = parcel.name
                if sent is not None:
                    sent.look_around()
        if self._apart:
            self._ended[True] += self._free
        said = f" The last one that could do nothing: {self._words}" if self._words else ""
        apart = f", {self._apart} of them without reaching the results" if self._apart else ""
        well = f"{self._ended[True]} of {self._order.workers.count} workers have ended well{apart}"
        return f"{well}; 'adaptbench status' says what they did.{said}"

    def _ready(self, under_way: list[Any]) -> list[Any]:
        if not under_way:
            time.sleep(_POLL_SECONDS)
            return []
        ready, _ = self._ray.wait(under_way, timeout=_POLL_SECONDS)
        return list(ready)

    def _waits_for(self, sent: Sent | None) -> bool:
        return sent is not None and bool(len(sent)) and bool(self._free)

    def _hear(self, name: str | None, told: Any, sent: Sent | None) -> None:
        """A worker has ended, or has nothing to reach; a run is back, or its host can do none."""
        if name is None:
            apart = told == _APART
            self._apart += apart
            self._free += apart
            if not apart:
                self._ended[told == 0] += 1
            return
        assert sent is not None, "a run that was sent"
        if isinstance(told, str):
            self._words = told
            self._ended[False] += 1
            sent.give_back(name)
        else:
            self._free += 1
            sent.receive(name, told)


def _work(command: tuple[str, ...], folder: str, environment: Mapping[str, str], token: Path) -> int | str:
    """The exit code of a worker, in a process of its own: for what runs in its processes, Ray sets the number of threads."""
    return _process(command, folder, environment) if reaches(token) else _APART


def _do_apart(parcel: Parcel, environment: Mapping[str, str]) -> dict[str, bytes] | str:
    """A run's files, done by a process of this host; in words, why there are none."""

    def work(command: tuple[str, ...], folder: Path, log: Path) -> None:
        with log.open("w") as said:
            _process(command, str(folder), environment, said)

    try:
        return do_here(parcel, work)
    except OSError as error:
        return f"a run can't be done here: {error}."


def _process(command: tuple[str, ...], folder: str, environment: Mapping[str, str], log: IO[str] | None = None) -> int:
    process = subprocess.Popen(
        command,
        cwd=folder,
        env=_environment(environment, os.environ),
        preexec_fn=_end_with_parent,
        stdout=log,
        stderr=log,
    )
    try:
        return process.wait()
    finally:
        process.terminate()  # where the task is cancelled; the worker leaves its run
        process.wait()


def _environment(driver: Mapping[str, str], host: Mapping[str, str]) -> dict[str, str]:
    """What a worker's process is given: the variables of its host, and of the driver's those that the host lacks.

    Not the driver's devices and job. Modules are found by both's PYTHONPATH. The number of threads is the driver's: Ray sets it.
    """
    theirs = {name: text for name, text in driver.items() if not name.startswith(("CUDA_", "NVIDIA_", "SLURM_"))}
    merged = {**theirs, **host}
    merged.pop("OMP_NUM_THREADS", None)
    paths = [text for side in (host, driver) if (text := side.get("PYTHONPATH"))]
    return {
        **merged,
        **({"PYTHONPATH": os.pathsep.join(paths)} if paths else {}),
        **({"OMP_NUM_THREADS": driver["OMP_NUM_THREADS"]} if "OMP_NUM_THREADS" in driver else {}),
    }


def _end_with_parent() -> None:
    """On Linux: this process hears SIGTERM when the one that started it ends, in whatever way."""
    if sys.platform.startswith("linux"):
        libc: Any = ctypes.CDLL(None)
        with suppress(AttributeError):
            libc.prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
