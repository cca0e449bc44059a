"""Fault injection, the machine's side: images, threads and disks that go while a suite runs, each with a reason and advice."""

import json
import re
import shlex
import shutil
import subprocess
import sys
from dataclasses import replace

import pytest
from PIL import Image

from harness.cli.progress import summary
from harness.runs.runner import execute
from harness.runs.store import Store
from tests.conftest import FAKES


def pictures(folder):
    """Ten images of each of four classes, to read by ``folder:``."""
    for number, name in enumerate(("red", "green", "blue", "grey")):
        (folder / name).mkdir(parents=True)
        for i in range(10):
            Image.new("RGB", (32, 32), (60 * number, 6 * i, 90)).save(folder / name / f"{i}.png")


def test_an_image_that_goes_in_the_middle_of_a_run_is_a_row_that_names_it(job, tmp_path):
    pictures(tmp_path / "pictures")
    run = job("clip_adapter", dataset=f"folder:{tmp_path / 'pictures'}", settings={"epochs": "1"})

    def once_it_trains(event):
        if getattr(event, "phase", "") == "test":
            for path in (tmp_path / "pictures").rglob("*.png"):
                path.unlink()

    record = execute(run, once_it_trains)
    assert record.status == "failed"
    assert record.epoch_losses
    assert "there is no image" in record.reason
    assert "Complete the copy of the dataset" in summary(record)


@pytest.mark.parametrize(
    ("error", "says"),
    [
        (SystemExit(3), "SystemExit: 3"),
        (MemoryError(), "out of memory"),
        (RuntimeError("can't start new thread"), "no more threads.*ulimit -u"),
    ],
    ids=["ends", "has no memory", "isn't started"],
)
def test_a_reading_thread_that_ends_is_a_row_with_its_reason(job, tinyworld, monkeypatch, error, says):
    """An exception is all by which a thread of Python's ends before its process."""

    def ends(image):
        raise error

    monkeypatch.setattr(
        tinyworld, "COLOURS", replace(tinyworld.COLOURS, read=lambda folders: replace(tinyworld.splits(), open=ends))
    )
    record = execute(job("clip_adapter"))
    assert record.status == ("out_of_memory" if isinstance(error, MemoryError) else "failed")
    assert re.search(says, summary(record).replace("\n", " "))


WORDS = ["run", "tiny", "--methods", "clip_adapter", "--datasets", "tiny-colours", "--backbone", "tiny-clip", "--device", "cpu",
         "--set", "epochs=2", "--set", "warmup_epochs=0"]  # fmt: skip
ONCE = {  # by what can't be written, for a moment: the exit code, and what the command says
    "heartbeat": (0, ""),
    "experiment's file": (0, "this command can't be kept as an experiment's file: No space left on device"),
    "plan of a suite": (2, "the plan of a suite can't be kept in .*: No space left on device.*Free some space"),
    "claim": (2, "a run can't be claimed in .*: No space left on device.*Free some space"),
    "predictions": (0, "predictions can't be kept: No space left on device.*The same command does this run again"),
    "saved model": (
        0,
        "clip_adapter could not be saved: No space left on device.*The same command does this run again",
    ),
    "record": (
        2,
        "the record of a finished run can't be written to .*: No space left on device.*It is kept in .*move the record",
    ),
    "page of a report": (2, "the report can't be written to .*: No space left on device.*Name another place"),
}


@pytest.fixture(scope="module")
def full_disks(start, tiny_weights, tmp_path_factory):
    """What a command comes to for each write that fails, and for each from which on all do."""
    folder = tmp_path_factory.mktemp("full")
    (folder / "tmp").mkdir()
    environment = {"TINYWORLD": str(tiny_weights), "TMPDIR": str(folder / "tmp")}
    words = [folder / "disk", *WORDS, "--predictions", "--save"]
    with start(*words, python=(FAKES / "full_disk.py",), plugins=(FAKES,), environment=environment) as process:
        out, err = process.communicate(timeout=3600)
    assert process.returncode == 0, err
    return folder / "disk", [json.loads(line) for line in out.splitlines()]


@pytest.mark.long
@pytest.mark.parametrize("kind", ONCE)
def test_a_disk_that_is_full_for_a_moment(full_disks, kind):
    found = [each for each in full_disks[1] if each["kind"] == kind and not each["lasts"]]
    assert found
    for each in found:
        code, says = ONCE[kind]
        assert each["code"] == code, each["err"]
        assert re.search(says, each["err"].replace("\n", " ")), each["err"]


@pytest.mark.long
def test_wherever_a_disk_gets_full_the_command_says_it_and_goes_on_once_there_is_space(full_disks):
    folder, outcomes = full_disks
    assert {each["kind"] for each in outcomes} == {*ONCE}
    for each in outcomes:
        assert "Traceback" not in each["out"] + each["err"]
        assert each["code"] in (0, 2)
        assert each["again"]["code"] == 0, each["again"]["err"]
        results = Store(folder / each["folder"] / "results")
        (name,) = results.names()
        assert results.read(name).status == "ok"
        assert (results.folder / name).with_suffix(".parquet").exists()
        assert (results.folder / name).with_suffix(".safetensors").exists()
        assert (folder / each["folder"] / "site" / "index.html").exists()


@pytest.mark.long
@pytest.mark.skipif(subprocess.run(["unshare", "-rm", "true"], check=False, capture_output=True).returncode != 0
                    if shutil.which("unshare") else True, reason="no file system can be mounted here")  # fmt: skip
def test_a_disk_that_a_run_fills(start, tiny_weights, tmp_path):
    """A real one, of 24 MiB: the record is kept elsewhere, and the same command goes on once it has been put in its place."""
    disk, python = tmp_path / "disk", sys.executable
    disk.mkdir()
    run = shlex.join([python, "-m", "harness", *WORDS, "--results", str(disk / "results")])
    fills = run.replace("clip_adapter", "clip_adapter,tinyworld:FillsTheDisk")
    shell = f"""
        mount -t tmpfs -o size=24m none {disk}
        {fills}; echo "code $?"; rm {disk}/filler
        TINYWORLD_WELL=1 {fills}; echo "code $?"; find {disk} -name '*.json'
    """
    environment = {"TINYWORLD": str(tiny_weights), "TMPDIR": str(tmp_path), "TINYWORLD_FILLS": str(disk / "filler")}
    with start("-rm", "sh", "-c", shell, python=("-c", "import os, sys; os.execvp('unshare', ['unshare', *sys.argv[1:]])"),
               plugins=(FAKES,), environment=environment) as process:  # fmt: skip
        out, err = process.communicate(timeout=600)
    assert "Traceback" not in out + err
    assert re.findall(r"code \d", out) == ["code 2", "code 0"], err
    assert "No space left on device. It is kept in" in err
    assert len(re.findall(r"\.json$", out, re.MULTILINE)) == 2
