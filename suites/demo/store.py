"""One file per generated dataset in the cache folder: written once, checked on every load, made again when it is broken."""

from __future__ import annotations

import hashlib
import os
import tempfile
import zipfile
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from filelock import FileLock
from PIL import Image

from harness.errors import DataError
from harness.files import replacing
from harness.suite import Item, Splits

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

PARTS = ("train", "val", "test")


@dataclass(frozen=True, eq=False)
class Pictures:
    """A whole dataset in memory: images (n, side, side, 3) uint8, labels (n,), and the part of each, a number of `PARTS`."""

    images: np.ndarray
    labels: np.ndarray
    parts: np.ndarray

    def sha256(self) -> str:
        digest = hashlib.sha256()
        for array in (self.images, self.labels.astype("<i8"), self.parts.astype("<i8")):
            digest.update(repr(array.shape).encode())
            digest.update(np.ascontiguousarray(array).data)
        return digest.hexdigest()


def load(path: Path) -> Pictures | None:
    """The dataset in a file; None if there is none, or if its pixels are not those that were written."""
    try:
        with path.open("rb") as opened, np.load(opened, allow_pickle=False) as file:
            pictures = Pictures(file["images"], file["labels"], file["parts"])
            return pictures if pictures.sha256() == str(file["sha256"]) else None
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile):
        return None


def save(path: Path, pictures: Pictures) -> None:
    """Write the file and its checksum in one go: a reader sees the whole file or none."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with replacing(path) as part, part.open("wb") as file:
            np.savez(
                file, images=pictures.images, labels=pictures.labels, parts=pictures.parts, sha256=pictures.sha256()
            )
    except OSError as error:
        raise DataError(
            f"generated data can't be kept in {path.parent}: {error.strerror or error}.",
            "Choose a folder that can be written, with some space, by --cache DIR or ADAPTBENCH_CACHE.",
        ) from error


def cached(path: Path, make: Callable[[], Pictures]) -> Pictures:
    """The file's dataset, made and written first where the file is missing or broken: by one process of a host, others wait."""
    pictures = load(path)
    if pictures is None:
        with _alone(path):
            pictures = load(path)
            if pictures is None:
                pictures = make()
                save(path, pictures)
    return pictures


@contextmanager
def _alone(path: Path) -> Iterator[None]:
    """No other process of this host is in here for the same file; the lock is a file on this host, wherever `path` lies."""
    name = hashlib.sha256(os.fsencode(path.absolute())).hexdigest()[:16]
    lock = FileLock(Path(tempfile.gettempdir()) / f"adaptbench-{name}.lock")
    with suppress(OSError):  # another user's lock: the file is made twice, no more
        lock.acquire()
    try:
        yield
    finally:
        lock.release()


def splits(pictures: Pictures, classnames: tuple[str, ...]) -> Splits:
    """Items keyed ``part/number``; the images stay in memory as one array."""
    keys = [f"{PARTS[part]}/{i:05d}" for i, part in enumerate(pictures.parts)]
    rows = {key: i for i, key in enumerate(keys)}
    items = [Item(key, int(label), classnames[label]) for key, label in zip(keys, pictures.labels, strict=True)]
    train, val, test = (tuple(items[i] for i in np.flatnonzero(pictures.parts == p)) for p in range(len(PARTS)))
    return Splits(train=train, val=val, test=test, open=_Opener(pictures.images, rows))


@dataclass(frozen=True, eq=False)
class _Opener:
    images: np.ndarray
    rows: dict[str, int]

    def __call__(self, key: str) -> Image.Image:
        return Image.fromarray(self._pixels(key), mode="RGB")

    def stamp(self, key: str) -> str:
        return hashlib.sha256(self._pixels(key).tobytes()).hexdigest()[:16]

    def _pixels(self, key: str) -> np.ndarray:
        if key not in self.rows:
            raise DataError(
                f"no image '{key}' in this dataset", "Keys look like 'test/01234'; they come with the dataset's items."
            )
        return self.images[self.rows[key]]
