"""What a method of a user's own consists of: its module, and the modules beside it that it imports. No torch here.

Its digest is part of what a run is, so that an edited method is run again. Methods of AdaptBench have none: their arithmetic is
held by golden vectors, a record names the commit, and no work on the code that leaves the figures alone makes a record invalid.
"""

from __future__ import annotations

import ast
import hashlib
import sys
import sysconfig
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from harness.plugins import OURS, ROOT

_LIBRARIES = {Path(sysconfig.get_path(name)).resolve() for name in ("stdlib", "platstdlib", "purelib", "platlib")}


@dataclass(frozen=True)
class OwnSource:
    """The files of a user's own module and of those beside it that it imports, by the module's name, all below `home`."""

    home: Path
    files: Mapping[str, Path]

    @property
    def sha256(self) -> str:
        digest = hashlib.sha256()
        for name in sorted(self.files):
            digest.update(f"{name}\0".encode() + hashlib.sha256(self.files[name].read_bytes()).digest())
        return digest.hexdigest()


def source_sha256(module: str) -> str | None:
    """A digest over the files of a module that has been imported; None for one of AdaptBench's, and for one without a file."""
    file = getattr(sys.modules.get(module), "__file__", None)
    return None if file is None or _is_ours(module, Path(file)) else own_source(module, Path(file)).sha256


def own_source(module: str, file: Path) -> OwnSource:
    """What a module in a file consists of; it is read, not imported.

    Of an installed package, only modules of that package count; else also whatever else lies in the same folder.
    """
    path = file.resolve()
    home = path.parents[module.count(".") + (path.name == "__init__.py")]
    files = {module: path}
    left = [module]
    while left:
        name = left.pop()
        for imported in _imports(name, files[name]):
            if home in _LIBRARIES and imported.partition(".")[0] != module.partition(".")[0]:
                continue
            found = _file(home, imported)
            if found and imported not in files and not _is_ours(imported, found):
                files[imported] = found
                left.append(imported)
    return OwnSource(home, files)


def _imports(module: str, path: Path) -> Iterator[str]:
    """Names of modules that a file imports anywhere, also in functions; of ``from a import b`` a and a.b, with their packages."""
    package = module if path.name == "__init__.py" else module.rpartition(".")[0]
    tree = ast.parse("")
    with suppress(SyntaxError, ValueError):  # of a file that nobody can import
        tree = ast.parse(path.read_bytes())
    for node in ast.walk(tree):
        names = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            above = package.split(".")[: len(package.split(".")) + 1 - node.level] if node.level else []
            base = ".".join([*above, *([node.module] if node.module else [])])
            names = [base, *(f"{base}.{alias.name}" for alias in node.names)]
        for name in names:
            parts = name.split(".")
            yield from (".".join(parts[: end + 1]) for end in range(len(parts)))


def _file(home: Path, module: str) -> Path | None:
    path = home.joinpath(*module.split("."))
    return next((each for each in (path / "__init__.py", path.with_name(f"{path.name}.py")) if each.is_file()), None)


def _is_ours(module: str, path: Path) -> bool:
    top = module.partition(".")[0]
    return top in OURS and path.resolve().is_relative_to(ROOT / top)
