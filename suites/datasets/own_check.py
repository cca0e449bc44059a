"""What can be said of a dataset of the user's own before it is run on: every image is read, every class named."""

from __future__ import annotations

import os
import warnings
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from harness import plugins
from harness.data.checks import doubts, require_classes
from harness.data.class_names import ClassNames
from harness.data.duplicates import duplicates, in_train_and_test
from harness.data.few_shot import classnames
from harness.errors import ConfigError, DataError
from harness.suite import Dataset, Folders, Splits, prompt

SHOTS = 16
"""What most published figures take of a class."""
NAMED = 5
"""Of a kind of problem, so many images are named."""


@dataclass(frozen=True)
class OwnDataset:
    """What a dataset is, its classes as prompts, what is wrong with it, and what is good to know."""

    what: str
    prompts: Sequence[str] = ()
    wrong: Sequence[str] = ()
    notes: Sequence[str] = ()


def look_into(spec: str, folders: Folders, class_names: ClassNames | None = None) -> OwnDataset:
    """What there is to say of ``folder:PATH`` and its like, whose images are all read."""
    try:
        dataset: Dataset = plugins.load("dataset", spec)
        if class_names is not None:
            dataset = class_names.of(dataset)
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always", UserWarning)
            splits = dataset.read(folders)
    except (ConfigError, DataError) as error:
        return OwnDataset(error.what, wrong=[error.advice])
    names = classnames(splits)
    parts = (splits.train, splits.val, splits.test)
    train, val, test = (f"{len(part):,}" for part in parts)
    count = len({item.image for part in parts for item in part})
    what = f"{count:,} images of {len(names)} classes; {train} to train, {val} to validate and {test} to test on."
    said = [str(each.message) for each in caught if issubclass(each.category, UserWarning)]
    said += [*_of_classes(dataset, splits), *_damaged(splits), *_repeated(splits)]
    prompts = [prompt(dataset.template("clip"), name) for name in names]
    few = [text for text in doubts(dataset, splits, SHOTS) if text not in said]
    return OwnDataset(what, prompts, said, few)


def _of_classes(dataset: Dataset, splits: Splits) -> Iterator[str]:
    try:
        require_classes(dataset, splits, {"all"})
    except DataError as error:
        yield f"{error.what} {error.advice}"
    yield from doubts(dataset, splits, 1)
    tested = Counter(item.label for item in splits.test)
    named = {item.label: item.classname for item in splits.train}
    if untested := [name for label, name in named.items() if not tested[label]]:
        yield f"{len(untested)} classes have no test image: {_first(untested)}."


def _damaged(splits: Splits) -> Iterator[str]:
    """Images that can't be read, each with its reason."""
    images = list(dict.fromkeys(item.image for part in (splits.train, splits.val, splits.test) for item in part))

    def reason(image: str) -> str | None:
        try:
            splits.open(image)
        except DataError as error:
            return f"{error.what} {error.advice}"
        return None

    with ThreadPoolExecutor(max_workers=min(8, os.cpu_count() or 1)) as pool:
        found = list(filter(None, pool.map(reason, images)))
    yield from found[:NAMED]
    if len(found) > NAMED:
        yield f"{len(found) - NAMED} more images can't be read."


def _repeated(splits: Splits) -> Iterator[str]:
    """Images that are equal by content: in training and test, in two classes, or simply twice."""
    groups = duplicates(splits)
    classes = {item.image: item.classname for part in (splits.train, splits.val, splits.test) for item in part}
    if leaks := in_train_and_test(splits, groups):
        pairs = [f"'{known}' and '{image}'" for known, image in leaks]
        yield f"{len(leaks)} test images are training images too, by content: {_first(pairs, quoted=False)}."
    if torn := [group for group in groups if len({classes[image] for image in group}) > 1]:
        yield f"{len(torn)} images stand in several classes, by content: {_first([each for group in torn for each in group])}."
    if groups:
        yield f"{sum(map(len, groups))} files hold {len(groups)} images: {_first([group[0] for group in groups])}."


def _first(names: Sequence[str], quoted: bool = True) -> str:
    shown = ", ".join(f"'{name}'" if quoted else name for name in names[:NAMED])
    return f"{shown}, ..." if len(names) > NAMED else shown
