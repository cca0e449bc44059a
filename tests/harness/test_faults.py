"""Fault injection: whatever a method does to its process, the suite goes on, the record says what it was, and the report shows it.

One command runs a suite of nothing but faults and a sound run at its end.
"""

import re

import psutil
import pytest

from harness.cli.progress import summary
from harness.records import from_json
from harness.runs.worker_process import _memory_kills

pytestmark = pytest.mark.long

FAULTS = {
    "Exits": ("failed", "ended with exit code 7 before it could report; its output is above"),
    "Killed": (
        ("out_of_memory", r"killed by SIGKILL \(most likely by the kernel, out of memory\)")
        if _memory_kills() is None
        else ("failed", "killed by SIGKILL, and the kernel counted no kill for want of memory")
    ),
    "Segfaults": ("failed", "killed by SIGSEGV"),
    "Hangs": ("timeout", r"did not end within the limit of 10 s \(--time-limit\)"),
    "HoldsTheLock": ("timeout", r"did not end within the limit of 10 s \(--time-limit\)"),
    "IgnoresTerm": ("timeout", r"did not end within the limit of 10 s \(--time-limit\)"),
    "Diverges": ("diverged", "the loss is not finite from step 1 of epoch 2 on.*--set learning_rate"),
    "OutOfMemory": ("out_of_memory", "CUDA out of memory. Tried to allocate 2.00 GiB"),
    "NoHostMemory": ("out_of_memory", "out of memory: MemoryError"),
    "SystemExits": ("failed", r"SystemExit: 3 \(tinyworld_models.py:\d+, in misbehave\).*Mend it there"),
    "Interrupts": ("failed", r"KeyboardInterrupt:.*\(tinyworld_models.py:\d+, in misbehave\).*Mend it there"),
    "HasABug": ("failed", r"ValueError: an odd value \(tinyworld_models.py:\d+, in misbehave\).*Mend it there"),
    "LosesTheGradient": ("failed", "no gradient leads from the loss.*no detach"),
    "ChangesFrozenWeights": ("failed", "changed weights that are frozen.*Train what is to change"),
    "ChangesDefaults": ("failed", "changes what all of torch shares: torch.set_default_dtype.*Leave it as it is"),
    "ReturnsAVector": ("failed", r"the shape \(4,\), and no scalar.*Return a scalar"),
    "Chatters": ("ok", None),
    "Leaks": ("ok", None),
    "LeavesAProcess": ("ok", None),
    "Abandons": ("failed", "ended with exit code 7 before it could report"),
    "Seeds": ("ok", None),
}
WORDS = [
    "run", "tiny", "--methods", ",".join([*(f"tinyworld:{name}" for name in FAULTS), "clip_adapter"]),
    "--datasets", "tiny-colours", "--backbone", "tiny-clip", "--device", "cpu", "--time-limit", "10",
    "--set", "clip_adapter.epochs=1", "--set", "clip_adapter.batch_size=4",
]  # fmt: skip


@pytest.fixture(scope="module")
def suite(tiny_adaptbench, tmp_path_factory):
    """The process, and the records by the method's name."""
    folder = tmp_path_factory.mktemp("faults")
    process = tiny_adaptbench(*WORDS, "--results", folder / "results", "--site", folder / "site", cwd=folder)
    records = [from_json(path.read_bytes(), path.name) for path in (folder / "results").rglob("*.json")]
    return process, {record.key.method.removeprefix("tinyworld:"): record for record in records}, folder


def test_the_suite_goes_on_to_its_end(suite):
    process, records, folder = suite
    assert set(records) == {*FAULTS, "clip_adapter"}
    assert records["clip_adapter"].status == "ok"
    failed = sum(status != "ok" for status, _ in FAULTS.values())
    assert process.returncode == 1
    assert f"{len(records) - failed} of {len(records)} runs ok" in process.stdout
    assert f"{failed} failed" in process.stderr
    page = (folder / "site" / "index.html").read_text()
    assert all(name in page for name in FAULTS)


def runs(number):
    try:
        return psutil.Process(number).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_is_a_row_with_its_status_and_advice(suite, fault):
    status, says = FAULTS[fault]
    record = suite[1][fault]
    assert record.status == status, record.reason
    if says:
        assert re.search(says, " ".join(summary(record).split())), record.reason
        assert record.accuracy == {}


@pytest.mark.parametrize("fault", ["LeavesAProcess", "Abandons"])
def test_what_a_method_leaves_running_is_ended_and_said(suite, fault):
    (text,) = [text for text in suite[1][fault].warnings if "left" in text]
    assert re.search(r"left (\d processes|1 process) running \(sleep\): (they were|it was) ended", text), text
    numbers = [int(number) for number in (suite[2] / "left-behind").read_text().split()]
    assert numbers
    assert not [number for number in numbers if runs(number)]


def test_what_a_method_does_to_its_process_is_nothing_to_the_next_run(suite):
    sound, seeded = suite[1]["Chatters"], suite[1]["Seeds"]
    assert sound.accuracy == suite[1]["Leaks"].accuracy == suite[1]["LeavesAProcess"].accuracy
    assert seeded.accuracy.keys() == sound.accuracy.keys()
    assert len(suite[0].stdout) > 10_000_000, "what it printed is there"
