"""What runs have left: records as a frame, a report, a comparison, and saved models."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from harness import plugins

if TYPE_CHECKING:
    import pandas as pd

    from harness.saved.model import SavedModel

FilePath = str | PathLike[str]


class Comparison(NamedTuple):
    """Two result sets side by side: a table per suite and condition, by its title, and what stands in the way of comparing more."""

    tables: dict[str, pd.DataFrame]
    """A row per method: its score in A and in B, their difference in points, whether it is sure; of each cost A, B and B / A."""
    notes: list[str]
    """Cautions, and what only one of the two has."""


def load_results(results: FilePath | Sequence[FilePath] = "results") -> pd.DataFrame:
    """The run records below one or several folders as a frame: a row per run and test, or per run where it has no test.

    Columns are the fields of records (docs/records.md) and the figures of the report, unrounded, missing where there is nothing:
    ``accuracy_percent`` and ``test_images`` of the test, all others of the run. Units close their names (``_seconds``, ``_bytes``,
    ``_percent``, ``_per_second``, ``_joules``), and ``frame.attrs["units"]`` has them by column; others are counts and texts.

    Warns of files that are no records. Raises ConfigError where a folder or any record is missing.
    """
    plugins.have_ours("reports")
    from reports.__main__ import nothing, read
    from reports.export.records import run_table, units_of

    folders = _several(results)
    records, problems = read(folders)
    for problem in problems:
        warnings.warn(problem.what, UserWarning, stacklevel=2)
    if not records:
        raise nothing(folders, problems)
    frame = run_table(records)
    frame.attrs["units"] = units_of(frame)
    return frame


def report(
    results: FilePath | Sequence[FilePath] = "results", output: FilePath = "site", *, pages: bool | None = None
) -> Path:
    """Render the run records below one or several folders to an offline page; returns its path.

    output: a folder, for its index.html, or the page itself, ``NAME.html``. pages: a page per suite, method, dataset and run; by
    default from some hundred runs on. Raises ConfigError where there are no records, or the page can't be written.
    """
    plugins.have_ours("reports")
    from reports.__main__ import rendered

    return rendered(_several(results), Path(output), pages)[0]


def compare(before: FilePath, after: FilePath, output: FilePath | None = None) -> Comparison:
    """The run records below two folders, A and B, side by side; also as a page where `output` names one.

    Raises ConfigError for a folder without records, and for two that share any.
    """
    plugins.have_ours("reports")
    from reports.__main__ import compared
    from reports.export.records import page_table

    found, alone, _ = compared(Path(before), Path(after), None if output is None else Path(output))
    notes = [f"{one.title}: {said}" for one in found for said in (one.verdict, *one.cautions)]
    return Comparison({one.title: page_table(one.table) for one in found}, [*notes, *alone])


def load(
    saved: FilePath,
    *,
    device: str = "auto",
    backbone: str | None = None,
    pretrained: str | None = None,
    method: str | None = None,
) -> SavedModel:
    """A model that a run with `save` left beside its record, an ``nn.Module`` on auto, cpu, cuda or cuda:N.

    ``model.predict(images)``, of paths or Pillow images, has class names, probabilities and logits (N, C); ``model(pixels)``, of
    pixels (B, 3, S, S) resized and normalised, gives logits (B, C); ``model.set_classes(names)`` aims it at other classes.

    A checkpoint file, a backbone in a folder and a method of your own are not in the file: `pretrained`, `backbone`
    (``local-dir:PATH``) and `method` (``FILE.py:NAME``) say where they lie. Raises DataError for what is no saved model,
    BackboneError for other weights than it was trained on, ConfigError for what has to be named.
    """
    from harness.saved import model

    return model.load(saved, device=device, backbone=backbone, pretrained=pretrained, method=method)


def _several(paths: FilePath | Sequence[FilePath]) -> list[Path]:
    return [Path(paths)] if isinstance(paths, str | PathLike) else [Path(path) for path in paths]
