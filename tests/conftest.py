"""Options and fixtures for the whole suite."""

import os
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
    if "parity_case" in metafunc.fixturenames:
        from json import loads

        folder = metafunc.config.getoption("--parity-dir") or Path(__file__).parent / "methods" / "parity"
        wanted = metafunc.cls.file_prefix
        cases = []
        for path in sorted(folder.glob(f"{wanted}*.json")):
            data = loads(path.read_text())
            if path.stem in metafunc.cls.files:
                cases += [pytest.param(case, id=f"{path.stem}:{case['case']}") for case in data["cases"]]
        metafunc.parametrize("parity_case", cases)


@pytest.fixture(scope="session")
def parity_dir(request):
    return request.config.getoption("--parity-dir") or Path(__file__).parent / "methods" / "parity"
