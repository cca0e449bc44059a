"""NVML through its real binding, against a small library of ours that misbehaves as drivers do."""

import json
import os
import shutil
import subprocess
import sys

import pytest

from tests.conftest import FAKES, PROJECT

COMPILER = shutil.which("cc") or shutil.which("gcc") or shutil.which("clang")
pytestmark = pytest.mark.skipif(COMPILER is None, reason="no C compiler, by which to make an NVML")

CHILD = """
import json, os, sys
from types import SimpleNamespace
import torch
from harness.meters import gpu, window
from harness.probes import machine
gpu.CudaCalls = lambda device: gpu.CpuCalls()
window.MINIMUM_ENERGY_WINDOW_SECONDS = 0
device = torch.device("cuda:0")

def script(answers):
    for name in [name for name in os.environ if name.startswith("NVML_")]:
        del os.environ[name]
    for name, text in answers.items():
        os.environ["NVML_" + name] = text.replace("PID", str(os.getpid()))

def look(case):
    torch.cuda.get_device_properties = lambda _: SimpleNamespace(uuid=case["uuid"])
    script(case["start"])
    meter = gpu.Gpu(device)
    opened = window.Window(device, meter)
    with opened:
        script({**case["start"], **case["end"]})
    found = {name: getattr(opened.record(), name) for name in window._READINGS}
    return {**found, "contended": opened.record().contended, "driver": meter.driver(), "missing": opened.missing,
        "doctor": {each.name: each.found for each in machine.readings(meter, "cuda:0")}}

print(json.dumps({name: look(case) for name, case in json.load(sys.stdin).items()}))
"""

GPUS = {"UUID_1": "GPU-aaaa", "UUID_2": "GPU-bbbb", "UUID_3": "MIG-cccc"}
WELL = {
    **GPUS,
    "DRIVER": "570.1",
    "ENERGY": "5000",
    "USED": "4096",
    "USED_2": "8192",
    "USED_3": "2048",
    "TEMPERATURE": "40",
    "CLOCK": "1980",
    "PROCESSES": "PID:1024",
}
FIGURES = {
    "peak_process_bytes": 1024,
    "device_used_bytes": 4096,
    "energy_joules": 2.5,
    "temperature_celsius": [40, 45],
    "clock_megahertz": [1980, 1410],
    "contended": False,
    "driver": "570.1",
}
NVML = (
    "peak_process_bytes",
    "device_used_bytes",
    "energy_joules",
    "temperature_celsius",
    "clock_megahertz",
    "contended",
)
UNKNOWN = "the driver doesn't know this process (a container?)"
STILL = "the GPU's energy counter stood still or started anew"


def without(reason, *names):
    return dict.fromkeys(names), dict.fromkeys(names, reason)


# name: the UUID that torch tells, answers that differ, those that differ at the end; the figures that differ, reasons
CASES = {
    "all is well": ("aaaa", {}, {}, {}, {}),
    "the second device, by index or re-ordered": ("bbbb", {}, {}, {"device_used_bytes": 8192}, {}),
    "a device by its whole UUID": ("GPU-bbbb", {}, {}, {"device_used_bytes": 8192}, {}),
    "a MIG slice": ("cccc", {}, {}, {"device_used_bytes": 2048}, {}),
    "a MIG slice by its whole UUID": ("MIG-cccc", {}, {}, {"device_used_bytes": 2048}, {}),
    "a device that NVML doesn't know": ("dddd", {}, {}, *without("NVML: Not Found", *NVML, "driver")),
    "a container hides our process": (
        "aaaa",
        {"PROCESSES": "77:4096"},
        {},
        *without(UNKNOWN, "peak_process_bytes", "contended"),
    ),
    "no process is told": ("aaaa", {"PROCESSES": ""}, {}, *without(UNKNOWN, "peak_process_bytes", "contended")),
    "a process's memory isn't told": (
        "aaaa",
        {"PROCESSES": "PID:18446744073709551615"},
        {},
        *without("the driver doesn't tell what processes hold", "peak_process_bytes"),
    ),
    "another process at the end": ("aaaa", {}, {"PROCESSES": "77:5,PID:1024"}, {"contended": True}, {}),
    "another process at the start": (
        "aaaa",
        {"PROCESSES": "77:5,PID:1"},
        {"PROCESSES": "PID:1024"},
        {"contended": True},
        {},
    ),
    "no energy counter": ("aaaa", {"ENERGY": "!3"}, {"ENERGY": "!3"}, *without("NVML: Not Supported", "energy_joules")),
    "an energy counter that starts anew": ("aaaa", {}, {"ENERGY": "12"}, *without(STILL, "energy_joules")),
    "an energy counter that stands still": ("aaaa", {}, {"ENERGY": "5000"}, *without(STILL, "energy_joules")),
    "no permission": (
        "aaaa",
        {"ENERGY": "!4", "PROCESSES": "!4"},
        {"ENERGY": "!4"},
        *without("NVML: Insufficient Permissions", "energy_joules", "peak_process_bytes", "contended"),
    ),
    "the device is lost between two calls": (
        "aaaa",
        {},
        dict.fromkeys(("ENERGY", "USED", "TEMPERATURE", "CLOCK", "PROCESSES"), "!15"),
        *without("NVML: GPU is lost", *NVML),
    ),
    "driver and library differ": (
        "aaaa",
        {"INIT": "!18"},
        {},
        *without("NVML: RM has detected an NVML/RM version mismatch.", *NVML, "driver"),
    ),
    "the driver isn't loaded": ("aaaa", {"INIT": "!9"}, {}, *without("NVML: Driver Not Loaded", *NVML, "driver")),
    "no clock and no temperature": (
        "aaaa",
        {"CLOCK": "!3", "TEMPERATURE": "!3"},
        {"CLOCK": "!3", "TEMPERATURE": "!3"},
        *without("NVML: Not Supported", "clock_megahertz", "temperature_celsius"),
    ),
    "a text that is not UTF-8": ("aaaa", {"DRIVER": "570\udcff"}, {}, {"driver": None}, {}),
}
END = {"ENERGY": "7500", "TEMPERATURE": "45", "CLOCK": "1410"}
OLD = without("NVML: Function Not Found", "energy_joules")


def looked_at(folder, cases, *flags):
    """What the meters say of each case, in one process that finds our NVML by the name of the driver's."""
    words = [COMPILER, "-shared", "-fPIC", *flags, str(FAKES / "nvml.c"), "-o", str(folder / "libnvidia-ml.so.1")]
    subprocess.run(words, check=True, capture_output=True)
    given = {
        name: {"uuid": uuid, "start": {**WELL, **start}, "end": {**END, **end}}
        for name, (uuid, start, end, *_) in cases.items()
    }
    environment = {**os.environ, "LD_LIBRARY_PATH": str(folder), "PYTHONPATH": str(PROJECT)}
    done = subprocess.run(
        [sys.executable, "-c", CHILD], input=json.dumps(given), env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.fixture(scope="module")
def seen(tmp_path_factory):
    return looked_at(tmp_path_factory.mktemp("nvml"), CASES)


def check(found, figures, reasons):
    missing, _ = found.pop("missing"), found.pop("doctor")
    assert found == {**FIGURES, **figures}
    ours = {name: why for name, why in missing.items() if name in NVML}
    assert ours == {name: why for name, why in reasons.items() if name in NVML}


@pytest.mark.parametrize("name", CASES)
def test_each_figure_is_right_or_null_with_its_reason(seen, name):
    *_, figures, reasons = CASES[name]
    check(dict(seen[name]), figures, reasons)


def test_the_doctor_tells_what_a_gpu_can_measure(seen):
    told = {name: case["doctor"] for name, case in seen.items()}
    everything = "energy counter, memory in use, memory of this process, temperature, clock, driver"
    assert told["all is well"] == {"cuda:0, NVML tells": everything}
    assert told["no energy counter"] == {
        "cuda:0, NVML tells": everything.removeprefix("energy counter, "),
        "cuda:0, no energy counter": "NVML: Not Supported",
    }
    assert told["another process at the end"]["cuda:0, co-tenants"] == "another process computes there"
    assert told["the driver isn't loaded"]["cuda:0, NVML tells"] == "nothing"
    assert set(told["the driver isn't loaded"].values()) == {"nothing", "NVML: Driver Not Loaded"}


def test_an_old_driver_lacks_functions(tmp_path):
    """It has no energy counter, and an earlier list of processes."""
    cases = {"old": ("aaaa", {}, {})}
    check(looked_at(tmp_path, cases, "-DOLD_DRIVER")["old"], *OLD)
