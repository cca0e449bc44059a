"""The command ``adaptbench``: list, plan, run; further sub-commands (report) come from entry points."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Annotated, Any, get_args

import platformdirs
import typer
from pydantic import TypeAdapter
from rich.console import Console
from rich.table import Table

from harness import plugins
from harness.cli import list as listing
from harness.errors import AdaptBenchError, ConfigError, did_you_mean
from harness.plan import PlannedRun, Request, plan
from harness.records import Precision, RunKey
from harness.suite import Execution, Folders

EXIT_SOME_FAILED, EXIT_USAGE, EXIT_INTERRUPTED = 1, 2, 130
_EPILOG = "Exit codes: 0 all well, 1 some run failed, 2 bad usage, 130 interrupted (finished records are kept)."

app = typer.Typer(
    name="adaptbench",
    help="Benchmark methods that adapt CLIP-like models: accuracy, memory, throughput and time, side by side.",
    epilog=_EPILOG,
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
CACHE = platformdirs.user_cache_path("adaptbench")
console = Console()
errors = Console(stderr=True)

Suite = Annotated[
    str, typer.Argument(help="A suite's name (adaptbench list suites) or module:attribute.", show_default=False)
]
Methods = Annotated[
    str, typer.Option(help="Comma-separated names or module:attribute; 'all' for every registered one.")
]
Datasets = Annotated[
    str,
    typer.Option(
        help="Comma-separated names, groups ('demo', 'published'), folder:PATH, csv:PATH, torchvision:NAME, hf:NAME or "
        "module:attribute. [default: demo; published with --data-root]"
    ),
]
Seeds = Annotated[str, typer.Option(help="Comma-separated, e.g. 1,2,3. [default: the suite's]")]
Shots = Annotated[str, typer.Option(help="Images per class, comma-separated. [default: the suite's]")]
BackboneName = Annotated[
    str | None,
    typer.Option(help="'demo-clip' or any open_clip model name. [default: the suite's]", show_default=False),
]
Pretrained = Annotated[
    str | None, typer.Option(help="open_clip tag, checkpoint file (.safetensors, .pt) or 'random'.", show_default=False)
]
DataRoot = Annotated[
    Path | None,
    typer.Option(
        help="Folder of downloaded datasets, in CoOp's layout.", envvar="ADAPTBENCH_DATA_ROOT", show_default=False
    ),
]
PrecisionName = Annotated[str, typer.Option(help=f"One of {', '.join(get_args(Precision))}.")]
Executions = Annotated[
    str,
    typer.Option(
        help="'fast' leaves out work that cannot change the result, 'reference' does the authors' arithmetic; or both, "
        "comma-separated. [default: the suite's]"
    ),
]
Steps = Annotated[
    int | None,
    typer.Option(
        help="End training after so many steps, and each test after so many batches. [default: the suite's]",
        min=1,
        show_default=False,
    ),
]
Template = Annotated[
    str | None,
    typer.Option(help="Prompt template with {} for the class name, instead of the datasets' own.", show_default=False),
]
Settings = Annotated[
    list[str] | None,
    typer.Option(
        "--set", metavar="KEY=VALUE", help="A field of a method or recipe; METHOD.KEY=VALUE for one method. Repeatable."
    ),
]


@app.command("list")
def list_(
    kind: Annotated[str, typer.Argument(help="methods, suites, datasets or backbones.")] = "",
    backbone: Annotated[
        str, typer.Option(help="Also count what each method trains on this backbone.", show_default=False)
    ] = "",
    pretrained: Pretrained = None,
) -> None:
    """List what is registered: methods, suites, datasets, backbones."""
    kinds = {"methods": "method", "suites": "suite", "datasets": "dataset", "backbones": "backbone"}
    if kind and kind not in kinds:
        raise ConfigError(f"nothing to list by the name '{kind}'.", did_you_mean(kind, kinds))
    for plural in [kind] if kind else kinds:
        things = {name: plugins.load(kinds[plural], name) for name in plugins.names(kinds[plural])}  # type: ignore[arg-type]
        columns = _method_columns(things, backbone, pretrained) if plural == "methods" else {}
        table = Table("name", *columns, "what it is", title=plural, title_justify="left", title_style="bold", box=None)
        for name, thing in things.items():
            table.add_row(name, *(column[name] for column in columns.values()), listing.about(thing))
        console.print(table)


def _method_columns(methods: dict[str, Any], backbone: str, pretrained: str | None) -> dict[str, dict[str, str]]:
    columns = {
        "family": {name: getattr(method, "family", "") for name, method in methods.items()},
        "needs": {name: listing.needs(method) for name, method in methods.items()},
    }
    if backbone:
        columns[f"trains on {backbone}"] = listing.trainable_parameters(methods, backbone, pretrained)
    return columns


@app.command("plan")
def plan_(
    suite: Suite,
    methods: Methods = "",
    datasets: Datasets = "",
    seeds: Seeds = "",
    shots: Shots = "",
    backbone: BackboneName = None,
    pretrained: Pretrained = None,
    data_root: DataRoot = None,
    precision: PrecisionName = "fp32",
    execution: Executions = "",
    steps: Steps = None,
    template: Template = None,
    settings: Settings = None,
    as_json: Annotated[bool, typer.Option("--json", help="Every run with its resolved recipe, as JSON.")] = False,
) -> None:
    """Print the runs of a suite, with recipes resolved, and run nothing."""
    runs = plan(
        Request(
            suite=suite,
            methods=_names(methods),
            datasets=_names(datasets),
            seeds=_numbers("seeds", seeds),
            shots=_numbers("shots", shots),
            backbone=backbone,
            pretrained=pretrained,
            precision=_precision(precision),
            executions=_executions(execution),
            steps=steps,
            template=template,
            settings=_settings(settings),
        ),
        _default_group(data_root),
    )
    if as_json:
        adapter = TypeAdapter(RunKey)
        rows = [{"recipe_row": run.recipe_row, **adapter.dump_python(run.key, mode="json")} for run in runs]
        typer.echo(json.dumps(rows, indent=1))
        return
    _print_plan(runs)


def _print_plan(runs: list[PlannedRun]) -> None:
    columns = ("method", "dataset", "shots", "seeds", "executions", "tests", "recipe row", "recipe", "settings")
    table = Table(*columns, box=None, padding=(0, 1))
    grouped: dict[tuple[str, ...], list[RunKey]] = {}
    for run in runs:
        key = run.key
        row = key.method, key.dataset, str(key.shots), run.recipe_row, _settings_text(key)
        grouped.setdefault(row, []).append(key)
    for (method, dataset, shots, recipe_row, settings), keys in grouped.items():
        seeds = ",".join(dict.fromkeys(str(key.seed) for key in keys))
        executions = ",".join(dict.fromkeys(key.execution for key in keys))
        tests = keys[0].tests if len(keys[0].tests) <= 4 else (*keys[0].tests[:3], f"{len(keys[0].tests) - 3} more")
        recipe = _recipe_text(keys[0])
        table.add_row(method, dataset, shots, seeds, executions, ", ".join(tests), recipe_row, recipe, settings)
    console.print(table)
    console.print(f"{len(runs)} runs.", highlight=False)


def _settings_text(key: RunKey) -> str:
    return " ".join(f"{name}={value}" for name, value in key.settings.items() if value != "")


def _recipe_text(key: RunKey) -> str:
    recipe = key.recipe
    if not recipe.trains:
        return "no training"
    length = f"{recipe.iterations} iterations" if recipe.iterations else f"{recipe.epochs} epochs"
    length = f"{key.steps} steps" if key.steps else length
    return f"{length}, batch {recipe.batch_size}, {recipe.optimizer} {recipe.learning_rate:g}"


@app.command("run", epilog=_EPILOG)
def run_(
    suite: Suite,
    methods: Methods = "",
    datasets: Datasets = "",
    seeds: Seeds = "",
    shots: Shots = "",
    backbone: BackboneName = None,
    pretrained: Pretrained = None,
    data_root: DataRoot = None,
    results: Annotated[Path, typer.Option(help="Folder for the records, one JSON file per run.")] = Path("results"),
    device: Annotated[str, typer.Option(help="auto, cpu, cuda or cuda:N.")] = "auto",
    precision: PrecisionName = "fp32",
    execution: Executions = "",
    steps: Steps = None,
    template: Template = None,
    settings: Settings = None,
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
    trace: Annotated[
        bool,
        typer.Option(
            "--trace", help="Also trace two training steps for Perfetto, with memory on a GPU, beside the record."
        ),
    ] = False,
    retry_failed: Annotated[bool, typer.Option("--retry-failed", help="Do failed runs again.")] = False,
    time_limit: Annotated[
        float | None,
        typer.Option(help="Seconds a run may take before it counts as hung.", min=0.001, show_default=False),
    ] = None,
    site: Annotated[
        Path | None, typer.Option(help="Render the report of --results to this folder at the end.", show_default=False)
    ] = None,
    cache: Annotated[
        Path, typer.Option(help="Folder for generated data.", envvar="ADAPTBENCH_CACHE", show_default=False)
    ] = CACHE,
) -> None:
    """Run a suite: each run in a process of its own, one record per run. The same command resumes a broken suite."""
    request = Request(
        suite=suite,
        methods=_names(methods),
        datasets=_names(datasets),
        seeds=_numbers("seeds", seeds),
        shots=_numbers("shots", shots),
        backbone=backbone,
        pretrained=pretrained,
        precision=_precision(precision),
        executions=_executions(execution),
        steps=steps,
        template=template,
        simulated=simulate,
        profile=profile,
        settings=_settings(settings),
    )
    if not _is_device(device):
        raise ConfigError(f"--device {device} is not a device.", "Use auto, cpu, cuda or cuda:N.")
    from harness.cli.progress import Display
    from harness.runs.predictions import require_parquet
    from harness.runs.store import Store
    from harness.runs.suite_runner import check_data, pending, run_all

    if predictions:
        require_parquet()
    runs = plan(request, _default_group(data_root))
    store = Store(results)
    store.check_writable()
    todo, outcome = pending(runs, store, retry_failed, errors.print, predictions, trace)
    folders = Folders(data_root=data_root.resolve() if data_root else None, cache=cache.resolve())
    with console.status("Reading the datasets"):
        check_data(todo, folders, errors.print)
    if outcome.skipped:
        console.print(f"{outcome.skipped} of {len(runs)} runs are done already.", highlight=False)
    try:
        with Display(console, [run.key.method for run in todo]) as progress:
            run_all(
                todo,
                store,
                folders,
                progress,
                outcome,
                device=device,
                time_limit_seconds=time_limit,
                predictions=predictions,
                trace=trace,
            )
    except KeyboardInterrupt:
        done = outcome.skipped + len(outcome.records)
        errors.print(
            f"Interrupted: {done} of {len(runs)} runs are recorded. The same command goes on from there.",
            highlight=False,
        )
        raise typer.Exit(EXIT_INTERRUPTED) from None
    failed = len(outcome.failed) + outcome.earlier_failures
    console.print(
        f"{len(runs) - failed} of {len(runs)} runs ok; records are in {results}.",
        highlight=False,
        markup=False,
        soft_wrap=not console.is_terminal,  # a log keeps the path in one piece
    )
    if site is not None:
        plugins.load("command", "report")([results], site)
    if failed:
        errors.print(
            f"{failed} failed: see the lines above or the report. To try again: --retry-failed.", highlight=False
        )
        raise typer.Exit(EXIT_SOME_FAILED)


def _known(option: str, text: str, known: tuple[str, ...]) -> Any:
    if text not in known:
        raise ConfigError(f"--{option} {text} is unknown.", did_you_mean(text, known))
    return text


def _precision(text: str) -> Precision:
    return _known("precision", text, get_args(Precision))


def _executions(text: str) -> list[Execution]:
    return [_known("execution", name, get_args(Execution)) for name in dict.fromkeys(_names(text))]


def _settings(texts: list[str] | None) -> dict[str, str]:
    return dict(_setting(text) for text in texts or ())


def _names(text: str) -> list[str]:
    return [part.strip() for part in text.split(",") if part.strip()]


def _numbers(option: str, text: str) -> list[int]:
    numbers = []
    for part in _names(text):
        if not part.isdecimal() or int(part) < 1:
            raise ConfigError(
                f"--{option} {text}: '{part}' is no whole number from 1 on.", f"For example: --{option} 1,2,3"
            )
        numbers.append(int(part))
    return numbers


def _setting(text: str) -> tuple[str, str]:
    key, separator, value = text.partition("=")
    if not separator or not key:
        raise ConfigError(
            f"--set {text} is no KEY=VALUE.", "For example: --set epochs=5, or --set coop.context_length=4"
        )
    return key.strip(), value.strip()


def _is_device(text: str) -> bool:
    return text in ("auto", "cpu", "cuda") or (text.startswith("cuda:") and text[5:].isdecimal())


def _default_group(data_root: Path | None) -> str:
    return "published" if data_root else "demo"


def main() -> None:
    """Entry point: every error a user can put right is one message and exit code 2."""
    try:
        for name in plugins.names("command"):
            command = plugins.load("command", name)
            if isinstance(command, typer.Typer):
                app.add_typer(command, name=name)
            else:
                app.command(name)(command)
        app()
    except AdaptBenchError as error:
        errors.print(f"[bold red]Error:[/] {_escaped(error.what)}", highlight=False, soft_wrap=True)
        if error.advice:
            errors.print(_escaped(error.advice), highlight=False, soft_wrap=True)
        sys.exit(EXIT_USAGE)
    except KeyboardInterrupt:
        sys.exit(EXIT_INTERRUPTED)


def _escaped(text: str) -> str:
    from rich.markup import escape

    return escape(text)


if __name__ == "__main__":
    main()
