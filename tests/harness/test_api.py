"""`import adaptbench`: it asks what the commands ask, and gives what they show."""

import ast
import inspect
import json
import os
import re
import subprocess
import sys
from dataclasses import replace
from io import StringIO
from pathlib import Path
from types import ModuleType, SimpleNamespace

import adaptbench
import pandas as pd
import pytest
from rich.console import Console

from harness.cli.progress import Display
from harness.records import to_json
from harness.runs.events import EpochEnded
from harness.runs.suite_runner import Outcome, RunOptions

PROJECT = Path(__file__).parents[2]
NOTEBOOK = PROJECT / "docs" / "notebook.ipynb"

WORDS = """
    --methods coop,skip_tuning --datasets demo-digits --seeds 1,2 --shots 4 --execution fast,reference --steps 3 --set epochs=5
    --set skip_tuning.depth=3 --set coop.class_position=middle --template a{}b --precision bf16 --device cpu --jobs 2 --threads 1
    --save --predictions --retry-failed --limit 7 --time-limit 60 --data-root data --cache c
"""
ASKED = {
    "methods": ["coop", "skip_tuning"],
    "datasets": "demo-digits",
    "seeds": (1, 2),
    "shots": 4,
    "executions": ["fast", "reference"],
    "steps": 3,
    "settings": {"epochs": 5, "skip_tuning.depth": 3, "coop.class_position": "middle"},
    "template": "a{}b",
    "precision": "bf16",
    "data_root": "data",
}
HOW = {
    "device": "cpu", "jobs": 2, "threads": 1, "save": True, "predictions": True, "retry_failed": True, "run_limit": 7,
    "time_limit_seconds": 60, "cache": "c", "progress": "quiet",
}  # fmt: skip


@pytest.fixture
def calls(monkeypatch):
    """What `run_suite` is called with, by the command and by Python."""
    found = []

    def run_suite(request, options, progress):
        found.append((request, options))
        return Outcome(planned=1, ok=1)

    monkeypatch.setattr("harness.cli.run.run_suite", run_suite)
    monkeypatch.setattr("adaptbench._questions.run_suite", run_suite)
    return found


def test_run_asks_what_the_command_asks(calls, adaptbench_here):
    assert adaptbench_here("run", "base2new", *WORDS.split(), "--quiet").returncode == 0
    assert adaptbench.run("base2new", **ASKED, **HOW) == Outcome(planned=1, ok=1)
    by_command, by_python = calls
    assert by_python == by_command


def test_run_without_arguments_asks_for_the_suites_own_choice(calls, adaptbench_here, monkeypatch, tmp_path):
    monkeypatch.setenv("ADAPTBENCH_DATA_ROOT", str(tmp_path))
    monkeypatch.setenv("ADAPTBENCH_CACHE", str(tmp_path / "cache"))
    adaptbench_here("run", "base2new")
    adaptbench.run("base2new")
    by_command, by_python = calls
    assert by_python == by_command
    assert by_python[1].data_root == tmp_path


def test_every_option_of_a_run_has_its_argument():
    arguments = set(inspect.signature(adaptbench.run).parameters) - {
        "suite",
        "progress",
        *adaptbench.Question.__annotations__,
    }
    theirs = set(inspect.signature(RunOptions).parameters) - {
        "replacing",
        "lease_seconds",
        "ordered",
        "only",
    }  # a worker's
    assert arguments | {"data_root"} == theirs


def test_plan_lists_what_the_command_lists(adaptbench_here):
    words = ("--methods", "coop,zero_shot", "--datasets", "demo", "--seeds", "3", "--set", "coop.epochs=5", "--json")
    rows = json.loads(adaptbench_here("plan", "base2new", *words).stdout)
    asked = {"methods": ["coop", "zero_shot"], "datasets": ["demo"], "seeds": 3, "settings": {"coop.epochs": 5}}
    runs = adaptbench.plan("base2new", **asked)
    assert [(run.key.method, run.key.dataset, run.recipe_row, run.key.recipe.epochs) for run in runs] == [
        (row["method"], row["dataset"], row["recipe_row"], row["recipe"]["epochs"]) for row in rows
    ]


@pytest.mark.parametrize(
    ("asked", "error", "says"),
    [
        ({"methods": Display}, adaptbench.ConfigError, "methods takes names"),
        ({"methods": [Display]}, adaptbench.ConfigError, "name 'FILE.py:CLASS'"),
        ({"methods": "skip_tunin"}, adaptbench.ConfigError, "Did you mean 'skip_tuning'"),
        ({"seeds": [1, -1]}, adaptbench.ConfigError, "'-1' is no whole number from 1 on|from 1 to"),
        ({"shots": 0}, adaptbench.ConfigError, "'0' is no whole number from 1 on"),
        ({"steps": 0}, adaptbench.ConfigError, "'0' is no whole number from 1 on"),
        ({"precision": "fp8"}, adaptbench.ConfigError, "fp8 is unknown"),
        ({"settings": {"epoch": 3}}, adaptbench.ConfigError, "Did you mean 'epochs'"),
        ({"settings": {"coop.epochs": [3]}}, adaptbench.ConfigError, "Input should be a valid"),
        ({"template": ""}, adaptbench.ConfigError, "template is empty"),
        ({"method": "coop"}, TypeError, "Did you mean 'methods'"),
    ],
)  # fmt: skip
def test_what_can_not_be_meant_is_an_error_with_advice(asked, error, says):
    with pytest.raises(error, match=says):
        adaptbench.plan("base2new", **asked)


@pytest.fixture
def results(a_record, tmp_path):
    """`results(name, seeds, ...)`: a folder of records of Skip Tuning on the demo digits."""

    def make(name, seeds, status="ok"):
        folder = tmp_path / name
        folder.mkdir()
        for seed in seeds:
            record = a_record(status, seeds=[seed])
            both = dict.fromkeys(record.key.tests, record.accuracy["demo-digits/base"])
            (folder / f"{seed}.json").write_bytes(to_json(replace(record, accuracy=both)))
        return folder

    return make


def test_records_are_rows_with_units(results, a_record):
    folder = results("some", [1, 2])
    (folder / "broken.json").write_text("{}")
    with pytest.warns(UserWarning, match=r"broken\.json is no run record"):
        frame = adaptbench.load_results([folder, results("others", [3], "failed")])
    assert list(frame["seed"]) == [1, 1, 2, 2, 3, 3]
    assert list(frame["status"]) == ["ok"] * 4 + ["failed"] * 2
    first, record = frame.iloc[0], a_record()
    assert (first["method"], first["test"]) == ("skip_tuning", "demo-digits/base")
    assert first["train_seconds"] == record.windows["train"].seconds
    assert first["accuracy_percent"] == record.accuracy["demo-digits/base"].accuracy_percent
    units = frame.attrs["units"]
    named = {
        name: unit for name, unit in units.items() if name in ("train_seconds", "train_peak_bytes", "accuracy_percent")
    }
    assert named == {"train_seconds": "s", "train_peak_bytes": "B", "accuracy_percent": "%"}
    ends = ("seconds", "bytes", "percent", "second", "joules", "flops")
    assert units.keys() == {name for name in frame.columns if name.endswith(ends)}
    assert all(pd.api.types.is_numeric_dtype(frame[name]) for name in units if frame[name].notna().any())


def test_no_records_are_an_error(tmp_path):
    with pytest.raises(adaptbench.ConfigError, match="no results in"):
        adaptbench.load_results(tmp_path)
    with pytest.raises(adaptbench.ConfigError, match="no results folder"):
        adaptbench.report(tmp_path / "nowhere", tmp_path / "site")


def test_report_and_compare_write_the_commands_pages(results, tmp_path, adaptbench_here):
    a, b = results("a", [1]), results("b", [1, 2])
    assert adaptbench.report(a, tmp_path / "site") == tmp_path / "site" / "index.html"
    adaptbench_here("report", a, "-o", tmp_path / "theirs")
    assert (tmp_path / "site" / "index.html").read_text() == (tmp_path / "theirs" / "index.html").read_text()
    compared = adaptbench.compare(a, b, tmp_path / "compared.html")
    said = adaptbench_here("compare", a, b, "-o", tmp_path / "again.html").stdout
    assert (tmp_path / "compared.html").read_text() == (tmp_path / "again.html").read_text()
    ((title, table),) = compared.tables.items()
    assert title in said
    assert all(note.removeprefix(f"{title}: ") in said for note in compared.notes)
    assert list(table.index) == ["skip_tuning"]
    assert table.loc["skip_tuning", ["Train time A", "Train time B", "Train time B / A"]].tolist() == [
        10.25,
        10.25,
        1.0,
    ]


def test_in_a_notebook_the_display_is_replaced_as_runs_go_on(a_record, monkeypatch):
    shown = []
    output = SimpleNamespace(update=shown.append)
    ipython = ModuleType("IPython.display")
    ipython.HTML = str
    ipython.display = lambda html, display_id: shown.append(html) or output
    monkeypatch.setitem(sys.modules, "IPython.display", ipython)
    console = Console(file=StringIO(), width=80, force_jupyter=True)
    runs = [SimpleNamespace(key=a_record().key)]
    with Display(console, console) as display:
        display.planned(runs, runs)
        display.started(1, runs[0])
        display.event(1, EpochEnded(5, 5, 0.5, 64))
    assert "Reading the datasets" in shown[0]
    texts = [re.sub("<[^>]+>", "", html) for html in shown]
    assert any("epoch 5/5" in text and "suite" in text and "0/1" in text for text in texts)
    assert shown[-1] == ""


def test_another_harness_before_ours_is_named_when_it_is_imported(tmp_path):
    (tmp_path / "harness").mkdir()
    (tmp_path / "harness" / "__init__.py").touch()
    path = f"import sys; sys.path[:0] = [{str(tmp_path)!r}, {str(PROJECT)!r}, {str(PROJECT / 'harness' / 'api')!r}]; "
    done = subprocess.run(
        [sys.executable, "-c", f"{path}import adaptbench"], capture_output=True, text=True, cwd=tmp_path
    )
    assert f"'{tmp_path / 'harness'}' stands in for it" in done.stderr.splitlines()[-2]
    assert "Give that folder another name" in done.stderr.splitlines()[-1]


def cells():
    return [
        "".join(cell["source"]) for cell in json.loads(NOTEBOOK.read_text())["cells"] if cell["cell_type"] == "code"
    ]


def test_the_notebook_is_kept_without_outputs_and_calls_what_there_is():
    document = json.loads(NOTEBOOK.read_text())
    assert not any(cell.get("outputs") or cell.get("execution_count") for cell in document["cells"])
    called = set()
    for node in ast.walk(ast.parse("\n".join(cells()))):
        if isinstance(node, ast.Call) and ast.unparse(node.func).startswith("adaptbench."):
            function = getattr(adaptbench, node.func.attr)
            inspect.signature(function).bind(*node.args, **{word.arg: word.value for word in node.keywords if word.arg})
            called.add(node.func.attr)
    assert called == {"plan", "run", "load_results", "report", "compare", "load"}


@pytest.mark.long
def test_the_notebook_runs_in_a_kernel(tmp_path, monkeypatch):
    import nbclient
    import nbformat

    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(PROJECT), str(PROJECT / "harness" / "api")]))
    notebook = nbformat.read(NOTEBOOK, 4)
    nbclient.NotebookClient(
        notebook, timeout=600, kernel_name="python3", resources={"metadata": {"path": str(tmp_path)}}
    ).execute()
    results = {
        cell.id: out
        for cell in notebook.cells
        for out in cell.get("outputs", [])
        if out.output_type == "execute_result"
    }
    texts = [out["data"]["text/plain"] for out in results.values()]
    assert "Outcome(planned=6, skipped=0, earlier_failures=0, ok=6, failed=0)" in texts
    assert (tmp_path / "site" / "index.html").stat().st_size > 50_000
    assert texts[-1].startswith("[(0, '0', ")


SCRIPT = """
import adaptbench

if not guarded or __name__ == "__main__":
    print(adaptbench.run("tiny", methods="zero_shot", backbone="tiny-clip", datasets="tiny-colours"))
"""


@pytest.mark.long
@pytest.mark.parametrize("guarded", [True, False])
def test_a_script_without_a_guard_is_told_what_to_add(guarded, tmp_path, tiny_weights):
    (tmp_path / "script.py").write_text(f"guarded = {guarded}\n{SCRIPT}")
    places = [PROJECT / "tests" / "fakes", PROJECT, PROJECT / "harness" / "api"]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(map(str, places)), "TINYWORLD": str(tiny_weights)}
    done = subprocess.run([sys.executable, "script.py"], cwd=tmp_path, env=environment, capture_output=True, text=True)
    if guarded:
        assert done.stdout.splitlines()[-1] == "Outcome(planned=1, skipped=0, earlier_failures=0, ok=1, failed=0)", (
            done.stderr
        )
    else:
        assert done.stderr.splitlines()[-1] == 'Put the call below: if __name__ == "__main__":'
