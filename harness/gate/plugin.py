"""The pytest plugin: fixtures that make a benchmark of a method, or of a suite, in anybody's repository.

    def test_step(method_benchmark):
        method_benchmark("my_pkg:MyMethod")

They drive pytest-benchmark's own fixture. Its `extra_info` gets the figures, and the names of those that ``adaptbench gate``
compares at 0 %: "exact" on any machine, "exact_per_platform" where rounding decides. No torch before a benchmark runs.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from harness.gate.figures import Part
    from harness.suite import Execution

UNMEASURED = "adaptbench_unmeasured"


@pytest.fixture
def method_benchmark(benchmark: Any, request: pytest.FixtureRequest) -> Callable[..., None]:
    """``method_benchmark(method, part="train", *, backbone, execution, settings)``: a step, timed and counted.

    method: a registered name or ``module:attribute``. part: "train", an optimiser step on a ready batch, or "evaluate", a test of
    one batch. backbone: a registered one, or an open_clip model with random weights. settings: as ``--set`` has them.
    """

    def measure(
        method: str,
        part: Part = "train",
        *,
        backbone: str = "demo-clip",
        execution: Execution = "fast",
        settings: Mapping[str, str] | None = None,
    ) -> None:
        from harness.gate import figures
        from harness.gate.pytest_worker import PORT

        key = figures.run_key(method, backbone, execution, settings or {})
        if not benchmark.enabled:
            request.node.user_properties.append((UNMEASURED, True))
            benchmark(figures.work(key, part).step)
            return
        if PORT in os.environ:  # the timed gate asks for turns alone
            benchmark(figures.work(key, part).step)
            return
        work, found = figures.count(key, part)
        exact = asdict(found)
        benchmark(work.step)
        speed = work.images / benchmark.stats["median"]
        benchmark.extra_info.update(exact, exact=list(exact), images=work.images, images_per_second=speed)

    return measure


@pytest.fixture
def suite_benchmark(benchmark: Any, tmp_path_factory: pytest.TempPathFactory) -> Callable[..., None]:
    """``suite_benchmark(suite, methods, datasets, *, shots, seeds, backbone, settings)``: how many answers its runs get right.

    They are done in this process, once; times of theirs are none that a gate could compare.
    """

    def measure(
        suite: str,
        methods: Sequence[str],
        datasets: Sequence[str],
        *,
        shots: int = 4,
        seeds: Sequence[int] = (1,),
        backbone: str | None = None,
        settings: Mapping[str, str] | None = None,
    ) -> None:
        if not benchmark.enabled:
            pytest.skip("the answers of a suite are counted by 'adaptbench gate' alone")
        from harness.gate.accuracy import correct_answers
        from harness.plan import Request

        request = Request(
            suite=suite,
            methods=methods,
            datasets=datasets,
            shots=[shots],
            seeds=seeds,
            backbone=backbone,
            settings=settings or {},
        )
        cache = tmp_path_factory.mktemp("cache")
        found = benchmark.pedantic(correct_answers, (request, cache), rounds=1)
        benchmark.extra_info.update(found, exact_per_platform=list(found), timed=False)

    return measure


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Say of benchmarks that only ran that they did."""
    reports = [r for r in terminalreporter.getreports("passed") if (UNMEASURED, True) in map(tuple, r.user_properties)]
    if reports:
        terminalreporter.write_line(
            f"{len(reports)} benchmarks of methods ran once and measured nothing; 'adaptbench gate' measures and compares."
        )
