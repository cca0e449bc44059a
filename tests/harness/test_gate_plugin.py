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
def project(tmp_path_factory, tiny_weights):
    """A repository with a method of its own, and `run(*words)` in it: a process with `tinyworld` installed."""
    folder = tmp_path_factory.mktemp("project")
    (folder / "pyproject.toml").write_text(
        '[project]\nname = "mine"\n[tool.pytest.ini_options]\nfilterwarnings = "error"\n'
    )
    (folder / "tests" / "benchmarks").mkdir(parents=True)
    (folder / "tests" / "benchmarks" / "test_mine.py").write_text(TESTS)
    shutil.copy(FAKES / "gated.py", folder / "my_pkg.py")
    kept = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST_")}
    environment = {
        **kept,
        "PYTHONPATH": os.pathsep.join(map(str, (FAKES, FAKES.parent.parent))),
        "TINYWORLD": str(tiny_weights),
        "OMP_NUM_THREADS": "1",
        "COLUMNS": "200",
    }

    def run(*words):
        done = subprocess.run(
            [sys.executable, "-m", *words], cwd=folder, env=environment, capture_output=True, text=True, timeout=300
        )
        assert "Traceback" not in done.stdout + done.stderr, done.stdout + done.stderr
        return done.returncode, done.stdout + done.stderr

    run.folder = folder
    code, text = run("harness", "gate", "--update")
    assert code == 0, text
    return run


def planted(project, method):
    """The project's method with another default."""
    source = (FAKES / "gated.py").read_text()
    (project.folder / "my_pkg.py").write_text(source.replace("copies: int = 0", method))


def test_figures_are_equal_in_another_process(project, tmp_path):
    code, text = project("harness", "gate", "--json", str(tmp_path / "verdicts.json"))
    assert code == 0, text
    verdicts = json.loads((tmp_path / "verdicts.json").read_text())["verdicts"]
    step = {v["figure"]: v["head"] for v in verdicts if v["benchmark"].endswith("::test_step")}
    assert set(step) == {"flops", "peak_tensor_bytes", "saved_activation_bytes", "trainable_parameters"}
    assert all(isinstance(value, int) and value > 0 for value in step.values())
    answers = {v["figure"]: v["head"] for v in verdicts if v["benchmark"].endswith("::test_answers")}
    assert set(answers) == {
        f"correct, {method}, tiny-colours/{half}, seed 1"
        for method in ("zero_shot", "my_pkg:Squares")
        for half in ("base", "new")
    }


def test_a_planted_copy_of_an_activation_fails_the_gate_and_stays_out_of_the_baseline(project):
    before = (project.folder / "tests" / "benchmarks" / "baseline.json").read_bytes()
    planted(project, "copies: int = 1")
    try:
        code, text = project("harness", "gate", "--only", "step")
    finally:
        planted(project, "copies: int = 0")
    assert code == 3
    rows = {line.split()[1] for line in text.splitlines() if line.startswith("test_mine.py::test_step")}
    assert rows == {"peak_tensor_bytes", "saved_activation_bytes"}
    assert "for better or worse: adaptbench gate --update" in text
    assert (project.folder / "tests" / "benchmarks" / "baseline.json").read_bytes() == before


def test_in_an_ordinary_session_benchmarks_only_run_and_say_so(project):
    code, text = project("pytest", "tests", "--benchmark-disable", "-rs", "-p", "no:cacheprovider")
    assert code == 0, text
    assert "3 passed, 1 skipped" in text
    assert "3 benchmarks of methods ran once and measured nothing; 'adaptbench gate' measures and compares." in text
    assert "counted by 'adaptbench gate' alone" in text
