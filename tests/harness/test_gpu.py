"""What the meters ask of a device: how often, when, and of which."""

import re
import sys
import time
from collections import Counter
from types import SimpleNamespace

import pytest
import torch

from harness.meters.flops import gemm_flops_per_second
from harness.meters.gpu import CpuCalls, CudaCalls, Gpu, Peaks, calls_of, name_of
from harness.meters.window import Window
from harness.training.loop import StepClock

SECOND = torch.device("cuda:1")


@pytest.fixture
def gpu():
    return Gpu(torch.device("cpu"))


class TestWindow:
    @pytest.fixture
    def clocked(self, device_calls, monkeypatch):
        """The calls, with the window's clock among them."""
        read = time.perf_counter
        monkeypatch.setattr("time.perf_counter", lambda: device_calls.append(("clock", "")) or read())
        return device_calls

    def test_it_synchronises_once_at_each_edge_and_resets_peaks_at_the_first(self, clocked, gpu):
        with Window(SECOND, gpu) as window:
            clocked.append(("work", ""))
        assert clocked == [
            ("synchronise", "cuda:1"),
            ("reset_peaks", "cuda:1"),
            ("clock", ""),
            ("work", ""),
            ("synchronise", "cuda:1"),
            ("clock", ""),
            ("peaks", "cuda:1"),
        ]
        assert window.record().peak_allocated_bytes == 1000
        assert window.record().peak_reserved_bytes == 2000
        assert not {"peak_allocated_bytes", "peak_reserved_bytes"} & window.missing.keys()

    def test_nothing_more_is_asked_of_a_gpu_whose_work_failed(self, device_calls, gpu):
        """After a CUDA error every call raises, and would hide the cause."""
        with pytest.raises(ValueError, match="odd"), Window(SECOND, gpu) as window:
            raise ValueError("odd")
        assert [call for call, _ in device_calls] == ["synchronise", "reset_peaks"]
        assert window.record() is None


class TestStepClock:
    @pytest.mark.parametrize("steps", [1, 8])
    def test_it_waits_once_an_epoch_however_many_steps_there_are(self, device_calls, steps):
        clock = StepClock(SECOND)
        for _ in range(steps):
            clock.start()
            clock.stop()
        assert Counter(device_calls) == {("mark", "cuda:1"): 2 * steps}
        assert clock.seconds() == [1.0] * steps
        assert Counter(device_calls) == {("mark", "cuda:1"): 2 * steps, ("synchronise", "cuda:1"): 1}


def test_a_matrix_product_is_timed_between_waits(device_calls, monkeypatch):
    monkeypatch.setattr("harness.meters.flops.GEMM_SIZE", 4)
    gemm_flops_per_second(torch.device("cpu"), repeats=3)
    assert Counter(device_calls) == {("synchronise", "cpu"): 8}


class FakeEvent:
    def __init__(self, enable_timing):
        assert enable_timing
        self.stream = None

    def record(self, stream):
        self.stream = stream

    def elapsed_time(self, end):
        assert (self.stream, end.stream) == ("stream of cuda:1",) * 2
        return 2500.0


def test_torch_is_asked_about_this_device_and_no_other(monkeypatch):
    """The current device is another: that of the process, say."""
    asked = []

    def note(name, answer=None):
        monkeypatch.setattr(f"torch.cuda.{name}", lambda *device: asked.append((name, *map(str, device))) or answer)

    note("set_device")
    note("synchronize")
    note("empty_cache")
    note("reset_peak_memory_stats")
    note("max_memory_allocated", 10)
    note("max_memory_reserved", 20)
    monkeypatch.setattr("torch.cuda.Event", FakeEvent)
    monkeypatch.setattr("torch.cuda.current_stream", lambda device: f"stream of {device}")
    calls = calls_of(SECOND)
    assert isinstance(calls, CudaCalls)
    calls.make_current()
    calls.synchronise()
    calls.reset_peaks()
    assert calls.peaks() == Peaks(10, 20)
    assert calls.seconds(calls.mark(), calls.mark()) == 2.5
    assert asked == [
        ("set_device", "cuda:1"),
        ("synchronize", "cuda:1"),
        ("empty_cache",),
        ("reset_peak_memory_stats", "cuda:1"),
        ("max_memory_allocated", "cuda:1"),
        ("max_memory_reserved", "cuda:1"),
    ]


def test_whatever_device_is_current_stays_so_where_none_is_named(monkeypatch):
    monkeypatch.delattr("torch.cuda.set_device")
    calls_of(torch.device("cuda")).make_current()


def test_a_name_that_is_not_utf_8_ends_no_run(monkeypatch):
    monkeypatch.setattr("torch.cuda.get_device_name", lambda _: b"H\xff00".decode())
    assert name_of(SECOND) == "a GPU whose name is not UTF-8"


def test_a_cpu_has_a_clock_and_no_allocator():
    calls = calls_of(torch.device("cpu"))
    assert isinstance(calls, CpuCalls)
    assert calls.peaks() == Peaks(None, None)
    outer = time.perf_counter()
    start, end = calls.mark(), calls.mark()
    assert outer <= start <= end <= time.perf_counter()
    assert calls.seconds(start, end) == end - start


@pytest.mark.gpu
def test_marks_of_cuda_lie_around_the_work_between_them():
    calls = calls_of(torch.device("cuda:0"))
    a = torch.randn(2048, 2048, device="cuda:0")
    calls.synchronise()
    outer = time.perf_counter()
    marks = [calls.mark()]
    for products in (1, 50):
        for _ in range(products):
            a @ a
        marks.append(calls.mark())
    calls.synchronise()
    around = time.perf_counter() - outer
    one, fifty = calls.seconds(*marks[:2]), calls.seconds(*marks[1:])
    assert 0 < one < fifty
    assert one + fifty <= around * 1.01


class NVMLError(Exception):
    pass


class NotFoundError(NVMLError):
    pass


def old_binding(**calls):
    """A module `pynvml` of before NVIDIA's own: it answers in bytes, and has no call that ends in _v3."""
    handle = {"nvmlInit": lambda: None, "nvmlDeviceGetHandleByUUID": lambda uuid: uuid}
    errors = {"NVMLError": NVMLError, "NVMLError_FunctionNotFound": NotFoundError}
    return SimpleNamespace(**handle, **errors, nvmlSystemGetDriverVersion=lambda: b"450.1", **calls)


def refuse(*_):
    raise TypeError("bytes or integer address expected instead of str instance")


@pytest.mark.parametrize("package", ["pynvml", "nvidia-ml-py3"])
@pytest.mark.parametrize(
    ("binding", "reading", "why"),
    [
        (old_binding(), "process_bytes", "AttributeError: .*nvmlDeviceGetComputeRunningProcesses_v3"),
        (old_binding(nvmlDeviceGetTotalEnergyConsumption=refuse), "energy_joules", "TypeError: bytes or integer"),
        (SimpleNamespace(**{**vars(old_binding()), "nvmlDeviceGetHandleByUUID": refuse}), "driver", "TypeError: bytes"),
        (SimpleNamespace(), "used_bytes", "AttributeError: .*nvmlInit"),
    ],
)
def test_a_binding_that_is_none_of_nvidias_gives_null_and_is_named(monkeypatch, package, binding, reading, why):
    monkeypatch.setitem(sys.modules, "pynvml", binding)
    monkeypatch.setattr("torch.cuda.get_device_properties", lambda _: SimpleNamespace(uuid="aaaa"))
    versions = {package: "7.352.0", "nvidia-ml-py": "12.1"}
    monkeypatch.setattr("harness.meters.gpu._version", versions.get)
    gpu = Gpu(SECOND)
    assert getattr(gpu, reading)() is None
    assert re.search(rf"{why}(.|\n)*unofficial {package} 7.352.0(.|\n)*pip uninstall {package};", gpu.why(reading))


def test_what_an_old_binding_says_in_bytes_is_text(monkeypatch):
    monkeypatch.setitem(sys.modules, "pynvml", old_binding())
    monkeypatch.setattr("torch.cuda.get_device_properties", lambda _: SimpleNamespace(uuid="aaaa"))
    assert Gpu(SECOND).driver() == "450.1"
