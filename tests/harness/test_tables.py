"""Tables on terminals of any width and on pipes: no word is cut, and a row is there as soon as it is known."""

from io import StringIO

import pytest
from rich.console import Console

from harness.cli import tables

COLUMNS = ("method", "dataset", "what it is")
ROWS = [
    ("full_finetuning", "demo-shapes-v2", "every block and head of both towers; embeddings stay frozen"),
    ("zero_shot", "demo-digits", "one prompt per class"),
]


def on(width):
    return Console(file=StringIO(), force_terminal=True, width=width, color_system=None, _environ={})


@pytest.mark.parametrize("width", [120, 60, 40, 20])
def test_a_terminal_cuts_no_word_and_no_line_is_wider(width):
    console = on(width)
    tables.show(console, COLUMNS, ROWS, title="things")
    out = console.file.getvalue()
    words = {word.rstrip(";:") for word in out.split()}
    assert words >= {word.rstrip(";") for row in ROWS for cell in row for word in cell.split()}
    assert max(map(len, out.splitlines())) <= width


def test_a_pipe_has_a_line_a_row(capsys):
    tables.show(Console(file=StringIO(), width=80), COLUMNS, ROWS)
    out = capsys.readouterr().out.splitlines()
    assert [line.split("  ")[0] for line in out] == ["method", "full_finetuning", "zero_shot"]
    assert out[1].rstrip().endswith(ROWS[0][2])


@pytest.mark.parametrize("width", [80, 30])
def test_a_row_is_printed_when_it_is_known(width):
    console = on(width)
    table = tables.Growing(console, COLUMNS, [15, 14, 30], right=("dataset",))
    assert console.file.getvalue() == ""
    for method, *_ in ROWS:
        assert method not in console.file.getvalue()
        table.add((method, "d", "w"))
        assert method in console.file.getvalue()


def test_an_empty_table_has_its_head():
    console = on(80)
    tables.show(console, COLUMNS, [], title="nothing")
    assert console.file.getvalue().split() == ["nothing", "method", "dataset", "what", "it", "is"]


@pytest.mark.parametrize("method", ["coop", "Ｃｏ", "of\ttabs"], ids=["plain", "wide", "tab"])
@pytest.mark.parametrize("style", [None, "truecolor"], ids=["plain", "colours"])
def test_a_row_of_plain_cells_that_fit_is_what_rich_makes_of_it(method, style, monkeypatch):
    row, printed = (method, "4", "it learns"), []
    for quick in (True, False):
        console = Console(file=StringIO(), force_terminal=True, width=60, color_system=style, _environ={})
        monkeypatch.setattr(tables, "_is_plain", tables._is_plain if quick else lambda cell, width: False)
        table = tables.Growing(console, COLUMNS, [15, 9, 12], right=("dataset",))
        table.add(row)
        printed.append(console.file.getvalue())
    assert printed[0] == printed[1]
