"""What this machine can measure, and what figures from it are worth."""

from __future__ import annotations

import os
import platform
import re
import shutil
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, packages_distributions, requires, version
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING

import psutil

from harness import plugins
from harness.errors import AdaptBenchError
from harness.meters.environment import cgroup_memory_bytes, cgroup_processors, cpu_model, cpu_threads

if TYPE_CHECKING:
    from harness.meters.gpu import Gpu

GIB = 1 << 30
_NEEDED_BYTES = {"results": GIB // 10, "cache": GIB, "temporary files": GIB, "shared memory": GIB // 4}
_REPEATS = 40
_BUSY_SHARE = 0.25
_NOISY_PERCENT = 10
_HOMES = {
    "adaptbench": ("ADAPTBENCH_CACHE", "~/.cache/adaptbench"),
    "open_clip and Hugging Face": ("HF_HOME", "~/.cache/huggingface"),
    "torch": ("TORCH_HOME", "~/.cache/torch"),
    "OpenAI's CLIP": ("", "~/.cache/clip"),
}


@dataclass(frozen=True)
class Finding:
    """A thing that was looked at, what was found, and what follows from it: advice where something is to be done about it."""

    group: str
    name: str
    found: str
    follows: str = ""
    is_warning: bool = False


def look(results: Path, cache: Path, root: Path = Path("/")) -> Iterator[Finding]:
    """Look at one thing after another, with about a second of computing. `root` is where the kernel's files are."""
    yield from _software()
    yield from _processor(root)
    yield from _memory(root)
    yield from _disk(results, cache)
    yield from _gpus()
    yield from _steadiness()
    yield from _names()
    yield from _extras()
    yield from _caches(cache)


def _software() -> Iterator[Finding]:
    yield Finding("software", "adaptbench", f"{version('adaptbench')}, in {plugins.ROOT}")
    yield Finding("software", "Python", f"{platform.python_version()} on {platform.platform()}")
    for package in ("torch", "open_clip_torch", "torchvision"):
        try:
            yield Finding("software", package, version(package))
        except PackageNotFoundError:
            yield Finding("software", package, "not installed", f"pip install {package}", is_warning=True)


def _processor(root: Path) -> Iterator[Finding]:
    cores, limit = psutil.cpu_count(), cgroup_processors(root)
    said = os.environ.get("OMP_NUM_THREADS")
    why = f"OMP_NUM_THREADS is {said}" if said else "a physical core each"
    if limit is not None:
        why += f"; this container may use {limit:g} of {cores}"
    yield Finding("processor", "model", f"{cpu_model() or 'not told'}, {cores} logical cores")
    otherwise = "--threads says otherwise" + ("" if limit is None else "; what is beyond the limit is throttled")
    yield Finding("processor", "threads of a run", f"{cpu_threads()} at most ({why})", otherwise)
    yield _clock(root)
    if hasattr(os, "getloadavg"):
        load = os.getloadavg()[0]
        busy = load > _BUSY_SHARE * (cores or 1)
        follows = "Times from now on are another load's too; the gate, which takes turns, bears it." if busy else ""
        yield Finding("processor", "load", f"{load:.1f} over the last minute", follows, busy)


def _clock(root: Path) -> Finding:
    """Whether the clock may change under a measurement, by what Linux tells of it."""
    cpu = root / "sys/devices/system/cpu"
    governor = _text(cpu / "cpu0/cpufreq/scaling_governor")
    boosts = {"intel_pstate/no_turbo": "0", "cpufreq/boost": "1"}
    states = [text == on for name, on in boosts.items() if (text := _text(cpu / name))]
    if not governor and not states:
        return Finding("processor", "clock", "not told (a virtual machine?)", "Compare times only within one run.")
    turbo = "not told" if not states else "on" if any(states) else "off"
    steady = governor == "performance" and turbo == "off"
    follows = "" if steady else "The clock changes with heat and load: compare times only within one run."
    return Finding("processor", "clock", f"governor {governor or 'not told'}, turbo {turbo}", follows)


def _memory(root: Path) -> Iterator[Finding]:
    memory, limit = psutil.virtual_memory(), cgroup_memory_bytes(root)
    total = min(memory.total, limit or memory.total)
    found = f"{memory.total / GIB:.1f} GiB, {memory.available / GIB:.1f} free"
    if total < memory.total:
        found = f"{total / GIB:.1f} GiB (this container's limit; the machine has {found})"
    scarce = min(memory.available, total) < 4 * GIB
    follows = "ViT-B/16 is tight: adaptbench estimate METHOD says what it needs; the demo fits." if scarce else ""
    yield Finding("memory", "of the host", found, follows, scarce)


def _disk(results: Path, cache: Path) -> Iterator[Finding]:
    folders = {"results": results, "cache": cache, "temporary files": Path(tempfile.gettempdir())}
    if sys.platform == "linux":
        folders["shared memory"] = Path("/dev/shm")
    if os.path.expanduser("~") == "~":
        found = "none is known: HOME is not set, and the user has no entry"
        yield Finding("disk", "home", found, "Set HOME: weights are fetched to folders in it.", is_warning=True)
    advice = {
        "results": "--results names another folder.",
        "cache": "--cache names another folder.",
        "temporary files": "TMPDIR names another folder.",
        "shared memory": "In Docker, --shm-size 1g gives more.",
    }
    for name, folder in folders.items():
        there = next(place for place in (folder.absolute(), *folder.absolute().parents) if place.exists())
        free = shutil.disk_usage(there).free
        writable = there.is_dir() and os.access(there, os.W_OK)
        bad = not writable or free < _NEEDED_BYTES[name]
        found = f"{folder}: {free / GIB:.1f} GiB free" if writable else f"{folder} can't be written"
        yield Finding("disk", name, found, advice[name] if bad else "", bad)


def _gpus() -> Iterator[Finding]:
    import torch

    from harness.meters.gpu import Gpu

    if not torch.cuda.is_available():
        built = f"torch is built for CUDA {torch.version.cuda}" if torch.version.cuda else "torch is built without CUDA"
        hidden = os.environ.get("CUDA_VISIBLE_DEVICES")
        found = f"none ({built}{f'; CUDA_VISIBLE_DEVICES is {hidden!r}' if hidden is not None else ''})"
        yield Finding(
            "GPU",
            "devices",
            found,
            "Device memory is null with its reason; on a CPU, the exact peak of live tensor bytes.",
        )
        yield Finding("GPU", "energy", "no counter", "Energy is null with its reason.")
        return
    for number in range(torch.cuda.device_count()):
        device = torch.device("cuda", number)
        properties = torch.cuda.get_device_properties(device)
        yield Finding("GPU", f"cuda:{number}", f"{properties.name}, {properties.total_memory / GIB:.1f} GiB")
        yield from readings(Gpu(device), f"cuda:{number}")


def readings(gpu: Gpu, device: str) -> Iterator[Finding]:
    """What NVML gives of a GPU, and the reason for what it doesn't."""
    from harness.meters.window import MINIMUM_ENERGY_WINDOW_SECONDS

    asked: dict[str, tuple[Callable[[], object], str]] = {
        "energy counter": (gpu.energy_joules, "energy_joules"),
        "memory in use": (gpu.used_bytes, "used_bytes"),
        "memory of this process": (gpu.process_bytes, "process_bytes"),
        "temperature": (gpu.temperature_celsius, "temperature_celsius"),
        "clock": (gpu.clock_megahertz, "clock_megahertz"),
        "driver": (gpu.driver, "driver"),
    }
    told = [name for name, (read, _) in asked.items() if read() is not None]
    yield Finding("GPU", f"{device}, NVML tells", ", ".join(told) or "nothing")
    if "energy counter" in told:
        found = f"of the whole device, in windows of {MINIMUM_ENERGY_WINDOW_SECONDS:g} s and more"
        yield Finding("GPU", f"{device}, energy", found, "What a co-tenant takes is in it.")
    lacking = [(gpu.why(reading), name) for name, (_, reading) in asked.items() if name not in told]
    for reason, names in groupby(sorted(lacking), key=lambda pair: pair[0]):
        words = ", ".join(name for _, name in names)
        yield Finding("GPU", f"{device}, no {words}", reason, "Null in records, with this reason.", is_warning=True)
    if gpu.shared():
        yield Finding(
            "GPU",
            f"{device}, co-tenants",
            "another process computes there",
            "Its times are not yours alone.",
            is_warning=True,
        )


def _steadiness() -> Iterator[Finding]:
    """The spread of equal pieces of work: what a difference between two single runs has to exceed."""
    import torch

    matrix = torch.ones(384, 384)
    seconds = []
    for _ in range(_REPEATS):
        start = time.perf_counter()
        for _ in range(4):
            torch.mm(matrix, matrix)
        seconds.append(time.perf_counter() - start)
    lower, middle, upper = statistics.quantiles(seconds[_REPEATS // 4 :], n=4)
    spread_percent = 100 * (upper - lower) / middle
    noisy = spread_percent > _NOISY_PERCENT
    follows = (
        "Single times say little here: take more seeds, or the gate (adaptbench gate), which times in turns."
        if noisy
        else "Differences well above this show in single runs."
    )
    yield Finding("worth", "times", f"half of equal pieces of work lie within {spread_percent:.1f} %", follows, noisy)
    yield Finding(
        "worth",
        "accuracy, memory, FLOPs",
        "the same on any machine",
        "Counted, not timed; accuracies to the bit for equal threads.",
    )


def _names() -> Iterator[Finding]:
    """Packages that stand in for others, and plug-ins that can't be imported."""
    places = dict.fromkeys([Path.cwd(), *map(Path, filter(None, os.environ.get("PYTHONPATH", "").split(os.pathsep)))])
    for place in places:
        same = [name for name in plugins.OURS if (place / name).is_dir() and place.resolve() != plugins.ROOT]
        if same:
            found = f"{place} has {', '.join(same)}, as AdaptBench has"
            yield Finding(
                "names",
                "shadowing",
                found,
                "Ours are found first; name files of yours by path: FILE.py:ATTRIBUTE.",
                is_warning=True,
            )
    binding = packages_distributions().get("pynvml", [])
    if "nvidia-ml-py" not in binding or len(set(binding)) > 1:
        found = f"pynvml is of {', '.join(sorted(set(binding))) or 'no package'}"
        yield Finding(
            "names",
            "NVML's bindings",
            found,
            "pip uninstall pynvml nvidia-ml-py3; pip install nvidia-ml-py",
            is_warning=True,
        )
    kinds: tuple[plugins.Kind, ...] = (
        "method",
        "suite",
        "dataset",
        "backbone",
        "source",
        "executor",
        "quantity",
        "exporter",
    )
    for kind in kinds:
        for name in plugins.names(kind):
            try:
                plugins.load(kind, name)
            except AdaptBenchError as error:
                yield Finding("names", f"{kind} {name}", error.what, error.advice, is_warning=True)


def _extras() -> Iterator[Finding]:
    """What further features need, by the extras of the package."""
    wanted = [
        (match[2], match[1])
        for text in requires("adaptbench") or ()
        if (match := re.match(r"([\w.-]+).*extra == ['\"](\w+)['\"]", text))
    ]
    for extra, pairs in groupby(sorted(wanted), key=lambda pair: pair[0]):
        lacking = [package for _, package in pairs if not _is_installed(package)]
        if extra != "dev":
            yield Finding(
                "extras",
                extra,
                "not installed" if lacking else "installed",
                f"pip install {' '.join(lacking)}" if lacking else "",
            )


def _caches(cache: Path) -> Iterator[Finding]:
    for name, (variable, usual) in _HOMES.items():
        folder = cache if name == "adaptbench" else Path(os.path.expanduser(os.environ.get(variable) or usual))
        if folder.is_dir():
            size = sum(_sizes(folder))
            yield Finding(
                "caches", name, f"{folder}: {size / GIB:.2f} GiB", "Made or fetched again where it is deleted."
            )


def _sizes(folder: Path) -> Iterator[int]:
    """Of all files below a folder, in bytes, but for what can't be looked at, or goes meanwhile."""
    for place, _, names in os.walk(folder):
        for name in names:
            with suppress(OSError):
                yield os.lstat(os.path.join(place, name)).st_size


def _is_installed(package: str) -> bool:
    try:
        version(package)
    except PackageNotFoundError:
        return False
    return True


def _text(path: Path) -> str:
    try:
        return path.read_text().strip()
    except OSError:
        return ""
