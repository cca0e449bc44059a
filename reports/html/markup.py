"""The rows of a table as HTML. A site has millions of cells: written here, they take a tenth of the time that a template takes."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from html import escape

from markupsafe import Markup

from reports.format.cells import Cell, Column, Table
from reports.format.styles import Style


def rows(table: Table, lines: Iterable[Sequence[Cell]]) -> Markup:
    """`lines` of `table`, each as a ``tr`` whose first cell is its heading; every text escaped."""
    return Markup("\n".join(_row(table, cells) for cells in lines))


def _row(table: Table, cells: Sequence[Cell]) -> str:
    head = cells[0]
    key = f' data-row="{escape(head.style.key)}"' if head.style else ""
    apart = " data-apart" if head.apart else ""
    rest = "\n".join(_cell(table, *pair) for pair in zip(table.columns[1:], cells[1:], strict=True))
    return f'<tr{key}{apart}>\n<th scope="row">{_content(table, head)}</th>\n{rest}\n</tr>'


def _cell(table: Table, column: Column, cell: Cell) -> str:
    kind = "number" if column.numeric else "text"
    if cell.best:
        kind += " best"
    if cell.tied:
        kind += " tied"
    if len(cell.text) > 40:
        kind += " roomy"
    if cell.shade is not None:
        kind += f" tint{'p' if cell.shade > 0 else 'n' if cell.shade else ''}{abs(cell.shade)}"
    value = "" if cell.value is None else f' data-value="{cell.value}"'
    if cell.more:
        value += f' data-more="{",".join("" if number is None else str(number) for number in cell.more)}"'
    return f'<td class="{kind}"{value}>{_content(table, cell)}</td>'


def _content(table: Table, cell: Cell) -> str:
    text = escape(cell.text)
    if cell.long:
        shown = f"<details><summary>{escape(cell.text[:120])}…</summary><pre>{text}</pre></details>"
    else:
        words = f'<bdi class="absent">{text}</bdi>' if cell.absent else f"<bdi>{text}</bdi>"
        linked = f'<a href="{escape(cell.href)}">{words}</a>' if cell.href else words
        whole = ' class="whole"' if len(cell.text) < 26 else ""
        shown = f"<span{whole}>{_swatch(cell.style) if cell.style else ''}{linked}</span>"
    if cell.tied or cell.tags or cell.note or cell.details:
        shown += _additions(table, cell)
    return shown


def _additions(table: Table, cell: Cell) -> str:
    """What stands behind or below a cell's text."""
    found = '<span class="hidden">, tied with the best</span>' if cell.tied else ""
    found += "".join(f' <span class="tag">{escape(tag)}</span>' for tag in cell.tags)
    if cell.note:
        found += (
            f'<sup><a href="#{escape(table.name)}-n{cell.note}" aria-label="note {cell.note}">{cell.note}</a></sup>'
        )
    if cell.details:
        bold = dict.fromkeys(cell.bold, ' class="bold"')
        details = (f"<span{bold.get(i, '')}>{escape(d)}</span>" for i, d in enumerate(cell.details))
        found += f'<span class="details">{"".join(details)}</span>'
    return found


def _swatch(style: Style) -> str:
    path = f'<path fill="{style.colour}" d="{style.outline}"/>'
    return f'<svg class="swatch" viewBox="-1.2 -1.2 2.4 2.4" aria-hidden="true">{path}</svg>'
