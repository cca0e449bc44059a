"""Records on disk: whole or not at all, one file a key, and what is done already."""

import dataclasses
import os
import signal
import subprocess
import sys
import time

import pytest

from harness.errors import ConfigError, DataError
from harness.plan import PlannedRun
from harness.records import from_json, to_json
from harness.runs.store import Store
from harness.runs.suite_runner import RunOptions, pending


@pytest.fixture
def store(tmp_path):
    return Store(tmp_path / "results")


def test_a_record_lies_where_its_key_says(store, record):
    path = store.write(record)
    assert path == store.path(record.key)
    assert path.relative_to(store.folder).parts[:2] == ("base2new", "skip_tuning")
    assert path.name.startswith("demo-digits-16shots-seed1-")
    assert store.find(record.key) == record
    assert [p.name for p in path.parent.iterdir()] == [path.name]  # no temporary file is left


def test_a_pipe_in_a_records_place_is_not_waited_for(store, record):
    path = store.path(record.key)
    path.parent.mkdir(parents=True)
    os.mkfifo(path)
    for look in (lambda: store.find(record.key), lambda: store.glance(store.name(record.key))):
        with pytest.raises(DataError, match="it is no regular file"):
            look()


def test_a_link_to_a_record_elsewhere_is_not_read_and_not_written_through(store, record, tmp_path):
    path = store.write(record)
    elsewhere = path.rename(tmp_path / "elsewhere.json")
    path.symlink_to(elsewhere)
    for look in (lambda: store.find(record.key), lambda: store.glance(store.name(record.key))):
        with pytest.raises(DataError, match="it is a symbolic link"):
            look()
    before = elsewhere.read_bytes()
    store.write(dataclasses.replace(record, status="failed", reason="because."))
    assert elsewhere.read_bytes() == before


def test_another_runs_record_is_no_runs_own(store, a_record):
    one, other = a_record(), a_record(seeds=[2])
    store.write(one).rename(store.path(other.key))
    for look in (lambda: store.find(other.key), lambda: store.glance(store.name(other.key))):
        with pytest.raises(DataError, match="holds the record of another run, base2new/"):
            look()


@pytest.mark.parametrize(
    "request_",
    [
        {"seeds": [2]},
        {"shots": [4]},
        {"precision": "bf16"},
        {"executions": ["reference"]},
        {"steps": 3},
        {"template": "a {}."},
        {"backbone": "ViT-B-16"},
        {"pretrained": "random"},
        {"settings": {"start_layer": "3"}},
        {"settings": {"epochs": "3"}},
        {"datasets": ["demo-textures"]},
        {"methods": ["coop"]},
    ],
    ids=str,
)
def test_whatever_makes_another_run_makes_another_file(store, a_record, request_):
    store.write(a_record())
    other = a_record(**request_)
    assert store.path(other.key) != store.path(a_record().key)
    assert store.find(other.key) is None


def test_names_of_plug_ins_make_no_folders_of_their_own(store, record):
    key = dataclasses.replace(record.key, method="../my.module:Thing", dataset="a/../../b:C", suite="..")
    path = store.path(key)
    assert path.resolve().is_relative_to(store.folder.resolve())
    assert len(path.relative_to(store.folder).parts) == 3


def test_a_second_write_replaces_the_first(store, record):
    store.write(dataclasses.replace(record, status="failed", reason="because."))
    store.write(record)
    assert store.find(record.key) == record


WRITER = """
import sys
from pathlib import Path
from harness.records import from_json
from harness.runs.store import Store
source, folder = map(Path, sys.argv[1:])
record = from_json(source.read_bytes(), "source")
store = Store(folder)
print("ready", flush=True)
while True:
    store.write(record)
"""


def test_a_writer_killed_at_any_moment_leaves_whole_records_only(tmp_path, record):
    """A record of megabytes in one text, which takes longer to write than to word: most kills fall inside its writing."""
    big = dataclasses.replace(record, command="x" * 8_000_000)
    source, folder = tmp_path / "source.json", tmp_path / "results"
    source.write_bytes(to_json(big))
    path = Store(folder).path(big.key)
    seen, interrupted = 0, 0
    for round_ in range(60):  # until enough kills have fallen in and between writes, whatever the machine's speed
        if round_ >= 8 and seen and interrupted:
            break
        with subprocess.Popen([sys.executable, "-c", WRITER, source, folder], stdout=subprocess.PIPE) as process:
            process.stdout.readline()
            time.sleep(0.05 + 0.043 * (round_ % 17))
            process.send_signal(signal.SIGKILL)
        if path.exists():
            assert path.read_bytes() == source.read_bytes()
            assert from_json(path.read_bytes(), "here") == big
            seen += 1
        assert list(folder.rglob("*.json")) in ([], [path])
        if folder.exists():
            interrupted = len([p for p in folder.rglob("*") if p.is_file() and p != path])
    assert seen
    assert interrupted  # else no kill fell into a write, and this proves nothing


class TestPending:
    def planned(self, *records):
        return [PlannedRun(key=record.key, recipe_row="default") for record in records]

    def test_finished_runs_are_skipped_and_failed_ones_too_unless_asked(self, store, a_record):
        ok, failed, new = a_record(), a_record("failed", seeds=[2]), a_record(seeds=[3])
        store.write(ok)
        store.write(failed)
        runs = self.planned(ok, failed, new)
        notes = []
        todo, _, outcome = pending(runs, store, RunOptions(results=store.folder), notes.append)
        assert todo == runs[2:]
        assert (outcome.skipped, outcome.earlier_failures, notes) == (2, 1, [])
        todo, _, outcome = pending(runs, store, RunOptions(results=store.folder, retry_failed=True), notes.append)
        assert todo == runs[1:]
        assert (outcome.skipped, outcome.earlier_failures) == (1, 0)

    def test_records_are_looked_at_and_not_read_whole(self, store, a_record, monkeypatch):
        records = [a_record(seeds=[seed]) for seed in (1, 2, 3)]
        for record in records[:2]:
            store.write(record)
        monkeypatch.setattr("harness.runs.store.from_json", None)
        todo, _, outcome = pending(self.planned(*records), store, RunOptions(results=store.folder), print)
        assert [run.key.seed for run in todo] == [3]
        assert (outcome.skipped, outcome.earlier_failures) == (2, 0)

    @pytest.mark.parametrize("damage", [b"", b"{}", b"not JSON"])
    def test_a_file_that_is_no_record_is_said_and_done_again(self, store, a_record, damage):
        path = store.write(a_record())
        path.write_bytes(damage)
        with pytest.raises(DataError):
            store.find(a_record().key)
        notes = []
        runs = self.planned(a_record())
        todo, *_ = pending(runs, store, RunOptions(results=store.folder), notes.append)
        assert todo == runs
        assert len(notes) == 1
        assert "will be run again" in notes[0]

    def test_a_record_of_a_later_version_is_not_replaced(self, store, a_record):
        path = store.write(a_record())
        path.write_bytes(path.read_bytes().replace(b'"schema_version": 1', b'"schema_version": 2'))
        with pytest.raises(DataError, match=r"by a later AdaptBench(?s:.*)Update"):
            pending(self.planned(a_record()), store, RunOptions(results=store.folder), print)


class TestUnwritableFolders:
    """Permissions don't bind root, under which tests may run: these places can't be written by anyone."""

    def test_a_file_in_the_folders_place(self, tmp_path):
        (tmp_path / "results").write_text("")
        with pytest.raises(ConfigError, match=r"can't be written(?s:.*)--results"):
            Store(tmp_path / "results").check_writable()

    def test_a_file_above_the_folder(self, tmp_path):
        (tmp_path / "file").write_text("")
        with pytest.raises(ConfigError, match="can't be written"):
            Store(tmp_path / "file" / "results").check_writable()

    @pytest.mark.skipif(not sys.platform.startswith("linux"), reason="/proc is Linux's")
    def test_a_file_system_that_takes_no_files(self):
        from pathlib import Path

        with pytest.raises(ConfigError, match="can't be written"):
            Store(Path("/proc/self/results")).check_writable()

    def test_a_new_folder_is_made(self, tmp_path):
        Store(tmp_path / "a" / "b").check_writable()
        assert list((tmp_path / "a" / "b").iterdir()) == []
