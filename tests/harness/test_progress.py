"""What a log and a terminal say of runs, whatever comes."""

import re
from dataclasses import replace
from io import StringIO
from types import SimpleNamespace
from typing import get_args

import pytest
from rich.console import Console

from harness.cli.progress import Display, summary
from harness.records import ProfileRecord, SimulationRecord
from harness.runs import events
from harness.runs.events import EpochEnded, Phase, PhaseStarted

PHASES = [phase for part in get_args(Phase) for phase in (get_args(part) or [part])]
LINE = "skip_tuning on demo-digits, 16 shots, seed 1: base 33.3 %, train 10.2 s"


def test_a_run_in_one_line(a_record):
    assert summary(a_record()) == LINE
    assert summary(a_record("diverged")) == "skip_tuning on demo-digits, 16 shots, seed 1: diverged: because."
    assert summary(replace(a_record("failed"), reason=None)).endswith(": failed: for no known reason")


def test_a_run_cut_for_its_cost_has_no_accuracy_and_says_its_execution(a_record):
    cut = replace(a_record(executions=["reference"]), accuracy={})
    assert summary(cut) == "skip_tuning on demo-digits, 16 shots, seed 1, reference execution: train 10.2 s"


def test_a_simulated_run_says_its_peak_on_the_device(a_record):
    peaks = {"train": {"inputs": 3 << 20, "gradients": 1 << 19}, "prepare": {"host": 1 << 30, "inputs": 1 << 20}}
    found = SimulationRecord(peak_bytes=peaks, step_flops=1, test_batch_flops=1)
    bare = replace(a_record(simulated=True), windows={}, accuracy={})
    run = "skip_tuning on demo-digits, 16 shots, seed 1: "
    assert summary(replace(bare, profile=ProfileRecord(simulated={"fast": found}))) == f"{run}simulated peak 3.5 MiB"
    assert summary(replace(bare, profile=ProfileRecord(simulated={"fast": None}))) == f"{run}simulated"
    assert summary(bare) == f"{run}simulated"


def test_a_run_with_nothing_measured_is_done(a_record):
    assert summary(replace(a_record(), windows={}, accuracy={})).endswith("seed 1: done")


@pytest.fixture
def show(a_record):
    """`show(*events, terminal=True)`: what a suite of two runs prints, each of which tells all events."""

    def run(*told, terminal=True, width=100, detail="usual"):
        console = Console(file=StringIO(), force_terminal=terminal, width=width, color_system=None, _environ={})
        record = a_record()
        runs = [SimpleNamespace(key=record.key)] * 2
        with Display(console, console, detail) as display:
            display.planned(runs, runs)
            for number, run in enumerate(runs, start=1):
                display.started(number, run)
                for event in told:
                    display.event(number, event)
                display.ended(number, record)
        return console.file.getvalue()

    return run


@pytest.mark.parametrize("terminal", [True, False])
def test_runs_at_a_time_have_a_line_each_and_a_log_one_when_each_is_over(a_record, terminal):
    console = Console(file=StringIO(), force_terminal=terminal, width=80, color_system=None, _environ={})
    records = [a_record(seeds=[seed]) for seed in (1, 2, 3)]
    runs = [SimpleNamespace(key=record.key) for record in records]
    with Display(console, console) as display:
        display.planned(runs, runs)
        display.started(1, runs[0])
        display.started(2, runs[1])
        display.event(2, PhaseStarted("train"))
        display.event(2, events.TestEnded("a-dataset-with-quite-a-long-name-for-a-terminal/new", 12.34))
        display.ended(2, records[1])
        display.dropped(1)
        display.done_elsewhere(runs[0])
        display.started(3, runs[2])
        display.ended(3, records[2])
    out = re.sub(r"\x1b\[[\d;?]*[A-Za-z]", "", console.file.getvalue())
    for number, seed in ((1, 2), (3, 3)):
        assert f"[{number}/3] {LINE.replace('seed 1', f'seed {seed}')}" in out
    assert len(re.findall(r"\[\d/3\]", out)) == 2
    both = "seed 1: starting: loading PyTorch, once for all runs\nskip_tuning on demo-digits, seed 2: training"
    assert (both in "\n".join(line.rstrip() for line in out.splitlines())) == terminal
    assert ("a-dataset-with-quite-a-long-name-for-a-terminal/new: 12.3 %" in out) == terminal
    assert "broke" not in out


EVENTS = [*map(PhaseStarted, PHASES), EpochEnded(2, 2, 0.25, 64), events.TestEnded("demo-digits/new", 12.34)]


def test_a_terminal_shows_every_phase_and_event(show):
    out = show(*EVENTS)
    assert "broke" not in out
    shown = (
        "starting",
        "loading",
        "training",
        "testing",
        "counting memory",
        "analysing",
        "profiling a step",
        "simulating",
    )
    for doing in (*shown, "epoch 2/2  loss 0.250", "demo-digits/new: 12.3 %"):
        assert f"skip_tuning on demo-digits, seed 1: {doing}" in out
    assert "1/2" in out
    assert "Reading the datasets" in out


def test_a_log_has_one_line_a_run(show):
    first, second = show(*EVENTS, terminal=False).splitlines()
    assert first.startswith(f"[1/2] {LINE} (about ") or first == f"[1/2] {LINE}"
    assert second == f"[2/2] {LINE}"


def test_quiet_says_what_failed_and_steps_say_all(show, a_record):
    assert show(*EVENTS, terminal=True, detail="quiet") == ""
    lines = show(*EVENTS, detail="steps").splitlines()
    run = "skip_tuning on demo-digits, seed 1:"
    assert lines[:4] == [f"{run} {doing}" for doing in ("starting", "loading", "training", "testing")]
    assert f"{run} demo-digits/new: 12.3 %" in lines


@pytest.mark.parametrize("width", [80, 60, 40])
def test_no_word_is_broken_where_the_terminal_is_narrow(show, width):
    out = show(*EVENTS, width=width)
    live = out.replace("\x1b[2K", "").split("\x1b[1A")
    words = {word for frame in live for word in frame.split()}
    assert {"skip_tuning", "demo-digits,", "profiling", "demo-digits/new:", "suite", "images/s"} <= words
    assert all(len(line) <= width for line in out.splitlines() if "\x1b" not in line)


def plain_lines(out):
    return [line for line in out.splitlines() if line.startswith("[")]


def test_an_unknown_event_breaks_the_bars_and_not_the_suite(show):
    out = show({"kind": "surprise"})
    assert out.count("The live display broke (AssertionError: ") == 1
    assert [line[: len(LINE) + 6] for line in plain_lines(out)] == [f"[1/2] {LINE}", f"[2/2] {LINE}"]
    unknown = show(PhaseStarted("cleaning"))
    assert unknown.count("The live display broke") == len(plain_lines(unknown)) - 1 == 1


@pytest.mark.parametrize("method", ["start", "refresh", "stop", "process_renderables"])
def test_a_display_that_explodes_gives_way_to_lines(show, monkeypatch, method):
    def explode(*args, **how):
        raise OSError("no such terminal")

    monkeypatch.setattr(f"rich.live.Live.{method}", explode)
    out = show(*EVENTS)
    assert out.count("The live display broke (OSError: no such terminal); plain lines follow.") == 1
    assert sum(LINE in line for line in out.splitlines()) == 2


@pytest.mark.parametrize("method", ["start", "refresh", "stop"])
def test_ctrl_c_is_no_broken_display(show, monkeypatch, method):
    def interrupt(*args, **how):
        raise KeyboardInterrupt

    monkeypatch.setattr(f"rich.live.Live.{method}", interrupt)
    with pytest.raises(KeyboardInterrupt):
        show(*EVENTS)


def test_a_terminal_that_knows_no_cursor_gets_lines(a_record):
    console = Console(file=StringIO(), force_terminal=True, width=100, color_system=None, _environ={"TERM": "dumb"})
    run = SimpleNamespace(key=a_record().key)
    with Display(console, console) as display:
        display.planned([run, run], [run])
        display.event(1, PhaseStarted("setup"))
        display.note("a note [in brackets]")
    assert console.file.getvalue() == "1 of 2 runs are done already.\na note [in brackets]\n"
