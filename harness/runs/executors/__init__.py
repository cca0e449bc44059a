"""Executors start workers elsewhere. A worker is one command of ours on a file, an order, and does runs as `adaptbench run` does.

State lives in the results folder alone: workers claim runs there, and leave records. So an executor starts processes and forgets
them; one of your own is a function from an `Order` to a sentence on what it started, in the entry points `adaptbench.executors`.
"""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from pydantic import TypeAdapter, ValidationError

from harness.errors import ConfigError, DataError
from harness.files import write_atomically
from harness.plan import Request, default_group, plan
from harness.runs.executors.copies import from_copies, keep_copies
from harness.runs.identity import identified, meanings
from harness.runs.store import Store
from harness.runs.suite_runner import RunOptions, pending

FOLDER = ".workers"
"""In the results folder: orders, scripts and logs of workers."""


@dataclass(frozen=True, kw_only=True)
class Workers:
    """How many workers, and what a scheduler is to give each of them: its partition, time, GPUs, and options of its own.

    `time` is in Slurm's words (``4:00:00``). `setup` are lines of shell to run before the worker. `address` is that of a cluster.
    """

    count: int = 1
    partition: str | None = None
    time: str | None = None
    gpus: int | None = None
    setup: tuple[str, ...] = ()
    settings: Mapping[str, str] | None = None
    address: str | None = None


@dataclass(frozen=True, kw_only=True)
class Order:
    """What an executor is to start: `workers.count` times `command`, each in the current folder. `runs` are left to do.

    `path` is the order's file, `folder` is there, for scripts and logs.
    """

    name: str
    path: Path
    command: tuple[str, ...]
    workers: Workers
    folder: Path
    runs: int


Executor = Callable[[Order], str]


@dataclass(frozen=True, kw_only=True)
class OrderFile:
    """What an order's file holds. `sources` are the digests of files of code that the request names, by what it calls them."""

    request: Request
    options: RunOptions
    sources: Mapping[str, str]


_ADAPTER = TypeAdapter(OrderFile)


def order(
    request: Request, options: RunOptions, workers: Workers, note: Callable[[str], object] = print
) -> Order | None:
    """Plan a suite and write its order, for no more workers than runs are left; None if none is left.

    What is to be done again is known from now on: a worker that begins later finds what others have done anew. So is the user's own
    code: what is named by file is copied, and a worker refuses names that stand for something else. Raises ConfigError for what
    can't be planned; data and devices are the workers' to look at, where they run.
    """
    device = "cuda" if options.device == "auto" and workers.gpus else options.device
    runs = plan(request, default_group(options.data_root))
    options = replace(options, results=options.results.absolute(), device=device, ordered=meanings(request, runs))
    store = Store(options.results)
    store.check_writable()
    runs = identified(runs, store, device, note)
    todo, *_ = pending(runs, store, options, note)
    if device == "auto":
        note("The runs are planned once a worker knows its device: --gpus or --device tells it now.")
    else:
        store.plan(store.name(run.key) for run in runs)
        if not todo:
            return None
    if options.again or options.retry_failed:
        options = replace(options, replacing={name: v for name in store.names() if (v := store.version(name))})
    folder = options.results / FOLDER
    folder.mkdir(exist_ok=True)
    request, sources = keep_copies(request, folder)
    path = write_order_file(OrderFile(request=request, options=options, sources=sources), folder)
    return Order(
        name=f"adaptbench-{runs[0].key.suite}",
        path=path,
        command=(
            sys.executable,
            "-P",
            "-m",
            "harness",
            "worker",
            str(path),
        ),  # -P: not a `harness` of the current folder
        workers=replace(workers, count=min(workers.count, max(1, len(todo)))),
        folder=folder,
        runs=len(todo),
    )


def read_order(path: Path) -> tuple[Request, RunOptions]:
    """What a worker is to do. Raises DataError for what is no order, and where code has changed that it names by file."""
    found = read_order_file(path)
    return from_copies(found.request, path.parent, found.sources), found.options


def read_order_file(path: Path) -> OrderFile:
    """Raises DataError for what is no order."""
    try:
        return _ADAPTER.validate_json(path.read_bytes())
    except (OSError, ValidationError) as error:
        raise DataError(
            f"{path} is no order for a worker: {error}.", "'adaptbench run --executor NAME' writes one."
        ) from error


def write_order_file(order_file: OrderFile, folder: Path) -> Path:
    """Keep an order in a folder, by a name that follows from it."""
    text = _ADAPTER.dump_json(order_file, indent=1)
    path = folder / f"{hashlib.sha256(text).hexdigest()[:16]}.order"
    write_atomically(path, text, sync=False)
    return path


def seconds_of(time: str) -> float:
    """Of a time in Slurm's words: minutes, minutes:seconds, hours:minutes:seconds, days-hours, days-hours:minutes[:seconds]."""
    days, dash, rest = time.rpartition("-")
    try:
        parts = [int(part) for part in rest.split(":")]
        whole_days = int(days) if dash else 0
    except ValueError:
        parts = []
    if not parts or len(parts) > 3 or min(parts) < 0:
        raise ConfigError(f"--time {time} is no time.", "For example: --time 90 (minutes), 4:00:00 or 1-12.")
    if dash:
        hours, minutes, seconds = (*parts, 0, 0)[:3]
    elif len(parts) == 3:
        hours, minutes, seconds = parts
    else:
        hours, minutes, seconds = 0, *(*parts, 0)[:2]
    return float(((whole_days * 24 + hours) * 60 + minutes) * 60 + seconds)
