"""Workers as an array of Slurm jobs, by sbatch. Slurm knows whether they wait or run; what they did stands in records alone."""

from __future__ import annotations

import shlex
import subprocess

from harness.errors import ConfigError
from harness.files import write_atomically
from harness.runs.executors import Order


def submit(order: Order) -> str:
    """Submit the order's workers. Raises ConfigError where there is no sbatch, or where it refuses."""
    path = order.folder / f"{order.name}.sh"
    write_atomically(path, script(order).encode(), sync=False)
    try:
        done = subprocess.run(["sbatch", "--parsable", str(path)], capture_output=True, text=True)
    except FileNotFoundError as error:
        raise ConfigError("there is no sbatch here.", "Run this on a host from which jobs are submitted.") from error
    if done.returncode:
        raise ConfigError(
            f"sbatch refuses the job: {done.stderr.strip()}.", f"The script is {path}; sinfo lists what there is."
        )
    job = done.stdout.strip().partition(";")[0]
    return f"Slurm job {job}: {order.workers.count} workers for {order.runs} runs; their logs are {order.folder}/{job}_*.log."


def script(order: Order) -> str:
    """The batch script. Its shell gives way to the worker, which so hears Slurm's signals."""
    workers = order.workers
    given = {
        "job-name": order.name,
        "array": f"1-{workers.count}",
        "output": f"{order.folder}/%A_%a.log",
        "open-mode": "append",
        "partition": workers.partition,
        "time": workers.time,
        "gpus": workers.gpus,
        **(workers.settings or {}),
    }
    options = [
        f"#SBATCH --{key}={value}" if value else f"#SBATCH --{key}" for key, value in given.items() if value is not None
    ]
    return "\n".join(
        ["#!/bin/bash", *options, "#SBATCH --requeue", *workers.setup, f"exec {shlex.join(order.command)}", ""]
    )
