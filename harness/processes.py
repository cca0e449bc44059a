"""Names that tell whose something is, down to the process: whoever finds it later sees whether that process was killed."""

from __future__ import annotations

import hashlib
import os
import platform
import secrets
from contextlib import suppress
from functools import cache
from pathlib import Path


def own_name() -> str:
    """A name of something of this process, each time another one: `has_ended` understands it."""
    return f"{machine()}-{os.getpid()}-{secrets.token_hex(8)}"


def has_ended(name: str) -> bool:
    """Whether what has this name is that of a process of this machine that is no more."""
    where, _, rest = name.partition("-")
    number = rest.partition("-")[0]
    return where == machine() and number.isdecimal() and is_gone(int(number))


def is_gone(number: int) -> bool:
    """Whether no process of this machine has a number; one that ended and waits for its parent to notice is gone, too."""
    import psutil  # slow to import, and hardly ever needed

    try:
        return psutil.Process(number).status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True
    except psutil.Error:
        return False


@cache
def machine() -> str:
    """A digest of what makes numbers of processes comparable: the host, its boot and the namespace."""
    parts = [platform.node()]
    for source in ("/proc/sys/kernel/random/boot_id", "/proc/self/ns/pid"):
        with suppress(OSError):
            parts.append(os.readlink(source) if source.endswith("pid") else Path(source).read_text().strip())
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:16]
