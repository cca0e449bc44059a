"""Tables that cut no word: columns where they fit or nearly do, else a paragraph per row; whole on a pipe."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence

from rich.padding import Padding
from rich.text import Text

from harness.cli.terminal import Console
from harness.visible import visible

_GAP = 2


def show(
    console: Console,
    columns: Sequence[str],
    rows: Iterable[Sequence[str]],
    title: str = "",
    right: Collection[str] = (),
) -> None:
    """Print a table at once; columns named in `right` are flush right."""
    lines = [[visible(cell) for cell in row] for row in rows]
    cells = [[name, *(row[place] for row in lines)] for place, name in enumerate(columns)]
    widths = [max(map(len, column)) for column in cells]
    if console.is_terminal:
        fitting = _narrowed(widths, [max(map(_longest_word, column)) for column in cells], console.width)
    else:
        fitting = widths
    table = Growing(console, columns, fitting, title, right)
    for row in lines:
        table.add(row)
    if not lines:
        table.head()


class Growing:
    """A table that is printed row by row, each as soon as it is known."""

    def __init__(
        self,
        console: Console,
        columns: Sequence[str],
        widths: Sequence[int] | None,
        title: str = "",
        right: Collection[str] = (),
    ) -> None:
        """widths: characters of each column, or None for a paragraph per row, as where a terminal has no room for them."""
        self._columns, self._right, self._title = columns, right, title
        total = sum(widths) + _GAP * (len(widths) - 1) if widths else 0
        self._widths = widths if widths and (not console.is_terminal or total <= console.width) else None
        self._console = console if console.is_terminal else Console(width=max(total, len(title), 1))
        self._begun = False

    def head(self) -> None:
        """Print the title and the columns' names."""
        self._begun = True
        if self._title:
            self._console.print(Text(self._title, style="bold"))
        if self._widths:
            self._print(self._columns, "bold")

    def add(self, row: Sequence[str]) -> None:
        """Print a row."""
        if not self._begun:
            self.head()
        if self._widths:
            self._print(row)
            return
        named = [f"{name}: {cell}" for name, cell in zip(self._columns[1:], row[1:], strict=True) if cell]
        self._console.print(Text(row[0], style="bold"))
        self._console.print(Padding(Text("; ".join(named)), (0, 0, 0, _GAP)))

    def _print(self, cells: Sequence[str], style: str = "") -> None:
        widths, right = self._widths or (), [name in self._right for name in self._columns]
        if all(map(_is_plain, cells, widths)):
            sized = zip(cells, widths, right, strict=True)
            filled = [(cell.rjust(width) if last else cell.ljust(width), style) for cell, width, last in sized]
            self._console.print(Text(" " * _GAP).join(Text(*cell) for cell in filled), soft_wrap=True)
            return
        from rich.table import Table

        line = Table.grid(padding=(0, _GAP, 0, 0))
        for width, last in zip(widths, right, strict=True):
            line.add_column(width=width, justify="right" if last else "left", overflow="fold")
        line.add_row(*(Text(cell, style) for cell in cells))
        self._console.print(line)


def _is_plain(cell: str, width: int) -> bool:
    """Whether a cell is as wide as it is long, and fits: rich's own tables take ten times as long."""
    return len(cell) <= width and cell.isascii() and cell.isprintable()


def _narrowed(widths: Sequence[int], least: Sequence[int], room: int) -> list[int] | None:
    """The widths, the widest ones taken down to what fits the room; None where a word would be cut."""
    widths, places = list(widths), range(len(widths))
    while sum(widths) + _GAP * (len(widths) - 1) > room:
        wide = [place for place in places if widths[place] > least[place]]
        if not wide:
            return None
        widths[max(wide, key=widths.__getitem__)] -= 1
    return widths


def _longest_word(text: str) -> int:
    return max(map(len, text.split()), default=0)
