"""Records on disk: one JSON file per run, written the moment the run ends, atomically; and which runs are already done."""

from __future__ import annotations

import hashlib
import re
import shutil
import tempfile
from pathlib import Path

from harness.errors import ConfigError
from harness.files import write_atomically
from harness.records import RunKey, RunRecord, from_json, key_json, to_json

LEAST_FREE_BYTES = 16 << 20
"""A suite doesn't start with less: some hundred records, with what a file system keeps of its own."""


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

    def path(self, key: RunKey) -> Path:
        digest = hashlib.sha256(key_json(key).encode()).hexdigest()[:10]
        name = f"{_safe(key.dataset)}-{key.shots}shots-seed{key.seed}-{digest}.json"
        return self.folder / _safe(key.suite) / _safe(key.method) / name

    def predictions_path(self, key: RunKey) -> Path:
        """Where a run's predictions lie, if it was asked for them: beside its record."""
        return self.path(key).with_suffix(".parquet")

    def trace_path(self, key: RunKey) -> Path:
        """Where the trace of a run's steps lies, if it was asked for one: beside its record."""
        return self.path(key).with_suffix(".trace.json.gz")

    @property
    def features_folder(self) -> Path:
        """Where runs leave image features for each other: beside the records whose test times say what that spared."""
        return self.folder / ".features"

    def find(self, key: RunKey) -> RunRecord | None:
        """The record of a run, None if there is none. Raises DataError for a file that is no record."""
        path = self.path(key)
        return from_json(path.read_bytes(), str(path)) if path.exists() else None

    def write(self, record: RunRecord) -> Path:
        """A record is there whole or not at all, whatever kills the process."""
        path = self.path(record.key)
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(path, to_json(record))
        return path


def _safe(name: str) -> str:
    return re.sub(r"[^A-Za-z0-9_.-]+", "_", name)[:80].strip(".") or "_"
