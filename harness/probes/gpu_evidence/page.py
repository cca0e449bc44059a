"""docs/gpu.md: what is proved without a GPU, and the figures of files of results; "not yet measured" where there are none."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from harness.files import read_text
from harness.probes.gpu_evidence.evidence import Section, Setting

COMMAND = "python -m harness.probes.gpu_evidence"
_HEAD = Path(__file__).with_name("head.md")


def page(sections: Sequence[Section], documents: Sequence[Mapping[str, Any]], setting: Setting) -> str:
    """The whole page, in Markdown, of the documents of results, one a machine."""
    budget = sum(section.budget_seconds for section in sections)
    lines = [_HEAD.read_text(encoding="utf-8").replace("{budget}", str(budget)).rstrip(), ""]
    if not documents:
        lines += ["No GPU has been at hand yet: each cell says how it is measured.", ""]
    for each in documents:
        lines += [f"- {', '.join(f'{name}: {value}' for name, value in each['machine'].items())}", ""]
    for section in sections:
        lines += [f"## {section.title}", "", f"{section.demand} (At most {section.budget_seconds} s.)", ""]
        for document in documents or (None,):
            lines += [*_table(section, document, setting), ""]
    return "\n".join(lines)


def _table(section: Section, document: Mapping[str, Any] | None, setting: Setting) -> list[str]:
    where = document["machine"]["device"] if document else "what"
    titles = [where, *(column.title for column in section.columns), *([] if document else ["command"])]
    lines = [_row(titles), f"|{'---|' * len(titles)}"]
    measured = document["cells"].get(section.name, {}) if document else {}
    for cell in section.cells(setting):
        figures = measured.get(cell)
        if figures is None:
            cells = ["not yet measured"] * len(section.columns)
        elif "error" in figures:
            cells = [figures["error"], *["–"] * (len(section.columns) - 1)]
        else:
            cells = [column.text(figures.get(column.key)) for column in section.columns]
        lines.append(_row([cell, *cells, *([] if document else [f"`{COMMAND} --sections {section.name}`"])]))
    return lines


def _row(cells: Sequence[str]) -> str:
    return f"| {' | '.join(' '.join(cell.split()).replace('|', '/') for cell in cells)} |"


def documents(paths: Sequence[Path]) -> list[dict[str, Any]]:
    """Files of results."""
    return [json.loads(read_text(path)) for path in paths]
