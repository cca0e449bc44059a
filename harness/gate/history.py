"""Gates of the past: a folder of small files, one a recorded gate, written once and never changed. No torch here.

A regressed gate is kept as one: `last_passed`, what later figures are seen against, never takes it.
"""

from __future__ import annotations

import hashlib
import math
import platform
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import field
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any, Final, Literal

from pydantic import ConfigDict, Field, TypeAdapter, ValidationError
from pydantic.dataclasses import dataclass

from harness.errors import AdaptBenchError, ConfigError, DataError
from harness.files import write_atomically
from harness.gate.measure import ONE_THREAD
from harness.gate.verdict import Outcome, Verdict, worst
from harness.meters import environment
from harness.records import first_fault

SCHEMA_VERSION: Final = 1
_CONFIG = ConfigDict(extra="forbid", allow_inf_nan=False)
_COMMIT = re.compile(r"[0-9a-f]{7,64}")

Seconds = Annotated[float, Field(gt=0)]


@dataclass(frozen=True, kw_only=True, slots=True, config=_CONFIG)
class Machine:
    """What figures must share to stand in one series: the processor, how much of it, and the software that computes.

    platform: system and architecture; the kernel's version is left out. The host's name is not kept at all, so that the runners
    of a CI service, a new host each time, form one series where their processors are alike.
    """

    cpu: str | None
    cpu_count: int | None
    threads: int
    platform: str
    python: str
    torch: str | None

    @property
    def fingerprint(self) -> str:
        """Twelve hexadecimal digits, equal for equal machines."""
        return hashlib.sha256(_MACHINE.dump_json(self)).hexdigest()[:12]


@dataclass(frozen=True, kw_only=True, slots=True, config=_CONFIG)
class Times:
    """A benchmark's rounds, each the seconds of one call, summarised."""

    rounds: Annotated[int, Field(ge=1)]
    min_seconds: Seconds
    q1_seconds: Seconds
    median_seconds: Seconds
    q3_seconds: Seconds
    max_seconds: Seconds


@dataclass(frozen=True, kw_only=True, slots=True, config=_CONFIG)
class Measured:
    """One benchmark: its times, null where it has none that could be compared, and its other numbers by name ("flops", ...).

    exact: the names of those that are the same at every run of the same code.
    """

    times: Times | None
    figures: Mapping[str, int | float]
    exact: tuple[str, ...]


@dataclass(frozen=True, kw_only=True, slots=True, config=_CONFIG)
class Gate:
    """One recorded gate: what head measured, where, and what the gate said of it. Times of day are ISO 8601.

    commit, commit_time, branch, dirty: of the repository that was measured, null outside one. dirty: tracked files differed from
    the commit.
    """

    schema_version: Literal[1] = SCHEMA_VERSION
    recorded_at: datetime
    commit: Annotated[str, Field(pattern=f"^{_COMMIT.pattern}$")] | None
    commit_time: datetime | None
    branch: str | None
    dirty: bool | None
    machine: Machine
    benchmarks: Mapping[str, Measured]
    verdicts: tuple[Verdict, ...] = field(default=())

    @property
    def outcome(self) -> Outcome:
        """That of the worst verdict."""
        return worst(self.verdicts)

    @property
    def order(self) -> tuple[datetime, datetime]:
        """Gates in a row: by commit, then by when they ran."""
        return (self.commit_time or self.recorded_at, self.recorded_at)


_MACHINE = TypeAdapter(Machine)
_GATE = TypeAdapter(Gate)


def append(store: Path, report: Mapping[str, Any], verdicts: Sequence[Verdict]) -> Path:
    """Records one gate: `report` is head's pytest-benchmark JSON. Raises ConfigError where the folder can't be written."""
    return write(store, _gate(report, verdicts))


def write(store: Path, gate: Gate) -> Path:
    """Adds a file, named after its time, commit and content. Raises ConfigError where the folder can't be written."""
    data = _GATE.dump_json(gate, indent=1) + b"\n"
    digest = hashlib.sha256(data).hexdigest()[:10]
    path = store / f"{gate.recorded_at:%Y%m%dT%H%M%SZ}-{(gate.commit or 'no-commit')[:12]}-{digest}.json"
    try:
        store.mkdir(parents=True, exist_ok=True)
        write_atomically(path, data)
    except OSError as error:
        raise ConfigError(
            f"the gate can't be recorded in {store}: {error.strerror}.",
            "Name a folder that can be written: --record STORE.",
        ) from error
    return path


def read(store: Path) -> tuple[list[Gate], list[DataError]]:
    """All gates of a store, in order, and an error for each file that is none. Raises ConfigError without a folder."""
    if not store.is_dir():
        raise ConfigError(f"there is no store {store}.", "Record a gate first: adaptbench gate --record STORE.")
    gates, errors = [], []
    for path in sorted(store.glob("*.json")):
        try:
            gates.append(_parsed(path))
        except DataError as error:
            errors.append(error)
    return sorted(gates, key=lambda gate: gate.order), errors


def last_passed(gates: Iterable[Gate]) -> Gate | None:
    """The latest gate that passed, of a commit without changes on top: the only kind that later figures are seen against."""
    return max((g for g in gates if g.outcome == "pass" and not g.dirty), key=lambda gate: gate.order, default=None)


def _parsed(path: Path) -> Gate:
    try:
        return _GATE.validate_json(path.read_bytes())
    except OSError as error:
        raise DataError(f"{path} can't be read: {error.strerror}.") from error
    except ValidationError as error:
        raise DataError(
            f"{path} is no recorded gate of schema {SCHEMA_VERSION}: {first_fault(error)}.",
            "Delete it, or read it with the AdaptBench version that wrote it.",
        ) from error


def _gate(report: Mapping[str, Any], verdicts: Sequence[Verdict]) -> Gate:
    commit = report.get("commit_info") or {}
    known = bool(_COMMIT.fullmatch(str(commit.get("id"))))  # else pytest-benchmark's "unversioned" or "unknown"
    try:
        return Gate(
            recorded_at=datetime.now(UTC).replace(microsecond=0),
            commit=commit["id"] if known else None,
            commit_time=commit.get("time") if known else None,
            branch=commit.get("branch") if known else None,
            dirty=commit.get("dirty") if known else None,
            machine=this_machine(),
            benchmarks={b["fullname"]: _measured(b) for b in report["benchmarks"]},
            verdicts=tuple(verdicts),
        )
    except (KeyError, TypeError, ValueError) as error:
        raise AdaptBenchError(
            f"the report can't be recorded: it is not pytest-benchmark's JSON ({error!r}).",
            "Write it by --benchmark-json FILE.",
        ) from error


def this_machine() -> Machine:
    """This machine, as the benchmarks of a gate use it."""
    threads = int(ONE_THREAD["OMP_NUM_THREADS"])
    seen = environment.describe("cpu", threads)
    return Machine(
        cpu=seen.cpu,
        cpu_count=seen.cpu_count,
        threads=threads,
        platform=f"{platform.system()} {platform.machine()}",
        python=seen.python,
        torch=seen.versions.get("torch"),
    )


def _measured(benchmark: Mapping[str, Any]) -> Measured:
    extra = benchmark["extra_info"]
    exact = (*extra.get("exact", ()), *extra.get("exact_per_platform", ()))
    numbers = {k: v for k, v in extra.items() if isinstance(v, int | float) and not isinstance(v, bool)}
    figures = {name: value for name, value in numbers.items() if math.isfinite(value)}
    return Measured(
        times=_times(benchmark.get("stats") or {}) if extra.get("timed", True) else None,
        figures=figures,
        exact=tuple(name for name in exact if name in figures),
    )


def _times(stats: Mapping[str, Any]) -> Times | None:
    if not stats.get("rounds"):
        return None
    quantities = {f"{name}_seconds": stats[name] for name in ("min", "q1", "median", "q3", "max")}
    return Times(rounds=stats["rounds"], **quantities)
