"""Who does which run: processes on whatever machines share a results folder do each run once.

A claim is a file that only one process can create; it names its owner, and never changes. An owner that lives keeps changing
another file, its heartbeat. Once that has stayed the same for as long as a lease lasts, on the clock of whoever looks, the owner
counts as dead, and the run's next claim takes over: numbered one higher, so that of several who want to take over one can. No two
clocks have to agree, and no file is locked, which file systems over a network may break. An owner's name tells its process, so that
on the same machine it is dead at once, however little it could write.
"""

from __future__ import annotations

import hashlib
import json
import os
import platform
import threading
import time
from collections.abc import Collection, Iterable, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from harness.errors import DataError
from harness.processes import has_ended, machine, own_name
from harness.runs.signals import signals_wait

LEASE_SECONDS = 120.0
"""Longer than network file systems keep attributes of files (a minute), and than any pause of a healthy process."""
BEATS_A_LEASE = 12
_HEARTBEAT = "worker-"


@dataclass(frozen=True, kw_only=True)
class Worker:
    """What a heartbeat tells: where its process is, how often it has beaten, and the runs in hand with the seconds so far.

    `machine` is that of the runs, as `harness.processes` has it. `job` is the number that a cluster's scheduler gave it. `devices`
    are what its runs compute on: UUIDs of GPUs, or processors by number; `alone` says that they are about time, and share none.
    """

    host: str
    machine: str
    pid: int
    job: str | None
    beat: int
    runs: dict[str, float]
    devices: Sequence[str] = ()
    alone: bool = False


class Claims:
    """The claims of one process. Use as a context: entering it starts the heartbeat, leaving it gives back what is still held."""

    def __init__(
        self,
        folder: Path,
        lease_seconds: float = LEASE_SECONDS,
        neighbours: Path | None = None,
        where: str | None = None,
    ) -> None:
        """folder: of the claims; it is made. lease_seconds: an owner that is silent for longer counts as dead.

        neighbours: a folder in which processes of one machine hear of each other, whatever results they are at. where: what to
        call the place of the runs that it has in hand, if that is not this machine.
        """
        self._folder, self._lease_seconds = folder, lease_seconds
        self._owner = own_name()
        self._where = where
        self._heard_in = [folder] if neighbours is None else [folder, neighbours]
        self._devices: tuple[str, ...] = ()
        self._alone = False
        self._held: dict[str, tuple[int, float]] = {}  # the claim's number, and since when
        self._heard: dict[str, tuple[str, float]] = {}  # an owner's last new heartbeat, and when it came
        self._beat, self._writing = 0, threading.Lock()
        self._leaving = threading.Event()
        self._thread = threading.Thread(target=self._keep_beating, daemon=True)

    def __enter__(self) -> Claims:
        """Raises DataError where the folder can't be made."""
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise self._unclaimable(error) from error
        for folder in self._heard_in[1:]:
            with suppress(OSError):  # who can't be heard there is alone there
                folder.mkdir(parents=True, exist_ok=True)
        try:
            self._write_heartbeat()
            self._thread.start()
        except BaseException:
            self._leave()
            raise
        return self

    def __exit__(self, *exc: Any) -> None:
        """Ctrl-C changes nothing of it: a process that goes on, as a notebook's, would hold runs that it doesn't do."""
        try:
            with signals_wait():
                self._leave()
        except KeyboardInterrupt:
            self._leave()
            raise

    def _leave(self) -> None:
        for name in list(self._held):
            self.give_back(name)
        self._leaving.set()
        if self._thread.is_alive():
            self._thread.join()
        for folder in self._heard_in:
            _unlink(self._heartbeat(folder))

    def take(self, names: Iterable[str]) -> str | None:
        """Claim the first of the runs that nobody has; None if all are held by processes that live. The folder is listed once."""
        numbers = claim_numbers(self._folder)
        for name in names:
            latest = numbers.get(_digest(name))
            if name in self._held or (latest is not None and not self._is_dead(self._owner_of(name, latest))):
                continue
            number = 0 if latest is None else latest + 1
            try:
                with self._path(name, number).open("x") as file:
                    json.dump({"owner": self._owner, "run": name}, file)
            except FileExistsError:
                continue
            except OSError as error:
                raise self._unclaimable(error) from error
            self._held[name] = number, time.monotonic()
            self._write_heartbeat()
            return name
        return None

    @property
    def are_gone(self) -> bool:
        """Whether somebody has removed the folder, or whatever it lies in."""
        return not self._folder.exists()

    def _unclaimable(self, error: OSError) -> DataError:
        why = "the folder was removed meanwhile" if self.are_gone else error.strerror
        return DataError(
            f"a run can't be claimed in {self._folder}: {why}.",
            "Free some space, or let the folder be written, and repeat the command: it goes on from there.",
        )

    def holds(self, name: str) -> bool:
        """Whether a run is still this process's: one that was suspended for longer than a lease may have lost it."""
        number = self._held[name][0]
        return claim_numbers(self._folder).get(_digest(name)) == number and self._owner_of(name, number) == self._owner

    def give_back(self, name: str) -> None:
        """Let others have a run that has no record."""
        number, _ = self._held.pop(name)
        if self._owner_of(name, number) == self._owner:
            _unlink(self._path(name, number))
        self._write_heartbeat()

    def finish(self, name: str) -> None:
        """A run has its record: no claim of it is needed any more, neither ours nor those of dead owners before us."""
        number, _ = self._held.pop(name)
        for each in range(number + 1):
            _unlink(self._path(name, each))
        self._write_heartbeat()

    def runs_here(self) -> int:
        """How many runs are in hand on this machine, by all who are heard of and live; this process's own included."""
        return len(self._held) + sum(len(worker.runs) for worker in self._others_here())

    def compute_on(self, devices: Sequence[str], alone: bool) -> list[Worker]:
        """Let others know what the runs compute on, and whether alone. Returns those on the same, if either wants to be alone."""
        self._devices, self._alone = tuple(devices), alone
        self._write_heartbeat()
        return [w for w in self._others_here() if (alone or w.alone) and set(devices) & set(w.devices)]

    def _others_here(self) -> list[Worker]:
        """The other processes of this machine that live. One whose number is another's by now has been silent for a lease."""
        found = {owner: heard for folder in self._heard_in for owner, heard in workers(folder).items()}
        found.pop(self._owner, None)
        return [
            worker
            for owner, (worker, silent_seconds) in found.items()
            if worker.machine == machine() and silent_seconds <= self._lease_seconds and not has_ended(owner)
        ]

    def _heartbeat(self, folder: Path) -> Path:
        return folder / f"{_HEARTBEAT}{self._owner}"

    def _path(self, name: str, number: int) -> Path:
        return self._folder / f"{_digest(name)}-{number}"

    def _owner_of(self, name: str, number: int) -> str:
        """The owner that a claim names; of one that its process never finished writing, a name that no owner has."""
        path = self._path(name, number)
        claim = _claim(path)
        return claim[0] if claim else path.name

    def _is_dead(self, owner: str) -> bool:
        """Whether an owner has ended on this machine, or was silent for a lease as the clock here has it."""
        if has_ended(owner):
            return True
        try:
            text = (self._folder / f"{_HEARTBEAT}{owner}").read_text()
        except OSError:
            text = ""
        now = time.monotonic()
        last, since = self._heard.get(owner, (None, now))
        if text != last:
            self._heard[owner] = text, now
            return False
        return now - since > self._lease_seconds

    def _keep_beating(self) -> None:
        while not self._leaving.wait(self._lease_seconds / BEATS_A_LEASE):
            self._write_heartbeat()

    def _write_heartbeat(self) -> None:
        """In place: network file systems see new contents of a file sooner than a new file of the same name.

        Who can't beat is dead to the others, and finds out when it has a record to write.
        """
        with self._writing:
            self._beat += 1
            text = json.dumps(asdict(self._worker()))
            for folder in self._heard_in:
                with suppress(OSError):
                    self._heartbeat(folder).write_text(text)

    def _worker(self) -> Worker:
        now = time.monotonic()
        return Worker(
            host=platform.node() if self._where is None else f"{self._where}, by {platform.node()}",
            machine=machine() if self._where is None else self._owner,
            pid=os.getpid(),
            job=_job(),
            beat=self._beat,
            runs={name: round(now - since, 1) for name, (_, since) in self._held.copy().items()},
            devices=self._devices,
            alone=self._alone,
        )


def sweep(folder: Path, records: Path) -> None:
    """Remove what processes that were killed on this machine have left in a folder: heartbeats, and claims of runs that are done.

    Such a run's record is in the folder `records`. Claims of other runs stay, so that of several who want to take over one can.
    """
    with suppress(OSError):
        for file in os.listdir(folder):
            if file.startswith(_HEARTBEAT):
                if has_ended(file.removeprefix(_HEARTBEAT)):
                    _unlink(folder / file)
            elif (claim := _claim(folder / file)) and has_ended(claim[0]) and os.path.exists(records / claim[1]):
                _unlink(folder / file)


def claim_numbers(folder: Path) -> dict[str, int]:
    """The highest number of a claim by the digest of its run's name. Listed, as network file systems show a new file only so."""
    numbers: dict[str, int] = {}
    for file in _listed(folder):
        digest, _, number = file.rpartition("-")
        if not file.startswith(_HEARTBEAT) and number.isdecimal():
            numbers[digest] = max(int(number), numbers.get(digest, 0))
    return numbers


def workers(folder: Path) -> dict[str, tuple[Worker, float]]:
    """All processes that have left a heartbeat in a folder of claims, by owner, dead ones included.

    With each, the seconds since it was last heard of: by the file's time and this host's clock, which may not agree.
    """
    found = {}
    for file in _listed(folder):
        if file.startswith(_HEARTBEAT):
            with suppress(OSError):
                if worker := _worker((folder / file).read_text()):
                    silent_seconds = max(0.0, time.time() - (folder / file).stat().st_mtime)
                    found[file.removeprefix(_HEARTBEAT)] = worker, silent_seconds
    return found


def _listed(folder: Path) -> Collection[str]:
    try:
        return os.listdir(folder)
    except FileNotFoundError:
        return ()


def _unlink(path: Path) -> None:
    """What can't be removed, on a disk that was made read-only, is in nobody's way once this process has ended."""
    with suppress(OSError):
        path.unlink(missing_ok=True)


def _claim(path: Path) -> tuple[str, str] | None:
    """The owner and the run that a claim names; None for one that is not, or not wholly, there."""
    try:
        claim = json.loads(path.read_text())
        return str(claim["owner"]), str(claim["run"])
    except (OSError, ValueError, TypeError, LookupError):
        return None


def _worker(text: str) -> Worker | None:
    """None for a heartbeat that is just being written."""
    try:
        return Worker(**json.loads(text))
    except (ValueError, TypeError):
        return None


def _digest(name: str) -> str:
    return hashlib.sha256(name.encode()).hexdigest()[:16]


def _job() -> str | None:
    """The number of a Slurm job, as squeue has it; None where this is none."""
    array, task = (os.environ.get(f"SLURM_ARRAY_{part}_ID") for part in ("JOB", "TASK"))
    return f"{array}_{task}" if array else os.environ.get("SLURM_JOB_ID")
