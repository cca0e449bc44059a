"""The records of tests/reports, for what attacks them."""

import runpy
from pathlib import Path

import pytest

MAKE_RECORD = runpy.run_path(str(Path(__file__).parents[1] / "reports" / "conftest.py"))["make_record"]


@pytest.fixture(scope="session")
def record():
    return MAKE_RECORD
