"""The device that computes: what the meters ask of it through torch, and what NVML tells of a GPU."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from importlib.metadata import PackageNotFoundError, version
from typing import Any, NamedTuple, Protocol, TypeVar

import torch
from torch import Tensor

NO_GPU = "no CUDA device"
_UNOFFICIAL = ("pynvml", "nvidia-ml-py3")
"""Packages that brought a module `pynvml` of their own; from version 12 on the first of them takes NVIDIA's."""

THROTTLE_REASONS = {
    0x4: "power cap",
    0x8: "hardware slowdown",
    0x10: "sync boost",
    0x20: "heat, by the driver",
    0x40: "heat, by the hardware",
    0x80: "power brake",
}
"""NVML's bits (nvmlClocksThrottleReason...) of what holds a clock down against the user's wish."""

T = TypeVar("T")


class Peaks(NamedTuple):
    """The most bytes in live tensors, and the most that the allocator held, since `reset_peaks`; None without such an allocator."""

    allocated_bytes: int | None
    reserved_bytes: int | None


class DeviceCalls(Protocol):
    """All that a run asks of the device that computes."""

    def make_current(self) -> None:
        """Have what names no device mean this one: streams, events, a CUDA context."""

    def sent(self, host: Tensor) -> Tensor:
        """A host tensor on the device; the copy may still be under way: what the device is given next waits for it."""
        ...

    def synchronise(self) -> None:
        """Wait until the device has done all it was given."""

    def reset_peaks(self) -> None:
        """Start new peaks; what the allocator holds unused goes back to the device first."""

    def peaks(self) -> Peaks: ...

    def memory_bytes(self) -> int | None:
        """All memory of the device; None of a CPU, whose memory is not its own."""
        ...

    def mark(self) -> Any:
        """A moment among what the device is given, without waiting for it."""

    def seconds(self, start: Any, end: Any) -> float:
        """Between two marks that the device has passed."""
        ...


class CpuCalls:
    """A CPU does what it is given at once, and counts no tensors: `harness.meters.memory_tracker` does."""

    def make_current(self) -> None:
        pass

    def sent(self, host: Tensor) -> Tensor:
        return host

    def synchronise(self) -> None:
        pass

    def reset_peaks(self) -> None:
        pass

    def peaks(self) -> Peaks:
        return Peaks(None, None)

    def memory_bytes(self) -> None:
        return None

    def mark(self) -> float:
        return time.perf_counter()

    def seconds(self, start: float, end: float) -> float:
        return end - start


class CudaCalls:
    """One CUDA device, whichever is the current one."""

    def __init__(self, device: torch.device) -> None:
        self._device = device

    def make_current(self) -> None:
        if self._device.index is not None:
            torch.cuda.set_device(self._device)

    def sent(self, host: Tensor) -> Tensor:
        return host.pin_memory().to(
            self._device, non_blocking=True
        )  # torch keeps the pinned bytes until they are copied

    def synchronise(self) -> None:
        torch.cuda.synchronize(self._device)

    def reset_peaks(self) -> None:
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats(self._device)

    def peaks(self) -> Peaks:
        return Peaks(torch.cuda.max_memory_allocated(self._device), torch.cuda.max_memory_reserved(self._device))

    def memory_bytes(self) -> int:
        return torch.cuda.get_device_properties(self._device).total_memory

    def mark(self) -> torch.cuda.Event:
        event = torch.cuda.Event(enable_timing=True)
        event.record(torch.cuda.current_stream(self._device))
        return event

    def seconds(self, start: torch.cuda.Event, end: torch.cuda.Event) -> float:
        return start.elapsed_time(end) / 1000


def calls_of(device: torch.device) -> DeviceCalls:
    """The calls for a device."""
    return CudaCalls(device) if device.type == "cuda" else CpuCalls()


def name_of(device: torch.device) -> str:
    """What the driver calls a CUDA device."""
    try:
        return torch.cuda.get_device_name(device)
    except UnicodeDecodeError:
        return "a GPU whose name is not UTF-8"


def uuid_of(device: torch.device | int | None) -> str:
    """What CUDA_VISIBLE_DEVICES and NVML call a CUDA device: ``GPU-...``, or ``MIG-...`` for a slice.

    A slice is told by how it was made visible, which torch's UUID may leave out.
    """
    index = device.index if isinstance(device, torch.device) else device
    index = torch.cuda.current_device() if index is None else index
    visible = [entry.strip() for entry in os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",")]
    if index < len(visible) and visible[index].startswith("MIG-"):
        return visible[index]
    uuid = str(torch.cuda.get_device_properties(index).uuid)
    return uuid if uuid.startswith(("GPU-", "MIG-")) else f"GPU-{uuid}"


def gpus(device: torch.device) -> tuple[str, ...]:
    """UUIDs of the GPUs or slices that a device may mean, as CUDA_VISIBLE_DEVICES has them; none on a CPU."""
    if device.type != "cuda":
        return ()
    indices = range(torch.cuda.device_count()) if device.index is None else [device.index]
    return tuple(uuid_of(index) for index in indices)


class Gpu:
    """NVML's view of the device a run computes on; what NVML can't give is None, and `why` has the reason."""

    def __init__(self, device: torch.device) -> None:
        self.reason: str | None = NO_GPU
        self._handle: Any = None
        self._errors: dict[str, str] = {}
        if device.type != "cuda":
            return
        try:
            import pynvml

            self._nvml = pynvml
            pynvml.nvmlInit()
            self._handle = self._find(uuid_of(device))
            self.reason = None
        except ImportError:
            self.reason = "NVML bindings are missing: pip install 'nvidia-ml-py>=12'"
        except Exception as error:
            self.reason = _reason(error, self._nvml)

    def _find(self, uuid: str) -> Any:
        """By UUID, since CUDA_VISIBLE_DEVICES renumbers indices; a slice may stand under a whole GPU's prefix."""
        nvml = self._nvml
        try:
            return nvml.nvmlDeviceGetHandleByUUID(uuid)
        except nvml.NVMLError:
            return nvml.nvmlDeviceGetHandleByUUID(uuid.replace("GPU-", "MIG-"))

    def why(self, reading: str) -> str:
        """The reason why a reading was None the last time, by the name of its method."""
        return self.reason or self._errors.get(reading, "NVML doesn't tell it of this GPU")

    def energy_joules(self) -> float | None:
        """The total energy counter since the driver was loaded."""
        return self._read("energy_joules", lambda nvml, handle: nvml.nvmlDeviceGetTotalEnergyConsumption(handle) / 1000)

    def process_bytes(self) -> int | None:
        """Device memory this process holds; None in containers, where the driver sees other process numbers."""
        processes = self._processes("process_bytes")
        if processes is None:
            return None
        if os.getpid() not in processes:
            self._errors["process_bytes"] = "the driver doesn't know this process (a container?)"
            return None
        self._errors["process_bytes"] = "the driver doesn't tell what processes hold"
        return processes[os.getpid()]

    def shared(self) -> bool | None:
        """Whether another process computes on the device too."""
        processes = self._processes("shared")
        if processes is None:
            return None
        if len(processes) > 1:
            return True
        self._errors["shared"] = "the driver doesn't know this process (a container?)"
        return False if os.getpid() in processes else None

    def used_bytes(self) -> int | None:
        """All of the device's memory that processes hold; with a driver before 510, what it keeps for itself is among it."""

        def ask(nvml: Any, handle: Any) -> int:
            try:
                return nvml.nvmlDeviceGetMemoryInfo(handle, version=nvml.nvmlMemory_v2).used
            except (nvml.NVMLError_FunctionNotFound, nvml.NVMLError_ArgumentVersionMismatch):
                return nvml.nvmlDeviceGetMemoryInfo(handle).used

        return self._read("used_bytes", ask)

    def temperature_celsius(self) -> float | None:
        return self._read(
            "temperature_celsius", lambda nvml, handle: nvml.nvmlDeviceGetTemperature(handle, nvml.NVML_TEMPERATURE_GPU)
        )

    def clock_megahertz(self) -> float | None:
        """The streaming processors' clock."""
        return self._read(
            "clock_megahertz", lambda nvml, handle: nvml.nvmlDeviceGetClockInfo(handle, nvml.NVML_CLOCK_SM)
        )

    def throttle_reasons(self) -> tuple[str, ...] | None:
        """What holds the clock down right now; empty where nothing does. An idle GPU's low clock is none, nor one that was set."""

        def ask(nvml: Any, handle: Any) -> tuple[str, ...]:
            held = nvml.nvmlDeviceGetCurrentClocksThrottleReasons(handle)
            return tuple(reason for bit, reason in THROTTLE_REASONS.items() if held & bit)

        return self._read("throttle_reasons", ask)

    def driver(self) -> str | None:
        found = self._read("driver", lambda nvml, handle: nvml.nvmlSystemGetDriverVersion())
        return found.decode(errors="replace") if isinstance(found, bytes) else found  # bytes of old bindings

    def _processes(self, reading: str) -> dict[int, int | None] | None:
        """Bytes of the device by process, as the driver numbers them."""

        def ask(nvml: Any, handle: Any) -> dict[int, int | None]:
            try:
                processes = nvml.nvmlDeviceGetComputeRunningProcesses_v3(handle)
            except nvml.NVMLError_FunctionNotFound:  # a driver before 510
                processes = nvml.nvmlDeviceGetComputeRunningProcesses_v2(handle)
            return {process.pid: process.usedGpuMemory for process in processes}

        return self._read(reading, ask)

    def _read(self, reading: str, ask: Callable[[Any, Any], T]) -> T | None:
        if self._handle is None:
            return None
        try:
            return ask(self._nvml, self._handle)
        except Exception as error:  # an old binding raises what it will: no reading is worth a run
            self._errors[reading] = _reason(error, self._nvml)
            return None


def _reason(error: Exception, nvml: Any) -> str:
    """NVML's own words; of a binding that raises something else, those with what is known of the binding."""
    if isinstance(error, getattr(nvml, "NVMLError", ())):
        return f"NVML: {error}"
    return f"NVML's binding raised {type(error).__name__}: {error}. {_binding()}"


def _binding() -> str:
    """Which package may have brought `pynvml`, and what to do about it."""
    versions = {name: _version(name) for name in ("nvidia-ml-py", *_UNOFFICIAL)}
    shadows = [name for name in _UNOFFICIAL if int((versions[name] or "12").partition(".")[0]) < 12]
    if shadows:
        named = ", ".join(f"{name} {versions[name]}" for name in shadows)
        return (
            f"The unofficial {named} stands in for NVIDIA's: pip uninstall {' '.join(shadows)}; "
            "pip install --force-reinstall nvidia-ml-py"
        )
    return (
        f"It is that of nvidia-ml-py {versions['nvidia-ml-py'] or '(not installed)'}: pip install -U 'nvidia-ml-py>=12'"
    )


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None
