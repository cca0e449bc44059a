"""`plan` and `run`: a question asked in Python, as the command line asks it."""

from __future__ import annotations

import inspect
import json
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, TypedDict, TypeVar, Unpack

from harness.cli import options
from harness.cli.progress import Detail, Display
from harness.cli.terminal import console, errors
from harness.errors import ConfigError, did_you_mean
from harness.plan import PlannedRun, Request, default_group
from harness.plan import plan as plan_request
from harness.records import Precision
from harness.runs.suite_runner import CACHE, Outcome, Progress, RunOptions, run_suite
from harness.suite import Execution

FilePath = str | os.PathLike[str]


class Question(TypedDict, total=False):
    """What is asked of a suite; what is left out is the suite's own choice. Names are those of the command line."""

    methods: str | Sequence[str]
    """Names, ``module:attribute`` or ``FILE.py:attribute``; "all" for every registered one."""
    recipes: str | None
    """Where they differ, the recipes of the authors' files ("released"), of the "paper", or of the published costs ("cost")."""
    datasets: str | Sequence[str]
    """Names, groups ("demo", "published"), ``folder:PATH``, ``csv:PATH``, ``torchvision:NAME``, ``hf:NAME``."""
    seeds: int | Sequence[int]
    shots: int | Sequence[int]
    """Training images per class."""
    backbone: str | None
    """"demo-clip" or any open_clip model name."""
    pretrained: str | None
    """An open_clip tag, a checkpoint file, or "random"."""
    precision: Precision
    """"fp32", "bf16", "fp16" or "fp16-pure"."""
    executions: Execution | Sequence[Execution]
    """"fast" leaves out work that can't change the result, "reference" does the authors' arithmetic."""
    steps: int | None
    """Ends training after so many steps, and each test after so many batches."""
    template: str | None
    """A prompt template with {} for the class name, instead of the datasets' own."""
    class_names: FilePath | None
    """A file of names for classes that datasets of your own know by codes."""
    simulated: bool
    """Compute nothing: find each run's peak bytes and FLOPs on tensors without contents."""
    profile: bool
    """Also look into a training step."""
    settings: Mapping[str, object] | None
    """Fields of methods and recipes: ``{"epochs": 5, "coop.class_position": "middle"}``."""
    data_root: FilePath | None
    """Folder of downloaded datasets; else what the environment's ADAPTBENCH_DATA_ROOT says."""


F = TypeVar("F", bound=Callable[..., Any])


def _spelt_out(function: F) -> F:
    """The same with a question's fields in its signature, where notebooks and `help` look for them."""
    signature = inspect.signature(function)
    own = [each for each in signature.parameters.values() if each.kind is not each.VAR_KEYWORD]
    asked = [
        inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=..., annotation=kind.__forward_arg__)
        for name, kind in Question.__annotations__.items()
    ]
    function.__signature__ = signature.replace(parameters=[*own[:1], *asked, *own[1:]])  # type: ignore[attr-defined]
    return function


@_spelt_out
def plan(suite: str, **question: Unpack[Question]) -> list[PlannedRun]:
    """The runs that `run` would do, datasets outermost and seeds innermost, with recipes resolved; runs nothing, imports no torch.

    suite: a registered name or ``module:attribute``. For the other arguments see `Question`. The `key` of each has what makes the
    run the run it is (docs/records.md). Raises ConfigError.
    """
    return plan_request(_request(suite, question), default_group(_data_root(question)))


@_spelt_out
def run(
    suite: str,
    *,
    results: FilePath = "results",
    cache: FilePath | None = None,
    device: str = "auto",
    jobs: int | Literal["auto"] = 1,
    threads: int | None = None,
    share_device: bool = False,
    time_limit_seconds: float | None = None,
    work_seconds: float | None = None,
    run_limit: int | None = None,
    predictions: bool = False,
    trace: bool = False,
    save: bool = False,
    retry_failed: bool = False,
    again: bool = False,
    progress: Detail | Progress = "usual",
    **question: Unpack[Question],
) -> Outcome:
    """Do the runs of a suite that have no record in `results` yet, each in a process of its own; says how many came to what.

    suite: a registered name or ``module:attribute``. What is asked of it: see `Question`.
    device: auto, cpu, cuda or cuda:N; there `jobs` runs at a time, with `threads` CPU threads each. Runs about time share a device
    with `share_device` alone.
    time_limit_seconds: a run that takes longer counts as hung. No run is begun beyond `run_limit`, or that would hardly end within
    `work_seconds`.
    predictions, trace, save: keep each test image's prediction, a trace of two steps, the trained model (for `load`) beside the
    record.
    retry_failed, again: do failed runs again, or all.
    cache: folder of generated data; else what the environment's ADAPTBENCH_CACHE says.
    progress: "usual" (live in a notebook and on a terminal, else a line per run), "steps" (a line per phase, epoch and test),
    "quiet" (failures alone), or an object of your own that is told of it all.

    A run that fails is a record with its reason, counted in the outcome; nothing is raised for it. Raises ConfigError or DataError
    before the first run if none could start, and `Interrupted`, a KeyboardInterrupt, on Ctrl-C: finished records are kept, and the
    same call goes on from there. In a script the call stands below ``if __name__ == "__main__":``; a notebook needs none.
    """
    request = _request(suite, question)
    how = RunOptions(
        results=Path(results),
        cache=Path(cache or os.environ.get("ADAPTBENCH_CACHE") or CACHE),
        data_root=_data_root(question),
        device=device,
        time_limit_seconds=time_limit_seconds,
        predictions=predictions,
        trace=trace,
        save=save,
        retry_failed=retry_failed,
        again=again,
        jobs=jobs,
        threads=threads,
        share_device=share_device,
        work_seconds=work_seconds,
        run_limit=run_limit,
    )
    if not isinstance(progress, str):
        return run_suite(request, how, progress)
    with Display(console, errors, progress) as display:
        return run_suite(request, how, display)


def _request(suite: str, question: Question) -> Request:
    """The request of a question. Raises ConfigError as the command does, TypeError for no argument of ours."""
    if unknown := sorted(question.keys() - Question.__annotations__.keys()):
        raise TypeError(f"'{unknown[0]}' is no argument. {did_you_mean(unknown[0], Question.__annotations__)}")
    class_names, steps = question.get("class_names"), question.get("steps")
    return Request(
        suite=suite,
        methods=_names("methods", question.get("methods", ())),
        recipes=options.given("recipes", question.get("recipes")),
        datasets=_names("datasets", question.get("datasets", ())),
        seeds=options.seeds_of(_joined(question.get("seeds", ()))),
        shots=options.numbers("shots", _joined(question.get("shots", ()))),
        backbone=options.given("backbone", question.get("backbone")),
        pretrained=options.given("pretrained", question.get("pretrained")),
        precision=options.precision_of(question.get("precision", "fp32")),
        executions=options.executions_of(_joined(question.get("executions", ()))),
        steps=None if steps is None else options.numbers("steps", str(steps))[0],
        template=options.given("template", question.get("template")),
        class_names=None if class_names is None else os.fspath(class_names),
        simulated=question.get("simulated", False),
        profile=question.get("profile", False),
        settings={name: _text(value) for name, value in (question.get("settings") or {}).items()},
    )


def _names(argument: str, given: str | Sequence[str]) -> list[str]:
    """The names of one or several. Raises ConfigError for what is none, such as a class."""
    names = [given] if isinstance(given, str) or not isinstance(given, Iterable) else list(given)
    for name in names:
        if not isinstance(name, str) or not name.strip():
            raise ConfigError(
                f"{argument} takes names, and {name!r} is none.",
                "A run's process finds by name what it needs: write a class of your own to a file and name 'FILE.py:CLASS'.",
            )
    return names


def _joined(given: int | str | Sequence[int] | Sequence[str]) -> str | None:
    """One or several as the command line has them; None for none."""
    values = [given] if isinstance(given, int | str) else list(given)
    return ",".join(map(str, values)) if values else None


def _text(value: object) -> str:
    """A setting as ``--set`` takes it."""
    return value if isinstance(value, str) else json.dumps(value)


def _data_root(question: Question) -> Path | None:
    root = question.get("data_root") or os.environ.get("ADAPTBENCH_DATA_ROOT")
    return Path(root) if root else None
