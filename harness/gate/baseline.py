"""The baseline: a committed file in pytest-benchmark's format that says what every figure has to be. No torch here.

Beside pytest-benchmark's entries it has a head of ours: the project, and the system and PyTorch that the figures are of. An entry's
`extra_info` holds the exact figures, under "per_platform" those that hold for one processor and one PyTorch only, and "timed" where
that is False. Neither host names nor folders are kept. `command` writes it, on ``--update`` alone.
"""

from __future__ import annotations

import json
import platform
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from harness.errors import DataError
from harness.files import write_atomically
from harness.meters.environment import cpu_model

FILE = "baseline.json"
_COMMIT = ("id", "time", "dirty")
Figures = Mapping[str, Any]


@dataclass(frozen=True)
class Platform:
    """What figures may depend on: system and PyTorch (`software`); where rounding decides, the processor too (`name`)."""

    software: str
    name: str


def this_platform() -> Platform:
    """This system, its processor, and the PyTorch installed here."""
    try:
        torch = f"torch {version('torch').partition('+')[0]}"
    except PackageNotFoundError:
        torch = "no torch"
    software = f"{platform.system()} {platform.machine()}, {torch}"
    return Platform(software, f"{cpu_model() or 'unknown processor'}, {software}")


def project_name(root: Path) -> str:
    """The name in the pyproject.toml of a folder, else the folder's own."""
    try:
        return str(tomllib.loads((root / "pyproject.toml").read_text())["project"]["name"])
    except (OSError, KeyError, tomllib.TOMLDecodeError):
        return root.name


@dataclass(frozen=True)
class Expected:
    """What the figures of one benchmark have to be: on any machine, and by platform's name. timed: whether times are compared."""

    figures: Figures
    per_platform: Mapping[str, Figures]
    timed: bool = True


@dataclass(frozen=True)
class Baseline:
    """The file as read: project, software, benchmarks by node id; and its JSON."""

    project: str
    software: str
    benchmarks: Mapping[str, Expected]
    content: Mapping[str, Any]


def figures_of(entry: Mapping[str, Any], names: str) -> dict[str, Any]:
    """The figures of a measured benchmark that its extra_info lists under "exact" or "exact_per_platform"; null where missing."""
    return {name: entry["extra_info"].get(name) for name in entry["extra_info"].get(names, ())}


def is_timed(entry: Mapping[str, Any]) -> bool:
    """Whether a measured benchmark takes part in the timed gate: unless its extra_info has "timed" as False."""
    return bool(entry["extra_info"].get("timed", True))


def read(path: Path) -> Baseline:
    """Raises DataError if there is no such file, or it is not a whole baseline."""
    if not path.exists():
        raise DataError(
            f"there is no baseline {path}: nothing says what the figures have to be.",
            "Make one and commit it: adaptbench gate --update",
        )
    try:
        baseline = parsed(json.loads(path.read_bytes()))
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise DataError(
            f"{path} is no whole baseline: {type(error).__name__}: {error}.",
            "It is cut short, or another tool's. Restore it by git checkout, or write it anew: adaptbench gate --update",
        ) from error
    if not baseline.benchmarks:
        raise DataError(f"{path} holds no benchmark.", "Restore it by git checkout, or: adaptbench gate --update")
    return baseline


def parsed(content: Mapping[str, Any]) -> Baseline:
    """Raises KeyError, TypeError or the like where a part is missing."""
    head = content["adaptbench"]
    found = {entry["fullname"]: _expected(entry) for entry in content["benchmarks"]}
    return Baseline(head["project"], head["software"], found, content)


def _expected(entry: Mapping[str, Any]) -> Expected:
    figures = dict(entry["extra_info"])
    per_platform = figures.pop("per_platform", {})
    timed = figures.pop("timed", True)
    return Expected(figures, dict(per_platform), timed)


def updated(old: Baseline | None, report: Mapping[str, Any], project: str, here: Platform) -> dict[str, Any]:
    """The content of a new baseline, from pytest-benchmark's report.

    Of the old one it keeps the figures of other platforms, and on the same machine the times of benchmarks whose figures are equal.
    """
    machine = {**report["machine_info"], "processor": cpu_model()}
    before = {entry["fullname"]: entry for entry in old.content["benchmarks"]} if old else {}
    same = old is not None and old.content.get("machine_info") == machine
    entries = []
    for measured in sorted(report["benchmarks"], key=lambda entry: entry["fullname"]):
        earlier = before.get(measured["fullname"])
        entry = _entry(measured, earlier, here)
        entries.append(earlier if earlier and same and earlier["extra_info"] == entry["extra_info"] else entry)
    return {
        "adaptbench": {"project": project, "software": here.software},
        "machine_info": machine,
        "commit_info": {name: report["commit_info"].get(name) for name in _COMMIT},
        "benchmarks": entries,
        "datetime": report["datetime"],
        "version": report["version"],
    }


def _entry(measured: Mapping[str, Any], earlier: Mapping[str, Any] | None, here: Platform) -> dict[str, Any]:
    figures: dict[str, Any] = figures_of(measured, "exact")
    if not is_timed(measured):
        figures["timed"] = False
    rounded = figures_of(measured, "exact_per_platform")
    others = earlier["extra_info"].get("per_platform", {}) if earlier else {}
    if rounded:
        figures["per_platform"] = {**others, here.name: rounded}
    return {
        **{name: measured[name] for name in ("group", "name", "fullname", "param")},
        "params": {n: v for n, v in (measured["params"] or {}).items() if isinstance(v, str | int | float)} or None,
        "extra_info": figures,
        "options": measured["options"],
        "stats": {name: value for name, value in measured["stats"].items() if name != "data"},
    }


def write(path: Path, content: Mapping[str, Any]) -> None:
    """One benchmark a paragraph, so that a diff shows which figures changed."""
    head = {name: value for name, value in content.items() if name != "benchmarks"}
    entries = [",\n   ".join(f"{json.dumps(k)}: {json.dumps(v)}" for k, v in e.items()) for e in content["benchmarks"]]
    lines = [f" {json.dumps(name)}: {json.dumps(value)}" for name, value in head.items()]
    lines.append(' "benchmarks": [\n  {' + "},\n\n  {".join(entries) + "}\n ]")
    write_atomically(path, ("{\n" + ",\n".join(lines) + "\n}\n").encode())
