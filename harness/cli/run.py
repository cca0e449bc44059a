"""The command ``adaptbench run``: reads the options, has the suite run, and says what it came to."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from functools import partial
from importlib import import_module
from pathlib import Path
from threading import Thread
from time import monotonic
from typing import Annotated, Any

import typer

from harness import plugins
from harness.cli import expected, options
from harness.cli.plan import show
from harness.cli.progress import Detail, Display
from harness.cli.terminal import EXIT_INTERRUPTED, EXIT_SOME_FAILED, console, errors, say
from harness.errors import ConfigError
from harness.plan import PlannedRun, Request
from harness.runs.executors import Executor, Workers, order, seconds_of
from harness.runs.forecast import Forecasts
from harness.runs.signals import ENDING
from harness.runs.suite_runner import CACHE, Interrupted, Outcome, RunOptions, planned, run_suite, seed_by_seed

_ELSEWHERE = "On other machines"
_MOST_ENDING_SECONDS = 10.0
"""Ending takes less; after that it may have got stuck."""


def run_(
    context: typer.Context,
    suite: options.Suite,
    methods: options.Methods = None,
    recipes: options.Recipes = None,
    datasets: options.Datasets = None,
    seeds: options.Seeds = None,
    shots: options.Shots = None,
    backbone: options.BackboneName = None,
    pretrained: options.Pretrained = None,
    data_root: options.DataRoot = None,
    results: options.Results = Path("results"),
    device: options.Device = "auto",
    precision: options.PrecisionName = "fp32",
    execution: options.Executions = None,
    steps: options.Steps = None,
    template: options.Template = None,
    class_names: options.ClassNames = None,
    settings: options.Settings = None,
    simulate: Annotated[
        bool,
        typer.Option(
            "--simulate", help="Run nothing: find each run's peak bytes and FLOPs on tensors without contents."
        ),
    ] = False,
    profile: Annotated[
        bool,
        typer.Option(
            "--profile", help="Also look into a training step: time and memory of each block, FLOPs, simulation."
        ),
    ] = False,
    predictions: Annotated[
        bool,
        typer.Option("--predictions", help="Also keep each test image's prediction, as Parquet beside the record."),
    ] = False,
    save: Annotated[
        bool,
        typer.Option("--save", help="Also keep each trained model beside its record, for 'adaptbench predict'."),
    ] = False,
    trace: Annotated[
        bool,
        typer.Option(
            "--trace", help="Also trace two training steps for Perfetto, with memory on a GPU, beside the record."
        ),
    ] = False,
    jobs: Annotated[
        str,
        typer.Option(
            help="Runs at a time: on a CPU they share its cores; of several GPUs, each run sees one. Runs about time share none. "
            "auto: as many as the cores are for, on a CPU.",
        ),
    ] = "1",
    threads: options.Threads = "auto",
    share_device: Annotated[
        bool,
        typer.Option("--share-device", help="Let runs about time share a device; their records say how many did."),
    ] = False,
    retry_failed: Annotated[bool, typer.Option("--retry-failed", help="Do failed runs again.")] = False,
    again: Annotated[bool, typer.Option("--again", help="Do all runs again, also those that are done.")] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Say what is left to do, and about how long it takes; do nothing.")
    ] = False,
    limit: Annotated[int | None, typer.Option(help="Do so many runs at most.", min=1, show_default=False)] = None,
    max_hours: Annotated[
        float | None,
        typer.Option(help="Begin no run that won't likely end within so many hours.", min=0.001, show_default=False),
    ] = None,
    time_limit: Annotated[
        float | None,
        typer.Option(help="Seconds a run may take before it counts as hung.", min=0.001, show_default=False),
    ] = None,
    executor: Annotated[
        str | None,
        typer.Option(
            help="Have workers do it elsewhere: 'slurm', 'ray', or one of your own.",
            show_default="this process does it",
            rich_help_panel=_ELSEWHERE,
        ),
    ] = None,
    workers: Annotated[int, typer.Option(help="Workers that share the runs.", min=1, rich_help_panel=_ELSEWHERE)] = 1,
    partition: Annotated[
        str | None, typer.Option(help="Partition of a worker.", show_default=False, rich_help_panel=_ELSEWHERE)
    ] = None,
    time: Annotated[
        str | None,
        typer.Option(
            help="Time of a worker, as 90 (minutes) or 4:00:00. It begins no run that it won't likely end.",
            show_default=False,
            rich_help_panel=_ELSEWHERE,
        ),
    ] = None,
    gpus: Annotated[
        int | None, typer.Option(help="GPUs of a worker.", min=1, show_default=False, rich_help_panel=_ELSEWHERE)
    ] = None,
    setup: Annotated[
        list[str] | None,
        typer.Option(help="Shell to run before a worker, 'module load cuda'. Repeatable.", rich_help_panel=_ELSEWHERE),
    ] = None,
    slurm: Annotated[
        list[str] | None,
        typer.Option(metavar="KEY=VALUE", help="Any option of sbatch. Repeatable.", rich_help_panel=_ELSEWHERE),
    ] = None,
    address: Annotated[
        str | None,
        typer.Option(
            help="Address of a Ray cluster.",
            show_default="one of this machine",
            rich_help_panel=_ELSEWHERE,
        ),
    ] = None,
    site: Annotated[
        Path | None, typer.Option(help="Render the report of --results to this folder at the end.", show_default=False)
    ] = None,
    cache: Annotated[
        Path, typer.Option(help="Folder for generated data.", envvar="ADAPTBENCH_CACHE", show_default=False)
    ] = CACHE,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Print what failed, and nothing else.")] = False,
    verbose: Annotated[
        bool, typer.Option("--verbose", "-v", help="Print a line for each phase, epoch and test, in a terminal too.")
    ] = False,
) -> None:
    """Run a suite: each run in a process of its own, one record per run. The same command resumes a broken suite."""
    request = Request(
        suite=suite,
        methods=options.names("methods", methods),
        recipes=options.given("recipes", recipes),
        datasets=options.datasets_of(datasets),
        seeds=options.seeds_of(seeds),
        shots=options.numbers("shots", shots),
        backbone=options.given("backbone", backbone),
        pretrained=options.given("pretrained", pretrained),
        precision=options.precision_of(precision),
        executions=options.executions_of(execution),
        steps=steps,
        template=options.given("template", template),
        class_names=options.given("class-names", class_names),
        simulated=simulate,
        profile=profile,
        settings=options.settings_of(settings),
    )
    if quiet and verbose:
        raise ConfigError("--quiet and --verbose contradict each other.", "Leave one of them out.")
    report: Any = None
    if site is not None:
        options.site_of(site)
        report = plugins.load("command", "report")
    how = RunOptions(
        results=results,
        cache=cache,
        data_root=data_root,
        device=device,
        time_limit_seconds=time_limit,
        predictions=predictions,
        trace=trace,
        save=save,
        retry_failed=retry_failed,
        again=again,
        jobs="auto" if jobs == "auto" else options.number("jobs", jobs),
        threads=options.threads_of(threads),
        share_device=share_device,
        work_seconds=max_hours and max_hours * 3600,
        run_limit=limit,
    )
    if dry_run:
        _say_what_is_left(request, how)
        return
    workers_ = Workers(
        count=workers,
        partition=partition,
        time=time,
        gpus=gpus,
        setup=tuple(setup or ()),
        address=address,
        settings=options.settings_of(slurm, "slurm", "account=me"),
    )
    if executor is not None:
        start: Executor = plugins.load("executor", executor)
        wanted = order(
            request, replace(how, work_seconds=_work_seconds(time, how.work_seconds)), workers_, partial(say, errors)
        )
        say(console, start(wanted) if wanted else f"No run is left to do; records are in {results}.")
        return
    soon = Thread(target=_import, args=getattr(report, "imports", ()), daemon=True)
    soon.start()  # while the fork server imports torch
    outcome = do(
        request, how, "quiet" if quiet else "steps" if verbose else "usual", partial(_keep, context.params, results)
    )
    if report is not None:
        soon.join()
        report([results], site)
    if outcome.not_ok:
        say(errors, f"{outcome.not_ok} failed: see the lines above or the report. To try again: --retry-failed.")
        raise typer.Exit(EXIT_SOME_FAILED)


def _import(*modules: str) -> None:
    with suppress(Exception):  # whoever needs them will say it
        for module in modules:
            import_module(module)


def _say_what_is_left(request: Request, how: RunOptions) -> None:
    """The runs that are to do, as `adaptbench plan` shows them; with a limit, how many of them would be done now."""
    runs, todo, *_ = planned(request, how, partial(say, errors))
    todo = seed_by_seed(todo)
    forecasts = expected.expected(todo, how, calibrated=False)
    if todo:
        show(todo)
        expected.show(todo, forecasts)
    say(console, f"{len(todo)} of {len(runs)} runs are left{expected.in_sum(forecasts)}.")
    if how.run_limit is not None or how.work_seconds is not None:
        now = expected.within(forecasts, how.run_limit, how.work_seconds)
        say(console, f"This command would do {len(now)} of them{expected.in_sum(now)}.")


def _work_seconds(time: str | None, most: float | None) -> float | None:
    """Of a worker that is given so much time: none of its last half minute, in which it would be ended; and `most` at most."""
    given = [max(1.0, seconds_of(time) - 30)] if time else []
    return min([*given, *([most] if most else [])], default=None)


def _keep(parameters: Mapping[str, Any], results: Path, runs: Sequence[PlannedRun]) -> None:
    from harness.cli.experiment import keep

    keep(parameters, runs, results)


class _Told(Display):
    """A display that also hands on what is planned, once the first run begins."""

    def __init__(self, detail: Detail, hear: Callable[[Sequence[PlannedRun]], object]) -> None:
        super().__init__(console, errors, detail)
        self._hear = hear
        self._planned: Sequence[PlannedRun] = ()

    def planned(
        self, runs: Sequence[PlannedRun], todo: Sequence[PlannedRun], forecasts: Forecasts | None = None
    ) -> None:
        self._planned = runs
        super().planned(runs, todo, forecasts)

    def started(self, number: int, run: PlannedRun) -> None:
        if self._planned:
            try:
                self._hear(self._planned)
            except OSError as error:
                self.note(f"this command can't be kept as an experiment's file: {error.strerror or error}.")
            self._planned = ()
        super().started(number, run)


def do(
    request: Request,
    how: RunOptions,
    detail: Detail = "usual",
    hear: Callable[[Sequence[PlannedRun]], object] = lambda runs: None,
) -> Outcome:
    """Run a suite in this process, with its progress; says what it came to. Ends the process where it is interrupted.

    `hear` is told the runs that are planned once the first of them begins.
    """
    try:
        with _ends_once(), _Told(detail, hear) as display:
            outcome = run_suite(request, how, display)
    except Interrupted as interrupted:
        outcome = interrupted.outcome
        with suppress(OSError):  # of a terminal that is closed
            say(
                errors,
                f"Interrupted: {outcome.recorded} of {outcome.planned} runs are recorded. The same command goes on from there.",
            )
        raise typer.Exit(EXIT_INTERRUPTED) from None
    if left := outcome.planned - outcome.recorded:
        why = "Its time is nearly up" if how.run_limit is None else "No more runs were asked for now"
        say(
            console,
            f"{why}: {left} of {outcome.planned} runs are left. The same command goes on from there.",
        )
        return outcome
    if detail != "quiet":
        say(console, f"{outcome.planned - outcome.not_ok} of {outcome.planned} runs ok; records are in {how.results}.")
    return outcome


@contextmanager
def _ends_once() -> Iterator[None]:
    """What asks the process to end lets it leave its runs: finished records are kept, others take the rest.

    That is Ctrl-C, a scheduler's SIGTERM, and a closed terminal, unless it is ignored (nohup). A second one, while it ends, is
    answered and changes nothing; one after `_MOST_ENDING_SECONDS` begins anew.
    """
    earlier = {number: signal.getsignal(number) for number in ENDING}
    asked_at: list[float] = []

    def end(number: int, _: object) -> None:
        if asked_at and monotonic() - asked_at[-1] < _MOST_ENDING_SECONDS:
            with suppress(OSError):
                os.write(2, b"It is ending already: its runs are given back, finished records are kept.\n")
            return
        asked_at.append(monotonic())
        raise KeyboardInterrupt

    try:
        for number, handler in earlier.items():
            if handler is not signal.SIG_IGN:
                signal.signal(number, end)
        yield
    finally:
        for number, handler in earlier.items():
            signal.signal(number, handler)
