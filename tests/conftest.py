"""Options and fixtures for the whole suite."""

import gc
import logging
import os
from dataclasses import replace
from pathlib import Path

import pytest

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")


def pytest_addoption(parser):
    parser.addoption(
        "--parity-dir",
        type=Path,
        default=None,
        help="Check the golden vectors of another folder of the same format as tests/methods/parity.",
    )


def pytest_generate_tests(metafunc):
    if "golden_part" in metafunc.fixturenames:
        from golden import parts

        folder = metafunc.config.getoption("--parity-dir") or Path(__file__).parent / "methods" / "parity"
        found = parts(folder)
        if "execution" in metafunc.fixturenames:
            metafunc.parametrize(("golden_part", "execution"), [*_in_both_executions(found)])
        else:
            metafunc.parametrize("golden_part", found, ids=lambda part: part.id)


def _in_both_executions(found):
    """The reference execution's before a release: in every test run, it equals the fast one in float64 (test_contract.py)."""
    for part in found:
        for execution in ("reference", "fast") if part.runs_towers else ("fast",):
            marks = [pytest.mark.long] * (execution == "reference")
            yield pytest.param(part, execution, id=f"{execution}-{part.id}", marks=marks)


def pytest_collection_finish():
    """What is imported by now stays: collecting garbage need not walk all of torch's objects again and again."""
    gc.freeze()
    gc.set_threshold(50_000)


def pytest_unconfigure():
    gc.unfreeze()  # extension modules expect to be collected at the end


def pytest_collection_modifyitems(items):
    whole_suites = Path(__file__).parent
    # They come first: at the end, a process would wait for them.
    items.sort(key=lambda item: item.path.parent != whole_suites)
    marked = [item for item in items if item.get_closest_marker("gpu")]
    if marked:
        import torch

        if not torch.cuda.is_available():
            for item in marked:
                item.add_marker(pytest.mark.skip(reason="no CUDA device"))


FAKES = Path(__file__).parent / "fakes"
PROJECT = Path(__file__).parent.parent


@pytest.fixture(scope="session")
def make_clip():
    """Small CLIPs with random weights: open_clip's own class and tokenizer, `layers` blocks a tower, 32-pixel images."""
    from harness.validation.tiny import tiny_clip

    return tiny_clip


@pytest.fixture(scope="session")
def tiny_backbone():
    """TinyBackbone: `tiny_backbone(execution, dtype, layers=...)` is a new one with the same random weights each time."""
    from harness.validation.tiny import tiny_backbone

    return tiny_backbone


@pytest.fixture(scope="session")
def tiny_weights(make_clip, tmp_path_factory):
    """The folder of the weights file of `tinyworld`'s backbone."""
    from safetensors.torch import save_file

    folder = tmp_path_factory.mktemp("tinyworld")
    save_file(make_clip().state_dict(), folder / "tiny-clip.safetensors")
    return folder


@pytest.fixture
def tinyworld(tiny_weights, monkeypatch):
    """The module `tinyworld` of tests/fakes, importable and registered as an installed plug-in is."""
    from importlib import import_module

    monkeypatch.syspath_prepend(FAKES)
    monkeypatch.setenv("TINYWORLD", str(tiny_weights))
    module = import_module("tinyworld")
    monkeypatch.setattr(module, "BACKBONE", replace(module.BACKBONE, weights=tiny_weights / "tiny-clip.safetensors"))
    return module


@pytest.fixture(scope="session")
def cache_folder(tmp_path_factory):
    """One folder of generated data for all processes that tests start."""
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(scope="session")
def start(cache_folder, tmp_path_factory):
    """`start(*words, plugins=...)`: a real `adaptbench` process, in a folder of its own; a `subprocess.Popen`."""
    import subprocess
    import sys

    def run(*words, plugins=(), environment=None, python=("-m", "harness"), **how):
        env = {
            **os.environ,
            "PYTHONPATH": os.pathsep.join(map(str, (*plugins, PROJECT))),
            "ADAPTBENCH_CACHE": str(cache_folder),
            "COLUMNS": "200",
            "NO_COLOR": "1",
            **(environment or {}),
        }
        env.pop("ADAPTBENCH_DATA_ROOT", None)
        return subprocess.Popen(
            [sys.executable, *python, *map(str, words)],
            env=env,
            cwd=how.pop("cwd", None) or tmp_path_factory.mktemp("cwd"),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            **how,
        )

    return run


@pytest.fixture(scope="session")
def adaptbench(start):
    """`adaptbench(*words)`: the command, run to its end, as a `subprocess.CompletedProcess`; a traceback fails the test."""
    import subprocess

    def run(*words, timeout=300, **how):
        with start(*words, **how) as process:
            try:
                out, err = process.communicate(timeout=timeout)
            except BaseException:
                process.kill()
                raise
        assert "Traceback" not in out + err, out + err
        return subprocess.CompletedProcess(words, process.returncode, out, err)

    return run


@pytest.fixture(scope="session")
def held_to_permissions(tmp_path_factory):
    """For `preexec_fn`: root's processes may read and write what permissions say, and no more, as any other user's."""
    import ctypes
    import subprocess

    prctl = getattr(ctypes.CDLL(None), "prctl", None)

    def drop():
        for capability in (1, 2):  # CAP_DAC_OVERRIDE, CAP_DAC_READ_SEARCH
            if prctl is not None:
                prctl(24, capability, 0, 0, 0)  # PR_CAPBSET_DROP; for others than root it does nothing

    closed = tmp_path_factory.mktemp("closed")
    closed.chmod(0)
    if subprocess.run(["ls", closed], preexec_fn=drop, capture_output=True, check=False).returncode == 0:
        pytest.skip("root may read everything here")
    return drop


@pytest.fixture(scope="session")
def tiny_adaptbench(adaptbench, tiny_weights):
    """The command with `tinyworld` installed."""
    from functools import partial

    return partial(adaptbench, plugins=(FAKES,), environment={"TINYWORLD": str(tiny_weights)})


@pytest.fixture
def adaptbench_here(capsys, monkeypatch):
    """`adaptbench_here(*words)`: the same in this process, which has imported torch already; for commands that start none."""
    import subprocess

    from harness.__main__ import main

    def run(*words):
        monkeypatch.setattr("sys.argv", ["adaptbench", *map(str, words)])
        monkeypatch.setenv("COLUMNS", "200")
        monkeypatch.setenv("NO_COLOR", "1")
        with pytest.raises(SystemExit) as ended:
            main()
        return subprocess.CompletedProcess(words, ended.value.code, *capsys.readouterr())

    level = logging.getLogger().level
    yield run
    logging.getLogger().setLevel(level)  # a command chooses it for its own process


@pytest.fixture
def job(tinyworld, tmp_path):
    """`job("method", seed=..., settings={...})`: a run on flat colours with the tiny backbone, for `execute`."""
    from harness.plan import Request, plan
    from harness.runs.job import Job
    from harness.suite import Folders

    def make(method, seed=1, dataset="tiny-colours", shots=4, **request):
        wanted = Request(
            suite="tiny",
            methods=[method],
            datasets=[dataset],
            seeds=[seed],
            shots=[shots],
            backbone="tiny-clip",
            **request,
        )
        (run,) = plan(wanted, "tiny")
        return Job(
            run=run,
            pretrained=None,
            folders=Folders(data_root=None, cache=tmp_path),
            device="cpu",
            threads=1,
            command="adaptbench run tiny",
        )

    return make


@pytest.fixture
def one_thread():
    """Leaves torch's number of threads as it was: a run sets its own."""
    import torch

    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)
