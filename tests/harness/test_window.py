"""Windows on a CPU: clock, resident set, and nulls that come with their reasons."""

import mmap
import time

import pytest
import torch

from harness.meters.gpu import NO_GPU, Gpu
from harness.meters.window import Window, peak_rss_bytes, reset_peak_rss

CPU = torch.device("cpu")
MIB = 1 << 20


@pytest.fixture
def gpu():
    return Gpu(CPU)


def test_seconds_are_those_of_the_wall(gpu):
    outer, started = time.perf_counter(), time.process_time()
    with Window(CPU, gpu) as window:
        inner = time.perf_counter()
        time.sleep(0.2)
        inside = time.perf_counter() - inner
    around, used = time.perf_counter() - outer, time.process_time() - started
    record = window.record()
    assert inside <= record.seconds <= around
    assert record.cpu_seconds <= used  # asleep, so far less than a wall clock would say


def test_cpu_seconds_are_those_of_the_process(gpu):
    outer = time.process_time()
    with Window(CPU, gpu) as window:
        inner = time.process_time()
        sum(range(3_000_000))
        inside = time.process_time() - inner
    around = time.process_time() - outer
    assert inside <= window.record().cpu_seconds <= around


def touch_new_pages(mebibytes):
    """From the system: malloc may hand out pages that are resident since earlier tests."""
    with mmap.mmap(-1, mebibytes * MIB) as memory:
        memory[:: mmap.PAGESIZE] = bytes(mebibytes * MIB // mmap.PAGESIZE)


@pytest.mark.skipif(peak_rss_bytes() is None, reason="no resettable high-water mark here")
def test_the_resident_peak_answers_to_an_allocation_and_forgets_it(gpu):
    def peak(mebibytes):
        with Window(CPU, gpu, baseline_rss_bytes=0) as window:
            touch_new_pages(mebibytes)
        return window.record().peak_rss_bytes

    peak(1)
    low = peak(1)
    high = peak(64)
    assert 60 * MIB <= high - low <= 80 * MIB
    assert peak(1) - low <= 16 * MIB
    reset_peak_rss()
    baseline = peak_rss_bytes()
    with Window(CPU, gpu, baseline_rss_bytes=baseline) as window:
        touch_new_pages(64)
    assert 55 * MIB <= window.record().peak_rss_bytes <= 80 * MIB


def test_what_a_cpu_can_not_tell_is_null_with_a_reason(gpu):
    with Window(CPU, gpu) as window:
        pass
    record = window.record()
    nulls = {
        "peak_allocated_bytes",
        "peak_reserved_bytes",
        "peak_process_bytes",
        "device_used_bytes",
        "energy_joules",
        "temperature_celsius",
        "clock_megahertz",
        "throttle_reasons",
    }
    assert all(getattr(record, name) is None for name in nulls)
    assert {name: window.missing[name] for name in nulls} == dict.fromkeys(nulls, NO_GPU)
    assert gpu.driver() is None


def test_a_window_closes_when_its_work_fails(gpu):
    with pytest.raises(ValueError, match="odd"), Window(CPU, gpu) as window:
        raise ValueError("odd")
    assert window.record().seconds >= 0


def test_a_window_that_never_closed_has_no_record(gpu):
    window = Window(CPU, gpu)
    assert window.record() is None
    window.__enter__()
    assert window.record() is None


@pytest.mark.gpu
def test_cuda_peaks_are_the_allocators():
    device = torch.device("cuda")
    gpu = Gpu(device)
    with Window(device, gpu) as window:
        torch.zeros(64 * MIB // 4, device=device)
    record = window.record()
    assert record.peak_allocated_bytes >= 64 * MIB
    assert record.peak_reserved_bytes >= record.peak_allocated_bytes
    assert "energy_joules" in window.missing
