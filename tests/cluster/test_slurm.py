"""Workers by a real Slurm: requeued, killed, cancelled and added, they do each run once, as one process does on its own."""

import json
import os
import re
import signal

import pytest
from cluster.conftest import SEEDS, WORDS, read, until

pytestmark = pytest.mark.cluster
EXECUTOR = ("--executor", "harness.runs.executors.slurm:submit")


@pytest.fixture
def command(slurm, tiny_adaptbench, monkeypatch):
    """The command on a host of the cluster."""
    monkeypatch.setenv("SLURM_CONF", slurm.environment["SLURM_CONF"])
    return tiny_adaptbench


def test_whatever_happens_to_workers_every_run_is_done_once(slurm, command, tmp_path):
    results = tmp_path / "results"

    def status():
        (suite,) = json.loads(command("status", results, "--json").stdout)
        return suite

    def submit(workers):
        said = command(
            *WORDS, *EXECUTOR, "--workers", workers, "--setup", "export OF_THE_SETUP=1", "--results", results
        )
        assert said.returncode == 0, said.stderr
        return re.search(rf"Slurm job (\d+): {workers} workers for \d+ runs", said.stdout)[1]

    def running(job):
        return [run for run in status()["running"] if run["job"] == job]

    assert command(*WORDS, "--results", tmp_path / "alone", "--jobs", "2").returncode == 0
    first = submit(2)
    until(lambda: len(status()["running"]) == 2)
    assert {run["job"] for run in status()["running"]} == {f"{first}_1", f"{first}_2"}

    slurm("scontrol", "requeue", f"{first}_1")
    until(lambda: not running(f"{first}_1"))
    (heartbeat,) = [path for path in (results / ".claims").glob("worker-*") if f'"{first}_2"' in path.read_text()]
    os.kill(json.loads(heartbeat.read_text())["pid"], signal.SIGKILL)
    until(lambda: f"{first}_2" not in slurm.states())
    assert status()["ok"] + len(status()["running"]) + status()["left"] == 12
    assert status()["left"] > 0

    second = submit(2)
    until(lambda: running(f"{second}_1"))
    slurm("scancel", f"{second}_1")
    until(lambda: f"{second}_1" not in slurm.states())
    until(lambda: status()["ok"] == 12)
    until(lambda: not slurm.states())
    assert (status()["failed"], status()["running"], status()["left"]) == (0, [], 0)

    ours, alone = read(results), read(tmp_path / "alone")
    assert ours.keys() == alone.keys()
    for name, record in ours.items():
        assert record.accuracy == alone[name].accuracy
        assert record.epoch_losses == alone[name].epoch_losses
    logs = "\n".join(path.read_text() for path in (results / ".workers").glob("*.log"))
    done = re.findall(r"^\[\d+/\d+\] clip_adapter on tiny-colours, 4 shots, seed (\d+):", logs, re.MULTILINE)
    assert sorted(map(int, done)) == list(SEEDS)
    assert logs.count("Interrupted: ") == 2, "requeued and cancelled workers leave their runs cleanly"
    assert "Traceback" not in logs
    assert "No run is left" in command(*WORDS, *EXECUTOR, "--results", results).stdout


def test_a_worker_at_its_time_limit_leaves_its_run_to_others(slurm, command, tmp_path):
    words = ("run", "tiny", "--methods", "tinyworld:Hangs", "--datasets", "tiny-colours", "--backbone", "tiny-clip")
    said = command(*words, "--device", "cpu", *EXECUTOR, "--time", "1", "--results", tmp_path)
    assert said.returncode == 0, said.stderr
    until(lambda: not slurm.states())
    (log,) = (tmp_path / ".workers").glob("*.log")
    assert "Interrupted: 0 of 1 runs are recorded." in log.read_text()
    (suite,) = json.loads(command("status", tmp_path, "--json").stdout)
    assert (suite["ok"], suite["failed"], suite["running"], suite["left"]) == (0, 0, [], 1)


def test_what_sbatch_refuses_is_said(command, tmp_path):
    refused = command(*WORDS, *EXECUTOR, "--partition", "nowhere", "--results", tmp_path)
    assert refused.returncode == 2
    assert "sbatch refuses the job: " in refused.stderr
    assert "nowhere" in refused.stderr
