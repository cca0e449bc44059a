"""Imports point down, the engine knows no method, and what only plans stays light."""

import ast
import importlib.metadata
import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

from harness import plugins

ROOT = Path(__file__).parent.parent
FOLDERS = ("harness", "methods", "suites", "reports")
ALLOWED = {"harness": {"harness"}, **{name: {"harness", name} for name in FOLDERS[1:]}}


def trees(folder):
    for path in sorted((ROOT / folder).rglob("*.py")):
        yield path.relative_to(ROOT), ast.parse(path.read_text())


def imported(tree):
    """First parts of every module a file imports, wherever the import stands."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name.split(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "relative imports hide the direction"
            yield node.module.split(".")[0]


def docstrings(tree):
    for node in ast.walk(tree):
        for field in ("body", "orelse", "finalbody"):
            for child in getattr(node, field, None) or () if not isinstance(node, ast.Lambda | ast.IfExp) else ():
                if isinstance(child, ast.Expr) and isinstance(child.value, ast.Constant):
                    yield id(child.value)


@pytest.mark.parametrize("folder", FOLDERS)
def test_imports_point_down(folder):
    files = list(trees(folder))
    assert files
    for path, tree in files:
        ours = set(imported(tree)) & set(FOLDERS)
        assert ours <= ALLOWED[folder], path


def identifiers(tree):
    """Every name and every string of a file's code; docstrings are prose."""
    prose = set(docstrings(tree))
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in prose:
            yield node.value
        for field in ("id", "attr", "arg", "name", "module"):
            value = getattr(node, field, None)
            if isinstance(value, str):
                yield value


def test_the_engine_names_no_method():
    """Names that are ordinary words in the engine's advice to users are written out here, so that none slips in unseen."""
    advice = {("harness/clip/image_tower.py", name) for name in ("zero_shot", "coop", "clip_adapter")}
    advice |= {("harness/__main__.py", "coop")}
    found, methods = set(), set(plugins.names("method"))
    for path, tree in trees("harness"):
        for text in identifiers(tree):
            found |= {(path.as_posix(), name) for name in methods & set(re.findall(r"\w+", text))}
    classes = {plugins.load("method", name).__name__ for name in methods}
    for path, tree in trees("harness"):
        assert not classes & set(identifiers(tree)), path
    assert found == advice


def plugin_modules():
    entries = importlib.metadata.entry_points()
    kinds = ("methods", "suites", "datasets", "backbones", "commands", "sources")
    return sorted({entry.module for kind in kinds for entry in entries.select(group=f"adaptbench.{kind}")})


WORDS = [
    "harness.plan",
    "harness.records",
    "harness.suite",
    "harness.recipe",
    "harness.runs.store",
    "harness.runs.job",
    "harness.runs.suite_runner",
    "harness.gate.plugin",
    "harness.gate.outcomes",
]


def loaded_after(code):
    """Modules of a fresh process after `code`."""
    script = f"{code}\nimport json, sys; print(json.dumps(sorted(sys.modules)))"
    process = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, cwd=ROOT, check=True)
    return set(json.loads(process.stdout.splitlines()[-1]))


@pytest.mark.parametrize("module", [*WORDS, *plugin_modules()])
def test_importing_it_leaves_torch_out(module):
    modules = loaded_after(f"import {module}")
    assert module in modules
    assert not modules & {"torch", "torchvision", "open_clip"}


def test_the_words_need_no_third_party_but_pydantic():
    modules = loaded_after("import harness.suite, harness.recipe, harness.records")
    heavy = {"torch", "numpy", "pandas", "matplotlib", "PIL", "rich", "typer", "sklearn", "scipy"}
    assert not modules & heavy
    assert not loaded_after("import harness.suite") & {*heavy, "pydantic"}


PLAN = """
import contextlib, io, sys
sys.argv = ["adaptbench", "plan", "base2new", "--json"]
from harness.__main__ import main
with contextlib.redirect_stdout(io.StringIO()) as out, contextlib.suppress(SystemExit):
    main()
import json
assert len(json.loads(out.getvalue())) > 0
"""


def test_a_plan_is_made_without_torch_pandas_or_matplotlib():
    assert not loaded_after(PLAN) & {"torch", "numpy", "pandas", "matplotlib", "PIL", "sklearn", "jinja2"}


def test_the_fork_server_starts_no_threads_and_touches_no_gpu():
    """A fork copies no thread: one that held a lock would leave it locked in every run."""
    code = (
        "import harness.runs.forkserver_preload, threading, torch; assert threading.active_count() == 1; "
        "assert not torch.cuda.is_initialized()"
    )
    modules = loaded_after(code)
    assert {"torch", "open_clip", "harness.runs.runner"} <= modules


CLOCKS = {
    "perf_counter",
    "perf_counter_ns",
    "process_time",
    "process_time_ns",
    "monotonic",
    "monotonic_ns",
    "getrusage",
}


def of_a_clock(node, timed):
    """Whether an expression holds a reading of a clock, or a name that was given one."""
    return any(
        (isinstance(part, ast.Attribute) and part.attr in CLOCKS)
        or (isinstance(part, ast.Name) and part.id in CLOCKS | timed)
        for part in ast.walk(node)
    )


def is_constant(node):
    return all(
        isinstance(part, ast.Constant | ast.UnaryOp | ast.BinOp | ast.operator | ast.unaryop) for part in ast.walk(node)
    )


def durations_against_constants(tree):
    """Lines that compare what a clock said with a number: a test that fails on a slower day."""
    timed = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Assign) and of_a_clock(node.value, timed):
            timed |= {part.id for target in node.targets for part in ast.walk(target) if isinstance(part, ast.Name)}
    for node in ast.walk(tree):
        if isinstance(node, ast.Compare):
            sides = [node.left, *node.comparators]
            if any(of_a_clock(side, timed) for side in sides) and any(is_constant(side) for side in sides):
                yield node.lineno


def test_no_test_compares_a_duration_with_a_constant():
    planted = (
        "start = time.perf_counter()\ntook = time.perf_counter() - start\nassert took < 2 * 10\nassert took < other"
    )
    assert list(durations_against_constants(ast.parse(planted))) == [3]
    found = {}
    for path, tree in trees("tests"):
        for part in ast.walk(tree):
            if isinstance(part, ast.FunctionDef) and (lines := list(durations_against_constants(part))):
                found[f"{path}:{part.name}"] = lines
    assert not found
