"""A training step and an evaluation step of every method, on the demo backbone."""

import pytest

from harness import plugins

pytestmark = pytest.mark.long  # the gate runs them, on every pull request too
METHODS = plugins.names("method")
TRAINED = [name for name in METHODS if plugins.load("method", name).recipes["default"].trains]


@pytest.mark.parametrize("method", TRAINED)
def test_training_step(method_benchmark, method):
    method_benchmark(method)


@pytest.mark.parametrize("method", METHODS)
def test_evaluation_step(method_benchmark, method):
    method_benchmark(method, part="evaluate")
