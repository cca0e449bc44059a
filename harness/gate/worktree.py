"""The base of a timed gate: a commit in a git worktree, with an environment of its own. No torch here.

An environment is kept in the user's cache for the next gate whose base asks for the same packages. Its editable install points
to a checkout beside it, which each gate makes anew. Gates that run at once take different places.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from fnmatch import fnmatch
from pathlib import Path

from filelock import FileLock, Timeout

from harness.errors import ConfigError
from harness.files import cache_folder
from harness.gate.worker_client import Side
from harness.git import environment_without_repository, run_git

INSTALL = ("-e", ".[dev]")
CACHE = cache_folder() / "gate"

_METADATA = ("pyproject.toml", "setup.py", "setup.cfg", "uv.lock", "requirements*.txt")
_INSTALL_SECONDS = 3600.0
_LAST_LINES = 12
_MOST_GATES_AT_ONCE = 16


@contextlib.contextmanager
def base_checkout(
    folder: Path, ref: str, *, say: Callable[[str], None], install: Sequence[str] = INSTALL, cache: Path = CACHE
) -> Iterator[Side]:
    """The base as commit `ref` of the repository that holds `folder`, ready to run in the folder of the same name.

    install: pip's words for the project, run in that folder. Raises ConfigError without git, the commit or the environment.
    """
    repository = Path(_git(folder, "rev-parse", "--show-toplevel"))
    inside = folder.resolve().relative_to(repository.resolve())
    commit = _commit(repository, ref)
    if _git(repository, "status", "--porcelain", "--untracked-files=no"):
        say("Head is the working tree with its uncommitted changes.")
    elif commit == _commit(repository, "HEAD"):
        say(f"Head is the base, {commit[:10]}: nothing but noise is compared.")
    with _place(cache / _digest(repository, commit, inside, install)) as place:
        tree = place / "tree"
        with _worktree(repository, commit, tree):
            python = _environment(place, tree / inside, install, say)
            path = os.environ.get("PYTHONPATH", "").replace(str(repository), str(tree))
            yield Side(name="base", python=python, folder=tree / inside, environment={"PYTHONPATH": path})


def find_uv() -> str | None:
    """uv's path, as a package of this environment or on PATH; None without."""
    try:
        from uv import find_uv_bin
    except ImportError:
        return shutil.which("uv")
    return str(find_uv_bin())


def _git(folder: Path, *words: str) -> str:
    try:
        process = run_git(folder, *words)
    except FileNotFoundError:
        raise ConfigError("there is no git on PATH.", "--base needs it to check out the base: install git.") from None
    if process.returncode != 0:
        raise ConfigError(
            f"git {' '.join(words)} failed in {folder}: {process.stderr.strip()}",
            "--base compares with a commit of the repository that holds the benchmarks: run it in a clone.",
        )
    return process.stdout.strip()


def _commit(repository: Path, ref: str) -> str:
    try:
        return _git(repository, "rev-parse", "--verify", "--quiet", "--end-of-options", f"{ref}^{{commit}}")
    except ConfigError:
        raise ConfigError(
            f"there is no commit '{ref}' in this clone.",
            f"Fetch it first: git fetch origin {ref}. In CI a clone is shallow unless told (actions/checkout: fetch-depth: 0).",
        ) from None


def _digest(repository: Path, commit: str, inside: Path, install: Sequence[str]) -> str:
    """Of all that decides what an environment holds: this Python, the words of the install, and the base's metadata."""
    python = [sys.version, sys.base_prefix, str(repository), str(inside), *install]
    files = _git(repository, "ls-tree", f"{commit}:{'' if inside == Path() else inside.as_posix()}").splitlines()
    metadata = [line for line in files if any(fnmatch(line.partition("\t")[2], pattern) for pattern in _METADATA)]
    return hashlib.sha256("\n".join(python + metadata).encode()).hexdigest()[:16]


@contextlib.contextmanager
def _place(folder: Path) -> Iterator[Path]:
    """A folder for one gate at a time: the first of `folder`-0, -1, ... that no other gate holds."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    for number in range(_MOST_GATES_AT_ONCE):
        place = folder.with_name(f"{folder.name}-{number}")
        with contextlib.suppress(Timeout), FileLock(f"{place}.lock", timeout=0):
            place.mkdir(exist_ok=True)
            yield place
            return
    raise ConfigError(f"{_MOST_GATES_AT_ONCE} gates with this base run already.", "Wait until one of them has ended.")


@contextlib.contextmanager
def _worktree(repository: Path, commit: str, tree: Path) -> Iterator[None]:
    _remove(repository, tree)  # of a gate that was killed
    try:
        _git(repository, "worktree", "add", "--detach", "--force", str(tree), commit)
        yield
    finally:
        _remove(repository, tree)


def _remove(repository: Path, tree: Path) -> None:
    with contextlib.suppress(ConfigError):  # not one of git's, or not any more
        _git(repository, "worktree", "remove", "--force", str(tree))
    shutil.rmtree(tree, ignore_errors=True)


def _environment(place: Path, project: Path, install: Sequence[str], say: Callable[[str], None]) -> Path:
    """The Python of the place's environment, with the project's packages and the project itself as it is checked out now."""
    environment, done = place / "environment", place / "installed"
    python = environment / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
    uv = find_uv()
    with_uv = [uv, "pip", "install", "-q", "--compile-bytecode", "--python", str(python)]
    pip = with_uv if uv else [str(python), "-m", "pip", "install", "-q"]
    if not done.exists():
        say("Making the base's environment; a later gate with the same packages finds it made")
        shutil.rmtree(environment, ignore_errors=True)
        venv = [uv, "venv", "-q", "-p", sys.executable] if uv else [sys.executable, "-m", "venv"]
        _run([*venv, str(environment)], project)
        _run([*pip, *install], project)
        done.touch()
    _run([*pip, "--no-deps", *install], project)
    return python


def _run(words: Sequence[str], project: Path) -> None:
    try:
        process = subprocess.run(
            words,
            cwd=project,
            env=environment_without_repository(),  # setuptools-scm and its like ask git
            capture_output=True,
            text=True,
            timeout=_INSTALL_SECONDS,
        )
    except subprocess.TimeoutExpired:
        raise ConfigError(f"'{' '.join(words)}' took more than {_INSTALL_SECONDS:g} s.", "Is the network up?") from None
    if process.returncode != 0:
        last = "\n".join((process.stdout + process.stderr).strip().splitlines()[-_LAST_LINES:])
        raise ConfigError(
            f"the base's environment can't be made: '{' '.join(words)}' ended with exit code {process.returncode}.\n{last}",
            "Does it work in a clone of the base? A project with other words of install than -e .[dev] says so to the gate.",
        )
