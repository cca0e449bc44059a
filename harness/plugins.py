"""From a name, ``module:attribute`` or ``file.py:attribute`` to a method, suite, dataset, backbone or command.

The only lookup by name. A module is looked for in the current folder too, and the folder of a file is searched from then on; both
after all others, so that no module of a user's stands in for one of ours or of a library. Our own packages are ours even where
PYTHONPATH has others of their names before them. A source makes a dataset of what follows
its name, as in ``folder:PATH``.
"""

from __future__ import annotations

import importlib
import importlib.util
import sys
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from types import ModuleType
from typing import Any, Literal, get_args

from harness.errors import ConfigError, did_you_mean, located
from harness.installed import EntryPoint, entry_points

OURS = ("harness", "methods", "suites", "reports")
ROOT = Path(__file__).resolve().parents[1]
"""The folder of our packages: of a checkout, or of all that is installed."""

Kind = Literal["method", "suite", "dataset", "backbone", "command", "source", "executor", "quantity", "exporter"]


_TYPES = {"suite": "Suite", "dataset": "Dataset", "backbone": "BackboneFiles"}


def names(kind: Kind) -> list[str]:
    """The registered names of a kind, in the order of their distributions' tables."""
    return list(targets(kind))


def targets(kind: Kind) -> dict[str, str]:
    """Where each registered name of a kind leads, as ``module:attribute``."""
    found: dict[str, str] = {}
    for entry in _table(kind):
        found.setdefault(entry.name, entry.value)
    return found


def load(kind: Kind, name: str) -> Any:
    """The object behind a registered name or ``module:attribute``; of a dataset, also what a source makes of ``source:rest``.

    Raises ConfigError for an unknown name, and for a plug-in whose import fails (naming the plug-in, not just the cause).
    """
    name = named(name)
    entry = next((e for e in _table(kind) if e.name == name), None)
    source, _, rest = name.partition(":")
    if entry is None and kind == "dataset" and is_source(name):
        return load("source", source)(rest)
    if entry is None and rest:
        entry = EntryPoint("", name, name)
    if entry is None:
        raise ConfigError(
            f"no {kind} '{name}'.",
            f"{did_you_mean(name, names(kind))} One of your own works as module:attribute, or by name after an entry point "
            f"in the group '{_group(kind)}' of its package and a new 'pip install -e .'.",
        )
    try:
        module = _imported(entry.module)
    except ConfigError:
        raise
    except (Exception, SystemExit) as error:  # whatever somebody's module does
        raise ConfigError(
            f"the {kind} '{name}' can't be imported from '{entry.module}': {_why(error)}.", _advice(entry.module, error)
        ) from error
    try:
        return _of_kind(kind, name, getattr(module, entry.attribute))
    except AttributeError:
        raise ConfigError(
            f"the module '{entry.module}' has no '{entry.attribute}' (for the {kind} '{name}').",
            f"It has: {', '.join(n for n in vars(module) if not n.startswith('_')) or 'nothing public'}.",
        ) from None


def _of_kind(kind: Kind, name: str, found: Any) -> Any:
    """Raises ConfigError for what is no suite, dataset or backbone, though a name leads to it."""
    is_one = {
        "suite": hasattr(found, "question"),
        "dataset": hasattr(found, "templates"),
        "backbone": hasattr(found, "weights"),
    }
    if not is_one.get(kind, True):
        raise ConfigError(
            f"'{name}' is no {kind}: it leads to an object of the type {type(found).__name__}.",
            f"Name a harness.suite.{_TYPES[kind]}, or a registered {kind}: adaptbench list {kind}s",
        )
    return found


def named(spec: str) -> str:
    """What a plug-in is called from now on: ``folder/mine.py:Mine`` is ``mine:Mine``, everything else is called as it is.

    Raises ConfigError where there is no such file, or where another module has its name.
    """
    source, _, attribute = spec.rpartition(":")
    if not source.endswith(".py"):
        return spec
    path = Path(source).resolve()
    if not path.is_file():
        raise ConfigError(
            f"there is no file {source}.", "Name the file as seen from this folder, or by its whole path."
        )
    if not path.stem.isidentifier():
        raise ConfigError(f"'{path.name}' can't be imported: '{path.stem}' is no name of a module.", "Rename the file.")
    _search(path.parent)
    try:
        at = importlib.util.find_spec(path.stem)
    except ValueError:  # of a module that was made by hand, as `__main__` is
        at = None
    if at is None or at.origin is None or Path(at.origin).resolve() != path:
        where = at.origin or "built in" if at else "not to be found"
        raise ConfigError(f"{source} is shadowed: the module '{path.stem}' is {where}.", "Rename the file.")
    return f"{path.stem}:{attribute}"


def _imported(module: str) -> ModuleType:
    top = module.partition(".")[0]
    if top in OURS:
        have_ours(top)
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        if error.name != top or not any(Path(place).exists() for place in (top, f"{top}.py")):
            raise
    _search(Path.cwd())
    return importlib.import_module(module)


def have_ours(package: str) -> None:
    """Import a package of ours from where it lies, whatever else has its name. Raises ConfigError where another came first."""
    home = ROOT / package
    if package not in sys.modules:
        spec = importlib.util.spec_from_file_location(package, home / "__init__.py")
        assert spec is not None
        assert spec.loader is not None
        sys.modules[package] = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(sys.modules[package])
    elif home not in map(Path, sys.modules[package].__path__):
        raise ConfigError(
            f"'{package}' is a package of AdaptBench, and {sys.modules[package].__path__[0]} was imported in its place.",
            "Give that one another name.",
        )


def _search(folder: Path) -> None:
    """Have modules looked for in a folder too, after all others."""
    if str(folder) not in sys.path:
        sys.path.append(str(folder))
        importlib.invalidate_caches()


def _why(error: BaseException) -> str:
    """What an import ended with, and where."""
    if isinstance(error, SyntaxError):  # it names the place by itself
        return str(error)
    return located(error).removeprefix("ModuleNotFoundError: ").removeprefix("ImportError: ")


def _advice(module: str, error: BaseException) -> str:
    top = module.partition(".")[0]
    theirs = Path(*module.split(".")).with_suffix(".py")
    if "mutable default" in str(error) and "recipes" in str(error):
        return "Write recipes: ClassVar[Mapping[str, Recipe]] = {...}"
    if "relative import" in str(error):
        return "It is imported by itself: write 'from helper import ...', not 'from .helper import ...'."
    missing = (error.name or "").partition(".")[0] if isinstance(error, ImportError) else ""
    if top in OURS and theirs.is_file():
        return f"'{top}' is a package of AdaptBench. Name the file instead: {theirs}:ATTRIBUTE."
    if missing in OURS and top not in OURS:
        return f"'{missing}' is a package of AdaptBench. Mend the import; if you meant a package of your own, give it another name."
    if not isinstance(error, ModuleNotFoundError):
        return "Mend the module."
    if missing != top:
        return f"Mend the import, put {missing}.py beside the module, or install its package."
    return "Run from the folder that holds the module, name its file (FILE.py:ATTRIBUTE), or install its package."


def is_source(dataset: str) -> bool:
    """Whether a dataset's name on the command line is one for a source, such as ``folder:PATH``."""
    source, _, rest = dataset.partition(":")
    return bool(rest) and source in names("source")


def _group(kind: Kind) -> str:
    """The group of a kind's entry points."""
    return "adaptbench.quantities" if kind == "quantity" else f"adaptbench.{kind}s"


def _table(kind: Kind) -> tuple[EntryPoint, ...]:
    return _tables(tuple(sys.path))[kind]


@lru_cache
def _tables(folders: tuple[str, ...]) -> Mapping[str, tuple[EntryPoint, ...]]:
    """What is installed in the folders of modules, by kind; read anew for each name, it took most of a report's time."""
    groups = {kind: _group(kind) for kind in get_args(Kind)}
    found = entry_points(folders, groups.values())
    return {kind: tuple(entry for entry in found if entry.group == group) for kind, group in groups.items()}
