"""Tables as HTML. A site has millions of cells: written here, they take a tenth of the time that a template takes."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import lru_cache

from markupsafe import Markup, escape

from reports.format.cells import ABSENT, Cell, Column, Table, TextTable
from reports.format.styles import Style

OFTEN = 1 << 14
"""So many texts are kept as HTML: names, labels and rounded numbers come again and again."""


@lru_cache(maxsize=OFTEN)
def escaped(text: str) -> str:
    """`text` for HTML, also within quotes."""
    return str(escape(text))


def show(table: Table, kind: str = "", sortable: bool = True, lines: Sequence[str] | None = None) -> Markup:
    """A table with its legend and notes, of its own kind or another. lines: its rows where they are HTML already."""
    if lines is None:
        lines = [_row(table, cells) for cells in table.rows]
    name, caption = escaped(table.name), escaped(table.caption)
    sorts = " data-sortable" if sortable and len(lines) > 1 else ""
    features = f' data-features="{" ".join(table.features)}"' if table.features else ""
    heads = "".join(map(_head, table.columns))
    body = "\n".join(lines)
    foot = f"<tfoot>\n{rows(table, table.foot)}\n</tfoot>\n" if table.foot else ""
    notes = "".join(f'<li id="{name}-n{i}">{escape(text)}</li>\n' for i, text in enumerate(table.notes, 1))
    return Markup(
        f'<div class="scroll" role="group" tabindex="0" aria-label="{caption}">\n'
        f'<table id="{name}" class="{kind or table.kind}"{sorts}{features}>\n<caption>{caption}</caption>\n'
        f"<thead><tr>\n{heads}</tr></thead>\n<tbody>\n{body}\n</tbody>\n{foot}</table>\n</div>\n{_legend(table)}"
        + (f'<ol class="notes">\n{notes}</ol>\n' if notes else "")
    )


def plain(table: TextTable) -> str:
    """A small table that is only looked at: its rows can be neither sorted nor chosen."""
    numeric = [of_numbers for _, of_numbers in table.heads]
    body = "".join([_plain_row(numeric, texts) for texts in table.rows])
    found = f"{_plain_start(table.caption, table.heads)}{body}</tbody></table></div>\n{_legend(table)}"
    if not table.notes:
        return found
    notes = "".join([f"<li>{escaped(text)}</li>" for text in table.notes])
    return f'{found}<ol class="notes">{notes}</ol>'


@lru_cache(maxsize=OFTEN)
def _plain_start(title: str, columns: tuple[tuple[str, bool], ...]) -> str:
    caption = escaped(title)
    kinds = {True: ' class="number"', False: ""}
    heads = "".join(f'<th scope="col"{kinds[numeric]}>{escaped(head)}</th>' for head, numeric in columns)
    return (
        f'<div class="scroll" role="group" tabindex="0" aria-label="{caption}">\n'
        f'<table class="wordy"><caption>{caption}</caption>\n<thead><tr>{heads}</tr></thead>\n<tbody>\n'
    )


def _plain_row(numeric: Sequence[bool], texts: Sequence[str | int]) -> str:
    cells = [
        _number(text) if of_numbers else f"<td{_roomy(text)}>{_plain_text(text)}</td>"
        for of_numbers, text in zip(numeric[1:], texts[1:], strict=True)
    ]
    return f'<tr><th scope="row">{_plain_text(texts[0])}</th>{"".join(cells)}</tr>\n'


@lru_cache(maxsize=OFTEN)
def _number(text: str | int) -> str:
    return f'<td class="number">{_plain_text(text)}</td>'


def _roomy(text: str | int) -> str:
    return ' class="roomy"' if isinstance(text, str) and len(text) > 40 else ""


def _plain_text(text: str | int) -> str:
    return escaped(text) if isinstance(text, str) else f"{ABSENT}<sup>{text}</sup>"


def rows(table: Table, lines: Iterable[Sequence[Cell]]) -> Markup:
    """`lines` of `table`, each as a ``tr`` whose first cell is its heading; every text escaped."""
    return Markup("\n".join(_row(table, cells) for cells in lines))


@lru_cache(maxsize=OFTEN)
def heading(text: str) -> str:
    """The first cell of a row, where it is a text alone."""
    return f'<th scope="row">{_alone(text)}</th>'


def cell(text: str, value: float | None = None, numeric: bool = True) -> str:
    """Any other cell that is a text and its number alone."""
    data = "" if value is None else f' data-value="{value}"'
    return (
        f'<td class="{"number" if numeric else "text"}{" roomy" if len(text) > 40 else ""}"{data}>{_alone(text)}</td>'
    )


def _alone(text: str) -> str:
    absent = ' class="absent"' if text == ABSENT else ""
    return f"<span{_whole(text)}><bdi{absent}>{escaped(text)}</bdi></span>"


def _whole(text: str) -> str:
    return ' class="whole"' if len(text) < 26 else ""


def _head(column: Column) -> str:
    row = f' data-row="{column.row}"' if column.row else ""
    first = " data-lowest-first" if column.lowest_first else ""
    names = f' data-names="{escape(chr(9).join(column.data))}"' if column.data else ""
    unit = f'<span class="unit">{escaped(column.unit)}</span>' if column.unit else ""
    kind = "number" if column.numeric else "text"
    title = f'<span class="title"><bdi>{escaped(column.title)}</bdi></span>'
    return f'<th scope="col" class="{kind}"{row}{first}{names}>{title}{unit}</th>\n'


def _legend(table: Table | TextTable) -> str:
    return f'<p class="legend">{escape(table.legend)}</p>' if table.legend else ""


def _row(table: Table, cells: Sequence[Cell]) -> str:
    head = cells[0]
    key = f' data-row="{escaped(head.style.key)}"' if head.style else ""
    apart = " data-apart" if head.apart else ""
    rest = "\n".join(table_cell(table, *pair) for pair in zip(table.columns[1:], cells[1:], strict=True))
    return f'<tr{key}{apart}>\n<th scope="row">{_content(table, head)}</th>\n{rest}\n</tr>'


def table_cell(table: Table, column: Column, cell: Cell) -> str:
    """Any cell but a row's heading."""
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
    text = escaped(cell.text)
    if cell.long:
        shown = f"<details><summary>{escaped(cell.text[:120])}…</summary><pre>{text}</pre></details>"
    else:
        words = f'<bdi class="absent">{text}</bdi>' if cell.absent else f"<bdi>{text}</bdi>"
        linked = f'<a href="{escaped(cell.href)}">{words}</a>' if cell.href else words
        shown = f"<span{_whole(cell.text)}>{_swatch(cell.style) if cell.style else ''}{linked}</span>"
    if cell.tied or cell.tags or cell.note or cell.details:
        shown += _additions(table, cell)
    return shown


def _additions(table: Table, cell: Cell) -> str:
    """What stands behind or below a cell's text."""
    found = '<span class="hidden">, tied with the best</span>' if cell.tied else ""
    found += "".join(f' <span class="tag">{escaped(tag)}</span>' for tag in cell.tags)
    if cell.note:
        found += (
            f'<sup><a href="#{escaped(table.name)}-n{cell.note}" aria-label="note {cell.note}">{cell.note}</a></sup>'
        )
    if cell.details:
        bold = dict.fromkeys(cell.bold, ' class="bold"')
        details = (f"<span{bold.get(i, '')}>{escaped(d)}</span>" for i, d in enumerate(cell.details))
        found += f'<span class="details">{"".join(details)}</span>'
    return found


def _swatch(style: Style) -> str:
    path = f'<path fill="{style.colour}" d="{style.outline}"/>'
    return f'<svg class="swatch" viewBox="-1.2 -1.2 2.4 2.4" aria-hidden="true">{path}</svg>'
