"""git, asked about the repository that holds a folder, whatever repository the caller's environment is about.

A hook runs with git's variables set (`GIT_DIR`, `GIT_INDEX_FILE`): handed on, they would aim every question, and every checkout,
at the commit in the making.
"""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

_OF_A_REPOSITORY = (
    "GIT_ALTERNATE_OBJECT_DIRECTORIES",
    "GIT_COMMON_DIR",
    "GIT_CONFIG",
    "GIT_CONFIG_COUNT",
    "GIT_CONFIG_PARAMETERS",
    "GIT_DIR",
    "GIT_GRAFT_FILE",
    "GIT_IMPLICIT_WORK_TREE",
    "GIT_INDEX_FILE",
    "GIT_INTERNAL_SUPER_PREFIX",
    "GIT_NAMESPACE",
    "GIT_NO_REPLACE_OBJECTS",
    "GIT_OBJECT_DIRECTORY",
    "GIT_PREFIX",
    "GIT_QUARANTINE_PATH",
    "GIT_REPLACE_REF_BASE",
    "GIT_SHALLOW_FILE",
    "GIT_WORK_TREE",
)
"""What ``git rev-parse --local-env-vars`` lists: of one repository alone."""


def environment_without_repository() -> dict[str, str]:
    """This process's environment without what ties git to one repository."""
    return {name: value for name, value in os.environ.items() if name not in _OF_A_REPOSITORY}


def run_git(folder: Path, *words: str, timeout_seconds: float | None = None) -> subprocess.CompletedProcess[str]:
    """``git`` in a folder, with what it printed. Raises OSError where there is no git, and TimeoutExpired."""
    return subprocess.run(
        ["git", *words],
        cwd=folder,
        env=environment_without_repository(),
        capture_output=True,
        text=True,
        errors="replace",
        timeout=timeout_seconds,
    )
