"""Files that are there whole or not at all, whatever ends the process, and the disk, that write them; and files that end."""

from __future__ import annotations

import codecs
import errno
import os
import stat
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import platformdirs

from harness.processes import has_ended, own_name

_AT_ONCE = getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)
_NO_LINK = getattr(os, "O_NOFOLLOW", 0)
_NEW = os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0)
_PART = ".part"
MOST_TEXT_BYTES = 1 << 28
"""Lists of images are shorter: ImageNet's takes a quarter of it."""

Version = tuple[int, int, int]
"""Of a file: its number, when it was changed, and its size."""


def cache_folder() -> Path:
    """Where what can be made again is kept: the user's cache folder, or what stands for it."""
    return temporary_cache_folder() or platformdirs.user_cache_path("adaptbench")


def temporary_cache_folder() -> Path | None:
    """What stands for a user's cache folder that can't be written, as in containers: a folder below the temporary one.

    None where there is no need of it, or another user has laid something in its place.
    """
    try:
        usual = platformdirs.user_cache_path("adaptbench")
    except RuntimeError:  # no HOME, and no entry of the user's
        usual = Path("~/.cache/adaptbench")
    there = next(place for place in (usual, *usual.parents) if os.path.lexists(place))
    if usual.is_absolute() and os.access(there, os.W_OK | os.X_OK):
        return None
    user = os.getuid() if hasattr(os, "getuid") else 0
    with suppress(OSError):
        folder = Path(tempfile.gettempdir()) / f"adaptbench-{user}"
        folder.mkdir(mode=0o700, exist_ok=True)
        found = folder.lstat()
        if found.st_uid == user and stat.S_ISDIR(found.st_mode):
            return folder
    return None


def version_of(path: Path) -> Version:
    """What changes when a file is written anew. Raises OSError."""
    found = path.stat()
    return found.st_ino, found.st_mtime_ns, found.st_size


def require_regular(path: Path) -> None:
    """Raises OSError for what is no file: a FIFO would be waited for, a device may never end."""
    if not stat.S_ISREG(path.stat().st_mode):
        raise OSError(errno.EINVAL, "it is no regular file", str(path))


def read_regular(path: Path | str, most_bytes: int = MOST_TEXT_BYTES, *, links: bool = True) -> bytes:
    """The content of a regular file of `most_bytes` at most; without `links`, of no symbolic link. Raises OSError."""
    try:
        file = os.open(path, os.O_RDONLY | _AT_ONCE | (0 if links else _NO_LINK))
    except OSError as error:
        if links or error.errno != errno.ELOOP:
            raise
        os.stat(path)  # of a link that leads nowhere, that there is no file
        raise OSError(errno.ELOOP, "it is a symbolic link", str(path)) from error
    try:
        found = os.fstat(file)
        if not stat.S_ISREG(found.st_mode):
            raise OSError(errno.EINVAL, "it is no regular file", str(path))
        data = os.read(file, min(found.st_size, most_bytes) + 1)
        while len(data) <= most_bytes and len(data) != found.st_size and (more := os.read(file, 1 << 20)):
            data += more
    finally:
        os.close(file)
    if len(data) > most_bytes:
        raise OSError(errno.EFBIG, f"it is longer than {most_bytes >> 10} KiB", str(path))
    return data


def read_text(path: Path, most_bytes: int = MOST_TEXT_BYTES) -> str:
    """The text of a regular file: UTF-8, or UTF-16 with its mark. Raises OSError, and UnicodeDecodeError for other encodings."""
    data = read_regular(path, most_bytes)
    return data.decode("utf-16" if data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)) else "utf-8-sig")


def printable(name: str) -> str:
    """A file's name as text that can be encoded: bytes that are not UTF-8 are written out, as in ``caf\\udce9``."""
    return name.encode(errors="backslashreplace").decode()


def write_atomically(path: Path | str, data: bytes, *, sync: bool = True) -> None:
    """Write a file so that a reader, or a crash, sees the old content or the new, never a part.

    Without `sync` that holds for crashes of the process alone, not of the machine: for files that are quickly made again.
    """
    part = _beside(path)
    try:
        file = os.open(part, _NEW, 0o666)  # with the user's umask
        try:
            left = memoryview(data)
            while left:
                left = left[os.write(file, left) :]
        finally:
            os.close(file)
        put(part, path, sync=sync)
    except BaseException:
        with suppress(FileNotFoundError):
            os.unlink(part)
        raise


@contextmanager
def replacing(path: Path, *, sync: bool = True) -> Iterator[Path]:
    """An empty file beside `path` to write into; it takes the place of `path` when the block ends, and goes when the block fails.

    Its name is no other writer's, also of those on other machines that share the folder; what killed writers left there goes. A
    symbolic link at `path` is replaced, not followed.
    """
    sweep(path.parent)
    part = Path(_beside(path))
    part.open("x").close()  # with the user's umask
    try:
        yield part
        put(part, path, sync=sync)
    except BaseException:
        part.unlink(missing_ok=True)
        raise


def _beside(path: Path | str) -> str:
    folder, name = os.path.split(path)
    return os.path.join(folder, f".{name[:40]}.{own_name()}{_PART}")


def sweep(folder: Path) -> None:
    """Remove the files in a folder that processes of this machine had begun when they were killed."""
    with suppress(OSError):
        for name in os.listdir(folder):
            if name.endswith(_PART) and has_ended(name.removesuffix(_PART).rpartition(".")[2]):
                os.unlink(folder / name)


def put(part: Path | str, path: Path | str, *, sync: bool = True) -> None:
    """Have a file that is whole take the place of `path`, in the same file system, and be on the disk before."""
    if sync:
        with open(part, "rb") as file:
            os.fsync(file.fileno())
    os.replace(part, path)
