"""Records on disk: one JSON file per run, written the moment the run ends, atomically; and which runs are already done."""

from __future__ import annotations

import errno
import hashlib
import os
import re
import shutil
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import NamedTuple, cast

from harness import files
from harness.errors import ConfigError, DataError
from harness.files import Version, read_regular, require_regular, version_of, write_atomically
from harness.records import MOST_RECORD_BYTES, RunKey, RunRecord, Status, from_json, key_from_json, key_json, to_json
from harness.runs import claims

LEAST_FREE_BYTES = 16 << 20
"""A suite doesn't start with less: some hundred records, with what a file system keeps of its own."""


_KEY = re.compile(rb'\{\n "schema_version": 1,\n "key": (\{\n.*?\n \}),\n', re.DOTALL)
_OUTCOME = re.compile(rb'\n "status": "(\w+)",\n.*?\n "total_seconds": ([-+.\w]+),\n', re.DOTALL)
_LAST = b"\n}\n"
_GLANCE_BYTES = 1 << 16


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

    def require_access(self, names: Iterable[str], mode: int) -> None:
        """Raises ConfigError where a folder of these records is there, but can't be read or written; `mode` is `os.access`'s."""
        methods = {(self.folder / name).parent for name in names}
        for folder in sorted({method.parent for method in methods} | methods):
            if folder.exists() and not os.access(folder, mode | os.X_OK):
                verb = "written" if mode & os.W_OK else "read"
                raise ConfigError(
                    f"the folder {folder} can't be {verb}: Permission denied.",
                    "Change its permissions, or choose another folder of results by --results DIR.",
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
        return {
            f"{method.parent.name}/{method.name}/{file}"
            for method in self._methods()
            for file in _listed(method)
            if file.endswith(".json")
        }

    def _methods(self) -> list[Path]:
        """The folders of records."""
        return [method for suite in _folders(self.folder) for method in _folders(suite)]

    def sweep(self) -> None:
        """Remove what processes of this machine that were killed left: heartbeats, claims of runs that are done, files begun."""
        claims.sweep(self.claims_folder, self.folder)
        with suppress(OSError):  # of a folder that was removed meanwhile
            for folder in (self.folder, self._plans, *self._methods()):
                files.sweep(folder)

    def version(self, name: str) -> Version | None:
        """What changes when a record is written anew; None if there is none."""
        try:
            return version_of(self.folder / name)
        except FileNotFoundError:
            return None

    def glance(self, name: str) -> Glance:
        """What a record says first, without reading all of it. Raises DataError for a file that is no record of this name's run."""
        path = self.folder / name
        with _reading(path), path.open("rb") as file:
            start = file.read(_GLANCE_BYTES)
            file.seek(max(0, path.stat().st_size - len(_LAST)))
            whole = file.read() == _LAST
        key, outcome = _KEY.match(start), _OUTCOME.search(start)
        if key and outcome and whole:
            self._require_own(path, name, key_from_json(key[1], str(path)))
            return Glance(cast(Status, outcome[1].decode()), float(outcome[2]))
        record = self.read(name)
        return Glance(record.status, record.total_seconds)

    def read(self, name: str) -> RunRecord:
        """The record of this name. Raises DataError for a file that is no record, or another run's, and FileNotFoundError."""
        path = self.folder / name
        record = from_json(record_bytes(path), str(path))
        self._require_own(path, name, record.key)
        return record

    def _require_own(self, path: Path, name: str, key: RunKey) -> None:
        own = self.name(key)
        if own != name:
            raise DataError(f"{path} holds the record of another run, {own}.", "Move it there, or away.")

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
        """Keep the names of the records that a suite is to have, for whoever asks how far it is; once for equal plans.

        Raises DataError where they can't be kept: records couldn't either.
        """
        text = "".join(f"{name}\n" for name in names).encode()
        path = self._plans / f"{hashlib.sha256(text).hexdigest()[:16]}.txt"
        if path.exists():
            return
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            write_atomically(path, text, sync=False)
        except OSError as error:
            raise DataError(
                f"the plan of a suite can't be kept in {self._plans}: {error.strerror}.",
                "Free some space, or let the folder be written, and repeat the command.",
            ) from error

    def planned(self) -> list[str]:
        """The names in all plans, each once, in order."""
        plans = sorted(self._plans.glob("*.txt"), key=lambda path: path.stat().st_mtime_ns)
        return list(dict.fromkeys(name for plan in plans for name in plan.read_text().splitlines()))

    @property
    def _plans(self) -> Path:
        return self.folder / ".plans"

    def find(self, key: RunKey) -> RunRecord | None:
        """The record of a run, None if there is none. Raises DataError for a file that is no record."""
        try:
            return self.read(self.name(key))
        except FileNotFoundError:
            return None

    def write(self, record: RunRecord) -> Path:
        """A record is there whole or not at all, whatever kills the process."""
        path = self.path(record.key)
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(path, to_json(record))
        return path


def _folders(folder: Path) -> list[Path]:
    """The folders in a folder, but for hidden ones. One that can't be listed, such as a disk's lost+found, has none."""
    try:
        with os.scandir(folder) as entries:
            return [Path(entry.path) for entry in entries if entry.is_dir() and not entry.name.startswith(".")]
    except (FileNotFoundError, PermissionError):
        return []


def _listed(folder: Path) -> list[str]:
    try:
        return os.listdir(folder)
    except (FileNotFoundError, PermissionError):
        return []


def record_bytes(path: Path | str) -> bytes:
    """The content of a record's file. Raises DataError for a link, a pipe, or a file beyond all size, and FileNotFoundError."""
    with _advised(path):
        return read_regular(path, MOST_RECORD_BYTES, links=False)


@contextmanager
def _reading(path: Path) -> Iterator[None]:
    """A DataError for a record that can't be read, is no file and would be waited for, or lies elsewhere, where others write it."""
    with _advised(path):
        require_regular(path)
        if path.is_symlink():
            raise OSError(errno.ELOOP, "it is a symbolic link", str(path))
        yield


@contextmanager
def _advised(path: Path | str) -> Iterator[None]:
    try:
        yield
    except FileNotFoundError:
        raise
    except OSError as error:
        if os.path.isdir(path):
            advice = "Change its permissions, or move it away."
        else:
            advice = "Have the record's own file there, or move it away to have the run done again."
        raise DataError(f"{path} can't be read: {error.strerror}.", advice) from error


def _safe(name: str) -> str:
    return re.sub(r"[^A-Za-z0-9_.-]+", "_", name)[:80].strip(".") or "_"
