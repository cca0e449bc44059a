"""Real processes: whatever a run does to its own, the suite goes on and the record says what happened."""

import os
import signal
import subprocess
import sys
import time
from types import SimpleNamespace

import psutil
import pytest

from harness.processes import is_gone
from harness.records import RunRecord, from_json
from harness.runs import worker_process
from harness.runs.worker_process import (
    _MARK,
    EXIT_UNGUARDED,
    Isolation,
    _end_marked,
    _fork_server,
    _memory_kills,
    _reason_of_exit,
    _RunProcess,
    _status_of_exit,
)

METHODS = ("Exits", "Killed", "Segfaults", "Hangs", "Diverges", "OutOfMemory")
WORDS = [
    "run", "tiny", "--methods", ",".join([*(f"tinyworld:{name}" for name in METHODS), "clip_adapter"]),
    "--datasets", "tiny-colours", "--backbone", "tiny-clip", "--device", "cpu", "--time-limit", "10",
    "--set", "clip_adapter.epochs=1", "--set", "clip_adapter.batch_size=4",
]  # fmt: skip


KILLED = (
    ("Killed", "out_of_memory", "killed by SIGKILL (most likely by the kernel, out of memory)")
    if _memory_kills() is None
    else ("Killed", "failed", "killed by SIGKILL, and the kernel counted no kill for want of memory")
)


def read(folder):
    return {
        r.key.method.removeprefix("tinyworld:"): r for r in (from_json(p.read_bytes(), p.name) for p in files(folder))
    }


def files(folder):
    return sorted(folder.rglob("*.json"))


@pytest.fixture(scope="module")
def sick_suite(tiny_adaptbench, tmp_path_factory):
    """A suite in which all but the last run go wrong, each in its own way: the process, its records, its folder."""
    folder = tmp_path_factory.mktemp("sick")
    process = tiny_adaptbench(*WORDS, "--results", folder)
    return process, read(folder), folder


def test_the_suite_goes_on_to_its_end(sick_suite):
    process, records, _ = sick_suite
    assert process.returncode == 1
    assert set(records) == {*METHODS, "clip_adapter"}
    assert "1 of 7 runs ok" in process.stdout
    assert "6 failed" in process.stderr
    assert "--retry-failed" in process.stderr
    assert [line[:5] for line in process.stdout.splitlines() if line.startswith("[")] == [
        f"[{i}/7]" for i in range(1, 8)
    ]


def test_the_run_after_all_the_crashes_is_sound(sick_suite):
    record = sick_suite[1]["clip_adapter"]
    assert record.status == "ok", record.reason
    assert len(record.epoch_losses) == 1


@pytest.mark.parametrize(
    ("method", "status", "reason"),
    [
        ("Exits", "failed", "the run's process ended with exit code 7 before it could report"),
        KILLED,
        ("Segfaults", "failed", "the run's process was killed by SIGSEGV."),
        ("Hangs", "timeout", "the run did not end within the limit of 10 s (--time-limit)."),
        ("Diverges", "diverged", "the loss is not finite from step 1 of epoch 2 on."),
        ("OutOfMemory", "out_of_memory", "out of memory: CUDA out of memory. Tried to allocate 2.00 GiB."),
    ],
)
def test_a_crash_is_a_row_with_its_reason(sick_suite, method, status, reason):
    process, records, _ = sick_suite
    record = records[method]
    assert record.status == status
    assert reason in record.reason
    assert record.accuracy == {}
    assert record.total_seconds > 0
    assert record.environment.cpu_count
    assert reason.splitlines()[0][:40] in " ".join(process.stdout.split())
    if method in ("Exits", "Killed", "Segfaults", "Hangs"):
        assert record.missing == {"windows": "the process ended before it could report"}


def test_failed_runs_are_left_alone_and_done_again_on_request(sick_suite, tiny_adaptbench, tiny_weights):
    _, _, folder = sick_suite
    before = {path: (path.stat().st_mtime_ns, path.read_bytes()) for path in files(folder)}
    again = tiny_adaptbench(*WORDS, "--results", folder)
    assert again.returncode == 1
    assert "7 of 7 runs are done already" in again.stdout
    assert {path: (path.stat().st_mtime_ns, path.read_bytes()) for path in files(folder)} == before
    healthy = {"TINYWORLD": str(tiny_weights), "TINYWORLD_WELL": "1"}
    retried = tiny_adaptbench(*WORDS, "--results", folder, "--retry-failed", environment=healthy)
    assert retried.returncode == 0, retried.stdout + retried.stderr
    assert "1 of 7 runs are done already" in retried.stdout
    assert {record.status for record in read(folder).values()} == {"ok"}
    assert set(files(folder)) == set(before)
    unchanged = [p for p in files(folder) if (p.stat().st_mtime_ns, p.read_bytes()) == before[p]]
    assert [p.parent.name for p in unchanged] == ["clip_adapter"]


@pytest.mark.skipif(not hasattr(signal, "SIGSTOP"), reason="no process can be stopped here")
def test_time_in_which_a_run_is_stopped_does_not_count_to_its_limit():
    isolation, start = Isolation(60), time.monotonic() - 1
    with subprocess.Popen(["sleep", "60"]) as process:
        run = isolation._runs["run"] = _RunProcess(None, process, None, "", start)
        try:
            process.send_signal(signal.SIGSTOP)
            while psutil.Process(process.pid).status() != psutil.STATUS_STOPPED:
                pass
            isolation._looked = start
            left = isolation._left(run)
            isolation._look()
            assert isolation._left(run) > left
            process.send_signal(signal.SIGCONT)
            while psutil.Process(process.pid).status() == psutil.STATUS_STOPPED:
                pass
            stopped = run.suspended_seconds
            isolation._look()
            assert run.suspended_seconds == stopped
            run.start, isolation._looked = (
                start - 100,
                isolation._looked - 50,
            )  # as if this process had been stopped, too
            left = isolation._left(run)
            isolation._look()
            assert isolation._left(run) > left
        finally:
            process.kill()


def test_a_kill_is_the_kernels_where_it_counted_one(monkeypatch):
    monkeypatch.setattr(worker_process, "cgroup_memory_bytes", lambda: 3 << 30)
    assert _status_of_exit(-signal.SIGKILL, by_kernel=True) == "out_of_memory"
    assert "out of memory; this container may use 3.0 GiB" in _reason_of_exit(-signal.SIGKILL, by_kernel=True)
    assert _status_of_exit(-signal.SIGTERM, by_kernel=True) == "failed"


@pytest.mark.skipif(sys.platform != "linux", reason="no fork server is used here")
def test_a_run_whose_fork_server_is_killed_is_begun_again(job):
    """And one that is fine stays as it is."""
    with Isolation() as isolation:
        isolation.start("a run", job("clip_adapter"))
        while not isolation.wait(1):
            """Until it says that it began."""
        killed = _fork_server()._forkserver_pid
        os.kill(killed, signal.SIGKILL)
        record = None
        while record is None:
            record = next((told for _, told in isolation.wait() if isinstance(told, RunRecord)), None)
        assert record.status == "ok", record.reason
        assert [text for text in record.warnings if "was killed once: this run was begun again" in text]
        assert _fork_server()._forkserver_pid != killed
        assert is_gone(killed)


def test_a_run_that_takes_its_fork_server_along_each_time_fails(monkeypatch):
    """As one may that takes all memory."""
    isolation, begun = Isolation(), []
    monkeypatch.setattr(worker_process, "is_gone", lambda pid: True)
    monkeypatch.setattr(
        isolation, "_start", lambda work, job: begun.append(job) or _RunProcess(job, None, None, "", 0.0, "x", 1)
    )
    run = _RunProcess("a job", None, None, "", 0.0, "x", 1)
    while isolation._begins_again("a run", run):
        run = isolation._runs["a run"]
    assert begun == ["a job"] * 2


def test_what_a_dead_run_has_started_is_ended_wherever_it_went():
    starts = "import subprocess; print(subprocess.Popen(['sleep', '600'], stdout=-3, start_new_session=True).pid)"
    mark = f"a run's of {os.getpid()}"  # other sessions on the machine run this test too
    environment = {**os.environ, _MARK: mark}
    said = subprocess.run([sys.executable, "-c", starts], env=environment, stdout=-1, text=True, check=True)
    assert _end_marked("another's") == []
    assert not is_gone(int(said.stdout))
    assert _end_marked(mark) == ["sleep"]
    while not is_gone(int(said.stdout)):
        """Until the kernel has done it."""


def test_what_a_dead_run_has_started_is_found_while_its_program_begins(monkeypatch):
    """For milliseconds the kernel shows such a process without environment and arguments."""
    mark, shown = f"a run's of {os.getpid()}", {"environ": 1, "cmdline": 1}

    def late(name, original):
        def answer(process):
            if process.pid == started.pid and shown[name]:
                shown[name] -= 1
                return {} if name == "environ" else []
            return original(process)

        return answer

    for name in shown:
        monkeypatch.setattr(psutil.Process, name, late(name, getattr(psutil.Process, name)))
    with subprocess.Popen(["sleep", "600"], env={**os.environ, _MARK: mark}) as started:
        try:
            assert _end_marked(mark) == ["sleep"]
        finally:
            started.kill()
    assert shown == {"environ": 0, "cmdline": 0}


SCRIPT = """
import multiprocessing
from harness.runs.worker_process import end_if_importing
end_if_importing()
if multiprocessing.parent_process() is None:
    process = multiprocessing.get_context("spawn").Process(target=print)
    process.start()
    process.join()
    print(process.exitcode)
"""


def test_a_script_that_begins_a_suite_when_it_is_imported_is_told_by_its_exit_code(tmp_path):
    (tmp_path / "script.py").write_text(SCRIPT)
    done = subprocess.run([sys.executable, tmp_path / "script.py"], capture_output=True, text=True)
    assert (done.stdout, done.stderr) == (f"{EXIT_UNGUARDED}\n", "")


def tell_the_environment(job, sender):
    sender.send({name: value for name, value in os.environ.items() if name.startswith(("TOLD_", "PYTHONSAFE"))})


def test_a_run_has_the_environment_of_the_process_that_starts_it_now_and_not_of_when_the_fork_server_began(monkeypatch):
    monkeypatch.setenv("TOLD_EARLY", "1")
    with Isolation() as isolation:
        told = []
        for name in ("TOLD_LATE", "TOLD_LATER"):
            monkeypatch.setenv(name, "2")
            run = isolation._start(tell_the_environment, SimpleNamespace(gpu=None))
            told.append(run.receiver.recv())
            run.stop()
            monkeypatch.delenv("TOLD_EARLY", raising=False)
    assert told == [{"TOLD_EARLY": "1", "TOLD_LATE": "2"}, {"TOLD_LATE": "2", "TOLD_LATER": "2"}]
