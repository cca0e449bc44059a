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
from harness.runs.devices import slots
from harness.runs.worker_process import _child
gpu.CudaCalls = lambda device: gpu.CpuCalls()
window.MINIMUM_ENERGY_WINDOW_SECONDS = 0
device = torch.device("cuda:0")  # of windows, whose calls to torch are none

def script(answers):
    for name in [name for name in os.environ if name.startswith("NVML_")]:
        del os.environ[name]
    for name, text in answers.items():
        os.environ["NVML_" + name] = text.replace("PID", str(os.getpid()))

HERE = ["aaaa", "bbbb"]

def properties(index):
    # as the driver numbers what CUDA_VISIBLE_DEVICES leaves, by place or by UUID; torch leaves out the prefix
    visible = os.environ.get("CUDA_VISIBLE_DEVICES", "0,1").split(",")
    chosen = HERE[int(visible[index])] if visible[index].isdecimal() else visible[index]
    return SimpleNamespace(uuid=chosen.removeprefix("GPU-"))

torch.cuda.get_device_properties = properties
torch.cuda.current_device = lambda: 0

def look(case):
    os.environ.pop("CUDA_VISIBLE_DEVICES", None)
    os.environ |= {"CUDA_VISIBLE_DEVICES": case["visible"]} if case["visible"] else {}
    script(case["start"])
    meter = gpu.Gpu(torch.device(case["device"]))
    opened = window.Window(device, meter)
    with opened:
        script({**case["start"], **case["end"]})
    found = {name: getattr(opened.record(), name) for name in window._READINGS}
    return {**found, "contended": opened.record().contended, "driver": meter.driver(), "missing": opened.missing,
        "doctor": {each.name: each.found for each in machine.readings(meter, "cuda:0")}}

def workers(jobs):
    # what each of so many runs at a time sees of the GPUs once it has its slot, as in its process; torch counts by NVML
    os.environ.pop("CUDA_VISIBLE_DEVICES", None)
    here = gpu.gpus(torch.device("cuda"))
    seen = []
    def see(job, sender):
        seen.append([job.gpu, list(gpu.gpus(torch.device("cuda"))), gpu.Gpu(torch.device("cuda")).used_bytes()])
    for slot in slots([], here, jobs):
        _child(see, SimpleNamespace(gpu=slot), None, os.environ.copy())
    return [list(here), seen]

def doctor():
    # what the command says of a machine with the first of them alone
    script(WELL)
    torch.cuda.is_available, torch.cuda.device_count = lambda: True, lambda: 1
    torch.cuda.get_device_properties = lambda index: SimpleNamespace(uuid="aaaa", name="A GPU", total_memory=80 << 30)
    return [[each.name, each.found, each.follows] for each in machine._gpus()]

given = json.load(sys.stdin)
WELL = given.pop("well")
found = {name: look(case) for name, case in given.items()}
script({"UUID_1": "GPU-aaaa", "UUID_2": "GPU-bbbb", "USED": "4096", "USED_2": "8192"})
print(json.dumps({**found, "workers": workers(3), "doctor": doctor()}))
"""

GPUS = {"UUID_1": "GPU-aaaa", "UUID_2": "GPU-bbbb", "UUID_3": "MIG-cccc"}
WELL = {
    **GPUS,
    "DRIVER": "570.1",
    "ENERGY": "5000",
    "USED": "4096",
    "RESERVED": "100",
    "USED_2": "8192",
    "USED_3": "2048",
    "TEMPERATURE": "40",
    "CLOCK": "1980",
    "THROTTLE": "1",
    "PROCESSES": "PID:1024",
}
FIGURES = {
    "peak_process_bytes": 1024,
    "device_used_bytes": 4096,
    "energy_joules": 2.5,
    "temperature_celsius": [40, 45],
    "clock_megahertz": [1980, 1410],
    "throttle_reasons": [],
    "contended": False,
    "driver": "570.1",
}
NVML = (
    "peak_process_bytes",
    "device_used_bytes",
    "energy_joules",
    "temperature_celsius",
    "clock_megahertz",
    "throttle_reasons",
    "contended",
)
UNKNOWN = "the driver doesn't know this process (a container?)"
STILL = "the GPU's energy counter stood still or started anew"


def without(reason, *names):
    return dict.fromkeys(names), dict.fromkeys(names, reason)


SECOND = {"device_used_bytes": 8192}
SLICE = {"device_used_bytes": 2048}

# name: what CUDA_VISIBLE_DEVICES says, and the device; answers that differ, those that differ at the end; the figures that differ,
# reasons
CASES = {
    "all is well": ("", {}, {}, {}, {}),
    "the current device of two": (("", "cuda"), {}, {}, {}, {}),
    "the second device": (("", "cuda:1"), {}, {}, SECOND, {}),
    "a device by its index": ("1", {}, {}, SECOND, {}),
    "a device by its UUID": ("GPU-bbbb", {}, {}, SECOND, {}),
    "two devices re-ordered": ("1,0", {}, {}, SECOND, {}),
    "the second of two re-ordered": (("1,0", "cuda:1"), {}, {}, {}, {}),
    "a MIG slice by its UUID": ("MIG-cccc", {}, {}, SLICE, {}),
    "a MIG slice that torch tells as a GPU": ("GPU-cccc", {}, {}, SLICE, {}),
    "a first memory reading of another version": ("", {"OTHER_VERSION": "1"}, {}, {"device_used_bytes": 4196}, {}),
    "heat and power hold the clock down": (
        "",
        {"THROTTLE": "4"},
        {"THROTTLE": "100"},
        {"throttle_reasons": ["power cap", "heat, by the driver", "heat, by the hardware"]},
        {},
    ),
    "a device that NVML doesn't know": ("GPU-dddd", {}, {}, *without("NVML: Not Found", *NVML, "driver")),
    "a container hides our process": (
        "",
        {"PROCESSES": "77:4096"},
        {},
        *without(UNKNOWN, "peak_process_bytes", "contended"),
    ),
    "no process is told": ("", {"PROCESSES": ""}, {}, *without(UNKNOWN, "peak_process_bytes", "contended")),
    "a process's memory isn't told": (
        "",
        {"PROCESSES": "PID:18446744073709551615"},
        {},
        *without("the driver doesn't tell what processes hold", "peak_process_bytes"),
    ),
    "another process at the end": ("", {}, {"PROCESSES": "77:5,PID:1024"}, {"contended": True}, {}),
    "another process at the start": (
        "",
        {"PROCESSES": "77:5,PID:1"},
        {"PROCESSES": "PID:1024"},
        {"contended": True},
        {},
    ),
    "no energy counter": ("", {"ENERGY": "!3"}, {"ENERGY": "!3"}, *without("NVML: Not Supported", "energy_joules")),
    "an energy counter that starts anew": ("", {}, {"ENERGY": "12"}, *without(STILL, "energy_joules")),
    "an energy counter that stands still": ("", {}, {"ENERGY": "5000"}, *without(STILL, "energy_joules")),
    "no permission": (
        "",
        {"ENERGY": "!4", "PROCESSES": "!4"},
        {"ENERGY": "!4"},
        *without("NVML: Insufficient Permissions", "energy_joules", "peak_process_bytes", "contended"),
    ),
    "the device is lost between two calls": (
        "",
        {},
        dict.fromkeys(("ENERGY", "USED", "TEMPERATURE", "CLOCK", "THROTTLE", "PROCESSES"), "!15"),
        *without("NVML: GPU is lost", *NVML),
    ),
    "driver and library differ": (
        "",
        {"INIT": "!18"},
        {},
        *without("NVML: RM has detected an NVML/RM version mismatch.", *NVML, "driver"),
    ),
    "the driver isn't loaded": ("", {"INIT": "!9"}, {}, *without("NVML: Driver Not Loaded", *NVML, "driver")),
    "no clock, no temperature and no reasons of throttling": (
        "",
        dict.fromkeys(("CLOCK", "TEMPERATURE", "THROTTLE"), "!3"),
        dict.fromkeys(("CLOCK", "TEMPERATURE", "THROTTLE"), "!3"),
        *without("NVML: Not Supported", "clock_megahertz", "temperature_celsius", "throttle_reasons"),
    ),
    "a text that is not UTF-8": ("", {"DRIVER": "570\udcff"}, {}, {"driver": None}, {}),
}
END = {"ENERGY": "7500", "TEMPERATURE": "45", "CLOCK": "1410"}


def looked_at(folder, cases, *flags):
    """What the meters say of each case, in one process that finds our NVML by the name of the driver's."""
    words = [COMPILER, "-shared", "-fPIC", *flags, str(FAKES / "nvml.c"), "-o", str(folder / "libnvidia-ml.so.1")]
    subprocess.run(words, check=True, capture_output=True)
    given = {"well": WELL}
    for name, (where, start, end, *_) in cases.items():
        visible, device = (where, "cuda:0") if isinstance(where, str) else where
        given[name] = {"visible": visible, "device": device, "start": {**WELL, **start}, "end": {**END, **end}}
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


def test_of_several_gpus_each_worker_sees_one_by_its_uuid(seen):
    """Three runs at a time on two GPUs: torch counts one in each, and NVML's figures are of that one."""
    here, workers = seen["workers"]
    assert here == ["GPU-aaaa", "GPU-bbbb"]
    first, second = ["GPU-aaaa", ["GPU-aaaa"], 4096], ["GPU-bbbb", ["GPU-bbbb"], 8192]
    assert workers == [first, second, first]


def test_the_doctor_tells_what_a_gpu_can_measure(seen):
    told = {name: seen[name]["doctor"] for name in CASES}
    everything = "energy counter, memory in use, memory of this process, temperature, clock, driver"
    energy = {"cuda:0, energy": "of the whole device, in windows of 0 s and more"}
    assert told["all is well"] == {"cuda:0, NVML tells": everything, **energy}
    assert told["no energy counter"] == {
        "cuda:0, NVML tells": everything.removeprefix("energy counter, "),
        "cuda:0, no energy counter": "NVML: Not Supported",
    }
    assert told["another process at the end"]["cuda:0, co-tenants"] == "another process computes there"
    assert told["the driver isn't loaded"]["cuda:0, NVML tells"] == "nothing"
    assert set(told["the driver isn't loaded"].values()) == {"nothing", "NVML: Driver Not Loaded"}


def test_the_page_of_the_doctor_has_what_it_says_of_a_gpu(seen):
    page = (PROJECT / "docs" / "doctor.md").read_text()
    for name, found, follows in seen["doctor"]:
        assert f"   {name}: {found}\n" in page.replace("windows of 10 s", "windows of 0 s")
        assert follows in page


def test_an_old_driver_lacks_functions(tmp_path):
    """It has no energy counter, an earlier list of processes, and what it keeps for itself among the memory in use."""
    figures, reasons = without("NVML: Function Not Found", "energy_joules")
    cases = {"old": ("", {}, {})}
    check(looked_at(tmp_path, cases, "-DOLD_DRIVER")["old"], {**figures, "device_used_bytes": 4196}, reasons)
