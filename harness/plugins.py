"""From a name, or ``module:attribute``, to a method, suite, dataset, backbone or command: the only lookup by name.

A source makes a dataset of what follows its name, as in ``folder:PATH``.
"""

from __future__ import annotations

import importlib
from importlib.metadata import EntryPoint, entry_points
from typing import Any, Literal

from harness.errors import ConfigError, did_you_mean

Kind = Literal["method", "suite", "dataset", "backbone", "command", "source"]


def names(kind: Kind) -> list[str]:
    """The registered names of a kind, in the order of their distributions' tables."""
    return list(dict.fromkeys(e.name for e in _table(kind)))


def load(kind: Kind, name: str) -> Any:
    """The object behind a registered name or ``module:attribute``; of a dataset, also what a source makes of ``source:rest``.

    Raises ConfigError for an unknown name, and for a plug-in whose import fails (naming the plug-in, not just the cause).
    """
    entry = next((e for e in _table(kind) if e.name == name), None)
    source, _, rest = name.partition(":")
    if entry is None and kind == "dataset" and is_source(name):
        return load("source", source)(rest)
    if entry is None and rest:
        entry = EntryPoint(name=name, value=name, group="")
    if entry is None:
        raise ConfigError(
            f"no {kind} '{name}'.",
            f"{did_you_mean(name, names(kind))} One of your own works as module:attribute, or by name after an entry point "
            f"in the group 'adaptbench.{kind}s' of its package and a new 'pip install -e .'.",
        )
    try:
        module = importlib.import_module(entry.module)
    except ImportError as error:
        raise ConfigError(
            f"the {kind} '{name}' can't be imported from '{entry.module}': {error}.",
            "Run from the folder that holds the module, or install its package.",
        ) from error
    try:
        return getattr(module, entry.attr)
    except AttributeError:
        raise ConfigError(
            f"the module '{entry.module}' has no '{entry.attr}' (for the {kind} '{name}').",
            f"It has: {', '.join(n for n in vars(module) if not n.startswith('_')) or 'nothing public'}.",
        ) from None


def is_source(dataset: str) -> bool:
    """Whether a dataset's name on the command line is one for a source, such as ``folder:PATH``."""
    source, _, rest = dataset.partition(":")
    return bool(rest) and source in names("source")


def _table(kind: Kind) -> tuple[EntryPoint, ...]:
    return tuple(entry_points(group=f"adaptbench.{kind}s"))
