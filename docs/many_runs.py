"""Seconds and memory of 10,000 planned runs for docs/cluster.md: `python docs/many_runs.py` prints the table."""

import json
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from harness.meters.environment import describe
from harness.plan import Request, plan
from harness.records import RunRecord, TestRecord, WindowRecord, to_json
from harness.runs.claims import Claims
from harness.runs.identity import identified
from harness.runs.status import status
from harness.runs.store import Store
from harness.runs.suite_runner import RunOptions, pending
from harness.runs.todo import Todo

MISSING = 3
CLAIMS = 100
METHODS = "clip_adapter cocoop coop kgcoop linear_probe maple prograd skip_tuning tip_adapter zero_shot"
DATASETS = "caltech101 dtd eurosat fgvc_aircraft food101 oxford_flowers oxford_pets stanford_cars sun397 ucf101"
REQUEST = Request(
    suite="few-shot", methods=METHODS.split(), datasets=DATASETS.split(), shots=[1, 2, 4, 8, 16], seeds=[*range(1, 21)]
)


def _planned(store):
    return identified(plan(REQUEST, "published"), store, "cpu", print)


def _write_records(folder):
    """The records of all runs but three: 5 KB each, as of 50 epochs and 200 steps."""
    store, environment = Store(folder), describe("cpu", 1)
    runs = _planned(store)
    for run in runs[:-MISSING]:
        record = RunRecord(
            key=run.key,
            recipe_row=run.recipe_row,
            status="ok",
            reason=None,
            started_at="2026-01-01T00:00:00+00:00",
            total_seconds=12.5,
            windows={
                "train": WindowRecord(seconds=10.25, peak_tensor_bytes=1 << 28),
                "test": WindowRecord(seconds=0.5),
            },
            accuracy={
                test: TestRecord(accuracy_percent=50.0, correct=1, images=2, classes=2) for test in run.key.tests
            },
            epoch_losses=(1.25,) * 50,
            step_seconds=(0.1,) * 200,
            environment=environment,
        )
        path = store.path(run.key)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(to_json(record))
    store.plan(store.name(run.key) for run in runs)


def _claim(folder, todo):
    store = Store(folder)
    with Claims(store.claims_folder) as claims:
        left = Todo(todo, {}, store, claims)
        start = time.perf_counter()
        for _ in range(CLAIMS):
            left.take()
        return (time.perf_counter() - start) / CLAIMS


def _measured(step, folder):
    """Seconds of a step in this process, and the most memory that the process has had."""
    store = Store(folder)
    runs = [] if step in ("plan", "status") else _planned(store)
    start = time.perf_counter()
    match step:
        case "plan":
            found = len(_planned(store))
        case "pending":
            found = len(pending(runs, store, RunOptions(results=folder, device="cpu"), print)[0])
        case "claim":
            return {"seconds": _claim(folder / "none of them done", runs), "found": CLAIMS, "peak_bytes": _peak_bytes()}
        case "status":
            found = status(folder)[0].ok
    return {"seconds": time.perf_counter() - start, "found": found, "peak_bytes": _peak_bytes()}


def _peak_bytes():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss << 10


_WORDS = {
    "plan": "planned, with {found:,} keys",
    "pending": "the {found} that are missing found among the records of the others",
    "claim": "one claimed, none done yet; a mean of {found}",
    "status": "`status`, with {found:,} done",
}


def _main():
    if len(sys.argv) > 1:
        print(json.dumps(_measured(sys.argv[1], Path(sys.argv[2]))))
        return
    with tempfile.TemporaryDirectory() as folder:
        _write_records(Path(folder))
        print("| 10,000 runs | seconds | peak memory of the process |\n|---|---|---|")
        for step, words in _WORDS.items():
            run = subprocess.run([sys.executable, __file__, step, folder], capture_output=True, text=True, check=True)
            figures = json.loads(run.stdout)
            seconds = f"{figures['seconds']:.2g}"
            print(f"| {words.format(**figures)} | {seconds} | {figures['peak_bytes'] >> 20} MiB |")


if __name__ == "__main__":
    _main()
