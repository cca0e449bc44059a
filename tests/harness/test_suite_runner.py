"""A suite by one call, without the command: what a notebook does."""

import os
import shutil
import signal
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
from fakes.in_process import InProcess

from harness.errors import ConfigError, DataError
from harness.meters.environment import cpu_threads, describe
from harness.plan import Request, plan
from harness.records import from_json
from harness.runs.claims import Claims, workers
from harness.runs.devices import devices_of, require_device_for, slots
from harness.runs.identity import identified
from harness.runs.job import Place
from harness.runs.runner import check
from harness.runs.store import Store
from harness.runs.suite_runner import (
    Interrupted,
    Outcome,
    RunOptions,
    check_data,
    pending,
    run_suite,
)
from harness.suite import Folders

REQUEST = Request(
    suite="tiny",
    methods=["zero_shot", "tinyworld:Diverges"],
    datasets=["tiny-colours"],
    shots=[2],
    seeds=[1],
    backbone="tiny-clip",
)


class Heard:
    """A progress that writes down what it is told; Ctrl-C comes after `interrupt_after` runs."""

    def __init__(self, interrupt_after=None):
        self.told, self._interrupt_after = [], interrupt_after

    def planned(self, runs, todo, forecasts):
        self.told.append(("planned", len(runs), len(todo)))

    def note(self, text):
        self.told.append(("note", text))

    def started(self, number, run):
        self.told.append(("started", number, run.key.method))

    def event(self, number, event):
        pass

    def done_elsewhere(self, run):
        self.told.append(("done elsewhere", run.key.method))

    def dropped(self, number):
        self.told.append(("dropped", number))

    def ended(self, number, record):
        self.told.append(("ended", record.key.method, record.status))
        if self._interrupt_after == len([what for what, *_ in self.told if what == "ended"]):
            raise KeyboardInterrupt


def test_one_call_plans_runs_and_records(tinyworld, tmp_path):
    options = RunOptions(results=tmp_path / "results", cache=tmp_path / "cache", device="cpu")
    first, second, third = Heard(interrupt_after=1), Heard(), Heard()
    with pytest.raises(Interrupted) as interrupted:
        run_suite(REQUEST, options, first)
    assert interrupted.value.outcome == Outcome(planned=2, ok=1)
    outcome = run_suite(REQUEST, options, second)
    assert outcome == Outcome(planned=2, skipped=1, failed=1)
    assert (outcome.recorded, outcome.not_ok) == (2, 1)
    assert first.told == [("planned", 2, 2), ("started", 1, "zero_shot"), ("ended", "zero_shot", "ok")]
    assert second.told == [
        ("planned", 2, 1),
        ("started", 1, "tinyworld:Diverges"),
        ("ended", "tinyworld:Diverges", "diverged"),
    ]
    assert run_suite(REQUEST, options, third) == Outcome(planned=2, skipped=2, earlier_failures=1)
    assert third.told == [("planned", 2, 0)]
    assert len(list(Store(options.results).folder.rglob("*.json"))) == 2


def test_runs_are_ended_before_their_claims_are_given_back(tinyworld, tmp_path, monkeypatch):
    """Else another process could begin a run again, or time one of its own, beside one that is still to end."""
    options = RunOptions(results=tmp_path / "results", cache=tmp_path / "cache", device="cpu")
    at_work = []

    class Ending(InProcess):
        def __exit__(self, *exc):
            at_work.extend(workers(Store(options.results).claims_folder))

    def interrupted(job):
        raise KeyboardInterrupt

    monkeypatch.setattr("harness.runs.suite_runner.Isolation", lambda limit, compiler: Ending(interrupted))
    with pytest.raises(Interrupted):
        run_suite(REQUEST, options, Heard())
    assert len(at_work) == 1
    assert not workers(Store(options.results).claims_folder)


def test_two_calls_at_a_time_with_two_jobs_each_do_every_run_once_and_as_one_does(tinyworld, tmp_path):
    alone = RunOptions(results=tmp_path / "alone", cache=tmp_path / "cache", device="cpu", threads=1)
    shared = replace(alone, results=tmp_path / "shared", jobs=2)
    run_suite(REQUEST, alone, Heard())
    heard = [Heard(), Heard()]
    with ThreadPoolExecutor() as pool:
        outcomes = list(pool.map(lambda progress: run_suite(REQUEST, shared, progress), heard))
    ended = [[run for what, *run in each.told if what == "ended"] for each in heard]
    assert sorted(ended[0] + ended[1]) == sorted([["zero_shot", "ok"], ["tinyworld:Diverges", "diverged"]])
    for outcome, here in zip(outcomes, ended, strict=True):
        assert (outcome.planned, outcome.recorded, outcome.not_ok) == (2, 2, 1)
        assert outcome.ok + outcome.failed == len(here)
    one, two = (
        {path.name: from_json(path.read_bytes(), path.name) for path in options.results.rglob("*.json")}
        for options in (alone, shared)
    )
    assert {record.environment.concurrent_runs for record in one.values()} == {1}
    assert max(record.environment.concurrent_runs for record in two.values()) == 2
    assert one.keys() == two.keys()
    for name, record in one.items():
        assert two[name].accuracy == record.accuracy
        assert two[name].epoch_losses == record.epoch_losses
        assert two[name].environment.threads == 1
    assert os.listdir(shared.results / ".claims") == []


def instead(monkeypatch, write):
    """In the place of processes, each run comes back at once with what `write` makes of its key."""
    processes = InProcess(lambda job: write(job.run.key))
    monkeypatch.setattr("harness.runs.suite_runner.Isolation", lambda limit, compiler: processes)


@pytest.fixture
def interruptible():
    """Also where this process was begun without: a shell's background jobs ignore Ctrl-C."""
    earlier = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, earlier)


@pytest.mark.usefixtures("interruptible", "tinyworld")
def test_at_whatever_line_an_interrupt_comes_what_is_recorded_is_counted(tmp_path, a_record, monkeypatch):
    """At every 13th line of what takes runs, writes records and gives back claims, while another process does one of three runs.

    A process that goes on, as a notebook's, holds nothing any more.
    """
    request = replace(REQUEST, methods=["zero_shot"], seeds=[1, 2, 3])
    interrupted_at, counts = -1, set()

    def made(key):
        return replace(a_record(), key=key, accuracy={})

    class Traced(InProcess):
        """From its check on, lines are counted."""

        def check(self, job):
            sys.settrace(trace)
            return super().check(job)

    class BesideAnother(Heard):
        """The third run is another's, which has done it once the first begins here."""

        def started(self, number, run):
            if number == 1:
                Store(options.results).write(made(replace(run.key, seed=3)))

    def trace(frame, event, arg):
        nonlocal line
        if not frame.f_code.co_filename.endswith(("suite_runner.py", "todo.py", "claims.py", "store.py", "signals.py")):
            return None
        if event == "line" and frame.f_code.co_name != "__exit__":  # whose first line nothing in Python guards
            line += 1
            if line == interrupted_at:
                signal.raise_signal(signal.SIGINT)
        return trace

    monkeypatch.setattr(
        "harness.runs.suite_runner.Isolation", lambda limit, compiler: Traced(lambda job: made(job.run.key))
    )
    traced = sys.gettrace()
    while True:
        interrupted_at += 13
        line, options = 0, RunOptions(results=tmp_path / str(interrupted_at), cache=tmp_path / "cache", device="cpu")
        try:
            outcome = run_suite(request, options, BesideAnother())
        except Interrupted as interrupted:
            outcome = interrupted.outcome
            counts.add(outcome.ok)
        finally:
            sys.settrace(traced)
        others = ["-seed3-" in path.name for path in options.results.rglob("*.json")]
        assert outcome.ok == others.count(False), interrupted_at
        assert outcome.skipped <= others.count(True), interrupted_at
        assert not any(map(os.listdir, (options.results / ".claims", options.cache / ".running"))), interrupted_at
        if line < interrupted_at:
            break
    assert counts == {0, 1, 2}


def test_what_another_process_has_taken_over_meanwhile_is_dropped(tinyworld, tmp_path, a_record, monkeypatch):
    options = RunOptions(results=tmp_path / "results", cache=tmp_path / "cache", device="cpu")

    def write(key):
        Store(options.results).write(replace(a_record(), key=key, accuracy={}, command="the other's"))
        return replace(a_record(), key=key)

    instead(monkeypatch, write)
    progress = Heard()
    outcome = run_suite(replace(REQUEST, methods=["zero_shot"]), options, progress)
    assert outcome == Outcome(planned=1, skipped=1)
    (note,) = [text for what, text, *_ in progress.told if what == "note"]
    assert "was taken over" in note
    assert progress.told[-2:] == [("dropped", 1), ("done elsewhere", "zero_shot")]
    (path,) = options.results.rglob("*.json")
    assert from_json(path.read_bytes(), path.name).command == "the other's"


def test_runs_come_seed_by_seed_and_hand_on_the_peaks_that_they_counted(tinyworld, tmp_path, a_record, monkeypatch):
    """One that failed, or took its own from another, hands on nothing."""
    given = []

    def done(job):
        key, known = job.run.key, job.known_peaks
        given.append((key.method, key.seed, known and known.seed))
        windows = {"train": replace(a_record().windows["train"], peak_tensor_bytes=key.seed)}
        status = "failed" if (key.method, key.seed) == ("zero_shot", 1) else "ok"
        seed = known and known.seed
        return replace(a_record(), key=key, status=status, windows=windows, peaks_of_seed=seed, accuracy={})

    monkeypatch.setattr("harness.runs.suite_runner.Isolation", lambda limit, compiler: InProcess(done))
    options = RunOptions(results=tmp_path / "results", cache=tmp_path / "cache", device="cpu")
    run_suite(replace(REQUEST, seeds=[1, 2, 3]), options, Heard())
    other = "tinyworld:Diverges"
    assert given == [
        *[("zero_shot", 1, None), (other, 1, None)],
        *[("zero_shot", 2, None), (other, 2, 1)],
        *[("zero_shot", 3, 2), (other, 3, 1)],
    ]


def test_a_run_that_would_hardly_end_in_time_is_not_begun(tinyworld, tmp_path, a_record, monkeypatch):
    taking = replace(a_record(), total_seconds=3600.0)
    instead(monkeypatch, lambda key: replace(taking, key=key))
    options = RunOptions(results=tmp_path / "results", cache=tmp_path / "cache", device="cpu", work_seconds=3600.0)
    progress = Heard()
    assert run_suite(REQUEST, options, progress) == Outcome(planned=2, ok=1)
    limited = replace(options, work_seconds=None, run_limit=1)
    assert run_suite(replace(REQUEST, seeds=[1, 2]), limited, progress) == Outcome(planned=4, ok=1, skipped=1)
    assert os.listdir(options.results / ".claims") == []


def test_what_records_say_of_a_run_keeps_it_from_being_begun_too_late(tinyworld, tmp_path, a_record, monkeypatch):
    instead(monkeypatch, lambda key: replace(a_record(), key=key))
    options = RunOptions(results=tmp_path / "results", cache=tmp_path / "cache", device="cpu", work_seconds=1800.0)
    (known,) = plan(replace(REQUEST, methods=["zero_shot"], seeds=[9]), "tiny")
    here = describe("cpu", cpu_threads())
    Store(options.results).write(
        replace(a_record(), key=known.key, accuracy={}, total_seconds=3600.0, environment=here)
    )
    progress = Heard()
    assert run_suite(replace(REQUEST, methods=["zero_shot"]), options, progress) == Outcome(planned=1)
    assert progress.told == [("planned", 1, 1)]
    enough = replace(options, work_seconds=3700.0)
    assert run_suite(replace(REQUEST, methods=["zero_shot"]), enough, progress) == Outcome(planned=1, ok=1)


def test_folders_may_be_named_by_this_hosts_environment(tmp_path, monkeypatch):
    monkeypatch.setenv("SCRATCH", str(tmp_path))
    options = RunOptions(results=tmp_path, data_root=Path("$SCRATCH/data"), cache=Path("${SCRATCH}/cache"))
    assert options.folders == Folders(data_root=tmp_path.resolve() / "data", cache=tmp_path.resolve() / "cache")


def runs(profile, simulated=False):
    return [SimpleNamespace(profile=profile, key=SimpleNamespace(simulated=simulated))]


@pytest.mark.parametrize(
    ("gpus", "jobs", "slots_"),
    [
        ([], 1, [None]),
        ([], 2, [None, None]),
        (["GPU-a"], 2, [None, None]),
        (["GPU-a", "GPU-b"], 1, [None]),
        (["GPU-a", "GPU-b"], 2, ["GPU-a", "GPU-b"]),
        (["GPU-a", "GPU-b"], 3, ["GPU-a", "GPU-b", "GPU-a"]),
    ],
)
def test_every_gpu_gets_a_run_before_one_gets_two(gpus, jobs, slots_):
    assert slots(runs(profile=False), gpus, jobs) == slots(runs(True, simulated=True), gpus, jobs) == slots_
    assert slots(runs(profile=True), gpus, jobs, share_device=True) == slots_
    if jobs > max(1, len(gpus)):
        with pytest.raises(ConfigError, match=rf"Use --jobs {max(1, len(gpus))}, or --share-device"):
            slots(runs(profile=True), gpus, jobs)
    else:
        assert slots(runs(profile=True), gpus, jobs) == slots_


@pytest.mark.parametrize(
    ("said", "place", "cores", "timed", "under_way"),
    [
        (1, Place(threads=1), 4, False, (1, 1)),
        (1, Place(threads=4), 4, False, (1, 4)),
        (3, Place(threads=4), 4, False, (3, 1)),
        ("auto", Place(threads=1), 4, False, (4, 1)),
        ("auto", Place(threads=4), 4, False, (1, 4)),
        ("auto", Place(threads=1), 4, True, (1, 1)),
        ("auto", Place(("GPU-a", "GPU-b"), threads=1), 4, False, (1, 1)),
    ],
)
def test_small_runs_get_a_thread_each_and_as_many_are_under_way_as_there_are_cores(
    tinyworld, tmp_path, a_record, monkeypatch, said, place, cores, timed, under_way
):
    jobs = []

    class Told(InProcess):
        def check(self, job):
            return place

        def start(self, name, job):
            jobs.append((len(self.jobs) + 1, job.threads))
            super().start(name, job)

    monkeypatch.setattr(
        "harness.runs.suite_runner.Isolation",
        lambda limit, compiler: Told(lambda job: replace(a_record(), key=job.run.key)),
    )
    monkeypatch.setattr("harness.runs.suite_runner.cpu_threads", lambda: cores)
    request = replace(REQUEST, methods=["zero_shot"], seeds=[1, 2, 3, 4, 5], profile=timed)
    run_suite(
        request, RunOptions(results=tmp_path / "results", cache=tmp_path / "cache", device="cpu", jobs=said), Heard()
    )
    assert max(jobs) == under_way


@pytest.mark.parametrize("other_is_timed", [False, True])
def test_two_commands_share_no_device_where_one_is_about_time_unless_told(tmp_path, other_is_timed):
    """Of other results, in two processes of one machine; `one` has a run in hand."""
    here = tmp_path / "cache" / ".running"
    timed = {"one": other_is_timed, "two": not other_is_timed}
    with Claims(tmp_path / "one", neighbours=here) as one, Claims(tmp_path / "two", neighbours=here) as two:
        require_device_for(runs(timed["one"]), ["GPU-a"], one, share=False)
        assert one.take(["a run"])
        whose = "its" if other_is_timed else "these"
        with pytest.raises(
            ConfigError, match=f"^process {os.getpid()}, another .* and {whose} runs are about time"
        ) as said:
            require_device_for(runs(timed["two"]), ["GPU-a", "GPU-b"], two, share=False)
        assert "--share-device" in said.value.advice
        require_device_for(runs(timed["two"]), ["GPU-b"], two, share=False)
        require_device_for(runs(timed["two"]), ["GPU-a"], two, share=True)
        assert two.take(["another run"])
        assert one.runs_here() == two.runs_here() == 2
    with Claims(tmp_path / "three", neighbours=here) as three:
        require_device_for(runs(True), ["GPU-a"], three, share=False)
    assert os.listdir(here) == []


def test_who_is_silent_for_a_lease_is_in_nobodys_way(tmp_path):
    """Its number may be another process's by now."""
    here = tmp_path / ".running"
    with Claims(tmp_path / "one", neighbours=here) as one, Claims(tmp_path / "two", neighbours=here) as two:
        require_device_for(runs(True), ["GPU-a"], one, share=False)
        for file in here.iterdir():
            os.utime(file, (1e9, 1e9))
        two.compute_on([], alone=False)
        require_device_for(runs(True), ["GPU-a"], two, share=False)


def test_devices_are_those_of_the_slots(monkeypatch):
    assert devices_of([None], ["GPU-a", "GPU-b"]) == ["GPU-a"]
    assert devices_of(["GPU-b", "GPU-a", "GPU-b"], ["GPU-a", "GPU-b"]) == ["GPU-a", "GPU-b"]
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: {3, 1}, raising=False)
    assert devices_of([None, None], []) == ["processor 1", "processor 3"]


def test_a_suite_about_time_says_that_another_is_at_work_and_tells_others_of_itself(
    tinyworld, tmp_path, monkeypatch, a_record
):
    options = RunOptions(results=tmp_path / "results", cache=tmp_path / "cache", device="cpu")
    here, seen = options.cache / ".running", []

    def write(key):
        seen.extend(worker for worker, _ in workers(here).values())
        return replace(a_record("failed"), key=key, accuracy={})

    instead(monkeypatch, write)
    with Claims(tmp_path / "other", neighbours=here) as other:
        other.compute_on(devices_of([None], []), alone=False)
        other.take(["a run"])
        with pytest.raises(ConfigError, match="these runs are about time"):
            run_suite(replace(REQUEST, profile=True), options, Heard())
        run_suite(REQUEST, options, Heard())
    store = Store(options.results)
    assert {store.read(name).environment.concurrent_runs for name in store.names()} == {2}
    assert any(list(worker.runs) != ["a run"] and worker.devices == devices_of([None], []) for worker in seen)


@pytest.mark.parametrize("device", ["gpu", "cuda:", "cuda:one", "cuda:0 ", "CPU", ""])
def test_what_is_no_device_is_refused_before_anything_is_read(tmp_path, device):
    with pytest.raises(ConfigError, match="is not a device"):
        RunOptions(results=tmp_path, device=device)


class Full(Store):
    """A results folder on a disk that is full once runs have begun."""

    def write(self, record):
        if self.folder.name == "results":
            raise OSError(28, "No space left on device")
        return super().write(record)


def test_a_record_that_finds_no_place_is_kept_elsewhere(tinyworld, tmp_path, monkeypatch):
    options = RunOptions(results=tmp_path / "results", cache=tmp_path / "cache", device="cpu")
    with monkeypatch.context() as full_disk:
        full_disk.setattr("harness.runs.suite_runner.Store", Full)
        full_disk.setattr("tempfile.tempdir", str(tmp_path))
        with pytest.raises(DataError, match=r"No space left on device\. It is kept in") as full:
            run_suite(REQUEST, options, Heard())
    (kept,) = (tmp_path / "adaptbench-unsaved").rglob("*.json")
    assert str(kept) in full.value.what
    to = Path(full.value.advice.split("move the record to ")[1].split(", and repeat")[0])
    to.parent.mkdir(parents=True)
    kept.rename(to)
    assert from_json(to.read_bytes(), "here").status == "ok"
    runs = identified(plan(REQUEST, "demo"), Store(options.results), "cpu", print)
    todo, *_ = pending(runs, Store(options.results), options, print)
    assert [run.key.method for run in todo] == ["tinyworld:Diverges"]


def test_a_results_folder_that_is_removed_ends_the_suite_and_what_was_found_is_kept(
    tinyworld, tmp_path, a_record, monkeypatch
):
    options = RunOptions(results=tmp_path / "results", cache=tmp_path / "cache", device="cpu")

    def write(key):
        shutil.rmtree(options.results)
        return replace(a_record(), key=key)

    instead(monkeypatch, write)
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    with pytest.raises(DataError, match=r"the folder was removed while the suite ran\. It is kept in") as gone:
        run_suite(REQUEST, options, Heard())
    (kept,) = (tmp_path / "adaptbench-unsaved").rglob("*.json")
    assert str(kept) in gone.value.what
    assert not options.results.exists(), "it may be a disk that was taken away: nothing is written in its place"


def test_no_folder_for_temporary_files_is_said_before(tmp_path, monkeypatch):
    def none(*args):
        raise FileNotFoundError("No usable temporary directory found")

    monkeypatch.setattr("tempfile.gettempdir", none)
    with pytest.raises(ConfigError, match="no folder takes temporary files") as error:
        run_suite(REQUEST, RunOptions(results=tmp_path, cache=tmp_path / "cache", device="cpu"), Heard())
    assert "TMPDIR=FOLDER" in error.value.advice


def test_a_disk_that_is_nearly_full_is_said_before(tinyworld, tmp_path, monkeypatch):
    monkeypatch.setattr("harness.runs.store.LEAST_FREE_BYTES", 1 << 60)
    with pytest.raises(ConfigError, match="MiB left, too little"):
        run_suite(REQUEST, RunOptions(results=tmp_path, cache=tmp_path / "cache", device="cpu"), Heard())


def test_a_prompt_that_is_too_long_is_found_before_the_first_run(job, tmp_path):
    short, long = (job("zero_shot", template=f"{'a very ' * times}good photo of a {{}}.") for times in (10, 80))
    folders = Folders(data_root=None, cache=tmp_path)
    assert check(replace(short, prompts=check_data([short.run], folders, print))).gpus == ()
    prompts = check_data([long.run], folders, print)
    assert len(prompts) == 5
    with pytest.raises(ConfigError, match="Shorten the class name or the template") as error:
        check(replace(long, prompts=prompts))
    assert error.value.what.startswith("a prompt has 168 tokens, the backbone reads 77: 'a very a very")
