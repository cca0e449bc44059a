"""Datasets of the user's own, named on the command line: ``folder:PATH``, ``csv:PATH``, ``torchvision:NAME``, ``hf:NAME``.

What a record calls them leads to no machine: the folder's or file's name and a hash of its list (paths, classes, parts and file
sizes; not the pixels). Where a source has no split, `suites.datasets.splitting` makes one that is the same everywhere.
"""

from __future__ import annotations

import hashlib
import os
import re
import warnings
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from pathlib import Path

from harness.data.split_files import SUFFIXES, UNPRINTABLE, ImageFolder, require_images
from harness.errors import ConfigError, did_you_mean
from harness.files import printable, require_regular
from harness.suite import Dataset, Folders, Splits
from suites.datasets.csv_lists import ADVICE, read_rows
from suites.datasets.splitting import Row, part_named, split

_OF_SYSTEMS = ("__MACOSX", "Thumbs.db", "desktop.ini")
"""What file systems and archivers leave in folders."""

HF_CHOICES = ("config", "split", "image", "label")
_CHOICE = re.compile(r"(.+):(\w+)=([^:]+)")
PIXELS = "EXIF orientation applied, transparency on white"
"""How pixels of a user's own files are read, in the digest by which a dataset is known."""
LAYOUT = (
    "It takes one folder a class with its images inside; or train/, test/ and perhaps val/ with such folders in each."
)


def folder(path: str) -> Dataset:
    """An image folder: one folder a class, or those inside train/, val/ and test/. Raises ConfigError for another layout."""
    home = Path(path).expanduser().absolute()
    if not home.is_dir():
        raise ConfigError(f"folder:{path}: there is no such folder.", LAYOUT)
    below = _subfolders(home)
    parts = {name: part for name in below if (part := part_named(name)) and _subfolders(home / name)}
    left_out: list[str] = []
    if "train" in parts.values():
        others = [name for name in below if name not in parts]
        if others:
            raise ConfigError(
                f"folder:{path} has the part '{next(iter(parts))}', and beside it '{others[0]}', which is no part with a "
                "folder per class in it.",
                f"{LAYOUT} Move '{others[0]}' away, or rename it.",
            )
        left_out += _in_no_class(home, "")
        rows = [row for name, part in parts.items() for row in _class_folders(home, f"{name}/", part, left_out)]
    elif parts:
        raise ConfigError(f"folder:{path} has the folder '{next(iter(parts))}', and no 'train' beside it.", LAYOUT)
    else:
        rows = list(_class_folders(home, "", None, left_out))
    _require_classes(f"folder:{path}", rows, LAYOUT)
    return _local("folder", home.name, home, rows, left_out)


def csv_file(path: str) -> Dataset:
    """A CSV file with the columns image (a path, from the file's folder on), label (a class name) and perhaps split.

    Raises ConfigError for a file that is none.
    """
    file = Path(path).expanduser().absolute()
    rows = read_rows(path, file)
    _require_classes(f"csv:{path}", rows, ADVICE)
    return _local("csv", file.stem, file.parent, rows)


def torchvision(text: str) -> Dataset:
    """A dataset class of torchvision, downloaded if torchvision can (the network path is untested).

    ``NAME``, or with arguments of its constructor: ``NAME:argument=value``.
    """
    name, choices = _with_choices(text)
    own = f"{name}{_told(choices)}"
    return _remote(f"torchvision:{own}", own, partial(_read_torchvision, name, choices))


def hugging_face(text: str) -> Dataset:
    """An image classification dataset of the Hugging Face hub, or in a local folder (the network path is untested).

    ``NAME``, or with choices behind it: ``NAME:config=...:split=...:image=...:label=...``. Raises ConfigError for other choices.
    """
    name, choices = _with_choices(text)
    for choice in choices:
        if choice not in HF_CHOICES:
            raise ConfigError(f"hf:{text}: '{choice}' can't be chosen.", did_you_mean(choice, HF_CHOICES))
    own = printable(name.replace("/", "--"))
    if os.path.isdir(name):
        home = Path(name).absolute()
        found = (path for path in home.rglob("*") if not path.is_dir())
        files = sorted((path.relative_to(home).as_posix(), _size(path)) for path in found)
        own = f"{printable(home.name)}@{_digest(file for file in files if '/.' not in f'/{file[0]}')}"
    own += _told(choices)
    return _remote(f"hf:{own}", own, partial(_read_hugging_face, name, choices))


def _with_choices(text: str) -> tuple[str, dict[str, str]]:
    """``NAME:key=value:key=value`` apart; a folder's name may have colons of its own."""
    choices: dict[str, str] = {}
    while not os.path.isdir(text) and (found := _CHOICE.fullmatch(text)):
        text, key, value = found.groups()
        choices[key] = value
    return text, dict(sorted(choices.items()))


def _told(choices: Mapping[str, str]) -> str:
    """Choices as a dataset's name ends with them; a slash would end the name."""
    return "".join(f":{key}={value.replace('/', '--')}" for key, value in choices.items())


def _remote(name: str, title: str, read: Callable[[Folders], Splits]) -> Dataset:
    return Dataset(name=name, title=title, group="user", templates={"clip": "a photo of a {}."}, read=read)


def _local(source: str, title: str, home: Path, rows: Sequence[Row], left_out: Sequence[str] = ()) -> Dataset:
    """`left_out` says what of the folder is no image that can be read, class by class: reading warns of it."""
    digest = _digest([(PIXELS,), *((row.part, row.image, row.classname, _size(home / row.image)) for row in rows)])
    title = printable(title)

    def read(folders: Folders) -> Splits:
        splits = split(rows, ImageFolder(home, upright=True))
        require_images(splits, home)
        for each in left_out:
            warnings.warn(f"{source}:{title}: {each}", UserWarning, stacklevel=2)
        return splits

    return _remote(f"{source}:{title}@{digest}", title, read)


def _digest(entries: Iterable[tuple[object, ...]]) -> str:
    """What tells two lists of files apart."""
    digest = hashlib.sha256()
    for entry in entries:
        digest.update(repr(entry).encode())
    return digest.hexdigest()[:12]


def _size(path: Path) -> int:
    """A file's bytes, -1 where there is none. Raises ConfigError for a FIFO, a device, or a link that leads nowhere."""
    try:
        require_regular(path)
        return path.stat().st_size
    except OSError as error:
        if not path.is_symlink() and not path.exists():
            return -1
        raise ConfigError(
            f"the image '{path}' can't be read: {error.strerror}.", "Take it out of the dataset."
        ) from error


def _class_folders(home: Path, below: str, part: str | None, left_out: list[str]) -> Iterable[Row]:
    """The images of every class folder; what is left out of one is said in `left_out`.

    Raises ConfigError for a folder without images, and for one with images in folders of its own only: those are classes.
    """
    left_out += _in_no_class(home, below)
    for name in _subfolders(home / below):
        files = [
            Path(folder_, file).relative_to(home).as_posix()
            for folder_, _, files in sorted(os.walk(home / below / name))
            for file in sorted(files)
            if not file.startswith(".") and file not in _OF_SYSTEMS
        ]
        images = [file for file in files if file.lower().endswith(SUFFIXES)]
        others = _by_suffix(file for file in files if not file.lower().endswith(SUFFIXES))
        own = f"{below}{name}/"
        if not images:
            raise ConfigError(
                f"folder:{home}: the class folder '{own}' holds no image that can be read ({others or 'it is empty'}).",
                f"Images are {', '.join(SUFFIXES)}: convert them, or move the folder away.",
            )
        if others:
            left_out.append(
                f"of the class folder '{own}', {others} {'is' if others.startswith('1 ') else 'are'} left out"
            )
        if all("/" in image.removeprefix(own) for image in images):
            raise ConfigError(
                f"folder:{home}: '{own}' is no class, its images lie in folders below it, such as '{images[0]}'.",
                LAYOUT,
            )
        yield from (Row(image, name, part) for image in images)


def _in_no_class(home: Path, below: str) -> list[str]:
    """What is to be said of images that lie beside class folders."""
    names = sorted(entry.name for entry in os.scandir(home / below) if not entry.is_dir())
    loose = [name for name in names if name.lower().endswith(SUFFIXES) and not name.startswith(".")]
    if not loose:
        return []
    few = (
        f"the image '{below}{loose[0]}' lies"
        if len(loose) == 1
        else f"{len(loose)} images, such as '{below}{loose[0]}', lie"
    )
    return [f"{few} in no class folder, and {'is' if len(loose) == 1 else 'are'} left out"]


def _by_suffix(files: Iterable[str]) -> str:
    """``3 files .heic, 1 without a suffix``; nothing for no file."""
    counts = Counter(Path(file).suffix.lower() for file in files)
    return ", ".join(
        f"{count} file{'s' * (count > 1)} {suffix or 'without a suffix'}" for suffix, count in counts.most_common()
    )


def _subfolders(home: Path) -> list[str]:
    return sorted(
        entry.name
        for entry in os.scandir(home)
        if entry.is_dir() and not entry.name.startswith(".") and entry.name not in _OF_SYSTEMS
    )


def _require_classes(name: str, rows: Sequence[Row], advice: str) -> None:
    classes = {row.classname for row in rows}
    unfit = next((each for each in classes if UNPRINTABLE.search(each)), None)
    if unfit is not None:
        raise ConfigError(
            f"{name}: the class name {unfit!r} is not UTF-8, or has control characters in it: it can't go into a prompt.",
            "Rename it.",
        )
    if len(classes) < 2:
        raise ConfigError(f"{name} has images of {len(classes)} classes; telling apart takes 2.", advice)


def _read_torchvision(name: str, choices: Mapping[str, str], folders: Folders) -> Splits:
    from suites.datasets import hosted

    return hosted.read_torchvision(name, choices, (folders.data_root or folders.cache) / "torchvision")


def _read_hugging_face(name: str, choices: Mapping[str, str], folders: Folders) -> Splits:
    from suites.datasets import hosted

    return hosted.read_hugging_face(name, choices)
