"""What makes a run another one: the kind of device, and the source of a method of the user's own."""

import importlib
import sys
from dataclasses import replace

import pytest

from harness.errors import MethodError
from harness.own_source import source_sha256
from harness.plan import Request, plan
from harness.runs.identity import identified
from harness.runs.store import Store
from harness.runs.suite_runner import RunOptions, pending
from harness.training.prepared import build_model

MINE = """
from dataclasses import dataclass
from harness.recipe import Recipe
import numpy


@dataclass(frozen=True)
class Mine:
    recipes = {"default": Recipe(epochs=4, learning_rate=0.1)}

    def adapt(self, backbone):
        from tools.model import Model

        return Model(backbone)
"""
FILES = {
    "mine.py": MINE,
    "tools/__init__.py": "",
    "tools/model.py": "from . import sums\n",
    "tools/sums.py": "",
    "other.py": "",
}


@pytest.fixture
def mine(tmp_path, monkeypatch):
    """A method of the user's own in the current folder, which imports some of what lies beside it."""
    for name, text in FILES.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.path", [*sys.path, str(tmp_path)])
    sys.modules.pop("mine", None)
    importlib.import_module("mine")
    yield tmp_path
    sys.modules.pop("mine", None)


@pytest.mark.parametrize(("file", "counts"), [(name, name != "other.py") for name in FILES])
def test_a_digest_is_of_all_that_a_method_imports_beside_it(mine, file, counts):
    before = source_sha256("mine")
    (mine / file).write_text(FILES[file] + "# edited\n")
    assert (source_sha256("mine") != before) == counts
    (mine / file).write_text(FILES[file])
    assert source_sha256("mine") == before


def test_methods_of_adaptbench_have_none():
    assert {run.key.source_sha256 for run in plan(Request(suite="base2new", methods=["all"]), "demo")} == {None}


@pytest.fixture
def own_runs(mine):
    """`own_runs()`: one run of a method of the user's own, as its files are now."""
    return lambda: plan(
        Request(suite="base2new", methods=["mine.py:Mine"], datasets=["demo-digits"], seeds=[1]), "demo"
    )


def todo_of(runs, folder, device="cpu", **options):
    """How many runs are to do over the records of a folder, and what is noted."""
    notes = []
    store = Store(folder)
    todo, *_ = pending(
        identified(runs, store, device, notes.append), store, RunOptions(results=folder, **options), print
    )
    return len(todo), notes


def write(folder, runs, a_record, device="cpu"):
    store = Store(folder)
    for run in identified(runs, store, device, print):
        found = a_record()
        environment = replace(found.environment, device=device, gpu="H100" if device == "cuda" else None)
        store.write(replace(found, key=run.key, environment=environment))


def test_an_edited_method_is_run_again_and_said(mine, own_runs, a_record, tmp_path):
    results = tmp_path / "results"
    results.mkdir()
    write(results, own_runs(), a_record)
    assert todo_of(own_runs(), results) == (0, [])
    (mine / "tools" / "sums.py").write_text("# edited\n")
    assert todo_of(own_runs(), results) == (
        1, ["mine:Mine has changed since one of its runs was recorded: it is run again. The earlier records stay."]
    )  # fmt: skip
    write(results, own_runs(), a_record)
    assert todo_of(own_runs(), results) == (0, [])
    assert todo_of(own_runs(), results, again=True)[0] == 1


def test_a_record_of_one_kind_of_device_is_none_of_the_other(own_runs, a_record, tmp_path):
    results = tmp_path / "results"
    results.mkdir()
    write(results, own_runs(), a_record)
    assert todo_of(own_runs(), results, device="cuda") == (1, [])
    write(results, own_runs(), a_record, device="cuda")
    assert [todo_of(own_runs(), results, device=each)[0] for each in ("cpu", "cuda", "cuda:1")] == [0, 0, 0]


@pytest.mark.parametrize("device", ["cpu", "cuda"])
def test_records_of_before_are_found_on_their_kind_of_device(own_runs, a_record, tmp_path, device):
    results = tmp_path / "results"
    results.mkdir()
    (run,) = own_runs()
    found = a_record()
    environment = replace(found.environment, device=device)
    Store(results).write(replace(found, key=replace(run.key, source_sha256=None), environment=environment))
    count, (note,) = todo_of([run], results, device=device)
    assert count == 0
    assert "don't tell the source of mine:Mine (1)" in note
    assert todo_of([run], results, device="cuda" if device == "cpu" else "cpu") == (1, [])
    (again,) = identified([run], Store(results), device, print)
    assert Store(results).name(again.key) in Store(results).names()  # --again writes it anew in its place


def test_a_run_whose_method_was_edited_after_it_was_planned_fails_before_it_begins(own_runs, mine):
    """Its record would be that of other code than it names."""
    (run,) = own_runs()
    assert run.key.source_sha256
    (mine / "tools/sums.py").write_text("# edited\n")
    with pytest.raises(MethodError, match=r"the source of 'mine:Mine' has changed since this run was planned") as said:
        build_model(run.key, backbone=None, classes=None)
    assert said.value.advice == "Repeat the command."
    (mine / "tools/sums.py").write_text(FILES["tools/sums.py"])
    with pytest.raises(ImportError, match="Model"):  # as it was planned, its `adapt` is asked
        build_model(run.key, backbone=None, classes=None)
