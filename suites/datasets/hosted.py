"""Datasets as torchvision and Hugging Face `datasets` give them: their splits, class names and images. Heavy imports."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from PIL.Image import Image

from harness.data.split_files import to_rgb
from harness.errors import ConfigError, DataError, did_you_mean
from harness.suite import Splits
from suites.datasets.splitting import Row, part_named, split


def read_torchvision(name: str, root: Path) -> Splits:
    """A dataset class of `torchvision.datasets` from `root`, downloaded if it isn't there.

    Raises ConfigError for a name that is none, or a dataset without class names, and DataError if it can't be had.
    """
    import torchvision.datasets

    kind = getattr(torchvision.datasets, name, None)
    if not inspect.isclass(kind):
        raise ConfigError(f"torchvision has no dataset '{name}'.", did_you_mean(name, torchvision.datasets.__all__))
    rows: list[Row] = []
    images: dict[str, Callable[[], Image]] = {}
    for part, found in _torchvision_parts(kind, root).items():
        names = _class_names(name, found)
        for index, label in enumerate(_labels(found)):
            key = f"{part or 'all'}/{index:06}"
            rows.append(Row(key, names[label], part, label))
            images[key] = partial(_torchvision_image, found, index)
    return split(rows, partial(_open, images))


def _torchvision_parts(kind: Any, root: Path) -> dict[str | None, Any]:
    """What a dataset class has, by part; under None if it knows no parts."""
    known = inspect.signature(kind.__init__).parameters
    if "split" in known:
        words = {"train": ("train", "trainval"), "val": ("val",), "test": ("test",)}
        tried = {part: (_torchvision_part(kind, root, split=word) for word in words[part]) for part in words}
        found = {part: next((each for each in parts if each is not None), None) for part, parts in tried.items()}
        return {part: each for part, each in found.items() if each is not None}
    if "train" in known:
        return {part: _torchvision_part(kind, root, train=part == "train") for part in ("train", "test")}
    return {None: _torchvision_part(kind, root)}


def _torchvision_part(kind: Any, root: Path, **which: Any) -> Any:
    """A part of a dataset, None for a split it doesn't have.

    Raises DataError if it can't be had, and ConfigError for a class that wants to be told more than a folder.
    """
    downloads = "download" in inspect.signature(kind.__init__).parameters
    try:
        return kind(str(root), **which, **({"download": False} if downloads else {}))
    except ValueError:  # it knows no such split
        return None
    except TypeError as error:
        raise ConfigError(
            f"torchvision's {kind.__name__} can't be read from its name alone: {error}.",
            "Make a folder of it, one a class: folder:PATH.",
        ) from error
    except (RuntimeError, FileNotFoundError):
        try:
            root.mkdir(parents=True, exist_ok=True)
            return kind(str(root), **which, **({"download": True} if downloads else {}))
        except Exception as error:  # whatever its download raises
            raise DataError(
                f"torchvision's {kind.__name__} is not in '{root}', and can't be downloaded: {error}.",
                "Put it there as torchvision's documentation of the class says, or try again with a network.",
            ) from error


def _class_names(name: str, found: Any) -> list[str]:
    names = getattr(found, "classes", None) or getattr(found, "categories", None)
    if not names:
        raise ConfigError(f"torchvision's {name} has no class names.", "Make a folder of it, one a class: folder:PATH.")
    return [each if isinstance(each, str) else each[0] for each in names]


def _labels(found: Any) -> list[int]:
    for attribute in ("targets", "_labels", "labels", "y"):
        labels = getattr(found, attribute, None)
        if labels is not None and len(labels) == len(found):
            return [int(label) for label in labels]
    return [int(found[index][1]) for index in range(len(found))]


def _torchvision_image(found: Any, index: int) -> Image:
    return to_rgb(found[index][0], f"image {index} of the dataset")


def read_hugging_face(name: str) -> Splits:
    """An image classification dataset by `datasets.load_dataset`, from the hub or a local folder.

    Raises ConfigError without the library, or for a dataset without an image and a class label, and DataError if it can't be had.
    """
    try:
        import datasets
    except ImportError:
        raise ConfigError(
            f"hf:{name} needs the library 'datasets'.", "Install it: pip install 'adaptbench[huggingface]'"
        ) from None
    try:
        loaded = datasets.load_dataset(name)
    except Exception as error:  # of the network, the hub or the builder
        raise DataError(
            f"the Hugging Face dataset '{name}' can't be loaded: {(str(error).splitlines() or [type(error).__name__])[0][:300]}",
            "Check its name on the hub; a gated one needs 'hf auth login' first.",
        ) from error
    features = next(iter(loaded.values())).features  # of all splits
    image, label = _columns(name, features, datasets)
    labelled = {word: _labelled(found[label]) for word, found in loaded.items()}
    rows: list[Row] = []
    images: dict[str, Callable[[], Image]] = {}
    for word, part in _parts([word for word, found in labelled.items() if found]).items():
        for index, number in labelled[word]:
            key = f"{word}/{index:06}"
            rows.append(Row(key, features[label].names[number], part, number))
            images[key] = partial(_hugging_face_image, loaded[word], index, image)
    return split(rows, partial(_open, images))


def _labelled(labels: Iterable[int | None]) -> list[tuple[int, int]]:
    """Place and label of each image that has a label: one withheld is -1 or null."""
    return [(index, label) for index, label in enumerate(labels) if label is not None and label >= 0]


def _parts(words: Sequence[str]) -> dict[str, str | None]:
    """The splits to read, and the part that each is: None for all if they are to be divided anew."""
    named = {word: part for word in words if (part := part_named(word))}
    if "train" not in named.values():
        return dict.fromkeys(words)
    return {**named} if len(named) > 1 else dict.fromkeys(named)


def _columns(name: str, features: Mapping[str, Any], datasets: Any) -> tuple[str, str]:
    image = next((key for key, kind in features.items() if isinstance(kind, datasets.Image)), None)
    label = next((key for key, kind in features.items() if isinstance(kind, datasets.ClassLabel)), None)
    if image is None or label is None:
        raise ConfigError(
            f"hf:{name} has the columns {', '.join(features)}; none is an image or none a class label.",
            "Choose a dataset for image classification, or save it as folder:PATH, one folder a class.",
        )
    return image, label


def _hugging_face_image(found: Any, index: int, column: str) -> Image:
    return to_rgb(found[index][column], f"image {index} of the dataset")


def _open(images: Mapping[str, Callable[[], Image]], key: str) -> Image:
    return images[key]()
