"""Archives of datasets, unpacked by rules of our own: files alone, inside the folder, and no more than images unpack to."""

from __future__ import annotations

import bz2
import gzip
import lzma
import shutil
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, Any

from harness.data.split_files import leaves_the_folder

MOST_TIMES, MORE_BYTES = 4, 64 << 20
"""What an archive unpacks to at most: so many times its file, for images are compressed already, and lists beside them."""
MOST_FILES = 2_000_000
"""ImageNet's archives have 1.3 million."""
FAULTS = (OSError, EOFError, ValueError, RuntimeError, tarfile.TarError, zipfile.BadZipFile, zlib.error, lzma.LZMAError)
"""What unpacking raises, whatever is wrong with the archive."""

_Member = tuple[str, int, Callable[[], IO[bytes]]]
"""Its name, bytes, and content."""


def unpack(file: Path, folder: Path) -> None:
    """The files of a zip or tar archive below an empty folder. Raises one of `FAULTS`.

    Refused are links and devices, names that lead out of the folder, encrypted members, and what unpacks to more than it should.
    """
    limit_bytes = MOST_TIMES * file.stat().st_size + MORE_BYTES
    unpacked_bytes = 0
    for count, (name, size, content) in enumerate(
        _of_zip(file) if file.suffix == ".zip" else _of_tar(file, limit_bytes)
    ):
        unpacked_bytes += size
        if count >= MOST_FILES:
            raise ValueError(f"it has more than {MOST_FILES:,} files")
        if unpacked_bytes > limit_bytes:
            raise _too_large(limit_bytes)
        if leaves_the_folder(name) or "\0" in name:
            raise ValueError(f"its member {name[:200]!r} leads out of the folder")
        target = folder / name
        target.parent.mkdir(parents=True, exist_ok=True)
        with content() as source, target.open("wb") as out:
            shutil.copyfileobj(source, out)


def _of_zip(file: Path) -> Iterator[_Member]:
    with zipfile.ZipFile(file) as archive:
        for entry in archive.infolist():
            if entry.flag_bits & 1:
                raise ValueError(f"its member {entry.filename[:200]!r} is encrypted")
            if not entry.filename:
                raise ValueError("one of its members has no name")
            kind = entry.external_attr >> 28  # of Unix: 8 is a file, 4 a folder
            if kind not in (0, 4, 8):
                raise ValueError(f"its member {entry.filename[:200]!r} is a link or a device")
            if not entry.is_dir():
                yield entry.filename, entry.file_size, lambda entry=entry: archive.open(entry)  # type: ignore[misc]


def _of_tar(file: Path, limit_bytes: int) -> Iterator[_Member]:
    openers: dict[str, Callable[[Path], Any]] = {
        ".gz": gzip.open,
        ".tgz": gzip.open,
        ".bz2": bz2.open,
        ".xz": lzma.open,
    }
    with (
        openers.get(file.suffix, _plain)(file) as stream,
        tarfile.open(fileobj=_Bounded(stream, limit_bytes), mode="r|") as archive,  # type: ignore[call-overload]
    ):
        for member in archive:
            if not member.isfile() and not member.isdir():
                raise ValueError(f"its member {member.name[:200]!r} is a link or a device")
            if member.isfile():
                yield member.name, member.size, lambda member=member: archive.extractfile(member)  # type: ignore[misc]


def _plain(file: Path) -> IO[bytes]:
    return file.open("rb")


class _Bounded:
    """A stream that ends with an error once more was read than an archive may hold: its headers can be long too."""

    def __init__(self, stream: IO[bytes], limit_bytes: int) -> None:
        self._stream, self._left, self._limit_bytes = stream, 2 * limit_bytes, limit_bytes

    def read(self, size: int) -> bytes:
        data = self._stream.read(min(size, self._left + 1))
        self._left -= len(data)
        if self._left < 0:
            raise _too_large(self._limit_bytes)
        return data


def _too_large(limit_bytes: int) -> ValueError:
    return ValueError(f"it unpacks to more than {limit_bytes >> 20} MiB, and images are compressed already")
