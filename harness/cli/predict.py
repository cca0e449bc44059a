"""The commands ``adaptbench predict`` and ``adaptbench export-model``: what a run with --save has left, put to use."""

from __future__ import annotations

import csv
import io
import json
import os
import sys
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from harness.cli import options, tables
from harness.cli.terminal import console, echo, errors, say
from harness.data.split_files import SUFFIXES
from harness.errors import ConfigError, DataError
from harness.runs.suite_runner import require_device
from harness.visible import csv_cell

if TYPE_CHECKING:
    from harness.saved.model import SavedModel

FORMATS = ("table", "csv", "json")
EXPORTS = ("open_clip", "classifier")

Saved = Annotated[
    Path, typer.Argument(metavar="SAVED", help="A model that 'adaptbench run --save' left beside its record.")
]
Classes = Annotated[
    str | None,
    typer.Option(
        help="Comma-separated class names, or a text file with one per line.", show_default="those trained on"
    ),
]
Device = Annotated[str, typer.Option(help="auto, cpu, cuda or cuda:N.")]
BackboneFolder = Annotated[
    str | None, typer.Option(help="Where a backbone lies that is a folder: local-dir:PATH.", show_default=False)
]
Weights = Annotated[
    str | None, typer.Option(help="Where the checkpoint file lies that it was trained on.", show_default=False)
]
MethodFile = Annotated[
    str | None, typer.Option(help="FILE.py:NAME of a method of your own that can't be imported.", show_default=False)
]


def predict_(
    saved: Saved,
    images: Annotated[
        list[str],
        typer.Argument(metavar="IMAGES...", help="Files; folders, searched deeply; - for paths on standard input."),
    ],
    classes: Classes = None,
    top: Annotated[int, typer.Option(help="So many of the likeliest classes for each image.", min=1)] = 1,
    format: Annotated[str, typer.Option(help=f"One of {', '.join(FORMATS)}.")] = "table",
    device: Device = "auto",
    backbone: BackboneFolder = None,
    pretrained: Weights = None,
    method: MethodFile = None,
) -> None:
    """Classify images with a saved model: for each the likeliest class and its probability."""
    options.one_of("format", format, FORMATS)
    paths = _images(images)
    model = _load(saved, classes, device, backbone, pretrained, method)
    best = model.predict(paths).probabilities.topk(min(top, len(model.class_names)))
    rows = [
        (str(path), model.class_names[label], probability)
        for path, labels, probabilities in zip(paths, best.indices.tolist(), best.values.tolist(), strict=True)
        for label, probability in zip(labels, probabilities, strict=True)
    ]
    _print(rows, format)


def export_model_(
    saved: Saved,
    as_: Annotated[
        str,
        typer.Option(
            "--as", help="open_clip: a folder with plain CLIP weights; classifier: a matrix on image features."
        ),
    ],
    output: Annotated[Path, typer.Option("--output", "-o", help="The folder, or the file (.safetensors), to write.")],
    classes: Classes = None,
    device: Device = "cpu",
    backbone: BackboneFolder = None,
    pretrained: Weights = None,
    method: MethodFile = None,
) -> None:
    """Write a saved model for other programs, where its answers are those of plain CLIP weights or of a linear classifier."""
    options.one_of("as", as_, EXPORTS)
    model = _load(saved, classes, device, backbone, pretrained, method)
    from harness.saved import exports

    write = exports.export_open_clip if as_ == "open_clip" else exports.export_classifier
    try:
        difference = write(model, output)
    except OSError as error:
        raise ConfigError(f"{output} can't be written: {error.strerror}.", "Name another place: -o PATH.") from error
    say(
        console,
        f"As {as_}: {output}. On random images its probabilities differ from the saved model's by {difference:.0e}.",
    )


def _load(
    saved: Path, classes: str | None, device: str, backbone: str | None, pretrained: str | None, method: str | None
) -> SavedModel:
    """The model, aimed at the classes asked for; what is doubtful of it is told."""
    require_device(device)
    names = _classes(classes)
    from harness.saved.model import load

    with _warnings_told():
        model = load(saved, device=device, backbone=backbone, pretrained=pretrained, method=method)
    if names:
        model.set_classes(names)
    if model.answers_zero_shot:
        say(
            errors,
            f"Note: {model.header.key.method} has no weights for these classes: the answers are zero-shot CLIP's.",
        )
    return model


@contextmanager
def _warnings_told() -> Iterator[None]:
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", UserWarning)
        yield
    for text in dict.fromkeys(str(each.message) for each in caught if issubclass(each.category, UserWarning)):
        say(errors, f"Note: {text}")


def _classes(text: str | None) -> list[str]:
    """Class names of a comma-separated text, or of a file with one per line. Raises ConfigError unless there are two."""
    if options.given("classes", text) is None or text is None:
        return []
    is_file = Path(text).is_file()
    names = Path(text).read_text().splitlines() if is_file else options.names("classes", text)
    names = [name.strip() for name in names if name.strip()]
    if len(names) < 2:
        raise ConfigError(f"--classes {text} names {len(names)} class{'es' * (len(names) != 1)}.", "Name at least two.")
    return names


def _images(words: Sequence[str]) -> list[Path]:
    """The image files that are meant, in order. Raises DataError for a folder without any, ConfigError where none is named."""
    found: list[Path] = []
    for word in words:
        if word == "-":
            found += [Path(line.rstrip("\n")) for line in sys.stdin if line.strip()]
        elif Path(word).is_dir():
            found += _in_folder(Path(word))
        else:
            found.append(Path(word))
    if not found:
        raise ConfigError(
            "no image is named.",
            "Name files or folders, or give paths on standard input: find . | adaptbench predict SAVED -",
        )
    return found


def _in_folder(folder: Path) -> list[Path]:
    files = sorted(Path(place) / name for place, _, names in os.walk(folder) for name in names)
    images = [file for file in files if file.suffix.lower() in SUFFIXES]
    if not images:
        raise DataError(f"the folder {folder} has no image.", f"Images are {', '.join(SUFFIXES)}.")
    if len(images) < len(files):
        say(errors, f"Note: {len(files) - len(images)} of {len(files)} files in {folder} are no images by their names.")
    return images


def _print(rows: Sequence[tuple[str, str, float]], format: str) -> None:
    columns = ("image", "class", "probability")
    if format == "json":
        echo(json.dumps([dict(zip(columns, row, strict=True)) for row in rows], indent=1))
    elif format == "csv":
        text = io.StringIO()
        inert = [(csv_cell(image), csv_cell(name), probability) for image, name, probability in rows]
        csv.writer(text, lineterminator="\n").writerows([columns, *inert])
        echo(text.getvalue(), end="")
    else:
        lines = [(image, name, f"{probability:.4f}") for image, name, probability in rows]
        tables.show(console, columns, lines, right=("probability",))
