"""Job: a planned run with what is not part of its identity: where things are, and what to run on. No torch."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from harness.plan import PlannedRun
from harness.records import Phase
from harness.suite import Folders
from harness.weights import LOCAL, KnownWeights


@dataclass(frozen=True)
class KnownPeaks:
    """Exact peaks of live tensor bytes by phase, and the seed of the run that counted them, which differs in nothing else."""

    seed: int
    peak_bytes: Mapping[Phase, int]


@dataclass(frozen=True)
class Job:
    """What a run's process is given. `device` may be "auto"; `pretrained` a tag or an absolute path.

    `predictions` is the file that the predictions on every test image go to, `trace` the one for a trace of two training steps,
    if anyone wants them, `saved` the one for the trained model. `features` is the folder in which runs leave the test features
    of frozen image towers for each other. `gpu` is the UUID of the only GPU that the run is to see; None for all there are.
    `prompts` are those of all runs that may be too long for the backbone, for whoever checks the job before the first run.
    `known_peaks` are those that a run with another seed has counted, and this one need not where shapes alone decide them;
    `known_weights` is the digest that the check before the first run has found.
    """

    run: PlannedRun
    pretrained: str | None
    folders: Folders
    device: str
    threads: int
    command: str
    predictions: Path | None = None
    trace: Path | None = None
    saved: Path | None = None
    features: Path | None = None
    gpu: str | None = None
    prompts: tuple[str, ...] = ()
    known_peaks: KnownPeaks | None = None
    known_weights: KnownWeights | None = None


def may_optimize(run: PlannedRun) -> bool:
    """Whether a run imports torch's compiler, as any optimiser and any simulation does: not where our methods take no steps."""
    return run.key.recipe.trains or run.key.simulated or run.profile or run.key.source_sha256 is not None


@dataclass(frozen=True)
class Place:
    """Where runs compute: the UUIDs of the GPUs they may use, none on a CPU, and the CPU threads that serve each of them best.

    And what the weights are that they begin with, where these are of a file.
    """

    gpus: tuple[str, ...] = ()
    threads: int = 1
    weights: KnownWeights | None = None


def repeat_command(run: PlannedRun, pretrained: str | None, device: str, threads: int | None = None) -> str:
    """The command line that repeats a run; of a path, a checkpoint's or a dataset's, only the last part is kept."""
    key = run.key
    source, separator, rest = run.sources.get(key.dataset, key.dataset).partition(":")
    path = rest if Path(rest).exists() else rest.partition(":")[0]  # hf:FOLDER:label=coarse
    last = Path(path).name if Path(path).exists() else path
    dataset = f"{source}{separator}{last}{rest[len(path) :]}"
    parts = ["adaptbench", "run", key.suite, "--methods", key.method]
    parts += ["--datasets", f'"{dataset}"' if "," in dataset else dataset]
    choice, chosen, _ = run.recipe_row.partition(":")
    parts += ["--recipes", choice] if chosen else []
    parts += ["--seeds", str(key.seed), "--shots", str(key.shots), "--backbone", key.backbone]
    if pretrained and not key.backbone.startswith(LOCAL):
        parts += ["--pretrained", Path(pretrained).name if Path(pretrained).is_file() else pretrained]
    parts += ["--precision", key.precision, "--execution", key.execution, "--device", device]
    if threads is not None:
        parts += ["--threads", str(threads)]
    if key.steps is not None:
        parts += ["--steps", str(key.steps)]
    if run.class_names is not None and key.dataset in run.sources:
        parts += ["--class-names", Path(run.class_names).name]
    if key.template is not None:
        parts += ["--template", key.template]
    if key.simulated:
        parts.append("--simulate")
    for setting, text in run.overrides.items():
        parts += ["--set", f"{setting}={text}"]
    return shlex.join(parts)
