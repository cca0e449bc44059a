"""A store of recorded gates: what is kept, that it is kept whole, and what may be seen against."""

import json
import platform
import subprocess
import sys
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from harness.errors import AdaptBenchError, ConfigError
from harness.gate import history
from harness.gate.measure import pytest_environment
from harness.gate.verdict import Verdict

BENCHMARKS = """
import pytest

@pytest.mark.parametrize("name", ["coop"])
def test_step(benchmark, name):
    benchmark.extra_info.update(flops=1_000_000, peak_tensor_bytes=2048, images_per_second=12.5, device="cpu", frozen=True)
    benchmark.extra_info.update(exact=["flops", "peak_tensor_bytes", "saved_activation_bytes"], odd=float("nan"))
    benchmark.pedantic(sum, (range(1000),), rounds=5)

def test_answers(benchmark):
    benchmark.pedantic(len, ("",), rounds=1)
    benchmark.extra_info.update(correct=17, exact_per_platform=["correct"], timed=False)
"""
PASSED = Verdict(benchmark="test_bench.py::test_step[coop]", figure="flops", outcome="pass", base=1, head=1)
SLOWER = replace(PASSED, figure="seconds", outcome="regression", slowdown_percent=12.5, interval_percent=(9.0, 16.0), pairs=20,
                 base=0.5, head=0.6, why="12.5 % slower.")  # fmt: skip


@pytest.fixture(scope="module")
def repository(tmp_path_factory):
    """A repository of one commit whose benchmarks pytest-benchmark has run: its folder."""
    folder = tmp_path_factory.mktemp("repository")
    (folder / "test_bench.py").write_text(BENCHMARKS)
    git = ["git", "-c", "user.name=a", "-c", "user.email=a@example.com", "-C", str(folder)]
    for command in (["init", "-q", "-b", "trunk"], ["add", "test_bench.py"], ["commit", "-q", "-m", "first"]):
        subprocess.run([*git, *command], check=True)
    options = ["-q", "-p", "no:cacheprovider", "-p", "no:xdist", "--benchmark-json=../report.json"]
    command = [sys.executable, "-m", "pytest", *options, "test_bench.py"]
    subprocess.run(command, cwd=folder, env=pytest_environment(), check=True, capture_output=True)
    return folder


@pytest.fixture
def report(repository):
    return json.loads((repository.parent / "report.json").read_text())


def head_of(repository):
    return subprocess.run(
        ["git", "-C", repository, "rev-parse", "HEAD"], capture_output=True, text=True, check=True
    ).stdout.strip()


def test_a_gate_is_read_back_as_it_was_recorded(tmp_path, repository, report):
    before = datetime.now(UTC).replace(microsecond=0)
    path = history.append(tmp_path / "new" / "store", report, [PASSED, SLOWER])
    (gate,), errors = history.read(tmp_path / "new" / "store")
    assert errors == []
    assert gate.recorded_at - before < timedelta(seconds=10)
    assert (gate.commit, gate.branch, gate.dirty) == (head_of(repository), "trunk", False)
    assert gate.commit_time.isoformat() == report["commit_info"]["time"].replace("Z", "+00:00")
    assert gate.verdicts == (PASSED, SLOWER)
    assert gate.outcome == "regression"
    measured, answers = gate.benchmarks.values()
    assert list(gate.benchmarks) == ["test_bench.py::test_step[coop]", "test_bench.py::test_answers"]
    assert measured.figures == {"flops": 1_000_000, "peak_tensor_bytes": 2048, "images_per_second": 12.5}
    assert measured.exact == ("flops", "peak_tensor_bytes")
    assert (answers.times, dict(answers.figures), answers.exact) == (None, {"correct": 17}, ("correct",))
    stats = report["benchmarks"][0]["stats"]
    assert (measured.times.rounds, measured.times.median_seconds) == (5, stats["median"])
    assert (
        measured.times.min_seconds
        <= measured.times.q1_seconds
        <= measured.times.q3_seconds
        <= measured.times.max_seconds
    )
    assert path.name.startswith(f"{gate.recorded_at:%Y%m%dT%H%M%SZ}-{gate.commit[:12]}-")


def test_the_machine_is_told_by_what_computes_and_its_host_is_not_named(tmp_path, report):
    text = history.append(tmp_path, report, [PASSED]).read_text()
    machine = json.loads(text)["machine"]
    assert machine["python"] == platform.python_version()
    assert machine["threads"] >= 1
    assert platform.node() not in json.loads(text)["machine"].values()
    assert set(machine) == {"cpu", "cpu_count", "threads", "platform", "python", "torch"}
    here = history.this_machine()
    assert here.fingerprint == history.read(tmp_path)[0][0].machine.fingerprint
    others = [replace(here, cpu="another"), replace(here, threads=here.threads + 1), replace(here, torch="9.9"),
              replace(here, python="3.99.0"), replace(here, platform="Plan9 mips")]  # fmt: skip
    assert len({m.fingerprint for m in [here, *others]}) == 6


def test_a_gate_adds_a_file_and_changes_none(tmp_path, report):
    first = history.append(tmp_path, report, [PASSED])
    content = first.read_bytes()
    second = history.append(tmp_path, report, [SLOWER])
    assert first != second
    assert first.read_bytes() == content
    assert len(list(tmp_path.iterdir())) == 2


def test_outside_a_repository_the_commit_is_null(tmp_path, report):
    for commit in (
        {"id": "unversioned", "time": None, "dirty": False, "branch": "(unknown)"},
        {"id": "--output=x"},
        None,
    ):
        history.append(tmp_path, report | {"commit_info": commit}, [PASSED])
    gates, _ = history.read(tmp_path)
    assert {(g.commit, g.commit_time, g.branch, g.dirty) for g in gates} == {(None, None, None, None)}


def at(gate, day, **changes):
    return replace(gate, commit_time=datetime(2026, 1, day, tzinfo=UTC), **changes)


def test_only_a_gate_that_passed_on_a_clean_commit_is_seen_against(tmp_path, report):
    history.append(tmp_path, report, [PASSED])
    (gate,), _ = history.read(tmp_path)
    older, passed = at(gate, 1), at(gate, 2)
    unfit = [at(gate, 3, verdicts=(PASSED, SLOWER)), at(gate, 4, dirty=True), at(gate, 5, verdicts=()),
             at(gate, 6, verdicts=(replace(PASSED, outcome="inconclusive"),))]  # fmt: skip
    assert history.last_passed([*unfit, passed, older]) == passed
    assert history.last_passed(unfit) is None


def test_gates_come_in_the_order_of_their_commits(tmp_path, report):
    for day in (3, 1, 2):
        info = report["commit_info"] | {"time": f"2026-01-0{day}T00:00:00+00:00"}
        history.append(tmp_path, report | {"commit_info": info}, [PASSED])
    assert [gate.commit_time.day for gate in history.read(tmp_path)[0]] == [1, 2, 3]


def test_what_is_no_gate_is_named_and_the_rest_is_read(tmp_path, report):
    whole = history.append(tmp_path, report, [PASSED])
    (tmp_path / "a-cut.json").write_bytes(whole.read_bytes()[:200])
    (tmp_path / "b-foreign.json").write_text('{"benchmarks": []}')
    (tmp_path / "notes.txt").write_text("no JSON")
    gates, errors = history.read(tmp_path)
    assert len(gates) == 1
    assert [error.what.split(" is no recorded gate")[0] for error in errors] == [
        str(tmp_path / "a-cut.json"), str(tmp_path / "b-foreign.json")]  # fmt: skip


def test_a_report_that_is_none_and_a_folder_that_cannot_be_are_refused(tmp_path, report):
    with pytest.raises(AdaptBenchError, match="not pytest-benchmark's JSON"):
        history.append(tmp_path, {"commit_info": {}}, [PASSED])
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigError, match="can't be recorded"):
        history.append(tmp_path / "file", report, [PASSED])
    with pytest.raises(ConfigError, match="there is no store"):
        history.read(tmp_path / "nowhere")
    assert [path.name for path in tmp_path.iterdir()] == ["file"]
