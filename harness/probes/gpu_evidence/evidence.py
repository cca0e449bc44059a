"""Sections of cells, the file of their figures, and the process in which a section is measured within its budget."""

from __future__ import annotations

import gc
import json
import multiprocessing
import os
import signal
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from harness.errors import located
from harness.files import read_text, write_atomically
from harness.plan import PlannedRun, Request, plan
from harness.records import Precision

Figure = float | int | str | None
Figures = Mapping[str, Figure]
Results = dict[str, dict[str, dict[str, Figure]]]
"""Figures by section and cell; of a cell that failed, the one figure "error"."""


@dataclass(frozen=True)
class Setting:
    """Where figures are measured, and at what size: a rehearsal's is tiny."""

    device: str = "cuda:0"
    is_rehearsal: bool = False

    @property
    def backbone(self) -> str:
        return "demo-clip" if self.is_rehearsal else "ViT-B-16-quickgelu"

    @property
    def class_counts(self) -> tuple[int, ...]:
        return (4,) if self.is_rehearsal else (50, 500)

    @property
    def pairs(self) -> int:
        """How often two things are measured in turns."""
        return 2 if self.is_rehearsal else 7

    def request(self, *methods: str, precision: Precision = "fp32", **request: object) -> Request:
        """A run of each method on random images and random weights, of one image a class."""
        wanted: dict[str, object] = {
            "suite": "base2new",
            "methods": methods,
            "datasets": [f"random:{2 * self.class_counts[0]}"],
            "seeds": [1],
            "shots": [1],
            "backbone": self.backbone,
            "pretrained": "random",
            "precision": precision,
        }
        return Request(**(wanted | request))  # type: ignore[arg-type]

    def run(self, method: str, precision: Precision = "fp32", **request: object) -> PlannedRun:
        """The run of one method."""
        (run,) = plan(self.request(method, precision=precision, **request), "demo")
        return run


@dataclass(frozen=True)
class Column:
    """A figure of a section's cells: its key, its title, and how it reads."""

    key: str
    title: str
    text: Callable[[Figure], str] = str


@dataclass(frozen=True)
class Section:
    """One question to a GPU. `cells` gives, in order of worth, each cell's name and how it is measured."""

    name: str
    title: str
    demand: str
    budget_seconds: int
    columns: tuple[Column, ...]
    cells: Callable[[Setting], Mapping[str, Callable[[], Figures]]]


def read(path: Path) -> Results:
    """The figures of a file; none where there is none yet."""
    return json.loads(read_text(path))["cells"] if path.exists() else {}


def missing(section: Section, setting: Setting, path: Path) -> dict[str, Callable[[], Figures]]:
    """The cells that are not in a file, or failed."""
    done = {name for name, figures in read(path).get(section.name, {}).items() if "error" not in figures}
    return {name: measure for name, measure in section.cells(setting).items() if name not in done}


def measure(section: Section, setting: Setting, path: Path, tell: Callable[[str], None]) -> None:
    """Measure what a file lacks of a section, in a process of its own, which ends with its budget; a rehearsal has none."""
    cells = missing(section, setting, path)
    if not cells:
        return
    tell(f"{section.title}: {len(cells)} to measure, {section.budget_seconds} s at most")
    process = multiprocessing.get_context("fork").Process(
        target=_measure_all, args=(section.name, cells, path), daemon=False
    )
    process.start()
    process.join(None if setting.is_rehearsal else section.budget_seconds)
    if process.is_alive():
        assert process.pid is not None
        os.killpg(process.pid, signal.SIGKILL)
        process.join()
        tell(f"  stopped at {section.budget_seconds} s; repeat the command to go on")


def _measure_all(section: str, cells: Mapping[str, Callable[[], Figures]], path: Path) -> None:
    os.setsid()  # so that what a cell starts ends with it
    gc.freeze()  # what was imported stays: collecting garbage need not walk it
    for name, work in cells.items():
        gc.collect()  # the tensors of the cell before
        started = time.perf_counter()
        try:
            figures = dict(work())
        except (Exception, SystemExit) as error:  # a finding too: the other cells are measured all the same
            figures = {"error": located(error)}
        keep(path, section, name, {**figures, "took_seconds": round(time.perf_counter() - started, 2)})


def keep(path: Path, section: str, cell: str, figures: Figures) -> None:
    """Add a cell to a file of results."""
    document = json.loads(read_text(path))
    document["cells"].setdefault(section, {})[cell] = figures
    write_atomically(path, (json.dumps(document, indent=1) + "\n").encode())


def begin(path: Path, machine: Figures) -> None:
    """A file of results for a machine. Raises ValueError if there is one of another machine or software."""
    if not path.exists():
        write_atomically(path, (json.dumps({"machine": machine, "cells": {}}, indent=1) + "\n").encode())
    elif (kept := json.loads(read_text(path))["machine"]) != machine:
        differ = ", ".join(name for name in machine if machine[name] != kept.get(name))
        raise ValueError(f"{path} is of another machine or version ({differ}). Name another file by --results.")


def each(names: Sequence[str], work: Callable[[str], Figures]) -> dict[str, Callable[[], Figures]]:
    """A cell for each name."""
    return {name: partial(work, name) for name in names}
