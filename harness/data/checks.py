"""Whether the classes and images of a dataset can answer what is asked of them. Standard library only."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable

from harness.data.duplicates import duplicates, in_train_and_test
from harness.data.few_shot import classnames
from harness.errors import DataError
from harness.suite import ClassSubset, Dataset, Splits

_CODE = re.compile(r"[a-z]?\d{2,}|[a-z]{1,2}\d{4,}", re.IGNORECASE)
"""A class called 17, n02692877 or id0042: no word that a text tower knows."""


def require_classes(dataset: Dataset, splits: Splits, parts: Iterable[ClassSubset]) -> None:
    """Raise DataError unless each part has two classes to tell apart, and names tell those of a user's own dataset apart."""
    names = classnames(splits)
    if len(names) < 4 and set(parts) & {"base", "new"}:
        raise DataError(
            f"'{dataset.name}' has {len(names)} classes. In halves, base and new, one has a single class: every answer is right.",
            "Take a dataset of 4 classes or more, or a suite that takes all classes: few-shot.",
        )
    if dataset.group != "user":
        return
    first: dict[str, str] = {}
    for name in names:
        prompt = " ".join(name.replace("_", " ").lower().split())
        if first.setdefault(prompt, name) != name or names.count(name) > 1:
            raise DataError(
                f"'{dataset.name}' has the classes '{first[prompt]}' and '{name}', whose prompts are the same to a text tower: "
                "it knows no capitals, and '_' is a space.",
                "Give each class a name of its own: rename the folders, or name them by --class-names FILE.",
            )


def leaks(dataset: Dataset, splits: Splits) -> list[str]:
    """What is to be said of test images of a user's own dataset that are training images too. It opens files of one size."""
    found = in_train_and_test(splits, duplicates(splits)) if dataset.group == "user" else []
    if not found:
        return []
    known, image = found[0]
    return [
        f"{dataset.name}: {len(found)} of {len(splits.test)} test images are training images too, by content, such as '{image}', "
        f"which is '{known}': on these, accuracy says nothing. `adaptbench data check` names them."
    ]


def doubts(dataset: Dataset, splits: Splits, shots: int) -> list[str]:
    """What is to be said of a dataset that can be used: names that are no words, and classes with fewer images than shots."""
    said = []
    names = classnames(splits)
    codes = [name for name in names if _CODE.fullmatch(name)]
    if dataset.group == "user" and len(codes) * 2 > len(names):
        said.append(
            f"{dataset.name}: class names such as '{codes[0]}' are codes, of which a text tower knows nothing. Name them in "
            f"words: --class-names FILE, with lines such as '{codes[0]} a name'."
        )
    counts = Counter(item.label for item in splits.train)
    few = sorted(count for count in counts.values() if count < shots)
    if few:
        said.append(
            f"{dataset.name}: {len(few)} of {len(counts)} classes have fewer than {shots} training images (the smallest has "
            f"{few[0]}); all of them are taken."
        )
    return said
