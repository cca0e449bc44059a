"""Records on disk: one JSON file per run, written the moment the run ends, atomically; and which runs are already done."""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple, cast

from harness.errors import ConfigError, DataError
from harness.files import require_regular, write_atomically
from harness.records import RunKey, RunRecord, Status, from_json, key_json, to_json

LEAST_FREE_BYTES = 16 << 20
"""A suite doesn't start with less: some hundred records, with what a file system keeps of its own."""


_OUTCOME = re.compile(rb'\n "status": "(\w+)",\n.*?\n "total_seconds": ([-+.\w]+),\n', re.DOTALL)
_LAST = b"\n}\n"
_GLANCE_BYTES = 1 << 16


Version = tuple[int, int, int]
"""Of a file: its number, when it was changed, and its size."""


class Glance(NamedTuple):
    """How a run ended, and its seconds in all."""

    status: Status
    total_seconds: float


class Store:
    """A results folder: ``<suite>/<method>/<dataset>-16shots-seed1-<digest of the key>.json``."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def check_writable(self) -> None:
        """Raises ConfigError, before anything runs, if records could not be written."""
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryFile(dir=self.folder):
                pass
        except OSError as error:
            raise ConfigError(
                f"the results folder {self.folder} can't be written: {error.strerror}.",
                "Choose another by --results DIR, or change its permissions.",
            ) from error
        free_bytes = shutil.disk_usage(self.folder).free
        if free_bytes < LEAST_FREE_BYTES:
            raise ConfigError(
                f"the results folder {self.folder} has {free_bytes / (1 << 20):.1f} MiB left, too little for records.",
                f"Free {LEAST_FREE_BYTES >> 20} MiB, or choose another folder by --results DIR.",
            )

    def name(self, key: RunKey) -> str:
        """Of a run's record, the path in the folder, with slashes."""
        digest = hashlib.sha256(key_json(key).encode()).hexdigest()[:10]
        name = f"{_safe(key.dataset)}-{key.shots}shots-seed{key.seed}-{digest}.json"
        return f"{_safe(key.suite)}/{_safe(key.method)}/{name}"

    def path(self, key: RunKey) -> Path:
        return self.folder / self.name(key)

    def names(self) -> set[str]:
        """The records that are there, by `name`: folders are listed, no file is opened."""
        methods = [method for suite in _folders(self.folder) for method in _folders(suite)]
        return {
            f"{method.parent.name}/{method.name}/{file}"
            for method in methods
            for file in os.listdir(method)
            if file.endswith(".json")
        }

    def version(self, name: str) -> Version | None:
        """What changes when a record is written anew; None if there is none."""
        try:
            found = (self.folder / name).stat()
        except FileNotFoundError:
            return None
        return found.st_ino, found.st_mtime_ns, found.st_size

    def glance(self, name: str) -> Glance:
        """What a record says first, without reading all of it. Raises DataError for a file that is no record."""
        path = self.folder / name
        _require_file(path)
        with path.open("rb") as file:
            found = _OUTCOME.search(file.read(_GLANCE_BYTES))
            file.seek(max(0, path.stat().st_size - len(_LAST)))
            whole = file.read() == _LAST
        if found and whole:
            return Glance(cast(Status, found[1].decode()), float(found[2]))
        record = from_json(path.read_bytes(), str(path))
        return Glance(record.status, record.total_seconds)

    def predictions_path(self, key: RunKey) -> Path:
        """Where a run's predictions lie, if it was asked for them: beside its record."""
        return self.path(key).with_suffix(".parquet")

    def trace_path(self, key: RunKey) -> Path:
        """Where the trace of a run's steps lies, if it was asked for one: beside its record."""
        return self.path(key).with_suffix(".trace.json.gz")

    def saved_path(self, key: RunKey) -> Path:
        """Where a run's trained model lies, if it was asked for it: beside its record."""
        return self.path(key).with_suffix(".safetensors")

    @property
    def claims_folder(self) -> Path:
        """Where processes that share the results say which runs they have in hand: `harness.runs.claims`."""
        return self.folder / ".claims"

    @property
    def features_folder(self) -> Path:
        """Where runs leave image features for each other: beside the records whose test times say what that spared."""
        return self.folder / ".features"

    def plan(self, names: Iterable[str]) -> None:
        """Keep the names of the records that a suite is to have, for whoever asks how far it is; once for equal plans."""
        text = "".join(f"{name}\n" for name in names).encode()
        path = self._plans / f"{hashlib.sha256(text).hexdigest()[:16]}.txt"
        if not path.exists():
            path.parent.mkdir(parents=True, exist_ok=True)
            write_atomically(path, text, sync=False)

    def planned(self) -> list[str]:
        """The names in all plans, each once, in order."""
        plans = sorted(self._plans.glob("*.txt"), key=lambda path: path.stat().st_mtime_ns)
        return list(dict.fromkeys(name for plan in plans for name in plan.read_text().splitlines()))

    @property
    def _plans(self) -> Path:
        return self.folder / ".plans"

    def find(self, key: RunKey) -> RunRecord | None:
        """The record of a run, None if there is none. Raises DataError for a file that is no record."""
        path = self.path(key)
        if not path.exists():
            return None
        _require_file(path)
        return from_json(path.read_bytes(), str(path))

    def write(self, record: RunRecord) -> Path:
        """A record is there whole or not at all, whatever kills the process."""
        path = self.path(record.key)
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(path, to_json(record))
        return path


def _folders(folder: Path) -> list[Path]:
    if not folder.exists():
        return []
    return [Path(entry.path) for entry in os.scandir(folder) if entry.is_dir() and not entry.name.startswith(".")]


def _require_file(path: Path) -> None:
    """Raise DataError for a record that is no file, and would be waited for."""
    try:
        require_regular(path)
    except FileNotFoundError:
        raise
    except OSError as error:
        raise DataError(
            f"{path} can't be read: {error.strerror}.", "Move it away to have the run done again."
        ) from error


def _safe(name: str) -> str:
    return re.sub(r"[^A-Za-z0-9_.-]+", "_", name)[:80].strip(".") or "_"
