"""How the catalogue's datasets are read, in the layout of CoOp's DATASETS.md: split files, text lists, wnid folders."""

from __future__ import annotations

import os
import warnings
from collections.abc import Mapping
from pathlib import Path

from harness.data.split_files import PARTS, ImageFolder, read_split_file, require_images
from harness.errors import DataError
from harness.files import read_regular
from harness.suite import Folders, Item, Splits
from suites.datasets.checksums import unpublished

CLASSES_OF_IMAGENET = 1000
CLASSES_OF_A_PART = 200
"""Of ImageNet-A, and of ImageNet-R."""
IMAGE_SUFFIXES = (".jpeg", ".jpg", ".png", ".bmp", ".webp")
Classes = Mapping[str, tuple[int, str]]
"""From a class's folder to its label and name."""


def read_published_split(folder: str, images: str, split_file: str, folders: Folders) -> Splits:
    """A dataset with a published split file, whose paths start at `images` below `folder`."""
    home = _home(folders, folder, f"{images}/ and {split_file}" if images != "." else split_file)
    splits = read_split_file(home / split_file, home / images)
    _warn_unless_published(home)
    return splits


def read_aircraft(folders: Folders) -> Splits:
    """FGVCAircraft in its official splits. A label is the line of a variant in `variants.txt`."""
    home = _home(folders, "fgvc_aircraft", "what the archive has in data/: images/, variants.txt, images_variant_*.txt")
    labels = {variant: label for label, variant in enumerate(_lines(home / "variants.txt"))}
    train, val, test = (_aircraft_items(home / f"images_variant_{part}.txt", labels) for part in PARTS)
    splits = Splits(train=train, val=val, test=test, open=ImageFolder(home / "images"))
    require_images(splits, home / "images")
    return splits


def read_imagenet(folders: Folders) -> Splits:
    """ImageNet from `images/train` and `images/val`; a label is the rank of its wnid, and val is the test list as well.

    Images are listed sorted, so a draw is the same on every machine. (CoOp's loader lists them in file-system order, so
    its draws are not, and none was published.)
    """
    home = _home(folders, "imagenet", "images/train/<wnid>/, images/val/<wnid>/ and classnames.txt")
    names = _imagenet_names(home)
    classes = {wnid: (label, names[wnid]) for label, wnid in enumerate(sorted(names))}
    if not _folders_in(home / "images" / "val"):
        raise DataError(
            f"'{home / 'images' / 'val'}' has no folders, so ImageNet's test list would be empty.",
            "The validation archive unpacks flat: sort its images into one folder per wnid, images/val/<wnid>/*.JPEG "
            "(the usual script for that is called valprep.sh).",
        )
    val = _items(home / "images", "val", classes)
    return Splits(train=_items(home / "images", "train", classes), val=val, test=val, open=ImageFolder(home / "images"))


def read_imagenet_v2(folders: Folders) -> Splits:
    """ImageNetV2, matched frequency. A folder's number is the label, and the line of `classnames.txt`, from 0."""
    below = "imagenetv2-matched-frequency-format-val"
    home = _home(folders, "imagenetv2", f"{below}/<0 to 999>/ and classnames.txt")
    classes = {str(label): (label, name) for label, name in enumerate(_imagenet_names(home).values())}
    return _test_only(home, below, classes)


def read_imagenet_sketch(folders: Folders) -> Splits:
    """ImageNet-Sketch, all 1000 classes; a label is the rank of its wnid."""
    home = _home(folders, "imagenet-sketch", "images/<wnid>/ and classnames.txt")
    names = _imagenet_names(home)
    return _test_only(home, "images", {wnid: (label, names[wnid]) for label, wnid in enumerate(sorted(names))})


def read_imagenet_part(folder: str, images: str, folders: Folders) -> Splits:
    """ImageNet-A or -R: 200 of the classes; a label is the rank of its wnid among the folders that are there."""
    home = _home(folders, folder, f"{images}/<wnid>/ and classnames.txt")
    names = _imagenet_names(home)
    present = [wnid for wnid in _folders_in(home / images) if wnid in names]
    if len(names) == CLASSES_OF_IMAGENET and len(present) != CLASSES_OF_A_PART:
        raise DataError(
            f"'{home / images}' has {len(present)} class folders, and {CLASSES_OF_A_PART} are published: among fewer "
            "classes the test would be an easier one.",
            "Unpack the whole archive there, and nothing else.",
        )
    return _test_only(home, images, {wnid: (label, names[wnid]) for label, wnid in enumerate(present)})


def _home(folders: Folders, folder: str, contents: str) -> Path:
    layout = f"It is to hold {contents}, as in CoOp's DATASETS.md."
    if folders.data_root is None:
        raise DataError(
            f"no --data-root was given, and this dataset is read from its folder {folder}/.",
            f"Say --data-root DIR, where DIR is the folder that holds {folder}/. {layout}",
        )
    home = folders.data_root / folder
    if not home.is_dir():
        raise DataError(f"there is no folder '{home}'.", f"Put the dataset there, or change --data-root. {layout}")
    return home


def _lines(path: Path) -> list[str]:
    try:
        lines = [line.strip() for line in read_regular(path).decode().splitlines()]
    except FileNotFoundError:
        raise DataError(
            f"there is no '{path}'.", "CoOp's DATASETS.md says where the dataset's files come from."
        ) from None
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"'{path}' can't be read as text: {error}.", "Get it again from its source.") from error
    lines = [line for line in lines if line]
    if not lines:
        raise DataError(f"'{path}' is empty.", "Get it again from its source.")
    return lines


def _aircraft_items(path: Path, labels: Mapping[str, int]) -> tuple[Item, ...]:
    items = []
    for line in _lines(path):
        number, _, variant = line.partition(" ")
        if not number.isdecimal() or variant not in labels:
            raise DataError(
                f"'{path}' has the line '{line[:100]}', not an image number and a variant of variants.txt.",
                "Unpack the lists of the aircraft archive again, all from the same one.",
            )
        items.append(Item(f"{number}.jpg", labels[variant], variant))
    return tuple(items)


def _imagenet_names(home: Path) -> dict[str, str]:
    """From wnid to class name, in the order of the lines of `classnames.txt`."""
    path = home / "classnames.txt"
    names: dict[str, str] = {}
    for line in _lines(path):
        wnid, *words = line.split()
        if not words or wnid in names:
            raise DataError(
                f"'{path}' has the line '{line[:100]}', not a new wnid and its class name.",
                "Take the classnames.txt that CoOp's DATASETS.md links; other lists of names give other accuracies.",
            )
        names[wnid] = " ".join(words)
    _warn_unless_published(home)
    return names


def _warn_unless_published(home: Path) -> None:
    for file in unpublished(home.name, home.parent):
        warnings.warn(
            f"{file} is not the published file, so figures on it don't compare with published ones; "
            "`adaptbench data check` says what to do.",
            UserWarning,
            stacklevel=2,
        )


def _folders_in(folder: Path) -> list[str]:
    try:
        return sorted(entry.name for entry in os.scandir(folder) if entry.is_dir() and not entry.name.startswith("."))
    except OSError as error:
        what = f"the image folder '{folder}' can't be listed: {error.strerror}."
        raise DataError(what, "Unpack the dataset's images to that place.") from None


def _test_only(home: Path, below: str, classes: Classes) -> Splits:
    return Splits(train=(), val=(), test=_items(home, below, classes), open=ImageFolder(home))


def _items(image_folder: Path, below: str, classes: Classes) -> tuple[Item, ...]:
    """The images in one folder per class, sorted by label and name. DataError: a folder too many, or without images."""
    folder = image_folder / below
    strays = [name for name in _folders_in(folder) if name not in classes]
    if strays:
        raise DataError(
            f"'{folder}' has the folder '{strays[0]}', which classnames.txt doesn't know.",
            "Move it away, or take the classnames.txt that CoOp's DATASETS.md links.",
        )
    items: list[Item] = []
    empty: list[str] = []
    for name, (label, classname) in classes.items():
        images = _images_in(folder / name)
        items += [Item(f"{below}/{name}/{image}", label, classname) for image in images]
        if not images:
            empty.append(name)
    if empty or not items:
        raise DataError(
            f"'{folder}' has no images for {len(empty)} of {len(classes)} classes"
            + (f", such as '{empty[0]}'." if empty else "."),
            "The copy is incomplete: unpack the rest of the archive there, one folder per class.",
        )
    return tuple(items)


def _images_in(folder: Path) -> list[str]:
    try:
        names = os.listdir(folder)
    except OSError:  # reported with the folders that have no images
        return []
    return sorted(name for name in names if name.lower().endswith(IMAGE_SUFFIXES) and not name.startswith("."))
