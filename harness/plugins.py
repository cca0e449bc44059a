"""From a name, or ``module:attribute``, to a method, suite, dataset, backbone or command: the only lookup by name."""

from __future__ import annotations

import importlib
from importlib.metadata import EntryPoint, entry_points
from typing import Any, Literal

from harness.errors import ConfigError, did_you_mean

Kind = Literal["method", "suite", "dataset", "backbone", "command"]


def names(kind: Kind) -> list[str]:
    """The registered names of a kind, in the order of their distributions' tables."""
    return list(dict.fromkeys(e.name for e in _table(kind)))


def load(kind: Kind, name: str) -> Any:
    """The object behind a registered name or ``module:attribute``.

    Raises ConfigError for an unknown name, and for a plug-in whose import fails (naming the plug-in, not just the cause).
    """
    entry = next((e for e in _table(kind) if e.name == name), None)
    if entry is None and ":" in name:
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


def _table(kind: Kind) -> tuple[EntryPoint, ...]:
    return tuple(entry_points(group=f"adaptbench.{kind}s"))
