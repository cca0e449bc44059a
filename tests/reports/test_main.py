"""The command: folders of files in, one file out."""

import re
import subprocess
import sys
from dataclasses import replace

import pytest
import typer
from typer.testing import CliRunner

from harness.errors import ConfigError
from harness.records import to_json
from reports import __main__ as command
from reports.results.section_results import in_numbers
from reports.terminal import print_headlines


@pytest.fixture
def results(tmp_path, suite):
    folder = tmp_path / "results"
    for record in suite:
        path = folder / record.key.suite / record.key.method / f"{record.key.dataset}-seed{record.key.seed}.json"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(to_json(record))
    return folder


def test_records_survive_their_files(results, suite):
    records, problems = command.read([results])
    assert not problems
    assert sorted(map(repr, records)) == sorted(map(repr, suite))


def test_a_file_reached_twice_is_read_once(results, suite):
    records, _ = command.read([results, results / "base2new", results])
    assert len(records) == len(suite)


def test_report_writes_one_page_and_says_where(results, tmp_path, capsys):
    command.report([results], tmp_path / "site")
    assert "site/index.html" in capsys.readouterr().out
    assert [p.name for p in (tmp_path / "site").iterdir()] == ["index.html"]
    assert (tmp_path / "site" / "index.html").read_text(encoding="utf-8").startswith("<!doctype html>")


def test_a_row_that_is_not_comparable_is_the_last_of_the_headlines(record, capsys):
    runs = [record("zero_shot", d) for d in ("digits", "shapes")] + [record("coop", base=95, new=95)]
    print_headlines(in_numbers(runs))
    lines = [line.split()[0] for line in capsys.readouterr().out.splitlines() if line]
    assert lines[-2:] == ["zero_shot", "coop"]


def test_headlines_say_over_what_they_sum_and_average(record, capsys):
    whole = record("coop")
    cut = replace(whole, key=replace(whole.key, steps=3, shots=1))
    print_headlines(in_numbers([record("zero_shot"), record("zero_shot", "shapes"), whole, cut]))
    costs, scores = " ".join(capsys.readouterr().out.split()).split("base2new on ")[1:]
    assert ", 1 shot, " in costs
    assert re.search(
        "; .*epoch.* and .*step.* averaged over datasets, .*peak memory.* the highest of them; mean over", costs
    )
    assert ", 16 shots, " in scores
    assert re.search("; .*train time.* summed over datasets, .*peak memory.* the highest of them; mean over", scores)
    assert "coop (1 of 2 datasets)" in scores


@pytest.mark.parametrize("many", [1, 1000], ids=["so many runs that they would be a site", "few runs"])
def test_an_output_that_ends_in_html_is_the_one_page(results, tmp_path, monkeypatch, capsys, many):
    monkeypatch.setattr(command, "MANY", many)
    command.report([results], tmp_path / "pages" / "report.html")
    assert "pages/report.html" in capsys.readouterr().out
    assert [p.name for p in (tmp_path / "pages").iterdir()] == ["report.html"]
    text = (tmp_path / "pages" / "report.html").read_text(encoding="utf-8")
    assert text.startswith("<!doctype html>")
    assert "30 runs, each in full" in text
    assert "page.css" not in text


def test_one_page_can_not_be_many(results, tmp_path):
    with pytest.raises(ConfigError, match=r"one page, and --pages makes many\.\nName a folder"):
        command.report([results], tmp_path / "report.html", pages=True)


def test_a_folder_that_is_named_like_a_page_is_a_clear_error(results, tmp_path):
    (tmp_path / "report.html").mkdir()
    with pytest.raises(ConfigError, match="can't be written to"):
        command.report([results], tmp_path / "report.html")


def test_unreadable_files_are_listed_and_do_not_stop_it(results, tmp_path, capsys):
    (results / "cut.json").write_text('{"schema_version": 1, "key"')
    (results / "other.json").write_text('{"schema_version": 99}')
    command.report([results], tmp_path / "site")
    warned = capsys.readouterr().err
    text = (tmp_path / "site" / "index.html").read_text(encoding="utf-8")
    for name in ("cut.json", "other.json"):
        assert name in warned
        assert name in text
    assert "Unreadable files" in text


def test_a_link_to_a_record_elsewhere_is_named_and_not_read(results, tmp_path, suite):
    inside, outside = min(results.rglob("*.json")), tmp_path / "outside.json"
    outside.write_bytes(inside.read_bytes())
    (results / "a-link.json").symlink_to(outside)
    (results / "b-link.json").symlink_to(inside)
    records, problems = command.read([results])
    assert len(records) == len(suite)
    assert [problem.source for problem in problems] == [str(results / "a-link.json")]
    assert "it is a symbolic link" in problems[0].what


def test_a_record_that_breaks_the_page_is_left_out_by_name(results, tmp_path, suite, capsys, monkeypatch):
    """Whatever no rule foresaw: here a chart that can't draw one of the records."""
    from reports.pages import run_page

    drawn = run_page.traces

    def breaks(record, classes):
        if record == suite[0]:
            raise OverflowError("cannot convert float infinity to integer")
        return drawn(record, classes)

    monkeypatch.setattr(run_page, "traces", breaks)
    command.report([results], tmp_path / "site")
    said = capsys.readouterr()
    assert "seed1-" in said.err
    assert "can't be shown, and is left out: OverflowError: cannot convert" in said.err
    assert f"Report on {len(suite) - 1} runs" in said.out
    assert "and is left out" in (tmp_path / "site" / "index.html").read_text()


def test_errors_name_the_next_step(tmp_path):
    with pytest.raises(ConfigError, match=r"no results in .*\n.*adaptbench run base2new"):
        command.report([tmp_path], tmp_path / "site")
    with pytest.raises(ConfigError, match=r"no results folder .*missing"):
        command.report([tmp_path / "missing"], tmp_path / "site")
    (tmp_path / "bad.json").write_text("[]")
    with pytest.raises(ConfigError, match="no readable run record is in"):
        command.report([tmp_path], tmp_path / "site")
    assert not (tmp_path / "site").exists()


def test_an_output_that_is_a_file_is_a_clear_error(results, tmp_path):
    (tmp_path / "site").write_text("in the way")
    with pytest.raises(ConfigError, match="is a file, and a report is HTML"):
        command.report([results], tmp_path / "site")


def test_a_failed_write_leaves_the_old_page(tmp_path, monkeypatch):
    command.write(tmp_path, [("index.html", "old")])

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.replace", full)
    with pytest.raises(ConfigError, match="No space left"):
        command.write(tmp_path, [("index.html", "new")])
    assert [(p.name, p.read_text()) for p in tmp_path.iterdir()] == [("index.html", "old")]


def test_a_link_in_the_place_of_a_page_is_replaced_and_not_followed(tmp_path):
    elsewhere, site = tmp_path / "elsewhere", tmp_path / "site"
    elsewhere.write_text("mine")
    (site / "runs").mkdir(parents=True)
    names = ("runs/a.html", "index.html")
    for name in names:
        (site / name).symlink_to(elsewhere)
    command.write(site, [(name, name) for name in names])
    assert elsewhere.read_text() == "mine"
    assert [(site / name).read_text() for name in names] == list(names)


def test_a_link_in_the_place_of_a_folder_of_the_site_is_not_followed(tmp_path):
    elsewhere, site = tmp_path / "elsewhere", tmp_path / "site"
    elsewhere.mkdir()
    site.mkdir()
    (site / "runs").symlink_to(elsewhere)
    with pytest.raises(ConfigError, match="runs is a link"):
        command.write(site, [("runs/a.html", "a"), ("index.html", "i")])
    assert not [*elsewhere.iterdir()]


def test_as_a_typer_command(results, tmp_path):
    app = typer.Typer()
    app.command("report")(command.report)
    shown = CliRunner().invoke(app, [str(results), "-o", str(tmp_path / "site")])
    assert shown.exit_code == 0, shown.output
    assert "Report on 30 runs" in shown.output


def test_as_a_module_bad_usage_exits_with_two(tmp_path):
    done = subprocess.run([sys.executable, "-m", "reports", str(tmp_path)], capture_output=True, text=True, timeout=120)
    assert done.returncode == 2
    assert done.stderr.startswith("Error: there are no results in")
    assert "Traceback" not in done.stderr
