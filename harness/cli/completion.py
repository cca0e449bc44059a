"""What a shell completes: the names of plug-ins, settings, and the choices of options. No torch here: a key press waits for it.

Where an option is comma-separated, its last part is completed. Plug-ins that can't be imported have no settings, and no say.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import fields
from typing import Any, Literal, get_args, get_origin, get_type_hints

from harness import plugins, weights
from harness.errors import AdaptBenchError
from harness.recipe import Recipe

Completion = Callable[[str], list[str]]


def _beginning(words: Iterable[str], incomplete: str) -> list[str]:
    """The words that a comma-separated text may end with, each with what stands before it."""
    before, comma, last = incomplete.rpartition(",")
    chosen = before.split(",")
    return [f"{before}{comma}{word}" for word in words if word.startswith(last) and word not in chosen]


def choice(words: Sequence[str]) -> Completion:
    """Of fixed words."""
    return lambda incomplete: _beginning(words, incomplete)


def methods(incomplete: str) -> list[str]:
    """Registered methods, and all of them."""
    return _beginning([*plugins.names("method"), "all"], incomplete)


def suites(incomplete: str) -> list[str]:
    """Registered suites."""
    return [name for name in plugins.names("suite") if name.startswith(incomplete)]


def datasets(incomplete: str) -> list[str]:
    """Registered datasets, the groups that suites have, and the beginnings of sources."""
    sources = [f"{name}:" for name in plugins.names("source")]
    return _beginning([*plugins.names("dataset"), "demo", "published", *sources], incomplete)


def backbones(incomplete: str) -> list[str]:
    """Registered backbones and open_clip's."""
    return [name for name in (*plugins.names("backbone"), *weights.architectures()) if name.startswith(incomplete)]


def listed(ctx: Any, incomplete: str) -> list[str]:
    """The second word of ``adaptbench list methods NAME``."""
    return [n for n in plugins.names("method") if n.startswith(incomplete) and ctx.params.get("kind") == "methods"]


def settings(ctx: Any, incomplete: str) -> list[str]:
    """``KEY=`` and ``METHOD.KEY=`` of the methods that the command line names, else of all; after it, a field's choices."""
    chosen = [name.strip() for name in (ctx.params.get("methods") or "all").split(",")]
    names = [each for name in chosen for each in (plugins.names("method") if name == "all" else [name])]
    types = {field.name: get_type_hints(Recipe)[field.name] for field in fields(Recipe) if field.name != "settings"}
    found = dict(types)
    for name in dict.fromkeys(names):
        with suppress(AdaptBenchError):
            method = plugins.load("method", name)
            own = {field.name: get_type_hints(method)[field.name] for field in fields(method)}
            found |= own | {f"{name}.{key}": kind for key, kind in (types | own).items()}
    key, equals, value = incomplete.partition("=")
    if equals:
        return [f"{key}={word}" for word in _values(found.get(key)) if word.startswith(value)]
    shown = [f"{name}=" for name in found if "." in key or "." not in name]
    return [word for word in (*shown, *(f"{name}." for name in names)) if word.startswith(key)]


def _values(kind: Any) -> list[str]:
    """The texts that a field of this type takes, where they can be told."""
    if kind is bool:
        return ["true", "false"]
    if get_origin(kind) is Literal:
        return [str(value) for value in get_args(kind)]
    return [text for part in get_args(kind) for text in _values(part)]
