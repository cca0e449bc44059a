"""Window: what passed between two edges of a phase. The device is synchronised at both edges, and its peaks reset at the first."""

from __future__ import annotations

import resource
import time
from contextlib import suppress
from pathlib import Path
from types import TracebackType

import torch

from harness.meters.gpu import NO_GPU, Gpu, calls_of
from harness.meters.heartbeat import Heartbeat
from harness.records import WindowRecord

MINIMUM_ENERGY_WINDOW_SECONDS = 10.0
"""NVML's energy counter refreshes every 20-100 ms and samples only part of the time: shorter windows say nothing."""

CONTENDED_SHARE = 0.1
"""A CPU window is contended if its threads, ready to run, waited for a processor for more than this share of it."""

_READINGS = {
    "peak_process_bytes": "process_bytes",
    "device_used_bytes": "used_bytes",
    "energy_joules": "energy_joules",
    "temperature_celsius": "temperature_celsius",
    "clock_megahertz": "clock_megahertz",
    "throttle_reasons": "throttle_reasons",
}
"""Fields of a window's record that NVML gives, and by which reading."""


class Window:
    """``with Window(device, gpu) as w: ...`` then ``w.record()``; `w.missing` says why a figure is null."""

    def __init__(self, device: torch.device, gpu: Gpu, baseline_rss_bytes: int | None = None) -> None:
        self._cuda = device.type == "cuda"
        self._calls = calls_of(device)
        self._gpu = gpu
        self._baseline_rss_bytes = baseline_rss_bytes
        self._record: WindowRecord | None = None
        self.missing: dict[str, str] = {}

    def __enter__(self) -> Window:
        self._calls.synchronise()
        self._calls.reset_peaks()
        reset_peak_rss()
        self._temperature = self._gpu.temperature_celsius()
        self._clock = self._gpu.clock_megahertz()
        self._throttled = self._gpu.throttle_reasons()
        self._energy = self._gpu.energy_joules()
        self._shared = self._gpu.shared()
        self._cpu = _cpu_seconds()
        self._waited = _waited_seconds()
        self._heartbeat = Heartbeat().__enter__()
        self._start = time.perf_counter()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._cuda and error is not None:
            self._heartbeat.__exit__()
            return  # after a CUDA error a synchronise raises too, and would hide the cause
        self._calls.synchronise()
        seconds = time.perf_counter() - self._start
        cpu_seconds = _cpu_seconds() - self._cpu
        self._heartbeat.__exit__()
        peak_rss = peak_rss_bytes()
        peaks = self._calls.peaks()
        self._record = WindowRecord(
            seconds=seconds,
            cpu_seconds=cpu_seconds,
            peak_allocated_bytes=peaks.allocated_bytes,
            peak_reserved_bytes=peaks.reserved_bytes,
            peak_process_bytes=self._gpu.process_bytes(),
            device_used_bytes=self._gpu.used_bytes(),
            peak_rss_bytes=None if peak_rss is None else max(0, peak_rss - (self._baseline_rss_bytes or 0)),
            energy_joules=self._energy_used(seconds),
            temperature_celsius=_edges(self._temperature, self._gpu.temperature_celsius()),
            clock_megahertz=_edges(self._clock, self._gpu.clock_megahertz()),
            throttle_reasons=_either(self._throttled, self._gpu.throttle_reasons()),
            stopped_seconds=self._heartbeat.stopped_seconds,
            contended=self._contended(seconds),
        )
        self._explain()

    def record(self) -> WindowRecord | None:
        """The closed window; None if it never closed."""
        return self._record

    def _energy_used(self, seconds: float) -> float | None:
        end = self._gpu.energy_joules()
        if end is None or self._energy is None:
            return None
        if seconds < MINIMUM_ENERGY_WINDOW_SECONDS:
            self.missing["energy_joules"] = f"window shorter than {MINIMUM_ENERGY_WINDOW_SECONDS:.0f} s"
            return None
        if end <= self._energy:
            self.missing["energy_joules"] = "the GPU's energy counter stood still or started anew"
            return None
        return end - self._energy

    def _contended(self, seconds: float) -> bool | None:
        if self._cuda:
            edges = (self._shared, self._gpu.shared())
            return True if True in edges else None if None in edges else False
        waited = _waited_seconds()
        if waited is None or self._waited is None:
            return None
        return waited - self._waited > CONTENDED_SHARE * seconds

    def _explain(self) -> None:
        assert self._record is not None
        if not self._cuda:
            self.missing["peak_allocated_bytes"] = self.missing["peak_reserved_bytes"] = NO_GPU
        for name, reading in _READINGS.items():
            if getattr(self._record, name) is None:
                self.missing.setdefault(name, self._gpu.why(reading))
        if self._record.contended is None:
            cpu = "this system doesn't tell how long threads wait"
            self.missing["contended"] = self._gpu.why("shared") if self._cuda else cpu
        if self._record.peak_rss_bytes is None:
            self.missing["peak_rss_bytes"] = "this system has no per-process high-water mark"


def _edges(start: float | None, end: float | None) -> tuple[float, float] | None:
    return None if start is None or end is None else (start, end)


def _either(start: tuple[str, ...] | None, end: tuple[str, ...] | None) -> tuple[str, ...] | None:
    """What was told at either edge, once each."""
    return None if start is None or end is None else tuple(dict.fromkeys((*start, *end)))


def _cpu_seconds() -> float:
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime


def _waited_seconds() -> float | None:
    """How long this process's threads have been ready to run without a processor (Linux's schedstat, in nanoseconds)."""
    waited = []
    for path in Path("/proc/self/task").glob("*/schedstat"):
        with suppress(OSError):  # a thread may end while we look
            waited.append(int(path.read_text().split()[1]))
    return sum(waited) / 1e9 if waited else None


def reset_peak_rss() -> None:
    """Have Linux start a new high-water mark of this process's resident set."""
    with suppress(OSError), open("/proc/self/clear_refs", "w") as file:
        file.write("5")


def peak_rss_bytes() -> int | None:
    """The kernel's high-water mark of this process's resident set, None where it can't be reset per window."""
    with suppress(OSError), open("/proc/self/status") as file:
        for line in file:
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024
    return None
