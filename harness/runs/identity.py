"""Which records a plan's runs have: what a run is holds the kind of device, and the source of a method of the user's own.

And whether names stand for the same on two hosts.
"""

from __future__ import annotations

import os
import platform
import sys
from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import replace
from typing import Literal

from harness import plugins
from harness.errors import AdaptBenchError, DataError
from harness.own_source import source_sha256
from harness.plan import PlannedRun, Request
from harness.records import RunKey
from harness.runs.store import Store

Kind = Literal["cpu", "cuda"]
_DRIVERS = ("/dev/nvidiactl", "/dev/dxg", "/dev/kfd")
"""Where Linux, its subsystem in Windows, and AMD's driver show that there may be a GPU."""


def kind_of(device: str) -> Kind:
    """What kind of device auto, cpu, cuda or cuda:N is here. Torch is imported only where a driver makes "auto" a question."""
    if device != "auto":
        return "cpu" if device == "cpu" else "cuda"
    if sys.platform == "darwin" or (os.name == "posix" and not any(map(os.path.exists, _DRIVERS))):
        return "cpu"
    import torch

    return "cuda" if torch.cuda.is_available() else "cpu"


def identified(
    runs: Sequence[PlannedRun], store: Store, device: str, note: Callable[[str], object]
) -> list[PlannedRun]:
    """The runs with the kind of device in their keys, but for those that an earlier version recorded: they keep its key.

    Notes the methods whose source has changed since they were recorded, and those whose records don't tell.
    """
    kind, present = kind_of(device), store.names()
    found, changed, untold = [], Counter[str](), Counter[str]()
    for run in runs:
        key = run.key if run.key.simulated else replace(run.key, device=kind)
        earlier = _earlier(key, kind, store, present)
        if earlier is not None:
            untold[key.method] += key.source_sha256 is not None
        elif key.source_sha256 and store.name(key) not in present:
            changed[key.method] += _has_other_source(key, store, present)
        found.append(replace(run, key=earlier or key))
    for method, count in (+changed).items():
        runs_of_it = "one of its runs was" if count == 1 else f"{count} of its runs were"
        note(f"{method} has changed since {runs_of_it} recorded: it is run again. The earlier records stay.")
    for method, count in (+untold).items():
        note(
            f"Records of before 0.2 don't tell the source of {method} ({count}): if it has changed since, add --again."
        )
    return found


def meanings(request: Request, runs: Sequence[PlannedRun]) -> dict[str, str]:
    """What a request's names stand for on this host, where hosts may differ: digests of code, data and weights, by their names."""
    found: dict[str, str | None] = {}
    for spec in (request.suite, *request.datasets):
        if not plugins.is_source(spec):
            module, colon, _ = (name := plugins.named(spec)).partition(":")
            found[f"'{name}'"] = source_sha256(module) if colon else None
    for run in runs:
        found[f"the method '{run.key.method}'"] = run.key.source_sha256
        found[f"the weights of '{run.key.backbone}'"] = run.key.pretrained
        found |= {f"the data of '{spec}'": name for name, spec in run.sources.items()}
    return {name: text for name, text in found.items() if text is not None}


def require_meanings(ordered: Mapping[str, str], here: Mapping[str, str]) -> None:
    """Raise DataError for names that don't stand for the same on this host as where workers were ordered."""
    unlike = [name for name in sorted({*ordered, *here}) if ordered.get(name) != here.get(name)]
    if unlike:
        name = unlike[0]
        raise DataError(
            f"{' and '.join(unlike)}: on {platform.node()} not what was ordered ({here.get(name)} instead of {ordered.get(name)}).",
            "Have the same files on all hosts; code that is named as FILE.py:NAME comes along by itself.",
        )


def _earlier(key: RunKey, kind: Kind, store: Store, present: Collection[str]) -> RunKey | None:
    """The key by which a version before 0.2 has recorded a run on this kind of device, if no later one has."""
    old = replace(key, device=None, source_sha256=None)
    if old == key or store.name(key) in present or store.name(old) not in present:
        return None
    try:
        record = store.find(old)
    except AdaptBenchError:  # which whoever reads it for good will say
        return None
    device = record.environment.device if record else "auto"
    recorded = (
        ("cuda" if record and record.environment.gpu else "cpu") if device == "auto" else device.partition(":")[0]
    )
    return old if key.simulated or recorded == kind else None


def _has_other_source(key: RunKey, store: Store, present: Collection[str]) -> bool:
    """Whether the same run is recorded with another source of its method."""
    start = store.name(key).rpartition("-")[0]
    for name in present:
        if name.startswith(f"{start}-"):
            try:
                other = store.read(name).key
            except (AdaptBenchError, OSError):
                continue
            if replace(other, source_sha256=key.source_sha256) == key:
                return True
    return False
