"""A pytest plugin of the gate's own sessions: what became of every benchmark, as a file. It refuses to run under xdist."""

from __future__ import annotations

import contextlib
import json
import platform
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import pytest
from _pytest.mark import deselect_by_keyword
from pytest_benchmark.utils import get_commit_info


def pytest_addoption(parser: pytest.Parser) -> None:
    """--gate-outcomes, without which this plugin does nothing."""
    parser.addoption(
        "--gate-outcomes", type=Path, metavar="FILE", help="Where to write what became of every benchmark."
    )


def pytest_configure(config: pytest.Config) -> None:
    """Listen to the session, or end it under xdist."""
    path = config.getoption("gate_outcomes")
    if path is None:
        return
    outcomes = Outcomes(path, config.rootpath)
    if config.getoption("dist", "no") != "no":  # whoever asked for it: xdist's -n sets this
        outcomes.write(xdist=True)
        raise pytest.UsageError("benchmarks that share the machine with each other measure nothing")
    config.pluginmanager.register(outcomes)


@pytest.hookimpl(optionalhook=True, tryfirst=True)
def pytest_benchmark_generate_machine_info() -> dict[str, str]:
    """Without host name; and without the seconds that py-cpuinfo takes."""
    return {
        "machine": platform.machine(),
        "system": platform.system(),
        "python_implementation": platform.python_implementation(),
        "python_version": platform.python_version(),
    }


@pytest.hookimpl(optionalhook=True, tryfirst=True)
def pytest_benchmark_generate_commit_info(config: pytest.Config) -> dict[str, Any]:
    """Of the repository that the tests lie in, wherever the command was given."""
    with contextlib.chdir(config.rootpath):
        commit: dict[str, Any] = get_commit_info()
    return commit


class Outcomes:
    """Notes by node id: "passed", "failed", "skipped", "disabled", "unused" (the fixture was never called), "rejected" (by -k)
    or "deselected", each with pytest's reason."""

    def __init__(self, path: Path, root: Path) -> None:
        self._path, self._root = path, root
        self._benchmarks: dict[str, tuple[str, str]] = {}
        self._errors: list[tuple[str, str]] = []

    def write(self, xdist: bool = False) -> None:
        found = {"root": str(self._root), "xdist": xdist, "benchmarks": self._benchmarks, "errors": self._errors}
        self._path.write_text(json.dumps(found))

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_collection_modifyitems(self, config: pytest.Config, items: list[pytest.Item]) -> Iterator[None]:
        """Before anybody deselects: what -k by itself rejects; the others stay "deselected" unless `collection_finish` has them."""
        self._note(items, "deselected", "")
        picked = list(items)
        deselect_by_keyword(picked, config)
        self._note(set(items) - set(picked), "rejected", "")
        return (yield)

    def pytest_collection_finish(self, session: pytest.Session) -> None:
        self._note(session.items, "failed", "it never ran")

    def _note(self, items: Iterable[pytest.Item], outcome: str, why: str) -> None:
        for item in items:
            if "benchmark" in getattr(item, "fixturenames", ()):
                self._benchmarks[item.nodeid] = outcome, why

    def pytest_collectreport(self, report: pytest.CollectReport) -> None:
        if not report.passed:
            self._errors.append((report.nodeid, _reason(report)))

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_makereport(self, item: pytest.Item, call: pytest.CallInfo[None]) -> Any:
        report: pytest.TestReport = yield
        if item.nodeid in self._benchmarks:
            if report.when == "call" or not report.passed:
                self._benchmarks[item.nodeid] = _outcome(report)
            fixture = item.funcargs["benchmark"] if report.when == "call" and report.passed else None  # type: ignore[attr-defined]
            if fixture and not fixture.enabled:
                self._benchmarks[item.nodeid] = "disabled", ""
            elif fixture and fixture.stats is None:
                self._benchmarks[item.nodeid] = "unused", ""
        return report

    def pytest_sessionfinish(self) -> None:
        self.write()


def _outcome(report: pytest.TestReport) -> tuple[str, str]:
    expected = getattr(report, "wasxfail", None)
    if expected is not None:
        return "skipped", f"it is expected to fail: {expected.removeprefix('reason: ')}"
    return report.outcome, "" if report.passed else _reason(report)


def _reason(report: pytest.CollectReport | pytest.TestReport) -> str:
    """A skip's own words, or the last line of what went wrong."""
    if isinstance(report.longrepr, tuple):
        return str(report.longrepr[2]).removeprefix("Skipped: ")
    crash = getattr(report.longrepr, "reprcrash", None)
    text = crash.message if crash else report.longreprtext
    return str(text).strip().splitlines()[0 if crash else -1] if str(text).strip() else ""
