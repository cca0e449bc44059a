"""Processes that share a results folder do each run once, whichever of them dies."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from harness.errors import DataError
from harness.records import to_json
from harness.runs import claims as module
from harness.runs.claims import Claims, Worker, claim_numbers, workers

A, B = "suite/method/a.json", "suite/method/b.json"


@pytest.fixture
def folder(tmp_path):
    return tmp_path / ".claims"


@pytest.fixture
def clock(monkeypatch):
    """`clock[0]` is what the reader's clock says; heartbeats come by the real one."""
    now = [1000.0]
    monkeypatch.setattr(module.time, "monotonic", lambda: now[0])
    return now


@pytest.fixture
def elsewhere(folder):
    """`elsewhere(run, beat=1)`: an owner on another machine, which this one can't look into, has a run in hand."""

    def claim(run, number=0, beat=1, owner="another"):
        folder.mkdir(exist_ok=True)
        worker = Worker(host="there", machine="another", pid=1, job=None, beat=beat, runs={run: 3.0})
        (folder / f"worker-{owner}").write_text(json.dumps(vars(worker)))
        (folder / f"{module._digest(run)}-{number}").write_text(json.dumps({"owner": owner, "run": run}))

    return claim


def test_a_run_is_one_processes_until_it_is_given_back(folder):
    with Claims(folder) as first, Claims(folder) as second:
        assert first.take([A, B]) == A
        assert second.take([A, B]) == B
        assert first.take([A, B]) is second.take([A, B]) is None
        assert first.holds(A)
        assert {run for worker, _ in workers(folder).values() for run in worker.runs} == {A, B}
        assert first.runs_here() == second.runs_here() == 2
        first.give_back(A)
        assert second.take([A, B]) == A
        second.finish(A)
    assert os.listdir(folder) == []


def test_who_is_silent_for_a_lease_is_dead_by_the_readers_clock_alone(folder, clock, elsewhere):
    elsewhere(A)
    with Claims(folder, lease_seconds=60) as claims:
        assert claims.take([A]) is None
        clock[0] += 59
        elsewhere(A, beat=2)
        assert claims.take([A]) is None
        clock[0] += 60
        assert claims.take([A]) is None, "it was heard 60 seconds ago, and no lease has passed since"
        clock[0] += 0.1
        assert claims.take([A]) == A
        assert claim_numbers(folder) == {module._digest(A): 1}
        claims.finish(A)
        assert claim_numbers(folder) == {}, "the dead owner's claim goes too"


@pytest.mark.parametrize("text", ["", '{"owner": "ano', "[]"])
def test_a_claim_that_was_never_finished_writing_waits_for_a_lease(folder, clock, text):
    folder.mkdir()
    (folder / f"{module._digest(A)}-0").write_text(text)
    with Claims(folder, lease_seconds=60) as claims:
        assert claims.take([A]) is None
        clock[0] += 61
        assert claims.take([A]) == A


def test_of_those_who_find_an_owner_dead_one_takes_over(folder, clock, elsewhere):
    elsewhere(A)
    with Claims(folder, lease_seconds=60) as first, Claims(folder, lease_seconds=60) as second:
        assert first.take([A]) is second.take([A]) is None
        clock[0] += 61
        seen_by_both = claim_numbers(folder)
        assert first.take([A]) == A
        with pytest.MonkeyPatch.context() as late:
            late.setattr(module, "claim_numbers", lambda folder: seen_by_both)
            assert second.take([A]) is None


def test_who_was_suspended_notices_that_the_run_is_anothers(folder, elsewhere):
    with Claims(folder) as claims:
        assert claims.take([A]) == A
        elsewhere(A, number=1)
        assert not claims.holds(A)
        claims.give_back(A)
        assert claim_numbers(folder) == {module._digest(A): 1}, "what another holds stays"
        assert claims.take([B]) == B
        elsewhere(B)  # done by another with its claims gone, and once more in hand
        assert not claims.holds(B)
        claims.give_back(B)
        assert module._digest(B) in claim_numbers(folder)


def test_a_folder_that_takes_no_claim_is_said_with_the_way_on(folder, monkeypatch):
    with Claims(folder) as claims, monkeypatch.context() as full_disk:
        full_disk.setattr(Path, "open", lambda *args: (_ for _ in ()).throw(OSError(28, "No space left on device")))
        with pytest.raises(DataError, match=r"can't be claimed in .*: No space left on device"):
            claims.take([A])


def test_an_owner_that_was_killed_on_this_machine_is_dead_at_once(folder):
    code = f"""
from pathlib import Path
from harness.runs.claims import Claims
with Claims(Path({str(folder)!r})) as claims:
    print(claims.take([{A!r}]), flush=True)
    input()
"""
    with subprocess.Popen([sys.executable, "-c", code], stdin=-1, stdout=-1, text=True) as process:
        assert process.stdout.readline().strip() == A
        with Claims(folder) as claims:
            assert claims.take([A]) is None
            process.send_signal(signal.SIGKILL)
            os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)  # it stays a zombie
            assert claims.take([A]) == A


LINES = """
import dataclasses, itertools, os, signal, sys
from pathlib import Path
from types import SimpleNamespace
from harness.records import from_json
from harness.runs.claims import Claims
from harness.runs.store import Store
from harness.runs.todo import Todo

source, target = map(Path, sys.argv[1:])
record = from_json(source.read_bytes(), "source")
runs = [SimpleNamespace(key=dataclasses.replace(record.key, seed=seed)) for seed in (1, 2)]
FILES = ("claims.py", "todo.py", "store.py", "files.py")
CHANGES = ("os.mkdir", "os.remove", "os.rename")

def work(store):
    present = store.names()
    left = [run for run in runs if store.name(run.key) not in present]
    if left:
        with Claims(store.claims_folder, lease_seconds=0.05) as claims:
            todo = Todo(left, {}, store, claims)
            while todo:
                taken, _ = todo.take()
                if taken:
                    name, run = taken
                    if todo.is_ours(name):
                        store.write(dataclasses.replace(record, key=run.key))
                    todo.finish(name)
    store.sweep()

def killed(store, line):
    # Whether a process is, that is to be killed at so many of the two lines after each change of a file.
    pid = os.fork()
    if pid == 0:
        lines, after = itertools.count(), [0]

        def change(event, args):
            if event in CHANGES or event == "open" and args[2] & (os.O_WRONLY | os.O_RDWR):
                after[0] = 2

        def trace(frame, event, arg):
            file = frame.f_code.co_filename
            if "pathlib" not in file and not file.endswith(FILES):
                return None
            if event == "line" and after[0]:
                after[0] -= 1
                if next(lines) == line:
                    os.kill(os.getpid(), signal.SIGKILL)
            return trace

        sys.addaudithook(change)
        sys.settrace(trace)
        work(store)
        sys.settrace(None)
        os._exit(0)
    return os.WIFSIGNALED(os.waitpid(pid, 0)[1])

left, parts = set(), 0
for line in itertools.count():
    store = Store(target / str(line))
    if not killed(store, line):
        break
    found = os.listdir(store.claims_folder) if store.claims_folder.exists() else ()
    parts += len(list(store.folder.rglob("*.part")))
    left |= {("worker" if file.startswith("worker-") else "claim", (store.claims_folder / file).stat().st_size > 0)
             for file in found}
    work(store)
    assert len(store.names()) == 2, line
    assert not found or os.listdir(store.claims_folder) == [], (line, found)
    assert not list(store.folder.rglob("*.part")), line
assert left == {("worker", False), ("worker", True), ("claim", False), ("claim", True)}, left
assert parts > 1, parts
print(line)
"""


def test_at_whatever_line_a_process_is_killed_the_next_one_leaves_nothing_of_it(tmp_path, a_record):
    """Also where there is nothing left to do, and where a heartbeat, a claim or a record was begun and not written."""
    source = tmp_path / "source.json"
    source.write_bytes(to_json(a_record()))
    words = [sys.executable, "-c", LINES, str(source), str(tmp_path / "results")]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) > 30, "lines at which it was killed"


KILLS = """
import dataclasses, json, os, random, signal, sys, time
from pathlib import Path
from types import SimpleNamespace
from harness.records import from_json
from harness import processes
from harness.runs import claims
from harness.runs.claims import Claims
from harness.runs.store import Store
from harness.runs.todo import Todo

source, folder, (kills, runs), longest = *map(Path, sys.argv[1:3]), map(int, sys.argv[3:5]), float(sys.argv[5])
record = from_json(source.read_bytes(), "source")
keys = [dataclasses.replace(record.key, seed=i + 1) for i in range(runs)]
log = os.open(folder / "log", os.O_WRONLY | os.O_APPEND | os.O_CREAT)

def work(number):
    if number % 2:  # as if on a machine of its own: only its silence shows that it is dead
        claims.machine = processes.machine = lambda: f"machine {number}"
    store, chance = Store(folder), random.Random(number)
    with Claims(store.claims_folder, lease_seconds=3) as held:
        present = store.names()
        runs = [SimpleNamespace(key=key) for key in keys if store.name(key) not in present]
        todo = Todo(runs, {}, store, held)
        while todo:
            taken, _ = todo.take()
            if taken is None:
                time.sleep(0.05)
                todo.done_elsewhere()
                continue
            name, run = taken
            os.write(log, f"began {name}\\n".encode())
            time.sleep(longest * chance.random())
            if todo.is_ours(name):
                store.write(dataclasses.replace(record, key=run.key))
                os.write(log, f"ended {name}\\n".encode())
                todo.finish(name)

def start(number):
    pid = os.fork()
    if pid == 0:
        try:
            work(number)
        finally:
            os._exit(0)
    return pid

chance, started, killed = random.Random(1), 3, 0
alive = [start(number) for number in range(started)]
while killed < kills:
    time.sleep(0.15 * chance.random())
    victim = alive.pop(chance.randrange(3))
    os.kill(victim, signal.SIGKILL)
    _, status = os.waitpid(victim, 0)
    killed += os.WIFSIGNALED(status)
    alive.append(start(started))
    started += 1
    if not os.WIFSIGNALED(status):
        break  # it had nothing left to do
for pid in alive:
    os.waitpid(pid, 0)
print(killed)
"""


@pytest.mark.parametrize("kills", [10, pytest.param(200, marks=pytest.mark.long)])
def test_kills_at_any_moment_lose_no_run_and_do_none_twice(tmp_path, a_record, kills):
    """Three workers, one of which is killed again and again, half of them on machines of their own."""
    source, folder = tmp_path / "source.json", tmp_path / "results"
    source.write_bytes(to_json(a_record()))
    folder.mkdir()
    runs = 30 if kills > 10 else 12
    words = [sys.executable, "-c", KILLS, source, folder, kills, runs, 4 if kills > 10 else 0.3]
    done = subprocess.run(list(map(str, words)), capture_output=True, text=True, check=True)
    killed = int(done.stdout)
    events = (folder / "log").read_text().splitlines()
    ended = [event for event in events if event.startswith("ended")]
    assert len(list(folder.rglob("*.json"))) == runs
    assert len(ended) == len(set(ended))
    assert len(events) - len(ended) <= runs + killed, "a kill costs one run at most"
    assert killed == kills or (kills == 10 and killed > 3), "else too few kills fell into the work"
