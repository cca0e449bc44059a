"""Sessions: tests, tests-long, tests-cluster, gate, lint, pretrain-demo, demo-evidence, demo-recipes, gpu-evidence, docs, gallery,
and suite-<name>.

All share one environment: torch with its CUDA libraries takes 5.5 GB, so one copy has to do; uv installs it where uv is present.
"""

import hashlib
import os
import shutil
import sys
import tomllib
from pathlib import Path

import nox

nox.options.default_venv_backend = "none"  # nox has no environment that sessions share: `prepare` makes one
nox.options.sessions = ["lint", "tests"]

ROOT = Path(__file__).parent
PROJECT = ROOT / "pyproject.toml"
SUITES = tomllib.loads(PROJECT.read_text())["project"]["entry-points"]["adaptbench.suites"]
ENVIRONMENT = ROOT / ".nox" / "adaptbench"
BIN = ENVIRONMENT / ("Scripts" if os.name == "nt" else "bin")


def find_uv():
    """uv's path, on PATH or as nox's extra of that name; None without."""
    try:
        from uv import find_uv_bin
    except ImportError:
        return shutil.which("uv")
    return find_uv_bin()


def prepare(session):
    """Make the shared environment and install AdaptBench; again only after pyproject.toml has changed."""
    session.env["OMP_WAIT_POLICY"] = "PASSIVE"
    session.env["PATH"] = os.pathsep.join([str(BIN), os.environ["PATH"]])
    session.env["VIRTUAL_ENV"] = str(ENVIRONMENT)
    session.env["PYTHONDONTWRITEBYTECODE"] = ""  # what a process imports first is compiled for all that follow
    stamp = ENVIRONMENT / "installed.sha256"
    digest = hashlib.sha256(PROJECT.read_bytes()).hexdigest()
    if stamp.exists() and stamp.read_text() == digest:
        return
    uv = find_uv()
    if not BIN.exists():
        session.run_install(
            *([uv, "venv", "-q", "-p", sys.executable] if uv else [sys.executable, "-m", "venv"]), str(ENVIRONMENT)
        )
    python = str(BIN / "python")
    with_uv = [uv, "pip", "install", "-q", "--python", python]
    install = with_uv if uv else [python, "-m", "pip", "install", "-q"]
    session.log("Installing AdaptBench with PyTorch: 6 GB, some minutes")
    session.run_install(*install, "-e", ".[dev]")
    stamp.write_text(digest)


@nox.session(name="tests")
def tests(session):
    """All tests but the long ones, in up to four processes of one thread; arguments go to pytest."""
    run_tests(session, "not long and not cluster")


@nox.session(name="tests-long")
def tests_long(session):
    """The tests that need to hold before a release only; CI runs them every night."""
    run_tests(session, "long")


@nox.session(name="tests-cluster")
def tests_cluster(session):
    """Workers on a real Slurm of two nodes, started here for the tests; skipped by name where Debian's Slurm isn't installed."""
    run_tests(session, "cluster", processes=())


def run_tests(session, marked, processes=("-n", "logical", "--maxprocesses=4", "--dist=worksteal")):
    prepare(session)
    session.env["OMP_NUM_THREADS"] = "1"
    session.run(BIN / "pytest", "-m", marked, *processes, *session.posargs)


@nox.session(name="gate")
def gate(session):
    """The performance gate, in one thread; with `-- --base REF` times too. nox says only whether it passed, its last line why."""
    prepare(session)
    session.run(BIN / "adaptbench", "gate", *session.posargs)


@nox.session(name="lint")
def lint(session):
    """Style and types."""
    prepare(session)
    session.run(BIN / "ruff", "check", ".")
    session.run(BIN / "ruff", "format", "--check", ".")
    session.run(BIN / "mypy")


@nox.session(name="pretrain-demo")
def pretrain_demo(session):
    """Pretrain the demo backbone anew (up to two hours on two CPU cores); `-- --check 200` only replays the first steps."""
    prepare(session)
    session.run(BIN / "python", "-m", "suites.demo.pretrain", *session.posargs)


@nox.session(name="demo-evidence")
def demo_evidence(session):
    """Measure what the demo world shows, three seeds, and write docs/demo-world.md."""
    prepare(session)
    session.run(BIN / "python", "-m", "suites.demo.evidence", *session.posargs)


@nox.session(name="demo-recipes")
def demo_recipes(session):
    """Search the learning rates of the demo recipes by one rule (half an hour on two CPU cores), and write docs/demo-recipes.md."""
    prepare(session)
    session.run(BIN / "python", "-m", "suites.demo.recipes", *session.posargs)


@nox.session(name="gpu-evidence")
def gpu_evidence(session):
    """What only a GPU can show, in 8 minutes, to docs/gpu.md; goes on where it was stopped. `-- --rehearse` needs no GPU."""
    prepare(session)
    session.run(BIN / "python", "-m", "harness.probes.gpu_evidence", *session.posargs)


@nox.session(name="docs")
def docs(session):
    """Build the docs site to build/docs/site; what it warns of, such as a link to nowhere, is an error."""
    prepare(session)
    session.run(BIN / "python", "docs/site/pages.py")
    session.run(BIN / "zensical", "build", "--strict", "-f", "build/docs/mkdocs.yml")


@nox.session(name="gallery")
def gallery(session):
    """Run the suites that the pictures in docs/images show (about an hour on two CPU cores), and take them all anew."""
    prepare(session)
    results, other = (ROOT / ".nox" / "gallery" / name for name in ("results", "fewer-epochs"))
    for suite in ("base2new", "few-shot", "ablation", "cost"):
        session.run(BIN / "adaptbench", "run", suite, "--results", results)
    compared = ("--methods", "clip_adapter,coop,skip_tuning", "--set", "epochs=5")
    session.run(BIN / "adaptbench", "run", "base2new", *compared, "--results", other)
    session.run(BIN / "python", "docs/gallery.py", results, other)


def suite_session(name):
    @nox.session(name=f"suite-{name}")
    def run_suite(session):
        prepare(session)
        usual = {"--site": "site", "--jobs": "auto"}
        ours = {
            option: value for option, value in usual.items() if not any(w.startswith(option) for w in session.posargs)
        }
        session.run(
            BIN / "adaptbench", "run", name, *(word for pair in ours.items() for word in pair), *session.posargs
        )

    return run_suite


for suite in SUITES:
    suite_session(suite)
