"""How many threads a run computes with: what the user says, else what the machine and the container leave."""

import os

import pytest

from harness.meters import environment
from harness.meters.environment import (
    SMALL_LAYER,
    best_threads,
    cgroup_memory_bytes,
    cgroup_processors,
    cpu_threads,
    wait_briefly,
)

MOUNT = "sys/fs/cgroup"


def made(root, membership, files):
    for name, text in {"proc/self/cgroup": membership, **files}.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    return root


@pytest.mark.parametrize(
    ("membership", "files", "processors"),
    [
        ("0::/\n", {"sys/fs/cgroup/cpu.max": "100000 100000\n"}, 1),
        ("0::/\n", {"sys/fs/cgroup/cpu.max": "max 100000\n"}, None),
        ("0::/\n", {}, None),
        ("0::/a/b\n", {"sys/fs/cgroup/a/cpu.max": "150000 100000", "sys/fs/cgroup/a/b/cpu.max": "300000 100000"}, 1.5),
        ("0::/of/the/host\n", {"sys/fs/cgroup/cpu.max": "50000 100000\n"}, 0.5),
        (
            "5:memory:/m\n4:cpu,cpuacct:/job\n",
            {f"{MOUNT}/cpu,cpuacct/job/cpu.cfs_quota_us": "200000\n", f"{MOUNT}/cpu,cpuacct/job/cpu.cfs_period_us": "100000\n"},
            2,
        ),
        ("4:cpu:/job\n", {f"{MOUNT}/cpu/cpu.cfs_quota_us": "-1\n", f"{MOUNT}/cpu/cpu.cfs_period_us": "100000\n"}, None),
        ("0::/\n", {"sys/fs/cgroup/cpu.max": "nonsense"}, None),
    ],
)  # fmt: skip
def test_the_limits_of_cgroups_are_seen(tmp_path, membership, files, processors):
    assert cgroup_processors(made(tmp_path, membership, files)) == processors


@pytest.mark.parametrize(
    ("membership", "files", "limit_bytes"),
    [
        ("0::/\n", {f"{MOUNT}/memory.max": "2147483648\n"}, 2 << 30),
        ("0::/\n", {f"{MOUNT}/memory.max": "max\n"}, None),
        ("0::/a/b\n", {f"{MOUNT}/a/memory.max": "1024", f"{MOUNT}/a/b/memory.max": "2048"}, 1024),
        ("7:memory:/job\n", {f"{MOUNT}/memory/job/memory.limit_in_bytes": "1073741824\n"}, 1 << 30),
        ("7:memory:/job\n", {f"{MOUNT}/memory/job/memory.limit_in_bytes": "9223372036854771712\n"}, None),
        ("7:cpu:/job\n", {f"{MOUNT}/cpu/job/memory.limit_in_bytes": "1"}, None),
        ("0::/\n", {f"{MOUNT}/memory.max": "nonsense"}, None),
    ],
)
def test_their_limits_of_memory_too(tmp_path, membership, files, limit_bytes):
    assert cgroup_memory_bytes(made(tmp_path, membership, files)) == limit_bytes


def test_where_there_are_no_cgroups_there_is_no_limit(tmp_path):
    assert cgroup_processors(tmp_path) is None
    assert cgroup_memory_bytes(tmp_path) is None


@pytest.mark.parametrize(("said", "threads"), [("1", 1), ("3", 3), ("2,1", 2), ("", 5), ("many", 5), ("0", 5)])
def test_omp_num_threads_comes_first(monkeypatch, said, threads):
    monkeypatch.setenv("OMP_NUM_THREADS", said)
    machine(monkeypatch, allowed=8, cores=5, limit=None)
    assert cpu_threads() == threads


@pytest.mark.parametrize(
    ("allowed", "cores", "limit", "threads"), [(8, 4, None, 4), (3, 4, 9.0, 3), (8, 8, 1.5, 1), (8, 8, 0.5, 1)]
)
def test_else_a_thread_a_core_that_the_process_may_use(monkeypatch, allowed, cores, limit, threads):
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    machine(monkeypatch, allowed, cores, limit)
    assert cpu_threads() == threads


@pytest.mark.parametrize(("said", "small", "large"), [(None, 1, 4), ("3", 3, 3)])
def test_small_operators_are_left_to_one_thread_unless_the_user_says_how_many(monkeypatch, said, small, large):
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    if said:
        monkeypatch.setenv("OMP_NUM_THREADS", said)
    machine(monkeypatch, allowed=4, cores=4, limit=None)
    assert (best_threads(SMALL_LAYER), best_threads(SMALL_LAYER + 1)) == (small, large)


@pytest.mark.parametrize(
    ("said", "has"),
    [
        ({}, {"OMP_WAIT_POLICY": "PASSIVE", "GOMP_SPINCOUNT": "1000"}),
        ({"OMP_WAIT_POLICY": "passive"}, {"OMP_WAIT_POLICY": "passive", "GOMP_SPINCOUNT": "1000"}),
        ({"GOMP_SPINCOUNT": "0"}, {"OMP_WAIT_POLICY": "PASSIVE", "GOMP_SPINCOUNT": "0"}),
        ({"OMP_WAIT_POLICY": "ACTIVE"}, {"OMP_WAIT_POLICY": "ACTIVE"}),
    ],
)
def test_idle_threads_wait_briefly_unless_the_user_says_how(monkeypatch, said, has):
    monkeypatch.setattr(os, "environ", dict(said))
    wait_briefly()
    assert os.environ == has


def machine(monkeypatch, allowed, cores, limit):
    monkeypatch.setattr(os, "sched_getaffinity", lambda process: set(range(allowed)), raising=False)
    monkeypatch.setattr("psutil.cpu_count", lambda logical=True: cores)
    monkeypatch.setattr(environment, "cgroup_processors", lambda: limit)
