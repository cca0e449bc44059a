"""A suite by the real command: resumed after a kill, the same twice and side by side, interrupted, reported."""

import dataclasses
import json
import os
import signal
import time
from functools import partial
from pathlib import Path

import psutil
import pytest

from harness.records import from_json

FAKES = Path(__file__).parent / "fakes"
METHODS = ("zero_shot", "clip_adapter", "skip_tuning")
WORDS = [
    "run", "base2new", "--methods", ",".join(METHODS), "--datasets", "tiny-colours", "--backbone", "tiny-clip",
    "--device", "cpu", "--seeds", "1", "--shots", "4",
    "--set", "epochs=1", "--set", "warmup_epochs=0", "--set", "skip_tuning.start_layer=1",
]  # fmt: skip
SUITE_OF_ONE = [{"epochs=1": "epochs=2"}.get(word, word) for word in WORDS if not word.startswith("skip_tuning.")][:-1]
SKIP_TUNING = ["skip_tuning" if word == ",".join(METHODS) else word for word in WORDS]
HANGS_SECONDS = 300
"""How long a process may take to end, which takes seconds, before it counts as hung."""


def files(folder):
    return sorted(p for p in folder.rglob("*.json") if not p.name.startswith("."))


def read(folder):
    return {p.relative_to(folder): from_json(p.read_bytes(), p.name) for p in files(folder)}


def timeless(record):
    """A record without what no two runs share: times, the resident set, the machine's load, who extracted and counted for whom."""
    kept = dataclasses.replace(
        record,
        started_at="",
        total_seconds=0,
        step_seconds=(),
        load_seconds=None,
        extract_seconds=None,
        reused_test_features=None,
        reused_test_seconds=None,
        peaks_of_seed=None,
        windows={},
        warnings=(),
        environment=dataclasses.replace(record.environment, load_average=None, concurrent_runs=None),
    )
    return kept, len(record.step_seconds), {p: w.peak_tensor_bytes for p, w in record.windows.items()}


def until(condition, process, seconds=240):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "waited in vain"
        assert process.poll() is None, process.communicate()
        time.sleep(0.02)


@pytest.fixture(scope="module")
def start_tiny(start, tiny_weights):
    """The command with `tinyworld` installed."""
    return partial(start, plugins=(FAKES,), environment={"TINYWORLD": str(tiny_weights)})


@pytest.fixture(scope="module")
def undisturbed(start_tiny, tmp_path_factory):
    """The suite; at the same time the same suite once more; and one run of it in the reference execution. A folder each."""
    folders = [tmp_path_factory.mktemp(name) for name in ("undisturbed", "beside", "reference")]
    with (
        start_tiny(*WORDS, "--results", folders[0]) as first,
        start_tiny(*WORDS, "--results", folders[1]) as second,
        start_tiny(*SKIP_TUNING, "--execution", "reference", "--results", folders[2]) as third,
    ):
        outputs = [process.communicate(timeout=400) for process in (first, second, third)]
    assert [p.returncode for p in (first, second, third)] == [0, 0, 0], outputs
    assert "3 of 3 runs ok" in outputs[0][0]
    assert [err for _, err in outputs] == ["", "", ""]
    return folders


def test_every_run_leaves_a_whole_record(undisturbed):
    records = read(undisturbed[0])
    assert [r.key.method for r in records.values()] == sorted(METHODS)
    for record in records.values():
        assert record.status == "ok"
        assert set(record.accuracy) == {"tiny-colours/base", "tiny-colours/new"}
        assert bool(record.epoch_losses) == (record.key.method != "zero_shot")
        assert record.windows["train"].peak_tensor_bytes > 4 * record.total_parameters


@pytest.mark.long
def test_the_demo_backbone_is_above_chance(adaptbench, tmp_path):
    """Of 5 classes, by more than four standard deviations of guessing."""
    words = (
        "run",
        "base2new",
        "--methods",
        "zero_shot",
        "--datasets",
        "demo-digits",
        "--seeds",
        "1",
        "--device",
        "cpu",
    )
    assert adaptbench(*words, "--results", tmp_path).returncode == 0
    (record,) = read(tmp_path).values()
    test = record.accuracy["demo-digits/base"]
    assert test.correct > test.images / 5 + 4 * (test.images * 0.2 * 0.8) ** 0.5


def test_two_suites_at_the_same_time_give_bitwise_the_same(undisturbed):
    alone, beside = read(undisturbed[0]), read(undisturbed[1])
    assert len(beside) == 3
    for path, record in beside.items():
        assert record.epoch_losses == alone[path].epoch_losses
        assert record.accuracy == alone[path].accuracy
        assert timeless(record) == timeless(alone[path])


def test_the_reference_execution_gives_the_same_accuracies(undisturbed):
    (reference,) = read(undisturbed[2]).values()
    (fast,) = (r for r in read(undisturbed[0]).values() if r.key.method == reference.key.method)
    assert (reference.key.execution, fast.key.execution) == ("reference", "fast")
    assert reference.accuracy == fast.accuracy
    assert reference.epoch_losses == pytest.approx(fast.epoch_losses, rel=1e-5)


def kill_anywhere(start_tiny, folder, words, *how):
    """The folders of suites that were killed at random moments, and begun again, as `killing.py` does it."""
    with start_tiny(*how, folder, *words, python=(FAKES / "killing.py",)) as process:
        out, err = process.communicate(timeout=4 * 3600)
    assert process.returncode == 0, err
    return sorted(folder.glob("suite-*/")), json.loads(out)


def test_ten_kills_at_any_moment_cost_nothing(start_tiny, undisturbed, tmp_path):
    suites, kills = kill_anywhere(start_tiny, tmp_path, WORDS, "warm", 10, 1)
    assert sum(kills) == 10
    records = {path: timeless(record) for path, record in read(undisturbed[0]).items()}
    for folder in suites:
        assert {path: timeless(record) for path, record in read(folder).items()} == records


@pytest.mark.long
def test_two_hundred_kills_at_any_moment_cost_nothing(start_tiny, tmp_path, record_testsuite_property):
    words = [{"1": "1,2,3,4,5,6,7,8,9,10"}.get(word, word) for word in WORDS]
    suites, kills = kill_anywhere(start_tiny, tmp_path, words, "cold", 200, 0.3)
    record_testsuite_property("kills of a suite of 30 runs", kills)
    records = {path: timeless(record) for path, record in read(tmp_path / "undisturbed").items()}
    assert (sum(kills), len(records)) == (200, 30)
    for folder in suites:
        assert {path: timeless(record) for path, record in read(folder).items()} == records


@pytest.fixture
def start_in_terminal(start_tiny):
    """A process that Ctrl-C reaches, with its whole group. Tests in the background would hand on that it is ignored."""
    return partial(start_tiny, start_new_session=True, preexec_fn=partial(signal.signal, signal.SIGINT, signal.SIG_DFL))


def test_an_interrupt_says_how_to_go_on_and_keeps_what_is_done(start_in_terminal, tmp_path):
    with start_in_terminal(*WORDS, "--results", tmp_path) as process:
        until(lambda: files(tmp_path), process)
        family = psutil.Process(process.pid).children(recursive=True)
        os.killpg(process.pid, signal.SIGINT)
        out, err = process.communicate(timeout=HANGS_SECONDS)
    assert process.returncode == 130
    assert "Traceback" not in out + err
    done = len(files(tmp_path))
    assert f"Interrupted: {done} of 3 runs are recorded. The same command goes on from there." in err
    assert 1 <= done < 3
    assert all(record.status == "ok" for record in read(tmp_path).values())
    assert not psutil.wait_procs(family, timeout=HANGS_SECONDS)[1]
    assert not [
        p for p in tmp_path.rglob("*") if p.is_file() and p.suffix not in (".json", ".safetensors", ".txt", ".yaml")
    ]


INTERRUPTED_AT_A_START = """
import os, signal
from multiprocessing import forkserver

def interrupted(*args, start=forkserver.connect_to_new_process, earlier=[]):
    new = start(*args)
    if earlier:  # the fork server is up, the new process waits for its orders
        os.killpg(0, signal.SIGINT)
    earlier.append(new)
    return new

forkserver.connect_to_new_process = interrupted
from harness.__main__ import main
main()
"""


def test_an_interrupt_while_a_run_is_started_waits_until_it_has(start_in_terminal, tmp_path):
    words = (*WORDS, "--results", tmp_path)
    with start_in_terminal(*words, python=("-c", INTERRUPTED_AT_A_START)) as process:
        out, err = process.communicate(timeout=HANGS_SECONDS)
    assert process.returncode == 130
    assert "Traceback" not in out + err
    assert "Interrupted" in err
    assert not files(tmp_path)


INTERRUPTED_TWICE = """
import os, signal
from harness.runs import suite_runner
from harness.runs.worker_process import Isolation

class Interrupted(Isolation):
    def check(self, job):
        os.kill(os.getpid(), signal.SIGINT)

    def __exit__(self, *exc):
        os.kill(os.getpid(), signal.SIGINT)
        super().__exit__(*exc)

suite_runner.Isolation = Interrupted
from harness.__main__ import main
main()
"""
IMPORTING = """
import multiprocessing
from multiprocessing.context import BaseContext

def preload(self, names, really=BaseContext.set_forkserver_preload):
    really(self, [names[0], "endless"])  # for torch

BaseContext.set_forkserver_preload = preload
from harness.__main__ import main
main()
"""
ENDLESS = """
import pathlib, time
pathlib.Path("importing").touch()
time.sleep(6000)
"""


@pytest.fixture
def hangup_is_heard():
    """Also where these tests run under nohup, which has all that they start ignore it."""
    earlier = signal.signal(signal.SIGHUP, signal.SIG_DFL)
    yield
    signal.signal(signal.SIGHUP, earlier)


@pytest.mark.parametrize("ending", ["SIGINT", "SIGTERM", "SIGHUP", "SIGKILL"])
def test_a_suite_can_be_ended_while_its_fork_server_imports(start_in_terminal, tmp_path, hangup_is_heard, ending):
    (tmp_path / "endless.py").write_text(ENDLESS)
    words = (*WORDS, "--results", tmp_path / "results")
    with start_in_terminal(*words, python=("-c", IMPORTING), plugins=(FAKES, tmp_path), cwd=tmp_path) as process:
        until((tmp_path / "importing").exists, process)
        family = psutil.Process(process.pid).children(recursive=True)
        process.send_signal(getattr(signal, ending))
        _, err = process.communicate(timeout=HANGS_SECONDS)
    assert not psutil.wait_procs(family, timeout=HANGS_SECONDS)[1]
    if ending == "SIGKILL":
        return
    assert process.returncode == 130
    assert "Interrupted: 0 of 3 runs are recorded." in err
    assert not list((tmp_path / "results" / ".claims").iterdir())


@pytest.mark.long
def test_a_killed_suite_takes_along_a_run_that_holds_pythons_lock(start_tiny, tmp_path):
    words = ["tinyworld:HoldsTheLock" if word == ",".join(METHODS) else word for word in SUITE_OF_ONE]
    with start_tiny(*words, "--results", tmp_path / "results", cwd=tmp_path) as process:
        until((tmp_path / "holding").exists, process)
        family = psutil.Process(process.pid).children(recursive=True)
        process.send_signal(signal.SIGKILL)
    assert len(family) >= 3
    assert not psutil.wait_procs(family, timeout=HANGS_SECONDS)[1]


def test_a_second_interrupt_is_answered_and_changes_nothing(start_in_terminal, tmp_path):
    with start_in_terminal(*WORDS, "--results", tmp_path, python=("-c", INTERRUPTED_TWICE)) as process:
        _, err = process.communicate(timeout=HANGS_SECONDS)
    assert process.returncode == 130
    assert "It is ending already" in err
    assert "Interrupted: 0 of 3 runs are recorded." in err
    assert not list((tmp_path / ".claims").iterdir())


@pytest.mark.parametrize("python", [("-m", "harness", "report"), ("-m", "reports")], ids=" ".join)
def test_the_report_names_every_method(adaptbench, undisturbed, tmp_path, python):
    process = adaptbench(undisturbed[0], "-o", tmp_path / "site", python=python)
    assert process.returncode == 0
    page = (tmp_path / "site" / "index.html").read_text()
    assert all(method in page for method in METHODS)
    assert "tiny-colours" in page
    assert str(tmp_path / "site" / "index.html") in process.stdout.replace("\n", "")


def test_a_finished_suite_does_nothing_but_its_report(tiny_adaptbench, undisturbed, tmp_path):
    before = {path: path.stat().st_mtime_ns for path in files(undisturbed[0])}
    process = tiny_adaptbench(*WORDS, "--results", undisturbed[0], "--site", tmp_path / "site", timeout=HANGS_SECONDS)
    assert process.returncode == 0
    assert "3 of 3 runs are done already" in process.stdout
    assert (tmp_path / "site" / "index.html").exists()
    assert {path: path.stat().st_mtime_ns for path in files(undisturbed[0])} == before
