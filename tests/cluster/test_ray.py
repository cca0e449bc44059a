"""Workers by a real Ray cluster of two nodes, one of which is lost in the middle."""

import ctypes
import json
import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from cluster.conftest import SEEDS, WORDS, read, until

pytestmark = pytest.mark.cluster
EXECUTOR = ("--executor", "harness.runs.executors.ray:run")
HERE = {"node_ip_address": "127.0.0.1"}


@pytest.fixture
def ray_cluster(monkeypatch):
    """A head that takes no tasks, and two nodes of one processor; nothing of it listens beyond this machine."""
    pytest.importorskip("ray", reason="Ray isn't installed: pip install ray")
    monkeypatch.setenv("RAY_USAGE_STATS_ENABLED", "0")
    monkeypatch.setenv("RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER", "0")
    from ray.cluster_utils import Cluster

    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 0, "include_dashboard": False, **HERE})
    yield cluster
    cluster.shutdown()


def add_node(cluster):
    return cluster.add_node(num_cpus=1, object_store_memory=80 << 20, **HERE)


def test_a_lost_node_loses_no_run(ray_cluster, tiny_adaptbench, tmp_path):
    cluster, nodes = ray_cluster, [add_node(ray_cluster) for _ in range(2)]
    results, said = tmp_path / "results", []
    words = (*WORDS, *EXECUTOR, "--address", cluster.address, "--workers", "2", "--results", results)
    driver = threading.Thread(target=lambda: said.append(tiny_adaptbench(*words)))
    driver.start()

    def status():
        done = tiny_adaptbench("status", results, "--json")
        return json.loads(done.stdout)[0] if done.returncode == 0 else {"ok": 0, "running": []}

    until(lambda: len(status()["running"]) == 2 and status()["ok"], seconds=600)
    cluster.remove_node(nodes[0], allow_graceful=False)
    driver.join()
    assert said[0].returncode == 0, said[0].stderr
    assert "2 of 2 workers have ended well" in said[0].stdout
    assert (status()["ok"], status()["running"], status()["left"]) == (len(SEEDS), [], 0)
    require_equal_to_local_ones(tiny_adaptbench, WORDS, results, tmp_path)


def require_equal_to_local_ones(tiny_adaptbench, words, results, tmp_path):
    assert tiny_adaptbench(*words, "--results", tmp_path / "alone", "--jobs", "2").returncode == 0
    ours, alone = read(results), read(tmp_path / "alone")
    assert {n: (r.accuracy, r.epoch_losses) for n, r in ours.items()} == {
        n: (r.accuracy, r.epoch_losses) for n, r in alone.items()
    }


_CLONE_NEWNS, _CLONE_FS = 0x20000, 0x200


@pytest.fixture
def host_apart(ray_cluster, tmp_path):
    """The results folder, and a node that has a disk of its own in its place, as a host that shares no file system."""
    results = tmp_path / "results"
    results.mkdir()

    libc, here = ctypes.CDLL(None), Path.cwd()
    with Path("/proc/self/ns/mnt").open() as mounts:
        assert libc.unshare(_CLONE_NEWNS) == 0  # of this thread, and of what it starts
        try:
            for words in (["--make-rprivate", "/"], ["-t", "tmpfs", "none", results]):
                subprocess.run(["mount", *words], check=True)
            add_node(ray_cluster)
        finally:
            assert libc.unshare(_CLONE_FS) == libc.setns(mounts.fileno(), _CLONE_NEWNS) == 0
            os.chdir(here)
    return results


@pytest.mark.skipif(not sys.platform.startswith("linux") or os.geteuid() != 0, reason="a mount of its own wants root")
def test_a_host_that_does_not_share_the_results_sends_back_records_and_files(
    ray_cluster, host_apart, tiny_adaptbench, tmp_path
):
    suite = [word if word != ",".join(map(str, SEEDS)) else "1,2,3" for word in WORDS]
    words = (*suite, "--predictions", *EXECUTOR, "--address", ray_cluster.address, "--workers", "1")
    said = tiny_adaptbench(*words, "--results", host_apart)
    assert said.returncode == 0, said.stderr
    assert "1 of 1 workers have ended well, 1 of them without reaching the results" in said.stdout
    (status,) = json.loads(tiny_adaptbench("status", host_apart, "--json").stdout)
    assert (status["ok"], status["running"], status["left"]) == (3, [], 0)
    assert len(list(host_apart.rglob("*.parquet"))) == 3
    require_equal_to_local_ones(tiny_adaptbench, suite, host_apart, tmp_path)
