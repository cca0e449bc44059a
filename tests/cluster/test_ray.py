"""Workers by a real Ray cluster of two nodes, one of which is lost in the middle."""

import json
import threading

import pytest
from cluster.conftest import SEEDS, WORDS, read, until

pytestmark = pytest.mark.cluster
EXECUTOR = ("--executor", "harness.runs.executors.ray:run")


@pytest.fixture
def ray_cluster(monkeypatch):
    """A head that takes no tasks, and two nodes of one processor; nothing of it listens beyond this machine."""
    pytest.importorskip("ray", reason="Ray isn't installed: pip install ray")
    monkeypatch.setenv("RAY_USAGE_STATS_ENABLED", "0")
    monkeypatch.setenv("RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER", "0")
    from ray.cluster_utils import Cluster

    here = {"node_ip_address": "127.0.0.1"}
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 0, "include_dashboard": False, **here})
    nodes = [cluster.add_node(num_cpus=1, object_store_memory=80 << 20, **here) for _ in range(2)]
    yield cluster, nodes
    cluster.shutdown()


def test_a_lost_node_loses_no_run(ray_cluster, tiny_adaptbench, tmp_path):
    cluster, nodes = ray_cluster
    results, said = tmp_path / "results", []
    words = (*WORDS, *EXECUTOR, "--address", cluster.address, "--workers", "2", "--results", results)
    driver = threading.Thread(target=lambda: said.append(tiny_adaptbench(*words)))
    driver.start()

    def status():
        done = tiny_adaptbench("status", results, "--json")
        return json.loads(done.stdout)[0] if done.returncode == 0 else {"ok": 0, "running": []}

    until(lambda: len(status()["running"]) == 2 and status()["ok"])
    cluster.remove_node(nodes[0], allow_graceful=False)
    driver.join()
    assert said[0].returncode == 0, said[0].stderr
    assert "2 of 2 workers have ended well" in said[0].stdout
    assert (status()["ok"], status()["running"], status()["left"]) == (len(SEEDS), [], 0)
    assert tiny_adaptbench(*WORDS, "--results", tmp_path / "alone", "--jobs", "2").returncode == 0
    ours, alone = read(results), read(tmp_path / "alone")
    assert {n: (r.accuracy, r.epoch_losses) for n, r in ours.items()} == {
        n: (r.accuracy, r.epoch_losses) for n, r in alone.items()
    }
