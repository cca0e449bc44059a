"""Datasets of the user's own, named on the command line: ``folder:PATH``, ``csv:PATH``, ``torchvision:NAME``, ``hf:NAME``.

What a record calls them leads to no machine: the folder's or file's name and a hash of its list (paths, classes, parts and file
sizes; not the pixels). Where a source has no split, `suites.splitting` makes one that is the same everywhere.
"""

from __future__ import annotations

import csv
import hashlib
import os
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from pathlib import Path, PureWindowsPath

from harness.errors import ConfigError
from harness.images import ImageFolder, require_images
from harness.suite import Dataset, Folders, Splits
from suites.readers import IMAGE_SUFFIXES
from suites.splitting import PARTS, Row, part_named, split

LAYOUT = (
    "It takes one folder a class with its images inside; or train/, test/ and perhaps val/ with such folders in each."
)


def folder(path: str) -> Dataset:
    """An image folder: one folder a class, or those inside train/, val/ and test/. Raises ConfigError for another layout."""
    home = Path(path).expanduser().absolute()
    if not home.is_dir():
        raise ConfigError(f"folder:{path}: there is no such folder.", LAYOUT)
    below = _subfolders(home)
    parts = {name: part_named(name) for name in below}
    if "train" in parts.values():
        rows = [row for name, part in parts.items() if part for row in _class_folders(home, f"{name}/", part)]
    else:
        rows = list(_class_folders(home, "", None))
    _require_classes(f"folder:{path}", rows, LAYOUT)
    return _local("folder", home.name, home, rows)


def csv_file(path: str) -> Dataset:
    """A CSV file with the columns image (a path, from the file's folder on), label (a class name) and perhaps split.

    Raises ConfigError for a file that is none.
    """
    file = Path(path).expanduser().absolute()
    advice = 'Its first line names the columns "image" and "label", and "split" (train, val, test) if it has one.'
    try:
        with file.open(newline="", encoding="utf-8-sig") as opened:
            lines = list(csv.DictReader(opened))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise ConfigError(f"csv:{path} can't be read: {error}.", advice) from error
    if not lines or not {"image", "label"} <= set(lines[0]):
        raise ConfigError(f"csv:{path} has no lines with an image and a label.", advice)
    rows = [_csv_row(path, number, line) for number, line in enumerate(lines, start=2)]
    _require_classes(f"csv:{path}", rows, advice)
    return _local("csv", file.stem, file.parent, rows)


def torchvision(name: str) -> Dataset:
    """A dataset class of torchvision, downloaded if torchvision can (the network path is untested)."""
    return _remote(f"torchvision:{name}", name, partial(_read_torchvision, name))


def hugging_face(name: str) -> Dataset:
    """An image classification dataset of the Hugging Face hub, or in a local folder (the network path is untested)."""
    own = Path(name).name if os.path.isdir(name) else name.replace("/", "--")
    return _remote(f"hf:{own}", own, partial(_read_hugging_face, name))


def _remote(name: str, title: str, read: Callable[[Folders], Splits]) -> Dataset:
    return Dataset(name=name, title=title, group="user", templates={"clip": "a photo of a {}."}, read=read)


def _local(source: str, title: str, home: Path, rows: Sequence[Row]) -> Dataset:
    digest = hashlib.sha256()
    for row in rows:
        path = home / row.image
        size = path.stat().st_size if path.is_file() else -1
        digest.update(repr((row.part, row.image, row.classname, size)).encode())

    def read(folders: Folders) -> Splits:
        splits = split(rows, ImageFolder(home))
        require_images(splits, home)
        return splits

    return _remote(f"{source}:{title}@{digest.hexdigest()[:12]}", title, read)


def _class_folders(home: Path, below: str, part: str | None) -> Iterable[Row]:
    for name in _subfolders(home / below):
        for folder_, _, files in sorted(os.walk(home / below / name)):
            images = sorted(f for f in files if f.lower().endswith(IMAGE_SUFFIXES) and not f.startswith("."))
            for image in images:
                yield Row(Path(folder_, image).relative_to(home).as_posix(), name, part)


def _subfolders(home: Path) -> list[str]:
    return sorted(entry.name for entry in os.scandir(home) if entry.is_dir() and not entry.name.startswith("."))


def _csv_row(path: str, number: int, line: dict[str, str | None]) -> Row:
    image, label = (line["image"] or "").strip(), (line["label"] or "").strip()
    windows = PureWindowsPath(image)
    if not image or not label or windows.anchor or ".." in windows.parts:
        raise ConfigError(
            f"csv:{path}, line {number}: image '{image}', label '{label}'.",
            "Each line needs a class name, and an image path that starts at the file's folder and stays inside it.",
        )
    text = (line.get("split") or "").strip()
    part = part_named(text)
    if text and part is None:
        raise ConfigError(f"csv:{path}, line {number}: the split '{text}'.", f"It is one of: {', '.join(PARTS)}.")
    return Row(image, label, part)


def _require_classes(name: str, rows: Sequence[Row], advice: str) -> None:
    classes = {row.classname for row in rows}
    if len(classes) < 2:
        raise ConfigError(f"{name} has images of {len(classes)} classes; telling apart takes 2.", advice)


def _read_torchvision(name: str, folders: Folders) -> Splits:
    from suites import hosted

    return hosted.read_torchvision(name, (folders.data_root or folders.cache) / "torchvision")


def _read_hugging_face(name: str, folders: Folders) -> Splits:
    from suites import hosted

    return hosted.read_hugging_face(name)
