"""A dataset, a suite, a figure, an exporter and an executor of one's own, by the files and commands of docs/own-method.md."""

import csv
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from harness.runs.runner import execute
from harness.runs.store import Store

SECTION = (
    (Path(__file__).parents[1] / "docs" / "own-method.md").read_text().partition("## Everything else of your own")[2]
)
SECTION = SECTION.partition("\n## ")[0]
FILES = dict(re.findall(r"```python\n# (\w+\.py)\n(.*?)```", SECTION, re.DOTALL))
COMMANDS = [shlex.split(line) for line in re.search(r"```sh\n(.*?)```", SECTION, re.DOTALL).group(1).splitlines()]
PLAN, RUN, REPORT, EXPORT, BRIEF = COMMANDS


@pytest.fixture
def folder(tmp_path, monkeypatch, tinyworld):
    """The page's files, in the current folder."""
    for name, text in FILES.items():
        (tmp_path / name).write_text(text)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.path", list(sys.path))
    monkeypatch.setattr("sys.dont_write_bytecode", True)
    yield tmp_path
    for name in FILES:
        sys.modules.pop(Path(name).stem, None)


@pytest.fixture(scope="module")
def runs():
    return []


@pytest.fixture
def results(folder, runs, job, one_thread):
    """The record of a run on the page's dataset, which is done once."""
    if not runs:
        runs.append(execute(job("clip_adapter", dataset="squares.py:DATASET", shots=2, settings={"epochs": "2"})))
    (record,) = runs
    assert record.status == "ok", record.reason
    assert record.accuracy["squares:DATASET/base"].class_names == ("red", "green")
    Store(folder / "results").write(record)
    return record


@pytest.fixture
def command(adaptbench_here):
    """A command of the page, with more words; what it prints."""

    def run(words, *more):
        done = adaptbench_here(*words[1:], *more)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    return run


def test_a_suite_on_a_dataset_is_planned(folder, command):
    text = command(PLAN)
    assert "squares:DATASET" in text
    assert "4 runs." in text


def test_an_executor_starts_our_workers(folder, command, monkeypatch):
    started = []
    monkeypatch.setattr(subprocess, "Popen", lambda words, **how: started.append(words))
    text = command(RUN, "--device", "cpu")
    assert "2 workers do 4 runs" in text
    assert len(started) == 2
    assert started[0][-2] == "worker"
    assert Path(started[0][-1]).is_file()


def test_a_figure_is_in_the_report_and_in_exports(folder, results, command):
    command(REPORT)
    page = (folder / "site" / "index.html").read_text()
    assert "the mean training loss of the last epoch" in page
    command(EXPORT)
    (row, *_) = csv.DictReader((folder / "results.csv").read_text().splitlines())
    assert float(row["last_loss"]) == results.epoch_losses[-1]


def test_an_exporter_makes_the_file(folder, results, command):
    command(BRIEF)
    assert (folder / "results.txt").read_text().startswith("clip_adapter on squares:DATASET, seed 1: ok")


@pytest.mark.parametrize(
    ("words", "what", "advice"),
    [
        (
            ["report", "results", "--quantities", "brief.py:brief"],
            "is an object of the class function",
            "Name a Quantity",
        ),
        (
            ["report", "results", "--quantities", "loss.py:LAST,loss:LAST"],
            "there is a figure 'last_loss' already",
            "another name=",
        ),
        (["export", "results", "--format", "few.py:nothing", "-o", "x.txt"], "has no 'nothing'", "It has: "),
        (
            ["export", "results", "--format", "brief.py:text", "-o", "x.txt"],
            "returns str, and no bytes",
            "Return bytes",
        ),
    ],
)
def test_what_can_not_be_meant_is_told(folder, results, adaptbench_here, words, what, advice):
    (folder / "brief.py").write_text(FILES["brief.py"] + '\n\ndef text(records):\n    return ""\n')
    done = adaptbench_here(*words)
    assert done.returncode == 2
    said = " ".join(done.stderr.split())
    assert what in said, said
    assert advice in said, said
    assert not (folder / "x.txt").exists()
