"""Trends: planted changes are found at their commit, nothing else is, and machines are never mixed."""

import random
import re
import subprocess
import sys
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import numpy as np
import pytest
from typer.testing import CliRunner

from harness.errors import ConfigError, DataError
from harness.gate import history
from harness.gate.history import Gate, Machine, Measured, Times
from harness.gate.verdict import Verdict
from reports.trends.change_points import changes, level_starts, series
from reports.trends.command import commits_between, trends
from reports.trends.page import trends_page

MACHINE = Machine(
    cpu="Example CPU 2.0 GHz", cpu_count=2, threads=2, platform="Linux x86_64", python="3.11.7", torch="2.15.0"
)
STEP = "tests/benchmarks/test_methods.py::test_step[coop]"
HOSTILE = "<script>alert(1)</script>\"'><img src=x onerror=alert(2)>\u202e\x07" + "x" * 10_000
START = datetime(2026, 1, 1, tzinfo=UTC)


def make_gate(
    number, seconds, *, commit=None, machine=MACHINE, name=STEP, flops=1_234_567, dirty=False, outcome="pass"
):
    when = START + timedelta(days=number)
    times = Times(rounds=20, min_seconds=seconds * 0.97, q1_seconds=seconds * 0.99, median_seconds=seconds,
                  q3_seconds=seconds * 1.02, max_seconds=seconds * 1.3)  # fmt: skip
    figures = {"flops": flops, "images_per_second": 4 / seconds}
    return Gate(
        recorded_at=when,
        commit=commit or f"{number + 1:07x}".ljust(40, "0"),
        commit_time=when,
        branch="main",
        dirty=dirty,
        machine=machine,
        benchmarks={name: Measured(times=times, figures=figures, exact=("flops",))},
        verdicts=(
            Verdict(benchmark=name, figure="seconds", outcome=outcome, why="" if outcome == "pass" else "Slower."),
        ),
    )


def noisy(count, seed, *, spread=0.03, change=0.0, at=20, outliers=1 / 15):
    """Seconds of `count` runs around 12 ms, `change` more of it from run `at` on; a share of runs takes a third longer."""
    chance = random.Random(seed)
    slow = [chance.random() < outliers for _ in range(count)]
    return [0.012 * (1 + change * (i >= at)) * (1 + chance.gauss(0, spread) + 0.33 * far) for i, far in enumerate(slow)]


def found(gates, figure="seconds"):
    """(commit of the first run after, percent) of each change of a figure."""
    of = [change for one in series(gates) if one.figure == figure for change in changes(one)]
    return [(change.first.gate.commit, change.percent) for change in of]


@pytest.fixture(scope="module")
def repository(tmp_path_factory):
    """A repository of sixty commits, one a day, the fortieth with a hostile subject: its folder and the commits, oldest first."""
    folder = tmp_path_factory.mktemp("repository")
    stream = ""
    for i in range(60):
        subject = f"{HOSTILE} 39" if i == 39 else f"change {i} <b>&amp;</b>"
        stream += f"commit refs/heads/main\ncommitter a <a@example.com> {int(START.timestamp()) + 43_200 * i} +0000\n"
        stream += f"data {len(subject.encode())}\n{subject}\n"
    subprocess.run(["git", "init", "-q", "-b", "main", folder], check=True)
    subprocess.run(["git", "-C", folder, "fast-import", "--quiet"], input=stream.encode(), check=True)
    log = subprocess.run(
        ["git", "-C", folder, "log", "--reverse", "--format=%H"], capture_output=True, text=True, check=True
    )
    return folder, log.stdout.split()


@pytest.fixture
def in_repository(repository, monkeypatch):
    monkeypatch.chdir(repository[0])
    return repository[1]


def test_a_planted_change_is_found_at_its_commit_with_the_commits_between(in_repository, tmp_path):
    """Thirty gates, one every second commit; from the twenty-first on 15 % slower."""
    measured = in_repository[1::2]
    for i, seconds in enumerate(noisy(30, seed=2, change=0.15)):
        history.write(tmp_path / "store", make_gate(i, seconds, commit=measured[i]))
    result = CliRunner().invoke(app(), [str(tmp_path / "store"), "-o", str(tmp_path / "out" / "trends.html")])
    assert result.exit_code == 0, result.output
    page = (tmp_path / "out" / "trends.html").read_text()
    (heading,) = re.findall("<h4><bdi>([0-9a-f]{9} to [0-9a-f]{9})</bdi></h4>", page)
    assert heading == f"{measured[19][:9]} to {measured[20][:9]}"
    between = page[page.index(heading) : page.index("The latest gate</h3>")]
    assert re.findall("<code>([0-9a-f]{9})</code>", between) == [in_repository[41][:9], in_repository[40][:9]]
    assert "2 commits between" in between
    (percent,) = re.findall(r"\+([\d.]+) %</bdi>", between)
    assert 10 < float(percent) < 20


def app():
    import typer

    command = typer.Typer()
    command.command()(trends)
    return command


def test_no_change_is_found_in_a_store_without_one():
    assert found([make_gate(i, seconds) for i, seconds in enumerate(noisy(30, 2))]) == []


def test_hardly_any_change_is_found_where_there_is_none_and_planted_ones_are_placed():
    """Of 200 stores without a change about four are thought to have one (docs/gate.md); 15 % at the twenty-first run."""
    assert sum(bool(level_starts(np.array(noisy(30, seed)))) for seed in range(200)) <= 9
    places = [level_starts(np.array(noisy(30, seed, change=0.15))) for seed in range(40)]
    assert sum(starts in ([19], [20], [21]) for starts in places) >= 36


def test_two_slow_runs_are_no_change_and_three_may_be():
    values = noisy(20, 3, spread=0.01, outliers=0)
    assert level_starts(np.array([*values[:10], 0.03, 0.03, *values[10:]])) == []
    assert level_starts(np.array([*values, 0.03, 0.03, 0.03])) == [20]


def test_few_runs_are_not_searched_and_the_page_says_so():
    gates = [make_gate(i, 0.01 if i < 4 else 0.02) for i in range(9)]
    assert found(gates) == []
    assert "change points are searched for from 10 runs on" in trends_page(gates, [], lambda a, b: None)


def test_an_exact_figure_changes_at_once_and_unmeasured_code_is_left_out():
    gates = [make_gate(i, 0.01, flops=100 + (i == 4), dirty=i == 2) for i in range(5)]
    gates[2] = make_gate(2, 0.01, flops=777, dirty=True)
    assert found(gates, "flops") == [(gates[4].commit, pytest.approx(1.0))]
    assert found(gates, "images_per_second") == []


def test_figures_of_two_machines_never_meet():
    other = replace(MACHINE, cpu="Another CPU", torch="2.16.0")
    gates = [
        make_gate(i, s * (1 + i % 2), machine=(MACHINE, other)[i % 2], flops=5 + i % 2)
        for i, s in enumerate(noisy(30, 2, spread=0.01))
    ]
    page = trends_page(gates, [], lambda a, b: None)
    assert page.count("Nothing was found to change.") == 2
    assert [page.count(f"<h2><bdi>{cpu}, 2 threads</bdi></h2>") for cpu in (MACHINE.cpu, other.cpu)] == [1, 1]
    assert "Figures of unlike machines are never mixed" in page
    ticks = [set(re.findall(r">([0-9a-f]{7})</text>", part)) for part in page.split('<section id="m')[1:]]
    assert ticks[0]
    assert ticks[1]
    assert not ticks[0] & ticks[1]


def test_without_ruptures_the_page_says_what_is_missing_and_exact_figures_are_still_compared(monkeypatch):
    monkeypatch.setitem(sys.modules, "ruptures", None)
    gates = [make_gate(i, 0.01 if i < 10 else 0.02, flops=100 if i < 12 else 150) for i in range(20)]
    page = trends_page(gates, [], lambda a, b: None)
    assert "pip install ruptures" in page
    assert "+50 %" in page
    assert "+100 %" not in page


def test_the_latest_figures_are_seen_against_the_last_gate_that_passed():
    gates = [
        make_gate(0, 0.010),
        make_gate(1, 0.020, outcome="regression"),
        make_gate(2, 0.040, dirty=True),
        make_gate(3, 0.011),
    ]
    page = trends_page(gates, [], lambda a, b: None)
    latest = page[page.index("The latest gate</h3>") : page.index("Times over commits")]
    assert f"{gates[0].commit[:9]}, 2026-01-01" in latest
    assert "+10 %" in latest


def test_one_commit_measured_twice_explains_nothing():
    gates = [make_gate(i, 0.01, commit="a" * 40, flops=1 + i) for i in range(2)]
    assert "The same commit was measured twice" in trends_page(gates, [], commits_between)


def test_commits_that_git_does_not_know_are_said_to_be_unknown(in_repository):
    assert commits_between("a" * 40, "b" * 40) is None
    page = trends_page([make_gate(i, 0.01, flops=1 + i) for i in range(2)], [], commits_between)
    assert "The commits between are not known here" in page


def test_hostile_names_branches_and_reasons_are_text():
    gates = [replace(make_gate(i, 0.01, name=HOSTILE, flops=1 + i, machine=replace(MACHINE, cpu=HOSTILE)), branch=HOSTILE,
                     verdicts=(Verdict(benchmark=HOSTILE, figure=HOSTILE, outcome="regression", why=HOSTILE),))
             for i in range(2)]  # fmt: skip
    page = trends_page(gates, [DataError(HOSTILE, HOSTILE)], lambda a, b: [(HOSTILE, HOSTILE)])
    assert page.count("<script>") == 1
    assert "<img" not in page
    assert "\u202e" not in page
    assert "\x07" not in page


def test_the_page_is_one_file_that_asks_for_nothing_and_is_the_same_again():
    gates = [make_gate(i, s) for i, s in enumerate(noisy(12, 1))]
    page = trends_page(gates, [], lambda a, b: None)
    assert "default-src &#39;none&#39;" in page
    assert not re.findall(r"""(?:src|href)="(?!#|data:)""", page)
    assert page == trends_page(gates, [], lambda a, b: None)


def test_an_empty_store_and_a_broken_file_are_named(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "store").mkdir()
    (tmp_path / "store" / "cut.json").write_text("{")
    with pytest.raises(ConfigError, match="there is no recorded gate"):
        trends(tmp_path / "store", tmp_path / "trends.html")
    history.write(tmp_path / "store", make_gate(0, 0.01))
    trends(tmp_path / "store", tmp_path / "trends.html")
    assert "cut.json is no recorded gate" in (tmp_path / "trends.html").read_text()


@pytest.fixture(scope="module")
def varied_page():
    """Two machines, a change with its commits, an exact change, a regression, a dirty run, a benchmark that went, a broken file."""
    other = replace(MACHINE, cpu="Another CPU")
    slower = [make_gate(i, s, flops=5_000_000 + 9 * (i > 7)) for i, s in enumerate(noisy(24, 1, change=0.2, at=12))]
    slower[12] = replace(
        slower[12], verdicts=(Verdict(benchmark=STEP, figure="seconds", outcome="regression", why="Slower. " * 30),)
    )
    slower[15] = replace(slower[15], dirty=True)
    slower[3] = replace(
        slower[3], benchmarks={**slower[3].benchmarks, "gone": Measured(times=None, figures={}, exact=())}
    )
    few = [make_gate(i, 0.03, machine=other, name=HOSTILE) for i in range(3)]
    commits = [(f"{i:040x}", HOSTILE if i == 2 else f"subject {i}") for i in range(7)]
    return trends_page(
        [*slower, *few], [DataError("cut.json is no recorded gate.", "Delete it.")], lambda a, b: commits
    )


@pytest.mark.browser
@pytest.mark.parametrize(("width", "scheme", "rules"), [(1280, "light", None), (400, "dark", ["color-contrast"])])
def test_it_opens_clean_fits_and_breaks_no_rule_of_axe(open_page, varied_page, violations, width, scheme, rules):
    tab = open_page(varied_page, viewport={"width": width, "height": 900}, color_scheme=scheme)
    tab.evaluate("document.querySelectorAll('details').forEach(d => { d.open = true; })")
    assert tab.evaluate("document.documentElement.scrollWidth <= window.innerWidth")
    assert tab.locator("img").count() == 0
    assert violations(tab, rules) == []
    assert tab.seen == []


@pytest.mark.browser
def test_all_is_there_without_javascript(open_page, varied_page):
    tab = open_page(varied_page, java_script_enabled=False)
    assert tab.locator(".plot svg").count() == 2
    assert tab.locator("h4", has_text="to").count() == 2
    assert tab.locator("#m1-step1 tbody tr").count() == 1
    assert tab.seen == []
