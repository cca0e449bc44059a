"""Whether the classes and images of a dataset can answer what is asked of them. Standard library only."""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from collections.abc import Iterable

from harness.data.duplicates import duplicates, in_train_and_test
from harness.data.few_shot import classnames, subset
from harness.errors import DataError
from harness.suite import ClassSubset, Dataset, Splits

_CODE = re.compile(
    r"[a-z]?\d{2,}|[a-z]{1,2}\d{4,}|\d+|(class|label|category|cls|id)[ _-]?\d+|(?=.*\d)[0-9a-f-]{12,}", re.IGNORECASE
)
"""A class called 17, n02692877, id0042, class_3 or by a digest: no word that a text tower knows."""
_NUMBERED = re.compile(r"\d+[ ._-]+[^\W\d]{3,}.*")
"""A class called 001.Black_footed_Albatross: the number stands in the prompt too."""


def require_classes(dataset: Dataset, splits: Splits, parts: Iterable[ClassSubset]) -> None:
    """Raise DataError unless each part has two classes to tell apart.

    Of a user's own dataset, names tell them apart, and those that are tested have training images.
    """
    names = classnames(splits)
    if len(names) < 4 and set(parts) & {"base", "new"}:
        raise DataError(
            f"'{dataset.name}' has {len(names)} classes. In halves, base and new, one has a single class: every answer is right.",
            "Take a dataset of 4 classes or more, or a suite that takes all classes: few-shot.",
        )
    if dataset.group != "user":
        return
    subset(splits, "all")  # which refuses what can't be trained on
    first: dict[str, str] = {}
    for name in names:
        prompt = " ".join(unicodedata.normalize("NFC", name).replace("_", " ").lower().split())
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
    numbered = [name for name in names if _NUMBERED.fullmatch(name)]
    if dataset.group == "user" and len(numbered) * 2 > len(names):
        said.append(
            f"{dataset.name}: class names such as '{numbered[0]}' begin with a number, which goes into the prompt. Name them in "
            f"words: rename the folders, or --class-names FILE, with lines such as '{numbered[0]} a name'."
        )
    counts = Counter(item.label for item in splits.train)
    few = sorted(count for count in counts.values() if count < shots)
    if few:
        said.append(
            f"{dataset.name}: {len(few)} of {len(counts)} classes have fewer than {shots} training images (the smallest has "
            f"{few[0]}); all of them are taken."
        )
    return said
