"""Names of files, classes, methods, hosts: what could hide, reverse or run is written out wherever text leaves."""

import csv
import io
import json
import re

import pytest
import rich.table
from rich.padding import Padding
from rich.text import Text

from harness.cli import tables
from harness.cli.progress import summary
from harness.cli.terminal import Console, echo, say
from harness.errors import DataError
from harness.records import from_json, to_json
from harness.visible import block, csv_cell, joined, visible
from reports.export.records import as_csv, as_latex, as_markdown, configuration, metrics
from reports.pages.page import page

KINDS = {
    "terminal codes": ("\x1b[31mred\x1b[0m", "\\x1b[31mred\\x1b[0m"),
    "a title of the window": ("\x1b]0;title\x07", "\\x1b]0;title\\x07"),
    "C1 codes": ("\x9b31m", "\\x9b31m"),
    "carriage return and backspace": ("good\rbad\x08", "good\\rbad\\x08"),
    "bidirectional marks": ("\u202egnp.exe\u2066", "\\u202egnp.exe\\u2066"),
    "zero width": ("co\u200bop\ufeff\u2060", "co\\u200bop\\ufeff\\u2060"),
    "joiners in Latin": ("co\u200dop\u200c", "co\\u200dop\\u200c"),
    "letters without ink": ("a\u3164b\u115f", "a\\u3164b\\u115f"),
    "tags": ("a\U000e0041", "a\\U000e0041"),
    "lone surrogates": ("caf\udce9 \ud800", "caf\\udce9 \\ud800"),
}
HOSTILE = "".join(raw for raw, _ in KINDS.values())
HIDDEN = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u200b-\u200f\u202a-\u202e\u2060-\u206f\u3164\u115f\ud800-\udfff\ufeff\U000e0041]"
)


@pytest.mark.parametrize("kind", KINDS)
def test_each_kind_is_written_out(kind):
    raw, shown = KINDS[kind]
    assert visible(raw) == shown
    assert visible(shown) == shown
    assert str(DataError(f"no {raw}")).startswith(f"no {shown}".replace("\\r\\n", "\n"))


@pytest.mark.parametrize("text", ["a b_c-1.5 %", "ünï", "日本語", "שלום", "می\u200cخواهم", "👩\u200d🔬", "e\u0301"])
def test_what_people_write_stays(text):
    assert visible(text) == text


def drawn(what, **options):
    file = io.StringIO()
    console = Console(file=file, width=200, **options)
    what(console)
    return file.getvalue()


def table_of(text):
    table = rich.table.Table(text, title=text)
    table.add_row(text)
    table.add_row(Text(text, style="bold"))
    return table


WAYS = {
    "a text": lambda console: say(console, HOSTILE),
    "a styled text": lambda console: say(console, Text.assemble(("Error:", "bold red"), " ", HOSTILE)),
    "a table": lambda console: tables.show(console, ("name", "what"), [(HOSTILE, HOSTILE)], title=HOSTILE),
    "rich's table": lambda console: console.print(table_of(HOSTILE)),
    "padding": lambda console: console.print(Padding(Text(HOSTILE), (0, 0, 0, 2))),
    "markup": lambda console: console.print(HOSTILE),
}


@pytest.mark.parametrize("way", WAYS)
def test_whatever_is_drawn_on_the_terminal_is_made_visible(way, capsys):
    shown = drawn(WAYS[way]) + capsys.readouterr().out  # a table on a pipe goes to standard output
    assert "\\x1b[31mred" in shown.replace("\n", "")
    assert HIDDEN.findall(shown.replace("\n", "")) == []


def test_colours_of_our_own_stay():
    shown = drawn(WAYS["a styled text"], force_terminal=True, color_system="standard")
    assert shown.startswith("\x1b[1;31mError:")
    assert "\\x1b[31mred" in shown.replace("\n", "")


def test_a_word_between_colons_is_no_picture():
    assert drawn(lambda console: say(console, "there is no folder data:bug:")) == "there is no folder data:bug:\n"


def test_what_is_echoed_is_made_visible(capsys):
    echo(HOSTILE)
    assert HIDDEN.findall(capsys.readouterr().out) == []


@pytest.fixture
def hostile_record(record):
    """Every text that a record has, hostile, where its schema lets it be."""
    made = record(settings={HOSTILE: HOSTILE}, status="ok", reason=HOSTILE, warnings=(HOSTILE,), command=HOSTILE,
                  recipe_row=HOSTILE, split_rule=HOSTILE, weights_sha256=HOSTILE, traceback=HOSTILE)  # fmt: skip
    data = to_json(made).decode()
    for word in ("coop", "digits", "demo-clip", "Example CPU 2.0 GHz", "3.11.7"):
        data = data.replace(word, f"{word}{_json(visible_safe(HOSTILE))}")
    return from_json(data.encode(), "hostile")


def visible_safe(text):
    return text.encode("utf-8", "backslashreplace").decode().replace("\r", "")


def _json(text):
    return json.dumps(text)[1:-1]


def test_a_page_and_every_export_of_a_hostile_record(hostile_record, record):
    found = page([hostile_record, record()])
    assert HIDDEN.findall(found) == []
    assert "\\x1b[31mred" in found
    for write in (as_csv, as_latex, as_markdown):
        assert HIDDEN.findall(write([hostile_record, record()]).decode()) == [], write


def texts(value):
    if isinstance(value, dict):
        return [text for name, each in value.items() for text in (name, *texts(each))]
    return [text for each in value for text in texts(each)] if isinstance(value, list) else [str(value)]


def test_what_a_tracker_is_given(hostile_record):
    given = "".join(texts([configuration(hostile_record), metrics(hostile_record)]))
    assert HIDDEN.findall(given) == []
    assert "\\x1b[31mred" in given


def test_the_line_of_a_run_that_ended(hostile_record):
    assert HIDDEN.findall(drawn(lambda console: say(console, summary(hostile_record)))) == []


FORMULAS = [
    "=1+1",
    "+cmd|' /C calc'!A0",
    "-2+3+cmd",
    "@SUM(1)",
    "\t=1",
    "\r=1",
    "\n=1",
    " =1",
    "＝1+1",
    "－1+x",
    "-",
    "+1 (=x)",
]
FIGURES = ["-1.25", "+30.12", "-1.2 ± 0.3", "80.12 (+30.12)", "1,234", "-5 %"]


@pytest.mark.parametrize("text", FORMULAS)
def test_a_formula_is_inert_in_csv(text):
    assert csv_cell(text).startswith("'")
    assert csv_cell(text)[1:] == block(text)


@pytest.mark.parametrize("text", FIGURES)
def test_a_figure_stays_a_figure_in_csv(text):
    assert csv_cell(text) == text


def test_an_exported_formula_is_inert_and_numbers_stay_numbers(record):
    rows = list(csv.DictReader(io.StringIO(as_csv([record("=cmd()", "-2+x", reason="@SUM(A1)", base=80.5)]).decode())))
    assert (rows[0]["method"], rows[0]["dataset"], rows[0]["reason"]) == ("'=cmd()", "'-2+x", "'@SUM(A1)")
    assert float(rows[0]["accuracy_percent"]) == 80.5


@pytest.mark.parametrize("text", ["<b>\u200d</b>", "क\u200dष", "<b>ok</b>\n", "\u200c"])
def test_of_visible_texts_put_together_joiners_alone_are_looked_at(text):
    assert joined(text) == block(text)
