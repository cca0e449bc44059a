"""Window: what passed between two edges of a phase. The device is synchronised at both edges, and its peaks reset at the first."""

from __future__ import annotations

import os
import resource
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Any, TypeVar

import torch

from harness.records import WindowRecord

MINIMUM_ENERGY_WINDOW_SECONDS = 10.0
"""NVML's energy counter refreshes every 20-100 ms and samples only part of the time: shorter windows say nothing."""

CONTENDED_SHARE = 0.1
"""A CPU window is contended if its threads, ready to run, waited for a processor for more than this share of it."""

NO_GPU = "no CUDA device"

T = TypeVar("T")


class Gpu:
    """NVML's view of the device a run computes on; every reading is None, with a reason, where NVML can't give it."""

    def __init__(self, device: torch.device) -> None:
        self.reason: str | None = NO_GPU
        self._handle: Any = None
        if device.type != "cuda":
            return
        try:
            import pynvml

            pynvml.nvmlInit()
            # by UUID: CUDA_VISIBLE_DEVICES renumbers indices
            uuid = str(torch.cuda.get_device_properties(device).uuid)
            self._handle = pynvml.nvmlDeviceGetHandleByUUID(uuid if uuid.startswith("GPU-") else f"GPU-{uuid}")
            self._nvml = pynvml
            self.reason = None
        except ImportError:
            self.reason = "NVML bindings are missing: pip install 'nvidia-ml-py>=12'"
        except AttributeError:
            self.reason = (
                "another package shadows NVML's bindings: pip uninstall pynvml nvidia-ml-py3; pip install nvidia-ml-py"
            )
        except pynvml.NVMLError as error:
            self.reason = f"NVML: {error}"

    def energy_joules(self) -> float | None:
        """The total energy counter since the driver was loaded."""
        return self._read(lambda nvml, handle: nvml.nvmlDeviceGetTotalEnergyConsumption(handle) / 1000)

    def process_bytes(self) -> int | None:
        """Device memory this process holds; None in containers, where the driver sees other process numbers."""
        if self._handle is None:
            return None
        with suppress(self._nvml.NVMLError):
            for process in self._nvml.nvmlDeviceGetComputeRunningProcesses(self._handle):
                if process.pid == os.getpid():
                    return process.usedGpuMemory
        return None

    def used_bytes(self) -> int | None:
        """All of the device's memory that is in use, by whatever process."""
        return self._read(lambda nvml, handle: nvml.nvmlDeviceGetMemoryInfo(handle).used)

    def temperature_celsius(self) -> float | None:
        return self._read(lambda nvml, handle: nvml.nvmlDeviceGetTemperature(handle, nvml.NVML_TEMPERATURE_GPU))

    def clock_megahertz(self) -> float | None:
        """The streaming processors' clock."""
        return self._read(lambda nvml, handle: nvml.nvmlDeviceGetClockInfo(handle, nvml.NVML_CLOCK_SM))

    def _read(self, reading: Callable[[Any, Any], T]) -> T | None:
        if self._handle is None:
            return None
        try:
            return reading(self._nvml, self._handle)
        except self._nvml.NVMLError:
            return None

    def driver(self) -> str | None:
        return None if self._handle is None else self._nvml.nvmlSystemGetDriverVersion()


class Window:
    """``with Window(device, gpu) as w: ...`` then ``w.record()``; `w.missing` says why a figure is null."""

    def __init__(self, device: torch.device, gpu: Gpu, baseline_rss_bytes: int | None = None) -> None:
        self._device = device
        self._gpu = gpu
        self._baseline_rss_bytes = baseline_rss_bytes
        self._record: WindowRecord | None = None
        self.missing: dict[str, str] = {}

    def __enter__(self) -> Window:
        if self._device.type == "cuda":
            torch.cuda.synchronize(self._device)
            torch.cuda.empty_cache()
            torch.cuda.reset_peak_memory_stats(self._device)
        reset_peak_rss()
        self._temperature = self._gpu.temperature_celsius()
        self._clock = self._gpu.clock_megahertz()
        self._energy = self._gpu.energy_joules()
        self._cpu = _cpu_seconds()
        self._waited = _waited_seconds()
        self._start = time.perf_counter()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        cuda = self._device.type == "cuda"
        if cuda:
            if error is not None:
                return  # after a CUDA error a synchronise raises too, and would hide the cause
            torch.cuda.synchronize(self._device)
        seconds = time.perf_counter() - self._start
        cpu_seconds = _cpu_seconds() - self._cpu
        peak_rss = peak_rss_bytes()
        self._record = WindowRecord(
            seconds=seconds,
            cpu_seconds=cpu_seconds,
            peak_allocated_bytes=torch.cuda.max_memory_allocated(self._device) if cuda else None,
            peak_reserved_bytes=torch.cuda.max_memory_reserved(self._device) if cuda else None,
            peak_process_bytes=self._gpu.process_bytes(),
            device_used_bytes=self._gpu.used_bytes(),
            peak_rss_bytes=None if peak_rss is None else max(0, peak_rss - (self._baseline_rss_bytes or 0)),
            energy_joules=self._energy_used(seconds),
            temperature_celsius=_edges(self._temperature, self._gpu.temperature_celsius()),
            clock_megahertz=_edges(self._clock, self._gpu.clock_megahertz()),
            contended=self._contended(seconds),
        )
        self._explain(cuda)

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
        return end - self._energy

    def _contended(self, seconds: float) -> bool | None:
        waited = _waited_seconds()
        if waited is None or self._waited is None or self._device.type == "cuda":
            return None
        return waited - self._waited > CONTENDED_SHARE * seconds

    def _explain(self, cuda: bool) -> None:
        assert self._record is not None
        if not cuda:
            self.missing["peak_allocated_bytes"] = self.missing["peak_reserved_bytes"] = NO_GPU
        if self._record.peak_process_bytes is None:
            self.missing["peak_process_bytes"] = (
                self._gpu.reason or "the driver doesn't know this process (a container?)"
            )
        for name in ("device_used_bytes", "temperature_celsius", "clock_megahertz"):
            if getattr(self._record, name) is None:
                self.missing[name] = self._gpu.reason or "NVML doesn't tell it of this GPU"
        if self._record.energy_joules is None:
            self.missing.setdefault("energy_joules", self._gpu.reason or "this GPU has no energy counter")
        if self._record.contended is None:
            self.missing["contended"] = "a GPU run" if cuda else "this system doesn't tell how long threads wait"
        if self._record.peak_rss_bytes is None:
            self.missing["peak_rss_bytes"] = "this system has no per-process high-water mark"


def _edges(start: float | None, end: float | None) -> tuple[float, float] | None:
    return None if start is None or end is None else (start, end)


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
