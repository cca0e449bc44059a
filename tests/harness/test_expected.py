"""What `plan` and ``run --dry-run`` say of time and memory: in a terminal of 80 columns, piped, as JSON, all from one source."""

import json
import os
import re
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from fakes.in_process import InProcess
from test_terminal import on_terminal, screen

from harness.meters.environment import cpu_threads, describe
from harness.plan import Request, plan
from harness.runs.forecast import Forecasts
from harness.runs.known import observations
from harness.runs.observation import observed
from harness.runs.store import Store
from harness.runs.time_left import TimeLeft

ROOT = Path(__file__).parents[2]
REQUEST = {"methods": ["skip_tuning", "coop"], "datasets": ["demo-digits", "demo-letters"], "seeds": [1, 2]}
WORDS = ["base2new", *(f"--{name}={','.join(map(str, values))}" for name, values in REQUEST.items())]


@pytest.fixture
def record_here(a_record):
    """`record_here(seconds, ...)`: a record of this machine."""

    def make(seconds, **request):
        environment = describe("cpu", cpu_threads())
        record = replace(a_record(**request), total_seconds=seconds, environment=environment, command=None)
        windows = {**record.windows, "test": replace(record.windows["test"], peak_tensor_bytes=1, peak_rss_bytes=1)}
        return replace(record, windows=windows, accuracy={})

    return make


@pytest.fixture
def results(tmp_path, record_here):
    """A folder with a record of Skip Tuning on the digits, 15 s, and of CoOp on either dataset, 20 s."""
    store = Store(tmp_path / "results")
    store.write(record_here(15.0, seeds=[3]))
    for dataset in REQUEST["datasets"]:
        store.write(record_here(20.0, methods=["coop"], datasets=[dataset], seeds=[3]))
    return store.folder


def rows_of(lines):
    """(method, dataset, seeds, time, tensors, resident, from) of each row of the table."""
    begin = next(place for place, line in enumerate(lines) if line.startswith("Expected of each run"))
    end = next(place for place, line in enumerate(lines) if line.startswith("time: of one run"))
    return [re.split(r" {2,}", line.strip()) for line in lines[begin + 2 : end]]


KNOWN = ["256 MiB", "512 MiB", "records"]


def test_piped_there_is_a_row_a_run_and_what_is_not_known_has_its_reason_and_the_command(results, adaptbench_here):
    out = adaptbench_here("plan", *WORDS, "--results", results).stdout
    rows = rows_of(out.splitlines())
    assert [row[:3] for row in rows] == [
        [method, dataset, seed]
        for dataset in REQUEST["datasets"]
        for method in REQUEST["methods"]
        for seed in ("1", "2")
    ]
    assert [row[3:] for row in rows if row[0] == "coop"] == [["20.0 s", *KNOWN]] * 4
    assert [row[3:] for row in rows if row[0] == "skip_tuning"] == [["15.0 s", *KNOWN]] * 2 + [["-"] * 4] * 2
    assert "Not known, 2 runs: the runs known here don't tell the size of demo-letters and of its tests." in out
    assert f"adaptbench plan {' '.join(WORDS)} --results {results} --calibrate" in out
    assert out.endswith(
        "8 runs: 2 not known, the others about 1 min 50 s one after another; at most 256 MiB of tensors, 512 MiB resident.\n"
    )


TERMINAL = """
import json, sys
from harness.__main__ import main
sys.argv = ["adaptbench", *json.loads(sys.argv[1])]
try:
    main()
finally:
    assert not {"torch", "numpy", "pandas"} & {*sys.modules}
"""


def test_a_terminal_of_80_columns_has_a_table_that_fits_and_torch_is_not_imported(results):
    words = json.dumps(["plan", *WORDS, "--results", str(results)])
    dropped = {"COLUMNS", "LINES", "ADAPTBENCH_DATA_ROOT", "CI"}
    environment = {name: value for name, value in os.environ.items() if name not in dropped}
    out = on_terminal(
        [sys.executable, "-c", TERMINAL, words],
        80,
        env={**environment, "PYTHONPATH": str(ROOT), "TERM": "xterm"},
        cwd=ROOT,
    )
    lines = screen(out.decode())
    assert "Traceback" not in out.decode()
    assert max(map(len, lines)) <= 80
    assert rows_of(lines) == [
        ["skip_tuning", "demo-digits", "1,2", "15.0 s", *KNOWN],
        ["coop", "demo-digits", "1,2", "20.0 s", *KNOWN],
        ["skip_tuning", "demo-letters", "1,2", "-", "-", "-", "-"],
        ["coop", "demo-letters", "1,2", "20.0 s", *KNOWN],
    ]


def test_json_has_null_with_a_reason_and_the_command_never_0(results, adaptbench_here):
    words = ["plan", *WORDS, "--results", str(results)]
    found = [row["expected"] for row in json.loads(adaptbench_here(*words, "--json").stdout)]
    assert found[2] == {
        "seconds": 20.0,
        "peak_tensor_bytes": 1 << 28,
        "peak_rss_bytes": 1 << 29,
        "source": "records",
        "count": 1,
        "why": None,
        "command": None,
    }
    unknown = dict.fromkeys(("seconds", "peak_tensor_bytes", "peak_rss_bytes", "source"))
    command = f"adaptbench {' '.join(words)} --calibrate"
    why = "the runs known here don't tell the size of demo-letters and of its tests"
    assert found[4] == {**unknown, "count": 0, "why": why, "command": command}
    words[-1] = str(results / "nowhere")
    (nowhere,) = {str(row["expected"]) for row in json.loads(adaptbench_here(*words, "--json").stdout)}
    assert "'seconds': None, 'peak_tensor_bytes': None, 'peak_rss_bytes': None, 'source': None" in nowhere
    assert "there is no folder" in nowhere


def test_plan_dry_run_and_the_time_left_have_one_source(results, adaptbench_here):
    words = [word.replace("demo-digits,demo-letters", "demo-digits") for word in WORDS]
    rows = json.loads(adaptbench_here("plan", *words, "--results", results, "--json").stdout)
    seconds = [row["expected"]["seconds"] for row in rows]
    runs = plan(Request(suite="base2new", **{**REQUEST, "datasets": ["demo-digits"]}), "demo")
    forecasts = Forecasts().remember(observations(runs, Store(results), "cpu", None))
    assert TimeLeft(runs, forecasts).left() == (sum(seconds), 0)
    assert sum(seconds) == 70
    of_all = adaptbench_here("run", *words, "--results", results, "--dry-run", "--device=cpu").stdout
    assert "4 of 4 runs are left: about 1 min 10 s one after another; at most" in of_all
    limited = adaptbench_here("run", *words, "--results", results, "--dry-run", "--device=cpu", "--limit=3").stdout
    assert "This command would do 3 of them: about 50 s one after another" in limited
    hours = f"--max-hours={51 / 3600}"
    limited = adaptbench_here("run", *words, "--results", results, "--dry-run", "--device=cpu", hours).stdout
    assert "This command would do 3 of them: about 50 s one after another" in limited


class Calibrations(InProcess):
    """Calibrates nothing: says what a record says, and of CoOp that it fails."""

    def __init__(self, record, asked):
        self._record, self._asked = record, asked

    def calibrate(self, job):
        key = job.run.key
        self._asked.append((key.method, key.dataset))
        if key.method == "coop":
            return "it is out of order."
        return replace(observed(replace(self._record, key=key)), source="calibration")


def test_each_kind_without_a_record_is_calibrated_once_and_kept(
    tmp_path, record_here, adaptbench_here, tiny_weights, tinyworld, monkeypatch
):
    asked, store = [], Store(tmp_path / "results")
    monkeypatch.setattr("harness.runs.calibrator.Isolation", lambda compiler: Calibrations(record_here(30.0), asked))
    words = ["tinyworld:SUITE", "--methods=skip_tuning,coop,zero_shot", "--datasets=tiny-colours", "--seeds=1,2"]
    (known, *_) = plan(Request(suite="tiny", methods=["zero_shot"], datasets=["tiny-colours"], seeds=[9]), "tiny")
    store.write(replace(record_here(13.0), key=replace(known.key, device="cpu")))
    words += ["--device=cpu", "--results", str(store.folder), "--cache", str(tmp_path / "cache")]
    first = adaptbench_here("plan", *words, "--calibrate", "--json")
    assert asked == [("skip_tuning", "tiny-colours"), ("coop", "tiny-colours")]
    assert "coop on tiny-colours can't be calibrated: it is out of order." in first.stderr
    assert (
        "Calibrated: a few steps, at least two, of each of 2 kinds of run without a record, but for 1" in first.stderr
    )
    again = adaptbench_here("plan", *words, "--json")
    assert len(asked) == 2
    for out in (first.stdout, again.stdout):
        found = [(row["method"], row["expected"]["seconds"], row["expected"]["source"]) for row in json.loads(out)]
        assert found == [
            *[("skip_tuning", 30.0, "steps")] * 2,
            *[("coop", None, None)] * 2,
            *[("zero_shot", 13.0, "records")] * 2,
        ]
