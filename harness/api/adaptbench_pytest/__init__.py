"""The pytest plug-in, by a name that no package of a user's has: it is in every session of an environment that has AdaptBench.

Where another `harness` than ours would be imported, as from a repository that has one, only tests that take our fixtures are told.
"""

from __future__ import annotations

import pytest

from adaptbench_command import shadow

if (_other := shadow()) is None:
    from harness.gate.plugin import method_benchmark, pytest_terminal_summary, suite_benchmark

    __all__ = ["method_benchmark", "pytest_terminal_summary", "suite_benchmark"]
else:
    _what = _other

    @pytest.fixture(name="method_benchmark")
    def no_method_benchmark() -> None:
        """Fails its test, which is told why."""
        pytest.fail(_what, pytrace=False)

    @pytest.fixture(name="suite_benchmark")
    def no_suite_benchmark() -> None:
        """Fails its test, which is told why."""
        pytest.fail(_what, pytrace=False)
