"""The options that commands share: how each is declared, and how its text is read. Raises ConfigError for what can't be read."""

from __future__ import annotations

import csv
import mimetypes
from collections import Counter
from collections.abc import Sequence
from contextlib import nullcontext
from itertools import combinations, pairwise
from pathlib import Path
from typing import Annotated, Any, get_args

import typer
from typer.core import TyperCommand

from harness.cli import completion
from harness.errors import ConfigError, did_you_mean
from harness.run_key import Precision
from harness.suite import RECIPES, Execution

Suite = Annotated[
    str,
    typer.Argument(
        help="A suite's name (adaptbench list suites) or module:attribute.",
        show_default=False,
        autocompletion=completion.suites,
    ),
]
Methods = Annotated[
    str | None,
    typer.Option(
        help="Comma-separated names, module:attribute or FILE.py:attribute; 'all' for every registered one.",
        show_default="the suite's",
        autocompletion=completion.methods,
    ),
]
Recipes = Annotated[
    str | None,
    typer.Option(
        help="Where they differ, the recipes of the authors' files (released), of the paper, or of the published costs (cost).",
        show_default="what gave the published accuracy; the suite cost's: cost",
        autocompletion=completion.choice(RECIPES),
    ),
]
Datasets = Annotated[
    str | None,
    typer.Option(
        help="Comma-separated names, groups ('demo', 'published'), folder:PATH, csv:PATH, torchvision:NAME, hf:NAME or "
        'module:attribute; one with a comma in "quotes".',
        show_default="demo; published with --data-root",
        autocompletion=completion.datasets,
    ),
]
Seeds = Annotated[str | None, typer.Option(help="Comma-separated, e.g. 1,2,3.", show_default="the suite's")]
Shots = Annotated[str | None, typer.Option(help="Images per class, comma-separated.", show_default="the suite's")]
BackboneName = Annotated[
    str | None,
    typer.Option(
        help="'demo-clip' or any open_clip model name.",
        show_default="the suite's",
        autocompletion=completion.backbones,
    ),
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
PrecisionName = Annotated[
    str,
    typer.Option(
        help=f"One of {', '.join(get_args(Precision))}.", autocompletion=completion.choice(get_args(Precision))
    ),
]
Executions = Annotated[
    str | None,
    typer.Option(
        help="'fast' leaves out work that cannot change the result, 'reference' does the authors' arithmetic; or both, "
        "comma-separated.",
        show_default="the suite's",
        autocompletion=completion.choice(get_args(Execution)),
    ),
]
Steps = Annotated[
    int | None,
    typer.Option(
        help="End training after so many steps, and each test after so many batches.",
        min=1,
        show_default="the suite's",
    ),
]
Template = Annotated[
    str | None,
    typer.Option(help="Prompt template with {} for the class name, instead of the datasets' own.", show_default=False),
]
ClassNames = Annotated[
    str | None,
    typer.Option(
        metavar="FILE",
        help="Names for classes that your own datasets know by codes: lines such as 'n01440764 tench', CSV or JSON.",
        show_default=False,
    ),
]
Settings = Annotated[
    list[str] | None,
    typer.Option(
        "--set",
        metavar="KEY=VALUE",
        help="A field of a method or recipe; METHOD.KEY=VALUE for one method. Repeatable.",
        autocompletion=completion.settings,
    ),
]


Threads = Annotated[
    str,
    typer.Option(
        help="CPU threads of a run. auto: OMP_NUM_THREADS; else one for a small backbone, and for others a physical core each, "
        "divided by --jobs.",
    ),
]
Results = Annotated[Path, typer.Option(help="Folder for the records, one JSON file per run.")]
Device = Annotated[str, typer.Option(help="auto, cpu, cuda or cuda:N.")]
Cache = Annotated[
    Path | None, typer.Option(help="Folder for generated data.", envvar="ADAPTBENCH_CACHE", show_default=False)
]

EXPERIMENT = "adaptbench.experiment"
"""Where a command's context has the experiment's file that it was read from."""
EXPERIMENTS = (".yaml", ".yml")
LARGEST_SEED = 2**32 - 1
"""NumPy takes no larger one."""


class Command(TyperCommand):
    """A command that refuses an option given twice, of which the parser would keep the last, and names the values it refuses."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """An experiment's file in the suite's place becomes the words that it stands for."""
        given, _, order = self.make_parser(ctx).parse_args(args=list(args))
        if isinstance(suite := given.get("suite"), str) and suite.endswith(EXPERIMENTS):
            from harness.cli.experiment import read

            experiment = ctx.meta[EXPERIMENT] = read(Path(suite))
            rest = list(args)
            rest.remove(suite)
            with experiment.located():
                return self._parse(
                    ctx, experiment.words(self, {p.name: given[p.name] for p in order if p.name != "suite"}) + rest
                )
        return self._parse(ctx, args)

    def invoke(self, ctx: Any) -> Any:
        with ctx.meta[EXPERIMENT].located() if EXPERIMENT in ctx.meta else nullcontext():
            return super().invoke(ctx)

    def _parse(self, ctx: Any, args: list[str]) -> list[str]:
        _, _, order = self.make_parser(ctx).parse_args(args=list(args))
        once = [p for p in order if p.param_type_name == "option" and not (p.multiple or getattr(p, "is_flag", False))]
        for option, count in Counter(p.opts[0] for p in once).items():
            if count > 1:
                values = " and ".join(_values(option, args))
                raise ConfigError(
                    f"{option} is given {count} times: {values}.",
                    f"Give it once; where it takes several, comma-separated: {option} one,two",
                )
        given_args = list(args)  # the parser takes them out
        try:
            return super().parse_args(ctx, args)
        except typer.BadParameter as error:
            if error.param is None or error.param.param_type_name != "option" or not error.message:
                raise
            option = error.param.opts[0]
            raise ConfigError(
                f"{' '.join([option, *_values(option, given_args)])}: {error.message}.",
                f"It takes: {getattr(error.param, 'help', None) or 'another value'} For all options: {ctx.command_path} -h",
            ) from error


def _values(option: str, args: Sequence[str]) -> list[str]:
    """What a command line says of an option, wherever it stands."""
    apart = [after for before, after in pairwise(args) if before == option]
    return apart + [arg.partition("=")[2] for arg in args if arg.startswith(f"{option}=")]


def given(option: str, text: str | None) -> str | None:
    """An option's text, None if it was left out. An empty one is refused: where a script's variable is unset, nothing is meant."""
    if text is not None and not text.strip():
        raise ConfigError(f"--{option} is empty.", f"Name something, or leave --{option} out.")
    return text


def names(option: str, text: str | None) -> list[str]:
    """The parts of a comma-separated text, of which one in "quotes" may have commas; none where the option was left out."""
    if given(option, text) is None:
        return []
    parts = [part.strip() for line in csv.reader([text or ""], skipinitialspace=True) for part in line]
    if not all(parts):
        raise ConfigError(f"--{option} {text} has an empty part.", f"For example: --{option} one,two")
    return parts


def datasets_of(text: str | None) -> list[str]:
    """The datasets of a comma-separated text. Raises ConfigError where the comma stands in the name of a path that is there."""
    parts = names("datasets", text)
    for first, last in combinations(range(len(parts)), 2):
        whole = ",".join(parts[first : last + 1])
        path, cut = whole.partition(":")[2], parts[first].partition(":")[2]
        if cut and Path(path).expanduser().exists() and not Path(cut).expanduser().exists():
            raise ConfigError(
                f"--datasets {text}: '{path}' is there, and its comma separates datasets here.",
                f"""Put it in quotes, within those of the shell: --datasets '"{whole}"'""",
            )
    return parts


def numbers(option: str, text: str | None, least: int = 1, most: int | None = None) -> list[int]:
    """The whole numbers from `least` to `most` of a comma-separated text; none where the option was left out."""
    parts = names(option, text)
    for part in parts:
        if not part.isdecimal() or int(part) < least or (most is not None and int(part) > most):
            raise ConfigError(
                f"--{option} {text}: '{part}' is no whole number from {least} {'on' if most is None else f'to {most}'}.",
                f"For example: --{option} {least},{least + 1},{least + 2}",
            )
    return [int(part) for part in parts]


def number(option: str, text: str) -> int:
    """The whole number from 1 on that a text is; "auto" would have been another answer."""
    if not text.isdecimal() or not int(text):
        raise ConfigError(f"--{option} {text} is neither 'auto' nor a whole number from 1 on.", f"Use --{option} auto")
    return int(text)


def threads_of(text: str) -> int | None:
    """The number of threads, None for "auto"."""
    return None if text == "auto" else number("threads", text)


def seeds_of(text: str | None) -> list[int]:
    """The seeds of a comma-separated text."""
    return numbers("seeds", text, most=LARGEST_SEED)


def site_of(output: Path) -> Path:
    """Where a report goes: a folder, or a page. Raises ConfigError for the name of another kind of file, and for a file."""
    kind = mimetypes.guess_type(output.name)[0]
    if output.suffix != ".html" and (output.is_file() or (kind and not output.is_dir())):
        raise ConfigError(
            f"{output} {'is a file' if output.is_file() else f'is the name of a file ({kind})'}, and a report is HTML.",
            "Name a folder, such as site, or a page, such as report.html; tables for other programs: adaptbench export.",
        )
    return output


def one_of(option: str, text: str, known: Sequence[str]) -> Any:
    """The text itself, if it is one of those known."""
    if text not in known:
        raise ConfigError(f"--{option} {text} is unknown.", did_you_mean(text, known))
    return text


def precision_of(text: str) -> Precision:
    """The precision of that name."""
    precision: Precision = one_of("precision", text, get_args(Precision))
    return precision


def executions_of(text: str | None) -> list[Execution]:
    """The executions of a comma-separated text, each once."""
    return [one_of("execution", name, get_args(Execution)) for name in dict.fromkeys(names("execution", text))]


_SET = "epochs=5, or --set coop.class_position=middle"


def settings_of(texts: Sequence[str] | None, option: str = "set", example: str = _SET) -> dict[str, str]:
    """What ``--set KEY=VALUE``, or another such option, says, however often it was given."""
    settings: dict[str, str] = {}
    for text in texts or ():
        key, value = _setting(text, option, example)
        if key in settings:
            raise ConfigError(
                f"--{option} {key} is given twice, as {settings[key]} and as {value}.", "Leave one of them out."
            )
        settings[key] = value
    return settings


def _setting(text: str, option: str, example: str) -> tuple[str, str]:
    key, separator, value = text.partition("=")
    if not separator or not key:
        raise ConfigError(f"--{option} {text} is no KEY=VALUE.", f"For example: --{option} {example}")
    return key.strip(), value.strip()
