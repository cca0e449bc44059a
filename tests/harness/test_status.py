"""What a results folder tells of its suites while they run."""

import json
import os
from dataclasses import replace
from pathlib import Path

import pytest

from harness.errors import ConfigError
from harness.runs.claims import Claims, Worker
from harness.runs.status import status
from harness.runs.store import Store


@pytest.fixture
def results(tmp_path, a_record):
    """Eight planned runs of two methods: two are ok, one failed, one is no record, and one stayed behind when its process died."""
    store = Store(tmp_path / "results")
    records = [a_record(methods=[method], seeds=[seed]) for method in ("coop", "zero_shot") for seed in (1, 2, 3, 4)]
    store.plan(store.name(record.key) for record in records)
    store.plan(store.name(record.key) for record in records[:2])
    store.write(replace(records[0], total_seconds=100.0))
    store.write(replace(records[4], total_seconds=1.0))
    store.write(replace(records[1], status="failed", reason="because.", total_seconds=200.0))
    store.write(records[5])
    store.path(records[5].key).write_bytes(b"half of a rec")
    store.claims_folder.mkdir()
    machine = json.loads(_heartbeat(tmp_path))["machine"]
    dead = _worker(store.name(records[2].key), machine)
    (store.claims_folder / f"worker-{machine}-{1 << 30}-0").write_text(json.dumps(vars(dead)))
    return store, records


def _heartbeat(folder):
    with Claims(folder):
        (file,) = folder.glob("worker-*")
        return file.read_text()


def _worker(run, machine):
    return Worker(host="node7", machine=machine, pid=1, job="17", beat=1, runs={run: 30.0})


def test_every_run_is_in_one_state(results):
    store, records = results
    (idle,) = status(store.folder)
    assert (idle.suite, idle.planned, idle.ok, idle.failed, idle.running, idle.left) == ("base2new", 8, 2, 1, (), 5)
    assert idle.seconds_left is None, "nobody is at work"
    elsewhere = _worker(store.name(records[3].key), machine="another")
    (store.claims_folder / "worker-elsewhere").write_text(json.dumps(vars(elsewhere)))
    (busy,) = status(store.folder)
    (run,) = busy.running
    assert (run.run, run.host, run.job, run.seconds) == (store.name(records[3].key), "node7", "17", 30.0)
    assert (busy.ok, busy.failed, busy.left) == (2, 1, 4)
    # coop takes 150 s: one more, and what is left of the one in hand; zero_shot takes 1 s: three more
    assert busy.seconds_left == pytest.approx(150 + 120 + 3 * 1)


def test_the_command_says_where_and_how_long(results, adaptbench_here):
    store, records = results
    with Claims(store.claims_folder) as claims:
        assert claims.take([store.name(records[2].key)])
        elsewhere = store.claims_folder / "worker-elsewhere"
        elsewhere.write_text(json.dumps(vars(_worker(store.name(records[3].key), machine="another"))))
        os.utime(elsewhere, (1e9, 1e9))
        done = adaptbench_here("status", store.folder)
        (as_json,) = json.loads(adaptbench_here("status", store.folder, "--json").stdout)
    assert done.returncode == 0
    assert done.stdout.splitlines()[1].split()[:6] == ["base2new", "8", "2", "1", "2", "3"]
    assert "coop/demo-digits-16shots-seed3: for 0 s on " in done.stdout
    assert "coop/demo-digits-16shots-seed4: for 30 s on node7, job 17; silent for " in done.stdout
    assert [run["job"] for run in as_json["running"]].count("17") == 1
    assert as_json["left"] == 3


def test_a_folder_without_a_plan_is_no_folder_of_results(tmp_path):
    with pytest.raises(ConfigError, match="no suite was run with --results"):
        status(tmp_path)
    with pytest.raises(ConfigError, match="no suite was run"):
        status(Path("/nowhere"))


def test_folders_that_may_not_be_read_are_told_where_records_may_be_in_them(results, adaptbench, held_to_permissions):
    """A disk's own lost+found is in nobody's way; records of a colleague's that can't be read are neither done nor left."""
    store, records = results
    lost, methods = store.folder / "lost+found", store.path(records[0].key).parent
    lost.mkdir()
    lost.chmod(0)
    run = ["run", "base2new", "--methods", "coop,zero_shot", "--datasets", "demo-digits", "--seeds", "1", "--dry-run"]
    commands = {
        "run": [*run, "--results", store.folder],
        "status": ["status", store.folder],
        "report": ["report", store.folder, "-o", store.folder.parent / "site"],
    }

    def ends(command):
        return adaptbench(*commands[command], preexec_fn=held_to_permissions)

    assert [ends(command).returncode for command in commands] == [0, 0, 0]
    methods.chmod(0)
    try:
        for command in ("run", "status"):
            ended = ends(command)
            assert ended.returncode == 2
            assert f"the folder {methods} can't be read: Permission denied." in " ".join(ended.stderr.split())
        assert f"{methods} can't be read: Permission denied." in " ".join(ends("report").stderr.split())
        methods.chmod(0o555)
        assert ends("run").returncode == 0
        commands["run"][-3] = "--again"
        assert f"the folder {methods} can't be written" in " ".join(ends("run").stderr.split())
    finally:
        methods.chmod(0o755)
