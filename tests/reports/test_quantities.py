"""One table lists the figures of a run: what stands there is shown everywhere, and nothing else names a figure."""

import ast
import io
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest

from reports import terminal
from reports.export.records import as_csv, as_latex, as_markdown, metrics
from reports.findings.comparison import compare
from reports.format import units
from reports.pages.page import page
from reports.results import quantities
from reports.results.quantities import QUANTITIES
from reports.results.quantity import Axis, Quantity
from reports.results.section_results import in_numbers

REPORTS = Path(__file__).parent.parent.parent / "reports"
EVERYWHERE = dict.fromkeys(("headline", "details", "seeds", "ablation", "executions", "compare", "terminal"), "all")
TOTAL = Quantity(
    name="total_seconds_of_it",
    read=lambda record: record.total_seconds,
    over="sum",
    title="Whole run",
    unit="all phases",
    help="from the first import to the last test",
    text=units.duration,
    better=-1,
    part="run",
    shown=EVERYWHERE,
    axis=Axis("Time of the whole run", units.TIME_UNITS),
    noun="time of the whole run",
    takes="the whole run takes",
    least="is through first",
)


@pytest.fixture
def added(monkeypatch):
    monkeypatch.setattr(quantities, "QUANTITIES", (*QUANTITIES, TOTAL))


@pytest.fixture
def runs(record):
    """Two executions of two methods; the whole run takes 3 s longer than training."""
    return [record(m, seed=s, execution=e, train_seconds=t, base=60 + t + s / 10)
            for m, t in (("full_finetuning", 20.0), ("coop", 5.0)) for e in ("fast", "reference") for s in (1, 2)]  # fmt: skip


@pytest.fixture
def variants(record):
    return [
        record(settings={"skip": s, "depth": d}, train_seconds=10.0 * d) for s, d in ((True, 1), (True, 2), (False, 1))
    ]


def cut_off(runs):
    return [replace(r, key=replace(r.key, steps=5), accuracy={}) for r in runs]


@pytest.mark.usefixtures("added")
def test_a_figure_that_is_added_to_the_table_is_on_the_page(runs, variants):
    text = page(runs)
    for table in ("s1-headline", "s1-costs", "s1-seeds", "executions", "advantages"):
        assert "Whole run" in text.partition(f'{table}"')[2].partition("</table>")[0], table
    assert "H against time of the whole run" in text
    assert "In time of the whole run, " in text
    assert "from the first import to the last test" in text
    assert "23.0 s" in text.partition('id="s1-seeds"')[2].partition("</table>")[0]
    told = page(variants)
    assert "the whole run takes 1.00 times the usual" in told
    assert "Whole run" in told.partition("What each setting changes")[2].partition("</table>")[0]


@pytest.mark.usefixtures("added")
def test_it_is_shown_where_training_was_cut_off(runs):
    text = page(cut_off(runs))
    for table in ("s1-headline", "s1-costs"):
        assert "Whole run" in text.partition(f'{table}"')[2].partition("</table>")[0]
    assert "<strong>coop</strong> is through first, <b>8.00 s</b>" in text


@pytest.mark.usefixtures("added")
def test_it_is_exported_and_sent_to_trackers(runs):
    frame = pd.read_csv(io.BytesIO(as_csv(runs)))
    assert list(frame[TOTAL.name]) == [r.total_seconds for r in runs for _ in r.accuracy]
    assert metrics(runs[0])[TOTAL.name] == runs[0].total_seconds
    assert "Whole run (all phases)" in as_markdown(runs).decode()
    assert "Whole run (all phases)" in as_latex(runs).decode()


@pytest.mark.usefixtures("added")
def test_it_is_compared_and_printed(runs, capsys, monkeypatch):
    monkeypatch.setattr(terminal, "WIDTH", 1000)
    found, alone = compare(runs, [replace(r, total_seconds=2 * r.total_seconds) for r in runs])
    heads = [f"{c.title} {c.unit}" for c in found[0].table.columns]
    ratio = {row[0].text: row[heads.index("Whole run B / A")].text for row in found[0].table.rows}
    assert ratio == {"coop": "2.00", "full_finetuning": "2.00"}
    terminal.print_comparison(found, alone)
    assert " 23.0 s 46.0 s 2.00" in " ".join(capsys.readouterr().out.split())
    terminal.print_headlines(in_numbers(runs))
    first, heads, *_ = capsys.readouterr().out.strip().splitlines()
    assert " and whole run summed over datasets, " in first
    assert heads.endswith("  whole run  ")


def test_figures_have_names_of_their_own():
    assert len({q.name for q in QUANTITIES}) == len(QUANTITIES)


def named_in(path):
    """The figures that a file names in a string, as it would to look one up."""
    names = {q.name for q in QUANTITIES}
    nodes = ast.walk(ast.parse(path.read_text(encoding="utf-8")))
    return {node.value for node in nodes if isinstance(node, ast.Constant) and node.value in names}


def test_no_other_file_names_a_figure():
    """But where the word means another thing: columns of published tables, and the recipe's batch size in an export."""
    others = {"results/literature.py": {"train_seconds"},
              "export/records.py": {"batch_size"}}  # fmt: skip
    found = {path.relative_to(REPORTS).as_posix(): named for path in REPORTS.rglob("*.py") if (named := named_in(path))}
    assert found.pop("results/quantities.py") == {q.name for q in QUANTITIES}
    assert not {path: more for path, named in found.items() if (more := named - others.get(path, set()))}
