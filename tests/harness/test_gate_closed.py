"""The gate fails closed: whatever keeps it from comparing is named, with its next step and exit code 2. Real pytest sessions."""

import json
import platform
import subprocess
import sys

import pytest
import typer
from typer.testing import CliRunner

from harness.errors import ConfigError, DataError
from harness.gate import baseline, thresholds
from harness.gate.baseline import Platform, this_platform
from harness.gate.command import gate
from harness.gate.exact import compare
from harness.gate.measure import measure

PROJECT = """
[project]
name = "tiny-project"
[tool.pytest.ini_options]
addopts = "{addopts}"
"""
TESTS = """
import pytest

@pytest.mark.parametrize("size", [10, 1000])
def test_sum(benchmark, size):
    benchmark(sum, range(size))
    benchmark.extra_info.update(additions=size, exact=["additions"])

def test_answers(benchmark):
    benchmark.pedantic(sum, (range(10),), rounds=1)
    benchmark.extra_info.update(correct=7, exact_per_platform=["correct"], timed=False)

def test_time_alone(benchmark):
    benchmark(sorted, range(100))

def test_no_benchmark():
    raise AssertionError
"""
SUMS = ["test_sum[10]", "test_sum[1000]"]
FOLDER = "tests/benchmarks"
FILE = f"{FOLDER}/test_tiny.py"


@pytest.fixture(autouse=True)
def alone(monkeypatch):
    """As outside pytest."""
    monkeypatch.delenv("PYTEST_ADDOPTS", raising=False)


def make(folder, tests=TESTS, addopts=""):
    """A project with benchmarks; returns their folder."""
    (folder / FOLDER).mkdir(parents=True)
    (folder / "pyproject.toml").write_text(PROJECT.format(addopts=addopts))
    (folder / FILE).write_text(tests)
    return folder / FOLDER


def run(*words):
    """``adaptbench gate``: its exit code and what it printed, in one line."""
    app = typer.Typer()
    app.command()(gate)
    result = CliRunner().invoke(app, [str(word) for word in words])
    if result.exception and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result.exit_code, " ".join(result.output.split())


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    """A project whose baseline was written by --update; addopts that switch benchmarks off are outvoted."""
    tests = make(tmp_path_factory.mktemp("tiny"), addopts="--benchmark-disable --benchmark-skip")
    code, text = run(tests, "--update")
    assert code == 0, text
    return tests


@pytest.fixture(scope="module")
def measured(tiny):
    return measure(tiny)


@pytest.fixture
def content(tiny):
    """The baseline's JSON, to be changed."""
    return json.loads((tiny / "baseline.json").read_text())


def verdicts(content, measured, here=None):
    """What did not pass: (benchmark's name, figure) to verdict."""
    found = compare(baseline.parsed(content), measured, here or this_platform())
    return {(v.benchmark.rpartition("::")[2], v.figure): v for v in found if v.outcome != "pass"}


def the_one(found):
    (verdict,) = found.values()
    return verdict


def entry(content, name):
    return next(e for e in content["benchmarks"] if e["name"] == name)


class TestPass:
    def test_every_figure_is_compared_on_every_benchmark(self, content, measured):
        found = compare(baseline.parsed(content), measured, this_platform())
        assert [(v.benchmark.rpartition("::")[2], v.figure, v.base, v.head, v.outcome) for v in found] == [
            ("test_sum[10]", "additions", 10, 10, "pass"),
            ("test_sum[1000]", "additions", 1000, 1000, "pass"),
            ("test_answers", "correct", 7, 7, "pass"),
            ("test_time_alone", "", None, None, "pass"),
        ]

    def test_the_command_passes_and_says_what_it_left_out(self, tiny, tmp_path):
        code, text = run(tiny, "--json", tmp_path / "new" / "verdicts.json")
        assert (code, "--base REF" in text) == (0, True)
        assert "3 exact figures, of 4 benchmarks" in text
        written = json.loads((tmp_path / "new" / "verdicts.json").read_text())
        assert (written["exit_code"], written["base"], len(written["verdicts"])) == (0, None, 4)

    def test_pytest_benchmarks_own_command_reads_the_baseline(self, tiny, tmp_path):
        command = [sys.executable, "-m", "pytest_benchmark", "compare", str(tiny / "baseline.json"), "--columns=min"]
        done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path)
        assert done.returncode == 0, done.stderr
        assert all(name in done.stdout for name in SUMS)

    def test_it_names_no_host_and_no_folder(self, tiny):
        text = (tiny / "baseline.json").read_text()
        assert platform.node() not in text
        assert str(tiny.parent.parent) not in text


class TestBenchmarks:
    def test_missing(self, content, measured):
        content["benchmarks"].append(entry(content, "test_answers") | {"fullname": f"{FILE}::test_gone"})
        verdict = the_one(verdicts(content, measured))
        assert (verdict.outcome, verdict.benchmark) == ("unusable", f"{FILE}::test_gone")
        assert "no longer in the tests" in verdict.why
        assert "--update" in verdict.why

    def test_renamed(self, content, measured):
        entry(content, "test_sum[10]")["fullname"] = f"{FILE}::test_add[10]"
        found = verdicts(content, measured)
        assert {v.outcome for v in found.values()} == {"unusable"}
        assert f"perhaps it is '{FILE}::test_sum[10]' now" in found["test_add[10]", ""].why
        assert "It is new" in found["test_sum[10]", ""].why

    def test_new(self, content, measured):
        content["benchmarks"].remove(entry(content, "test_sum[10]"))
        verdict = the_one(verdicts(content, measured))
        assert (verdict.outcome, verdict.benchmark) == ("unusable", f"{FILE}::test_sum[10]")

    def test_skipped_disabled_failing_unused_and_without_a_number(self, tmp_path):
        tests = make(tmp_path, AMISS)
        code, text = run(tests, "--update")
        assert code == 2
        assert not (tests / "baseline.json").exists()
        for name, what in {
            "test_skipped": "It was skipped: no time today.",
            "test_expected_to_fail": "It was skipped: it is expected to fail: not yet.",
            "test_failing": "It failed: assert 1 == 2.",
            "test_disabled": "It ran, but was disabled",
            "test_idle": "It ran, but never called its fixture: nothing was measured. Call it in the test",
            "test_null": "It names figures that are no numbers: flops, bytes.",
            "test_bad_fixture": "It failed: RuntimeError: broken",
        }.items():
            assert f"{FILE}::{name}: {what}" in text
        assert "test_fine" not in text

    def test_deselected_by_addopts(self, tmp_path, content):
        tests = make(tmp_path, addopts="-k sum")
        found = verdicts(content, measure(tests))
        assert set(found) == {("test_answers", ""), ("test_time_alone", "")}
        assert all("was deselected by -k" in v.why and "--only" in v.why for v in found.values())

    def test_what_others_deselect_is_not_excused_by_only(self, tmp_path, content):
        tests = make(tmp_path, addopts=f"-m 'not parametrize' --deselect={FILE}::test_time_alone")
        (tests / "conftest.py").write_text(
            "def pytest_collection_modifyitems(items): items[:] = [i for i in items if i.name != 'test_answers']"
        )
        found = verdicts(content, measure(tests, only="test"))
        assert set(found) == {(name, "") for name in (*SUMS, "test_answers", "test_time_alone")}
        assert all("It was deselected." in v.why for v in found.values())

    def test_left_out_on_request(self, tiny, content):
        part = measure(tiny, only="sum")
        assert [e["name"] for e in part.report["benchmarks"]] == SUMS
        assert verdicts(content, part) == {}
        content["benchmarks"].append(entry(content, "test_answers") | {"fullname": f"{FILE}::test_gone"})
        assert set(verdicts(content, part)) == {("test_gone", "")}

    def test_a_file_that_cannot_be_imported(self, tmp_path, content):
        tests = make(tmp_path, "import no_such_module")
        found = verdicts(content, measure(tests))
        assert "can't be collected: " in found[FILE, ""].why
        assert "no_such_module" in found[FILE, ""].why
        assert len(found) == 1 + len(content["benchmarks"])

    def test_a_session_that_breaks_off(self, tmp_path):
        tests = make(tmp_path)
        (tests / "conftest.py").write_text("def pytest_sessionfinish(): raise RuntimeError('no disk')")
        with pytest.raises(DataError, match=r"pytest ended with exit code \d"):
            measure(tests)

    def test_none_at_all(self, tmp_path, tiny):
        with pytest.raises(DataError, match="there is no benchmark in"):
            measure(make(tmp_path, "def test_nothing(): pass"))
        with pytest.raises(DataError, match="--only 'subtraction' picks none"):
            measure(tiny, only="subtraction")


AMISS = """
import pytest

@pytest.mark.skip(reason="no time today")
def test_skipped(benchmark):
    benchmark(int)

@pytest.mark.xfail(reason="not yet")
def test_expected_to_fail(benchmark):
    benchmark(int)
    raise ValueError

def test_failing(benchmark):
    benchmark(int)
    assert 1 == 2

def test_disabled(benchmark):
    benchmark.disabled = True
    benchmark(int)

def test_idle(benchmark):
    assert benchmark.enabled

def test_null(benchmark):
    benchmark(int)
    benchmark.extra_info.update(flops=None, bytes=float("nan"), exact=["flops", "bytes"])

@pytest.fixture
def broken():
    yield
    raise RuntimeError("broken")

def test_bad_fixture(benchmark, broken):
    benchmark(int)

def test_fine(benchmark):
    benchmark(int)
"""


class TestXdist:
    @pytest.mark.parametrize("addopts", ["-n 2", "--dist=each --tx=2*popen"])
    def test_in_addopts(self, tmp_path, addopts, tiny):
        tests = make(tmp_path, addopts=addopts)
        (tests / "baseline.json").write_bytes((tiny / "baseline.json").read_bytes())
        code, text = run(tests)
        assert code == 2
        assert "under pytest-xdist" in text
        assert "PYTEST_ADDOPTS=-n0 adaptbench gate" in text

    def test_the_next_step_it_names_helps(self, tmp_path, content, monkeypatch):
        monkeypatch.setenv("PYTEST_ADDOPTS", "-n0")
        assert verdicts(content, measure(make(tmp_path, addopts="-n 2"))) == {}


class TestBaseline:
    def test_none(self, tmp_path):
        code, text = run(make(tmp_path))
        assert code == 2
        assert "there is no baseline" in text.lower()
        assert "adaptbench gate --update" in text

    @pytest.mark.parametrize("kept", [0, 100, 0.5, 0.99])
    def test_truncated(self, tmp_path, tiny, kept):
        tests = make(tmp_path)
        whole = (tiny / "baseline.json").read_bytes()
        (tests / "baseline.json").write_bytes(whole[: int(kept if kept >= 1 else kept * len(whole))])
        code, text = run(tests)
        assert code == 2
        assert "is no whole baseline" in text
        assert "git checkout" in text

    def test_emptied(self, content, tmp_path):
        tests = make(tmp_path)
        baseline.write(tests / "baseline.json", content | {"benchmarks": []})
        assert run(tests)[0] == 2

    def test_another_tools(self, content, tmp_path):
        tests = make(tmp_path)
        del content["adaptbench"]
        (tests / "baseline.json").write_text(json.dumps(content))
        code, text = run(tests)
        assert (code, "another tool's" in text) == (2, True)

    def test_another_projects(self, content, measured):
        content["adaptbench"]["project"] = "somebody-elses"
        with pytest.raises(DataError, match="is of the project 'somebody-elses'; this is 'tiny-project'"):
            verdicts(content, measured)

    def test_answers_of_another_platform(self, content, measured):
        here = this_platform()
        verdict = the_one(verdicts(content, measured, Platform(here.software, f"Other CPU, {here.software}")))
        assert (verdict.outcome, verdict.benchmark) == ("unusable", f"{FILE}::test_answers")
        assert here.name in verdict.why

    def test_a_difference_under_other_software_is_no_regression_and_no_pass(self, content, measured):
        content["adaptbench"]["software"] = "Plan 9, torch 1.0"
        assert verdicts(content, measured) == {}
        entry(content, "test_sum[10]")["extra_info"]["additions"] = 11
        verdict = the_one(verdicts(content, measured))
        assert verdict.outcome == "unusable"
        assert "Plan 9, torch 1.0" in verdict.why


class TestUpdate:
    def test_it_shows_what_changes_and_keeps_the_rest_as_it_was(self, tmp_path, content):
        tests = make(tmp_path)
        changed = entry(content, "test_sum[10]")
        changed["extra_info"]["additions"] = 11
        content["benchmarks"].append(changed | {"fullname": f"{FILE}::test_gone"})
        del entry(content, "test_answers")["extra_info"]["timed"]
        baseline.write(tests / "baseline.json", content)
        code, text = run(tests, "--update")
        assert code == 0
        assert f"{FILE}::test_sum[10], additions: 11 -> 10" in text
        assert f"{FILE}::test_gone: taken out" in text
        assert f"{FILE}::test_answers, timed: yes -> no" in text
        assert "test_sum[1000]" not in text
        after = json.loads((tests / "baseline.json").read_text())
        assert len(after["benchmarks"]) == 4
        assert entry(after, "test_sum[1000]") == entry(content, "test_sum[1000]")
        assert entry(after, "test_sum[10]")["stats"] != changed["stats"]

    def test_answers_of_other_platforms_stay(self, content, measured):
        old, elsewhere = baseline.parsed(content), Platform("Linux, torch 9", "Other CPU, Linux, torch 9")
        new = baseline.parsed(baseline.updated(old, measured.report, "tiny-project", elsewhere))
        answers = new.benchmarks[f"{FILE}::test_answers"].per_platform
        assert answers == {this_platform().name: {"correct": 7}, elsewhere.name: {"correct": 7}}
        assert new.software == "Linux, torch 9"

    @pytest.mark.parametrize("option", [["--base", "HEAD"], ["--only", "sum"], ["--record", "store"]])
    def test_it_takes_the_whole_run(self, tiny, option):
        with pytest.raises(ConfigError, match="the whole run"):
            run(tiny, "--update", *option)


class TestFigures:
    @pytest.mark.parametrize("before", [11, 9])
    def test_any_difference_fails_for_better_or_worse(self, content, measured, before):
        entry(content, "test_sum[10]")["extra_info"]["additions"] = before
        verdict = the_one(verdicts(content, measured))
        assert (verdict.outcome, verdict.base, verdict.head) == ("regression", before, 10)
        assert "adaptbench gate --update" in verdict.why

    def test_answers_too(self, content, measured):
        entry(content, "test_answers")["extra_info"]["per_platform"][this_platform().name]["correct"] = 8
        assert the_one(verdicts(content, measured)).outcome == "regression"

    def test_one_that_only_one_side_has(self, content, measured):
        extra = entry(content, "test_sum[10]")["extra_info"]
        extra["bytes"] = extra.pop("additions")
        found = verdicts(content, measured)
        assert {v.outcome for v in found.values()} == {"unusable"}
        assert "missing in this run" in found["test_sum[10]", "bytes"].why
        assert "missing in the baseline" in found["test_sum[10]", "additions"].why

    @pytest.mark.parametrize(
        ("name", "extra", "where"),
        [
            ("test_sum[10]", {"timed": False}, "The baseline keeps it out"),
            ("test_answers", {}, "This run takes it out"),
        ],
    )
    def test_a_benchmark_leaves_and_joins_the_timed_gate_by_update_alone(self, content, measured, name, extra, where):
        entry(content, name)["extra_info"].pop("timed", None)
        entry(content, name)["extra_info"] |= extra
        verdict = the_one(verdicts(content, measured))
        assert (verdict.outcome, verdict.benchmark) == ("unusable", f"{FILE}::{name}")
        assert where in verdict.why
        assert "adaptbench gate --update" in verdict.why


class TestThresholds:
    @pytest.mark.parametrize(
        "text", ["0.05", "5", "mean:0.05", "mean:5%", "0.05%", "test_sum=0.05", "=5%", "", "%", "-5%", "five%"]
    )
    def test_anything_but_a_percentage_is_refused(self, tiny, text):
        with pytest.raises(ConfigError, match="no percentage") as error:
            run(tiny, "--threshold", text)
        assert "Write 5%" in error.value.advice

    def test_by_name(self):
        names = [f"{FILE}::{name}" for name in ("test_sum[10]", "test_sum[a=b]", "test_time")]
        limits = thresholds.parsed(["7.5%", "test_sum[*=10%", f"{FILE}::test_sum[a=b]=20%"])
        assert thresholds.for_each(limits, names) == dict(zip(names, [10, 20, 7.5], strict=True))
        assert set(thresholds.for_each(thresholds.parsed([]), names).values()) == {5}
        with pytest.raises(ConfigError, match="no benchmark has this name"):
            thresholds.for_each(thresholds.parsed(["test_sun=5%"]), names)


def test_tests_that_are_not_there(tmp_path):
    with pytest.raises(ConfigError, match="there are no tests"):
        run(tmp_path / "benchmarks")
