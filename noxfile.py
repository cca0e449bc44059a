"""Sessions: tests, lint, pretrain-demo, and suite-<name> for every suite in pyproject.toml. All share one environment.

torch with its CUDA libraries takes 5.5 GB, so one copy has to do; uv installs it where uv is present.
"""

import hashlib
import tomllib
from pathlib import Path

import nox

nox.options.default_venv_backend = "uv|virtualenv"
nox.options.reuse_existing_virtualenvs = True
nox.options.sessions = ["lint", "tests"]

PROJECT = tomllib.loads(Path("pyproject.toml").read_text())
SUITES = PROJECT["project"]["entry-points"]["adaptbench.suites"]
ENVIRONMENT = ".nox/adaptbench"


def prepare(session):
    """Install AdaptBench once; again only after pyproject.toml has changed."""
    session.env["OMP_WAIT_POLICY"] = "PASSIVE"
    stamp = Path(ENVIRONMENT) / "installed.sha256"
    digest = hashlib.sha256(Path("pyproject.toml").read_bytes()).hexdigest()
    if stamp.exists() and stamp.read_text() == digest:
        return
    session.install("-e", ".[dev]")
    stamp.write_text(digest)


def session(name):
    return nox.session(name=name, venv_location=ENVIRONMENT, reuse_venv=True)


@session("tests")
def tests(session):
    """All tests; arguments go to pytest."""
    prepare(session)
    session.run("pytest", *session.posargs)


@session("lint")
def lint(session):
    """Style and types."""
    prepare(session)
    session.run("ruff", "check", ".")
    session.run("ruff", "format", "--check", ".")
    session.run("mypy")


@session("pretrain-demo")
def pretrain_demo(session):
    """Pretrain the demo backbone anew (up to two hours on two CPU cores)."""
    prepare(session)
    session.run("python", "-m", "suites.demo.pretrain", "--folder", ".nox/pretrain-demo", *session.posargs)


def suite_session(name):
    @session(f"suite-{name}")
    def run_suite(session):
        prepare(session)
        session.run("adaptbench", "run", name, "--site", "site", *session.posargs)

    return run_suite


for suite in SUITES:
    suite_session(suite)
