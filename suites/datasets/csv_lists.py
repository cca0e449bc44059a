"""Lists of images in CSV files, read line by line, so that what is wrong is named by its line."""

from __future__ import annotations

import csv
import io
import os
from collections.abc import Iterator, Sequence
from pathlib import Path

from harness.data.split_files import MOST_NAME_CHARACTERS, UNPRINTABLE, leaves_the_folder
from harness.errors import ConfigError
from harness.files import read_text
from suites.datasets.splitting import PARTS, Row, part_named

ADVICE = 'Its first line names the columns "image" and "label", and "split" (train, val, test) if it has one.'
DELIMITERS = ",;\t|"


def read_rows(path: str, file: Path) -> list[Row]:
    """The rows of a CSV file, of which errors speak as of ``csv:path``. Raises ConfigError, with the line that is wrong."""
    lines = _lines(path, file)
    records = _records(path, lines)
    number, heading = next(records, (0, []))
    columns = [name.strip().lower() for name in heading]
    if not columns:
        raise ConfigError(f"csv:{path} is empty.", ADVICE)
    if len(set(columns)) < len(columns) or not {"image", "label"} <= set(columns):
        named = ", ".join(f"'{name.strip()[:40]}'" for name in heading[:8])
        raise ConfigError(
            f"csv:{path}, line {number}: the columns are {named}; expected are 'image' and 'label'.", ADVICE
        )
    rows: list[Row] = []
    first: dict[str, int] = {}
    for number, fields in records:
        row = _row(f"csv:{path}, line {number}", columns, fields)
        if (before := first.setdefault(os.path.normpath(row.image), number)) != number:
            raise ConfigError(
                f"csv:{path}: the image '{row.image}' is in line {before} and in line {number}.",
                "Keep one of them: an image has one class, and is to train on or to test on.",
            )
        rows.append(row)
    if not rows:
        raise ConfigError(f"csv:{path} has a heading and no line with an image below it.", ADVICE)
    return rows


def _lines(path: str, file: Path) -> list[str]:
    try:
        text = read_text(file)
    except OSError as error:
        raise ConfigError(f"csv:{path} can't be read: {error.strerror}.", ADVICE) from error
    except UnicodeDecodeError as error:
        line = error.object.count(b"\n", 0, error.start) + 1
        raise ConfigError(
            f"csv:{path}, line {line}: {error.object[error.start : error.start + 1]!r} is not UTF-8.",
            "Save the file as UTF-8.",
        ) from error
    return list(io.StringIO(text, newline=""))


def _records(path: str, lines: Sequence[str]) -> Iterator[tuple[int, list[str]]]:
    """(number of its first line, fields) of every record: the heading, which is below lines that begin with #, and the others."""
    above = next((i for i, line in enumerate(lines) if line.strip() and not line.startswith("#")), len(lines))
    heading = lines[above] if above < len(lines) else ""
    reader = csv.reader(lines[above:], delimiter=max(DELIMITERS, key=heading.count), skipinitialspace=True, strict=True)
    while True:
        number = above + reader.line_num + 1
        try:
            fields = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            raise _quoting(path, number, str(error)) from error
        if any("\n" in field or "\r" in field for field in fields):
            raise _quoting(path, number, "a field goes on in the next line")
        if any(field.strip() for field in fields):
            yield number, fields


def _quoting(path: str, number: int, what: str) -> ConfigError:
    return ConfigError(
        f"csv:{path}, line {number}: {what}.",
        "A quote that opens a field closes it in the same line; a quote inside of a quoted field is doubled.",
    )


def _row(where: str, columns: Sequence[str], fields: Sequence[str]) -> Row:
    if len(fields) < len(columns) or any(fields[len(columns) :]):
        raise ConfigError(
            f"{where}: {len(fields)} fields, where the heading has {len(columns)}.",
            'A field with the delimiter in it stands in quotes: "cats, big".',
        )
    line = dict(zip(columns, map(str.strip, fields), strict=False))
    image, label, text = line["image"].replace("\\", "/"), line["label"], line.get("split", "")
    unfit = not image or not label or UNPRINTABLE.search(image + label) or len(label) > MOST_NAME_CHARACTERS
    if unfit or leaves_the_folder(image):
        raise ConfigError(
            f"{where}: image {image[:200]!r}, label {label[:200]!r}.",
            f"Each line needs a class name of {MOST_NAME_CHARACTERS} characters at most, and an image path that starts at the "
            "file's folder and stays inside it.",
        )
    part = part_named(text)
    if text and part is None:
        raise ConfigError(f"{where}: the split {text[:40]!r}.", f"It is one of: {', '.join(PARTS)}.")
    return Row(image, label, part)
