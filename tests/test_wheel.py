"""The wheel: all of it is in there, and what a stranger's environment has of it works, whatever lies in their folder."""

import os
import shutil
import subprocess
import sys
import sysconfig
import tomllib
import zipfile
from email import message_from_bytes
from pathlib import Path

import pytest

PROJECT = Path(__file__).parent.parent
ABOUT = tomllib.loads((PROJECT / "pyproject.toml").read_text())["project"]
PACKAGES = ("harness", "methods", "suites", "reports")
BUILD = "import sys; from setuptools import build_meta; print(build_meta.build_wheel(sys.argv[1]))"


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """A copy of the checkout, without what git ignores."""
    folder = tmp_path_factory.mktemp("checkout")
    listed = subprocess.run(
        ["git", "ls-files", "-co", "--exclude-standard"], cwd=PROJECT, capture_output=True, text=True, check=True
    )
    for name in listed.stdout.splitlines():
        if (PROJECT / name).is_file():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(PROJECT / name, folder / name)
    return folder


@pytest.fixture(scope="module")
def wheel(files, tmp_path_factory):
    folder = tmp_path_factory.mktemp("wheel")
    done = subprocess.run([sys.executable, "-c", BUILD, folder], cwd=files, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return folder / done.stdout.splitlines()[-1]


def test_the_wheel_has_every_file_of_the_packages_and_nothing_else(wheel, files):
    api = Path("harness", "api")
    ours = {path.relative_to(files) for package in PACKAGES for path in (files / package).rglob("*") if path.is_file()}
    ours = {path for path in ours if not {"build", "__pycache__"} & set(path.parts)}
    expected = {(path.relative_to(api) if path.is_relative_to(api) else path).as_posix() for path in ours}
    with zipfile.ZipFile(wheel) as archive:
        names = {name for name in archive.namelist() if ".dist-info/" not in name}
        weights = archive.read("suites/demo/demo-clip.safetensors")
    assert names == expected | {"adaptbench_command.py"}
    assert weights == (PROJECT / "suites/demo/demo-clip.safetensors").read_bytes()


def test_the_wheel_says_what_it_is(wheel):
    info = f"adaptbench-{ABOUT['version']}.dist-info"
    with zipfile.ZipFile(wheel) as archive:
        metadata = message_from_bytes(archive.read(f"{info}/METADATA"))
        licence = archive.read(f"{info}/licenses/LICENSE")
    assert wheel.name == f"adaptbench-{ABOUT['version']}-py3-none-any.whl"
    assert (metadata["Version"], metadata["Requires-Python"], metadata["License-Expression"]) == (
        ABOUT["version"],
        ABOUT["requires-python"],
        "Apache-2.0",
    )
    assert licence == (PROJECT / "LICENSE").read_bytes()


def without_ours():
    """The variables of the present environment, but for those by which Python or pytest would find this checkout."""
    return {name: value for name, value in os.environ.items() if not name.startswith(("PYTEST_", "PYTHON"))}


@pytest.fixture(scope="module")
def environment(wheel, tmp_path_factory):
    """The scripts of a new environment with the wheel; what the wheel needs comes from the present one."""
    folder = tmp_path_factory.mktemp("environment")
    how = {"cwd": folder, "env": without_ours(), "check": True, "capture_output": True, "text": True}
    subprocess.run([sys.executable, "-m", "venv", folder], **how)
    python = folder / "bin" / "python"
    subprocess.run([python, "-m", "pip", "install", "-q", "--no-deps", "--no-index", wheel], **how)
    where = subprocess.run([python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))"], **how).stdout
    Path(where.strip(), "needs.pth").write_text(sysconfig.get_path("purelib"))
    return python.parent


@pytest.fixture(scope="module")
def theirs(tmp_path_factory):
    """A folder of a user's whose packages have the names of ours."""
    folder = tmp_path_factory.mktemp("theirs")
    for package in PACKAGES:
        (folder / package).mkdir()
        (folder / package / "__init__.py").write_text("raise ImportError('the package of the user')\n")
    (folder / "harness" / "__init__.py").write_text("MINE = True\n")
    (folder / "test_theirs.py").write_text(
        "import harness\n\ndef test_mine():\n    assert harness.MINE\n\n"
        "def test_step(method_benchmark):\n    method_benchmark('coop')\n"
    )
    return folder


@pytest.fixture(scope="module")
def there(environment, theirs, cache_folder):
    """`there("adaptbench", ...)`: a script of the new environment, run in the user's folder."""

    def run(script, *words):
        variables = {**without_ours(), "ADAPTBENCH_CACHE": str(cache_folder), "COLUMNS": "200", "NO_COLOR": "1"}
        return subprocess.run(
            [environment / script, *map(str, words)], cwd=theirs, env=variables, capture_output=True, text=True
        )

    return run


@pytest.mark.long
class TestInANewEnvironment:
    def test_the_first_suite_runs_in_a_folder_with_packages_of_the_same_names(self, there, theirs):
        assert there("adaptbench", "--version").stdout.startswith(f"adaptbench {ABOUT['version']}, ")
        chosen = ("--methods", "zero_shot,clip_adapter", "--datasets", "demo-digits", "--seeds", "1", "--device", "cpu")
        done = there("adaptbench", "run", "base2new", *chosen, "--set", "epochs=2", "--site", "site")
        assert done.returncode == 0, done.stderr
        assert "2 of 2 runs ok" in done.stdout
        assert (theirs / "site" / "index.html").stat().st_size > 50_000

    def test_the_command_as_a_module_names_another_harness_beside_it(self, there, theirs):
        done = there("python", "-m", "adaptbench", "list")
        assert (done.returncode, done.stdout) == (2, "")
        assert f"'{theirs / 'harness'}' stands in for it" in done.stderr
        assert "Traceback" not in done.stderr

    def test_the_pytest_plug_in_leaves_their_tests_alone_and_tells_those_that_take_its_fixtures(self, there, theirs):
        done = there("python", "-m", "pytest", "-q", "-p", "no:cacheprovider", "test_theirs.py")
        assert "1 passed, 1 error" in done.stdout, done.stdout + done.stderr
        assert done.stdout.count(f"'{theirs / 'harness'}' stands in for it") >= 1
        assert "Give that folder another name" in done.stdout

    def test_a_strangers_file_passes_mypy_strict_and_a_wrong_one_does_not(self, there, environment, theirs):
        for name, text in (("stranger.py", STRANGER), ("wrong.py", WRONG)):
            (theirs / name).write_text(text)
        theirs_python = ("--python-executable", environment / "python")
        words = ("-m", "mypy", "--strict", "--no-error-summary", *theirs_python, "stranger.py", "wrong.py")
        done = there("python", *words)
        found = [line.partition(": error: ")[0] for line in done.stdout.splitlines() if ": error: " in line]
        expected = [
            f"wrong.py:{number}" for number, line in enumerate(WRONG.splitlines(), 1) if line.startswith("adaptbench.")
        ]
        assert found == expected, done.stdout


STRANGER = """
from pathlib import Path
from typing import assert_type

import pandas as pd

import adaptbench


def ask() -> list[tuple[str, int]]:
    question: adaptbench.Question = {"methods": ["zero_shot", "coop"], "datasets": "demo-digits", "seeds": [1, 2]}
    question["settings"] = {"epochs": 5, "coop.class_position": "middle"}
    runs = adaptbench.plan("few-shot", **question)
    assert_type(runs, list[adaptbench.PlannedRun])
    outcome = adaptbench.run("few-shot", **question, results=Path("results"), jobs="auto", save=True, progress="quiet")
    assert_type(outcome, adaptbench.Outcome)
    assert_type(outcome.not_ok, int)
    return [(run.key.method, run.key.seed) for run in runs]


def look() -> Path:
    frame = adaptbench.load_results(["results", Path("others")])
    assert_type(frame, pd.DataFrame)
    compared = adaptbench.compare("results", "others")
    assert_type(compared.tables, dict[str, pd.DataFrame])
    assert_type(compared.notes, list[str])
    return adaptbench.report("results", "site")


def answer(saved: Path) -> list[str]:
    try:
        model = adaptbench.load(saved, device="cpu")
    except adaptbench.DataError as error:
        return [error.what, error.advice]
    model.set_classes(["cat", "dog"])
    return model.predict(["a.jpg"]).names
"""
WRONG = """
import adaptbench

adaptbench.run("few-shot", method="coop")
adaptbench.run("few-shot", seeds="1,2")
adaptbench.run("few-shot", precision="fp8")
adaptbench.plan("few-shot", results="results")
adaptbench.report("results").append("x")
adaptbench.load_results(3)
"""
