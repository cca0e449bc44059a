"""The device that computes: what the meters ask of it through torch, and what NVML tells of a GPU."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any, NamedTuple, Protocol, TypeVar

import torch

NO_GPU = "no CUDA device"

T = TypeVar("T")


class Peaks(NamedTuple):
    """The most bytes in live tensors, and the most that the allocator held, since `reset_peaks`; None without such an allocator."""

    allocated_bytes: int | None
    reserved_bytes: int | None


class DeviceCalls(Protocol):
    """All that the meters ask of the device that computes."""

    def synchronise(self) -> None:
        """Wait until the device has done all it was given."""

    def reset_peaks(self) -> None:
        """Start new peaks; what the allocator holds unused goes back to the device first."""

    def peaks(self) -> Peaks: ...

    def mark(self) -> Any:
        """A moment among what the device is given, without waiting for it."""

    def seconds(self, start: Any, end: Any) -> float:
        """Between two marks that the device has passed."""
        ...


class CpuCalls:
    """A CPU does what it is given at once, and counts no tensors: `harness.meters.memory_tracker` does."""

    def synchronise(self) -> None:
        pass

    def reset_peaks(self) -> None:
        pass

    def peaks(self) -> Peaks:
        return Peaks(None, None)

    def mark(self) -> float:
        return time.perf_counter()

    def seconds(self, start: float, end: float) -> float:
        return end - start


class CudaCalls:
    """One CUDA device, whichever is the current one."""

    def __init__(self, device: torch.device) -> None:
        self._device = device

    def synchronise(self) -> None:
        torch.cuda.synchronize(self._device)

    def reset_peaks(self) -> None:
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats(self._device)

    def peaks(self) -> Peaks:
        return Peaks(torch.cuda.max_memory_allocated(self._device), torch.cuda.max_memory_reserved(self._device))

    def mark(self) -> torch.cuda.Event:
        event = torch.cuda.Event(enable_timing=True)
        event.record(torch.cuda.current_stream(self._device))
        return event

    def seconds(self, start: torch.cuda.Event, end: torch.cuda.Event) -> float:
        return start.elapsed_time(end) / 1000


def calls_of(device: torch.device) -> DeviceCalls:
    """The calls for a device."""
    return CudaCalls(device) if device.type == "cuda" else CpuCalls()


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
