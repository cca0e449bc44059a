"""The commands: each is imported once it is called, and what lists them reads their sentences off their sources."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator, Mapping
from copy import copy
from importlib.util import find_spec
from typing import Any, cast

import typer
from typer.core import TyperCommand, TyperGroup

from harness import plugins
from harness.cli.terminal import errors, say
from harness.errors import AdaptBenchError

EPILOG = "Exit codes: 0 all well, 1 some run failed, 2 bad usage, 130 interrupted (finished records are kept)."
_OURS = {
    "list": "harness.cli.list:list_",
    "plan": "harness.cli.plan:plan_",
    "run": "harness.cli.run:run_",
    "status": "harness.cli.status:status_",
    "new": "harness.cli.new:new_",
    "validate": "harness.cli.validate:validate_",
    "replay": "harness.cli.replay:replay_",
    "predict": "harness.cli.predict:predict_",
    "export-model": "harness.cli.predict:export_model_",
    "worker": "harness.cli.worker:worker_",
}
_HIDDEN = ("worker",)


class Commands(TyperGroup):
    """The command line: our own commands, then those of entry points."""

    def __init__(self, **settings: Any) -> None:
        super().__init__(**settings)
        self.commands = cast(dict[str, Any], _Loaded())

    def format_help(self, ctx: Any, formatter: Any) -> None:
        """As of any group, by what the commands' sources say of them."""
        listing = copy(self)
        listing.commands = {name: command for name in self.commands if (command := _listed(name)) is not None}
        super(Commands, listing).format_help(ctx, formatter)


class _Loaded(Mapping[str, Any]):
    """By name, a command that is imported when it is looked up. Raises ConfigError there for one that can't be."""

    def __getitem__(self, name: str) -> Any:
        if name not in _targets():
            raise KeyError(name)
        return command(name)

    def __iter__(self) -> Iterator[str]:
        return iter(_targets())

    def __len__(self) -> int:
        return len(_targets())


def _targets() -> dict[str, str]:
    """Where each command is, as ``module:attribute``. No plug-in takes the name of one of ours."""
    return _OURS | {name: target for name, target in plugins.targets("command").items() if name not in _OURS}


def command(name: str) -> Any:
    """A command as the command line has it. Raises ConfigError for one that can't be imported."""
    from harness.cli.options import Command

    found = plugins.load("command", _OURS.get(name, name))
    app = typer.Typer()
    app.callback()(lambda: None)
    if isinstance(found, typer.Typer):
        app.add_typer(found, name=name)
    else:
        app.command(name, cls=Command, hidden=name in _HIDDEN, epilog=EPILOG if name == "run" else None)(found)
    return typer.main.get_group(app).commands[name]


def _listed(name: str) -> Any:
    """A command that has nothing but its name and help; None where it can't be imported, which is said."""
    help_text = _help(_targets()[name])
    if help_text is not None:
        return TyperCommand(name, help=help_text, hidden=name in _HIDDEN)
    try:
        return command(name)
    except AdaptBenchError as error:  # a plug-in's: the other commands have no part in it
        say(errors, f"Warning: {error.what}")
        return None


def _help(target: str) -> str | None:
    """A function's docstring or a Typer's help, read off its source without running it; None where that has none of the name."""
    module, _, attribute = target.partition(":")
    try:
        loader: Any = getattr(find_spec(module), "loader", None)
        source = loader.get_source(module)
        written = re.search(rf"^(def {attribute}\(|{attribute} = ).*?(?=^[^\s)]|\Z)", source, re.MULTILINE | re.DOTALL)
        statement: Any = ast.parse(written.group()).body[0] if written else None
    except (ImportError, AttributeError, SyntaxError):
        return None
    if isinstance(statement, ast.FunctionDef):
        return ast.get_docstring(statement)
    words = getattr(getattr(statement, "value", None), "keywords", ())
    return next((ast.literal_eval(word.value) for word in words if word.arg == "help"), None)
