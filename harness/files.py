"""Files that are there whole or not at all, whatever ends the process, and the disk, that write them."""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


def write_atomically(path: Path, data: bytes, *, sync: bool = True) -> None:
    """Write a file so that a reader, or a crash, sees the old content or the new, never a part.

    Without `sync` that holds for crashes of the process alone, not of the machine: for files that are quickly made again.
    """
    with replacing(path, sync=sync) as part:
        part.write_bytes(data)


@contextmanager
def replacing(path: Path, *, sync: bool = True) -> Iterator[Path]:
    """An empty file beside `path` to write into; it takes the place of `path` when the block ends, and goes when the block fails.

    Its name is no other writer's, also of those on other machines that share the folder. A symbolic link at `path` is replaced,
    not followed.
    """
    part = path.with_name(f".{path.name[:40]}.{secrets.token_hex(8)}.part")
    part.open("x").close()  # with the user's umask
    try:
        yield part
        put(part, path, sync=sync)
    except BaseException:
        part.unlink(missing_ok=True)
        raise


def put(part: Path, path: Path, *, sync: bool = True) -> None:
    """Have a file that is whole take the place of `path`, in the same file system, and be on the disk before."""
    if sync:
        with part.open("rb") as file:
            os.fsync(file.fileno())
    os.replace(part, path)
