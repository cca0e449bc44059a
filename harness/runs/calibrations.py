"""Calibrations on disk: what a few steps of a kind of run told of all of it, one JSON file per kind and machine. No torch."""

from __future__ import annotations

import hashlib
from contextlib import suppress
from pathlib import Path

from pydantic import TypeAdapter, ValidationError

from harness.files import read_regular, write_atomically
from harness.meters.environment import cpu_threads
from harness.records import RunKey
from harness.runs.observation import Machine, Observation, kind_of

_MOST_BYTES = 1 << 20
_ADAPTER = TypeAdapter(Observation)


class Calibrations:
    """Those in a results folder that were made on one machine."""

    def __init__(self, results: Path, machine: Machine) -> None:
        said = (machine.host_sha256, machine.cpu, machine.gpu, machine.threads, cpu_threads())
        self._folder = results / ".calibrations" / _digest(repr(said))

    def find(self, key: RunKey) -> Observation | None:
        """The calibration of a run's kind; None if there is none that can be read."""
        with suppress(OSError, ValidationError):
            return _ADAPTER.validate_json(read_regular(self._path(key), _MOST_BYTES))
        return None

    def keep(self, observation: Observation) -> None:
        """Write a calibration, in the place of an earlier one."""
        path = self._path(observation.key)
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(path, _ADAPTER.dump_json(observation, indent=1) + b"\n", sync=False)

    def _path(self, key: RunKey) -> Path:
        return self._folder / f"{_digest(kind_of(key))}.json"


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:16]
