"""What a table of the page is made of. Text is plain here: the template escapes it."""

from __future__ import annotations

from dataclasses import dataclass, field

from reports.format.styles import Style


@dataclass(frozen=True, slots=True)
class Column:
    """A heading; `unit` stands smaller beneath it, `help` is spelled out under the table. `row`: a method's `Style.key`.

    `lowest_first`: less is better, so that sorting begins with the least. `data`: what its cells' `value` and `more` are called in
    data, units last; by default after the title.
    """

    title: str
    unit: str = ""
    help: str = ""
    numeric: bool = True
    row: str = ""
    lowest_first: bool = False
    data: tuple[str, ...] = ()


@dataclass(slots=True)  # frozen, it takes six times as long to make, and a site makes millions
class Cell:
    """`value` sorts (absent last; without any, the text does); `details` stand smaller below, those whose numbers are in
    `bold` in bold; `note` numbers a footnote; `long` folds the text away.

    `tied`: can't be told from the best. `shade`: from -5 to 5, how strongly the cell is tinted, and which way. `href`: where
    the text leads. `more`: further numbers, as data, in the order of `Column.data`. `apart`, of a row's heading: not comparable
    with the others, so last in every order.
    """

    text: str
    value: float | None = None
    details: tuple[str, ...] = ()
    bold: tuple[int, ...] = ()
    best: bool = False
    tied: bool = False
    shade: int | None = None
    note: int | None = None
    tags: tuple[str, ...] = ()
    style: Style | None = None
    long: bool = False
    href: str = ""
    more: tuple[float | None, ...] = ()
    apart: bool = False

    @property
    def absent(self) -> bool:
        return self.text == ABSENT


ABSENT = "–"


@dataclass(slots=True)
class Table:
    """Rows of cells under columns. The first cell of a row is its heading; `foot` stays below when the rows are sorted.

    `legend` says what bold, underlines or tints mean. `features` are what the script adds: filter, reference. `kind` is a class of
    the style sheet: map, wordy.
    """

    name: str
    caption: str
    columns: list[Column]
    rows: list[list[Cell]] = field(default_factory=list)
    foot: list[list[Cell]] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    legend: str = ""
    features: tuple[str, ...] = ()
    kind: str = ""

    def note(self, text: str) -> int:
        """The number of a footnote; equal texts share one."""
        if text not in self.notes:
            self.notes.append(text)
        return self.notes.index(text) + 1

    def absent(self, why: str) -> Cell:
        """An empty cell that says why it is empty."""
        return Cell(ABSENT, note=self.note(why))


@dataclass(slots=True)
class TextTable:
    """A small table that is only looked at: rows of texts, of which the first is the row's heading; a site has tens of thousands.

    `heads`: each column's title, and whether it holds numbers. A number among a row's texts is an empty cell, by its footnote.
    """

    caption: str
    heads: tuple[tuple[str, bool], ...]
    rows: list[list[str | int]] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    legend: str = ""

    def absent(self, why: str) -> int:
        """An empty cell that says why it is empty; equal reasons share a footnote."""
        if why not in self.notes:
            self.notes.append(why)
        return self.notes.index(why) + 1
