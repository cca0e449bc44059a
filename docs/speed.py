"""What a user waits for, before and after: ``python -m docs.speed [LINE ...] [--pairs N]`` prints rows of the table in speed.md.

Before is 0.1, in an environment of its own; after is this checkout. They take turns at the command of each line, in processor
seconds with those of all children; the first command alone, which does two runs at a time, in seconds of a clock on the wall: it
wants a machine that does nothing else. All lines with three pairs take an hour and a half on two cores. Linux only.
"""

from __future__ import annotations

import argparse
import ctypes
import json
import os
import random
import re
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from harness.gate.worker_client import Side
from harness.gate.worktree import base_checkout
from harness.probes.speedup import bootstrap_interval

BEFORE = "06f0f2f"
ROOT = Path(__file__).resolve().parent.parent
ONE_RUN = "run base2new --methods zero_shot --datasets demo-digits --seeds 1 --results RESULTS --site SITE"
CLASS_COUNTS = "500,50,19,98,51,51,50,199,24,5,51"
RECORDS = {"methods": 10, "datasets": 50, "seeds": 20}
_PR_SET_CHILD_SUBREAPER = 36
_NUMBERS = re.compile(r"\[\s+([-+.\w]+(?:,\s+[-+.\w]+)*)\s+\]")


@dataclass(frozen=True)
class Line:
    """A command, with folders in capitals, what of it counts, and what the ratio of that is to be at most.

    `now` are words that this version alone has.
    """

    words: str
    goal: float
    seconds: Callable[[Side, Sequence[str], Path], float]
    now: str = ""


def processor_seconds(side: Side, words: Sequence[str], folder: Path) -> float:
    """Of a command and of all that it starts."""
    start = _of_children()
    _do(side, words, folder)
    return _of_children() - start


def wall_seconds(side: Side, words: Sequence[str], folder: Path) -> float:
    """Of a command."""
    start = time.perf_counter()
    _do(side, words, folder)
    return time.perf_counter() - start


def setup_seconds(side: Side, words: Sequence[str], folder: Path) -> float:
    """Processor seconds of the set-up, as the one run's record has them."""
    _do(side, words, folder)
    (record,) = (json.loads(path.read_text()) for path in (folder / "results").rglob("*.json"))
    return float(record["windows"]["setup"]["cpu_seconds"])


LINES = {
    "help": Line("--help", 0.5, processor_seconds),
    "plan": Line("plan base2new", 0.5, processor_seconds),
    "setup": Line(ONE_RUN, 0.5, setup_seconds),
    "zero-shot": Line(ONE_RUN, 0.7, processor_seconds),
    "report": Line("report RECORDS --output SITE", 0.5, processor_seconds),
    "estimate": Line("estimate all --classes 1000", 0.125, processor_seconds),
    "estimates": Line(f"estimate all --classes {CLASS_COUNTS}", 0.5, processor_seconds),
    "first": Line("run base2new --results RESULTS --site SITE", 0.25, wall_seconds, now="--jobs auto"),
}


def main() -> None:
    """Print a row for each line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("lines", nargs="*", choices=[*LINES, []], metavar="LINE", help=", ".join(LINES))
    parser.add_argument("--pairs", type=int, default=3)
    given = parser.parse_args()
    ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, 1)
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
    with base_checkout(ROOT, BEFORE, say=_say) as before, tempfile.TemporaryDirectory() as made:
        sides = (before, Side(name="head", python=Path(sys.executable), folder=ROOT))
        records = Path(made, "records")
        for side in sides:
            folder = Path(made, side.name)
            folder.mkdir()
            _do(side, _words(LINES["setup"], side, folder, records), folder)  # from here on all modules are compiled
        if "report" in (given.lines or LINES):
            write_records(records, like=next(Path(made, before.name, "results").rglob("*.json")))
        print("| what | command | pairs | before | after | ratio | goal |\n|---|---|---|---|---|---|---|")
        for name in given.lines or LINES:
            print(row(name, sides, given.pairs, records), flush=True)


def row(name: str, sides: tuple[Side, Side], pairs: int, records: Path) -> str:
    """A line's figures, of so many pairs."""
    line = LINES[name]
    taken: tuple[list[float], list[float]] = ([], [])
    for pair in range(pairs):
        for number in (0, 1) if pair % 2 == 0 else (1, 0):
            with tempfile.TemporaryDirectory() as folder:
                words = _words(line, sides[number], Path(folder), records)
                taken[number].append(line.seconds(sides[number], words, Path(folder)))
        _say(f"{name}: {taken[0][-1]:.2f} s before, {taken[1][-1]:.2f} s after")
    ratios = np.array(taken[1]) / np.array(taken[0])
    low, high = bootstrap_interval(ratios)
    before, after = (f"{statistics.median(each):.3g} s" for each in taken)
    ratio = f"{np.median(ratios):.3g} ({low:.3g} to {high:.3g})"
    return f"| {name} | `adaptbench {line.words}` | {pairs} | {before} | {after} | {ratio} | {line.goal} |"


def _words(line: Line, side: Side, folder: Path, records: Path) -> list[str]:
    folders = {"RESULTS": folder / "results", "SITE": folder / "site", "RECORDS": records}
    words = f"{line.words} {line.now if side.name == 'head' else ''}".split()
    return [str(folders.get(word, word)) for word in words]


def _do(side: Side, words: Sequence[str], folder: Path) -> None:
    environment: Mapping[str, str] = {**os.environ, **side.environment}
    with (folder / "output").open("w+") as output:
        done = subprocess.run(
            [side.python, "-m", "harness", *words], cwd=side.folder, env=environment, stdout=output, stderr=output
        )
        if done.returncode:
            output.seek(0)
            raise SystemExit(
                f"{side.name}: adaptbench {' '.join(words)} ended with {done.returncode}:\n{output.read()}"
            )


def _of_children() -> float:
    with suppress(ChildProcessError):
        while True:  # a fork server is its command's child, and then ours
            os.wait()
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def write_records(folder: Path, like: Path) -> None:
    """10,000 records of 12 KB, no two alike, in the form of one that 0.1 has written."""
    made = json.loads(like.read_text())
    for method in range(RECORDS["methods"]):
        target = folder / "base2new" / f"method{method}"
        target.mkdir(parents=True)
        for dataset in range(RECORDS["datasets"]):
            for seed in range(1, RECORDS["seeds"] + 1):
                text = json.dumps(_varied(made, method, dataset, seed), indent=1)
                text = _NUMBERS.sub(lambda found: f"[{' '.join(found[1].split())}]", text)
                (target / f"dataset{dataset}-16shots-seed{seed}-{'0' * 10}.json").write_text(f"{text}\n")


def _varied(made: dict[str, Any], method: int, dataset: int, seed: int) -> dict[str, Any]:
    """The record as another run of 26 classes and 160 steps might have left it."""
    draws = random.Random(f"{method} {dataset} {seed}")
    record = json.loads(json.dumps(made))
    tests = [f"dataset{dataset}/base", f"dataset{dataset}/new"]
    record["key"] |= {"method": f"method{method}", "dataset": f"dataset{dataset}", "seed": seed, "tests": tests}
    record["started_at"] = f"2026-01-{1 + dataset % 28:02d}T{seed:02d}:{draws.randrange(60):02d}:00+00:00"
    for window in record["windows"].values():
        window["seconds"] = (3 + method) * draws.uniform(0.9, 1.1)
        window["cpu_seconds"] = window["seconds"] * draws.uniform(0.8, 1)
        window["peak_rss_bytes"] = 4096 * draws.randrange(40_000, 48_000)
    for phase in ("train", "test"):
        record["windows"][phase]["peak_tensor_bytes"] = 512 * draws.randrange(100_000, 110_000)
    record["total_seconds"] = sum(window["seconds"] for window in record["windows"].values()) + 1
    record["accuracy"] = {test: _test(draws, dataset, 60 + method) for test in tests}
    record["validation"] = _test(draws, dataset, 80)
    record["epoch_losses"] = [3 * 0.95**epoch * draws.uniform(0.8, 1.2) for epoch in range(50)]
    record["step_seconds"] = [round((0.05 + method / 100) * draws.uniform(0.9, 1.2), 7) for _ in range(160)]
    record["train_images_seen"] = 160 * 32
    return record


def _test(draws: random.Random, dataset: int, percent: int) -> dict[str, Any]:
    confusion = []
    for label in range(26):
        right = round(min(100.0, max(1.0, draws.gauss(percent, 8))) / 2)
        first = draws.randrange(50 - right + 1)
        others = {(label + 1) % 26: first, (label + 7) % 26: 50 - right - first}
        confusion += [[label, answer, count] for answer, count in sorted({**others, label: right}.items()) if count]
    correct = sum(count for label, answer, count in confusion if label == answer)
    names = [f"class {label} of dataset {dataset}" for label in range(26)]
    found = {"accuracy_percent": 100 * correct / (26 * 50), "correct": correct, "images": 26 * 50, "classes": 26}
    return {**found, "class_names": names, "answers_zero_shot": False, "confusion": confusion}


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
