"""What a finished run cost, where it is derived from more than one figure."""

from dataclasses import replace

import pytest

from harness.records import ProfileRecord, SimulationRecord
from reports.costs import test_seconds as seconds_of_testing
from reports.costs import utilisation_percent


def test_testing_includes_what_reused_features_had_taken(record):
    alone = record()
    spared = replace(alone, reused_test_features=500, reused_test_seconds=3.5)
    assert seconds_of_testing(spared) == pytest.approx(seconds_of_testing(alone) + 3.5)
    assert seconds_of_testing(replace(alone, windows={})) is None


def test_utilisation_is_flops_over_time_over_the_measured_peak(record):
    simulated = {"fast": SimulationRecord(peak_bytes={}, step_flops=6 * 10**9, test_batch_flops=1)}
    profile = ProfileRecord(simulated=simulated, gemm_flops_per_second=40e9)
    found = record(step_seconds=(0.3,) * 4, profile=profile)
    assert utilisation_percent(found) == pytest.approx(50)
    assert utilisation_percent(replace(found, profile=None)) is None
    assert utilisation_percent(replace(found, profile=replace(profile, gemm_flops_per_second=None))) is None
