"""Job: a planned run with what is not part of its identity: where things are, and what to run on. No torch."""

from __future__ import annotations

import shlex
from dataclasses import dataclass
from pathlib import Path

from harness.plan import PlannedRun
from harness.suite import Folders


@dataclass(frozen=True)
class Job:
    """What a run's process is given. `device` may be "auto"; `pretrained` a tag or an absolute path."""

    run: PlannedRun
    pretrained: str | None
    folders: Folders
    device: str
    threads: int
    command: str


def repeat_command(run: PlannedRun, pretrained: str | None, device: str) -> str:
    """The command line that repeats a run; of a checkpoint's path only the file's name is kept."""
    key = run.key
    parts = ["adaptbench", "run", key.suite, "--methods", key.method, "--datasets", key.dataset]
    parts += ["--seeds", str(key.seed), "--shots", str(key.shots), "--backbone", key.backbone]
    if pretrained:
        parts += ["--pretrained", Path(pretrained).name if Path(pretrained).is_file() else pretrained]
    parts += ["--precision", key.precision, "--execution", key.execution, "--device", device]
    for setting, text in run.overrides.items():
        parts += ["--set", f"{setting}={text}"]
    return shlex.join(parts)
