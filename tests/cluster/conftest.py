"""What workers are to do, and a Slurm of two nodes on this machine, started for these tests and ended with them."""

import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from pathlib import Path

import pytest

from harness.records import from_json

TOOLS = ("munged", "slurmctld", "slurmd", "sbatch", "scontrol", "squeue", "scancel")
SEEDS = range(1, 13)
WORDS = [
    "run", "tiny", "--methods", "clip_adapter", "--seeds", ",".join(map(str, SEEDS)), "--datasets", "tiny-colours",
    "--backbone", "tiny-clip", "--device", "cpu", "--threads", "1", "--set", "clip_adapter.epochs=400",
]  # fmt: skip
CONF = Path(__file__).with_name("slurm.conf")


def read(folder):
    return {path.name: from_json(path.read_bytes(), path.name) for path in folder.rglob("*.json")}


class Slurm:
    def __init__(self, folder):
        self.environment = {**os.environ, "SLURM_CONF": str(folder / "slurm.conf")}
        self.folder = folder

    def __call__(self, *words):
        return subprocess.run(
            list(map(str, words)), env=self.environment, capture_output=True, text=True, check=True
        ).stdout

    def states(self):
        """By job, the states of its tasks that Slurm still knows as waiting or running."""
        return dict(line.split() for line in self("squeue", "-h", "-o", "%i %T").splitlines())

    def end(self):
        for pid_file in self.folder.glob("run/*.pid"):
            os.kill(int(pid_file.read_text()), signal.SIGTERM)


def until(condition, seconds=180):
    """Wait for a condition; the test fails where it doesn't come about."""
    end = time.monotonic() + seconds
    while not (found := condition()):
        assert time.monotonic() < end, "it did not come about"
        time.sleep(0.2)
    return found


@pytest.fixture(scope="session")
def slurm():
    lacking = [tool for tool in TOOLS if not shutil.which(tool)]
    if lacking:
        pytest.skip(f"Slurm isn't installed ({lacking[0]}): apt-get install munge slurmctld slurmd slurm-client")
    if os.geteuid():
        pytest.skip("its daemons want root")
    folder = Path(tempfile.mkdtemp(prefix="slurm-"))
    folder.chmod(0o755)
    for name in ("state", "log", "spool-node1", "spool-node2", "run"):
        (folder / name).mkdir()
    shutil.chown(folder / "run", "munge", "munge")
    key = folder / "munge.key"
    key.write_bytes(os.urandom(128))
    key.chmod(0o400)
    shutil.chown(key, "munge", "munge")
    text = CONF.read_text().replace("HOSTNAME", socket.gethostname()).replace("FOLDER", str(folder))
    (folder / "slurm.conf").write_text(text)
    cluster = Slurm(folder)
    names = {"socket": "munge.sock", "pid-file": "munged.pid", "log-file": "munged.log", "seed-file": "munged.seed"}
    paths = [f"--{option}={folder}/run/{name}" for option, name in names.items()]
    as_munge = ("setpriv", "--reuid=munge", "--regid=munge", "--clear-groups")
    cluster(*as_munge, "munged", "--force", f"--key-file={key}", *paths)
    cluster("slurmctld", "-f", folder / "slurm.conf")
    for node in ("node1", "node2"):
        cluster("slurmd", "-N", node, "-f", folder / "slurm.conf")
    try:
        until(lambda: "idle" in cluster("sinfo", "-h", "-o", "%t"), seconds=60)
        yield cluster
    finally:
        cluster.end()
        until(lambda: not list(folder.glob("run/slurm*.pid")), seconds=60)
        shutil.rmtree(folder, ignore_errors=True)
