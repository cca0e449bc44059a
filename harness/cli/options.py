"""The options that commands share: how each is declared, and how its text is read. Raises ConfigError for what can't be read."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, get_args

import typer

from harness.errors import ConfigError, did_you_mean
from harness.records import Precision
from harness.suite import Execution

Suite = Annotated[
    str, typer.Argument(help="A suite's name (adaptbench list suites) or module:attribute.", show_default=False)
]
Methods = Annotated[
    str | None,
    typer.Option(
        help="Comma-separated names, module:attribute or FILE.py:attribute; 'all' for every registered one. [default: the suite's]",
        show_default=False,
    ),
]
Recipes = Annotated[
    str | None,
    typer.Option(
        help="Where they differ, the recipes of the authors' files (released), of the paper, or of the published costs (cost). "
        "[default: what gave the published accuracy; the suite cost's: cost]",
        show_default=False,
    ),
]
Datasets = Annotated[
    str | None,
    typer.Option(
        help="Comma-separated names, groups ('demo', 'published'), folder:PATH, csv:PATH, torchvision:NAME, hf:NAME or "
        "module:attribute. [default: demo; published with --data-root]",
        show_default=False,
    ),
]
Seeds = Annotated[
    str | None, typer.Option(help="Comma-separated, e.g. 1,2,3. [default: the suite's]", show_default=False)
]
Shots = Annotated[
    str | None, typer.Option(help="Images per class, comma-separated. [default: the suite's]", show_default=False)
]
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
    str | None,
    typer.Option(
        help="'fast' leaves out work that cannot change the result, 'reference' does the authors' arithmetic; or both, "
        "comma-separated. [default: the suite's]",
        show_default=False,
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


def given(option: str, text: str | None) -> str | None:
    """An option's text, None if it was left out. An empty one is refused: where a script's variable is unset, nothing is meant."""
    if text is not None and not text.strip():
        raise ConfigError(f"--{option} is empty.", f"Name something, or leave --{option} out.")
    return text


def names(option: str, text: str | None) -> list[str]:
    """The parts of a comma-separated text; none where the option was left out."""
    parts = [part.strip() for part in (given(option, text) or "").split(",")]
    if text is not None and not all(parts):
        raise ConfigError(f"--{option} {text} has an empty part.", f"For example: --{option} one,two")
    return [part for part in parts if part]


def numbers(option: str, text: str | None, least: int = 1) -> list[int]:
    """The whole numbers from `least` on of a comma-separated text; none where the option was left out."""
    parts = names(option, text)
    for part in parts:
        if not part.isdecimal() or int(part) < least:
            raise ConfigError(
                f"--{option} {text}: '{part}' is no whole number from {least} on.",
                f"For example: --{option} {least},{least + 1},{least + 2}",
            )
    return [int(part) for part in parts]


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
