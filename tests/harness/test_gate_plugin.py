"""The fixtures in somebody's own repository: real pytest processes, gated by the real command."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

FAKES = Path(__file__).parent.parent / "fakes"
TESTS = """
def test_step(method_benchmark):
    method_benchmark("my_pkg:Squares", backbone="tiny-clip")

def test_evaluation(method_benchmark):
    method_benchmark("my_pkg:Squares", part="evaluate", backbone="tiny-clip")

def test_registered(method_benchmark):
    method_benchmark("coop", backbone="tiny-clip", execution="reference", settings={"batch_size": "4"})

def test_answers(suite_benchmark):
    suite_benchmark("tiny", ["zero_shot", "my_pkg:Squares"], ["tiny-colours"], backbone="tiny-clip")
"""


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    """A repository with a method of its own."""
    folder = tmp_path_factory.mktemp("project")
    (folder / "tests" / "benchmarks").mkdir(parents=True)
    (folder / "pyproject.toml").write_text(
        '[project]\nname = "mine"\n[tool.pytest.ini_options]\nfilterwarnings = "error"\n'
    )
    (folder / "tests" / "benchmarks" / "test_mine.py").write_text(TESTS)
    shutil.copy(FAKES / "gated.py", folder / "my_pkg.py")
    return folder


@pytest.fixture(scope="module")
def gate(project, tiny_weights):
    """``adaptbench gate`` there, with `tinyworld` installed: its exit code and what it prints."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST_")}
    path = os.pathsep.join(map(str, (FAKES, FAKES.parent.parent)))
    environment = {**kept, "PYTHONPATH": path, "TINYWORLD": str(tiny_weights), "COLUMNS": "200", "NO_COLOR": "1"}

    def run(*words):
        command = [sys.executable, "-m", "harness", "gate", *words]
        done = subprocess.run(command, cwd=project, env=environment, capture_output=True, text=True)
        assert "Traceback" not in done.stdout + done.stderr, done.stdout + done.stderr
        return done.returncode, done.stdout + done.stderr

    return run


def test_a_planted_copy_of_an_activation_fails_and_all_other_figures_are_equal_in_another_process(
    project, gate, tmp_path
):
    assert gate("--update")[0] == 0
    baseline = (project / "tests" / "benchmarks" / "baseline.json").read_bytes()
    source = project / "my_pkg.py"
    source.write_text(source.read_text().replace("copies: int = 0", "copies: int = 1"))
    code, text = gate("--json", str(tmp_path / "verdicts.json"))
    assert code == 3
    assert "for better or worse: adaptbench gate --update" in text
    assert (project / "tests" / "benchmarks" / "baseline.json").read_bytes() == baseline
    verdicts = json.loads((tmp_path / "verdicts.json").read_text())["verdicts"]
    found = {(v["benchmark"].rpartition("::")[2], v["figure"]): v for v in verdicts}
    assert set(found) == {(test, figure) for test in STEPS for figure in FIGURES} | {
        ("test_answers", a) for a in ANSWERS
    }
    changed = {name: v["head"] - v["base"] for name, v in found.items() if v["outcome"] != "pass"}
    activation_bytes, test_batch_bytes = 4 * 32 * 4, 100 * 32 * 4
    assert changed == {
        ("test_step", "peak_tensor_bytes"): activation_bytes,
        ("test_step", "allocated_bytes"): activation_bytes,
        ("test_step", "saved_activation_bytes"): activation_bytes,
        ("test_evaluation", "allocated_bytes"): test_batch_bytes,
    }


STEPS = ("test_step", "test_evaluation", "test_registered")
FIGURES = ("flops", "peak_tensor_bytes", "allocated_bytes", "saved_activation_bytes", "trainable_parameters")
ANSWERS = [
    f"correct, {method}, tiny-colours/{half}, seed 1"
    for method in ("zero_shot", "my_pkg:Squares")
    for half in ("base", "new")
]


@pytest.mark.usefixtures("tinyworld", "one_thread")
def test_in_an_ordinary_session_benchmarks_only_run_and_say_so(project, monkeypatch, capsys):
    monkeypatch.chdir(project)
    monkeypatch.syspath_prepend(project)
    quiet = ["-p", "no:cacheprovider", "-W", "ignore::pytest.PytestAssertRewriteWarning"]  # harness is imported already
    assert pytest.main(["tests", "--benchmark-disable", "-rs", *quiet]) == 0
    text = capsys.readouterr().out
    assert "3 passed, 1 skipped" in text
    assert "3 benchmarks of methods ran once and measured nothing; 'adaptbench gate' measures and compares." in text
    assert "counted by 'adaptbench gate' alone" in text


@pytest.mark.parametrize("theirs", ["harness.py", "harness/__init__.py"])
def test_a_repository_with_a_harness_of_its_own_is_told_that_it_stands_in_for_ours(
    theirs, adaptbench_here, tmp_path, monkeypatch
):
    (tmp_path / theirs).parent.mkdir(exist_ok=True)
    (tmp_path / theirs).touch()
    (tmp_path / "tests").mkdir()
    monkeypatch.chdir(tmp_path)
    done = adaptbench_here("gate", "tests", "--update")
    assert f"{tmp_path / theirs.partition('/')[0]} stands in for it" in " ".join(done.stderr.split())
    assert done.returncode != 0
