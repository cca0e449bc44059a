"""The timed gate with real processes, on benchmarks that take milliseconds; what is asserted of times holds on a busy machine."""

import json
import os
import re
import subprocess
import sys
import sysconfig
import venv
import zipfile
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import pytest
import typer
from typer.testing import CliRunner

from harness.errors import ConfigError
from harness.gate import history, pytest_worker, timed
from harness.gate.baseline import this_platform
from harness.gate.command import gate as gate_command
from harness.gate.markdown import MARKER
from harness.gate.timed import Comparison, compare, timed_gate
from harness.gate.verdict import exit_code
from harness.gate.worker_client import Side, Turn
from harness.gate.worktree import base_checkout

SUMS = """
import os, time
import pytest

UNITS = {units}
ON_HEAD = os.environ.get("SIDE") == "head"

def work(units):
    for _ in range(units):
        sum(range(3000))

def test_same(benchmark):
    benchmark(work, 20)

def test_slower(benchmark):
    benchmark(work, 60 if ON_HEAD else 20)

def test_fresh_arguments(benchmark):
    assert benchmark.pedantic(list.pop, setup=lambda: (([1],), {{}}), rounds=3) == 1

def test_one_thread(benchmark):
    benchmark(work, 1)
    assert (os.environ["OMP_NUM_THREADS"], os.environ["OMP_WAIT_POLICY"]) == ("1", "PASSIVE")

if ON_HEAD:
    @pytest.fixture
    def borrowed():
        pass

def test_borrows(benchmark, borrowed):
    benchmark(work, 1)

@pytest.mark.skipif(ON_HEAD, reason="no GPU")
def test_skips(benchmark):
    benchmark(work, 1)

def test_never_calls_it(benchmark):
    assert ON_HEAD in (True, False)

def test_wrong_result(benchmark):
    benchmark(work, 1)
    assert benchmark.stats["median"] > 0 and not ON_HEAD, "a wrong result"

def test_dies(benchmark):
    print("about to die", flush=True)
    benchmark(os._exit if ON_HEAD else work, 7)

def test_hangs(benchmark):
    benchmark(time.sleep if ON_HEAD else work, 1000)

def test_committed(benchmark):
    benchmark(work, UNITS)
"""
OK = ("same", "slower", "fresh_arguments", "one_thread")
AMISS = ("borrows", "skips", "never_calls_it", "wrong_result", "dies")


def named(*names, file="test_sums.py"):
    return [f"{file}::test_{name}" for name in names]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("project")
    (folder / "test_sums.py").write_text(SUMS.format(units=20))
    (folder / "test_broken.py").write_text("import no_such_module\n\ndef test_it(benchmark): ...\n")
    (folder / "pytest.ini").write_text(
        "[pytest]\nfilterwarnings = error\naddopts = --benchmark-disable --benchmark-skip\n"
    )
    return folder


def sides(folder, python=sys.executable):
    return [
        Side(name=name, python=Path(python), folder=folder, environment={"SIDE": name}) for name in ("base", "head")
    ]


def gate(base, head, names, budget_seconds=40, say=lambda line: None, **how):
    limits = dict.fromkeys(names, 5.0)
    return compare(base, head, names, thresholds_percent=limits, budget_seconds=budget_seconds, say=say, **how)


@pytest.fixture(scope="module")
def gated(folder):
    """One gate of good and bad benchmarks, under a setting that it outvotes: its comparisons by name, and what it said."""
    names = [*named(*OK, *AMISS), "test_broken.py::test_it", *named("renamed"), "test_gone.py::test_it"]
    said = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("OMP_NUM_THREADS", "7")
        patch.setenv("OMP_WAIT_POLICY", "ACTIVE")
        return {c.benchmark: c for c in gate(*sides(folder), names, say=said.append)}, said


def found(gated, name):
    (verdict,) = (c.verdict for c in gated[0].values() if c.benchmark.endswith(name))
    return verdict


def test_a_threefold_slowdown_is_a_regression_in_three_launches(gated):
    verdict = found(gated, "test_slower")
    assert verdict.outcome == "regression", verdict
    assert verdict.slowdown_percent > 50
    assert verdict.interval_percent[0] > 5
    assert verdict.head > verdict.base > 0
    assert "in 3 launches" in verdict.why
    assert verdict.pairs >= 27


@pytest.mark.parametrize("name", ["same", "fresh_arguments", "one_thread"])
def test_the_same_code_is_no_regression(gated, name):
    verdict = found(gated, name)
    assert verdict.outcome in ("pass", "inconclusive"), verdict
    assert verdict.figure == "seconds"


def test_both_sides_do_the_same_rounds(gated):
    comparison = gated[0]["test_sums.py::test_slower"]
    pairs = sum(map(len, comparison.launches))
    assert len(comparison.raw_seconds["base"]) == len(comparison.raw_seconds["head"]) > pairs >= 27
    assert comparison.spent_seconds > sum(map(sum, comparison.raw_seconds.values()))


class Scripted:
    """A side whose turns are noted; each takes the same time."""

    def __init__(self, name, call_seconds, turns):
        self.side = SimpleNamespace(name=name)
        self._seconds, self._turns = call_seconds, turns

    def turn(self, rounds, calls):
        self._turns.append((self.side.name, rounds, calls))
        return Turn([(self._seconds, 0.0)] * rounds, alone=True)


@pytest.mark.parametrize(("call_seconds", "rounds", "calls"), [(1e-4, 25, 20), (0.01, 5, 1), (2.0, 1, 1)])
def test_turns_alternate_and_each_side_begins_every_other_pair(call_seconds, rounds, calls):
    comparison, turns = Comparison("test_a.py::test_a", 5.0, 40), []
    timed._take_turns(Scripted("base", 1.0, turns), Scripted("head", 1.5, turns), comparison, call_seconds=call_seconds)
    there_and_back = ["base", "head", "head", "base"]
    assert [name for name, _, _ in turns] == (there_and_back * 9)[: 2 * timed.FEWEST_PAIRS]
    assert {(asked, done) for _, asked, done in turns} == {(rounds, calls)}
    assert comparison.launches == [[(1.0, 1.5)] * timed.FEWEST_PAIRS]


@pytest.mark.parametrize(("alone", "pair"), [((True, True), (0.9, 2.0)), ((True, False), (1.0, 3.0))])
def test_the_wait_for_a_core_is_taken_off_both_sides_or_none(alone, pair):
    base = Turn([(1.0, 0.0), (1.2, 0.3)], alone[0])
    head = Turn([(3.0, 1.0), (4.0, 1.9)], alone[1])
    assert timed._pair(base, head) == pytest.approx(pair)


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("borrows", "At base, the test failed: (.|\n)*fixture 'borrowed' not found(.|\n)*installed by --install"),
        ("skips", "At head, the test skipped: no GPU"),
        ("never_calls_it", "never called its `benchmark`|Benchmark fixture was not used at all"),
        ("wrong_result", "At head, the test failed after its turns:(.|\n)*a wrong result"),
        (
            "dies",
            r"the head's pytest ended too early \(exit code 7\)(.|\n)*Run `pytest test_sums.py::test_dies` by itself",
        ),
        ("broken.py::test_it", "file can't be collected:(.|\n)*no_such_module"),
        ("renamed", "was deleted or renamed"),
        ("gone.py::test_it", "was deleted or renamed"),
    ],
)
def test_what_cannot_be_compared_is_named(gated, name, reason):
    verdict = found(gated, name)
    assert verdict.outcome == "unusable"
    assert verdict.slowdown_percent is verdict.base is None
    assert re.search(reason, verdict.why), verdict.why


def test_the_worst_counts(gated):
    assert exit_code(c.verdict for c in gated[0].values()) == 2


def test_a_benchmark_that_hangs_is_stopped(folder):
    (comparison,) = gate(*sides(folder), named("hangs"), patience_seconds=4)
    assert comparison.verdict.outcome == "unusable"
    assert "said nothing for 4 s and was stopped" in comparison.verdict.why


def test_a_small_budget_is_inconclusive(folder):
    (comparison,) = gate(*sides(folder), named("slower"), budget_seconds=0.01)
    verdict = comparison.verdict
    assert verdict.outcome == "inconclusive"
    assert verdict.interval_percent is None
    assert "budget above 0.01 s" in verdict.why


@pytest.mark.parametrize(
    ("addopts", "reason"),
    [
        ("-n 2", "take pytest-xdist's -n out of addopts"),
        ("--no-such-option", "unrecognized arguments: --no-such-option"),
    ],
)
def test_options_that_make_timing_impossible_are_named(tmp_path, addopts, reason):
    (tmp_path / "test_sums.py").write_text(SUMS.format(units=20))
    (tmp_path / "pytest.ini").write_text(f"[pytest]\naddopts = {addopts}\n")
    (comparison,) = gate(*sides(tmp_path), named("same"))
    assert comparison.verdict.outcome == "unusable"
    assert reason in comparison.verdict.why


def test_a_base_without_pytest_is_named(folder, tmp_path):
    venv.create(tmp_path, symlinks=os.name != "nt")
    python = tmp_path / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
    (comparison,) = gate(sides(folder, python)[0], sides(folder)[1], named("same"))
    assert "the base's pytest ended too early" in comparison.verdict.why
    assert "No module named pytest" in comparison.verdict.why


def warm_up(monkeypatch, call_seconds):
    """What `warmed_up` returns, and the calls it asked for a round, where a call takes these seconds, one round after the other."""
    now, asked, left = [0.0], [], list(call_seconds)

    def work(calls):
        asked.append(calls)
        now[0] += calls * (left.pop(0) if len(left) > 1 else left[0])

    monkeypatch.setattr(pytest_worker, "time", SimpleNamespace(perf_counter=lambda: now[0]))
    return pytest_worker.warmed_up(work), asked


@pytest.mark.parametrize(
    ("call_seconds", "result", "asked"),
    [
        ([0.5, 0.2, 0.102, 0.1], 0.1, [1] * 4),  # two rounds agree
        ([3.0, 2.0], 2.0, [1] * 2),  # the time is over
        ([1e-4], 1e-4, [1, 2, 4, 8, 16, 16]),  # a round has to be long enough to be timed
    ],
)
def test_warm_up(monkeypatch, call_seconds, result, asked):
    seconds, calls = warm_up(monkeypatch, call_seconds)
    assert seconds == pytest.approx(result)
    assert calls == asked


WAITING = """
import os, threading, time
from harness.gate import pytest_worker

os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})

def work(until=0.3):
    started = time.perf_counter()
    while time.perf_counter() - started < until: ...

wall, waited = pytest_worker.clocked(work)
others = pytest_worker._other_threads_seconds()
thread = threading.Thread(target=sum, args=(range(3000000),))
thread.start()
thread.join()
print(wall, waited, pytest_worker._other_threads_seconds() - others)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="Linux alone counts waits")
def test_what_others_take_is_seen():
    """Two processes that share a core: whatever else runs, the two waits hold what the other one had."""
    processes = [subprocess.Popen([sys.executable, "-c", WAITING], stdout=subprocess.PIPE, text=True) for _ in range(2)]
    found = [tuple(map(float, process.communicate(timeout=300)[0].split())) for process in processes]
    assert all(0 <= waited < wall for wall, waited, _ in found)
    assert sum(waited for _, waited, _ in found) > 0
    assert all(others > 0 for _, _, others in found)


def git(folder, *words):
    identity = ("-c", "user.name=a", "-c", "user.email=a@b.c")
    return subprocess.run(["git", *identity, *words], cwd=folder, check=True, capture_output=True, text=True).stdout


@pytest.fixture(scope="module")
def repository(tmp_path_factory):
    """A clone whose last commit makes a benchmark slower; its packages come from this environment, by a wheel."""
    top = tmp_path_factory.mktemp("repository")
    benchmarks = top / "sub" / "benchmarks"
    benchmarks.mkdir(parents=True)
    with zipfile.ZipFile(top / "sub" / "borrowed-1.0-py3-none-any.whl", "w") as wheel:
        wheel.writestr("borrowed.pth", f"import site; site.addsitedir({sysconfig.get_path('purelib')!r})")
        about = "borrowed-1.0.dist-info"
        wheel.writestr(f"{about}/METADATA", "Metadata-Version: 2.1\nName: borrowed\nVersion: 1.0\n")
        wheel.writestr(f"{about}/WHEEL", "Wheel-Version: 1.0\nGenerator: a\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        wheel.writestr(f"{about}/RECORD", f"borrowed.pth,,\n{about}/METADATA,,\n{about}/WHEEL,,\n{about}/RECORD,,\n")
    (top / "sub" / "pytest.ini").write_text("[pytest]\n")
    (benchmarks / "test_sums.py").write_text(SUMS.format(units=20))
    git(top, "init", "-q")
    git(top, "add", ".")
    git(top, "commit", "-qm", "base")
    (benchmarks / "test_sums.py").write_text(SUMS.format(units=60))
    git(top, "commit", "-qam", "head")
    return top


INSTALL = ("--no-index", "borrowed-1.0-py3-none-any.whl")


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    return tmp_path_factory.mktemp("gate-cache")


@pytest.fixture(scope="module")
def checkout(cache):
    return partial(base_checkout, install=INSTALL, cache=cache)


@pytest.fixture
def command(repository, cache, monkeypatch):
    """``adaptbench gate --base HEAD~1`` on the benchmark that the last commit made slower: its exit code and what it printed."""
    monkeypatch.setattr(timed, "base_checkout", partial(base_checkout, cache=cache))
    benchmarks, software = repository / "sub" / "benchmarks", this_platform().software
    entry = {"fullname": "benchmarks/test_sums.py::test_committed", "extra_info": {}}
    baseline = {"adaptbench": {"project": "sub", "software": software}, "benchmarks": [entry]}
    (benchmarks / "baseline.json").write_text(json.dumps(baseline))
    app = typer.Typer()
    app.command()(gate_command)

    def run(*words):
        fixed = [str(benchmarks), "--only", "committed", "--base", "HEAD~1", "--install", " ".join(INSTALL)]
        result = CliRunner().invoke(app, [*fixed, *map(str, words)])
        assert isinstance(result.exception, SystemExit | None), result.output
        assert git(repository, "worktree", "list").count("\n") == 1
        assert git(repository, "status", "--porcelain", "--untracked-files=no") == ""
        return result.exit_code, result.output

    return run


def test_the_command_finds_a_slower_commit_and_keeps_what_it_found(command, repository, tmp_path):
    store, summary, verdicts = tmp_path / "store", tmp_path / "gate.md", tmp_path / "gate.json"
    code, text = command(
        "--threshold=20%", "--record", store, "--summary", summary, "--json", verdicts, "--times", tmp_path
    )
    assert code == 3, text
    (verdict,) = [v for v in json.loads(verdicts.read_text())["verdicts"] if v["figure"] == "seconds"]
    assert (verdict["benchmark"], verdict["outcome"]) == ("benchmarks/test_sums.py::test_committed", "regression")
    assert "by more than 20 %, in 3 launches" in verdict["why"]
    assert summary.read_text().startswith(f"{MARKER}\n### ❌ Performance gate: regression")
    ((kept,), errors) = history.read(store)
    assert not errors
    assert (kept.outcome, kept.commit) == ("regression", git(repository, "rev-parse", "HEAD").strip())
    assert history.last_passed([kept]) is None

    base, head = (json.loads((tmp_path / f"{side}.json").read_text()) for side in ("base", "head"))
    assert base["commit_info"]["id"] == git(repository, "rev-parse", "HEAD~1").strip() != head["commit_info"]["id"]
    ((entry,), (other,)) = base["benchmarks"], head["benchmarks"]
    assert entry["fullname"] == "benchmarks/test_sums.py::test_committed"
    assert other["stats"]["min"] > 1.5 * entry["stats"]["min"]
    assert len(entry["stats"]["data"]) == entry["stats"]["rounds"] == other["stats"]["rounds"]
    files = [str(tmp_path / "base.json"), str(tmp_path / "head.json")]
    table = subprocess.run(
        [sys.executable, "-m", "pytest_benchmark", "compare", *files], capture_output=True, text=True
    )
    assert "test_committed" in table.stdout, table.stderr


def test_the_command_is_inconclusive_where_the_budget_is_too_small(command):
    code, text = command("--budget", 1)
    assert code == 4, text
    assert "budget above 1 s" in text


def test_a_benchmark_that_the_base_lacks_is_named():
    comparison = Comparison("test_a.py::test_new", 5.0, 40)
    assert timed._uncollected(comparison, {"base": {"test_a.py::test_new": ""}, "head": {}})
    assert "The base has no such benchmark" in comparison.verdict.why


def test_two_gates_at_once_share_nothing_and_leave_nothing(repository, checkout):
    said = []
    with checkout(repository / "sub", "HEAD", say=said.append) as first:
        with checkout(repository / "sub", "HEAD", say=said.append) as second:
            assert first.folder != second.folder
            assert first.python != second.python
            assert (first.folder / "benchmarks").is_dir()
            assert (second.folder / "benchmarks").is_dir()
        assert not second.folder.exists()
        assert first.folder.exists()
    assert not first.folder.exists()
    assert any("nothing but noise is compared" in line for line in said)
    said.clear()
    with pytest.raises(ZeroDivisionError), checkout(repository / "sub", "HEAD~1", say=said.append) as again:  # noqa: PT012
        assert again.python == first.python
        1 / 0  # noqa: B018
    assert not any("Making" in line for line in said), "the environment is there already"
    assert git(repository, "worktree", "list").count("\n") == 1


def test_a_killed_gates_checkout_is_no_obstacle(repository, checkout):
    with checkout(repository / "sub", "HEAD", say=print) as side:
        tree = side.folder.parent
    git(repository, "worktree", "add", "--detach", str(tree), "HEAD")
    with checkout(repository / "sub", "HEAD~1", say=print) as side:
        assert "units=60" not in (side.folder / "benchmarks" / "test_sums.py").read_text()


def test_an_uncommitted_change_is_said(repository, checkout):
    file, said = repository / "sub" / "pytest.ini", []
    before = file.read_text()
    file.write_text("[pytest]\n# changed\n")
    try:
        with checkout(repository / "sub", "HEAD", say=said.append) as side:
            assert (side.folder / "pytest.ini").read_text() == before
    finally:
        file.write_text(before)
    assert (
        said[0] == "Head is the working tree with its uncommitted changes."
    )  # then perhaps that an environment is made


@pytest.mark.parametrize("ref", ["no-such-branch", "--help", "HEAD:sub"])
def test_an_unknown_base_is_named(repository, checkout, ref):
    with pytest.raises(ConfigError, match="there is no commit") as error, checkout(repository / "sub", ref, say=print):
        pass
    assert "git fetch" in error.value.advice


def test_no_clone_is_named(checkout, tmp_path):
    with pytest.raises(ConfigError, match="not a git repository"), checkout(tmp_path, "HEAD", say=print):
        pass


def test_no_git_is_named(checkout, tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(ConfigError, match="no git on PATH"), checkout(tmp_path, "HEAD", say=print):
        pass


def test_an_install_that_fails_is_named(repository, tmp_path):
    install = ("--no-index", "no-such-package")
    with (
        pytest.raises(ConfigError, match="the base's environment can't be made") as error,
        base_checkout(repository / "sub", "HEAD", say=print, install=install, cache=tmp_path),
    ):
        pass
    assert "no-such-package" in error.value.what
    assert git(repository, "worktree", "list").count("\n") == 1


def test_no_benchmark_and_no_time_are_named(tmp_path):
    how = {"root": tmp_path, "base": "HEAD", "thresholds_percent": {}, "say": print}
    with pytest.raises(ConfigError, match="no benchmark to time"):
        timed_gate([], budget_seconds=1, **how)
    with pytest.raises(ConfigError, match="no time to measure"):
        timed_gate(["test_a.py::test_a"], budget_seconds=0, **how)
