"""What an executor is given, and what a worker makes of it."""

import os
import shlex
import signal
import sys
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
from fakes.in_process import InProcess

from harness.cli.worker import worker_
from harness.errors import ConfigError, DataError
from harness.plan import Request, build_method, plan
from harness.records import from_json
from harness.runs.executors import Order, Workers, apart, order, ray, read_order, seconds_of
from harness.runs.executors.slurm import script, submit
from harness.runs.identity import meanings, require_meanings
from harness.runs.store import Store
from harness.runs.suite_runner import RunOptions, pending, run_suite

REQUEST = Request(suite="base2new", methods=["coop"], datasets=["demo-digits"], seeds=[1, 2], settings={"epochs": "3"})


@pytest.mark.parametrize(
    ("time", "seconds"),
    [
        ("90", 5400),
        ("1:30", 90),
        ("4:00:00", 14400),
        ("1-12", 129600),
        ("1-12:30", 131400),
        ("2-0:0:1", 172801),
    ],
)
def test_a_time_is_read_as_slurm_reads_it(time, seconds):
    assert seconds_of(time) == seconds


@pytest.mark.parametrize("time", ["", "soon", "1:2:3:4", "-3", "4h", "1-", "1:-2"])
def test_what_is_no_time_is_refused(time):
    with pytest.raises(ConfigError, match="is no time"):
        seconds_of(time)


def test_an_order_is_read_as_it_was_given_and_asks_for_no_more_workers_than_runs(tmp_path, a_record):
    options = RunOptions(results=tmp_path / "results", device="cpu", jobs=2, data_root=Path("$SCRATCH/data"))
    given = order(REQUEST, options, Workers(count=16))
    assert (given.name, given.workers.count, given.runs) == ("adaptbench-base2new", 2, 2)
    assert given.command[1:] == ("-P", "-m", "harness", "worker", str(given.path))
    request, read_options = read_order(given.path)
    assert plan(request, "demo") == plan(REQUEST, "demo")
    assert read_options == replace(options, ordered={})
    store = Store(options.results)
    for key in [a_record(methods=["coop"], seeds=[seed], settings={"epochs": "3"}).key for seed in (1, 2)]:
        store.write(replace(a_record(), key=key))
    assert order(REQUEST, options, Workers(count=16)) is None


def test_what_is_to_be_done_again_is_known_when_workers_are_ordered(tmp_path, a_record):
    options = RunOptions(results=tmp_path / "results", device="cpu", again=True)
    store = Store(options.results)
    runs = plan(REQUEST, "demo")
    for run in runs:
        store.write(replace(a_record(), key=run.key))
    request, wanted = read_order(order(REQUEST, options, Workers()).path)
    assert plan(request, "demo") == runs
    store.write(replace(a_record(), key=runs[0].key))  # by a worker that began earlier
    todo, *_ = pending(runs, store, wanted, print)
    assert todo == runs[1:]


def test_the_kind_of_device_is_the_workers_to_tell_unless_it_is_asked_for(tmp_path):
    options, notes = RunOptions(results=tmp_path / "results"), []
    _, wanted = read_order(order(REQUEST, options, Workers(gpus=1), notes.append).path)
    assert (wanted.device, notes) == ("cuda", [])
    assert len(Store(options.results).planned()) == 2
    elsewhere = replace(options, results=tmp_path / "elsewhere")
    _, wanted = read_order(order(REQUEST, elsewhere, Workers(), notes.append).path)
    assert (wanted.device, len(notes)) == ("auto", 1)
    assert Store(elsewhere.results).planned() == []


def test_workers_may_have_more_threads_than_the_host_that_orders_them(tmp_path):
    options = RunOptions(results=tmp_path / "results", device="cpu", threads=1_000_000)
    request, ordered = read_order(order(REQUEST, options, Workers()).path)
    assert ordered.threads == options.threads
    with pytest.raises(ConfigError, match=r"--threads 1000000: this machine has \d+ processors"):
        run_suite(request, ordered, SimpleNamespace(note=print))


def test_what_is_no_order_is_said(tmp_path):
    (tmp_path / "order").write_text("{}")
    for path in (tmp_path / "order", tmp_path / "nowhere"):
        with pytest.raises(DataError, match="is no order for a worker"):
            read_order(path)


def test_a_batch_script_gives_each_worker_what_was_asked_for_and_gives_way_to_it(tmp_path):
    workers = Workers(
        count=16,
        partition="gpu",
        time="4:00:00",
        gpus=1,
        setup=("module load cuda", "export A='b c'"),
        settings={"account": "me", "exclusive": ""},
    )
    lines = script(
        Order(
            name="a",
            path=tmp_path,
            command=("python", "-m", "harness", "worker", "my order"),
            workers=workers,
            folder=tmp_path,
            runs=99,
        )
    ).splitlines()
    options = ("array=1-16", "partition=gpu", "time=4:00:00", "gpus=1", "account=me", "exclusive", "requeue")
    assert {f"#SBATCH --{option}" for option in options} <= set(lines)
    assert lines[0] == "#!/bin/bash"
    assert lines[-3:-1] == ["module load cuda", "export A='b c'"]
    assert shlex.split(lines[-1]) == ["exec", "python", "-m", "harness", "worker", "my order"]
    bare = script(Order(name="a", path=tmp_path, command=("b",), workers=Workers(), folder=tmp_path, runs=1))
    assert not any(f"--{option}" in bare for option in ("partition", "time", "gpus"))


def test_without_sbatch_the_way_on_is_said(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(ConfigError, match="no sbatch here"):
        submit(Order(name="a", path=tmp_path, command=("b",), workers=Workers(), folder=tmp_path, runs=1))


def test_without_ray_the_way_on_is_said(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(ConfigError, match="Ray isn't installed"):
        ray.run(Order(name="a", path=tmp_path, command=("b",), workers=Workers(), folder=tmp_path, runs=1))


class Reference:
    """What a task of the fake Ray comes to, which is known at once."""

    def __init__(self, value):
        self.value = value


def fake_ray(monkeypatch):
    """A Ray whose tasks are done here when they are asked for. Returns what is asked of it."""
    asked = []

    def remote(**how):
        return lambda function: asked.append(how) or SimpleNamespace(remote=lambda *args: Reference(function(*args)))

    fake = SimpleNamespace(
        init=lambda **how: asked.append(how["address"]),
        remote=remote,
        wait=lambda references, timeout: (references[:1], references[1:]),
        get=lambda reference: reference.value,
        shutdown=lambda: asked.append("shut down"),
        exceptions=SimpleNamespace(RayError=TimeoutError),
    )
    monkeypatch.setitem(sys.modules, "ray", fake)
    return asked


def test_ray_gives_each_worker_what_was_asked_for_and_waits_for_all(tmp_path, monkeypatch):
    asked = fake_ray(monkeypatch)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "GPU-of-the-task")
    monkeypatch.chdir(tmp_path)
    write = "import os, pathlib; pathlib.Path(os.environ['CUDA_VISIBLE_DEVICES']).open('a').write('x')"
    workers = Workers(count=2, gpus=1, address="there:1")
    order = Order(
        name="a", path=tmp_path, command=(sys.executable, "-c", write), workers=workers, folder=tmp_path, runs=9
    )
    assert ray.run(order).startswith("2 of 2 workers have ended well")
    given = {"max_retries": -1, "num_cpus": 1, "num_gpus": 1}
    assert asked == ["there:1", given, given, "shut down"]
    assert (tmp_path / "GPU-of-the-task").read_text() == "xx"
    assert not list(tmp_path.glob("*.token"))


def test_a_cluster_that_is_lost_is_said_with_the_way_on(tmp_path, monkeypatch):
    def lost(*args):
        raise TimeoutError("no heartbeat")

    asked = fake_ray(monkeypatch)
    monkeypatch.setattr(ray, "_work", lost)
    with pytest.raises(DataError, match=r"^Ray ended before the workers did: no heartbeat") as said:
        ray.run(Order(name="a", path=tmp_path, command=("b",), workers=Workers(), folder=tmp_path, runs=1))
    assert "The same command goes on" in said.value.advice
    assert asked[-1] == "shut down"


def test_a_hosts_own_variables_come_before_the_drivers():
    driver = {"SCRATCH": "/a", "TOKEN": "b", "SLURM_JOB_ID": "1", "CUDA_VISIBLE_DEVICES": "0", "PYTHONPATH": "/mine"}
    host = {"SCRATCH": "/there", "PYTHONPATH": "/theirs", "OMP_NUM_THREADS": "1"}  # the last of which Ray sets
    merged = {"SCRATCH": "/there", "TOKEN": "b", "PYTHONPATH": f"/theirs{os.pathsep}/mine"}
    assert ray._environment(driver, host) == merged
    assert ray._environment({**driver, "OMP_NUM_THREADS": "4"}, host) == {**merged, "OMP_NUM_THREADS": "4"}


@pytest.fixture
def hosts_apart(monkeypatch, a_record):
    """Hosts that don't reach the results, done in this process. `hosts_apart[0]` makes the record of a job."""

    def done(job):
        job.predictions.parent.mkdir(parents=True, exist_ok=True)
        job.predictions.write_bytes(b"answers")
        return replace(a_record("failed"), key=job.run.key, accuracy={})

    def process(command, folder, environment, log):
        try:
            worker_(Path(command[-1]))
        except RuntimeError as error:
            log.write(str(error))

    hosts = [done]
    fake_ray(monkeypatch)
    monkeypatch.setattr("harness.runs.suite_runner.Isolation", lambda *_, **how: InProcess(lambda job: hosts[0](job)))
    monkeypatch.setattr(ray, "reaches", lambda token: not token.exists())
    monkeypatch.setattr(ray, "_process", process)
    return hosts


TINY = Request(suite="tiny", methods=["zero_shot"], datasets=["tiny-colours"], seeds=[1, 2, 3], backbone="tiny-clip")


def test_runs_of_hosts_that_do_not_reach_the_results_come_back_with_their_files(tinyworld, hosts_apart, tmp_path):
    options = RunOptions(results=tmp_path / "results", cache=tmp_path / "cache", device="cpu", predictions=True)
    given = order(TINY, options, Workers(count=2))
    assert ray.run(given).startswith("2 of 2 workers have ended well, 2 of them without reaching the results;")
    store = Store(options.results)
    assert store.names() == set(store.planned())
    keys = [store.read(name).key for name in store.names()]
    assert sorted(key.seed for key in keys) == [1, 2, 3]
    assert all(store.predictions_path(key).read_bytes() == b"answers" for key in keys)
    assert os.listdir(store.claims_folder) == []
    assert order(TINY, options, Workers()) is None


def test_what_a_host_apart_could_not_do_is_said_and_left_to_others(tinyworld, hosts_apart, tmp_path):
    def break_down(job):
        raise RuntimeError("no such weights here")

    options = RunOptions(results=tmp_path / "results", cache=tmp_path / "cache", device="cpu")
    hosts_apart[0] = break_down
    said = ray.run(order(TINY, options, Workers(count=1)))
    assert said.startswith("0 of 1 workers have ended well")
    assert said.endswith("The last one that could do nothing: no such weights here")
    assert os.listdir(options.results / ".claims") == []
    assert not Store(options.results).names()
    with pytest.raises(ConfigError, match=r"don't reach the results folder, .* depends on their device"):
        ray.run(order(TINY, replace(options, device="auto"), Workers(count=1)))


def test_a_run_that_others_have_taken_over_meanwhile_is_not_written(tinyworld, tmp_path, monkeypatch, a_record):
    options = RunOptions(results=tmp_path, cache=tmp_path / "cache", device="cpu")
    with apart.Sent(order(TINY, options, Workers())) as sent:
        parcel = sent.take()
        monkeypatch.setattr(sent._todo.claims, "holds", lambda name: False)
        sent.receive(parcel.name, {parcel.name: b""})
        assert len(sent) == 3
        assert not Store(tmp_path).names()


def test_a_host_apart_has_the_source_that_was_ordered_and_its_own_cache(mine, tmp_path):
    request = replace(REQUEST, methods=[mine("as ordered")], settings={})
    given = order(request, RunOptions(results=tmp_path / "results", device="cpu", again=True), Workers())
    name = Store(tmp_path / "results").planned()[0]
    mine("as ordered")  # a new process
    with apart.Sent(given) as sent:
        parcel = sent.take()
    mine("edited since")

    def work(command, folder, log):
        there, options = read_order(Path(command[-1]))
        assert plan(there, "demo")[0].key.source_sha256 == options.ordered["the method 'own_method:Mine'"]
        assert Path(there.methods[0]).is_relative_to(folder)
        assert (options.only, options.again, options.cache) == (name, False, apart.CACHE)
        assert options.results.is_relative_to(folder)
        log.write_text("done nothing")

    assert parcel.own_cache
    assert apart.do_here(parcel, work) == "done nothing"


def test_a_folder_is_reached_where_its_token_is(tmp_path):
    token = apart.leave_token(tmp_path)
    assert apart.reaches(token)
    assert not apart.reaches(tmp_path / "another" / token.name)
    assert not apart.reaches(tmp_path / "0.token")


def test_the_command_hands_an_order_to_an_executor_of_ones_own(tmp_path, adaptbench_here, monkeypatch):
    (tmp_path / "elsewhere.py").write_text("def start(order):\n    return f'{order.workers.count} of {order.runs}'\n")
    words = ["run", "base2new", "--methods", "coop", "--datasets", "demo-digits", "--seeds", "1,2,3"]
    words += ["--executor", f"{tmp_path}/elsewhere.py:start", "--results", tmp_path / "results", "--workers", "2"]
    done = adaptbench_here(*words, "--time", "10")
    assert (done.returncode, done.stdout) == (0, "2 of 3\n")
    (path,) = (tmp_path / "results" / ".workers").glob("*.order")
    assert read_order(path)[1].work_seconds == 570
    refused = adaptbench_here(*words, "--slurm", "account")
    assert refused.returncode == 2
    assert "--slurm account is no KEY=VALUE" in refused.stderr


def test_a_worker_that_is_asked_to_end_leaves_its_runs_and_says_how_to_go_on(
    tinyworld, tmp_path, adaptbench_here, monkeypatch
):
    earlier = signal.getsignal(signal.SIGTERM)
    request = Request(
        suite="tiny", methods=["zero_shot"], datasets=["tiny-colours"], seeds=[1, 2], backbone="tiny-clip"
    )
    path = order(request, RunOptions(results=tmp_path, cache=tmp_path, device="cpu"), Workers()).path

    def end(*what):
        os.kill(os.getpid(), signal.SIGTERM)

    with monkeypatch.context() as ended:
        ended.setattr("harness.runs.suite_runner.Isolation.check", end)
        done = adaptbench_here("worker", path)
    assert done.returncode == 130
    assert "Interrupted: 0 of 2 runs are recorded. The same command goes on from there." in done.stderr
    assert os.listdir(tmp_path / ".claims") == []
    assert signal.getsignal(signal.SIGTERM) == earlier

    # what it left is done by an executor that tinyworld registers, and by the same code as ever
    words = ("run", "tiny", "--methods", "zero_shot", "--datasets", "tiny-colours", "--seeds", "1,2")
    words += ("--backbone", "tiny-clip", "--device", "cpu", "--cache", tmp_path, "--results", tmp_path)
    done = adaptbench_here(*words, "--executor", "in-turn", "--workers", "2")
    assert done.returncode == 0, done.stderr
    assert done.stdout.endswith("2 workers have done 2 runs.\n")
    records = [from_json(record.read_bytes(), record.name) for record in tmp_path.rglob("*.json")]
    assert sorted((record.key.seed, record.status) for record in records) == [(1, "ok"), (2, "ok")]
    assert adaptbench_here(*words).stdout.splitlines()[-1].startswith("2 of 2 runs ok")


@pytest.fixture
def mine(tmp_path, monkeypatch):
    """`mine(text)`: a method in a file, with a module beside it that says `text`; the plan is made as in a new process."""
    home = tmp_path / "mine"
    home.mkdir()
    (home / "own_method.py").write_text(
        "from dataclasses import dataclass\nimport own_part\nfrom harness.recipe import Recipe\n\n"
        '@dataclass(frozen=True)\nclass Mine:\n    recipes = {"default": Recipe(epochs=4, learning_rate=0.1)}\n\n'
        "    def adapt(self, backbone):\n        return own_part.WORD\n"
    )

    def write(text):
        monkeypatch.setattr("sys.path", [place for place in sys.path if not place.startswith(str(tmp_path))])
        for name in ("own_method", "own_part"):
            sys.modules.pop(name, None)
        (home / "own_part.py").write_text(f"WORD = {text!r}\n")
        return f"{home}/own_method.py:Mine"

    yield write
    write("")


def test_workers_run_the_source_that_was_ordered_whatever_becomes_of_the_file(mine, tmp_path):
    request = replace(REQUEST, methods=[mine("as ordered")], settings={})
    path = order(request, RunOptions(results=tmp_path / "results", device="cpu"), Workers()).path
    mine("as ordered")  # a new process
    where_it_lies, options = read_order(path)
    ordered = plan(where_it_lies, "demo")[0].key
    assert where_it_lies.methods == request.methods
    assert options.ordered == {"the method 'own_method:Mine'": ordered.source_sha256}
    mine("edited since")
    copied, _ = read_order(path)
    assert Path(copied.methods[0]).is_relative_to(path.parent)
    assert plan(copied, "demo")[0].key == ordered
    assert build_method(ordered.method, ordered.settings).adapt(None) == "as ordered"
    (path.parent / "sources" / ordered.source_sha256[:16] / "own_part.py").write_text("edited as well")
    with pytest.raises(DataError, match=r"own_method.py is not what it was .* neither it nor its copy"):
        read_order(path)


def test_a_worker_refuses_by_name_what_is_something_else_on_its_host(mine, tmp_path, monkeypatch):
    monkeypatch.chdir(Path(mine("as ordered").rpartition(":")[0]).parent)
    request = replace(REQUEST, methods=["own_method:Mine"], settings={})
    request, options = read_order(
        order(request, RunOptions(results=tmp_path / "results", device="cpu"), Workers()).path
    )
    mine("as this host has it")
    with pytest.raises(DataError, match=r"^the method 'own_method:Mine': on \S+ not what was ordered \("):
        run_suite(request, options, SimpleNamespace(note=print))
    mine("as ordered")
    require_meanings(options.ordered, meanings(request, plan(request, "demo")))
