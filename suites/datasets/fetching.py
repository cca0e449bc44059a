"""Fetching a file so that what broke off goes on, and what is wrong is never used; and taking folders out of archives."""

from __future__ import annotations

import os
import shutil
import tempfile
import urllib.error
import urllib.request
from collections.abc import Sequence
from pathlib import Path

from harness.errors import DataError
from harness.files import put, replacing
from suites.datasets.checksums import CHUNK_BYTES, digest
from suites.datasets.downloads import Download
from suites.datasets.unpacking import FAULTS, unpack

WAIT_SECONDS = 60
FOLDER = ".downloads"
"""Below the data root: archives, and files on their way."""


def provide(download: Download, root: Path) -> bool:
    """Have what a download gives below the data root; False if it was there. Raises DataError if it can't be had.

    The file stays in `FOLDER`, so that one put there by hand is used instead of the network.
    """
    if is_there(download, root):
        return False
    target = root / download.gives
    file = root / FOLDER / download.url.rpartition("/")[2]
    fetch(download.url, file, download.checksum)
    if download.member:
        _take_out(download, file, target)
    else:
        target.parent.mkdir(parents=True, exist_ok=True)
        with replacing(target) as part:
            shutil.copyfile(file, part)
    return True


def is_there(download: Download, root: Path) -> bool:
    """Whether what a download gives exists below the data root; not whether it is whole."""
    target = root / download.gives
    return all((target / part).exists() for part in download.parts) if download.parts else target.exists()


def fetch(url: str, file: Path, checksum: str) -> None:
    """The file of a URL, whole and checked; a part of it that is there is continued. Raises DataError with the next step."""
    by_hand = f"Or download {url} in a browser and put it at {file}; then repeat the command."
    part = file.with_name(f"{file.name}.part")
    algorithm = checksum.partition(":")[0]
    if not file.exists():
        try:
            file.parent.mkdir(parents=True, exist_ok=True)
            _download(url, part)
        except (OSError, urllib.error.URLError) as error:
            kept = f"{part.stat().st_size:,} bytes are kept" if part.exists() else "nothing was received"
            raise DataError(
                f"{url} can't be fetched: {error} ({kept}).", f"Repeat the command to go on. {by_hand}"
            ) from error
        found = digest(part, algorithm)
        if found != checksum:
            part.unlink()
            raise DataError(f"{url} gave a file of {found}, not {checksum}; it was deleted.", f"Repeat it. {by_hand}")
        put(part, file)
    elif (found := digest(file, algorithm)) != checksum:
        raise DataError(
            f"{file} is not what {url} should give: it is of {found}, not {checksum}.",
            "Delete it or move it away, then repeat the command to fetch it.",
        )


def _download(url: str, part: Path) -> None:
    """Into `part`, from where it ends if the server can; a connection that breaks off early raises OSError."""
    if part.is_symlink():
        part.unlink()
    have = part.stat().st_size if part.exists() else 0
    request = urllib.request.Request(url, headers={"Range": f"bytes={have}-"} if have else {})
    try:
        with urllib.request.urlopen(request, timeout=WAIT_SECONDS) as response:
            goes_on = getattr(response, "status", None) == 206
            length = response.headers.get("Content-Length")
            with part.open("ab" if goes_on else "wb") as file:
                shutil.copyfileobj(response, file, CHUNK_BYTES)
                end = file.tell()
            expected = None if length is None else int(length) + (have if goes_on else 0)
            if expected is not None and end < expected:
                raise OSError(f"the connection broke off after {end:,} of {expected:,} bytes")
    except urllib.error.HTTPError as error:
        if error.code != 416:  # nothing is left to send: the part is whole
            raise


def _take_out(download: Download, file: Path, target: Path) -> None:
    """Unpack beside the target and move the member there when it is whole, so that a break leaves no half folder."""
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=file.parent) as folder:
        try:
            unpack(file, Path(folder))
            if download.inner:
                unpack(Path(folder) / download.inner, Path(folder))
            _move(Path(folder) / download.member, target, download.parts)
        except FAULTS as error:
            raise DataError(
                f"{file} can't be unpacked: {error}.",
                f"Delete it if it is damaged, free some space if the disk is full, and repeat the command; it gives {target}.",
            ) from error


def _move(member: Path, target: Path, parts: Sequence[str]) -> None:
    """The member to its place; if only parts of it are needed, those that are not there."""
    if not parts:
        os.replace(member, target)
        return
    target.mkdir(exist_ok=True)
    for part in parts:
        if not (target / part).exists():
            os.replace(member / part, target / part)
