"""Whether the files that a dataset's figures hang on are the published ones: its split file, ImageNet's list of names."""

from __future__ import annotations

import hashlib
from contextlib import suppress
from pathlib import Path

from harness.files import read_regular, require_regular
from suites.datasets.downloads import SOURCES

CHUNK_BYTES = 1 << 20


def unpublished(folder: str, root: Path) -> list[str]:
    """Which of these files in a dataset's folder aren't the published ones: paths below the data root. Absent ones don't count."""
    source = next(source for source in SOURCES.values() if source.folder == folder)
    found = []
    for download in source.downloads:
        with suppress(OSError):  # absent, or not to be read: their reader says so
            if not download.member and not matches(root / download.gives, download.checksum):
                found.append(download.gives)
    with suppress(OSError):
        if source.classnames and names_digest(root / folder / "classnames.txt") != source.classnames:
            found.append(f"{folder}/classnames.txt")
    return found


def matches(file: Path, checksum: str) -> bool:
    """Whether a file has a checksum such as ``md5:...``."""
    return digest(file, checksum.partition(":")[0]) == checksum


def digest(file: Path, algorithm: str) -> str:
    """``algorithm:hexdigest`` of a file; "git" is the name that git gives to a blob of this content."""
    require_regular(file)
    name = "sha1" if algorithm == "git" else algorithm
    hashed = hashlib.new(name, usedforsecurity=False)
    if algorithm == "git":
        hashed.update(b"blob %d\0" % file.stat().st_size)
    with file.open("rb") as opened:
        while chunk := opened.read(CHUNK_BYTES):
            hashed.update(chunk)
    return f"{algorithm}:{hashed.hexdigest()}"


def names_digest(file: Path) -> str:
    """``sha256:hexdigest`` of a list of names, whatever its spaces and line ends."""
    lines = (b" ".join(line.split()) for line in read_regular(file).splitlines())
    text = b"".join(line + b"\n" for line in lines if line)
    return f"sha256:{hashlib.sha256(text).hexdigest()}"
