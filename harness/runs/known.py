"""What a results folder knows of runs on this machine: records of their kind, calibrations, records of runs like them. No torch."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from contextlib import suppress

from harness.errors import AdaptBenchError
from harness.plan import PlannedRun
from harness.runs.calibrations import Calibrations
from harness.runs.identity import kind_of as device_kind
from harness.runs.observation import Machine, Observation, kind_of, observed, this_machine
from harness.runs.store import Store

_MOST_OF_A_KIND = 3
_MOST_OF_A_METHOD = 24
"""Records of a method with other data, or set otherwise, that are read where its own kind has none."""
_MOST = 2000
"""Records in all: of a folder with more, the rest goes unread, and a plan takes seconds."""


def observations(runs: Sequence[PlannedRun], store: Store, device: str, threads: int | None) -> list[Observation]:
    """Of this machine, what tells of these runs. `device` and `threads` are those of the command line.

    Where runs choose their threads, what was observed with as many as the latest run of a backbone had.
    """
    machine = this_machine(device_kind(device), threads)
    found = list(_observations(runs, _Records(store, machine), Calibrations(store.folder, machine)))
    latest = {each.key.backbone: each.threads for each in sorted(found, key=lambda each: each.started_at)}
    return [each for each in found if each.threads == latest[each.key.backbone]]


def _observations(runs: Sequence[PlannedRun], records: _Records, calibrations: Calibrations) -> Iterator[Observation]:
    missing: dict[str, PlannedRun] = {}
    for kind, run in {kind_of(run.key): run for run in reversed(runs)}.items():
        found = list(records.of_kind(run, kind))
        yield from found
        if any(kind_of(each.key) == kind for each in found):
            continue
        calibrated = calibrations.find(run.key)
        if calibrated is None:
            missing.setdefault(run.key.method, run)
        else:
            yield calibrated
    for run in missing.values():
        yield from records.like(run)


class _Records:
    """The records of a results folder that are this machine's, each read once."""

    def __init__(self, store: Store, machine: Machine) -> None:
        self._store, self._machine = store, machine
        self._read: set[str] = set()
        self._of_data: defaultdict[tuple[str, str], list[str]] = defaultdict(list)
        for name in sorted(store.names()):
            self._of_data[_method(name), _data(name)].append(name)

    def of_kind(self, run: PlannedRun, kind: str) -> Iterator[Observation]:
        """Some records of a kind, and those of other kinds that had to be read to find them."""
        name = self._store.name(run.key)
        count = 0
        for each in self._of_data.get((_method(name), _data(name)), ()):
            if count == _MOST_OF_A_KIND:
                return
            observation = self._observe(each)
            if observation is not None:
                count += kind_of(observation.key) == kind
                yield observation

    def like(self, run: PlannedRun) -> Iterator[Observation]:
        """Some records of a run's method, with whatever data, in turn."""
        of_data = [
            names for (method, _), names in self._of_data.items() if method == _method(self._store.name(run.key))
        ]
        in_turn = [
            names[place]
            for place in range(max(map(len, of_data), default=0))
            for names in of_data
            if place < len(names)
        ]
        for name in in_turn[:_MOST_OF_A_METHOD]:
            observation = self._observe(name)
            if observation is not None:
                yield observation

    def _observe(self, name: str) -> Observation | None:
        if name in self._read or len(self._read) == _MOST:
            return None
        self._read.add(name)
        with suppress(AdaptBenchError, OSError):  # whoever needs it will say so
            record = self._store.read(name)
            if self._machine.has(record.environment, record.command):
                return observed(record)
        return None


def _method(name: str) -> str:
    return name.split("/")[1]


def _data(name: str) -> str:
    """Of a record's name, the dataset and the shots."""
    return name.rpartition("/")[2].rpartition("-seed")[0]
