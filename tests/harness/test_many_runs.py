"""What thousands of planned runs cost: operations of the file system, counted, and nothing held that grows with what is done."""

import io
import os
from collections import Counter
from dataclasses import replace
from types import SimpleNamespace

import pytest

from harness.records import to_json
from harness.runs import store as stores
from harness.runs.claims import Claims
from harness.runs.status import status
from harness.runs.store import Store
from harness.runs.suite_runner import RunOptions, pending
from harness.runs.todo import Todo


@pytest.fixture
def operations(monkeypatch):
    """Counts what this process asks of the file system, by name; a file opened to be made or written counts apart."""
    counted = Counter()

    def counting(module, name):
        original = getattr(module, name)

        def call(*args, **how):
            mode = [*args[1:2], how.get("mode", "r")][0]
            counted[f"open {mode}" if name == "open" else name] += 1
            return original(*args, **how)

        monkeypatch.setattr(module, name, call)

    for name in ("stat", "listdir", "scandir", "unlink", "replace", "mkdir", "fsync"):
        counting(os, name)
    counting(io, "open")
    return counted


@pytest.fixture
def many(a_record):
    """`many(n)`: n planned runs, as far as claims see them."""
    key = a_record().key
    return lambda count: [SimpleNamespace(key=replace(key, seed=seed)) for seed in range(1, count + 1)]


@pytest.mark.parametrize("count", [50, 200])
def test_a_claim_costs_a_listing_a_new_file_a_look_and_a_heartbeat_however_many_runs_are_planned(
    tmp_path, many, operations, count
):
    store = Store(tmp_path)
    with Claims(store.claims_folder) as claims:
        todo = Todo(many(count), {}, store, claims)
        operations.clear()
        (name, _), _ = todo.take()
        assert operations == {"listdir": 1, "open x": 1, "open w": 1, "stat": 1}
        operations.clear()
        assert todo.is_ours(name)
        assert operations == {"listdir": 1, "open r": 1, "stat": 1}
        operations.clear()
        todo.finish(name)
        assert operations == {"unlink": 1, "open w": 1}


def test_who_comes_after_others_reads_what_these_hold_and_no_more(tmp_path, many, operations):
    """Of each run in hand elsewhere: its claim, and its owner's heartbeat."""
    store = Store(tmp_path)
    with Claims(store.claims_folder) as first, Claims(store.claims_folder) as second:
        for _ in range(3):
            Todo(many(50), {}, store, first).take()
        todo = Todo(many(50), {}, store, second)
        operations.clear()
        assert todo.take()[0] is not None
        assert operations == {"listdir": 1, "open r": 6, "open x": 1, "open w": 1, "stat": 1}


@pytest.mark.parametrize("count", [20, 80])
def test_what_is_left_and_how_far_a_suite_is_are_found_without_reading_a_record_whole(
    tmp_path, many, a_record, operations, monkeypatch, count
):
    """A record is opened once, its first bytes are read; none is made into an object."""
    store, runs = Store(tmp_path), many(count)
    runs = [SimpleNamespace(key=run.key, profile=False) for run in runs]
    store.plan(store.name(run.key) for run in runs)
    for run in runs[:-3]:
        path = store.path(run.key)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(to_json(replace(a_record(), key=run.key)))
    monkeypatch.setattr(stores, "from_json", lambda *_: pytest.fail("a record was read whole"))
    operations.clear()
    todo, _, outcome = pending(runs, store, RunOptions(results=tmp_path, device="cpu"), print)
    assert (todo, outcome.skipped) == (runs[-3:], count - 3)
    assert operations["open rb"] == count - 3
    assert operations["listdir"] == 1
    operations.clear()
    (suite,) = status(tmp_path)
    assert (suite.ok, suite.left) == (count - 3, 3)
    assert operations["open rb"] == count - 3
