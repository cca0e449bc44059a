"""Datasets as torchvision and Hugging Face `datasets` give them: their splits, class names and images. Heavy imports."""

from __future__ import annotations

import inspect
import os
import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from io import BytesIO
from pathlib import Path
from typing import Any

from PIL.Image import Image

from harness.data.split_files import open_image, to_rgb
from harness.errors import ConfigError, DataError, did_you_mean, located
from harness.suite import Splits
from suites.datasets.splitting import Row, part_named, split

WORDS = {
    "train": ("train", "trainval", "train-standard"),
    "val": ("val", "valid", "validation"),
    "test": ("test",),
}
"""What torchvision's classes call the parts; of those of one part the first that a class knows is taken."""
EXECUTED = ("LSUN", "LSUNClass")
"""They unpickle a file of the current folder, which may run anything."""
OURS = frozenset(
    {"self", "args", "kwargs", "root", "transform", "target_transform", "transforms", "download", "loader"}
)
"""Arguments that are no choice of a user's."""
BY_FOLDER = "make a folder of it, one a class: folder:PATH."


def read_torchvision(name: str, choices: Mapping[str, str], root: Path) -> Splits:
    """A dataset class of `torchvision.datasets` from `root`, downloaded if it isn't there; `choices` are its other arguments.

    Raises ConfigError for a name that is none, for choices that it hasn't, or for a dataset that isn't of images with one class
    each, and DataError if it can't be had.
    """
    import torchvision.datasets

    kind = getattr(torchvision.datasets, name, None)
    if not inspect.isclass(kind):
        raise ConfigError(f"torchvision has no dataset '{name}'.", did_you_mean(name, torchvision.datasets.__all__))
    if name in EXECUTED:
        raise ConfigError(
            f"torchvision's {name} runs what a file of the current folder says (a pickle), and is not read for that.",
            f"Instead, {BY_FOLDER}",
        )
    rows: list[Row] = []
    images: dict[str, Callable[[], Image]] = {}
    for part, found in _torchvision_parts(kind, choices, root).items():
        names = _class_names(name, found)
        for index, label in enumerate(_labels(name, found)):
            key = f"{part or 'all'}/{index:06}"
            rows.append(Row(key, names[label], part, label))
            images[key] = partial(_torchvision_image, found, index)
    return split(rows, partial(_open, images))


def _torchvision_parts(kind: Any, choices: Mapping[str, str], root: Path) -> dict[str | None, Any]:
    """What a dataset class has, by part; under None if it knows no parts."""
    known = _arguments(kind)
    for choice in choices:
        if choice in OURS or choice not in known:
            raise ConfigError(
                f"torchvision's {kind.__name__} has no argument '{choice}' to choose.",
                did_you_mean(choice, known.keys() - OURS),
            )
    given = {name: _value(text, known[name]) for name, text in choices.items()}
    if "split" in known and "split" not in given:
        return _torchvision_splits(kind, given, root)
    parts: list[tuple[str | None, dict[str, Any]]] = [(None, {})]
    if "train" in known and "train" not in given:
        parts = [("train", {"train": True}), ("test", {"train": False})]
    try:
        return {part: _torchvision_part(kind, root, {**given, **which}) for part, which in parts}
    except ValueError as error:
        raise ConfigError(
            f"torchvision's {kind.__name__} refuses its arguments: {error}.", _by_arguments(kind)
        ) from error


def _torchvision_splits(kind: Any, given: Mapping[str, Any], root: Path) -> dict[str | None, Any]:
    found: dict[str | None, Any] = {}
    why: ValueError | None = None
    for part, words in WORDS.items():
        for word in words:
            try:
                found[part] = _torchvision_part(kind, root, {**given, "split": word})
                break
            except ValueError as error:  # it knows no such split
                why = error
    if not found:
        raise ConfigError(
            f"torchvision's {kind.__name__} has no split for train, val or test: {why}.",
            f"Choose one, which is divided if it has no parts: torchvision:{kind.__name__}:split=NAME.",
        )
    return found


def _torchvision_part(kind: Any, root: Path, which: Mapping[str, Any]) -> Any:
    """A part of a dataset, downloaded if it isn't there.

    Raises ValueError for an argument's value that it doesn't know, DataError if it can't be had, and ConfigError for a class that
    wants to be told more.
    """
    known = _arguments(kind)
    own: dict[str, Any] = {**which, **({"loader": _loaded} if "loader" in known else {})}
    downloads = "download" in known
    try:
        return kind(str(root), **own, **({"download": False} if downloads else {}))
    except ValueError:
        raise
    except TypeError as error:
        raise ConfigError(
            f"torchvision's {kind.__name__} can't be read from its name alone: {error}.", _by_arguments(kind)
        ) from error
    except (RuntimeError, FileNotFoundError):
        try:
            root.mkdir(parents=True, exist_ok=True)
            return kind(str(root), **own, **({"download": True} if downloads else {}))
        except Exception as error:  # whatever its download raises
            raise DataError(
                f"torchvision's {kind.__name__} is not in '{root}', and can't be downloaded: {error}.",
                "Put it there as torchvision's documentation of the class says, or try again with a network.",
            ) from error
    except Exception as error:  # of a library that it needs, or of files that are not what it expects
        raise DataError(
            f"torchvision's {kind.__name__} can't be read from '{root}': {located(error)}.",
            "Put its files there as torchvision's documentation of the class says.",
        ) from error


def _arguments(kind: Any) -> dict[str, inspect.Parameter]:
    """What a class's constructor takes, with what it hands on to its base."""
    known: dict[str, inspect.Parameter] = {}
    for each in kind.__mro__:
        parameters = inspect.signature(each.__init__).parameters
        known = {**parameters, **known}
        if all(parameter.kind is not parameter.VAR_KEYWORD for parameter in parameters.values()):
            break
    return known


def _by_arguments(kind: Any) -> str:
    choices = ", ".join(sorted(_arguments(kind).keys() - OURS)) or "none"
    return f"Say what it wants, torchvision:{kind.__name__}:ARGUMENT=VALUE (it has: {choices}), or {BY_FOLDER}"


def _value(text: str, parameter: inspect.Parameter) -> bool | int | str:
    """A choice as its argument has it: a truth value, a whole number, or the text."""
    if isinstance(parameter.default, bool):
        return text.lower() == "true"
    return int(text) if isinstance(parameter.default, int) and text.isdecimal() else text


def _loaded(path: str) -> Image:
    return open_image(Path(path))


def _class_names(name: str, found: Any) -> list[str]:
    names = getattr(found, "classes", None) or getattr(found, "categories", None)
    if not names:
        raise ConfigError(f"torchvision's {name} has no class names.", f"Instead, {BY_FOLDER}")
    return [each if isinstance(each, str) else each[0] for each in names]


def _labels(name: str, found: Any) -> list[int]:
    for attribute in ("targets", "_labels", "labels", "y"):
        labels = getattr(found, attribute, None)
        if labels is not None and len(labels) == len(found):
            break
    else:
        labels = [found[index][1] for index in range(len(found))]
    try:
        return [int(label) for label in labels]
    except (TypeError, ValueError, RuntimeError) as error:
        raise ConfigError(
            f"torchvision's {name} has no single class for each image.", f"Instead, {BY_FOLDER}"
        ) from error


def _torchvision_image(found: Any, index: int) -> Image:
    image = found[index][0]
    if not hasattr(image, "convert"):
        raise DataError(f"item {index} of torchvision's {type(found).__name__} is no image.", f"Instead, {BY_FOLDER}")
    return to_rgb(image, f"image {index} of the dataset")


def read_hugging_face(name: str, choices: Mapping[str, str]) -> Splits:
    """An image classification dataset by `datasets.load_dataset`, from the hub or a local folder.

    `choices` may name its config, the one split to read, and the columns of the image and of the label.

    Raises ConfigError without the library, or for a dataset without an image and a class label, or with several to choose from,
    and DataError if it can't be had, or if an image lies outside of it.
    """
    try:
        import datasets
    except ImportError:
        raise ConfigError(f"hf:{name} needs the library 'datasets'.", "Install it: pip install datasets") from None
    datasets.disable_progress_bars()  # they would break into ours
    try:
        loaded = datasets.load_dataset(name, choices.get("config"))
    except Exception as error:  # of the network, the hub or the builder
        lines = " ".join(str(error).split()) or type(error).__name__
        raise DataError(
            f"the Hugging Face dataset '{name}' can't be loaded: {lines[:300]}",
            "Check its name on the hub; a gated one needs 'hf auth login' first. One of several configs is "
            f"chosen by hf:{name}:config=NAME.",
        ) from error
    loaded = _chosen_split(name, loaded, choices.get("split"))
    features = next(iter(loaded.values())).features  # of all splits
    image = _column(name, "image", features, datasets.Image, choices)
    label = _column(name, "label", features, datasets.ClassLabel, choices)
    labelled = {word: _labelled(found[label]) for word, found in loaded.items()}
    roots = _roots(name, datasets)
    rows: list[Row] = []
    images = _StoredImages(image)
    for word, part in _parts(name, [word for word, found in labelled.items() if found]).items():
        stored = loaded[word].select_columns([image]).cast_column(image, datasets.Image(decode=False))
        there = _places(stored.data.column(image), roots, f"hf:{name}, split '{word}'")
        for index, number in labelled[word]:
            if there[index]:
                key = f"{word}/{index:06}"
                rows.append(Row(key, features[label].names[number], part, number))
                images.places[key] = stored, index
    return split(rows, images)


def _chosen_split(name: str, loaded: Mapping[str, Any], chosen: str | None) -> Mapping[str, Any]:
    if chosen is None:
        return loaded
    if chosen not in loaded:
        raise ConfigError(f"hf:{name} has no split '{chosen}'.", did_you_mean(chosen, loaded))
    return {chosen: loaded[chosen]}


def _roots(name: str, datasets: Any) -> tuple[str, ...]:
    """The folders that files of a dataset may lie in: its own, and those that the libraries download to."""
    from huggingface_hub import constants

    own = [os.path.abspath(name), os.path.realpath(name)] if os.path.isdir(name) else []
    return (*own, str(datasets.config.HF_DATASETS_CACHE), str(constants.HF_HUB_CACHE))


def _places(column: Any, roots: Sequence[str], where: str) -> list[bool]:
    """Whether each image of an Arrow column is there; null ones are warned of. DataError for a file outside of `roots`."""
    import pyarrow.compute as pc

    held = pc.is_valid(pc.struct_field(column, "bytes")).to_pylist()
    paths = pc.struct_field(column, "path").to_pylist()
    for index, path in enumerate(paths):
        if path is not None and not held[index] and not _is_within(path, roots):
            raise DataError(
                f"{where}: image {index} is the file '{path[:200]}', outside of the dataset.",
                "A dataset brings its images with it: save them into it, or list files of yours by csv:PATH.",
            )
    there = [is_held or path is not None for is_held, path in zip(held, paths, strict=True)]
    if absent := there.count(False):
        text = (
            f"{where}: {absent} of {len(there)} images are null and left out, the first is image {there.index(False)}."
        )
        warnings.warn(text, UserWarning, stacklevel=2)
    return there


def _is_within(path: str, roots: Sequence[str]) -> bool:
    return os.path.isabs(path) and any(os.path.commonpath([root, os.path.normpath(path)]) == root for root in roots)


def _labelled(labels: Iterable[int | None]) -> list[tuple[int, int]]:
    """Place and label of each image that has a label: one withheld is -1 or null."""
    return [(index, label) for index, label in enumerate(labels) if label is not None and label >= 0]


def _parts(name: str, words: Sequence[str]) -> dict[str, str | None]:
    """The splits to read, and the part that each is: None for all if they are to be divided anew."""
    named: dict[str, str | None] = {word: part for word in words if (part := part_named(word))}
    if "train" not in named.values():
        return dict.fromkeys(words)
    if others := [word for word in words if word not in named]:
        text = f"hf:{name}: left out, since they are neither train, val nor test: the splits {', '.join(others)}"
        warnings.warn(text, UserWarning, stacklevel=2)
    return named if len(named) > 1 else dict.fromkeys(named)


def _column(name: str, usual: str, features: Mapping[str, Any], kind: type, choices: Mapping[str, str]) -> str:
    """The column of a kind: the one chosen, else the one of the usual name, else the only one."""
    words = {"image": "images", "label": "class labels"}[usual]
    candidates = [key for key, found in features.items() if isinstance(found, kind)]
    chosen = choices.get(usual) or (usual if usual in candidates else None)
    if chosen is None and len(candidates) == 1:
        return candidates[0]
    if chosen in candidates:
        return chosen
    if not candidates:
        raise ConfigError(
            f"hf:{name} has the columns {', '.join(features)}, and none of them holds {words}.",
            "Choose a dataset for image classification, or save it as folder:PATH, one folder a class.",
        )
    what = f"no {words} in the column '{chosen}'" if chosen else f"several columns of {words}"
    raise ConfigError(
        f"hf:{name} has {what}.", f"Choose one of {', '.join(candidates)}: hf:{name}:{usual}={candidates[0]}"
    )


@dataclass(frozen=True)
class _StoredImages:
    """The `Splits.open` of images in a column, by where they are: a dataset that doesn't decode them, and their row there."""

    column: str
    places: dict[str, tuple[Any, int]] = field(default_factory=dict)

    def __call__(self, image: str) -> Image:
        path, held = self._found(image)
        source = path if held is None else BytesIO(held)
        return open_image(source, f"'{image}' of the dataset", upright=True)

    def size(self, image: str) -> int:
        stored, row = self.places[image]
        found = stored.data.column(self.column)[row]
        return found["bytes"].as_buffer().size if found["bytes"].is_valid else os.path.getsize(found["path"].as_py())

    def content(self, image: str, most_bytes: int | None = None) -> bytes:
        path, held = self._found(image)
        return (path.read_bytes() if held is None else held)[:most_bytes]

    def _found(self, image: str) -> tuple[Path, bytes | None]:
        stored, row = self.places[image]
        found = stored[row][self.column]
        return Path(found["path"] or ""), found["bytes"]


def _open(images: Mapping[str, Callable[[], Image]], key: str) -> Image:
    return images[key]()
