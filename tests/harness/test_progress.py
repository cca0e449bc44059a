"""What the log says of a run."""

from dataclasses import replace

from harness.cli.progress import summary


def test_a_run_in_one_line(a_record):
    assert summary(a_record()) == "skip_tuning on demo-digits, 16 shots, seed 1: base 33.3 %, train 10.2 s"
    assert summary(a_record("diverged")) == "skip_tuning on demo-digits, 16 shots, seed 1: diverged: because."


def test_a_run_cut_for_its_cost_has_no_accuracy_and_says_its_execution(a_record):
    cut = replace(a_record(executions=["reference"]), accuracy={})
    assert summary(cut) == "skip_tuning on demo-digits, 16 shots, seed 1, reference execution: train 10.2 s"
