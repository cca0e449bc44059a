"""Processes that end with their parent, at once, whatever they are doing: also while they import, or hold Python's lock.

Linux alone has that; elsewhere a run's thread notices (`harness.runs.worker_process`), and the fork server once it listens.
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys
from contextlib import suppress

PARENT = "ADAPTBENCH_FORK_SERVER_OF"
"""The variable by which a fork server is told the process that it is to end with; unset where only a thread of that started it."""
READY = "ADAPTBENCH_FORK_SERVER_READY"
"""The variable by which a fork server is told the file to make once it has imported all."""
_PR_SET_PDEATHSIG = 1


def end_with(parent: int) -> None:
    """Have the kernel kill this process once its parent, of this number, ends; to be exact, the parent's thread that started it."""
    if sys.platform != "linux":
        return
    with suppress(OSError, AttributeError):  # of a C library without it
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:  # it ended before
        os._exit(1)


def end_with_told_parent() -> None:
    """The same in a fork server that was told its parent."""
    told = os.environ.pop(PARENT, None)
    if told is not None:
        end_with(int(told))
