"""What times depend on beside the words that tell machines apart. Where it differs, times are neither averaged nor compared."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from functools import lru_cache

from harness.records import Environment, RunRecord
from reports.format import units
from reports.format.text import few, listed

TIMED_BY = ("GPU memory", "Driver", "CUDA", "TF32", "CPU", "Threads")

Timing = tuple[str, ...]
"""What a machine has of each fact of `TIMED_BY`, in words."""


def timing(environment: Environment) -> Mapping[str, str | None]:
    """The facts of `TIMED_BY`; None where the record has none."""
    e = environment
    return _timing(e.gpu_memory_bytes, e.driver, e.cuda, e.tf32, e.cpu, e.threads)


@lru_cache(maxsize=1024)
def _timing(
    gpu_memory_bytes: int | None,
    driver: str | None,
    cuda: str | None,
    tf32: bool | None,
    cpu: str | None,
    threads: int | None,
) -> dict[str, str | None]:
    """Thousands of runs are on machines of a few kinds."""
    return {
        "GPU memory": None if gpu_memory_bytes is None else units.size(gpu_memory_bytes),
        "Driver": driver,
        "CUDA": cuda,
        "TF32": None if tf32 is None else "on" if tf32 else "off",
        "CPU": cpu,
        "Threads": None if threads is None else str(threads),
    }


def timings(records: Iterable[RunRecord]) -> Counter[Timing]:
    """The kinds of machines, as times see them, that runs finished on, and how many runs each has."""
    finished = (r.environment for r in records if r.status == "ok")
    return Counter(tuple(fact or "unknown" for fact in timing(environment).values()) for environment in finished)


def timed_on(records: Iterable[RunRecord]) -> Timing | None:
    """The kind of machine that a section's times are of: that of the most runs; None where none finished."""
    found = timings(records)
    return min(found, key=lambda each: (-found[each], each), default=None)


def unlike(main: Timing | None, records: Iterable[RunRecord]) -> str:
    """Why a row has no times beside those of `main`; empty where all its runs are of that kind."""
    if main is None:
        return ""
    kinds = timings(records)
    others = [{found[i] for found in kinds} - {own} for i, own in enumerate(main)]
    facts = [
        f"{fact} ({few(found)} instead of {few([own])})"
        for fact, found, own in zip(TIMED_BY, others, main, strict=True)
        if found
    ]
    return f"Not all its runs were on a machine like that of this section's times: {listed(facts)}." if facts else ""
