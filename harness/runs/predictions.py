"""Predictions on single test images, as one Parquet file per run: what paired tests between methods need."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from harness.errors import ConfigError
from harness.files import printable, write_atomically
from harness.suite import Item, Test

if TYPE_CHECKING:
    from harness.training.evaluate import Predictions


def require_parquet() -> None:
    """Raises ConfigError where Parquet can't be written."""
    if find_spec("pyarrow") is None:
        raise ConfigError(
            "--predictions writes Parquet, and pyarrow is not installed.",
            "Install it: pip install pyarrow",
        )


def write(path: Path, tests: Mapping[str, tuple[Sequence[Item], Predictions]]) -> None:
    """One row an image of every test: dataset, test, image (its key), label, predicted, logit (the predicted class's).

    Labels are positions in the `class_names` of the test in the run's record. Zstandard-compressed.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    parts = []
    for test, (items, predictions) in tests.items():
        count = len(predictions.labels)
        parts.append(
            pa.table(
                {
                    "dataset": pa.array([Test.from_key(test).dataset] * count).dictionary_encode(),
                    "test": pa.array([test] * count).dictionary_encode(),
                    "image": [printable(item.image) for item in items[:count]],
                    "label": pa.array(predictions.labels.tolist(), pa.int32()),
                    "predicted": pa.array(predictions.predicted.tolist(), pa.int32()),
                    "logit": pa.array(predictions.logits.tolist(), pa.float32()),
                }
            )
        )
    buffer = io.BytesIO()
    pq.write_table(pa.concat_tables(parts), buffer, compression="zstd")
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(path, buffer.getvalue())
