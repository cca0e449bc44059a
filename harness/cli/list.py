"""The command ``adaptbench list``: what is registered, and what is to be said of each plug-in."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.table import Table

from harness import plugins, weights
from harness.cli import completion, tables
from harness.cli.options import Pretrained
from harness.cli.terminal import Console, console, errors, say
from harness.errors import AdaptBenchError, ConfigError, did_you_mean
from harness.protocol import check_method
from harness.recipe import sourced_fields

if TYPE_CHECKING:
    from harness.clip.backbone import Backbone

_KINDS: Mapping[str, plugins.Kind] = {
    "methods": "method",
    "suites": "suite",
    "datasets": "dataset",
    "backbones": "backbone",
}


_WIDE = 250
"""Columns of what is piped: the longest row of a recipe table."""


def list_(
    kind: Annotated[
        str,
        typer.Argument(help="methods, suites, datasets or backbones.", autocompletion=completion.choice(list(_KINDS))),
    ] = "",
    name: Annotated[
        str,
        typer.Argument(
            help="A method: its recipes, field by field, with their sources.",
            show_default=False,
            autocompletion=completion.listed,
        ),
    ] = "",
    backbone: Annotated[
        str,
        typer.Option(
            help="Also count what each method trains on this backbone.",
            show_default=False,
            autocompletion=completion.backbones,
        ),
    ] = "",
    pretrained: Pretrained = None,
) -> None:
    """List what is registered: methods, suites, datasets, backbones."""
    if kind and kind not in _KINDS:
        raise ConfigError(f"nothing to list by the name '{kind}'.", did_you_mean(kind, _KINDS))
    if name:
        if kind != "methods":
            raise ConfigError(
                f"{kind} have no recipes to list.", f"For those of a method: adaptbench list methods {name}"
            )
        method = plugins.load("method", name)
        check_method(name, method)
        table = recipes(method, name)
        # a pipe has room for whole names of files
        (console if console.is_terminal else Console(width=_WIDE)).print(table)
        return
    for plural in [kind] if kind else _KINDS:
        things = _things(_KINDS[plural])
        columns = _method_columns(things, backbone, pretrained) if plural == "methods" else {}
        rows = [(name, *(column[name] for column in columns.values()), about(thing)) for name, thing in things.items()]
        tables.show(console, ("name", *columns, "what it is"), rows, title=plural)


def _things(kind: plugins.Kind) -> dict[str, Any]:
    """What is registered of a kind, by name; what can't be imported is warned of, since the others have no part in it."""
    found = {}
    for name in plugins.names(kind):
        try:
            found[name] = plugins.load(kind, name)
        except ConfigError as error:
            say(errors, f"Warning: {error.what} {error.advice}")
    return found


def recipes(method: Any, name: str) -> Table:
    """A method's recipe table: all fields of the default row, and in what others differ from it, each with its source."""
    title = f"recipes of {name}: the default row, and where others differ from it"
    table = Table("row", "field", "value", title=title, title_justify="left", title_style="bold", box=None)
    table.add_column("source", overflow="fold")
    previous = ""
    for row, field, value, source in sourced_fields(method):
        table.add_row("" if row == previous else row, field, str(value), source)
        previous = row
    return table


def _method_columns(methods: Mapping[str, Any], backbone: str, pretrained: str | None) -> dict[str, dict[str, str]]:
    columns = {
        "family": {name: getattr(method, "family", "") for name, method in methods.items()},
        "needs": {name: needs(method) for name, method in methods.items()},
    }
    if backbone:
        columns[f"trains on {backbone}"] = trainable_parameters(methods, backbone, pretrained)
    return columns


def about(thing: Any) -> str:
    """One line on a plug-in: a suite's question, a dataset's title and group, else the first line on it."""
    if hasattr(thing, "question"):
        return thing.question
    if hasattr(thing, "title"):
        return f"{thing.title} ({thing.group})"
    if isinstance(thing, type):
        ours = thing.__module__.partition(".")[0] in plugins.OURS  # a card is a module of ours
        text = sys.modules[thing.__module__].__doc__ if ours else thing.__doc__
        return "" if (text or "").startswith(f"{thing.__name__}(") else (text or "").strip().partition("\n")[0]
    return getattr(thing, "name", "")


def needs(method: Any) -> str:
    """What a method has to be given beside a backbone and a dataset."""
    return getattr(method, "needs", "")


def trainable_parameters(names: Iterable[str], backbone: str, pretrained: str | None) -> dict[str, str]:
    """How many weights each method trains on a backbone, which is loaded: a number, or a formula of C classes and K shots.

    Where a method doesn't fit the backbone, what it says of it. Of an open_clip model without `pretrained`, only the architecture
    is asked for. Raises BackboneError if there is no such backbone.
    """
    from harness.clip import backbone as backbones

    if pretrained is not None:
        backbone, pretrained, _ = weights.of_backbone(backbone, pretrained)
    elif backbone not in plugins.names("backbone"):
        pretrained = "random"
    loaded = backbones.load(backbone, pretrained)
    return {name: _trains(plugins.load("method", name), loaded) for name in names}


def _trains(method: Any, backbone: Backbone) -> str:
    if hasattr(method, "trains"):
        return method.trains.replace("E", f"{backbone.embed_width:,}")
    try:
        two, three = (_count(method, backbone, classes) for classes in (2, 3))
    except AdaptBenchError as error:
        return error.what
    each, fixed = three - two, 3 * two - 2 * three
    parts = [f"{fixed:,}"] if fixed or not each else []
    return " + ".join([*parts, f"{each:,} C"] if each else parts)


def _count(method: Any, backbone: Backbone, classes: int) -> int:
    from harness.method import Classes

    backbone.requires_grad_(False)
    model = method().adapt(backbone)
    model.set_classes(Classes(tuple(f"class {i}" for i in range(classes)), {"clip": "a photo of a {}."}))
    return sum(p.numel() for p in model.parameters() if p.requires_grad)
