"""What installed packages register, read off their files as `importlib.metadata` reads it, whose import takes longer than that.

It is asked itself where packages lie otherwise than in folders of modules, each with a folder about it: in archives, in eggs, or
where another finder than Python's own knows of them. Standard library only.
"""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Collection, Iterator, Sequence
from contextlib import suppress
from importlib.machinery import PathFinder
from typing import NamedTuple

_ABOUT = (".dist-info", ".egg-info")
_NAME = re.compile(r"([^-]+)(-.*)?\.(dist|egg)-info")


class EntryPoint(NamedTuple):
    """A name in a group, and where it leads, as ``module:attribute``."""

    group: str
    name: str
    value: str

    @property
    def module(self) -> str:
        return self._parts[0].strip()

    @property
    def attribute(self) -> str:
        return self._parts[2].strip()

    @property
    def _parts(self) -> tuple[str, str, str]:
        return self.value.partition("[")[0].partition(":")  # what is in brackets are the package's extras


def entry_points(folders: Sequence[str], groups: Collection[str]) -> list[EntryPoint]:
    """Those in these groups, of all packages in the folders of modules; of two packages of a name, the first's."""
    files = _files(folders)
    if files is None:
        from importlib import metadata

        found = metadata.entry_points()
        return [EntryPoint(e.group, e.name, e.value) for group in groups for e in found.select(group=group)]
    return [entry for file in files for entry in _read(file) if entry.group in groups]


def _files(folders: Sequence[str]) -> list[str] | None:
    """Where packages register something, if they do; None where only `importlib.metadata` knows."""
    others = any(hasattr(finder, "find_distributions") and finder is not PathFinder for finder in sys.meta_path)
    if others or any(folder.lower().endswith(".egg") or os.path.isfile(folder) for folder in folders):
        return None
    files: dict[str, str] = {}
    for folder in folders:
        with suppress(OSError):
            for child in os.listdir(folder or "."):
                if child.lower().endswith(_ABOUT):
                    name = _NAME.fullmatch(child)
                    if name is None:
                        return None
                    files.setdefault(re.sub(r"[-_.]+", "_", name[1]).lower(), os.path.join(folder, child))
    return [os.path.join(file, "entry_points.txt") for file in files.values()]


def _read(file: str) -> Iterator[EntryPoint]:
    try:
        with open(file, "rb", buffering=0) as stream:
            text = stream.read().decode()
    except (FileNotFoundError, NotADirectoryError, IsADirectoryError, PermissionError):
        return
    group = ""
    for line in map(str.strip, text.splitlines()):
        if line.startswith("[") and line.endswith("]"):
            group = line.strip("[]")
        elif group and line and not line.startswith("#"):
            name, _, value = line.partition("=")
            yield EntryPoint(group, name.strip(), value.strip())
