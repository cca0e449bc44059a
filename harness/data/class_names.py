"""Names in words for classes that a dataset of the user's own knows by codes: the file of ``--class-names``."""

from __future__ import annotations

import csv
import hashlib
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from harness.data.split_files import MOST_NAME_CHARACTERS, UNPRINTABLE
from harness.errors import ConfigError, DataError
from harness.files import read_text
from harness.suite import Dataset, Folders, Item, Splits

ADVICE = (
    "It has a line for each class, its code and its name, such as 'n01440764 tench' (as ImageNet's classnames.txt); or it is a "
    '.csv with the columns "label" and "name", or a .json, {"n01440764": "tench"}.'
)
_SHOWN = 3

Pairs = Sequence[tuple[str, str]]


@dataclass(frozen=True)
class ClassNames:
    """(code, name) of the classes that `file` has; a code is what a dataset calls a class: its folder's name or its label."""

    file: str
    pairs: tuple[tuple[str, str], ...]

    def of(self, dataset: Dataset) -> Dataset:
        """The dataset with these names, by which it is another: ``folder:birds@4f21...:names=90ab...``.

        Reading it raises DataError for a class without a name here; the order of the classes stays that of their codes.
        """
        names = dict(self.pairs)
        digest = hashlib.sha256(repr(sorted(self.pairs)).encode()).hexdigest()[:12]

        def read(folders: Folders) -> Splits:
            splits = dataset.read(folders)
            codes = {item.classname for items in (splits.train, splits.val, splits.test) for item in items}
            if unknown := sorted(codes - names.keys()):
                raise DataError(
                    f"--class-names {self.file} has no name for {len(unknown)} of the {len(codes)} classes of '{dataset.name}', "
                    f"such as {', '.join(map(repr, unknown[:_SHOWN]))}; it begins with {self.pairs[0][0]!r}.",
                    ADVICE,
                )
            train, val, test = (
                tuple(Item(item.image, item.label, names[item.classname]) for item in items)
                for items in (splits.train, splits.val, splits.test)
            )
            return replace(splits, train=train, val=val, test=test)

        return replace(dataset, name=f"{dataset.name}:names={digest}", read=read)


def read_class_names(file: str) -> ClassNames:
    """The names in a file. Raises ConfigError, with the line, for what can't be read and for a code that stands twice."""
    where = f"--class-names {file}"
    path = Path(file).expanduser()
    try:
        text = read_text(path)
    except OSError as error:
        raise ConfigError(f"{where} can't be read: {error.strerror}.", ADVICE) from error
    except UnicodeDecodeError as error:
        raise ConfigError(f"{where} is not UTF-8: {error.reason}.", "Save the file as UTF-8.") from error
    kinds = {".json": _of_json, ".csv": _of_csv}
    found: dict[str, str] = {}
    for place, code, name in kinds.get(path.suffix.lower(), _of_lines)(where, text):
        if not code or not name or UNPRINTABLE.search(code + name) or len(name) > MOST_NAME_CHARACTERS:
            raise ConfigError(
                f"{where}, {place}: the code {code[:200]!r}, the name {name[:200]!r}.",
                f"{ADVICE} A name has {MOST_NAME_CHARACTERS} characters at most.",
            )
        if found.setdefault(code, name) != name:
            raise ConfigError(
                f"{where}, {place}: the code '{code}' is '{name}' here, and was '{found[code]}' before.",
                "Keep one of them.",
            )
    if not found:
        raise ConfigError(f"{where} has no names in it.", ADVICE)
    return ClassNames(file, tuple(found.items()))


_Rows = Iterator[tuple[str, str, str]]
"""(where, code, name)."""


def _of_lines(where: str, text: str) -> _Rows:
    for number, line in enumerate(text.splitlines(), 1):
        code, _, name = line.strip().partition("\t" if "\t" in line else " ")
        if line.strip():
            yield f"line {number}", code.strip(), name.strip()


def _of_csv(where: str, text: str) -> _Rows:
    heading = text.lstrip().partition("\n")[0]
    reader = csv.DictReader(text.splitlines(), delimiter=max(",;\t", key=heading.count), skipinitialspace=True)
    columns = {name.strip().lower(): name for name in reader.fieldnames or ()}
    if not {"label", "name"} <= columns.keys():
        raise ConfigError(f"{where} has the columns {', '.join(map(repr, columns)) or 'of no heading'}.", ADVICE)
    for row in reader:
        yield f"line {reader.line_num}", (row[columns["label"]] or "").strip(), (row[columns["name"]] or "").strip()


def _of_json(where: str, text: str) -> _Rows:
    try:
        found = json.loads(text, object_pairs_hook=tuple)  # a key that stands twice stays twice
    except (ValueError, RecursionError) as error:
        raise ConfigError(f"{where} is not JSON ({error}).", ADVICE) from error
    if not isinstance(found, tuple):
        raise ConfigError(f"{where} is JSON, but no object of codes and names.", ADVICE)
    for key, value in found:
        code, name = (value if len(value) == 2 else ("", "")) if isinstance(value, list) else (key, value)
        if not isinstance(code, str) or not isinstance(name, str):
            raise ConfigError(f"{where}: {key!r} has {value!r} for a name.", ADVICE)
        yield repr(key), code.strip(), name.strip()
