"""Runs on hosts that do not reach the results folder: each goes there as an order of its own, and comes back as files.

Whoever sends them claims each until it is back, and writes its record last. So a host apart may be lost at any moment.
"""

from __future__ import annotations

import os
import secrets
import sys
import tempfile
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath
from typing import Any

from harness.errors import ConfigError, DataError
from harness.files import write_atomically
from harness.records import from_json
from harness.runs.claims import Claims
from harness.runs.executors import FOLDER, Order, read_order, read_order_file, write_order_file
from harness.runs.executors.copies import FOLDER as SOURCES
from harness.runs.store import Store
from harness.runs.suite_runner import CACHE, planned
from harness.runs.todo import Todo

_LAST_WORDS = 2000
"""Characters of what a worker said that has left no record."""


def leave_token(folder: Path) -> Path:
    """An empty file in a folder, by whose name a host tells whether it reaches the same one."""
    path = folder / f"{secrets.token_hex(16)}.token"
    path.touch()
    return path


def reaches(token: Path) -> bool:
    """Whether this host has the folder that a token was left in. Listed, as network file systems show a new file only so."""
    try:
        return token.name in os.listdir(token.parent)
    except OSError:
        return False


@dataclass(frozen=True, kw_only=True)
class Parcel:
    """A run as a host apart is sent it: the name of its record, and the folder of its order, by paths there.

    `own_cache`: whether the host keeps generated data where it usually does.
    """

    name: str
    order: str
    files: Mapping[str, bytes]
    own_cache: bool


class Sent:
    """The runs of an order that go to hosts apart, each claimed here until it is back. Use as a context."""

    def __init__(self, order: Order) -> None:
        """Raises ConfigError where the runs are known only once a worker knows its device."""
        request, options = read_order(order.path)
        if options.device == "auto":
            raise ConfigError(
                "hosts of the cluster don't reach the results folder, and what their runs are depends on their device.",
                "Say which: --device cpu, or --gpus 1; or have --results on a file system that all hosts share.",
            )
        self._order, self._store = order, Store(options.results)
        plan = planned(request, options, note=lambda text: None)
        self._claims = Claims(self._store.claims_folder, options.lease_seconds, where="hosts apart")
        self._todo = Todo(plan.todo, plan.replaced, self._store, self._claims)

    def __enter__(self) -> Sent:
        self._claims.__enter__()
        return self

    def __exit__(self, *exc: Any) -> None:
        self._claims.__exit__(*exc)
        self._store.sweep()

    def __len__(self) -> int:
        """Runs without a record, in hand or not."""
        return len(self._todo)

    def take(self) -> Parcel | None:
        """The next run, now claimed; None if others have all that is left."""
        taken, _ = self._todo.take()
        return _parcel(self._order.path, taken[0]) if taken else None

    def receive(self, name: str, files: Mapping[str, bytes]) -> None:
        """Write what a run left, its record last; nothing if others have taken it over meanwhile. Raises DataError."""
        if not self._todo.is_ours(name):
            self.give_back(name)
            return
        record = from_json(files[name], name)
        if self._store.name(record.key) != name:
            raise DataError(
                f"for {name}, a host apart has sent the record of another run.", "Have one version on all hosts."
            )
        stem = PurePosixPath(name).stem
        for path, data in files.items():
            if (
                path != name
                and PurePosixPath(path).parent == PurePosixPath(name).parent
                and Path(path).name.startswith(stem)
            ):
                target = self._store.folder / path
                target.parent.mkdir(parents=True, exist_ok=True)
                write_atomically(target, data)
        self._store.write(record)
        self._todo.finish(name)

    def give_back(self, name: str) -> None:
        """Let others have a run that came to nothing."""
        self._claims.give_back(name)

    def look_around(self) -> None:
        """Leave out what others have done by now."""
        self._todo.done_elsewhere()


def _parcel(path: Path, name: str) -> Parcel:
    found = read_order_file(path)
    options = replace(
        found.options,
        only=name,
        jobs=1,
        again=False,
        retry_failed=False,
        replacing=None,
        work_seconds=None,
        run_limit=None,
    )
    with tempfile.TemporaryDirectory() as folder:
        order = write_order_file(replace(found, options=options), Path(folder))
        files = {order.name: order.read_bytes()}
    copies = (file for file in (path.parent / SOURCES).rglob("*") if file.is_file())
    files |= {file.relative_to(path.parent).as_posix(): file.read_bytes() for file in copies}
    return Parcel(name=name, order=order.name, files=files, own_cache=found.options.cache == CACHE)


def do_here(parcel: Parcel, work: Callable[[tuple[str, ...], Path, Path], object]) -> dict[str, bytes] | str:
    """Do a run in a folder that goes with it. Returns the files it left by their paths in a results folder; in words, why none.

    work: runs a command in a folder, and has what it says in a file.
    """
    with tempfile.TemporaryDirectory(prefix="adaptbench-", ignore_cleanup_errors=True) as name:
        folder = Path(name).resolve()
        results, log = folder / "results", folder / "log"
        home = results / FOLDER
        for path, data in parcel.files.items():
            (home / path).parent.mkdir(parents=True, exist_ok=True)
            (home / path).write_bytes(data)
        found = read_order_file(home / parcel.order)
        options = replace(found.options, results=results, cache=CACHE if parcel.own_cache else found.options.cache)
        order = write_order_file(replace(found, options=options), home)
        work((sys.executable, "-P", "-m", "harness", "worker", str(order)), folder, log)
        left = {file.relative_to(results).as_posix(): file for file in results.rglob("*") if file.is_file()}
        if parcel.name in left:
            return {path: file.read_bytes() for path, file in left.items() if not path.startswith(".")}
        with suppress(OSError):
            return log.read_text(errors="replace")[-_LAST_WORDS:].strip() or "the worker said nothing."
        return "the worker was not started."
