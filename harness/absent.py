"""Modules that a library imports for what is never asked of them here."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from types import ModuleType


@contextmanager
def absent(module: str) -> Iterator[None]:
    """In here, as if it were not installed, unless it is imported already."""
    if module in sys.modules:
        yield
        return
    sys.modules[module] = None  # type: ignore[assignment]
    try:
        yield
    finally:
        del sys.modules[module]


@contextmanager
def hollow(parent: ModuleType, name: str) -> Iterator[None]:
    """In here, a package's module has nothing in it, unless it is imported already: for whoever takes all that the package has."""
    module = f"{parent.__name__}.{name}"
    if module in sys.modules:
        yield
        return
    sys.modules[module] = vars(parent)[name] = ModuleType(module)
    try:
        yield
    finally:
        del sys.modules[module], vars(parent)[name]
