"""How many test images the runs of a suite get right: the same number each time on one platform."""

from __future__ import annotations

from pathlib import Path

import torch

from harness.errors import AdaptBenchError
from harness.plan import PlannedRun, Request, plan
from harness.records import RunRecord
from harness.runs.job import Job, repeat_command
from harness.runs.runner import execute
from harness.suite import Folders


def correct_answers(request: Request, cache: Path) -> dict[str, int]:
    """By method, test and seed, of runs done one after the other in this process, in one thread.

    `cache` is the folder for generated datasets. Raises AdaptBenchError if a run fails.
    """
    threads = torch.get_num_threads()
    try:
        records = [_record(run, cache) for run in plan(request, "demo")]
    finally:
        torch.set_num_threads(threads)
    return {
        f"correct, {record.key.method}, {test}, seed {record.key.seed}": score.correct
        for record in records
        for test, score in record.accuracy.items()
    }


def _record(run: PlannedRun, cache: Path) -> RunRecord:
    job = Job(
        run=run,
        pretrained=run.pretrained,
        folders=Folders(data_root=None, cache=cache),
        device="cpu",
        threads=1,
        command=repeat_command(run, run.pretrained, "cpu"),
    )
    record = execute(job)
    if record.status != "ok":
        raise AdaptBenchError(f"a run ended as {record.status}: {record.reason}", f"To repeat it: {job.command}")
    return record
