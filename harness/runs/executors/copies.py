"""The user's own code in an order: what a request names by file is copied beside the order, so that all workers run one source."""

from __future__ import annotations

import platform
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

from harness.errors import DataError
from harness.files import write_atomically
from harness.own_source import own_source
from harness.plan import Request

FOLDER = "sources"
"""Beside the orders: a folder for each state of a file of code, with the files beside it that it imports."""


def keep_copies(request: Request, folder: Path) -> tuple[Request, dict[str, str]]:
    """Copy what a request names as ``FILE.py:NAME`` to a folder, with the files beside it that it imports.

    Returns the request with absolute paths, and the SHA-256 of what each stands for, by its name there.
    """
    found: dict[str, str] = {}

    def copied(path: Path, name: str) -> str:
        spec, source = f"{path}:{name}", own_source(path.stem, path)
        found[spec] = source.sha256
        for file in source.files.values():
            copy = _home(folder, source.sha256) / file.relative_to(source.home)
            if not copy.exists():
                copy.parent.mkdir(parents=True, exist_ok=True)
                write_atomically(copy, file.read_bytes(), sync=False)
        return spec

    return _with_files(request, copied), found


def from_copies(request: Request, folder: Path, sources: Mapping[str, str]) -> Request:
    """The request with its files of code as they were when the copies were kept: where they lay then, else all by their copies.

    Raises DataError where an original has changed, and a copy too, or is gone.
    """
    files = [(Path(spec.rpartition(":")[0]), sha256) for spec, sha256 in sources.items()]
    if all(_sha256(file) == sha256 for file, sha256 in files):
        return request
    copies = {file: _home(folder, sha256) / file.name for file, sha256 in files}
    for file, sha256 in files:
        if _sha256(copies[file]) != sha256:
            raise DataError(
                f"{file} is not what it was when this worker was ordered: on {platform.node()}, neither it nor its copy "
                f"{copies[file]} has the SHA-256 {sha256[:16]}.",
                "Order workers anew, by the same command.",
            )
    return _with_files(request, lambda file, name: f"{copies[file]}:{name}")


def _with_files(request: Request, change: Callable[[Path, str], str]) -> Request:
    """The request with every ``FILE.py:NAME`` as `change` has it."""

    def changed(spec: str) -> str:
        file, _, name = spec.rpartition(":")
        return change(Path(file).resolve(), name) if file.endswith(".py") else spec

    return replace(
        request,
        suite=changed(request.suite),
        methods=[changed(spec) for spec in request.methods],
        datasets=[changed(spec) for spec in request.datasets],
    )


def _home(folder: Path, sha256: str) -> Path:
    return folder / FOLDER / sha256[:16]


def _sha256(path: Path) -> str | None:
    """None where there is no such file, or one of those that it imports can't be read."""
    try:
        return own_source(path.stem, path).sha256
    except OSError:
        return None
