"""What ``adaptbench doctor`` finds of a machine; of a GPU, test_nvml.py has it."""

import json
from io import StringIO

import pytest
from rich.console import Console

from harness.cli import doctor as command
from harness.cli.doctor import doctor
from harness.files import cache_folder
from harness.probes import machine
from tests.harness.test_environment import MOUNT, made

CONTAINER = {f"{MOUNT}/cpu.max": "100000 100000\n", f"{MOUNT}/memory.max": f"{2 << 30}\n"}
OLDER = {
    f"{MOUNT}/cpu/job/cpu.cfs_quota_us": "100000\n",
    f"{MOUNT}/cpu/job/cpu.cfs_period_us": "100000\n",
    f"{MOUNT}/memory/job/memory.limit_in_bytes": f"{2 << 30}\n",
}
CPU = "sys/devices/system/cpu"
TURBO = {f"{CPU}/cpu0/cpufreq/scaling_governor": "powersave\n", f"{CPU}/intel_pstate/no_turbo": "0\n"}
STEADY = {f"{CPU}/cpu0/cpufreq/scaling_governor": "performance\n", f"{CPU}/cpufreq/boost": "0\n"}


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(machine, "_REPEATS", 8)
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    return tmp_path


def seen(folder, files, membership="0::/\n"):
    findings = machine.look(folder / "results", folder / "cache", made(folder / "root", membership, files))
    return {(finding.group, finding.name): finding for finding in findings}


@pytest.mark.parametrize(
    ("files", "membership"),
    [(CONTAINER, "0::/\n"), (OLDER, "5:memory:/job\n4:cpu:/job\n")],
    ids=["version 2", "version 1"],
)
def test_a_container_of_one_processor_and_2_gib(here, monkeypatch, files, membership):
    monkeypatch.setattr("psutil.cpu_count", lambda logical=True: 8)
    found = seen(here, files, membership)
    assert "this container may use 1 of 8" in found["processor", "threads of a run"].found
    assert "throttled" in found["processor", "threads of a run"].follows
    memory = found["memory", "of the host"]
    assert memory.found.startswith("2.0 GiB (this container's limit; the machine has ")
    assert memory.is_warning
    assert "estimate" in memory.follows


def test_a_clock_that_changes_and_one_that_does_not(here):
    turbo, steady = seen(here / "a", TURBO), seen(here / "b", STEADY)
    assert turbo["processor", "clock"].found == "governor powersave, turbo on"
    assert "only within one run" in turbo["processor", "clock"].follows
    assert steady["processor", "clock"].found == "governor performance, turbo off"
    assert steady["processor", "clock"].follows == ""


def test_folders_that_have_no_room_or_have_our_names(here, monkeypatch):
    monkeypatch.setattr(machine, "GIB", 1 << 60)
    monkeypatch.setattr(machine, "_NEEDED_BYTES", dict.fromkeys(machine._NEEDED_BYTES, 1 << 60))
    (here / "reports").mkdir()
    found = seen(here, {})
    assert found["disk", "results"].is_warning
    assert "--results" in found["disk", "results"].follows
    assert found["names", "shadowing"].found == f"{here} has reports, as AdaptBench has"


def test_a_user_without_a_home_is_told(here, monkeypatch):
    monkeypatch.delenv("HOME")
    monkeypatch.setattr("pwd.getpwuid", lambda user: {}[user])
    found = seen(here, {})
    assert found["disk", "home"].is_warning
    assert "Set HOME" in found["disk", "home"].follows
    assert ("caches", "torch") not in found
    assert cache_folder().is_absolute()


def test_what_is_not_installed_has_its_command(here, monkeypatch):
    monkeypatch.setattr(machine, "requires", lambda package: ["torch", 'no-such-thing>=2; extra == "thing"'])
    found = seen(here, {})
    assert [finding.follows for (group, _), finding in found.items() if group == "extras"] == [
        "pip install no-such-thing"
    ]


FOUND = [machine.Finding("disk", "results", "full", "Free some.", True), machine.Finding("GPU", "a", "word " * 40)]


@pytest.fixture
def found_two(monkeypatch):
    monkeypatch.setattr(machine, "look", lambda results, cache: iter(FOUND))


def test_the_command_prints_whole_lines_to_a_pipe(found_two, capsys):
    doctor()
    lines = capsys.readouterr().out.splitlines()
    assert lines[:4] == ["disk", " ! results: full", "     Free some.", "GPU"]
    assert lines[4:] == [f"   a: {'word ' * 40}", "1 to look at, marked with !"]


def test_a_terminal_has_them_wrapped(found_two, monkeypatch):
    console = Console(file=StringIO(), force_terminal=True, width=40, color_system=None)
    monkeypatch.setattr(command, "console", console)
    doctor()
    assert max(map(len, console.file.getvalue().splitlines())) <= 40


def test_json_has_the_same(found_two, capsys):
    doctor(as_json=True)
    assert [machine.Finding(**each) for each in json.loads(capsys.readouterr().out)] == FOUND
