"""Records for other programs: runs as a table or as JSON lines, and each section's headline as Markdown or LaTeX."""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import pandas as pd
from pydantic import TypeAdapter

from harness.errors import ConfigError
from harness.records import RunRecord
from harness.visible import block, csv_cell
from reports.format.cells import Cell, Column, Table
from reports.results.costs import peak_field
from reports.results.quantities import figures
from reports.results.section_results import in_numbers
from reports.results.sections import canonical
from reports.results.titles import row_styles, section_titles
from reports.tables.section_tables import headline

_RECORD = TypeAdapter(RunRecord)


def run_table(records: Sequence[RunRecord]) -> pd.DataFrame:
    """A line a run and test, or a run without tests; full precision, NaN (or None) where there is nothing."""
    lines = []
    for record in records:
        run = _identity(record) | figures(record, peak_field([record]))
        for test, found in record.accuracy.items() or ((None, None),):
            counts = {name: getattr(found, name, None) for name in ("accuracy_percent", "correct", "images", "classes")}
            lines.append(
                {**run, "test": test, **{f"test_{k}" if k != "accuracy_percent" else k: v for k, v in counts.items()}}
            )
    return pd.DataFrame(lines).convert_dtypes()


UNITS = {
    "_percent": "%",
    "_images_per_second": "images/s",
    "_texts_per_second": "texts/s",
    "_seconds": "s",
    "_bytes": "B",
    "_joules": "J",
    "_flops": "FLOPs",
}
"""By the end of a column's name."""


def units_of(frame: pd.DataFrame) -> dict[str, str]:
    """The units of a run table's columns; none for counts and texts."""
    return {name: unit for name in frame.columns for end, unit in UNITS.items() if f"_{name}".endswith(end)}


def page_table(table: Table) -> pd.DataFrame:
    """A table of a page as a frame: numbers unrounded, texts where a cell has no number, missing where it is empty."""
    names = [f"{column.title} {column.unit}".strip() for column in table.columns]
    rows = [
        [None if cell.absent else cell.text if cell.value is None else cell.value for cell in row] for row in table.rows
    ]
    return pd.DataFrame(rows, columns=names).set_index(names[0])


_FIELDS = (
    "train_image_count",
    "train_class_count",
    "test_images_seen",
    "total_parameters",
    "changed_weights_percent",
    "peaks_of_seed",
    "weights_sha256",
    "saved_bytes",
)
"""Fields of a record that no figure of reports has."""


def _identity(record: RunRecord) -> dict[str, Any]:
    key, environment = record.key, record.environment
    return {
        "suite": key.suite,
        "dataset": key.dataset,
        "method": key.method,
        "settings": canonical(dict(key.settings)),
        "shots": key.shots,
        "seed": key.seed,
        "backbone": key.backbone,
        "pretrained": key.pretrained,
        "precision": key.precision,
        "execution": key.execution,
        "template": key.template,
        "steps": key.steps,
        "recipe_row": record.recipe_row,
        "epochs": key.recipe.epochs,
        "batch_size": key.recipe.batch_size,
        "learning_rate": key.recipe.learning_rate,
        "augmentation": key.recipe.augmentation,
        "simulated": key.simulated,
        "status": record.status,
        "reason": record.reason,
        "machine": environment.machine,
        "device": environment.device,
        "commit": environment.commit,
        "dirty": environment.dirty,
        "started_at": record.started_at,
        "total_seconds": record.total_seconds,
        **{name: getattr(record, name) for name in _FIELDS},
        "peak_meter": peak_field([record]),
    }


def as_csv(records: Sequence[RunRecord]) -> bytes:
    """The run table as CSV, UTF-8: texts that a spreadsheet would take for formulas stand behind an apostrophe."""
    table = run_table(records)
    texts = table.select_dtypes(["string", "object"]).columns
    table[texts] = table[texts].map(lambda cell: csv_cell(cell) if isinstance(cell, str) else cell)
    return table.to_csv(index=False, lineterminator="\n").encode()


def as_parquet(records: Sequence[RunRecord]) -> bytes:
    """The run table as Parquet. Raises ConfigError without pyarrow."""
    buffer = io.BytesIO()
    try:
        run_table(records).to_parquet(buffer, index=False)
    except ImportError as error:
        raise missing_library("Parquet", "pyarrow") from error
    return buffer.getvalue()


def as_json_lines(records: Sequence[RunRecord]) -> bytes:
    """Whole records, one a line."""
    return b"".join(_RECORD.dump_json(record) + b"\n" for record in records)


def as_markdown(records: Sequence[RunRecord]) -> bytes:
    """A table a section, under its title and above its footnotes."""
    text = "\n".join(f"## {_markdown(title)}\n\n{_markdown_table(table)}" for title, table in _headlines(records))
    return block(text).encode()


def as_latex(records: Sequence[RunRecord]) -> bytes:
    """A ``table`` a section, with booktabs' rules and its footnotes; the best of a column in bold."""
    text = "% \\usepackage{booktabs}\n" + "\n".join(_latex_table(title, table) for title, table in _headlines(records))
    return block(text).encode()


FORMATS: Mapping[str, Callable[[Sequence[RunRecord]], bytes]] = {
    "csv": as_csv,
    "parquet": as_parquet,
    "jsonl": as_json_lines,
    "markdown": as_markdown,
    "latex": as_latex,
}


def missing_library(what: str, package: str) -> ConfigError:
    """The advice for a format whose library is not installed."""
    return ConfigError(f"{what} needs {package}, which is not installed.", f"Install it: pip install {package}")


def _headlines(records: Sequence[RunRecord]) -> list[tuple[str, Table]]:
    found = in_numbers(records)
    styles = row_styles(found)
    titles = section_titles([results.section for results in found])
    return [(title, headline("t", results, styles)) for title, results in zip(titles, found, strict=True)]


def _markdown_table(table: Table) -> str:
    head = [_markdown(_heading(column)) for column in table.columns]
    rows = [head, *([_markdown_cell(cell) for cell in cells] for cells in table.rows)]
    lines = [f"| {' | '.join(row)} |" for row in rows]
    lines.insert(1, f"|{'|'.join('---:' if column.numeric else '---' for column in table.columns)}|")
    notes = [f"{i}. {_markdown(note)}" for i, note in enumerate(table.notes, 1)]
    return "\n".join([*lines, *([""] if notes else []), *notes]) + "\n"


def _latex_table(title: str, table: Table) -> str:
    columns = "".join("r" if column.numeric else "l" for column in table.columns)
    body = [" & ".join(_latex_cell(cell) for cell in cells) + r" \\" for cells in table.rows]
    head = " & ".join(_latex(_heading(column)) for column in table.columns) + r" \\"
    lines = [r"\begin{table}", rf"\caption{{{_latex(title)}}}", rf"\begin{{tabular}}{{{columns}}}", r"\toprule", head, r"\midrule",
             *body, r"\bottomrule", r"\end{tabular}", *_latex_notes(table.notes), r"\end{table}", ""]  # fmt: skip
    return "\n".join(lines)


def _latex_notes(notes: Sequence[str]) -> list[str]:
    lines = [rf"\textsuperscript{{{i}}} {_latex(note)}\par" for i, note in enumerate(notes, 1)]
    return [r"\par\medskip\footnotesize", *lines] if lines else []


def _heading(column: Column) -> str:
    return f"{column.title} ({column.unit})" if column.unit else column.title


def _words(cell: Cell) -> str:
    beside = "; ".join((*cell.tags, *cell.details))
    return f"{cell.text} ({beside})" if beside else cell.text


def _markdown_cell(cell: Cell) -> str:
    return _markdown(_words(cell)) + (f"<sup>{cell.note}</sup>" if cell.note else "")


def _latex_cell(cell: Cell) -> str:
    tags = f" ({'; '.join(cell.tags)})" if cell.tags else ""
    words = rf"\textbf{{{_latex(cell.text + tags)}}}" if cell.best else _latex(cell.text + tags)
    details = rf" {{\scriptsize {' '.join(map(_latex, cell.details))}}}" if cell.details else ""
    return words + details + (rf"\textsuperscript{{{cell.note}}}" if cell.note else "")


def _markdown(text: str) -> str:
    return "".join(f"\\{c}" if c in "\\|*_`<[" else " " if c in "\r\n" else c for c in text)


_LATEX = {
    **{c: f"\\{c}" for c in "&%$#_{}"},
    "\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "−": "$-$", "±": r"$\pm$", "–": "--",
    "×": r"$\times$", "·": r"$\cdot$", "…": r"\dots{}", "→": r"$\to$", "<": "$<$", ">": "$>$", "|": "$|$",
}  # fmt: skip


def _latex(text: str) -> str:
    return "".join(_LATEX.get(c, c) for c in text)


def metrics(record: RunRecord) -> dict[str, float]:
    """What a tracker shows of a run: accuracies by test, and costs; nothing that is absent."""
    scores = {f"accuracy_percent/{block(test)}": found.accuracy_percent for test, found in record.accuracy.items()}
    known = {name: float(value) for name, value in figures(record, peak_field([record])).items() if value is not None}
    return {**scores, **known}


def configuration(record: RunRecord) -> dict[str, Any]:
    """What a tracker lists beside a run: its key, recipe and machine, as plain JSON values, their texts made visible."""
    data = json.loads(_RECORD.dump_json(record, include={"key", "recipe_row", "status", "reason", "environment"}))
    found: dict[str, Any] = _made_visible({**data.pop("key"), **data})
    return found


def _made_visible(value: Any) -> Any:
    if isinstance(value, dict):
        return {block(name): _made_visible(each) for name, each in value.items()}
    if isinstance(value, list):
        return [_made_visible(each) for each in value]
    return block(value) if isinstance(value, str) else value
